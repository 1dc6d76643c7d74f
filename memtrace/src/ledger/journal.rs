//! What is booked, posting by posting, for whoever wants more than sums: a timeline.
//!
//! Owns the vocabulary, and keeps nothing unless it is asked to. Must not know what is drawn of it.

use memtrace_common::{Nanos, Tgid, Tid, wire::Mm};

use super::Taken;
use crate::{
    model::counting::Outcome,
    window::{Owner, RequestId, TokenId, Whose},
};

/// Something was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posting {
    /// A request began.
    Opened {
        /// Its number.
        id: RequestId,
        /// The process that serves it.
        tgid: Tgid,
        /// The thread that read it.
        tid: Tid,
        /// When.
        at: Nanos,
        /// It is to be reported.
        is_listed: bool,
    },
    /// What had begun was no request.
    Withdrawn {
        /// Its number.
        id: RequestId,
    },
    /// A request is answered, or never will be. What it came to is reported later.
    Ended {
        /// Its number.
        id: RequestId,
        /// When.
        at: Nanos,
    },
    /// A request has ended, and is not reported: it came in on another port.
    Unlisted {
        /// Its number.
        id: RequestId,
    },
    /// A fault completed.
    Fault {
        /// Its process.
        tgid: Tgid,
        /// When, where and how it was taken.
        taken: Taken,
        /// Minor or major.
        outcome: Outcome,
        /// Whom it is for.
        owner: Owner,
    },
    /// An address-space call.
    Call {
        /// As the probe told it.
        call: Mm,
        /// The bytes that it was about; `None` where it did nothing.
        moved: Option<u64>,
        /// Whom it was for.
        of: Owner,
    },
    /// A thread turned to other work.
    Turned {
        /// Its process.
        tgid: Tgid,
        /// The thread.
        tid: Tid,
        /// When.
        at: Nanos,
        /// For whom it works from now on.
        to: Owner,
    },
    /// It is known for whom work was, on whose token faults, calls and turns have been posted.
    Resolved {
        /// The token.
        token: TokenId,
        /// Whose it is.
        whose: Whose,
    },
}

/// The postings since they were last taken, if they are kept.
#[derive(Debug, Default)]
pub(super) struct Journal(Option<Vec<Posting>>);

impl Journal {
    pub(super) fn keep(&mut self) {
        self.0.get_or_insert_default();
    }

    #[inline]
    pub(super) fn post(&mut self, posting: impl FnOnce() -> Posting) {
        if let Some(postings) = &mut self.0 {
            postings.push(posting());
        }
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Posting> {
        self.0.iter_mut().flat_map(|postings| postings.drain(..))
    }
}
