//! What work passes through on its way from worker to worker: connections to elsewhere, and channels.
//!
//! Owns what is kept of each. Must not know descriptors: whoever keeps these knows which is which.

use super::TokenId;

/// A connection that a process opened: to a database, to an API.
#[derive(Debug, Default)]
pub struct Outbound {
    /// What it was last used for.
    pub(super) owner: Option<TokenId>,
    /// What the worker went on with that last used it.
    pub(super) then: Option<TokenId>,
    /// It was opened for its owner, and not used yet.
    pub(super) is_connecting: bool,
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
