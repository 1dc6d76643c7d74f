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
