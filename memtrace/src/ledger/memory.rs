//! What a request's work took besides faults: page frames, the time in its faults, and how resident memory moved.
//!
//! Owns the way from the probes' figures, in pages, to a report's, in bytes. Must not know when they are read.

use memtrace_common::wire::{FrameCount, RSS_KINDS, Rss as Reading, Tally};

use super::entry::{Frames, Rss};

/// Bytes of a base page.
const PAGE: i64 = 4096;

/// Resident memory at both ends of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// At its first byte read.
    first: Option<Resident>,
    /// At its last byte written so far.
    last: Option<Resident>,
}

/// What a thread's work took between two moments at which it may have turned to other work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Page frames.
    pub frames: FrameCount,
    /// Faults that were timed.
    pub timed_faults: u64,
    /// The time in them, nanoseconds.
    pub fault_ns: u64,
    /// The time in the last of them, nanoseconds, where no record has said it; it is in the sum. Zero for none.
    pub last_fault_ns: u64,
}

impl From<&Tally> for Work {
    fn from(tally: &Tally) -> Self {
        Self {
            frames: tally.frames,
            timed_faults: tally.timed_faults,
            fault_ns: tally.fault_ns,
            last_fault_ns: tally.header.last_fault_ns().map_or(0, u64::from),
        }
    }
}

/// A process's resident memory at one moment, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    pages: [i64; RSS_KINDS],
    error_pages: u64,
}

impl From<&Reading> for Resident {
    fn from(reading: &Reading) -> Self {
        Self {
            pages: reading.pages,
            error_pages: reading.error_pages,
        }
    }
}

/// In the kernel's order, see [`RSS_KINDS`].
const FILE: usize = 0;
const ANON: usize = 1;
const SWAP: usize = 2;
const SHMEM: usize = 3;

impl Work {
    /// More of it.
    pub(super) fn add(&mut self, more: &Self) {
        let (sum, more_frames) = (&mut self.frames, &more.frames);
        for (sum, more) in [
            (&mut sum.user, more_frames.user),
            (&mut sum.page_table, more_frames.page_table),
            (&mut sum.kernel, more_frames.kernel),
            (&mut sum.freed, more_frames.freed),
            (&mut sum.huge, more_frames.huge),
            (&mut self.fault_ns, more.fault_ns),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Its page frames, as a report has them.
    pub(super) fn frames(&self) -> Frames {
        let FrameCount {
            user,
            page_table,
            kernel,
            freed,
            huge,
        } = self.frames;
        Frames {
            allocated: user.saturating_add(page_table).saturating_add(kernel),
            freed,
            user,
            page_table,
            kernel,
            huge,
        }
    }
}

impl Memory {
    /// A request begins.
    pub(super) fn beginning_at(first: Option<Resident>) -> Self {
        Self { first, last: None }
    }

    /// A part of its answer was written.
    pub(super) fn wrote_at(&mut self, last: Resident) {
        self.last = Some(last);
    }

    /// `None` where one end was not seen.
    pub(super) fn rss(&self) -> Option<Rss> {
        let (first, last) = (self.first?, self.last?);
        let delta = |kind: usize| {
            last.pages[kind]
                .saturating_sub(first.pages[kind])
                .saturating_mul(PAGE)
        };
        Some(Rss {
            start: first.bytes(),
            end: last.bytes(),
            delta: last
                .bytes()
                .cast_signed()
                .saturating_sub(first.bytes().cast_signed()),
            anon_delta: delta(ANON),
            file_delta: delta(FILE),
            shmem_delta: delta(SHMEM),
            swap_delta: delta(SWAP),
            error_max: first.error_max().saturating_add(last.error_max()),
        })
    }
}

impl Resident {
    /// `VmRSS`: what is swapped out is not resident.
    fn bytes(&self) -> u64 {
        let pages = [FILE, ANON, SHMEM]
            .iter()
            .fold(0_i64, |sum, &kind| sum.saturating_add(self.pages[kind]));
        // Counters whose parts are not all known can be below zero.
        u64::try_from(pages.saturating_mul(PAGE)).unwrap_or(0)
    }

    /// How far `bytes` may be off: each of three counters by as much.
    fn error_max(&self) -> u64 {
        self.error_pages
            .saturating_mul(3)
            .saturating_mul(PAGE.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident(pages: [i64; RSS_KINDS], error_pages: u64) -> Resident {
        Resident { pages, error_pages }
    }

    #[test]
    fn resident_memory_is_told_by_kind_in_bytes() {
        let mut memory = Memory::beginning_at(Some(resident([10, 20, 3, 4], 0)));
        assert_eq!(memory.rss(), None);
        memory.wrote_at(resident([10, 99, 3, 4], 0));
        memory.wrote_at(resident([11, 25, 1, 2], 2));
        let Some(rss) = memory.rss() else {
            panic!("both ends are known")
        };
        assert_eq!((rss.start, rss.end, rss.delta), (34 * 4096, 38 * 4096, 4 * 4096));
        assert_eq!(
            [rss.file_delta, rss.anon_delta, rss.swap_delta, rss.shmem_delta],
            [4096, 5 * 4096, -2 * 4096, -2 * 4096]
        );
        assert_eq!(rss.error_max, 2 * 3 * 4096);
    }

    #[test]
    fn counters_out_of_all_bounds_do_no_harm() {
        let mut memory = Memory::beginning_at(Some(resident([i64::MIN; RSS_KINDS], u64::MAX)));
        memory.wrote_at(resident([i64::MAX; RSS_KINDS], u64::MAX));
        assert_eq!(
            memory.rss().map(|rss| (rss.start, rss.error_max)),
            Some((0, u64::MAX))
        );
    }
}
