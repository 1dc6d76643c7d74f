//! A request on its way, from its first byte to its report.
//!
//! Owns what is known of one, and how that becomes an entry. Must not know others.

use std::collections::BTreeMap;

use memtrace_common::{Nanos, Tgid, Tid};

use super::{
    Head, Resident,
    entry::{Attribution, Faults, Request, Space},
    kinds::Kinds,
    memory::Memory,
};
use crate::window::RequestId;

/// A request that has not been reported yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) tgid: Tgid,
    pub(super) tid: Tid,
    pub(super) listed: bool,
    pub(super) head: Head,
    pub(super) status: Option<u16>,
    pub(super) start: Nanos,
    pub(super) space: Space,
    pub(super) memory: Memory,
    pub(super) kinds: Kinds,
    pub(super) values: BTreeMap<String, i64>,
    pub(super) minor: u64,
    pub(super) major: u64,
    pub(super) user_mode: u64,
    pub(super) kernel_mode: u64,
    /// Attempts that are not confirmed yet.
    pub(super) pending: u64,
    pub(super) ended: Option<Ended>,
}

/// What is fixed when a request ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// The thread that read it, where another ended it: what that one's work took is still to be told.
    pub(super) awaits: Option<Tid>,
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
            space: Space::default(),
            memory: Memory::beginning_at(resident),
            kinds: Kinds::default(),
            values: BTreeMap::new(),
            minor: 0,
            major: 0,
            user_mode: 0,
            kernel_mode: 0,
            pending: 0,
            ended: None,
        }
    }

    /// The entry that it is reported as, but for the names of files.
    pub(super) fn told(self, id: RequestId, ended: Ended, times_faults: bool) -> (Request, Kinds) {
        let total = self.minor + self.major;
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
                minor: self.minor,
                major: self.major,
                user_mode: self.user_mode,
                kernel_mode: self.kernel_mode,
                cause: Some(self.kinds.causes()),
                region: Some(self.kinds.regions()),
                files: None,
                attribution: Attribution {
                    direct: total,
                    causal: None,
                },
                in_window: ended.in_window,
                open_requests_max: ended.open_max,
                time_ns: times_faults.then(|| self.memory.fault_ns()),
            },
            frames: Some(self.memory.frames()),
            space: self.space,
            rss: self.memory.rss(),
            values: (!self.values.is_empty()).then_some(self.values),
        };
        (request, self.kinds)
    }
}
