//! What passes from worker to worker: by a futex wake-up, by a channel.
//!
//! Owns rules 6 and 7, and whether work that is handed on is believed to be for whom it seems. Must not know what a
//! worker does on its own.

use memtrace_common::{Nanos, Tgid};

use super::{
    super::{
        Channel, Reason, TokenId, Whose, Word, WorkerId,
        handoff::Writers,
        stray::Jobs,
        trust::{Belief, Link},
        worker::{Offer, Way, Worker},
    },
    Contexts,
};

/// One worker wakes another that waits at a futex word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Who wakes.
    pub waker: WorkerId,
    /// Who waited.
    pub waiter: WorkerId,
    /// Where.
    pub word: Word,
}

impl Contexts {
    /// Rule 6: a worker wakes another that waits at a futex word.
    pub fn wakes(&mut self, Wake { waker, waiter, word }: Wake, now: Nanos) {
        let is_busy = self
            .workers
            .get(&waiter)
            .is_some_and(|worker| worker.way == Way::Read);
        self.words.wakes(word, waker, waiter, is_busy);
        if self.words.is_lock(word) || self.words.is_inside(word, waker, waiter) {
            return;
        }
        let Some(by) = self.workers.get(&waker) else {
            return;
        };
        let (context, is_woken) = (by.context, by.way == Way::Woken);
        let woken_at = by.last_woken_at();
        if is_busy {
            self.is_told(waiter, waker);
        }
        if let Some(worker) = self.workers.get_mut(&waiter) {
            worker.is_woken_at(word);
        }
        if self.may_inherit(waiter, word) {
            if context.is_some() || self.is_proven(waiter) || self.words.is_for_work(word) {
                let is_one_of_them = self.words.has_waited(word, waker);
                let from = context.filter(|_| !is_one_of_them);
                let token = self.inherits(waiter, word, from, now);
                if let Some(from) = from {
                    self.offers(waker, word, from, token);
                }
            }
        } else if let Some(done) = context.filter(|_| is_woken) {
            self.completes(waker, done, waiter, now);
        } else if let Some(at) = woken_at.filter(|&at| is_busy && at != word) {
            self.words.brings_work(at);
            self.has_done_what_it_was_woken_for(waker, now);
        }
    }

    /// It does nothing of its own.
    fn may_inherit(&self, id: WorkerId, word: Word) -> bool {
        self.workers.get(&id).is_some_and(|worker| match worker.context {
            None => !worker.was_there() || self.is_where_it_waits_for_work(id, word),
            Some(context) => match worker.way {
                Way::Woken => true,
                Way::Turned | Way::Heard => self.tokens.is_blank(context),
                Way::Read => false,
            },
        })
    }

    /// It is woken there again and again, or others have been and have then done what somebody waited for. Else it may wait
    /// for a lock.
    fn is_where_it_waits_for_work(&self, id: WorkerId, word: Word) -> bool {
        let worker = self.workers.get(&id);
        worker.is_some_and(Worker::waits_there_for_work) || self.words.is_for_work(word)
    }

    /// Rule 6: a worker that is idle, or on what it was woken for before, goes on with the waker's work, no longer than
    /// until the answer: a busy pool takes one job after another, and nobody is woken. One that is woken by another of
    /// those who wait there may have been given anybody's, and one that has work of its own elsewhere may have waited for a
    /// lock.
    fn inherits(&mut self, id: WorkerId, word: Word, from: Option<TokenId>, now: Nanos) -> TokenId {
        let otherwise = Reason::BackgroundThread;
        let token = match from {
            Some(from) => self.hand_on(from, Link::Word(word), otherwise, now),
            None => self.tokens.fresh(now, None, otherwise),
        };
        let may_wait_for_a_lock = self.workers.get(&id).is_some_and(Worker::may_wait_for_a_lock);
        if may_wait_for_a_lock && !self.is_where_it_waits_for_work(id, word) {
            self.tokens.make_doubtful(token);
        }
        self.turn_by(id, token, Way::Woken);
        token
    }

