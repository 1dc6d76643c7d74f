//! The rows of the picture: processes, their threads, groups of requests, counters, losses.
//!
//! Owns their names, their order, and that each is described before anything is on it. Must not know what that is.

use memtrace_common::{Tgid, Tid};
use rustc_hash::FxHashMap;

use crate::perfetto::{Order, Track, TrackId, Unit, Writer};

/// Names of processes that are remembered, at most.
const NAMES_MAX: usize = 65_536;

/// What has been described so far.
#[derive(Default)]
pub(super) struct Tracks {
    names: FxHashMap<Tgid, String>,
    processes: FxHashMap<Tgid, TrackId>,
    threads: FxHashMap<Tid, (Tgid, TrackId)>,
    thread_names: FxHashMap<Tid, String>,
    group: Option<TrackId>,
    losses: Option<TrackId>,
    rows: Vec<TrackId>,
}

impl Tracks {
    /// A process has this name from now on.
    pub(super) fn named(&mut self, tgid: Tgid, comm: &str) {
        let comm = comm.trim_end_matches('\0');
        if self.names.len() < NAMES_MAX || self.names.contains_key(&tgid) {
            self.names.insert(tgid, comm.to_owned());
        }
    }

    /// A thread was found, with this name.
    pub(super) fn found(&mut self, tid: Tid, comm: &str) {
        if !comm.is_empty() && self.thread_names.len() < NAMES_MAX {
            self.thread_names.insert(tid, comm.to_owned());
        }
    }

    /// A child has its parent's name until it has its own.
    pub(super) fn born(&mut self, parent: Tgid, child: Tgid, child_tid: Tid) {
        self.left(child_tid);
        if parent != child
            && let Some(name) = self.names.get(&parent).cloned()
        {
            self.gone(child);
            self.named(child, &name);
        }
    }

    /// A thread is gone: its number may be another's soon.
    pub(super) fn left(&mut self, tid: Tid) {
        self.threads.remove(&tid);
        self.thread_names.remove(&tid);
    }

    /// A process is gone, and its number may be another's, too.
    pub(super) fn gone(&mut self, tgid: Tgid) {
        self.processes.remove(&tgid);
        self.names.remove(&tgid);
    }

    /// A thread's row, within its process.
    pub(super) fn thread(&mut self, tgid: Tgid, tid: Tid, writer: &mut Writer) -> TrackId {
        if let Some(&(of, track)) = self.threads.get(&tid)
            && of == tgid
        {
            return track;
        }
        self.process(tgid, writer);
        let name = self.thread_names.get(&tid).or_else(|| self.names.get(&tgid));
        let name = name.map_or("", String::as_str);
        let track = writer.track(&Track::thread(tgid.0, tid.0, name));
        self.threads.insert(tid, (tgid, track));
        track
    }

    /// A process's rows.
    fn process(&mut self, tgid: Tgid, writer: &mut Writer) -> TrackId {
        *self.processes.entry(tgid).or_insert_with(|| {
            let name = self.names.get(&tgid).map_or("", String::as_str);
            writer.track(&Track::process(tgid.0, name))
        })
    }

    /// A counter of a process's. Those with the same `share` are drawn to one scale.
    pub(super) fn counter(
        &mut self,
        tgid: Tgid,
        name: &str,
        unit: Unit<'_>,
        share: &str,
        rank: i32,
        writer: &mut Writer,
    ) -> TrackId {
        let process = self.process(tgid, writer);
        writer.track(&Track::counter(Some(process), name, unit).share(share).rank(rank))
    }

    /// The row of this number below `requests`, counted from 0.
    pub(super) fn row(&mut self, number: usize, writer: &mut Writer) -> TrackId {
        let group = *self.group.get_or_insert_with(|| {
            let group = Track::child(None, "requests")
                .children(Order::Rank)
                .rank(-2)
                .description(
                    "HTTP requests and the program's own windows; those that overlap on rows of their own",
                );
            writer.track(&group)
        });
        while self.rows.len() <= number {
            let rank = i32::try_from(self.rows.len()).unwrap_or(i32::MAX);
            let name = format!("row {}", self.rows.len() + 1);
            self.rows
                .push(writer.track(&Track::child(Some(group), &name).rank(rank)));
        }
        self.rows.get(number).copied().unwrap_or(group)
    }

    /// The row for what is not in this trace.
    pub(super) fn losses(&mut self, writer: &mut Writer) -> TrackId {
        *self.losses.get_or_insert_with(|| {
            let track = Track::child(None, "losses").rank(-3).description(
                "where records did not reach memtrace: what happened there is not in this trace",
            );
            writer.track(&track)
        })
    }
}
