//! Requests, as far as tokens come to them.
//!
//! Owns when each began and was answered, and which tokens fall back on it. Must not know how a token is resolved. Those
//! that are not open any more are forgotten when there are too many of them.

use std::collections::{BTreeSet, VecDeque};

use memtrace_common::Nanos;
use rustc_hash::FxHashMap;

use super::{super::RequestId, TokenId, keep};

/// Requests that are not open any more and whose time of answer is remembered.
const CLOSED_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Request {
    /// As many faults had ever waited.
    opened: u64,
    answered: Option<Nanos>,
    /// It never was one.
    is_void: bool,
    /// Tokens with workers that may turn out to be its.
    held: u32,
    /// Tokens that fell back on it, resolved by now or not.
    dependents: Vec<TokenId>,
}

/// All that are remembered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    by_id: FxHashMap<RequestId, Request>,
    /// Those that are not open any more, in the order in which they closed.
    closed: VecDeque<RequestId>,
}

impl Requests {
    /// One begins, when so many faults have ever waited.
    pub(super) fn opened(&mut self, id: RequestId, faults: u64) {
        let request = Request {
            opened: faults,
            ..Request::default()
        };
        self.by_id.insert(id, request);
    }

    /// One is answered, or never will be. Returns what fell back on it.
    pub(super) fn answered(&mut self, id: RequestId, at: Nanos) -> Vec<TokenId> {
        self.closes(id, |request| request.answered = Some(at))
    }

    /// What had begun was no request. Returns what fell back on it.
    pub(super) fn withdrawn(&mut self, id: RequestId) -> Vec<TokenId> {
        self.closes(id, |request| request.is_void = true)
    }

    fn closes(&mut self, id: RequestId, how: impl FnOnce(&mut Request)) -> Vec<TokenId> {
        let Some(request) = self.by_id.get_mut(&id) else {
            return Vec::new();
        };
        how(request);
        let dependents = std::mem::take(&mut request.dependents);
        self.closed.push_back(id);
        if self.closed.len() > CLOSED_MAX
            && let Some(oldest) = self.closed.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        dependents
    }

    /// A token falls back on one, until that is closed.
    pub(super) fn depends(&mut self, token: TokenId, id: RequestId, unresolved: &BTreeSet<TokenId>) {
        if let Some(request) = self.by_id.get_mut(&id) {
            keep(&mut request.dependents, token, unresolved);
        }
    }

    /// One more token with workers may turn out to be its.
    pub(super) fn is_taken_up(&mut self, id: RequestId) {
        if let Some(request) = self.by_id.get_mut(&id) {
            request.held += 1;
        }
    }

    /// One fewer may. Returns whether it is answered, and this was the last.
    pub(super) fn is_let_go(&mut self, id: RequestId) -> bool {
        self.by_id.get_mut(&id).is_some_and(|request| {
            request.held = request.held.saturating_sub(1);
            request.held == 0 && request.answered.is_some()
        })
    }

    /// Whether a token with workers may turn out to be its.
    pub(super) fn is_held(&self, id: RequestId) -> bool {
        self.by_id.get(&id).is_some_and(|request| request.held > 0)
    }

    /// Whether it is not answered yet.
    pub(super) fn is_open(&self, id: RequestId) -> bool {
        self.by_id
            .get(&id)
            .is_some_and(|request| request.answered.is_none() && !request.is_void)
    }

    /// Whether it never was one.
    pub(super) fn is_void(&self, id: RequestId) -> bool {
        self.by_id.get(&id).is_some_and(|request| request.is_void)
    }

    /// Whether a fault was there before it began, by how many had ever waited.
    pub(super) fn is_after(&self, id: RequestId, fault: u64) -> bool {
        self.by_id.get(&id).is_some_and(|request| fault <= request.opened)
    }

    /// Whether it was answered before this time.
    pub(super) fn is_answered_before(&self, id: RequestId, time: Nanos) -> bool {
        match self.by_id.get(&id) {
            Some(request) => request.answered.is_some_and(|answered| answered < time),
            // So long ago that it is forgotten.
            None => true,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