    /// Rule 6: a worker wakes another, and whether that is for what it works on nobody believes. It may be, and be done
    /// before the worker waits for it: then nobody is woken.
    fn offers(&mut self, id: WorkerId, word: Word, from: TokenId, token: TokenId) {
        self.takes_offer_back(id);
        let request = self.tokens.prospect(from).filter(|&id| self.tokens.is_open(id));
        if let Some(request) = request
            && self.tokens.is_blank(token)
            && let Some(worker) = self.workers.get_mut(&id)
        {
            self.tokens.own(token);
            worker.offer = Some(Offer { token, request, word });
        }
    }

    /// A worker is woken in the middle of a request. If that is by one of those that wait where it has woken another, what it
    /// waited for is done.
    fn is_told(&mut self, id: WorkerId, by: WorkerId) {
        if let Some(Offer { word, .. }) = self.takes_offer_back(id)
            && self.words.has_waited(word, by)
        {
            self.words.wait_ends(word, true);
        }
    }

    /// A worker answers. If it has not been woken since it woke another, and those who do that there wait for what comes of
    /// it, that was done by then.
    pub(super) fn answers_untold(&mut self, id: WorkerId, whose: Whose) {
        let Some(offer) = self.workers.get(&id).and_then(|worker| worker.offer) else {
            return;
        };
        self.words.wait_ends(offer.word, false);
        if whose == Whose::Request(offer.request) && self.words.is_waited_for(offer.word) {
            self.tokens.leave_to(offer.token, offer.request);
        }
        self.takes_offer_back(id);
    }

    /// What another does is told by that one alone, from here on.
    pub(super) fn takes_offer_back(&mut self, id: WorkerId) -> Option<Offer> {
        let offer = self.workers.get_mut(&id)?.offer.take()?;
        self.tokens.disown(offer.token);
        Some(offer)
    }

    /// Rule 6: a worker that was woken for something wakes one that has work of its own: that had waited for it.
    fn completes(&mut self, id: WorkerId, done: TokenId, waiter: WorkerId, now: Nanos) {
        let Some(waits_for_it) = self.workers.get(&waiter).and_then(|worker| worker.context) else {
            return;
        };
        if self.tokens.claimed(done).is_none() {
            let (claimed, promised) = (self.tokens.claimed(waits_for_it), self.tokens.prospect(done));
            if let Some(whose) = claimed {
                self.learns(done, whose);
            }
            let faults = self.tokens.waiting(done);
            let is_promised = promised.map(|id| claimed == Some(Whose::Request(id)));
            let worker = self.workers.get_mut(&id);
            let jobs = worker.map_or(Jobs::Unknown, |worker| worker.stray.jobs_in(faults, is_promised));
            match (claimed, promised) {
                // Nobody said what it was on, and some of it may have been another's.
                (Some(_), None) if jobs == Jobs::Several => {
                    self.tokens.claim(done, Whose::Nobody(Reason::Ambiguous));
                }
                // It has done more than it was woken for, or who waits is not who it was done for.
                (Some(whose), Some(other)) if whose != Whose::Request(other) && jobs != Jobs::One => {
                    self.tokens.claim(done, Whose::Nobody(Reason::Ambiguous));
                }
                // Nor can this be who it was woken for.
                (Some(Whose::Request(id)), _) if self.tokens.was_before(done, id) => {
                    self.tokens.claim(done, Whose::Nobody(Reason::Ambiguous));
                }
                (Some(whose), _) => self.tokens.claim(done, whose),
                (None, _) => self.tokens.fall_back_on(done, waits_for_it),
            }
        }
        self.has_done_what_it_was_woken_for(id, now);
    }

