//! A run drawn on a timeline: what Perfetto's user interface shows of it.
//!
//! Owns what becomes a track, a slice or a counter, and what is written on it. Must not know how they become bytes
//! (`perfetto` does), nor decide anything of the run: it draws events, what the ledger posts of them, and the requests
//! as they are reported. Memory is bounded by what is open at one time.
//!
//! - `tracks`: the rows of the picture
//! - `faults`: faults, one by one or in runs
//! - `requests`: requests on rows, the threads' work for them, and the arrows between
//! - `counters`: what goes up and down
//! - `arguments`: a report's object as a slice's arguments

mod arguments;
mod counters;
mod faults;
mod requests;
mod tracks;

use std::str::FromStr;

use memtrace_common::{
    Nanos, Tgid, Tid,
    decode::Record,
    wire::{self, Mm, Unmapped},
};
use rustc_hash::FxHashMap;

use self::{counters::Counters, faults::Faults, requests::Requests, tracks::Tracks};
use crate::{
    event::{Event, Notice},
    ledger::{
        entry::{Lost, Request},
        journal::Posting,
    },
    model::vma::Files,
    perfetto::{Arg, Event as Slice, Writer},
    record::{Asked, Clocks},
    timed::Timed,
    window::RequestId,
};

/// How much is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Requests, counters and losses.
    Requests,
    /// And threads, with their calls and faults; faults of one kind that follow each other are one slice.
    Runs,
    /// The same, each fault a slice of its own.
    #[default]
    Faults,
}

/// A `--perfetto-detail` that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no detail of a trace; there are faults, runs and requests")]
pub struct DetailError(String);

impl FromStr for Detail {
    type Err = DetailError;

    fn from_str(name: &str) -> Result<Self, DetailError> {
        match name {
            "faults" => Ok(Self::Faults),
            "runs" => Ok(Self::Runs),
            "requests" => Ok(Self::Requests),
            _ => Err(DetailError(name.to_owned())),
        }
    }
}

/// Draws a run while it goes on.
pub struct Timeline {
    writer: Writer,
    detail: Detail,
    tracks: Tracks,
    faults: Faults,
    timed: Timed,
    requests: Requests,
    counters: Counters,
    /// Calls of `munmap` that have not returned, by their threads.
    unmapping: FxHashMap<Tid, (Mm, Option<u64>, Option<u64>)>,
    lost: Lost,
    now: Nanos,
}

impl Timeline {
    /// Of a run that began at these times and was asked for like this.
    pub fn new(clocks: Clocks, asked: &Asked, detail: Detail) -> Self {
        Self {
            writer: Writer::new(crate::perfetto::Clocks {
                monotonic_ns: clocks.monotonic,
                boottime_ns: clocks.boottime,
                realtime_ns: clocks.realtime,
            }),
            detail,
            tracks: Tracks::default(),
            faults: Faults::new(detail),
            timed: Timed::new(asked.fault_time),
            requests: Requests::default(),
            counters: Counters::default(),
            unmapping: FxHashMap::default(),
            lost: Lost::default(),
            now: Nanos(clocks.monotonic),
        }
    }

    /// The next event, before the pipeline has it.
    pub fn event(&mut self, event: &Event<'_>) {
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        let faults = &mut self.faults;
        self.timed.event(event, |fault| faults.draw(fault, draw));
        match event {
            Event::Record(record) => self.record(record),
            Event::Notice(notice) => self.notice(notice),
        }
    }

    fn record(&mut self, record: &Record<'_>) {
        let header = record.header();
        let (tgid, tid) = (Tgid(header.tgid), Tid(header.tid));
        let at = Nanos(header.time_ns);
        self.now = self.now.max(at);
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        self.counters.advance(self.now, draw);
        match record {
            Record::Tally(tally) => self.counters.worked(tgid, at, &tally.frames, draw),
            Record::Rss(rss) => self.counters.resides(tgid, at, rss.pages, draw),
            Record::Unmapped(unmapped) => self.unmapped(tid, unmapped),
            Record::Fork(fork) => {
                let (child, child_tid) = (Tgid(fork.child_tgid), Tid(fork.child_tid));
                self.tracks.born(tgid, child, child_tid);
            }
            Record::Exec(exec) => {
                self.tracks.named(tgid, &String::from_utf8_lossy(&exec.comm));
                if exec.old_tid != header.tid {
                    self.leaves(Tid(exec.old_tid), at);
                }
            }
            Record::Free(_) => {
                if tgid.0 == tid.0 {
                    self.counters.gone(tgid, self.now, draw);
                }
                self.leaves(tid, at);
            }
            _ => {}
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Process { tgid, comm, .. } => self.tracks.named(*tgid, comm),
            Notice::Thread { tid, comm, .. } => self.tracks.found(*tid, comm),
            Notice::Ending { time } => self.now = self.now.max(*time),
            Notice::Lost { lost, since, until } => self.lose(*lost, *since, *until),
            _ => {}
        }
    }

