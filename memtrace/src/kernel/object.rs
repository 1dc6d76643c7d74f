//! The eBPF object that is loaded: the committed one, or one that is tried before it is committed.
//!
//! Must not know what is in it.

use std::{borrow::Cow, ffi::OsString};

use super::{load::LoadError, own};

/// The committed object; `cargo xtask bpf` rebuilds it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../memtrace-ebpf/object/memtrace-ebpf.bpfel.o"
));

/// Names another object to load; ignored where memtrace has privileges that its user has not.
const OBJECT_VARIABLE: &str = "MEMTRACE_BPF_OBJECT";

/// Which object is loaded.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Committed,
    /// How a rebuilt object is tried before it is committed.
    Named(OsString),
    /// One was named by somebody who has no right to: memtrace's privileges are not theirs.
    NotTheirs,
}

fn choice(named: Option<OsString>, has_raised_privileges: bool) -> Choice {
    match named {
        None => Choice::Committed,
        Some(_) if has_raised_privileges => Choice::NotTheirs,
        Some(path) => Choice::Named(path),
    }
}

pub(super) fn object() -> Result<Cow<'static, [u8]>, LoadError> {
    match choice(std::env::var_os(OBJECT_VARIABLE), own::has_raised_privileges()) {
        Choice::Committed => Ok(OBJECT.into()),
        Choice::NotTheirs => {
            tracing::warn!("{OBJECT_VARIABLE} is ignored: this binary is setuid or has file capabilities");
            Ok(OBJECT.into())
        }
        Choice::Named(path) => {
            tracing::info!(?path, "{OBJECT_VARIABLE} names the object to load");
            match std::fs::read(&path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(source) => Err(LoadError::Object {
                    path: path.to_string_lossy().into_owned(),
                    source,
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_their_own_is_for_those_whose_privileges_it_runs_with() {
        let named = || Some(OsString::from("object.o"));
        assert_eq!(choice(None, false), Choice::Committed);
        assert_eq!(choice(None, true), Choice::Committed);
        assert_eq!(choice(named(), false), Choice::Named("object.o".into()));
        assert_eq!(choice(named(), true), Choice::NotTheirs);
    }
}
