//! A byte for every possible thread: what its next wake-up and its wait for events are judged by, and whether it has
//! sums in `tally` that are worth looking up.
//!
//! Owns what the bits mean. One load or store and no hashing, because wake-ups are many. Must not know requests: a
//! thread *may* have work for one.

use memtrace_common::map::TARGETS_PER_ELEMENT;

use crate::THREADS;

/// It may have work for a request: it has waited for events, read or written a connection, read from a channel, or was
/// woken by such a thread, and has not accepted since.
const WORKS: u8 = 1;
/// The wait for events that it is in, or was in last, returns at once.
const ASKS: u8 = 2;
/// Its work is added up.
const ADDED_UP: u8 = 4;
/// Its sums have something that no record has told.
const UNTOLD: u8 = 8;
/// What is known of its sums.
const SUMS: u8 = ADDED_UP | UNTOLD;

/// Whether it may have work for a request.
#[inline(always)]
pub(crate) fn works(tid: u32) -> bool {
    load(tid) & WORKS != 0
}

/// It may from now on.
#[inline(always)]
pub(crate) fn gets_work(tid: u32) {
    set(tid, WORKS);
}

/// Whether it may already, its work is added up, and all of that is told: nothing changes as it goes on to other work.
#[inline(always)]
pub(crate) fn is_ready_for_more(tid: u32) -> bool {
    load(tid) & (WORKS | SUMS) == WORKS | ADDED_UP
}

/// It has none from now on.
#[inline(always)]
pub(crate) fn rests(tid: u32) {
    change(tid, SUMS, 0);
}

/// It goes to wait for events, and works for whom they are. `asks` where it does not stay if there are none.
#[inline(always)]
pub(crate) fn waits(tid: u32, asks: bool) {
    change(tid, SUMS, if asks { WORKS | ASKS } else { WORKS });
}

/// Whether its work is added up.
#[inline(always)]
pub(crate) fn is_added_up(tid: u32) -> bool {
    load(tid) & ADDED_UP != 0
}

/// It is from now on.
#[inline(always)]
pub(crate) fn begins_sums(tid: u32) {
    set(tid, ADDED_UP);
}

/// They have grown.
#[inline(always)]
pub(crate) fn adds(tid: u32) {
    set(tid, UNTOLD);
}

/// Whether they have since they were last told.
#[inline(always)]
pub(crate) fn has_untold(tid: u32) -> bool {
    load(tid) & UNTOLD != 0
}

/// They are told.
#[inline(always)]
pub(crate) fn tells(tid: u32) {
    change(tid, !UNTOLD, 0);
}

/// They are gone.
#[inline(always)]
pub(crate) fn loses_sums(tid: u32) {
    change(tid, !SUMS, 0);
}

/// Whether its last wait would not have stayed.
#[inline(always)]
pub(crate) fn asked(tid: u32) -> bool {
    load(tid) & ASKS != 0
}

/// It is new, and may work for whom its parent does. The number may have been another's.
#[inline(always)]
pub(crate) fn is_born(tid: u32, parent: u32) {
    change(tid, 0, load(parent) & WORKS);
}

#[inline(always)]
fn load(tid: u32) -> u8 {
    match slot(tid) {
        // SAFETY: `slot` points into a live map element.
        Some(slot) => unsafe { slot.read_volatile() },
        None => 0,
    }
}

#[inline(always)]
fn set(tid: u32, flags: u8) {
    if load(tid) & flags == 0 {
        change(tid, !0, flags);
    }
}

/// Leaves those to `keep` and sets others. A thread writes its own byte, and a waker that of a thread that rests.
#[inline(always)]
fn change(tid: u32, keep: u8, flags: u8) {
    if let Some(slot) = slot(tid) {
        // SAFETY: as above.
        let before = unsafe { slot.read_volatile() };
        // SAFETY: as above.
        unsafe { slot.write_volatile(before & keep | flags) };
    }
}

#[inline(always)]
fn slot(tid: u32) -> Option<*mut u8> {
    // The compiler would add to the pointer before it asks whether there is one, which no verifier takes.
    let element = core::hint::black_box(THREADS.get_ptr_mut(tid / TARGETS_PER_ELEMENT)?);
    // SAFETY: the remainder is below the element's length.
    Some(unsafe { element.cast::<u8>().add((tid % TARGETS_PER_ELEMENT) as usize) })
}
