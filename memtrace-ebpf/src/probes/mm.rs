//! mmap, munmap, mremap, brk, mprotect, madvise, when they return.
//!
//! Owns the copy of arguments and result. Must not know what a VMA is.

use memtrace_common::{
    map::Family,
    wire::{KIND_MM, Mm},
};

use crate::{emit, probes::syscall::Registers, target::Target};

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
