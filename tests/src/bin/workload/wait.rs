//! Waiting for events by one system call or another, for no event and for some time, or none.
//!
//! Owns the calls, each by its own number: a C library takes one for another, as glibc's `select` is `pselect6`. Must
//! not know routes, or what the wait is for.
#![expect(
    unsafe_code,
    reason = "system calls by number take pointers, and have no safe interface"
)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A system call that waits for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// `epoll_wait(2)`
    EpollWait,
    /// `epoll_pwait(2)`
    EpollPwait,
    /// `epoll_pwait2(2)`
    EpollPwait2,
    /// `poll(2)`
    Poll,
    /// `ppoll(2)`
    Ppoll,
    /// `select(2)`
    Select,
    /// `pselect6`, the call behind `pselect(2)`
    Pselect6,
}

impl Waiting {
    /// By the kernel's own name of it.
    pub(crate) fn named(name: &str) -> Option<Waiting> {
        Some(match name {
            "epoll_wait" => Waiting::EpollWait,
            "epoll_pwait" => Waiting::EpollPwait,
            "epoll_pwait2" => Waiting::EpollPwait2,
            "poll" => Waiting::Poll,
            "ppoll" => Waiting::Ppoll,
            "select" => Waiting::Select,
            "pselect6" => Waiting::Pselect6,
            _ => return None,
        })
    }

    /// Waits once, in vain. `epoll` watches nothing.
    pub(crate) fn perform(self, epoll: &OwnedFd, time: Duration) -> io::Result<()> {
        let ms = libc::c_long::try_from(time.as_millis()).unwrap_or(libc::c_long::MAX);
        let epoll = epoll.as_raw_fd();
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let (event, room) = (&raw mut event, 1);
        let mut time = libc::timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        };
        let time = &raw mut time;
        let none = ptr::null_mut::<u8>();
        let outcome = match self {
            Waiting::EpollWait => epoll_wait(epoll, event, room, ms),
            // SAFETY: `event` is room for one, and there is no mask.
            Waiting::EpollPwait => unsafe {
                libc::syscall(libc::SYS_epoll_pwait, epoll, event, room, ms, none, 0)
            },
            // SAFETY: as above, and `time` is a whole `timespec`.
            Waiting::EpollPwait2 => unsafe {
                libc::syscall(libc::SYS_epoll_pwait2, epoll, event, room, time, none, 0)
            },
            Waiting::Poll => poll(ms),
            // SAFETY: no descriptors and no mask; `time` is a whole `timespec`, which the call may write to.
            Waiting::Ppoll => unsafe { libc::syscall(libc::SYS_ppoll, none, 0, time, none, 0) },
            Waiting::Select => select(ms),
            // SAFETY: as above, with three empty sets.
            Waiting::Pselect6 => unsafe {
                libc::syscall(libc::SYS_pselect6, 0, none, none, none, time, none)
            },
        };
        match outcome {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn epoll_wait(
    epoll: libc::c_int,
    event: *mut libc::epoll_event,
    room: libc::c_int,
    ms: libc::c_long,
) -> libc::c_long {
    // SAFETY: the caller has room for as many events.
    unsafe { libc::syscall(libc::SYS_epoll_wait, epoll, event, room, ms) }
}

#[cfg(target_arch = "x86_64")]
fn poll(ms: libc::c_long) -> libc::c_long {
    // SAFETY: no descriptors.
    unsafe { libc::syscall(libc::SYS_poll, ptr::null_mut::<libc::pollfd>(), 0, ms) }
}

#[cfg(target_arch = "x86_64")]
fn select(ms: libc::c_long) -> libc::c_long {
    let mut time = libc::timeval {
        tv_sec: ms / 1000,
        tv_usec: ms % 1000 * 1000,
    };
    let none = ptr::null_mut::<libc::fd_set>();
    // SAFETY: no sets, and a whole `timeval`, which the call may write to.
    unsafe { libc::syscall(libc::SYS_select, 0, none, none, none, &raw mut time) }
}

/// Newer architectures have only the calls that take a mask.
#[cfg(not(target_arch = "x86_64"))]
fn epoll_wait(_: libc::c_int, _: *mut libc::epoll_event, _: libc::c_int, _: libc::c_long) -> libc::c_long {
    unknown()
}

#[cfg(not(target_arch = "x86_64"))]
fn poll(_: libc::c_long) -> libc::c_long {
    unknown()
}

#[cfg(not(target_arch = "x86_64"))]
fn select(_: libc::c_long) -> libc::c_long {
    unknown()
}

/// Fails as a kernel without the call does.
#[cfg(not(target_arch = "x86_64"))]
fn unknown() -> libc::c_long {
    // SAFETY: no call has this number.
    unsafe { libc::syscall(-1) }
}
