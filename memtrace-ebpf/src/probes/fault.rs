//! `page_fault_user` and `page_fault_kernel`: every attempt at a fault, with the thread's count of faults before it.
//!
//! Owns the reading of an entry. Must not know whether the attempt will complete: the next record says.

use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_probe_read_kernel},
    programs::RawTracePointContext,
};
use memtrace_common::{
    map::Family,
    wire::{FAULT_EXEC, FAULT_KERNEL, FAULT_PROTECTION, FAULT_WRITE, Fault, KIND_FAULT},
};

use super::rss;
use crate::{FAULT_TIME, arch, emit, entry, tally, target::Target, thread};

#[inline(always)]
pub(crate) fn user(ctx: &RawTracePointContext) {
    if let Some(me) = Target::current() {
        entry::by_fault(ctx.arg(1));
        record(ctx, me, 0);
    }
}

#[inline(always)]
pub(crate) fn kernel(ctx: &RawTracePointContext) {
    // The kernel's own addresses (vmalloc and the like) are no business of the target's address space.
    if !arch::is_user_address(ctx.arg(0)) {
        return;
    }
    if let Some(me) = Target::current()
        && !emit::is_own_fault(FAULT_KERNEL)
    {
        record(ctx, me, FAULT_KERNEL);
    }
}

/// `(unsigned long address, struct pt_regs *regs, unsigned long error_code)`: `arch/x86/include/asm/trace/exceptions.h`.
#[inline(always)]
fn record(ctx: &RawTracePointContext, me: Target, mode: u8) {
    let address: u64 = ctx.arg(0);
    let regs: *const u8 = ctx.arg(1);
    let error: u64 = ctx.arg(2);
    // SAFETY: the helper checks the address.
    let ip = unsafe { bpf_probe_read_kernel(regs.wrapping_add(arch::IP).cast::<u64>()) }.unwrap_or(0);
    let mut header = emit::header(me, KIND_FAULT);
    rss::faults(me, header.time_ns);
    let timed = if FAULT_TIME.load() == 0 {
        None
    } else {
        tally::begun(me)
    };
    if let Some(running) = &timed {
        header = header.with_last_fault_ns(running.last_fault_ns);
    }
    header.flags = mode
        | bit(error, arch::PF_WRITE, FAULT_WRITE)
        | bit(error, arch::PF_INSTR, FAULT_EXEC)
        | bit(error, arch::PF_PROT, FAULT_PROTECTION);
    let is_told = emit::send(Family::Fault, header.time_ns, Fault { header, address, ip });
    if let Some(running) = timed {
        // An attempt before this that has not ended has failed.
        running.fault_since_ns = header.time_ns;
        running.fault_is_lost = u32::from(!is_told);
        if is_told {
            running.last_fault_ns = 0;
        }
    }
}

/// A fault of the running thread has completed, and the kernel has counted it (`mm_account_fault` in mm/memory.c).
#[inline(always)]
pub(crate) fn ended() {
    let Some(me) = Target::current() else { return };
    let Some(running) = tally::of(me.tid) else {
        return;
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    // A fault that the kernel takes on the process's behalf has no entry.
    if running.fault_since_ns != 0 {
        // Zero would be none.
        let took = now.saturating_sub(running.fault_since_ns).max(1);
        running.fault_ns += took;
        running.timed_faults += 1;
        thread::adds(me.tid);
        running.fault_since_ns = 0;
        if running.fault_is_lost == 0 {
            running.last_fault_ns = took.min(u64::from(u32::MAX)) as u32;
        }
    }
}

#[inline(always)]
fn bit(error: u64, from: u64, to: u8) -> u8 {
    if error & from == 0 { 0 } else { to }
}
