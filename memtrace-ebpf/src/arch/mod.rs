//! What differs by architecture: system call numbers, and where registers lie in `struct pt_regs`.
//!
//! Owns the choice of the one file that applies. Must not know what the calls are traced for.

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64;
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) use x86_64::*;

/// What a system call is to memtrace. Zero is "nothing", so that the table starts out empty.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Call {
    Mmap = 1,
    Munmap,
    Mremap,
    Brk,
    Mprotect,
    Madvise,
    Name,
    Accept,
    Listen,
    Socket,
    Eventfd,
    Pipe,
    Socketpair,
    Connect,
    Dup,
    Fcntl,
    /// `(fd, buffer, …)`; the result is the length.
    Read,
    /// `(fd, iovec, count, …)`
    Readv,
    /// `(fd, buffer, length, flags, …)`
    Recvfrom,
    /// `(fd, msghdr, flags)`
    Recvmsg,
    /// `(fd, mmsghdr, count, flags, …)`; the result is the number of messages.
    Recvmmsg,
    Write,
    Writev,
    Sendmsg,
    Sendmmsg,
    /// `(out, in, …)`
    Sendfile,
    /// `(in, _, out, …)`
    Splice,
    IoUringSetup,
    /// Looked at on entry only:
    Close,
    CloseRange,
    Exec,
    /// Waits for events; its fourth argument says how many milliseconds it would wait. Looked at when it returns too,
    /// as are those that follow.
    EpollWait,
    /// Its fourth argument points to the time.
    EpollPwait2,
    /// Its third says how many milliseconds.
    Poll,
    /// Its third points to the time.
    Ppoll,
    /// Its fifth does.
    Select,
}

/// By system call number.
pub(crate) type Table = [u8; TABLE_LEN];
/// Longer than any table of numbers, and a power of two for the verifier's sake.
pub(crate) const TABLE_LEN: usize = 512;

const fn table(entries: &[(usize, Call)]) -> Table {
    let mut table = [0; TABLE_LEN];
    let mut i = 0;
    while i < entries.len() {
        table[entries[i].0] = entries[i].1 as u8;
        i += 1;
    }
    table
}