    /// What the ledger posted because of the last event.
    pub fn posting(&mut self, posting: &Posting, files: &Files) {
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        match *posting {
            Posting::Opened {
                id,
                tgid,
                at,
                is_listed,
                ..
            } => {
                self.counters.opened(tgid, at, 1, draw);
                self.requests.opened(id, tgid, is_listed);
            }
            Posting::Withdrawn { id } => {
                if let Some(tgid) = self.requests.withdrawn(id) {
                    self.counters.opened(tgid, self.now, -1, draw);
                }
            }
            Posting::Unlisted { id } => self.requests.forget(id),
            Posting::Ended { id, at } => {
                if let Some(tgid) = self.requests.ended(id, at) {
                    self.counters.opened(tgid, at, -1, draw);
                }
            }
            Posting::Fault { tgid, .. } => {
                self.counters.faulted(tgid);
                let faults = &mut self.faults;
                self.timed
                    .posting(posting, files, |fault| faults.draw(fault, draw));
            }
            Posting::Call { call, moved, of } => {
                if self.detail > Detail::Requests {
                    let of = of.map(|id| id.0);
                    if call.header.op == wire::MM_MUNMAP {
                        // It is told at its entry; its return is to come.
                        self.unmapping.insert(Tid(call.header.tid), (call, moved, of));
                    } else {
                        draw.call(&call, call.header.time_ns, moved, of);
                    }
                }
            }
            Posting::Turned { tgid, tid, at, to } => {
                self.faults.turned(tid, draw);
                self.requests.turned(tgid, tid, at, to);
            }
        }
    }

    /// A request is reported.
    pub fn request(&mut self, request: &Request) {
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        self.requests.reported(request, self.detail, draw);
    }

    /// A request that has ended is not to be drawn.
    pub fn leave_out(&mut self, id: u64) {
        self.requests.forget(RequestId(id));
    }

    /// What there is to write by now.
    pub fn take(&mut self) -> Vec<u8> {
        self.writer.take()
    }

    /// The run is over: the rest.
    pub fn finish(mut self) -> Vec<u8> {
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        let faults = &mut self.faults;
        self.timed.finish(|fault| faults.draw(fault, draw));
        faults.finish(draw);
        let mut left: Vec<_> = self.unmapping.into_values().collect();
        left.sort_unstable_by_key(|(call, ..)| call.header.time_ns);
        for (call, moved, of) in left {
            draw.call(&call, call.header.time_ns, moved, of);
        }
        self.counters.finish(self.now, draw);
        self.writer.finish()
    }

    /// A thread is gone, or has another number.
    fn leaves(&mut self, tid: Tid, at: Nanos) {
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        self.requests.leaves(tid, at);
        self.faults.turned(tid, draw);
        if let Some((call, moved, of)) = self.unmapping.remove(&tid) {
            draw.call(&call, call.header.time_ns, moved, of);
        }
        self.tracks.left(tid);
    }

    fn unmapped(&mut self, tid: Tid, unmapped: &Unmapped) {
        let Some((call, moved, of)) = self.unmapping.remove(&tid) else {
            return;
        };
        let draw = &mut Draw {
            writer: &mut self.writer,
            tracks: &mut self.tracks,
        };
        draw.call(&call, unmapped.header.time_ns, moved, of);
    }

    /// More was lost, at some time between these.
    fn lose(&mut self, lost: Lost, since: Nanos, until: Nanos) {
        let before = std::mem::replace(&mut self.lost, lost);
        let until = if until.0 == 0 { self.now } else { until };
        let since = if since.0 == 0 { until } else { since };
        let more = [
            ("fault", lost.fault.saturating_sub(before.fault)),
            ("mm", lost.mm.saturating_sub(before.mm)),
            ("io", lost.io.saturating_sub(before.io)),
            ("frame", lost.frame.saturating_sub(before.frame)),
            ("task", lost.task.saturating_sub(before.task)),
        ];
        let records: u64 = more.iter().map(|(_, n)| n).sum();
        if records == 0 {
            return;
        }
        let arguments = more.map(|(family, n)| Arg::uint(family, n));
        let slice = Slice {
            category: "lost",
            name: "records lost: this is a gap and not quiet",
            args: &arguments,
            ..Slice::default()
        };
        let track = self.tracks.losses(&mut self.writer);
        self.writer.slice(track, since.0, until.since(since).0, &slice);
    }
}

/// What all parts draw with.
struct Draw<'a> {
    writer: &'a mut Writer,
    tracks: &'a mut Tracks,
}

impl Draw<'_> {
    /// An address-space call.
    fn call(&mut self, call: &Mm, until: u64, moved: Option<u64>, of: Option<u64>) {
        let header = &call.header;
        let [first, second, third, ..] = call.args;
        let (name, bytes) = match header.op {
            wire::MM_MMAP => ("mmap", second),
            wire::MM_MUNMAP => ("munmap", second),
            wire::MM_MREMAP => ("mremap", third),
            wire::MM_BRK => ("brk", moved.unwrap_or(0)),
            wire::MM_MPROTECT => ("mprotect", second),
            wire::MM_MADVISE => ("madvise", second),
            _ => return,
        };
        let address = match (header.op, moved) {
            (wire::MM_MMAP, Some(_)) => call.ret.cast_unsigned(),
            _ => first,
        };
        let mut arguments = vec![Arg::pointer("address", address), Arg::uint("bytes", bytes)];
        match (header.op, moved) {
            (_, Some(moved)) if header.op != wire::MM_BRK => arguments.push(Arg::uint("moved", moved)),
            // brk fails by returning what was.
            (wire::MM_BRK, _) => arguments.push(Arg::uint("moves", moved.is_some().into())),
            _ => arguments.push(Arg::int("error", call.ret)),
        }
        arguments.extend(of.map(|id| Arg::uint("request", id)));
        let slice = Slice {
            category: "mm",
            name,
            args: &arguments,
            ..Slice::default()
        };
        let began = if call.began_ns == 0 {
            header.time_ns
        } else {
            call.began_ns
        };
        let track = self
            .tracks
            .thread(Tgid(header.tgid), Tid(header.tid), self.writer);
        self.writer
            .slice(track, began, until.saturating_sub(began), &slice);
    }
}
