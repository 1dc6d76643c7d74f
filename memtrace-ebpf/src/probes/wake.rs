//! `sched_waking`: a thread wakes another of its process that waits for a futex.
//!
//! Owns who is woken by whom. The tracepoint blames the running thread for what interrupts wake in its time, so both
//! sides' own system calls have to say the same: one wakes whoever waits for this word, the other waits for it. Must
//! not know what the word is: a lock, a queue.

use aya_ebpf::programs::RawTracePointContext;
use memtrace_common::{
    map::Family,
    wire::{KIND_WAKE, Wake},
};

use super::syscall::Registers;
use crate::{
    arch::{FUTEX, FUTEX_WAIT, FUTEX_WAKE},
    emit, entry,
    ids::Ids,
    tally,
    target::Target,
    task::Task,
    thread,
};

/// `(struct task_struct *task)`, before it is made runnable.
#[inline(always)]
pub(crate) fn waking(ctx: &RawTracePointContext) {
    let Some(me) = Target::current() else { return };
    // Nearly all that a server's threads wake are its clients', as they send to them.
    let woken = Task(ctx.arg(0));
    let Some(tid) = Ids::of_sibling(woken, me.ids()) else {
        return;
    };
    if !thread::works(me.tid) && !thread::works(tid) {
        return;
    }
    let Some(words) = saved(me.thread.task()).and_then(|regs| wakes(&regs)) else {
        return;
    };
    let Some(word) = saved(woken).and_then(|regs| waits_for(&regs)) else {
        return;
    };
    if word != words[0] && word != words[1] {
        return;
    }
    // Either may turn to other work. The woken one does nothing meanwhile.
    tally::flush(me);
    tally::flush_other(me, tid, woken);
    thread::gets_work(tid);
    tally::begin_other(tid, woken);
    let header = emit::header(me, KIND_WAKE);
    emit::send(
        Family::Io,
        header.time_ns,
        Wake {
            header,
            tid,
            pad: 0,
            word,
        },
    );
}

/// The registers that a thread saved when it entered the kernel, and so the system call that it is in, if any.
#[inline(always)]
fn saved(task: Task) -> Option<Registers> {
    let registers = entry::registers();
    // Nobody has been seen to enter the kernel yet.
    if registers == 0 {
        return None;
    }
    Some(Registers::copy((task.stack() + registers) as *const u8))
}

/// The words whose waiters a call wakes.
#[inline(always)]
fn wakes(regs: &Registers) -> Option<[u64; 2]> {
    /// `FUTEX_WAKE`, `_REQUEUE`, `_CMP_REQUEUE`, `_WAKE_OP`, `_UNLOCK_PI`, `_WAKE_BITSET`, `_CMP_REQUEUE_PI`, by their
    /// numbers (`include/uapi/linux/futex.h`).
    const OPERATIONS: u64 = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 12;
    let number = regs.number();
    let first = regs.argument(0);
    if number == FUTEX_WAKE {
        return Some([first; 2]);
    }
    (number == FUTEX && is_one_of(OPERATIONS, regs.argument(1))).then(|| [first, regs.argument(4)])
}

/// The word that a call waits for.
#[inline(always)]
fn waits_for(regs: &Registers) -> Option<u64> {
    /// `FUTEX_WAIT`, `_LOCK_PI`, `_WAIT_BITSET`, `_WAIT_REQUEUE_PI`, `_LOCK_PI2`.
    const OPERATIONS: u64 = 1 << 0 | 1 << 6 | 1 << 9 | 1 << 11 | 1 << 13;
    let number = regs.number();
    let waits = number == FUTEX_WAIT || (number == FUTEX && is_one_of(OPERATIONS, regs.argument(1)));
    waits.then(|| regs.argument(0))
}

#[inline(always)]
fn is_one_of(operations: u64, operation: u64) -> bool {
    /// Without `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`, there are 16 at most.
    const FLAGS: u64 = 128 | 256;
    let operation = u64::from(operation as u32) & !FLAGS;
    operation < 16 && operations >> operation & 1 != 0
}
