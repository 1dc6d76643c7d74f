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
    wire::{self, Mm},
};
use rustc_hash::FxHashMap;

use self::{
    counters::Counters,
    faults::Faults,
    requests::{Requests, Stretch},
    tracks::Tracks,
};
use crate::{
    event::{Event, Notice},
    ledger::{
        entry::{Lost, Request},
        journal::Posting,
    },
    perfetto::{Arg, Event as Slice, TrackId, Writer},
    record::Clocks,
    timed::Completed,
    waiting::Waiting,
    window::{Owner, Reason, RequestId, Whose},
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
    draw: Draw,
    detail: Detail,
    faults: Faults,
    requests: Requests,
    counters: Counters,
    /// Calls of `munmap` that have not returned, by their threads.
    unmapping: FxHashMap<Tid, Call>,
    /// Whom each thread works for, and since when.
    working: FxHashMap<Tid, (Tgid, Owner, Nanos)>,
    /// What cannot be drawn before it is known whose it is.
    unresolved: Waiting<Work>,
    /// Who is gone with the last event, and when: what the ledger posts because of it is still theirs.
    gone: Option<(Tgid, Tid, Nanos)>,
    lost: Lost,
    now: Nanos,
}

/// What all parts draw with.
struct Draw {
    writer: Writer,
    tracks: Tracks,
}

/// An address-space call, the bytes that it moved, when it returned, and whom it was for.
struct Call {
    mm: Mm,
    moved: Option<u64>,
    until: u64,
    of: Owner,
}

/// What was done for somebody.
enum Work {
    Call(Call),
    Stretch(Stretch),
}

impl Timeline {
    /// Of a run that began at these times.
    pub fn new(clocks: Clocks, detail: Detail) -> Self {
        Self {
            draw: Draw {
                writer: Writer::new(crate::perfetto::Clocks {
                    monotonic_ns: clocks.monotonic,
                    boottime_ns: clocks.boottime,
                    realtime_ns: clocks.realtime,
                }),
                tracks: Tracks::default(),
            },
            detail,
            faults: Faults::new(detail),
            requests: Requests::default(),
            counters: Counters::default(),
            unmapping: FxHashMap::default(),
            working: FxHashMap::default(),
            unresolved: Waiting::default(),
            gone: None,
            lost: Lost::default(),
            now: Nanos(clocks.monotonic),
        }
    }

    /// The next event, before the pipeline has it.
    pub fn event(&mut self, event: &Event<'_>) {
        self.bury();
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
        self.counters.advance(self.now, &mut self.draw);
        match record {
            Record::Tally(tally) => self.counters.worked(tgid, at, &tally.frames, &mut self.draw),
            Record::Rss(rss) => self.counters.resides(tgid, at, rss.pages, &mut self.draw),
            Record::Unmapped(unmapped) => {
                if let Some(call) = self.unmapping.remove(&tid) {
                    let until = unmapped.header.time_ns;
                    self.worked(call.of, Work::Call(Call { until, ..call }));
                }
            }
            Record::Fork(fork) => {
                let (child, child_tid) = (Tgid(fork.child_tgid), Tid(fork.child_tid));
                self.draw.tracks.born(tgid, child, child_tid);
            }
            Record::Exec(exec) => {
                self.draw.tracks.named(tgid, &String::from_utf8_lossy(&exec.comm));
                if exec.old_tid != header.tid {
                    self.gone = Some((tgid, Tid(exec.old_tid), at));
                }
            }
            Record::Free(_) => self.gone = Some((tgid, tid, at)),
            _ => {}
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Process { tgid, comm, .. } => self.draw.tracks.named(*tgid, comm),
            Notice::Thread { tid, comm, .. } => self.draw.tracks.found(*tid, comm),
            Notice::Gone { tgid, time } => self.gone = Some((*tgid, Tid(tgid.0), *time)),
            Notice::Ending { time } => self.now = self.now.max(*time),
            Notice::Lost { lost, since, until } => self.lose(*lost, *since, *until),
            _ => {}
        }
    }

