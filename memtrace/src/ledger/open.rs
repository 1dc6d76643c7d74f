//! A request on its way, from its first byte to its report.
//!
//! Owns what is known of one, and how that becomes an entry. Must not know others.

use std::collections::BTreeMap;

use memtrace_common::{Nanos, Tgid, Tid};

use super::{
    Head, Resident,
    account::Sums,
    entry::{Attribution, Faults, Request, RuntimeSize},
    kinds::Kinds,
    memory::Memory,
};
use crate::{marker::End, window::RequestId};

/// Values that one request can have.
const VALUES_MAX: usize = 64;

/// A request that has not been reported yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tgid: Tgid,
    pub(super) tid: Tid,
    pub(super) listed: bool,
    pub(super) head: Head,
    pub(super) status: Option<u16>,
    pub(super) start: Nanos,
    pub(super) memory: Memory,
    pub(super) values: BTreeMap<String, i64>,
    pub(super) runtime: BTreeMap<String, RuntimeSize>,
    pub(super) sums: Sums,
    /// Attempts that are not confirmed yet.
    pub(super) pending: u64,
    pub(super) ended: Option<Ended>,
}

/// What is fixed when a request ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) at: Nanos,
    pub(super) complete: bool,
    pub(super) in_window: u64,
    pub(super) open_max: u64,
}

impl Open {
    /// One that begins.
    pub(super) fn at(tgid: Tgid, tid: Tid, start: Nanos, listed: bool, resident: Option<Resident>) -> Self {
        Self {
            tgid,
            tid,
            listed,
            head: Head::default(),
            status: None,
            start,
            memory: Memory::beginning_at(resident),
            values: BTreeMap::new(),
            runtime: BTreeMap::new(),
            sums: Sums::default(),
            pending: 0,
            ended: None,
        }
    }

    /// The program reports a value for it. Returns whether there was room.
    pub(super) fn value(&mut self, name: &str, number: i64) -> bool {
        let has_room = self.values.len() < VALUES_MAX || self.values.contains_key(name);
        if has_room {
            self.values.insert(name.to_owned(), number);
        }
        has_room
    }

    /// The program's runtime says what it has, at one end of it. Returns whether there was room.
    pub(super) fn runtime(&mut self, at: End, sizes: &[(&str, u64)]) -> bool {
        sizes.iter().all(|&(name, bytes)| {
            if self.runtime.len() >= VALUES_MAX && !self.runtime.contains_key(name) {
                return false;
            }
            let size = self.runtime.entry(name.to_owned()).or_default();
            match at {
                End::Start => size.start = Some(bytes),
                End::End => size.end = Some(bytes),
            }
            true
        })
    }

    /// The entry that it is reported as, but for the names of files.
    pub(super) fn told(self, id: RequestId, ended: Ended, times_faults: bool) -> (Request, Kinds) {
        let sums = self.sums;
        let total = sums.faults();
        let request = Request {
            id: id.0,
            pid: self.tgid.0,
            tid: self.tid.0,
            method: self.head.method,
            path: self.head.path,
            route: self.head.route,
            status: self.status,
            trace_id: self.head.trace_id,
            start_ns: self.start.0,
            duration_ns: ended.at.since(self.start).0,
            complete: ended.complete,
            faults: Faults {
                total,
                minor: sums.minor,
                major: sums.major,
                user_mode: sums.user_mode,
                kernel_mode: sums.kernel_mode,
                cause: Some(sums.kinds.causes()),
                region: Some(sums.kinds.regions()),
                files: None,
                attribution: Attribution {
                    direct: total - sums.causal,
                    causal: Some(sums.causal),
                },
                // Work for a request can outlast its answer.
                in_window: ended.in_window.max(total),
                open_requests_max: ended.open_max,
                time_ns: times_faults.then_some(sums.work.fault_ns),
            },
            frames: Some(sums.work.frames()),
            space: sums.space,
            rss: self.memory.rss(),
            values: (!self.values.is_empty()).then_some(self.values),
            runtime: (!self.runtime.is_empty()).then_some(self.runtime),
        };
        (request, sums.kinds)
    }
}
