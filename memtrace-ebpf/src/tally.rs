//! What a thread's work takes between two moments at which it may turn to other work: page frames, time in faults.
//!
//! Owns the sums, so that no frame needs a record of its own. Must not know for whom the thread works.

use memtrace_common::{
    map::{Family, Running},
    wire::{FrameCount, KIND_TALLY, Tally},
};

use crate::{TALLIES, emit, target::Target, task::Task, thread};

/// A thread's, where one has begun.
#[inline(always)]
pub(crate) fn of(tid: u32) -> Option<&'static mut Running> {
    // SAFETY: a live map element; only the thread itself adds to it, and interrupts on its time are left out.
    TALLIES.get_ptr_mut(tid).map(|running| unsafe { &mut *running })
}

/// A thread's whose work is added up. Most have none, and are not looked up for that.
#[inline(always)]
pub(crate) fn added_up(tid: u32) -> Option<&'static mut Running> {
    if thread::is_added_up(tid) { of(tid) } else { None }
}

/// The running thread's, to note something in. Its work is not added up for that.
#[inline(always)]
pub(crate) fn notes(me: Target) -> Option<&'static mut Running> {
    notes_of(me.tid)
}

#[inline(always)]
fn notes_of(tid: u32) -> Option<&'static mut Running> {
    let noted = of(tid);
    if noted.is_some() {
        return noted;
    }
    // Where there is no room, none is found.
    let _ = TALLIES.insert(tid, Running::default(), 0);
    of(tid)
}

/// Has the running thread's work added up from here on.
#[inline(always)]
pub(crate) fn begin(me: Target) {
    if !thread::is_added_up(me.tid) {
        let _ = begun(me);
    }
}

/// The same, for whoever has something to note in its sums.
#[inline(always)]
pub(crate) fn begun(me: Target) -> Option<&'static mut Running> {
    let Some(running) = notes(me) else {
        emit::lost(Family::Frame);
        return None;
    };
    if running.stack == 0 {
        running.stack = me.thread.task().stack();
    }
    thread::begins_sums(me.tid);
    Some(running)
}

/// The same for another thread, which does not run meanwhile.
#[inline(always)]
pub(crate) fn begin_other(tid: u32, task: Task) {
    if thread::is_added_up(tid) {
        return;
    }
    let Some(running) = notes_of(tid) else {
        return emit::lost(Family::Frame);
    };
    running.stack = task.stack();
    thread::begins_sums(tid);
}

/// Sends what there is, and begins anew.
#[inline(always)]
pub(crate) fn flush(me: Target) {
    tell_untold(me.tgid, me.tid, me.tid, me.thread.task());
}

/// The same for another thread of the process, which rests.
#[inline(always)]
pub(crate) fn flush_other(me: Target, tid: u32, task: Task) {
    tell_untold(me.tgid, tid, tid, task);
}

/// Most often there is nothing, and nothing is looked up.
#[inline(always)]
fn tell_untold(tgid: u32, tid: u32, kept_under: u32, task: Task) {
    if thread::has_untold(kept_under) {
        tell(tgid, tid, kept_under, task.0 as u64);
    }
}

/// A function of its own, for what calls it is many: numbers go in and out, which every kernel's verifier takes.
#[inline(never)]
extern "C" fn tell(tgid: u32, tid: u32, kept_under: u32, task: u64) -> u32 {
    thread::tells(kept_under);
    let Some(running) = of(kept_under) else { return 0 };
    let Running {
        frames,
        timed_faults,
        fault_ns,
        last_fault_ns,
        ..
    } = *running;
    running.frames = FrameCount::default();
    running.timed_faults = 0;
    running.fault_ns = 0;
    running.last_fault_ns = 0;
    let header = emit::header_of(tgid, tid, Task(task as *const u8).fault_count(), KIND_TALLY)
        .with_last_fault_ns(last_fault_ns);
    emit::send(
        Family::Frame,
        header.time_ns,
        Tally {
            header,
            frames,
            timed_faults,
            fault_ns,
        },
    );
    1
}

/// The thread begins to exit. What is kept of it stays until it is gone, so that a late fault begins no other.
#[inline(always)]
pub(crate) fn exits(me: Target) {
    flush(me);
    if let Some(running) = of(me.tid) {
        running.exiting = 1;
    }
}

/// A thread is gone. Its number may be another's by now.
#[inline(always)]
pub(crate) fn gone(tid: u32) {
    if of(tid).is_some_and(|running| running.exiting != 0) {
        forget(tid);
    }
}

/// The time in a thread's last fault, for a record that says it.
#[inline(always)]
pub(crate) fn take_last_fault(tid: u32) -> u32 {
    let Some(running) = of(tid) else { return 0 };
    let ns = running.last_fault_ns;
    running.last_fault_ns = 0;
    ns
}

/// The running thread had another number until now.
#[inline(always)]
pub(crate) fn renumbered(me: Target, old_tid: u32) {
    tell_untold(me.tgid, me.tid, old_tid, me.thread.task());
    forget(old_tid);
}

/// A number is a thread's no more, or not yet.
#[inline(always)]
pub(crate) fn forget(tid: u32) {
    // Most threads have none.
    let _ = TALLIES.remove(tid);
    thread::loses_sums(tid);
}
