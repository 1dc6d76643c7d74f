//! Who is traced: the first test of every probe.
//!
//! Owns the table of targets. Must not know what the probes do with the answer.

use memtrace_common::map::{TARGET_FORKED, TARGET_PARENT, TARGETS_PER_ELEMENT};

use crate::{TARGETS, current::Current, ids::Ids};

/// The running thread, of a traced process.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
    pub(crate) thread: Current,
    flags: u8,
}

impl Target {
    /// `None` where the running thread is nobody's business.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        let thread = Current::get();
        Self::of(thread, Ids::of_current(thread))
    }

    /// The same, for whoever has asked for these already.
    #[inline(always)]
    pub(crate) fn of(thread: Current, Ids { tgid, tid }: Ids) -> Option<Self> {
        let flags = flags(tgid);
        (flags != 0).then_some(Self {
            tgid,
            tid,
            thread,
            flags,
        })
    }

    #[inline(always)]
    pub(crate) fn ids(self) -> Ids {
        Ids {
            tgid: self.tgid,
            tid: self.tid,
        }
    }

    /// The process was forked while traced: some descriptors may be known under its parent.
    #[inline(always)]
    pub(crate) fn forked(self) -> bool {
        self.flags & TARGET_FORKED != 0
    }

    /// It, or a process of which it has descriptors, has forked while traced: what it closes matters to others.
    #[inline(always)]
    pub(crate) fn has_kin(self) -> bool {
        self.flags & (TARGET_FORKED | TARGET_PARENT) != 0
    }

    /// Marks the process. Returns whether it was not marked before.
    #[inline(always)]
    pub(crate) fn mark(self, flag: u8) -> bool {
        let is_new = self.flags & flag == 0;
        if is_new {
            set_flags(self.tgid, self.flags | flag);
        }
        is_new
    }
}

/// The `TARGET_` bits of a process.
#[inline(always)]
pub(crate) fn flags(tgid: u32) -> u8 {
    match slot(tgid) {
        // SAFETY: `slot` points into a live map element.
        Some(slot) => unsafe { slot.read_volatile() },
        None => 0,
    }
}

/// Sets them: a store of one byte, so that neighbours are never touched.
#[inline(always)]
pub(crate) fn set_flags(tgid: u32, flags: u8) {
    if let Some(slot) = slot(tgid) {
        // SAFETY: as above.
        unsafe { slot.write_volatile(flags) };
    }
}

#[inline(always)]
fn slot(tgid: u32) -> Option<*mut u8> {
    let element = TARGETS.get_ptr_mut(tgid / TARGETS_PER_ELEMENT)?;
    // SAFETY: the remainder is below the element's length.
    Some(unsafe { element.cast::<u8>().add((tgid % TARGETS_PER_ELEMENT) as usize) })
}
