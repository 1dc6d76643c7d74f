//! The rules, one by one.
//!
//! - `handing`: rules 6 and 7
//! - `learned`: what is learned from answers, and believed or not after that
//! - `tokens`: what is bounded, and that whatever waits is resolved
//! - `any`: that every fault is somebody's in the end, whatever happens

use memtrace_common::{Nanos, Tgid, Tid};

use super::*;

mod any;
mod handing;
mod learned;
mod tokens;

const A: RequestId = RequestId(1);
const B: RequestId = RequestId(2);

/// Workers, what they work on, and what became of it.
#[derive(Default)]
struct World {
    contexts: Contexts,
    time: u64,
    resolved: std::collections::BTreeMap<TokenId, Whose>,
    let_go: Vec<RequestId>,
}

impl World {
    /// With two requests, neither of them answered, and four workers.
    fn new() -> Self {
        let mut world = Self::default();
        for id in [A, B] {
            world.contexts.opened(id);
        }
        for tid in 1..=4 {
            world.contexts.begin(worker(tid), false);
        }
        world
    }

    fn now(&mut self) -> Nanos {
        self.time += 1;
        for effect in self.contexts.take_effects() {
            match effect {
                Effect::Resolved(token, whose) => {
                    assert_eq!(
                        self.resolved.insert(token, whose),
                        None,
                        "a token is resolved once"
                    );
                }
                Effect::LetGo(id) => self.let_go.push(id),
            }
        }
        Nanos(self.time)
    }

    fn reads(&mut self, tid: u32, id: RequestId) {
        let now = self.now();
        self.contexts.reads_request(worker(tid), id, now);
    }

    /// A part of the answer.
    fn writes(&mut self, tid: u32, id: RequestId) {
        let now = self.now();
        self.contexts.answers(worker(tid), Whose::Request(id), None, now);
    }

    fn answers(&mut self, tid: u32, id: RequestId) {
        let now = self.now();
        self.contexts.answered(id, now);
        self.contexts.answers(worker(tid), Whose::Request(id), None, now);
    }

    fn waits(&mut self, tid: u32) {
        let now = self.now();
        self.contexts.waits(worker(tid), false, now);
    }

    fn asks_for_events(&mut self, tid: u32) {
        let now = self.now();
        self.contexts.waits(worker(tid), true, now);
    }

    fn connects(&mut self, tid: u32) -> Outbound {
        let (now, mut line) = (self.now(), Outbound::default());
        self.contexts.connects(worker(tid), Tgid(1), &mut line, now);
        line
    }

    fn asks(&mut self, tid: u32, line: &mut Outbound) {
        let now = self.now();
        self.contexts.writes_outbound(worker(tid), Tgid(1), line, now);
    }

    fn is_told(&mut self, tid: u32, line: &mut Outbound) {
        let now = self.now();
        self.contexts.reads_outbound(worker(tid), Tgid(1), line, now);
    }

    fn wakes(&mut self, waker: u32, waiter: u32, address: u64) {
        let now = self.now();
        let word = Word {
            tgid: Tgid(1),
            address,
        };
        let (waker, waiter) = (worker(waker), worker(waiter));
        self.contexts.wakes(Wake { waker, waiter, word }, now);
    }

    fn signals(&mut self, tid: u32, channel: &mut Channel) {
        let now = self.now();
        self.contexts.writes_channel(worker(tid), channel, now);
    }

    fn hears(&mut self, tid: u32, channel: &mut Channel) {
        let now = self.now();
        self.contexts.reads_channel(worker(tid), Tgid(1), channel, now);
    }

    /// Worker 1 reads two requests, and hands a job for each to workers 2 and 3. Whose what they do is.
    fn hands_out_jobs(&mut self) -> [Owner; 2] {
        for (id, tid) in [(A, 2), (B, 3)] {
            self.reads(1, id);
            self.wakes(1, tid, 8);
        }
        [2, 3].map(|tid| self.fault(tid))
    }

    /// Whom a fault is for that a worker takes now.
    fn fault(&mut self, tid: u32) -> Owner {
        let owner = self.contexts.owner(worker(tid));
        if let Owner::Token(token, _) = owner {
            self.contexts.awaits(token);
        }
        owner
    }

