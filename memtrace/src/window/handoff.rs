//! What work passes through on its way from worker to worker: connections to elsewhere, and channels.
//!
//! Owns what is kept of each. Must not know descriptors: whoever keeps these knows which is which.

use super::{TokenId, WorkerId};

/// A connection that a process opened: to a database, to an API.
#[derive(Debug, Default)]
pub struct Outbound {
    /// What it was last used for.
    pub(super) owner: Option<TokenId>,
    /// What the worker went on with that last used it.
    pub(super) then: Option<TokenId>,
    /// The last answer that was read from it.
    pub(super) answer: u64,
    /// It was opened for its owner, and not used yet.
    pub(super) is_connecting: bool,
}

/// A process's answers from elsewhere, numbered as they come. Pools hand out the connection that came back last.
#[derive(Debug, Default)]
pub(super) struct Answers {
    last: u64,
    reader: Option<WorkerId>,
    /// The last one that had another reader.
    last_of_another: u64,
}

impl Answers {
    /// A worker reads one. Returns its number.
    pub(super) fn read(&mut self, by: WorkerId) -> u64 {
        if self.reader.replace(by) != Some(by) {
            self.last_of_another = self.last;
        }
        self.last += 1;
        self.last
    }

    /// Since this one was read, another worker has read one.
    pub(super) fn has_another_read(&self, id: WorkerId, since: u64) -> bool {
        let last = if self.reader == Some(id) {
            self.last_of_another
        } else {
            self.last
        };
        last > since
    }
}

/// One direction of an eventfd, a pipe or a pair of sockets, by which workers wake an event loop.
#[derive(Debug, Default)]
pub struct Channel {
    /// Who has written since it was last read.
    pub(super) writers: Writers,
}

impl Channel {
    /// What its only writer since it was last read worked on. It is read now.
    pub(super) fn take_writer(&mut self) -> Option<TokenId> {
        match std::mem::take(&mut self.writers) {
            Writers::One(token) => Some(token),
            Writers::Nobody | Writers::Many => None,
        }
    }
}

/// Writers that wait for the reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Writers {
    #[default]
    Nobody,
    /// On this, one of them or more.
    One(TokenId),
    /// On more: what the reader does next may be for any of it.
    Many,
}
