//! What a thread's work takes between two moments at which it may turn to other work: page frames, time in faults.
//!
//! Owns the sums, so that no frame needs a record of its own. Must not know for whom the thread works.

use memtrace_common::{
    map::{Family, Running},
    wire::{FrameCount, KIND_TALLY, Tally},
};

use crate::{TALLIES, emit, target::Target};

/// The running thread's, where one has begun.
#[inline(always)]
pub(crate) fn of(me: Target) -> Option<&'static mut Running> {
    // SAFETY: a live map element; only the thread itself adds to it, and interrupts on its time are left out.
    TALLIES
        .get_ptr_mut(me.tid)
        .map(|running| unsafe { &mut *running })
}

/// Has the thread's work added up from here on.
#[inline(always)]
pub(crate) fn begin(me: Target) {
    if of(me).is_none() && TALLIES.insert(me.tid, Running::default(), 0).is_err() {
        emit::lost(Family::Frame);
    }
}

/// Sends what there is, and begins anew.
#[inline(always)]
pub(crate) fn flush(me: Target) {
    let Some(running) = of(me) else { return };
    let Running {
        frames,
        timed_faults,
        fault_ns,
        ..
    } = *running;
    if frames.user | frames.page_table | frames.kernel | frames.freed | timed_faults == 0 {
        return;
    }
    running.frames = FrameCount::default();
    running.timed_faults = 0;
    running.fault_ns = 0;
    let header = emit::header(me, KIND_TALLY);
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
}

/// The thread ends.
#[inline(always)]
pub(crate) fn end(me: Target) {
    flush(me);
    // Most threads have none.
    let _ = TALLIES.remove(me.tid);
}
