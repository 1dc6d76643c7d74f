//! What to do when the probes can't run.
//!
//! Owns the advice. Must not know how anything is loaded.

use std::io::ErrorKind;

use super::{
    failure::{Failure, chain},
    terminal,
};
use crate::kernel::{LoadError, features::NEEDED};

/// The first kernel with a BPF ring buffer.
pub(super) const OLDEST_KERNEL: (u32, u32) = (5, 8);

/// Refuses a kernel that is too old, before anything is tried on it.
pub(super) fn check_kernel() -> Result<(), Failure> {
    let release = terminal::kernel_release();
    if is_older(&release) {
        let (major, minor) = OLDEST_KERNEL;
        return Err(Failure::new(
            "cannot trace",
            format!("kernel {release} has no BPF ring buffer"),
            format!("memtrace needs Linux {major}.{minor} or later"),
        ));
    }
    Ok(())
}

/// The two lines for a load that failed.
pub(super) fn for_load(error: &LoadError) -> Failure {
    if is_denied(error) {
        return Failure::new(
            "cannot trace",
            format!("missing privilege ({})", chain(error)),
            format!("{}; `memtrace doctor` says what is missing", for_privilege()),
        );
    }
    let hint = match error {
        LoadError::Btf(_) => {
            "memtrace needs a kernel with CONFIG_DEBUG_INFO_BTF, as all big distributions have"
        }
        LoadError::Refused { .. } => {
            "that is memtrace's to mend, and no privilege helps: report this line and what `uname -r` says"
        }
        LoadError::Foreign(_) | LoadError::Object { .. } => {
            "unset MEMTRACE_BPF_OBJECT, or rebuild with `cargo xtask bpf`"
        }
        _ => "`memtrace doctor` says what this kernel can do",
    };
    Failure::new("cannot trace", chain(error), hint)
}

/// What gives memtrace its capabilities. One command for all of them, whichever is missing: `setcap` takes away what it
/// does not name.
pub(super) fn for_privilege() -> String {
    let names = NEEDED.map(|capability| capability.name.to_lowercase()).join(",");
    format!("run it with sudo, or once: sudo setcap {names}+ep on the memtrace binary")
}

/// Whether a release is of a kernel before that.
pub(super) fn is_older(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < OLDEST_KERNEL,
        _ => false,
    }
}

fn is_denied(error: &LoadError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_the_verifier_does_not_take_is_no_want_of_privilege() {
        let failure = for_load(&LoadError::Refused {
            name: "sys_exit",
            said: "combined stack size of 2 calls is 640. Too large".to_owned(),
        });
        let text = failure.to_string();
        assert!(text.contains("sys_exit: combined stack size"), "{text}");
        assert!(
            !text.contains("missing privilege") && !text.contains("setcap"),
            "{text}"
        );
    }

    #[test]
    fn kernels_before_the_ring_buffer_are_told() {
        for old in ["5.7.19", "5.4.0-42-generic", "4.19.0-20-amd64", "3.10.0-1160.el7"] {
            assert!(is_older(old), "{old}");
        }
        for new in ["5.8.0", "5.10.0-32-cloud-amd64", "6.18.44", "7.2-rc1"] {
            assert!(!is_older(new), "{new}");
        }
    }
}
