//! mmap, mremap, brk, mprotect, madvise, when they return, and munmap, when it begins.
//!
//! Owns the copy of arguments and result. Must not know what a VMA is.

use memtrace_common::{
    map::Family,
    wire::{KIND_MM, MM_MUNMAP, MM_NAME, Mm},
};

use crate::{emit, probes::syscall::Registers, target::Target};

/// `prctl`, which is about memory if its first two arguments say so.
#[inline(always)]
pub(crate) fn named(me: Target, regs: Registers, ret: i64) {
    const PR_SET_VMA: u64 = 0x53_56_4d_41;
    const PR_SET_VMA_ANON_NAME: u64 = 0;
    if ret == 0 && regs.argument(0) == PR_SET_VMA && regs.argument(1) == PR_SET_VMA_ANON_NAME {
        returned(me, MM_NAME, regs, ret);
    }
}

/// One that is bound to fail (`EINVAL`, `__do_munmap` in mm/mmap.c) is left out.
#[inline(always)]
pub(crate) fn unmapping(me: Target, regs: Registers) {
    const PAGE: u64 = 4096;
    if regs.argument(0) % PAGE == 0 && regs.argument(1) != 0 {
        returned(me, MM_MUNMAP, regs, 0);
    }
}

#[inline(always)]
pub(crate) fn returned(me: Target, op: u8, regs: Registers, ret: i64) {
    let mut header = emit::header(me, KIND_MM);
    header.op = op;
    emit::send(
        Family::Mm,
        header.time_ns,
        Mm {
            header,
            ret,
            args: regs.arguments(),
        },
    );
}
