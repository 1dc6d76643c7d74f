//! What moves a worker from one context to another: the rules of attribution, one function each.
//!
//! Owns the workers and what they work on. Must not know how an event is told, nor descriptors: it is told that a
//! worker read a request, wrote to a connection that its process opened, woke another.
//!
//! - `handing`: what passes from worker to worker

use std::collections::VecDeque;

use memtrace_common::{Nanos, Tgid};
use rustc_hash::FxHashMap;

use super::{
    Effect, Label, Outbound, Owner, Reason, RequestId, TokenId, Whose, WorkerId,
    handoff::Answers,
    tokens::Tokens,
    trust::{Belief, Link, Trust},
    words::Words,
    worker::{Way, Worker},
};

mod handing;

pub use self::handing::Wake;

/// Processes whose answers from elsewhere are numbered. With more, all begin anew.
const PROCESSES_MAX: usize = 4096;

/// All workers, and for whom they work.
#[derive(Debug, Default)]
pub struct Contexts {
    workers: FxHashMap<WorkerId, Worker>,
    tokens: Tokens,
    words: Words,
    trust: Trust,
    answers: FxHashMap<Tgid, Answers>,
}

impl Contexts {
    /// A worker that was there when tracing began, or that begins now.
    pub fn begin(&mut self, id: WorkerId, was_there: bool) {
        self.leave(id);
        self.workers.insert(id, Worker::new(was_there));
    }

    /// A worker ends.
    pub fn leave(&mut self, id: WorkerId) {
        self.takes_offer_back(id);
        if let Some(worker) = self.workers.remove(&id)
            && let Some(context) = worker.context
        {
            self.tokens.leave(context, worker.way.is_given());
        }
    }

    /// Two workers have each other's number from now on.
    pub fn swap(&mut self, one: WorkerId, other: WorkerId) {
        let both = (self.workers.remove(&one), self.workers.remove(&other));
        self.workers.extend(both.0.map(|worker| (other, worker)));
        self.workers.extend(both.1.map(|worker| (one, worker)));
    }

    /// A request begins.
    pub fn opened(&mut self, id: RequestId) {
        self.tokens.opened(id);
    }

    /// A request is answered, or never will be.
    pub fn answered(&mut self, id: RequestId, at: Nanos) {
        self.tokens.answered(id, at);
    }

    /// What had begun was no request.
    pub fn withdrawn(&mut self, id: RequestId) {
        self.tokens.withdrawn(id);
    }

    /// Whether somebody works on what may turn out to be this request's.
    pub fn is_held(&self, id: RequestId) -> bool {
        self.tokens.is_held(id)
    }

    /// What the ledger should know since this was last asked.
    pub fn take_effects(&mut self) -> impl Iterator<Item = Effect> {
        self.tokens.take_effects()
    }

    /// The run is over: what is not known by now never will be.
    pub fn finish(&mut self) {
        self.tokens.finish();
    }

    /// For whom work is that a worker does now.
    pub fn owner(&self, id: WorkerId) -> Owner {
        let Some(worker) = self.workers.get(&id) else {
            return Owner::Unproven;
        };
        if let Some(window) = worker.window(|id| self.tokens.is_open(id)) {
            return Owner::Request(window, Label::Direct);
        }
        let Some(context) = worker.context else {
            return Owner::Unproven;
        };
        let owner = Owner::Token(context, worker.label());
        match self.tokens.resolved(context) {
            None => owner,
            Some(Whose::Request(id)) if worker.way.is_given() && !self.tokens.is_open(id) => {
                Owner::Nobody(worker.way.otherwise())
            }
            Some(whose) => owner.resolved(whose),
        }
    }

    /// A fault waits until this token is resolved.
    pub fn awaits(&mut self, token: TokenId) {
        self.tokens.awaits(token);
    }

    /// The request that a worker works for, as far as it is known: the innermost window, or what its context is, or
    /// what that falls back on.
    pub fn prospect(&self, id: WorkerId) -> Option<RequestId> {
        let worker = self.workers.get(&id)?;
        worker
            .window(|id| self.tokens.is_open(id))
            .or_else(|| self.tokens.prospect(worker.context?))
            .filter(|&id| self.tokens.is_open(id))
    }

    /// A worker has done something that tells what it works on.
    pub fn is_proven(&self, id: WorkerId) -> bool {
        self.workers
            .get(&id)
            .is_some_and(|worker| worker.context.is_some())
    }

    /// Why faults are nobody's that a worker took before it did anything telling.
    pub fn reason_before_first_act(&self, id: WorkerId) -> Reason {
        self.workers
            .get(&id)
            .map_or(Reason::Idle, Worker::reason_before_first_act)
    }

