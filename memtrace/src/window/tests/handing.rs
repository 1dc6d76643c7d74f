//! What passes from worker to worker: rules 6 and 7.

use super::*;

#[test]
fn rule_6_a_pool_goes_on_with_the_work_of_who_woke_it() {
    let mut w = World::new();
    for id in [A, B] {
        w.reads(1, id);
        w.wakes(1, 2, 8);
        let fault = w.fault(2);
        // The pool's thread wakes who waits for it.
        w.wakes(2, 1, 16);
        let idle = w.fault(2);
        w.answers(1, id);
        let _ = w.now();
        w.assert(fault, causal(id));
        w.wakes(3, 2, 24);
        let _ = w.now();
        w.assert(idle, Owner::Nobody(Reason::BackgroundThread));
    }
}

#[test]
fn rule_6_a_completion_tells_for_whom_the_work_was() {
    let mut w = World::new();
    w.waits(3);
    w.wakes(3, 2, 8);
    let fault = w.fault(2);
    w.reads(1, A);
    w.wakes(2, 1, 16);
    w.end();
    w.assert(fault, causal(A));
}

#[test]
fn rule_6_a_completion_for_another_is_ambiguous() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    // Nobody was woken for the next job.
    let both = w.fault(2);
    w.reads(3, B);
    w.wakes(2, 3, 16);
    w.end();
    w.assert(both, Owner::Nobody(Reason::Ambiguous));
}

/// Worker 2 is asked and answers at one word, which so looks like a lock: it works on and on, and nobody says since when
/// for whom.
#[test]
fn rule_6_who_began_before_the_request_has_worked_for_others_too() {
    let later = RequestId(3);
    for (is_before, expected) in [(true, Owner::Nobody(Reason::Ambiguous)), (false, causal(later))] {
        let mut w = World::new();
        w.reads(1, A);
        w.wakes(1, 2, 8);
        w.wakes(2, 1, 16);
        w.wakes(2, 1, 8);
        let for_another = is_before.then(|| w.fault(2));
        w.answers(1, A);
        w.contexts.opened(later);
        w.reads(1, later);
        w.wakes(1, 2, 8);
        let fault = w.fault(2);
        w.wakes(2, 1, 16);
        w.answers(1, later);
        w.end();
        for fault in for_another.into_iter().chain([fault]) {
            w.assert(fault, expected);
        }
    }
}

#[test]
fn rule_6_who_was_there_may_wait_for_a_lock_in_the_middle_of_something() {
    let mut w = World::new();
    w.contexts.begin(worker(2), true);
    w.reads(1, A);
    w.wakes(1, 2, 8);
    w.wakes(1, 2, 16);
    w.wakes(1, 2, 8);
    w.wakes(1, 2, 8);
    assert_eq!(w.fault(2), Owner::Unproven);
    w.wakes(1, 2, 8);
    let of_a_pool = w.fault(2);
    w.answers(1, A);
    w.end();
    w.assert(of_a_pool, causal(A));
}

/// Two threads allocate, and one has the lock that the other waits for, between two jobs: that says nothing of what the other
/// does. One is an event loop; of the other it is known only that it has written to one.
#[test]
fn rule_6_who_has_work_elsewhere_may_wait_for_a_lock() {
    for (wakes, expected) in [(1, Owner::Nobody(Reason::Ambiguous)), (3, causal(A))] {
        for is_loop in [true, false] {
            let mut w = World::new();
            w.contexts.begin(worker(2), true);
            for _ in 0..wakes {
                if is_loop {
                    w.waits(2);
                } else {
                    let mut channel = Channel::default();
                    w.signals(2, &mut channel);
                    w.hears(3, &mut channel);
                }
                w.reads(1, A);
                w.wakes(1, 2, 8);
            }
            let fault = w.fault(2);
            w.answers(1, A);
            w.end();
            w.assert(fault, expected);
        }
    }
}

#[test]
fn rule_6_who_was_there_waits_for_work_where_others_have_done_some() {
    for (waits_for_it, expected) in [(true, causal(A)), (false, Owner::Unproven)] {
        let mut w = World::new();
        for tid in [2, 3] {
            w.contexts.begin(worker(tid), true);
        }
        if waits_for_it {
            w.reads(4, B);
        }
        w.wakes(4, 2, 8);
        w.wakes(2, 4, 16);
        w.reads(1, A);
        w.wakes(1, 3, 8);
        let fault = w.fault(3);
        w.answers(1, A);
        w.end();
        w.assert(fault, expected);
    }
}

