//! This process: what it was started with, and hands on.
//!
//! Owns the system calls about it that no library makes safe. Must not know what they are for.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use nix::sys::signal::{SigHandler, Signal};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

/// Whether it has privileges that whoever started it has not: its file is setuid, or has capabilities. What the
/// environment says is then as good as a stranger's word.
pub(super) fn has_raised_privileges() -> bool {
    // SAFETY: it reads the vector that the kernel put beside the environment, whatever is asked for.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Ignores a signal from here on.
pub(crate) fn ignore_signal(signal: Signal) -> nix::Result<()> {
    // SAFETY: no handler is installed.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigIgn) }.map(drop)
}

/// Takes over a descriptor that was handed down by number, and hands it down no further.
///
/// Whoever else owned that number would close it a second time: this is for the numbers that the command line of
/// `memtrace hold` names, once each.
pub(crate) fn take_over(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: memtrace made this descriptor for this process, and nothing else here uses it.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use rustix::io::fcntl_getfd;

    use super::*;

    #[test]
    fn what_is_taken_over_is_handed_down_no_further() {
        let (reader, writer) = io::pipe().unwrap();
        let number = writer.into_raw_fd();
        let owned = take_over(number).unwrap();
        assert_eq!(fcntl_getfd(&owned), Ok(FdFlags::CLOEXEC));
        drop((reader, owned));
        assert!(take_over(-1).is_err());
    }
}