    /// Ends the run. What became of faults is known then.
    fn end(&mut self) {
        self.contexts.finish();
        let _ = self.now();
    }

    #[track_caller]
    fn whose(&self, owner: Owner) -> Owner {
        match owner {
            Owner::Token(token, _) => owner.resolved(self.resolved[&token]),
            known => known,
        }
    }

    #[track_caller]
    fn assert(&self, owner: Owner, expected: Owner) {
        assert_eq!(self.whose(owner), expected);
    }
}

fn worker(tid: u32) -> WorkerId {
    Tid(tid).into()
}

fn direct(id: RequestId) -> Owner {
    Owner::Request(id, Label::Direct)
}

fn causal(id: RequestId) -> Owner {
    Owner::Request(id, Label::Causal)
}

const IDLE: Owner = Owner::Nobody(Reason::Idle);

#[test]
fn rule_1_a_worker_works_for_what_it_last_read() {
    let mut w = World::new();
    let before = w.fault(1);
    assert_eq!(before, Owner::Unproven);
    w.reads(1, A);
    let first = w.fault(1);
    w.reads(1, B);
    let second = w.fault(1);
    w.end();
    w.assert(first, direct(A));
    w.assert(second, direct(B));
}

#[test]
fn rule_1_what_was_in_flight_is_nobodys() {
    let mut w = World::new();
    let now = w.now();
    w.contexts.reads_what_was_in_flight(worker(1), now);
    let fault = w.fault(1);
    let whose = Whose::Nobody(Reason::InFlightAtStart);
    w.contexts.answers(worker(1), whose, None, now);
    let after = w.fault(1);
    w.end();
    w.assert(fault, Owner::Nobody(Reason::InFlightAtStart));
    w.assert(after, IDLE);
}

#[test]
fn rule_2_an_answer_tells_for_whom_the_work_before_it_was() {
    let mut w = World::new();
    w.reads(1, A);
    w.waits(1);
    let fault = w.fault(1);
    w.answers(1, A);
    let after = w.fault(1);
    w.end();
    w.assert(fault, causal(A));
    w.assert(after, IDLE);
}

#[test]
fn rule_2_work_for_one_that_led_to_anothers_answer_is_ambiguous() {
    let mut w = World::new();
    w.reads(1, B);
    let fault = w.fault(1);
    w.writes(1, A);
    let after = w.fault(1);
    w.answers(1, B);
    w.end();
    w.assert(fault, Owner::Nobody(Reason::Ambiguous));
    w.assert(after, causal(B));
}

#[test]
fn rule_2_of_pipelined_requests_the_next_ones_turn_has_come() {
    let mut w = World::new();
    w.reads(1, A);
    let first = w.fault(1);
    let now = w.now();
    w.contexts.answered(A, now);
    w.contexts.answers(worker(1), Whose::Request(A), Some(B), now);
    let second = w.fault(1);
    w.answers(1, B);
    w.end();
    w.assert(first, direct(A));
    w.assert(second, direct(B));
}

#[test]
fn rule_3_and_4_a_pooled_connection_goes_back_to_whom_it_was_used_for() {
    let mut w = World::new();
    let (mut one, mut other) = (Outbound::default(), Outbound::default());
    w.reads(1, A);
    w.asks(1, &mut one);
    let between = w.fault(1);
    w.reads(1, B);
    w.asks(1, &mut other);
    w.waits(1);
    w.is_told(1, &mut one);
    let for_a = w.fault(1);
    w.asks(1, &mut one);
    w.is_told(1, &mut other);
    let for_b = w.fault(1);
    w.answers(1, B);
    w.is_told(1, &mut one);
    w.answers(1, A);
    w.end();
    w.assert(between, causal(A));
    w.assert(for_a, causal(A));
    w.assert(for_b, causal(B));
}

#[test]
fn rule_3_a_connection_is_first_used_for_what_it_was_opened_for() {
    let mut w = World::new();
    w.reads(1, A);
    let mut line = w.connects(1);
    w.reads(1, B);
    w.waits(1);
    // The loop finds it connected, in the middle of nothing.
    w.asks(1, &mut line);
    w.waits(1);
    w.is_told(1, &mut line);
    let fault = w.fault(1);
    w.end();
    w.assert(fault, causal(A));
}

