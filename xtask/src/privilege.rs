//! What this process may do.
//!
//! Owns the test for root. Must not know what needs it.

use rustix::thread::CapabilitySet;

/// Whether this process may load and attach BPF programs as root tests do; the reason where it may not.
pub(crate) fn root_with_bpf() -> Result<(), String> {
    if !is_root() {
        return Err("needs root".to_owned());
    }
    // Root inside a container often has neither.
    let held = rustix::thread::capabilities(None)
        .map_err(|error| format!("cannot read this process's capabilities: {error}"))?
        .effective;
    let wanted = [
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
    ];
    if held.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    match wanted.iter().find(|(capability, _)| !held.contains(*capability)) {
        Some((_, name)) => Err(format!("root without {name}, as in a container")),
        None => Ok(()),
    }
}

/// Whether this process runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