#[test]
fn rule_6_who_was_there_and_has_done_what_was_waited_for_goes_on_with_the_next() {
    let mut w = World::new();
    w.contexts.begin(worker(2), true);
    w.reads(4, B);
    w.wakes(4, 2, 8);
    assert_eq!(w.fault(2), Owner::Unproven);
    w.wakes(2, 4, 16);
    // Nobody was woken for it.
    let next = w.fault(2);
    w.reads(1, A);
    w.wakes(2, 1, 24);
    w.end();
    w.assert(next, causal(A));
}

#[test]
fn rule_6_who_waits_there_too_may_have_passed_on_anybodys_work() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    w.wakes(2, 3, 8);
    let fault = w.fault(3);
    w.end();
    w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
}

#[test]
fn rule_6_a_lock_says_nothing() {
    let mut w = World::new();
    for _ in 0..4 {
        w.wakes(1, 2, 8);
        w.wakes(2, 1, 8);
    }
    w.reads(1, A);
    w.waits(2);
    w.wakes(1, 2, 8);
    let fault = w.fault(2);
    w.end();
    w.assert(fault, IDLE);
}

#[test]
fn rule_6_the_inside_of_a_condition_variable_says_nothing() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 48);
    let first = w.fault(2);
    // The one that signals waits until the other is gone from the condition variable, for the next request already.
    w.reads(1, B);
    w.wakes(2, 1, 24);
    let then = w.fault(2);
    w.end();
    w.assert(first, causal(A));
    w.assert(then, causal(A));
}

#[test]
fn rule_6_of_several_that_wait_for_work_any_may_take_it() {
    let mut w = World::new();
    let [one, other] = w.hands_out_jobs();
    w.end();
    w.assert(one, Owner::Nobody(Reason::Ambiguous));
    w.assert(other, Owner::Nobody(Reason::Ambiguous));
}

#[test]
fn rule_6_who_has_begun_does_not_take_what_comes_after() {
    let mut w = World::new();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    let one = w.fault(2);
    w.reads(1, B);
    w.wakes(1, 3, 8);
    let other = w.fault(3);
    w.end();
    w.assert(one, causal(A));
    w.assert(other, causal(B));
}

#[test]
fn rule_6_who_has_work_keeps_it() {
    let mut w = World::new();
    w.reads(1, A);
    w.reads(2, B);
    w.wakes(1, 2, 8);
    let fault = w.fault(2);
    w.end();
    w.assert(fault, direct(B));
}

#[test]
fn rule_7_who_reads_a_channel_goes_on_with_its_only_writers_work() {
    let mut w = World::new();
    let mut channel = Channel::default();
    w.reads(1, A);
    w.wakes(1, 2, 8);
    w.signals(2, &mut channel);
    w.waits(3);
    w.hears(3, &mut channel);
    let fault = w.fault(3);
    w.reads(1, B);
    w.wakes(1, 2, 8);
    w.signals(2, &mut channel);
    w.signals(1, &mut channel);
    w.hears(3, &mut channel);
    let of_two = w.fault(3);
    w.end();
    w.assert(fault, causal(A));
    w.assert(of_two, IDLE);
}

#[test]
fn rule_7_who_has_passed_its_work_on_has_done_it() {
    let mut w = World::new();
    let (mut there, mut back) = (Channel::default(), Channel::default());
    w.reads(1, A);
    w.signals(1, &mut there);
    w.waits(1);
    w.hears(2, &mut there);
    let job = w.fault(2);
    w.signals(2, &mut back);
    // The next job was there: it has not waited for it.
    let next = w.fault(2);
    w.hears(1, &mut back);
    w.answers(1, A);
    w.end();
    w.assert(job, causal(A));
    w.assert(next, IDLE);
}

#[test]
fn rule_7_who_was_given_work_is_on_it_until_the_answer() {
    let mut w = World::new();
    let mut there = Channel::default();
    w.reads(1, A);
    w.signals(1, &mut there);
    w.hears(2, &mut there);
    let job = w.fault(2);
    w.answers(1, A);
    let next = w.fault(2);
    w.end();
    w.assert(job, causal(A));
    w.assert(next, IDLE);
}
