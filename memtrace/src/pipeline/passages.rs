//! What work passes through: connections that a process opened itself, and channels between its threads.
//!
//! Owns each, by the number under which descriptors know it. Must not know what a passage means for whose work is
//! (`window`).

use memtrace_common::{Nanos, Tgid};
use rustc_hash::FxHashMap;

use crate::{
    model::process::{ConnectionId, Descriptors},
    window::{Channel, Contexts, Outbound, WorkerId},
};

/// All passages of all targets.
#[derive(Debug, Default)]
pub(super) struct Passages {
    outbound: FxHashMap<ConnectionId, Outbound>,
    channels: FxHashMap<ConnectionId, Channel>,
    /// Channels that were there when a process was found, by what `/proc` calls them.
    found: FxHashMap<(Tgid, u64), ConnectionId>,
    /// The same, the other way.
    found_as: FxHashMap<ConnectionId, (Tgid, u64)>,
}

impl Passages {
    /// A process opened a connection.
    pub(super) fn add_outbound(&mut self, line: Outbound, descriptors: &mut Descriptors) -> ConnectionId {
        let id = descriptors.new_connection();
        self.outbound.insert(id, line);
        id
    }

    /// A process made a channel.
    pub(super) fn add_channel(&mut self, descriptors: &mut Descriptors) -> ConnectionId {
        let id = descriptors.new_connection();
        self.channels.insert(id, Channel::default());
        id
    }

    /// The channel that `/proc` calls this; one that was closed since is another.
    pub(super) fn found(&mut self, tgid: Tgid, way: u64, descriptors: &mut Descriptors) -> ConnectionId {
        if let Some(&id) = self.found.get(&(tgid, way)) {
            return id;
        }
        let id = self.add_channel(descriptors);
        self.found.insert((tgid, way), id);
        self.found_as.insert(id, (tgid, way));
        id
    }

    /// Bytes went through a connection that the process opened.
    pub(super) fn upstream(
        &mut self,
        id: ConnectionId,
        is_read: bool,
        tgid: Tgid,
        worker: WorkerId,
        now: Nanos,
        contexts: &mut Contexts,
    ) {
        let Some(line) = self.outbound.get_mut(&id) else {
            return;
        };
        if is_read {
            contexts.reads_outbound(worker, tgid, line, now);
        } else {
            contexts.writes_outbound(worker, tgid, line, now);
        }
    }

    /// Something went into a channel, or came out: `way` is `None` where its descriptor does not lead there.
    pub(super) fn through_channel(
        &mut self,
        way: Option<ConnectionId>,
        is_read: bool,
        tgid: Tgid,
        worker: WorkerId,
        now: Nanos,
        contexts: &mut Contexts,
    ) {
        let Some(channel) = way.and_then(|id| self.channels.get_mut(&id)) else {
            return;
        };
        if is_read {
            contexts.reads_channel(worker, tgid, channel, now);
        } else {
            contexts.writes_channel(worker, channel, now);
        }
    }

    /// Nothing refers to this any more, which may be a passage.
    pub(super) fn shut(&mut self, id: ConnectionId, contexts: &mut Contexts) {
        if let Some(line) = self.outbound.remove(&id) {
            contexts.closes_outbound(&line);
        }
        if let Some(channel) = self.channels.remove(&id) {
            contexts.closes_channel(channel);
            if let Some(way) = self.found_as.remove(&id) {
                self.found.remove(&way);
            }
        }
    }
}
