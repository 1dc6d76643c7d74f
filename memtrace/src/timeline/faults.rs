//! Faults on their threads: one by one, or a slice for those of one kind that follow each other.
//!
//! Owns what is written on a fault's slice. Must not know whose rows those are, nor where its time is from.

use memtrace_common::{Nanos, Tid};
use rustc_hash::FxHashMap;

use super::{Detail, Draw};
use crate::{
    model::{cause::Cause, vma::Region},
    perfetto::{Arg, Event as Slice},
    timed::Completed,
};

/// Faults that follow each other within this time are one run.
const RUN_GAP: Nanos = Nanos(1_000_000);

/// Names of slices, and the runs that go on.
pub(super) struct Faults {
    detail: Detail,
    names: Vec<[String; Region::ALL.len()]>,
    runs: FxHashMap<Tid, Run>,
}

/// Faults of one kind that follow each other.
struct Run {
    first: Completed,
    count: u64,
    until: Nanos,
    /// The time in them, where it is known.
    ns: Option<u64>,
}

impl Faults {
    pub(super) fn new(detail: Detail) -> Self {
        let name = |cause: Cause| Region::ALL.map(|region| format!("{} {}", cause.name(), region.name()));
        Self {
            detail,
            names: Cause::ALL.map(name).into(),
            runs: FxHashMap::default(),
        }
    }

    /// A fault has completed, and its time is known if it ever will be.
    pub(super) fn completed(&mut self, fault: &Completed, draw: &mut Draw) {
        match self.detail {
            Detail::Faults => self.draw_one(fault, draw),
            Detail::Runs => self.go_on(fault, draw),
            Detail::Requests => {}
        }
    }

    /// The thread turns to other work, or is gone: what belongs together ends.
    pub(super) fn turned(&mut self, tid: Tid, draw: &mut Draw) {
        if let Some(run) = self.runs.remove(&tid) {
            self.draw_run(&run, draw);
        }
    }

    /// The run is over.
    pub(super) fn finish(&mut self, draw: &mut Draw) {
        let mut left: Vec<Tid> = self.runs.keys().copied().collect();
        left.sort_unstable_by_key(|tid| tid.0);
        for tid in left {
            self.turned(tid, draw);
        }
    }

    fn go_on(&mut self, fault: &Completed, draw: &mut Draw) {
        let tid = fault.taken.tid;
        let took = fault.took.map(u64::from);
        let until = Nanos(fault.taken.at.0.saturating_add(took.unwrap_or(0)));
        match self.runs.get_mut(&tid) {
            Some(run)
                if goes_with(&run.first, fault)
                    && fault.taken.at >= run.first.taken.at
                    && fault.taken.at.since(run.until) <= RUN_GAP =>
            {
                run.count += 1;
                run.until = run.until.max(until);
                run.ns = run.ns.zip(took).map(|(sum, ns)| sum + ns);
            }
            _ => {
                let run = Run {
                    first: fault.clone(),
                    count: 1,
                    until,
                    ns: took,
                };
                if let Some(before) = self.runs.insert(tid, run) {
                    self.draw_run(&before, draw);
                }
            }
        }
    }

    fn draw_one(&self, fault: &Completed, draw: &mut Draw) {
        let taken = &fault.taken;
        let [mode, kind, whose] = arguments(fault);
        let arguments = [
            Arg::pointer("address", taken.address),
            Arg::pointer("ip", taken.ip),
            mode,
            kind,
            whose,
            Arg::str("file", fault.file.as_deref().unwrap_or_default()),
        ];
        let known = arguments.len() - usize::from(fault.file.is_none());
        let slice = Slice {
            category: "fault",
            name: self.name(fault),
            args: arguments.get(..known).unwrap_or_default(),
            ..Slice::default()
        };
        let track = draw.thread(fault.tgid, taken.tid);
        match fault.took {
            Some(ns) => draw.writer.slice(track, taken.at.0, ns.into(), &slice),
            None => draw.writer.instant(track, taken.at.0, &slice),
        }
    }

    fn draw_run(&self, run: &Run, draw: &mut Draw) {
        let first = &run.first;
        let mut all = vec![Arg::uint("count", run.count)];
        all.extend(run.ns.map(|ns| Arg::uint("fault_ns", ns)));
        all.extend(arguments(first));
        all.extend(first.file.as_deref().map(|file| Arg::str("file", file)));
        let slice = Slice {
            category: "fault",
            name: self.name(first),
            args: &all,
            ..Slice::default()
        };
        let track = draw.thread(first.tgid, first.taken.tid);
        let began = first.taken.at;
        draw.writer
            .slice(track, began.0, run.until.since(began).0, &slice);
    }

    fn name(&self, fault: &Completed) -> &str {
        let names = self.names.get(fault.cause() as usize);
        names.map_or("", |names| names[fault.region() as usize].as_str())
    }
}

/// Of one run, if they follow each other.
fn goes_with(first: &Completed, next: &Completed) -> bool {
    let key = |fault: &Completed| {
        (
            fault.tgid,
            fault.cause(),
            fault.region(),
            fault.taken.place.file(),
            fault.outcome,
            fault.taken.kernel_mode,
            fault.owner,
        )
    };
    key(first) == key(next)
}

fn arguments(fault: &Completed) -> [Arg<'static>; 3] {
    let whose = match fault.whose() {
        Ok(id) => Arg::uint("request", id),
        Err(reason) => Arg::str("unattributed", reason),
    };
    [
        Arg::str("mode", fault.mode()),
        Arg::str("kind", fault.kind()),
        whose,
    ]
}
