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
const STEPS_A_SECOND: i64 = 100;

/// In the kernel's order, see [`RSS_KINDS`].
const RSS_NAMES: [&str; RSS_KINDS] = ["RSS file", "RSS anon", "RSS swapped", "RSS shmem"];

/// The counters of all processes.
#[derive(Default)]
pub(super) struct Counters {
    by_process: FxHashMap<Tgid, Process>,
    /// When the step began over which faults are being counted.
    step: Option<Nanos>,
}

#[derive(Default)]
struct Process {
    rss: [Counter; RSS_KINDS],
    allocated: Counter,
    freed: Counter,
    open: Counter,
    rate: Counter,
    frames: FrameCount,
    open_now: i64,
    /// Faults in this step.
    faults: i64,
}

/// One counter, and what it was last at.
#[derive(Default)]
struct Counter {
    track: Option<TrackId>,
    last: Option<i64>,
}

/// What a counter is like.
struct Kind {
    name: &'static str,
    unit: Unit<'static>,
    /// Counters of the same are drawn to one scale.
    share: &'static str,
    rank: i32,
}

const RATE: Kind = Kind {
    name: "faults per second",
    unit: Unit::Named("faults/s"),
    share: "",
    rank: 0,
};
const ALLOCATED: Kind = Kind {
    name: "frames allocated",
    unit: Unit::Named("frames"),
    share: "frames",
    rank: 5,
};
const FREED: Kind = Kind {
    name: "frames freed",
    unit: Unit::Named("frames"),
    share: "frames",
    rank: 6,
};
const OPEN: Kind = Kind {
    name: "open requests",
    unit: Unit::Count,
    share: "",
    rank: 7,
};

impl Counter {
    fn set(&mut self, tgid: Tgid, at: Nanos, value: i64, kind: &Kind, draw: &mut Draw<'_>) {
        // What never was anything needs no row.
        if self.last == Some(value) || (self.last.is_none() && value == 0) {
            return;
        }
        self.last = Some(value);
        let track = *self.track.get_or_insert_with(|| {
            let Kind {
                name,
                unit,
                share,
                rank,
            } = *kind;
            draw.tracks.counter(tgid, name, unit, share, rank, draw.writer)
        });
        draw.writer.count(track, at.0, value);
    }
}

impl Counters {
    /// Time has come to this.
    #[inline]
    pub(super) fn advance(&mut self, now: Nanos, draw: &mut Draw<'_>) {
        let step = *self.step.get_or_insert(now);
        if now.since(step) >= STEP {
            self.end_step(step, draw);
            // Faults are confirmed by what comes later: those of quiet times are in the step before.
            self.step = Some(Nanos(now.0 - now.since(step).0 % STEP.0));
            if now.since(step) >= Nanos(2 * STEP.0) {
                self.end_step(Nanos(step.0 + STEP.0), draw);
            }
        }
    }

    /// A fault completed.
    pub(super) fn faulted(&mut self, tgid: Tgid) {
        self.by_process.entry(tgid).or_default().faults += 1;
    }

    /// A process has so many pages.
    pub(super) fn resides(&mut self, tgid: Tgid, at: Nanos, pages: [i64; RSS_KINDS], draw: &mut Draw<'_>) {
        let process = self.by_process.entry(tgid).or_default();
        let kinds = process.rss.iter_mut().zip(pages).zip(RSS_NAMES);
        for (rank, ((counter, pages), name)) in (1..).zip(kinds) {
            let kind = Kind {
                name,
                unit: Unit::Bytes,
                share: "rss",
                rank,
            };
            // A per-CPU counter can be read below zero.
            let bytes = pages.max(0).saturating_mul(PAGE.cast_signed());
            counter.set(tgid, at, bytes, &kind, draw);
        }
    }

    /// A thread's work took these.
    pub(super) fn worked(&mut self, tgid: Tgid, at: Nanos, frames: &FrameCount, draw: &mut Draw<'_>) {
        let process = self.by_process.entry(tgid).or_default();
        let sum = &mut process.frames;
        sum.user += frames.user + frames.page_table + frames.kernel;
        sum.freed += frames.freed;
        let (allocated, freed) = (sum.user, sum.freed);
        let value = |frames: u64| i64::try_from(frames).unwrap_or(i64::MAX);
        process
            .allocated
            .set(tgid, at, value(allocated), &ALLOCATED, draw);
        process.freed.set(tgid, at, value(freed), &FREED, draw);
    }

    /// So many requests more are open, or fewer.
    pub(super) fn opened(&mut self, tgid: Tgid, at: Nanos, more: i64, draw: &mut Draw<'_>) {
        let process = self.by_process.entry(tgid).or_default();
        process.open_now += more;
        process.open.set(tgid, at, process.open_now, &OPEN, draw);
    }

    /// The process is gone.
    pub(super) fn gone(&mut self, tgid: Tgid, at: Nanos, draw: &mut Draw<'_>) {
        if let Some(mut process) = self.by_process.remove(&tgid) {
            for kind in process.rss.iter_mut().filter(|counter| counter.last.is_some()) {
                if let Some(track) = kind.track {
                    draw.writer.count(track, at.0, 0);
                }
            }
            if let Some(track) = process.rate.track {
                draw.writer.count(track, at.0, 0);
            }
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, now: Nanos, draw: &mut Draw<'_>) {
        if let Some(step) = self.step {
            self.end_step(step, draw);
        }
        // Nothing is known of what comes after.
        for process in self.by_process.values_mut() {
            process.faults = 0;
        }
        self.end_step(now, draw);
    }

    fn end_step(&mut self, began: Nanos, draw: &mut Draw<'_>) {
        let mut processes: Vec<Tgid> = self.by_process.keys().copied().collect();
        processes.sort_unstable_by_key(|tgid| tgid.0);
        for tgid in processes {
            let Some(process) = self.by_process.get_mut(&tgid) else {
                continue;
            };
            let faults = std::mem::take(&mut process.faults);
            if faults > 0 || process.rate.last.is_some() {
                process
                    .rate
                    .set(tgid, began, faults * STEPS_A_SECOND, &RATE, draw);
            }
        }
    }
}
