//! For which request is work done?
//!
//! Owns the rules of attribution, between `http` and `ledger`: each worker has a **context**, a token for whatever it
//! works on, and the rules say when it gets another. A token may be resolved later than the faults that it covers: an
//! answer tells for whom the work before it was. What is never resolved is nobody's, with a reason, and never a guess.
//! Must not know how requests are framed, what is added up for them, or how descriptors are numbered.
//! docs/ATTRIBUTION.md has the rules in words, and how right they are.
//!
//! - `tokens`: what is worked on, until it is known for whom
//! - `worker`: who works, and the windows that it opened itself
//! - `rules`: what moves a worker from token to token
//! - `stray`: how much of a worker's work no answer comes of
//! - `handoff`: connections to elsewhere, and channels between workers
//! - `words`: which futex words are locks
//! - `trust`: which ways of handing work on say for whom it is
//!
//! A program can say itself what a thread works for: a window that it opens on a thread has what that thread does until
//! the window is closed; of two, the inner one.

mod handoff;
mod rules;
mod stray;
#[cfg(test)]
mod tests;
mod tokens;
mod trust;
mod words;
mod worker;

pub use self::{
    handoff::{Channel, Outbound},
    rules::{Contexts, Wake},
    tokens::{Effect, TokenId},
    words::Word,
    worker::WorkerId,
};

/// A request, numbered in the order in which requests began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why a fault is on no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its thread worked for no request that is known.
    Idle,
    /// Its thread's wait for events had run out: a timer's work, nobody knows for whom.
    Timer,
    /// Its thread had turned from one request to another's answer, and nothing says when.
    Ambiguous,
    /// Its thread did nothing telling while it was traced, and was woken on no request's behalf: the garbage
    /// collector's and compiler's helpers, thread pools.
    BackgroundThread,
    /// Its process had not read its first request yet.
    Startup,
    /// When tracing began its thread was in the middle of something.
    InFlightAtStart,
    /// Too much waited to be resolved, or the request had been reported by then.
    Evicted,
}

impl Reason {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Timer => "timer",
            Self::Ambiguous => "ambiguous",
            Self::BackgroundThread => "background_thread",
            Self::Startup => "startup",
            Self::InFlightAtStart => "in_flight_at_start",
            Self::Evicted => "evicted",
        }
    }
}

/// How it is known whom a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Its thread had itself read the request's bytes, and had not turned to anything since; or the program said so.
    Direct,
    /// By any other rule.
    Causal,
}

/// What a token is resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This request's.
    Request(RequestId),
    /// Nobody's, for this reason.
    Nobody(Reason),
}

/// Whom a fault is for, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This request.
    Request(RequestId, Label),
    /// Nobody, for this reason.
    Nobody(Reason),
    /// Whomever this token will be resolved to; the label holds where that is a request.
    Token(TokenId, Label),
    /// Nobody; the reason is known when the thread first does something telling, or never does.
    Unproven,
}

impl Owner {
    /// The same, once its token is resolved.
    #[must_use]
    pub fn resolved(self, whose: Whose) -> Self {
        match (self, whose) {
            (Self::Token(_, label), Whose::Request(id)) => Self::Request(id, label),
            (Self::Token(..), Whose::Nobody(reason)) => Self::Nobody(reason),
            (other, _) => other,
        }
    }
}