    /// What comes next was not what it was woken for.
    fn has_done_what_it_was_woken_for(&mut self, id: WorkerId, now: Nanos) {
        let token = self.tokens.fresh(now, None, Reason::BackgroundThread);
        self.turn_by(id, token, Way::Woken);
    }

    /// Rule 7: a worker writes to a channel: whoever reads it goes on with its work. One that was given work has done it.
    pub fn writes_channel(&mut self, id: WorkerId, channel: &mut Channel, now: Nanos) {
        self.acts(id, now);
        let Some(worker) = self.workers.get(&id) else {
            return;
        };
        let Some(context) = worker.context else { return };
        let way = worker.way;
        match channel.writers {
            Writers::Nobody => {
                self.tokens.own(context);
                channel.writers = Writers::One(context);
            }
            Writers::One(other) if other != context => {
                self.tokens.disown(other);
                channel.writers = Writers::Many;
            }
            Writers::One(_) | Writers::Many => {}
        }
        match way {
            Way::Woken => self.has_done_what_it_was_woken_for(id, now),
            Way::Heard => self.turn_to_nothing(id, now, Reason::Idle),
            Way::Turned | Way::Read => {
                let next = self.tokens.fresh(now, Some(context), Reason::Idle);
                self.turn(id, next);
            }
        }
    }

    /// Rule 7: a worker reads a channel.
    pub fn reads_channel(&mut self, id: WorkerId, tgid: Tgid, channel: &mut Channel, now: Nanos) {
        self.ends_turn(id);
        let from = channel.take_writer();
        let token = match from {
            Some(from) => self.hand_on(from, Link::Channel(tgid), Reason::Idle, now),
            None => self.tokens.fresh(now, None, Reason::Idle),
        };
        let way = if from.is_some() { Way::Heard } else { Way::Turned };
        self.turn_by(id, token, way);
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.hears();
        }
        if let Some(from) = from {
            self.tokens.disown(from);
        }
    }

    /// Nothing refers to a channel any more.
    pub fn closes_channel(&mut self, mut channel: Channel) {
        if let Some(writer) = channel.take_writer() {
            self.tokens.disown(writer);
        }
    }

    /// What comes of a token by a way that is believed; else anybody's.
    pub(super) fn hand_on(&mut self, from: TokenId, via: Link, otherwise: Reason, now: Nanos) -> TokenId {
        let belief = self.trust.belief(via);
        if belief == Belief::Refuted {
            return self.tokens.fresh(now, None, otherwise);
        }
        let token = self.tokens.handed_on(now, from, via, otherwise);
        if belief == Belief::Unproven && matches!(via, Link::Word(_)) {
            self.may_be_mistaken(token, via);
        }
        token
    }

    /// Of several workers that were woken at one word and have done nothing since, any may take any's work.
    fn may_be_mistaken(&mut self, token: TokenId, via: Link) {
        let tokens = &self.tokens;
        let request = tokens.prospect(token);
        let waits = |id| tokens.is_untouched(id) && tokens.prospect(id).is_some_and(|id| tokens.is_open(id));
        let others = self.trust.under_way(via, token, waits);
        let others: Vec<_> = others
            .iter()
            .copied()
            .filter(|&other| tokens.prospect(other) != request)
            .collect();
        if !others.is_empty() {
            self.tokens.make_doubtful(token);
        }
        for other in others {
            self.tokens.make_doubtful(other);
        }
    }

    /// It turns out whose a token is: what was promised on the way to it is kept or broken.
    pub(super) fn learns(&mut self, id: TokenId, whose: Whose) {
        if let Some((promised, ways)) = self.tokens.promises(id, whose) {
            let is_kept = Whose::Request(promised) == whose;
            // All of them have kept what they promised; or the last has not, and of the others nobody knows.
            let known = if is_kept { ways.len() } else { 1 };
            for link in ways.into_iter().take(known) {
                self.trust.learn(link, is_kept);
            }
        }
    }
}
