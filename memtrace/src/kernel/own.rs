//! What this process was started with.
//!
//! Owns the questions to the kernel about it. Must not know what follows from the answers.

/// Whether it has privileges that whoever started it has not: its file is setuid, or has capabilities. What the
/// environment says is then as good as a stranger's word.
pub(super) fn has_raised_privileges() -> bool {
    // SAFETY: it reads the vector that the kernel put beside the environment, whatever is asked for.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
