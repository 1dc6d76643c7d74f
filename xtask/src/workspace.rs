//! Where things are in this workspace.
//!
//! Owns the paths. Must not read or write any of them.

use std::env;
use std::path::{Path, PathBuf};

/// The committed object, which `memtrace` embeds.
pub(crate) const OBJECT: &str = "memtrace-ebpf/object/memtrace-ebpf.bpfel.o";
/// What the committed object was built from, and with what.
pub(crate) const MANIFEST: &str = "memtrace-ebpf/object/memtrace-ebpf.bpfel.toml";

/// The workspace's top directory.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Cargo's target directory for this workspace.
pub(crate) fn target_dir() -> PathBuf {
    let root = root();
    // An absolute CARGO_TARGET_DIR replaces the root in `join`.
    root.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where the words of quiet programs go (package managers, installers), to be read when one of them fails.
pub(crate) fn setup_log() -> PathBuf {
    target_dir().join("setup.log")
}

/// `path` as a person in the workspace's top directory would write it.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The sources below `folder` that opt out of the lint against `unsafe`.
    fn with_unsafe(folder: &Path, found: &mut Vec<String>) {
        // Put together, or this file would be one of them.
        let opt_out = concat!("unsafe", "_code,");
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                with_unsafe(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs")
                && fs::read_to_string(&path).expect("a source").contains(opt_out)
            {
                found.push(shown(&path));
            }
        }
    }

    #[test]
    fn unsafe_is_where_contributing_says() {
        let mut found = Vec::new();
        for package in [
            "fuzz",
            "memtrace",
            "memtrace-common",
            "memtrace-ebpf",
            "tests",
            "xtask",
        ] {
            with_unsafe(&root().join(package), &mut found);
        }
        found.sort();
        assert_eq!(
            found,
            [
                "memtrace-ebpf/src/main.rs",
                "memtrace/src/kernel/mod.rs",
                "tests/src/bin/maps/own.rs",
                "tests/src/bin/tasks/accesses.rs",
                "tests/src/bin/tasks/own.rs",
                "tests/src/bin/workload/memory.rs",
                "tests/src/bin/workload/wait.rs",
            ]
        );
    }
}