    /// What the ledger posted because of the last event.
    pub fn posting(&mut self, posting: &Posting) {
        let draw = &mut self.draw;
        match *posting {
            Posting::Opened {
                id,
                tgid,
                at,
                is_listed,
                ..
            } => {
                self.counters.opened(tgid, at, 1, draw);
                self.requests.opened(id, tgid, at, is_listed);
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
            Posting::Fault { tgid, .. } => self.counters.faulted(tgid),
            Posting::Call { call, moved, of } => {
                let call_of = Call {
                    mm: call,
                    moved,
                    until: call.header.time_ns,
                    of,
                };
                match call.header.op {
                    _ if self.detail == Detail::Requests => {}
                    // It is told at its entry; its return is to come.
                    wire::MM_MUNMAP => {
                        self.unmapping.insert(Tid(call.header.tid), call_of);
                    }
                    _ => self.worked(of, Work::Call(call_of)),
                }
            }
            Posting::Turned { tgid, tid, at, to } => {
                self.faults.turned(tid, draw);
                self.turned(tgid, tid, at, to);
            }
            Posting::Resolved { token, whose } => {
                for call in self.unmapping.values_mut() {
                    if matches!(call.of, Owner::Token(of, _) if of == token) {
                        call.of = call.of.resolved(whose);
                    }
                }
                for work in self.unresolved.resolved(token) {
                    self.draw_work(whose, work);
                }
            }
        }
    }

    /// A thread turns to other work.
    fn turned(&mut self, tgid: Tgid, tid: Tid, at: Nanos, to: Owner) {
        self.leaves(tid, at);
        if matches!(to, Owner::Request(..) | Owner::Token(..)) {
            self.working.insert(tid, (tgid, to, at));
        }
    }

    /// A thread works for nobody from here on.
    fn leaves(&mut self, tid: Tid, to: Nanos) {
        if let Some((tgid, of, from)) = self.working.remove(&tid) {
            let stretch = Stretch { tgid, tid, from, to };
            self.worked(of, Work::Stretch(stretch));
        }
    }

    /// This was done for somebody.
    fn worked(&mut self, of: Owner, work: Work) {
        if let Some(work) = self.unresolved.keep(of, work) {
            let whose = match of {
                Owner::Request(id, _) => Whose::Request(id),
                Owner::Nobody(reason) => Whose::Nobody(reason),
                Owner::Token(..) | Owner::Unproven => Whose::Nobody(Reason::Idle),
            };
            self.draw_work(whose, work);
        }
    }

    fn draw_work(&mut self, whose: Whose, work: Work) {
        match (work, whose) {
            (Work::Call(call), _) => self.draw.call(&call, whose),
            (Work::Stretch(stretch), Whose::Request(id)) => self.requests.worked(id, stretch),
            (Work::Stretch(_), Whose::Nobody(_)) => {}
        }
    }

    /// A fault has completed, and its time is known if it ever will be.
    pub fn fault(&mut self, fault: &Completed) {
        self.faults.completed(fault, &mut self.draw);
    }

    /// A request is reported.
    pub fn request(&mut self, request: &Request) {
        self.requests.reported(request, self.detail, &mut self.draw);
    }

    /// A request that has ended is not to be drawn.
    pub fn leave_out(&mut self, id: u64) {
        self.requests.forget(RequestId(id));
    }

    /// What there is to write by now.
    pub fn take(&mut self) -> Vec<u8> {
        self.draw.writer.take()
    }

    /// The run is over: the rest.
    pub fn finish(mut self) -> Vec<u8> {
        self.bury();
        self.faults.finish(&mut self.draw);
        let mut left: Vec<_> = std::mem::take(&mut self.unmapping).into_values().collect();
        left.sort_unstable_by_key(|call| call.mm.header.time_ns);
        for call in left {
            self.worked(call.of, Work::Call(call));
        }
        self.counters.finish(self.now, &mut self.draw);
        self.draw.writer.finish()
    }

    /// Nothing more is to come of who was gone with the last event.
    fn bury(&mut self) {
        let Some((tgid, tid, at)) = self.gone.take() else {
            return;
        };
        self.leaves(tid, at);
        self.faults.turned(tid, &mut self.draw);
        if let Some(call) = self.unmapping.remove(&tid) {
            self.worked(call.of, Work::Call(call));
        }
        self.draw.tracks.left(tid);
        if tgid.0 == tid.0 {
            self.counters.gone(tgid, at, &mut self.draw);
            self.draw.tracks.gone(tgid);
        }
    }

    /// More was lost, at some time between these.
    fn lose(&mut self, lost: Lost, since: Nanos, until: Nanos) {
        let before = std::mem::replace(&mut self.lost, lost);
        let until = if until.0 == 0 { self.now } else { until };
        let since = if since.0 == 0 { until } else { since };
        let more = [
            ("fault", lost.fault, before.fault),
            ("mm", lost.mm, before.mm),
            ("io", lost.io, before.io),
            ("frame", lost.frame, before.frame),
            ("task", lost.task, before.task),
        ];
        if more.iter().all(|(_, now, before)| now <= before) {
            return;
        }
        let arguments = more.map(|(family, now, before)| Arg::uint(family, now.saturating_sub(before)));
        let slice = Slice {
            category: "lost",
            name: "records lost: this is a gap and not quiet",
            args: &arguments,
            ..Slice::default()
        };
        let Draw { writer, tracks } = &mut self.draw;
        let track = tracks.losses(writer);
        writer.slice(track, since.0, until.since(since).0, &slice);
    }
}

impl Draw {
    fn thread(&mut self, tgid: Tgid, tid: Tid) -> TrackId {
        self.tracks.thread(tgid, tid, &mut self.writer)
    }

    /// An address-space call.
    fn call(&mut self, call: &Call, whose: Whose) {
        let Call { mm, moved, until, .. } = call;
        let header = &mm.header;
        let [first, second, third, ..] = mm.args;
        // `brk` is given an address, and no length.
        let (name, wanted) = match header.op {
            wire::MM_MMAP => ("mmap", second),
            wire::MM_MUNMAP => ("munmap", second),
            wire::MM_MREMAP => ("mremap", third),
            wire::MM_BRK => ("brk", 0),
            wire::MM_MPROTECT => ("mprotect", second),
            wire::MM_MADVISE => ("madvise", second),
            _ => return,
        };
        let address = match (header.op, moved) {
            (wire::MM_MMAP, Some(_)) => mm.ret.cast_unsigned(),
            _ => first,
        };
        let mut arguments = vec![
            Arg::pointer("address", address),
            Arg::uint("bytes", moved.unwrap_or(wanted)),
        ];
        match (header.op, moved) {
            // It fails by returning what was.
            (wire::MM_BRK, moved) => arguments.push(Arg::uint("moves", moved.is_some().into())),
            (_, None) => arguments.push(Arg::int("error", mm.ret)),
            _ => {}
        }
        if let Whose::Request(id) = whose {
            arguments.push(Arg::uint("request", id.0));
        }
        let slice = Slice {
            category: "mm",
            name,
            args: &arguments,
            ..Slice::default()
        };
        // Recordings of version 1 do not say when it began.
        let began = match mm.began_ns {
            0 => header.time_ns,
            ns => ns,
        };
        let track = self.thread(Tgid(header.tgid), Tid(header.tid));
        self.writer
            .slice(track, began, until.saturating_sub(began), &slice);
    }
}
