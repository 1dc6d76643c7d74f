//! `sys_enter` and `sys_exit`: every system call of every process on the host comes by here, and nearly all leave
//! at the first test.
//!
//! Owns the dispatch by table. Must not know what is made of a call.

use aya_ebpf::programs::BtfTracePointContext;
use memtrace_common::{
    map::{Family, TARGET_FOREIGN},
    wire::{
        KIND_FOREIGN, KIND_URING, MM_BRK, MM_MADVISE, MM_MMAP, MM_MPROTECT, MM_MREMAP, MM_MUNMAP, MM_NAME,
    },
};

use super::{io, mm, wait};
use crate::{
    OWN_TGID,
    arch::{self, Call, TABLE_LEN, Table},
    current::{Current, Typed},
    emit, entry,
    ids::{self, Ids},
    target::Target,
    task::Task,
};

/// A system call, as its thread's saved registers (`struct pt_regs`) have it. In a fault or an interrupt the number is
/// none.
#[derive(Clone, Copy)]
pub(crate) enum Registers {
    /// Where a tracepoint has them for an argument, to be loaded one by one.
    There(Typed),
    Copied([u64; arch::CALL_WORDS]),
}

impl Registers {
    /// All that is wanted of any thread's, in one read.
    #[inline(always)]
    pub(crate) fn copy(saved: *const u8) -> Self {
        Self::Copied(Task(saved).read(arch::CALL as u64))
    }

    /// The call's number.
    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        self.at(arch::NUMBER)
    }

    /// One argument.
    #[inline(always)]
    pub(crate) fn argument(&self, n: usize) -> u64 {
        self.at(arch::ARGUMENTS[n])
    }

    /// All six. Written out: `array::map` is a call, which the kernel does not take from the linker as it is.
    #[inline(always)]
    pub(crate) fn arguments(&self) -> [u64; 6] {
        [
            self.argument(0),
            self.argument(1),
            self.argument(2),
            self.argument(3),
            self.argument(4),
            self.argument(5),
        ]
    }

    #[inline(always)]
    fn is_of_32_bit_code(&self) -> bool {
        self.at(arch::CS) & 0xffff == arch::CS_32_BIT
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> u64 {
        match self {
            Self::There(saved) => saved.load(offset as u64),
            Self::Copied(words) => words[(offset - arch::CALL) / size_of::<u64>()],
        }
    }
}

/// `(struct pt_regs *regs, long id)`
#[inline(always)]
pub(crate) fn enter(ctx: &BtfTracePointContext) {
    // Before anything else: nearly all calls are of no interest, whoever makes them.
    let call = lookup(&arch::AT_ENTRY, ctx.arg(1));
    if call == 0 {
        return;
    }
    let saved: *const u8 = ctx.arg(0);
    let thread = Current::get();
    let ids = Ids::of_current(thread);
    if ids.tgid == OWN_TGID.load() {
        entry::by_system_call(saved);
    }
    let Some(me) = Target::of(thread, ids) else { return };
    let regs = &Registers::There(Typed(saved));
    if is_foreign(me, regs) {
        return;
    }
    if wait::is_wait(call) {
        wait::begins(me, call, regs);
    } else if call == Call::Close as u8 {
        io::close(me, regs);
    } else if call == Call::CloseRange as u8 {
        io::close_range(me, regs);
    } else if call == Call::Munmap as u8 {
        mm::unmapping(me, regs);
    } else if call == Call::Exec as u8 {
        ids::remember_current(me.ids());
    } else if call == Call::Name as u8 {
        mm::naming(me, regs);
    } else if address_space(call).is_some() {
        mm::begins(me);
    }
}

/// `(struct pt_regs *regs, long ret)`
#[inline(always)]
pub(crate) fn exit(ctx: &BtfTracePointContext) {
    let regs = &Registers::There(Typed(ctx.arg(0)));
    let call = lookup(&arch::AT_EXIT, regs.number());
    if call == 0 {
        return;
    }
    let Some(me) = Target::current() else { return };
    if is_foreign(me, regs) {
        return;
    }
    let ret: i64 = ctx.arg(1);
    if io::is_move(call) {
        io::moved(me, call, regs, ret);
    } else if wait::is_wait(call) {
        wait::returned(me, ret);
    } else if call == Call::Name as u8 {
        mm::named(me, regs, ret);
    } else if call == Call::Munmap as u8 {
        mm::unmapped(me, ret);
    } else if let Some(op) = address_space(call) {
        mm::returned(me, op, regs, ret);
    } else if call == Call::IoUringSetup as u8 {
        if ret >= 0 {
            let header = emit::header(me, KIND_URING);
            emit::send(Family::Io, header.time_ns, header);
        }
    } else {
        io::returned(me, call, regs, ret);
    }
}

/// Whether the call is of 32-bit code: its number means something else. Userspace is told once.
#[inline(always)]
fn is_foreign(me: Target, regs: &Registers) -> bool {
    if !regs.is_of_32_bit_code() {
        return false;
    }
    if me.mark(TARGET_FOREIGN) {
        let header = emit::header(me, KIND_FOREIGN);
        emit::send(Family::Io, header.time_ns, header);
    }
    true
}

#[inline(always)]
fn lookup(table: &'static Table, number: u64) -> u8 {
    if number >= TABLE_LEN as u64 {
        return 0;
    }
    // SAFETY: in bounds by the test above. Volatile, because the compiler would else turn the table into code.
    unsafe { table.as_ptr().wrapping_add(number as usize).read_volatile() }
}

#[inline(always)]
fn address_space(call: u8) -> Option<u8> {
    const FIRST: u8 = Call::Mmap as u8;
    const LAST: u8 = Call::Name as u8;
    const _: () = {
        // `Call` begins with these, in the order of the wire's constants.
        assert!(MM_MMAP == Call::Mmap as u8 && MM_MMAP == 1);
        assert!(MM_MUNMAP == Call::Munmap as u8 && MM_MREMAP == Call::Mremap as u8);
        assert!(MM_BRK == Call::Brk as u8 && MM_MPROTECT == Call::Mprotect as u8);
        assert!(MM_MADVISE == Call::Madvise as u8 && MM_NAME == Call::Name as u8);
    };
    (FIRST..=LAST).contains(&call).then_some(call)
}
