//! What is worked on, until it is known for whom.
//!
//! Owns tokens: each stands for a stretch of work, and is resolved once. What is booked on it goes with it. A token
//! that nobody claims falls back on another, from which its work came. Must not know what moves workers from token to
//! token. Memory is bounded: what has waited for longest is pushed out.

use std::collections::BTreeSet;

use memtrace_common::Nanos;
use rustc_hash::FxHashMap;

use self::{
    requests::Requests,
    token::{Fallback, Left, Token},
};
use super::{Reason, RequestId, Whose, trust::Link};

mod requests;
mod token;

/// Tokens that are not resolved, at most.
const UNRESOLVED_MAX: usize = 1 << 16;
/// Faults that wait for their tokens, at most. One that is to be drawn takes some 100 bytes meanwhile.
const WAITING_MAX: u64 = 1 << 18;
/// Steps from token to token that are followed at once. What is further away is not asked.
const STEPS_MAX: usize = 64;

/// A stretch of work. Numbers go up, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(u64);

/// What the ledger should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The token is resolved: what waits for it, and whatever comes on it later, is this one's.
    Resolved(TokenId, Whose),
    /// No worker is on anything that may turn out to be this request's.
    LetGo(RequestId),
}

/// All tokens of a run.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_id: FxHashMap<TokenId, Token>,
    next: u64,
    unresolved: BTreeSet<TokenId>,
    /// Of these, those that faults wait for, and how many faults that are.
    awaited: BTreeSet<TokenId>,
    waiting: u64,
    /// Faults that have ever waited: a clock that ticks with them.
    faults: u64,
    requests: Requests,
    effects: Vec<Effect>,
}

impl Tokens {
    /// A new token, which nobody works on yet. It falls back on another, if that is given.
    pub(super) fn fresh(&mut self, now: Nanos, parent: Option<TokenId>, otherwise: Reason) -> TokenId {
        let id = TokenId(self.next);
        self.next += 1;
        let token = Token {
            created: now,
            claim: None,
            fallback: Fallback::Nobody,
            left_to: None,
            via: None,
            otherwise,
            is_ambiguous: false,
            is_doubtful: false,
            resolved: None,
            workers: 0,
            given: 0,
            owned: 0,
            waiting: 0,
            first_fault: None,
            children: Vec::new(),
        };
        self.by_id.insert(id, token);
        self.unresolved.insert(id);
        if let Some(parent) = parent {
            self.attach(id, parent);
        }
        if self.unresolved.len() > UNRESOLVED_MAX
            && let Some(&oldest) = self.unresolved.first()
        {
            self.push_out(oldest);
        }
        id
    }

    /// A new token that was handed on: it falls back on another, and this is how that came.
    pub(super) fn handed_on(&mut self, now: Nanos, from: TokenId, via: Link, otherwise: Reason) -> TokenId {
        let id = self.fresh(now, Some(from), otherwise);
        self.change(id, |token| token.via = Some(via));
        id
    }

    /// A token falls back on this other from now on.
    pub(super) fn fall_back_on(&mut self, id: TokenId, parent: TokenId) {
        // A circle would never be resolved.
        if parent != id && !self.comes_from(parent, id) {
            self.attach(id, parent);
        }
    }

    fn attach(&mut self, id: TokenId, parent: TokenId) {
        match self.by_id.get_mut(&parent) {
            Some(Token {
                resolved: Some(whose),
                ..
            }) => {
                let whose = *whose;
                self.take_after(id, whose);
            }
            Some(parent_token) => {
                keep(&mut parent_token.children, id, &self.unresolved);
                self.change(id, |token| token.fallback = Fallback::Token(parent));
            }
            // It was resolved, and nobody works on it any more.
            None => {}
        }
    }

    /// Whether one token falls back on another, perhaps through others.
    fn comes_from(&self, mut id: TokenId, origin: TokenId) -> bool {
        for _ in 0..STEPS_MAX {
            match self.by_id.get(&id).map(|token| token.fallback) {
                Some(Fallback::Token(parent)) if parent != origin => id = parent,
                Some(Fallback::Token(_)) => return true,
                _ => return false,
            }
        }
        true
    }

