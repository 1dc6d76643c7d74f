//! What is kept of a token.
//!
//! Must not know how one comes to be resolved.

use memtrace_common::Nanos;

use super::{
    super::{Reason, RequestId, Whose, trust::Link},
    TokenId,
};

/// What a token comes to if nobody claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallback {
    /// Nobody's.
    Nobody,
    /// What this token comes to, which is not resolved yet.
    Token(TokenId),
    /// This request's.
    Request(RequestId),
}

#[derive(Debug)]
pub(super) struct Token {
    pub(super) created: Nanos,
    /// Who claims it.
    pub(super) claim: Option<Whose>,
    pub(super) fallback: Fallback,
    /// The request that it is for if nothing else is known: by a way that is not believed, but nothing speaks against that.
    pub(super) left_to: Option<Left>,
    /// How it was handed on.
    pub(super) via: Option<Link>,
    /// The reason if it is nobody's.
    pub(super) otherwise: Reason,
    /// It covers work for two requests, and nothing says where one ends.
    pub(super) is_ambiguous: bool,
    /// What it falls back on is no more than likely.
    pub(super) is_doubtful: bool,
    pub(super) resolved: Option<Whose>,
    /// Workers whose context it is.
    pub(super) workers: u32,
    /// Of these, those that were given it: woken for it, or told by a channel.
    pub(super) given: u32,
    /// Connections that may bring a worker back to it.
    pub(super) owned: u32,
    /// Faults that wait for it.
    pub(super) waiting: u64,
    /// The first one that did, by the faults that have ever waited for any.
    pub(super) first_fault: Option<u64>,
    /// Tokens that fall back on it.
    pub(super) children: Vec<TokenId>,
}

impl Token {
    /// The request that it is, or is likely to be.
    pub(super) fn prospect(&self) -> Option<RequestId> {
        match (self.resolved.or(self.claim), self.fallback) {
            (Some(Whose::Request(id)), _) | (None, Fallback::Request(id)) => Some(id),
            _ => None,
        }
    }

    /// Whether nothing is known of whom it is for: nobody claims it, and it falls back on nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.resolved.or(self.claim).is_none() && self.fallback == Fallback::Nobody
    }

    /// The request that a worker on it is on. One that was given it is on it no longer than until the answer. Of one that may
    /// be on something else it is known when it turns.
    pub(super) fn held(&self) -> Option<RequestId> {
        let known = self.prospect().filter(|_| self.workers > self.given);
        let left = self.left_to.filter(|_| self.is_blank() && self.workers > 0);
        known.or(left.map(|left| left.request))
    }
}

/// To whom a token is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) request: RequestId,
    /// As many faults waited for the token then: any more are of something else.
    pub(super) waiting: u64,
}
