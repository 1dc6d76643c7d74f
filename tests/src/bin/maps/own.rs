//! What needs `unsafe`: system calls that change this process's map, with any arguments.
//!
//! Owns that they can do no harm: they are about a reserved range, and the break never goes below where it was.
#![expect(unsafe_code, reason = "that is what random calls on one's own memory are")]

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use serde::Serialize;

/// A call, and what it returned: an address, zero, or a negative errno.
#[derive(Debug, Serialize)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) args: [u64; 6],
    pub(crate) ret: i64,
}

impl Call {
    /// One that was not made yet.
    pub(crate) fn new(name: &'static str, args: [u64; 6]) -> Self {
        Self { name, args, ret: 0 }
    }
}

/// Addresses that nothing else in this process uses.
pub(crate) struct Area(u64);

impl Area {
    /// Of so many bytes.
    pub(crate) fn reserve(bytes: u64) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let args = [0, bytes, 0, flags.cast_unsigned().into(), u64::MAX, 0];
        // SAFETY: without MAP_FIXED nothing that is mapped is touched.
        let start = unsafe { call(libc::SYS_mmap, args) };
        if start < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(start.cast_unsigned()))
    }

    /// Where it begins.
    pub(crate) fn start(&self) -> u64 {
        self.0
    }

    /// Makes a call whose addresses are all in an area, or chosen by the kernel, or a break.
    pub(crate) fn perform(wish: &Call) -> Call {
        let number = match wish.name {
            "mmap" => libc::SYS_mmap,
            "munmap" => libc::SYS_munmap,
            "mprotect" => libc::SYS_mprotect,
            "mremap" => libc::SYS_mremap,
            "madvise" => libc::SYS_madvise,
            _ => libc::SYS_brk,
        };
        // SAFETY: nothing is kept in the area or above the first break, no code reads or writes there, and places
        // that the kernel chooses are free.
        let ret = unsafe { call(number, wish.args) };
        Call {
            ret,
            ..Call::new(wish.name, wish.args)
        }
    }
}

/// Shared memory of so many bytes.
pub(crate) fn memfd(bytes: u64) -> io::Result<File> {
    let fd = memfd_create("any name", MemfdFlags::CLOEXEC)?;
    ftruncate(&fd, bytes)?;
    Ok(fd.into())
}

/// Moves the break, if `new` is not zero. Returns where it is.
pub(crate) fn brk(new: u64) -> u64 {
    // SAFETY: the caller goes back to where the allocator has it before anything is allocated.
    unsafe { call(libc::SYS_brk, [new, 0, 0, 0, 0, 0]) }.cast_unsigned()
}

/// So that the stack grows now and not later.
pub(crate) fn touch_the_stack(depth: u32) {
    std::hint::black_box([1_u8; 8 << 10]);
    if depth > 0 {
        touch_the_stack(depth - 1);
    }
    // Not the last thing that is done, or it would be a loop.
    std::hint::black_box(depth);
}

/// A system call: its result, or a negative errno.
///
/// # Safety
///
/// As the call itself.
unsafe fn call(number: libc::c_long, args: [u64; 6]) -> i64 {
    // SAFETY: the caller's promise.
    let ret = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if ret == -1 {
        -i64::from(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        ret
    }
}
