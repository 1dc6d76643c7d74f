//! What is kept of a token, and of a request that tokens may come to.
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

    /// The request that a worker on it is on. One that was given it is on it no longer than until the answer.
    pub(super) fn held(&self) -> Option<RequestId> {
        self.prospect().filter(|_| self.workers > self.given)
    }
}

/// A request, as far as tokens are concerned.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) answered: Option<Nanos>,
    /// It never was one.
    pub(super) is_void: bool,
    /// Tokens with workers that may turn out to be its.
    pub(super) held: u32,
    /// Tokens that fell back on it, resolved by now or not.
    pub(super) dependents: Vec<TokenId>,
}