    /// A worker opens a window.
    pub fn enters_window(&mut self, id: WorkerId, window: RequestId, now: Nanos) {
        self.acts(id, now);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.enter(window, |id| self.tokens.is_open(id));
        }
    }

    // The rules, as docs/ATTRIBUTION.md numbers them.

    /// Rule 1: a worker reads bytes of a request. That is what it works on.
    pub fn reads_request(&mut self, id: WorkerId, request: RequestId, now: Nanos) {
        let token = self.tokens.fresh(now, None, Reason::Idle);
        self.turn_to_read(id, token);
        self.tokens.claim(token, Whose::Request(request));
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.begins(request);
        }
    }

    /// Rule 1, of a request that was there before the run.
    pub fn reads_what_was_in_flight(&mut self, id: WorkerId, now: Nanos) {
        let token = self.tokens.fresh(now, None, Reason::InFlightAtStart);
        self.turn_to_read(id, token);
        self.tokens.claim(token, Whose::Nobody(Reason::InFlightAtStart));
    }

    /// Rule 2: a worker writes a part of an answer. What it has done since it last turned was for that. Of requests
    /// that were read at once, the `next` one's turn has come; else nobody knows what it does now.
    pub fn answers(&mut self, id: WorkerId, whose: Whose, next: Option<RequestId>, now: Nanos) {
        self.answers_untold(id, whose);
        let mut due = VecDeque::new();
        if let Some(worker) = self.workers.get_mut(&id)
            && let Some(context) = worker.context
        {
            let request = match whose {
                Whose::Request(request) => Some(request),
                Whose::Nobody(_) => None,
            };
            let (is_all, may_be_more) = (worker.answers(request), worker.may_be_due > 0);
            due = std::mem::take(&mut worker.due);
            let claimed = self.tokens.claimed(context);
            if claimed.is_none() {
                let faults = self.tokens.waiting(context);
                let is_mixed = self.tokens.prospect(context).is_none()
                    && worker.stray.is_likely_in_answer(faults, may_be_more);
                if is_all && !is_mixed {
                    self.learns(context, whose);
                    self.tokens.claim(context, whose);
                } else {
                    self.tokens.claim(context, Whose::Nobody(Reason::Ambiguous));
                }
            } else if claimed != Some(whose) && worker.way == Way::Read {
                self.tokens.make_ambiguous(context);
            }
        }
        match next {
            Some(next) => self.reads_request(id, next, now),
            None => self.turn_to_nothing(id, now, Reason::Idle),
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.due = due;
        }
    }

    /// Rule 3: a worker connects to elsewhere, for what it works on. What it does next may be for the same, or not.
    pub fn connects(&mut self, id: WorkerId, tgid: Tgid, line: &mut Outbound, now: Nanos) {
        self.uses(id, tgid, line, now);
        line.is_connecting = true;
    }

    /// Rule 3: a worker writes to elsewhere. A connection that was opened for something is first used for that.
    pub fn writes_outbound(&mut self, id: WorkerId, tgid: Tgid, line: &mut Outbound, now: Nanos) {
        if std::mem::take(&mut line.is_connecting)
            && let Some(owner) = line.owner
        {
            self.comes_back_to(id, owner, now);
        }
        self.uses(id, tgid, line, now);
    }

    fn uses(&mut self, id: WorkerId, tgid: Tgid, line: &mut Outbound, now: Nanos) {
        self.acts(id, now);
        let Some(context) = self.workers.get(&id).and_then(|worker| worker.context) else {
            return;
        };
        if line.then == Some(context) {
            // The rest of what it has begun to write.
            return;
        }
        let is_for_another = self.is_for_another(id, tgid, context, line);
        let context = if is_for_another {
            self.tokens.fresh(now, None, Reason::Idle)
        } else {
            context
        };
        self.may_be_left_by_another(context);
        self.tokens.own(context);
        if let Some(before) = line.owner.replace(context) {
            self.tokens.disown(before);
        }
        let next = self.hand_on(context, Link::Wrote(tgid), Reason::Idle, now);
        line.then = Some(next);
        let due = self.workers.get(&id).map_or(0, Worker::due_after_next);
        self.turn(id, next);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.may_be_due = due;
        }
    }

    /// A worker writes where it has just read an answer. A pool has the connection back since then: if others came back
    /// later, whom that answer was for would have been given one of those. Not so one that has a connection of its own: it
    /// works on one request, which it has read itself or was woken for.
    fn is_for_another(&self, id: WorkerId, tgid: Tgid, context: TokenId, line: &Outbound) -> bool {
        let is_its_own = self
            .workers
            .get(&id)
            .is_some_and(|worker| worker.read == Some(context))
            || (self.tokens.claimed(context).is_none() && self.tokens.prospect(context).is_some());
        let answers = self.answers.get(&tgid);
        line.owner == Some(context)
            && !is_its_own
            && answers.is_some_and(|answers| answers.has_another_read(id, line.answer))
    }

    /// A worker that went on after it had written to elsewhere writes to elsewhere again. As long as nobody knows whether
    /// that is for the same, it may be what others had left to be written.
    fn may_be_left_by_another(&mut self, context: TokenId) {
        if let Some(via @ Link::Wrote(_)) = self.tokens.via(context)
            && self.trust.belief(via) == Belief::Unproven
        {
            self.tokens.make_doubtful(context);
        }
    }

    /// Rule 4: a worker reads from elsewhere: it goes on with what the connection was used for.
    pub fn reads_outbound(&mut self, id: WorkerId, tgid: Tgid, line: &mut Outbound, now: Nanos) {
        line.then = None;
        if self.answers.len() >= PROCESSES_MAX && !self.answers.contains_key(&tgid) {
            self.answers.clear();
        }
        line.answer = self.answers.entry(tgid).or_default().read(id);
        self.ends_turn(id);
        match line.owner {
            Some(owner) => {
                self.comes_back_to(id, owner, now);
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.way = Way::Read;
                }
            }
            None => self.turn_to_nothing(id, now, Reason::Idle),
        }
    }

    /// Nothing refers to a connection any more.
    pub fn closes_outbound(&mut self, line: &Outbound) {
        if let Some(owner) = line.owner {
            self.tokens.disown(owner);
        }
    }

    /// Rule 5: a worker goes to wait for events. What it does when it is back may be for anybody. One that only `asks` what
    /// has come has more to do: it begins with the requests that it has read since it last stayed to wait.
    pub fn waits(&mut self, id: WorkerId, asks: bool, now: Nanos) {
        self.ends_turn(id);
        self.turn_to_nothing(id, now, Reason::Idle);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.waits(asks);
        }
    }

    /// A worker is about to turn to something else, and has not answered. What it has done for nobody known is what no
    /// answer comes of. What it has read a request for, and has done since, may also be that, if there is much of it:
    /// timers of requests that wait for the next one.
    pub(super) fn ends_turn(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let Some(context) = worker.context else { return };
        let faults = self.tokens.waiting(context);
        if matches!(worker.way, Way::Turned | Way::Heard) && self.tokens.is_blank(context) {
            worker.stray.leaves(faults);
        } else if worker.way == Way::Read && worker.stray.is_likely_in_read(faults) {
            self.tokens.make_ambiguous(context);
        }
    }

    /// Rule 5: a worker takes a client's connection. It may have waited for one, and has ended what it did.
    pub fn accepts(&mut self, id: WorkerId, now: Nanos) {
        self.ends_turn(id);
        self.turn_to_nothing(id, now, Reason::Idle);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.turns();
        }
    }

    /// Rule 5: nothing has come, and the wait has run out: what it does now is a timer's.
    pub fn wait_runs_out(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get(&id)
            && let Some(context) = worker.context
            && self.tokens.is_blank(context)
        {
            self.tokens.otherwise(context, Reason::Timer);
        }
    }

    /// A connection brings a worker back to what it was used for: if that is resolved, to more of the same.
    fn comes_back_to(&mut self, id: WorkerId, owner: TokenId, now: Nanos) {
        let resolved = self.tokens.resolved(owner);
        match resolved {
            Some(_) => self.turn_to_nothing(id, now, Reason::Idle),
            None => self.turn(id, owner),
        }
        let Some(worker) = self.workers.get_mut(&id) else {
            return;
        };
        let Some(context) = worker.context else { return };
        if worker.read == Some(owner) {
            // It has not waited for anything else since.
            worker.read = Some(context);
        }
        match resolved {
            Some(Whose::Request(request)) if !self.tokens.is_open(request) => {}
            Some(whose @ (Whose::Request(_) | Whose::Nobody(Reason::InFlightAtStart))) => {
                self.tokens.claim(context, whose);
            }
            _ => {}
        }
    }

    /// A worker does something that tells that it acts, and no more: until its first such act it worked on nothing that is
    /// known.
    pub fn acts(&mut self, id: WorkerId, now: Nanos) {
        if !self.is_proven(id) {
            self.turn_to_nothing(id, now, Reason::Idle);
        }
    }

    fn turn_to_nothing(&mut self, id: WorkerId, now: Nanos, otherwise: Reason) {
        let token = self.tokens.fresh(now, None, otherwise);
        self.turn(id, token);
    }

    fn turn_to_read(&mut self, id: WorkerId, token: TokenId) {
        self.ends_turn(id);
        self.turn(id, token);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.leaves_windows();
            worker.read = Some(token);
            worker.way = Way::Read;
        }
    }

    fn turn(&mut self, id: WorkerId, token: TokenId) {
        self.turn_by(id, token, Way::Turned);
    }

    fn turn_by(&mut self, id: WorkerId, token: TokenId, way: Way) {
        // It does not wait in the middle of what it does.
        self.takes_offer_back(id);
        let worker = self.workers.entry(id).or_default();
        let (before, before_way) = (worker.context.replace(token), worker.way);
        worker.way = way;
        worker.due.clear();
        worker.may_be_due = 0;
        self.tokens.take_up(token, way.is_given());
        if let Some(before) = before {
            self.tokens.leave(before, before_way.is_given());
        }
    }
}
