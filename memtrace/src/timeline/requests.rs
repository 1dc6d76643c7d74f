//! Requests on rows, the stretches of threads' time that were for them, and an arrow from each request to each of these.
//!
//! Owns which row is free, and from when. Must not know what a request came to: that is its report's.

use std::collections::BTreeMap;

use memtrace_common::{Nanos, Tgid, Tid};
use rustc_hash::FxHashMap;

use super::{Detail, Draw, arguments};
use crate::{
    ledger::entry::Request,
    perfetto::{Arg, Event as Slice, FlowId},
    window::RequestId,
};

/// Stretches that one request has arrows to, at most. The last goes on over those that follow.
const STRETCHES_MAX: usize = 1024;

/// Requests that are not drawn yet.
#[derive(Default)]
pub(super) struct Requests {
    open: FxHashMap<RequestId, Open>,
    /// Rows below the highest that was used and are free, each with when the last request on it ended. Records of two
    /// CPUs can come a little out of the order of their times: a request may have begun before one whose end came first.
    free: BTreeMap<usize, Nanos>,
    rows: usize,
    flows: u64,
}

struct Open {
    tgid: Tgid,
    row: Option<Row>,
    stretches: Vec<Stretch>,
    has_ended: bool,
}

/// The row that a request has, which nothing else is on from this time.
#[derive(Clone, Copy)]
struct Row {
    number: usize,
    since: Nanos,
}

/// A stretch of a thread's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) tgid: Tgid,
    pub(super) tid: Tid,
    pub(super) from: Nanos,
    pub(super) to: Nanos,
}

impl Requests {
    /// One begins. Those that are not listed have no row.
    pub(super) fn opened(&mut self, id: RequestId, tgid: Tgid, at: Nanos, is_listed: bool) {
        let row = is_listed.then(|| self.row(at));
        let open = Open {
            tgid,
            row,
            stretches: Vec::new(),
            has_ended: false,
        };
        self.open.insert(id, open);
    }

    /// The first row that is free at this time.
    fn row(&mut self, at: Nanos) -> Row {
        let free = self.free.iter().find(|&(_, &since)| since <= at);
        if let Some((&number, &since)) = free {
            self.free.remove(&number);
            return Row { number, since };
        }
        self.rows += 1;
        Row {
            number: self.rows - 1,
            since: at,
        }
    }

    /// It was none.
    pub(super) fn withdrawn(&mut self, id: RequestId) -> Option<Tgid> {
        let open = self.open.remove(&id).filter(|open| !open.has_ended)?;
        self.free.extend(open.row.map(|row| (row.number, row.since)));
        Some(open.tgid)
    }

    /// It is answered: its row is free for the next. It is drawn when it is reported.
    pub(super) fn ended(&mut self, id: RequestId, at: Nanos) -> Option<Tgid> {
        let open = self.open.get_mut(&id).filter(|open| !open.has_ended)?;
        open.has_ended = true;
        self.free
            .extend(open.row.map(|row| (row.number, at.max(row.since))));
        Some(open.tgid)
    }

    /// A stretch of a thread's time was for this request.
    pub(super) fn worked(&mut self, id: RequestId, stretch: Stretch) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let has_room = open.stretches.len() < STRETCHES_MAX;
        match open.stretches.last_mut() {
            Some(last) if !has_room && last.tid == stretch.tid => last.to = stretch.to,
            _ if has_room => open.stretches.push(stretch),
            _ => {}
        }
    }

    /// It is reported: draws it, what was done for it, and the arrows.
    pub(super) fn reported(&mut self, request: &Request, detail: Detail, draw: &mut Draw) {
        let Some(open) = self.open.remove(&RequestId(request.id)) else {
            return;
        };
        let Some(row) = open.row else { return };
        let stretches = if detail == Detail::Requests {
            &[][..]
        } else {
            &open.stretches
        };
        let first = self.flows;
        self.flows += stretches.len() as u64;
        let flows: Vec<FlowId> = (first..self.flows).map(FlowId).collect();
        let name = name(request);
        let writer = &mut draw.writer;
        let track = draw.tracks.row(row.number, writer);
        arguments::of(request, |arguments| {
            let slice = Slice {
                category: "request",
                name: &name,
                args: arguments,
                flows: &flows,
                flows_end: &[],
            };
            writer.slice(track, request.start_ns, request.duration_ns, &slice);
        });
        for (stretch, flow) in stretches.iter().zip(flows) {
            let slice = Slice {
                category: "work",
                name: &name,
                args: &[Arg::uint("request", request.id)],
                flows: &[],
                flows_end: &[flow],
            };
            let Stretch { tgid, tid, from, to } = *stretch;
            let track = draw.thread(tgid, tid);
            draw.writer.slice(track, from.0, to.since(from).0, &slice);
        }
    }

    /// It has ended, and is not to be drawn.
    pub(super) fn forget(&mut self, id: RequestId) {
        self.open.remove(&id);
    }
}

/// What is written on its slice.
fn name(request: &Request) -> String {
    match (request.method.as_str(), request.route.as_str()) {
        ("", "") => "request".to_owned(),
        ("", route) => route.to_owned(),
        (method, route) => format!("{method} {route}"),
    }
}
