//! The stages that what happened on a connection or a thread passes on to: for whom work is, and what it comes to.
//!
//! Owns that both are told of the same requests, and that the one learns what the other finds out. Must not know events.

use memtrace_common::{Nanos, Tgid, Tid};

use crate::{
    ledger::{Ledger, Resident},
    window::{Contexts, RequestId},
};

/// Both.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) contexts: Contexts,
    pub(super) ledger: Ledger,
}

impl Stages {
    pub(super) fn new(ledger: Ledger) -> Self {
        Self {
            contexts: Contexts::default(),
            ledger,
        }
    }

    /// A request or a window begins.
    pub(super) fn open(
        &mut self,
        tgid: Tgid,
        tid: Tid,
        now: Nanos,
        is_listed: bool,
        resident: Option<Resident>,
    ) -> RequestId {
        let id = self.ledger.open(tgid, tid, now, is_listed, resident);
        self.contexts.opened(id);
        id
    }

    /// It is answered or closed, or never will be.
    pub(super) fn end(&mut self, id: RequestId, now: Nanos, is_complete: bool) {
        self.ledger.end(id, now, is_complete);
        self.contexts.answered(id, now);
    }

    /// It never was one.
    pub(super) fn withdraw(&mut self, id: RequestId) {
        self.ledger.withdraw(id);
        self.contexts.withdrawn(id);
    }

    /// After an event: the ledger learns what is known by now, and reports what nothing more is to come of.
    #[inline]
    pub(super) fn advance(&mut self, now: Nanos) {
        self.learn();
        self.ledger.advance(now, |id| self.contexts.is_held(id));
    }

    /// The run is over, at this time.
    pub(super) fn finish(&mut self, at: Nanos) {
        self.contexts.finish();
        self.learn();
        self.ledger.finish(at);
    }

    fn learn(&mut self) {
        for effect in self.contexts.take_effects() {
            self.ledger.learn(effect);
        }
    }
}