    /// What a token falls back on is resolved.
    fn take_after(&mut self, id: TokenId, whose: Whose) {
        let Some(created) = self.by_id.get(&id).map(|token| token.created) else {
            return;
        };
        match whose {
            Whose::Request(request) => {
                // What is begun after the answer is not for it any more.
                let is_over = self.requests.is_answered_before(request, created);
                if !is_over {
                    self.requests.depends(id, request, &self.unresolved);
                }
                let fallback = if is_over {
                    Fallback::Nobody
                } else {
                    Fallback::Request(request)
                };
                self.change(id, |token| token.fallback = fallback);
            }
            Whose::Nobody(reason) => self.change(id, |token| {
                token.fallback = Fallback::Nobody;
                if reason != Reason::Idle {
                    token.otherwise = reason;
                }
            }),
        }
    }

    /// Somebody claims a token: it is for this one, whatever it would fall back on.
    pub(super) fn claim(&mut self, id: TokenId, whose: Whose) {
        self.change(id, |token| token.claim = Some(whose));
        self.settle(id);
    }

    /// A token turns out to cover work for another request than the one that claims it.
    pub(super) fn make_ambiguous(&mut self, id: TokenId) {
        self.change(id, |token| token.is_ambiguous = true);
    }

    /// Nobody knows whether a token is what it falls back on.
    pub(super) fn make_doubtful(&mut self, id: TokenId) {
        self.change(id, |token| token.is_doubtful = true);
    }

    /// A token is this request's, if nothing else is known of it by the time that no worker is on it, and no more has been
    /// done.
    pub(super) fn leave_to(&mut self, id: TokenId, request: RequestId) {
        self.change(id, |token| {
            token.left_to = Some(Left {
                request,
                waiting: token.waiting,
            });
        });
    }

    /// Whether a worker is on a token, and no fault waits for it.
    pub(super) fn is_untouched(&self, id: TokenId) -> bool {
        let token = self.by_id.get(&id);
        token.is_some_and(|token| token.resolved.is_none() && token.workers > 0 && token.waiting == 0)
    }

    /// If nobody claims a token, this is why.
    pub(super) fn otherwise(&mut self, id: TokenId, reason: Reason) {
        self.change(id, |token| token.otherwise = reason);
    }

    /// A worker takes a token up, perhaps because it was given that.
    pub(super) fn take_up(&mut self, id: TokenId, is_given: bool) {
        self.change(id, |token| {
            token.workers += 1;
            token.given += u32::from(is_given);
        });
    }

    /// A worker leaves a token that it was given, or not.
    pub(super) fn leave(&mut self, id: TokenId, is_given: bool) {
        self.change(id, |token| {
            token.workers = token.workers.saturating_sub(1);
            token.given = token.given.saturating_sub(is_given.into());
        });
        self.settle(id);
    }

    /// A connection may bring a worker back to a token.
    pub(super) fn own(&mut self, id: TokenId) {
        self.change(id, |token| token.owned += 1);
    }

    /// It does not any more.
    pub(super) fn disown(&mut self, id: TokenId) {
        self.change(id, |token| token.owned = token.owned.saturating_sub(1));
        self.settle(id);
    }

    /// What a token is resolved to, if it is.
    pub(super) fn resolved(&self, id: TokenId) -> Option<Whose> {
        let forgotten = Some(Whose::Nobody(Reason::Evicted));
        self.by_id.get(&id).map_or(forgotten, |token| token.resolved)
    }

    /// Who claims a token, resolved or not.
    pub(super) fn claimed(&self, id: TokenId) -> Option<Whose> {
        let token = self.by_id.get(&id)?;
        token.resolved.or(token.claim)
    }

    /// The request that it is, or will be if nobody else claims it.
    pub(super) fn prospect(&self, mut id: TokenId) -> Option<RequestId> {
        for _ in 0..STEPS_MAX {
            let token = self.by_id.get(&id)?;
            match (token.claim, token.fallback) {
                (None, Fallback::Token(parent)) if token.resolved.is_none() => id = parent,
                _ => return token.prospect(),
            }
        }
        None
    }