#[test]
fn rule_3_the_rest_of_what_is_written_is_for_the_same() {
    let mut w = World::new();
    let mut line = Outbound::default();
    w.waits(1);
    let first = w.fault(1);
    w.asks(1, &mut line);
    let between = w.fault(1);
    w.asks(1, &mut line);
    w.waits(1);
    w.is_told(1, &mut line);
    w.answers(1, A);
    w.end();
    w.assert(first, causal(A));
    w.assert(between, causal(A));
}

#[test]
fn rule_4_whoever_answers_claims_what_the_upstream_call_was_for() {
    let mut w = World::new();
    // An event loop whose handlers run after it has waited: nothing says for whom, until the answer does.
    w.reads(1, A);
    w.waits(1);
    let first = w.fault(1);
    let mut line = Outbound::default();
    w.asks(1, &mut line);
    w.waits(1);
    w.is_told(1, &mut line);
    let second = w.fault(1);
    w.answers(1, A);
    w.end();
    w.assert(first, causal(A));
    w.assert(second, causal(A));
}

#[test]
fn rule_4_a_thread_that_only_waits_for_that_answer_works_directly() {
    let mut w = World::new();
    w.reads(1, A);
    let mut line = w.connects(1);
    w.asks(1, &mut line);
    w.is_told(1, &mut line);
    let fault = w.fault(1);
    w.answers(1, A);
    w.end();
    w.assert(fault, direct(A));
}

#[test]
fn rule_4_of_connections_that_came_back_the_last_is_used_first() {
    for (came_back_later, expected) in [(false, causal(A)), (true, IDLE)] {
        let mut w = World::new();
        let (mut line, mut other) = (Outbound::default(), Outbound::default());
        for (tid, line) in [(1, &mut line), (2, &mut other)] {
            w.waits(tid);
            w.asks(tid, line);
            w.waits(tid);
        }
        if !came_back_later {
            w.is_told(2, &mut other);
        }
        w.is_told(1, &mut line);
        let first = w.fault(1);
        if came_back_later {
            w.is_told(2, &mut other);
        }
        w.asks(1, &mut line);
        w.is_told(3, &mut line);
        let second = w.fault(3);
        w.answers(3, A);
        w.end();
        w.assert(first, expected);
        w.assert(second, causal(A));
    }
}

#[test]
fn rule_4_who_works_on_one_request_has_a_connection_of_its_own() {
    let mut w = World::new();
    let [mut line, mut other, mut of_a_pool] = <[Outbound; 3]>::default();
    w.reads(1, A);
    w.wakes(1, 3, 8);
    for (tid, line) in [(1, &mut line), (3, &mut of_a_pool)] {
        w.asks(tid, line);
        w.is_told(tid, line);
    }
    w.is_told(2, &mut other);
    let [one, pool] = [(1, &mut line), (3, &mut of_a_pool)].map(|(tid, line)| {
        w.asks(tid, line);
        w.is_told(tid, line);
        w.fault(tid)
    });
    w.end();
    w.assert(one, direct(A));
    w.assert(pool, causal(A));
}

#[test]
fn rule_4_an_answer_for_who_is_gone_is_nobodys() {
    let mut w = World::new();
    let mut line = Outbound::default();
    w.reads(1, A);
    w.asks(1, &mut line);
    w.answers(1, A);
    w.waits(1);
    w.is_told(1, &mut line);
    let fault = w.fault(1);
    w.contexts.closes_outbound(&line);
    w.end();
    w.assert(fault, IDLE);
}

#[test]
fn rule_5_waiting_for_events_ends_it_and_a_wait_in_vain_is_a_timers() {
    let mut w = World::new();
    w.reads(1, A);
    w.waits(1);
    let event = w.fault(1);
    w.waits(1);
    w.contexts.wait_runs_out(worker(1));
    let timer = w.fault(1);
    w.waits(1);
    w.contexts.wait_runs_out(worker(1));
    let answer = w.fault(1);
    w.answers(1, A);
    w.end();
    w.assert(event, IDLE);
    w.assert(timer, Owner::Nobody(Reason::Timer));
    w.assert(answer, causal(A));
}

