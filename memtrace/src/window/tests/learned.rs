//! What is learned from answers: whom a way of handing on promises, and what is usual.

use super::*;

/// Worker 1 hands a request's job to worker 2, which does another's instead: so many times.
fn breaks_promises(w: &mut World, times: usize) {
    for id in (10..).step_by(2).take(times).map(RequestId) {
        let other = RequestId(id.0 + 1);
        w.contexts.opened(id);
        w.contexts.opened(other);
        w.reads(1, id);
        w.wakes(1, 2, 8);
        w.reads(3, other);
        w.wakes(2, 3, 16);
        w.answers(3, other);
        w.answers(1, id);
    }
}

#[test]
fn a_pool_that_takes_other_work_is_not_believed() {
    for (times, expected) in [(3, causal(A)), (4, Owner::Nobody(Reason::BackgroundThread))] {
        let mut w = World::new();
        breaks_promises(&mut w, times);
        w.reads(1, A);
        w.wakes(1, 2, 8);
        let fault = w.fault(2);
        w.end();
        w.assert(fault, expected);
    }
}

#[test]
fn a_pool_that_keeps_its_promises_may_be_given_much_at_once() {
    let mut w = World::new();
    for id in (10..14).map(RequestId) {
        w.contexts.opened(id);
        w.reads(1, id);
        w.wakes(1, 2, 8);
        w.wakes(2, 1, 16);
        w.answers(1, id);
    }
    let [one, other] = w.hands_out_jobs();
    w.end();
    w.assert(one, causal(A));
    w.assert(other, causal(B));
}

#[test]
fn whoever_comes_by_writes_what_others_left() {
    let mut w = World::new();
    let (mut own, mut left) = (Outbound::default(), Outbound::default());
    for id in (10..).step_by(2).take(4).map(RequestId) {
        let other = RequestId(id.0 + 1);
        w.contexts.opened(id);
        w.contexts.opened(other);
        w.reads(1, other);
        w.reads(1, id);
        w.asks(1, &mut own);
        // The other's, which had to wait.
        w.asks(1, &mut left);
        w.is_told(2, &left);
        w.answers(2, other);
        w.answers(1, id);
    }
    w.reads(1, A);
    w.asks(1, &mut own);
    w.asks(1, &mut left);
    w.is_told(2, &left);
    let after = w.fault(2);
    w.waits(2);
    w.contexts.closes_outbound(&left);
    w.end();
    w.assert(after, IDLE);
}

/// A loop whose timers set timers: each second turn has an answer, and what comes before it.
fn loop_with_strays(w: &mut World) {
    for id in (10..22).map(RequestId) {
        w.contexts.opened(id);
        w.reads(1, id);
        for _ in 0..10 {
            w.fault(1);
        }
        w.waits(1);
        for _ in 0..10 {
            w.fault(1);
        }
        w.waits(1);
        for _ in 0..10 {
            w.fault(1);
        }
        w.answers(1, id);
        w.waits(1);
    }
}

#[test]
fn where_no_answer_comes_of_much_more_than_usual_is_ambiguous() {
    for (faults, expected) in [(15, causal(A)), (16, Owner::Nobody(Reason::Ambiguous))] {
        let mut w = World::new();
        loop_with_strays(&mut w);
        let all: Vec<_> = (0..faults).map(|_| w.fault(1)).collect();
        w.answers(1, A);
        w.end();
        for fault in all {
            w.assert(fault, expected);
        }
    }
}

#[test]
fn what_follows_a_read_may_be_a_stray_too() {
    for (faults, expected) in [(15, direct(A)), (16, Owner::Nobody(Reason::Ambiguous))] {
        let mut w = World::new();
        loop_with_strays(&mut w);
        w.reads(1, A);
        let all: Vec<_> = (0..faults).map(|_| w.fault(1)).collect();
        w.waits(1);
        w.end();
        for fault in all {
            w.assert(fault, expected);
        }
    }
}