    /// By which ways work came to a token that is not claimed, back to the request that it was for if it is for that; the
    /// last way first. That one is open, or the one whose answer ends it now.
    pub(super) fn promises(&self, mut id: TokenId, now: Whose) -> Option<(RequestId, Vec<Link>)> {
        let mut ways = Vec::new();
        for _ in 0..STEPS_MAX {
            let token = self.by_id.get(&id)?;
            match (token.resolved.or(token.claim), token.fallback) {
                (Some(Whose::Request(request)), _) | (None, Fallback::Request(request)) => {
                    ways.extend(token.via);
                    let is_meant = self.is_open(request) || now == Whose::Request(request);
                    return is_meant.then_some((request, ways));
                }
                (None, Fallback::Token(parent)) => {
                    ways.extend(token.via);
                    id = parent;
                }
                _ => return None,
            }
        }
        None
    }

    /// How it was handed on, if it was.
    pub(super) fn via(&self, id: TokenId) -> Option<Link> {
        self.by_id.get(&id)?.via
    }

    /// Whether nothing is known of whom it is for: nobody claims it, and it falls back on nothing.
    pub(super) fn is_blank(&self, id: TokenId) -> bool {
        self.by_id.get(&id).is_none_or(Token::is_blank)
    }

    /// A fault waits for this token.
    pub(super) fn awaits(&mut self, id: TokenId) {
        let Some(token) = self.by_id.get_mut(&id) else {
            return;
        };
        if token.waiting == 0 {
            self.awaited.insert(id);
        }
        token.waiting += 1;
        self.waiting += 1;
        self.faults += 1;
        token.first_fault.get_or_insert(self.faults);
        if self.waiting > WAITING_MAX
            && let Some(&oldest) = self.awaited.first()
        {
            self.push_out(oldest);
        }
    }

    /// How many faults wait for a token.
    pub(super) fn waiting(&self, id: TokenId) -> u64 {
        self.by_id.get(&id).map_or(0, |token| token.waiting)
    }

    /// Whether a worker on a token has taken a fault before this request began.
    pub(super) fn was_before(&self, id: TokenId, request: RequestId) -> bool {
        let first = self.by_id.get(&id).and_then(|token| token.first_fault);
        first.is_some_and(|first| self.requests.is_after(request, first))
    }

    /// A request begins.
    pub(super) fn opened(&mut self, id: RequestId) {
        self.requests.opened(id, self.faults);
    }

    /// A request is answered, or never will be: what nobody works on, and would fall to it, does now.
    pub(super) fn answered(&mut self, id: RequestId, at: Nanos) {
        for token in self.requests.answered(id, at) {
            self.settle(token);
        }
    }

    /// What had begun was no request.
    pub(super) fn withdrawn(&mut self, id: RequestId) {
        for token in self.requests.withdrawn(id) {
            self.settle(token);
        }
    }

    /// Whether a worker is on what may turn out to be this request's.
    pub(super) fn is_held(&self, id: RequestId) -> bool {
        self.requests.is_held(id)
    }

    /// Whether this request is not answered yet.
    pub(super) fn is_open(&self, id: RequestId) -> bool {
        self.requests.is_open(id)
    }

    #[cfg(test)]
    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    /// What the ledger should know since this was last asked.
    pub(super) fn take_effects(&mut self) -> impl Iterator<Item = Effect> {
        self.effects.drain(..)
    }

    /// The run is over: nobody claims anything any more.
    pub(super) fn finish(&mut self) {
        // A token is older than those that fall back on it.
        while let Some(&oldest) = self.unresolved.first() {
            let token = self.by_id.get(&oldest);
            let whose = token.map_or(Whose::Nobody(Reason::Idle), |token| self.as_it_stands(token));
            self.resolve(oldest, whose);
        }
    }

    /// Changes a token, and what its request is told of it.
    fn change(&mut self, id: TokenId, change: impl FnOnce(&mut Token)) {
        let Some(token) = self.by_id.get_mut(&id) else {
            return;
        };
        let before = token.held();
        change(token);
        let after = token.held();
        if before == after {
            return;
        }
        if let Some(id) = after {
            self.requests.is_taken_up(id);
        }
        if let Some(id) = before
            && self.requests.is_let_go(id)
        {
            self.effects.push(Effect::LetGo(id));
        }
    }

