//! What goes up and down: resident memory, faults a second, page frames, open requests.
//!
//! Owns when a counter is written: when it has changed. Must not know what it counts for.

use memtrace_common::{
    Nanos, Tgid,
    wire::{FrameCount, RSS_KINDS},
};
use rustc_hash::FxHashMap;

use super::Draw;
use crate::{
    model::vma::PAGE,
    perfetto::{TrackId, Unit},
};

/// Faults a second are counted over so long.
const STEP: Nanos = Nanos(10_000_000);

/// The counters of all processes.
#[derive(Default)]
pub(super) struct Counters {
    by_process: FxHashMap<Tgid, Process>,
    /// When the step began over which faults are being counted.
    step: Option<Nanos>,
}

#[derive(Default)]
struct Process {
    /// In [`KINDS`]' order.
    counters: [Counter; KINDS.len()],
    allocated: u64,
    freed: u64,
    open: i64,
    /// Faults in this step.
    faults: u64,
}

/// One counter, what it was last at, and since when.
#[derive(Default)]
struct Counter {
    track: Option<TrackId>,
    last: i64,
    since: Nanos,
}

/// What a counter is like.
struct Kind {
    name: &'static str,
    unit: Unit<'static>,
    /// Counters of the same are drawn to one scale.
    share: &'static str,
}

const fn kind(name: &'static str, unit: Unit<'static>, share: &'static str) -> Kind {
    Kind { name, unit, share }
}

/// All counters, from the top down.
const KINDS: [Kind; RSS + RSS_KINDS] = [
    kind("faults per second", Unit::Named("faults/s"), ""),
    kind("frames allocated", Unit::Named("frames"), "frames"),
    kind("frames freed", Unit::Named("frames"), "frames"),
    kind("open requests", Unit::Count, ""),
    // In the kernel's order, see [`RSS_KINDS`].
    kind("RSS file", Unit::Bytes, "rss"),
    kind("RSS anon", Unit::Bytes, "rss"),
    kind("RSS swapped", Unit::Bytes, "rss"),
    kind("RSS shmem", Unit::Bytes, "rss"),
];
const RATE: usize = 0;
const ALLOCATED: usize = 1;
const FREED: usize = 2;
const OPEN: usize = 3;
const RSS: usize = 4;

impl Process {
    fn set(&mut self, which: usize, tgid: Tgid, at: Nanos, value: i64, draw: &mut Draw) {
        let (Some(counter), Some(kind)) = (self.counters.get_mut(which), KINDS.get(which)) else {
            return;
        };
        // What never was anything needs no row.
        if counter.last == value {
            return;
        }
        counter.last = value;
        // Records of two CPUs can come a little out of the order of their times: what comes last is what it is at.
        counter.since = counter.since.max(at);
        let at = counter.since;
        let track = *counter.track.get_or_insert_with(|| {
            let rank = i32::try_from(which).unwrap_or(i32::MAX);
            draw.tracks
                .counter(tgid, kind.name, kind.unit, kind.share, rank, &mut draw.writer)
        });
        draw.writer.count(track, at.0, value);
    }
}

impl Counters {
    /// Time has come to this.
    #[inline]
    pub(super) fn advance(&mut self, now: Nanos, draw: &mut Draw) {
        let step = *self.step.get_or_insert(now);
        if now.since(step) >= STEP {
            self.end_step(step, draw);
            if now.since(step) >= Nanos(2 * STEP.0) {
                // Steps went by in which nothing was told.
                self.end_step(Nanos(step.0 + STEP.0), draw);
            }
            self.step = Some(Nanos(now.0 - now.since(step).0 % STEP.0));
        }
    }

    /// A fault completed.
    pub(super) fn faulted(&mut self, tgid: Tgid) {
        self.by_process.entry(tgid).or_default().faults += 1;
    }

    /// A process has so many pages.
    pub(super) fn resides(&mut self, tgid: Tgid, at: Nanos, pages: [i64; RSS_KINDS], draw: &mut Draw) {
        let process = self.by_process.entry(tgid).or_default();
        for (which, pages) in (RSS..).zip(pages) {
            // A per-CPU counter can be read below zero.
            let bytes = pages.max(0).saturating_mul(PAGE.cast_signed());
            process.set(which, tgid, at, bytes, draw);
        }
    }

    /// A thread's work took these.
    pub(super) fn worked(&mut self, tgid: Tgid, at: Nanos, frames: &FrameCount, draw: &mut Draw) {
        let process = self.by_process.entry(tgid).or_default();
        for more in [frames.user, frames.page_table, frames.kernel] {
            process.allocated = process.allocated.saturating_add(more);
        }
        process.freed = process.freed.saturating_add(frames.freed);
        process.set(ALLOCATED, tgid, at, figure(process.allocated), draw);
        process.set(FREED, tgid, at, figure(process.freed), draw);
    }

    /// So many requests more are open, or fewer.
    pub(super) fn opened(&mut self, tgid: Tgid, at: Nanos, more: i64, draw: &mut Draw) {
        let process = self.by_process.entry(tgid).or_default();
        process.open += more;
        process.set(OPEN, tgid, at, process.open, draw);
    }

    /// The process is gone: it has no memory and takes no faults.
    pub(super) fn gone(&mut self, tgid: Tgid, at: Nanos, draw: &mut Draw) {
        if let Some(mut process) = self.by_process.remove(&tgid) {
            for which in (RSS..KINDS.len()).chain([RATE, OPEN]) {
                process.set(which, tgid, at, 0, draw);
            }
        }
    }

    /// The run is over: what is known of the last step, and then nothing.
    pub(super) fn finish(&mut self, now: Nanos, draw: &mut Draw) {
        if let Some(step) = self.step {
            self.end_step(step, draw);
        }
        self.end_step(now, draw);
    }

    fn end_step(&mut self, began: Nanos, draw: &mut Draw) {
        let mut processes: Vec<_> = self.by_process.iter_mut().collect();
        processes.sort_unstable_by_key(|(tgid, _)| tgid.0);
        for (&tgid, process) in processes {
            let faults = std::mem::take(&mut process.faults);
            let rate = figure(faults).saturating_mul(1_000_000_000 / STEP.0.cast_signed());
            process.set(RATE, tgid, began, rate, draw);
        }
    }
}

/// A figure that a counter can have.
fn figure(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
