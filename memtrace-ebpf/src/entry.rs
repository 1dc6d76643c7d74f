//! On whose behalf the kernel runs: the running thread's, or an interrupt's that came in its time.
//!
//! Owns how the two are told apart without `preempt_count`, whose place no symbol that every user may read tells. Must
//! not know what is counted.
//!
//! An interrupt in kernel mode is handled on a stack of its own, and so are its soft interrupts. One in user mode is
//! handled on the thread's, which is empty then (`call_on_irqstack_cond` in `arch/x86/include/asm/irq_stack.h`, from
//! 5.10 on), and frees what RCU has waited for on any process's behalf. What is right below the user's registers tells
//! by which way the kernel was entered: the entry code calls system calls, page faults and interrupts from different
//! places. Where `FRED` enters, all come by one, and interrupts in user mode are the thread's. With `PREEMPT_RT`, what
//! a thread's own calls leave to soft interrupts is its own.

use aya_ebpf::{EbpfContext as _, helpers::bpf_probe_read_kernel, programs::RawTracePointContext};
use memtrace_common::map::{Entry, Running};

use crate::{
    ENTRY,
    task::{self, Task},
};

/// Who has the kernel do what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behalf {
    /// The running thread, in a system call or a fault.
    Thread,
    /// An interrupt in user mode, or the thread on its way back from one (a signal).
    Unclear,
    Interrupt,
}

impl Behalf {
    /// Of what fires this tracepoint. Its arguments lie on the stack of whoever fires it.
    #[inline(always)]
    pub(crate) fn of(ctx: &RawTracePointContext, running: &mut Running) -> Self {
        let Some(&mut Entry {
            registers,
            system_call,
            fault,
        }) = entry()
        else {
            return Self::Interrupt;
        };
        if number(ctx, running).wrapping_sub(running.stack) >= registers {
            return Self::Interrupt;
        }
        let from = word_below(running.stack + registers);
        if from == system_call || from == fault {
            Self::Thread
        } else {
            Self::Unclear
        }
    }
}

/// A thread of memtrace's makes a system call, and these are its registers: where they lie, and what has called, is the
/// same for every thread's. For `sys_enter` alone: what a new thread returns from when it fires `sys_exit` is
/// `ret_from_fork`.
#[inline(always)]
pub(crate) fn by_system_call(registers: *const u8) {
    if let Some(entry) = entry()
        && entry.system_call == 0
    {
        let registers = task::number(registers);
        entry.registers = above_stack(registers);
        entry.system_call = word_below(registers);
    }
}

/// It has faulted in user mode.
#[inline(always)]
pub(crate) fn by_fault(registers: *const u8) {
    if let Some(entry) = entry()
        && entry.fault == 0
    {
        let registers = registers as u64;
        entry.registers = above_stack(registers);
        entry.fault = word_below(registers);
    }
}

/// Where a thread's registers lie on its stack, as the first that entered the kernel had them (`task_pt_regs`).
#[inline(always)]
pub(crate) fn registers() -> u64 {
    entry().map_or(0, |entry| entry.registers)
}

#[inline(always)]
fn above_stack(registers: u64) -> u64 {
    registers.wrapping_sub(Task::current().stack())
}

#[inline(always)]
fn word_below(address: u64) -> u64 {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((address - size_of::<u64>() as u64) as *const u64) }.unwrap_or(0)
}

/// The context's address. The verifier does not let its pointer be calculated with, but a number that comes out of a
/// map.
#[inline(always)]
fn number(ctx: &RawTracePointContext, running: &mut Running) -> u64 {
    let cell = &raw mut running.cell;
    // SAFETY: from a reference. Volatile, so that the compiler does not keep the pointer in its register.
    unsafe { cell.cast::<*const u8>().write_volatile(ctx.as_ptr().cast()) };
    // SAFETY: as above; every bit pattern is a number.
    unsafe { cell.read_volatile() }
}

#[inline(always)]
fn entry() -> Option<&'static mut Entry> {
    // SAFETY: a live map element; whoever writes it writes the same.
    ENTRY.get_ptr_mut(0).map(|entry| unsafe { &mut *entry })
}