    /// What a token comes to if nothing more is learned of it.
    fn as_it_stands(&self, token: &Token) -> Whose {
        let is_void = |id| self.requests.is_void(id);
        match (token.claim, token.fallback) {
            (Some(_), _) if token.is_ambiguous => Whose::Nobody(Reason::Ambiguous),
            (None, _) if token.is_doubtful => Whose::Nobody(Reason::Ambiguous),
            (Some(Whose::Request(id)), _) | (None, Fallback::Request(id)) if is_void(id) => {
                Whose::Nobody(token.otherwise)
            }
            (Some(whose), _) => whose,
            (None, Fallback::Request(id)) => Whose::Request(id),
            (None, Fallback::Nobody | Fallback::Token(_)) => token
                .left_to
                .filter(|left| token.is_blank() && token.waiting == left.waiting && !is_void(left.request))
                .map_or(Whose::Nobody(token.otherwise), |left| {
                    Whose::Request(left.request)
                }),
        }
    }

    /// What a token comes to, where nothing more can be learned of it.
    fn outcome(&self, id: TokenId) -> Option<Whose> {
        let token = self.by_id.get(&id).filter(|t| t.resolved.is_none())?;
        let can_be_claimed = token.owned > 0 && token.claim.is_none();
        let is_final = match token.fallback {
            // What a worker does that was given the work, after the answer, is not for it any more.
            Fallback::Request(request) if token.claim.is_none() && token.workers == token.given => {
                !self.is_open(request) || (token.workers == 0 && !can_be_claimed)
            }
            _ if token.workers > 0 => false,
            _ if token.claim.is_some() => true,
            Fallback::Token(_) => false,
            Fallback::Nobody | Fallback::Request(_) => !can_be_claimed,
        };
        is_final.then(|| self.as_it_stands(token))
    }

    /// Resolves a token if nothing more can be learned of it, and forgets it if nobody will ask.
    fn settle(&mut self, id: TokenId) {
        if let Some(whose) = self.outcome(id) {
            self.resolve(id, whose);
        } else {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: TokenId) {
        if self
            .by_id
            .get(&id)
            .is_some_and(|t| t.resolved.is_some() && t.workers == 0 && t.owned == 0)
        {
            self.by_id.remove(&id);
        }
    }

    /// Resolves a token, and what falls back on it. No recursion: a chain is as long as a worker writes upstream
    /// without waiting.
    fn resolve(&mut self, id: TokenId, whose: Whose) {
        let mut known = vec![(id, whose)];
        while let Some((id, whose)) = known.pop() {
            let (mut children, mut waiting) = (Vec::new(), 0);
            self.change(id, |token| {
                token.resolved = Some(whose);
                children = std::mem::take(&mut token.children);
                waiting = std::mem::take(&mut token.waiting);
            });
            self.unresolved.remove(&id);
            self.awaited.remove(&id);
            self.waiting -= waiting;
            self.effects.push(Effect::Resolved(id, whose));
            self.forget(id);
            for child in children {
                // It may have come to fall back on another.
                if self
                    .by_id
                    .get(&child)
                    .is_some_and(|c| c.fallback == Fallback::Token(id))
                {
                    self.take_after(child, whose);
                    known.extend(self.outcome(child).map(|whose| (child, whose)));
                }
            }
        }
    }

    /// Too much waits: the token is resolved as far as somebody claims it, and else is nobody's.
    fn push_out(&mut self, id: TokenId) {
        let claimed = self.by_id.get(&id).filter(|token| token.claim.is_some());
        let whose = claimed.map_or(Whose::Nobody(Reason::Evicted), |token| self.as_it_stands(token));
        self.resolve(id, whose);
    }
}

/// Appends to a list of tokens, of which those that are resolved need not stay.
fn keep(list: &mut Vec<TokenId>, id: TokenId, unresolved: &BTreeSet<TokenId>) {
    if list.len() == list.capacity() {
        list.retain(|id| unresolved.contains(id));
        // The next look is as far away as this list is long.
        list.reserve(list.len().max(4));
    }
    list.push(id);
}
