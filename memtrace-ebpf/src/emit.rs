//! Records into the ring, and the books about those that did not fit.
//!
//! Owns the wake-up policy: none, ever. Userspace polls; a wake-up a record makes a fault five times as slow.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_ktime_get_ns, generated::bpf_ringbuf_output},
};
use memtrace_common::{
    FaultCount,
    map::{Counters, Family, Gap},
    wire::{FAULT_KERNEL, Header},
};

use crate::{COUNTERS, GAP, RING, target::Target};

const NO_WAKEUP: u64 = BPF_RB_NO_WAKEUP as u64;

/// The header of a record about the running thread.
#[inline(always)]
pub(crate) fn header(me: Target, kind: u8) -> Header {
    header_of(me.tgid, me.tid, me.thread.fault_count(), kind)
}

/// The header of a record about any thread.
#[inline(always)]
pub(crate) fn header_of(tgid: u32, tid: u32, count: FaultCount, kind: u8) -> Header {
    Header {
        // SAFETY: the helper takes nothing.
        time_ns: unsafe { bpf_ktime_get_ns() },
        tgid,
        tid,
        min_flt: count.minor,
        maj_flt: count.major,
        kind,
        flags: 0,
        op: 0,
        pad: 0,
        fd: 0,
    }
}

/// Sends a record of fixed size. Returns whether there was room for it.
#[inline(always)]
pub(crate) fn send<T: 'static>(family: Family, time_ns: u64, record: T) -> bool {
    if let Some(mut entry) = RING.reserve::<T>(0) {
        entry.write(record);
        entry.submit(NO_WAKEUP);
        sent([family], time_ns);
        true
    } else {
        dropped([family], time_ns);
        false
    }
}

/// Sends `len` bytes in one entry: a record of each of these families. The verifier has to know that they lie in one map
/// value. Returns whether there was room.
#[inline(always)]
pub(crate) fn send_bytes<const N: usize>(
    families: [Family; N],
    time_ns: u64,
    bytes: *mut u8,
    len: u64,
) -> bool {
    // SAFETY: the verifier has checked pointer and length against the map value.
    let failed =
        unsafe { bpf_ringbuf_output((&raw const RING).cast_mut().cast(), bytes.cast(), len, NO_WAKEUP) };
    if failed == 0 {
        sent(families, time_ns);
    } else {
        dropped(families, time_ns);
    }
    failed == 0
}

/// A fact could not even be written down: counted like a record that found the ring full.
#[inline(always)]
pub(crate) fn lost(family: Family) {
    if let Some(counters) = counters() {
        counters.dropped[family as usize] += 1;
    }
}

#[inline(always)]
fn sent<const N: usize>(families: [Family; N], time_ns: u64) {
    if let Some(counters) = counters() {
        for family in families {
            counters.emitted[family as usize] += 1;
        }
    }
    if let Some(gap) = gap()
        && gap.since_ns != 0
    {
        // Two CPUs may both see the gap end: then it counts twice, which errs on the honest side.
        gap.closed_ns += time_ns.saturating_sub(gap.since_ns);
        gap.since_ns = 0;
    }
}

#[inline(always)]
fn dropped<const N: usize>(families: [Family; N], time_ns: u64) {
    for family in families {
        lost(family);
    }
    if let Some(gap) = gap()
        && gap.since_ns == 0
    {
        gap.since_ns = time_ns;
    }
}

/// Runs `read`, which may touch user memory that is not resident: a fault that this makes is not the program's.
#[inline(always)]
pub(crate) fn probing<R>(read: impl FnOnce() -> R) -> R {
    if let Some(counters) = counters() {
        counters.probing = 1;
    }
    let result = read();
    if let Some(counters) = counters() {
        counters.probing = 0;
    }
    result
}

/// Whether a fault in this mode, here and now, is one that a probe makes.
#[inline(always)]
pub(crate) fn is_own_fault(flags: u8) -> bool {
    flags & FAULT_KERNEL != 0 && counters().is_some_and(|c| c.probing != 0)
}

#[inline(always)]
fn counters() -> Option<&'static mut Counters> {
    // SAFETY: this CPU's own element, and BPF programs on it do not preempt each other.
    COUNTERS.get_ptr_mut(0).map(|c| unsafe { &mut *c })
}

#[inline(always)]
fn gap() -> Option<&'static mut Gap> {
    // SAFETY: a live map element; races between CPUs only blur the length of a gap.
    GAP.get_ptr_mut(0).map(|g| unsafe { &mut *g })
}