#[test]
fn rule_5_a_loop_that_only_asks_begins_with_the_requests_that_it_has_read_in_order() {
    let mut w = World::new();
    w.reads(1, A);
    w.reads(1, B);
    w.asks_for_events(1);
    let first = w.fault(1);
    w.answers(1, A);
    let second = w.fault(1);
    w.answers(1, B);
    w.end();
    w.assert(first, causal(A));
    w.assert(second, causal(B));
}

#[test]
fn rule_5_who_answers_out_of_order_has_begun_with_others() {
    let mut w = World::new();
    w.reads(1, A);
    w.reads(1, B);
    w.asks_for_events(1);
    let of_two = w.fault(1);
    w.answers(1, B);
    let after = w.fault(1);
    w.answers(1, A);
    w.end();
    w.assert(of_two, Owner::Nobody(Reason::Ambiguous));
    w.assert(after, causal(A));
}

#[test]
fn rule_5_what_a_loop_has_to_begin_is_not_for_whom_it_answers_first() {
    let mut w = World::new();
    w.reads(1, A);
    w.waits(1);
    w.reads(1, B);
    w.asks_for_events(1);
    let begins = w.fault(1);
    w.answers(1, A);
    w.end();
    w.assert(begins, Owner::Nobody(Reason::Ambiguous));
}

#[test]
fn rule_5_a_handler_may_begin_a_turn_after_its_bytes() {
    let mut w = World::new();
    w.reads(1, A);
    w.asks_for_events(1);
    let now = w.now();
    w.contexts.accepts(worker(1), now);
    w.asks_for_events(1);
    let mixed = w.fault(1);
    w.answers(1, B);
    w.end();
    w.assert(mixed, Owner::Nobody(Reason::Ambiguous));
}

#[test]
fn rule_8_what_is_begun_after_the_answer_is_not_for_it() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    let before = w.fault(2);
    let mut channel = Channel::default();
    w.signals(1, &mut channel);
    w.answers(1, A);
    let still = w.fault(2);
    w.hears(3, &mut channel);
    let after = w.fault(3);
    w.end();
    w.assert(before, causal(A));
    w.assert(still, Owner::Nobody(Reason::BackgroundThread));
    w.assert(after, IDLE);
}

#[test]
fn a_request_is_held_while_somebody_may_work_for_it() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    w.answers(3, A);
    assert!(w.contexts.is_held(A), "who read it is still at it");
    assert!(w.let_go.is_empty());
    w.waits(1);
    let _ = w.now();
    assert_eq!(w.let_go, [A], "a pool's thread does not hold it");
    assert!(!w.contexts.is_held(A));
}

#[test]
fn a_pooled_connection_that_is_idle_holds_nothing() {
    let mut w = World::new();
    let mut line = Outbound::default();
    w.reads(1, A);
    w.waits(1);
    w.asks(1, &mut line);
    w.waits(1);
    w.is_told(1, &mut line);
    w.asks(1, &mut line);
    w.answers(1, A);
    w.waits(1);
    let _ = w.now();
    assert!(!w.contexts.is_held(A));
}

#[test]
fn the_innermost_open_window_comes_first() {
    let mut w = World::new();
    let [outer, inner] = [RequestId(8), RequestId(9)];
    w.reads(1, A);
    for window in [outer, inner] {
        w.contexts.opened(window);
        let now = w.now();
        w.contexts.enters_window(worker(1), window, now);
    }
    assert_eq!(w.fault(1), direct(inner));
    w.waits(1);
    assert_eq!(w.fault(1), direct(inner), "a job may wait");
    let now = w.now();
    w.contexts.answered(inner, now);
    assert_eq!(w.fault(1), direct(outer));
    w.reads(1, B);
    let fault = w.fault(1);
    w.end();
    // An event loop that turns to a request leaves its windows.
    w.assert(fault, direct(B));
}

#[test]
fn windows_without_end_are_bounded() {
    let mut w = World::new();
    for id in 10..100_000 {
        w.contexts.opened(RequestId(id));
        let now = w.now();
        w.contexts.enters_window(worker(1), RequestId(id), now);
    }
    assert_eq!(w.fault(1), direct(RequestId(99_999)));
}
