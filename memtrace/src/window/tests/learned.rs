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

/// Worker 1 hands jobs to worker 2, and is woken before it answers, by this one: so many times.
fn waits_for_jobs(w: &mut World, times: usize, by: u32) {
    for id in (100..).take(times).map(RequestId) {
        w.contexts.opened(id);
        w.reads(1, id);
        w.wakes(1, 2, 8);
        w.wakes(by, 1, 16);
        w.answers(1, id);
    }
}

/// A busy pool: worker 2 has been woken for A, and has done something. What becomes of that?
fn does_what_nobody_waits_for(jobs: usize, next: fn(&mut World)) -> (World, Owner) {
    let mut w = World::new();
    breaks_promises(&mut w, 4);
    waits_for_jobs(&mut w, jobs, 2);
    w.reads(1, A);
    w.reads(3, B);
    w.wakes(1, 2, 8);
    let fault = w.fault(2);
    next(&mut w);
    w.answers(1, A);
    w.wakes(4, 2, 8);
    w.end();
    (w, fault)
}

#[test]
fn what_a_waker_usually_waits_for_may_be_done_before_it_waits() {
    let background = Owner::Nobody(Reason::BackgroundThread);
    for (jobs, expected) in [(7, background), (8, causal(A))] {
        let (w, fault) = does_what_nobody_waits_for(jobs, |_| ());
        w.assert(fault, expected);
    }
}

#[test]
fn who_is_woken_by_others_than_the_pool_does_not_wait_for_it() {
    let mut w = World::new();
    breaks_promises(&mut w, 4);
    waits_for_jobs(&mut w, 16, 4);
    w.reads(1, A);
    w.wakes(1, 2, 8);
    let fault = w.fault(2);
    w.answers(1, A);
    w.end();
    w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
}

#[test]
fn a_waker_that_is_woken_by_another_has_had_it_done_by_that() {
    let (w, fault) = does_what_nobody_waits_for(8, |w| {
        w.wakes(4, 1, 16);
    });
    w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
}

#[test]
fn a_waker_that_hands_on_two_jobs_may_have_waited_for_either() {
    let (w, fault) = does_what_nobody_waits_for(8, |w| {
        w.contexts.begin(worker(5), false);
        w.wakes(1, 5, 8);
    });
    w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
}

#[test]
fn what_somebody_waits_for_is_not_the_wakers() {
    let (w, fault) = does_what_nobody_waits_for(8, |w| w.wakes(2, 3, 24));
    w.assert(fault, causal(B));
}

#[test]
fn a_waker_that_turns_to_something_else_does_not_wait() {
    let (w, fault) = does_what_nobody_waits_for(8, |w| w.waits(1));
    w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
}

#[test]
fn what_a_thread_does_after_the_answer_is_not_the_wakers_and_nobody_knows_since_when() {
    let mut w = World::new();
    breaks_promises(&mut w, 4);
    waits_for_jobs(&mut w, 8, 2);
    w.reads(1, A);
    w.wakes(1, 2, 8);
    let faults = [w.fault(2), {
        w.answers(1, A);
        w.fault(2)
    }];
    w.wakes(4, 2, 8);
    w.end();
    for fault in faults {
        w.assert(fault, Owner::Nobody(Reason::BackgroundThread));
    }
}

#[test]
fn what_a_thread_does_after_the_answer_may_still_be_claimed() {
    let mut w = World::new();
    breaks_promises(&mut w, 4);
    waits_for_jobs(&mut w, 8, 2);
    w.reads(1, A);
    w.reads(3, B);
    w.wakes(1, 2, 8);
    let fault = w.fault(2);
    w.answers(1, A);
    assert!(w.contexts.is_held(A), "it may be this one's");
    w.wakes(2, 3, 24);
    assert!(!w.contexts.is_held(A));
    w.end();
    w.assert(fault, causal(B));
}

#[test]
fn a_completion_for_another_is_that_ones_if_it_is_as_much_as_usual() {
    for (faults, expected) in [(2, causal(B)), (4, Owner::Nobody(Reason::Ambiguous))] {
        let mut w = World::new();
        for id in (100..108).map(RequestId) {
            w.contexts.opened(id);
            w.reads(1, id);
            w.wakes(1, 2, 8);
            w.fault(2);
            w.fault(2);
            w.wakes(2, 1, 16);
            w.answers(1, id);
        }
        w.reads(1, A);
        w.reads(3, B);
        w.wakes(1, 2, 8);
        let faults: Vec<_> = (0..faults).map(|_| w.fault(2)).collect();
        w.wakes(2, 3, 24);
        w.end();
        for fault in faults {
            w.assert(fault, expected);
        }
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
        w.is_told(2, &mut left);
        w.answers(2, other);
        w.answers(1, id);
    }
    w.reads(1, A);
    w.asks(1, &mut own);
    w.asks(1, &mut left);
    w.is_told(2, &mut left);
    let after = w.fault(2);
    w.waits(2);
    w.contexts.closes_outbound(&left);
    w.end();
    w.assert(after, IDLE);
}

/// Worker 1 writes twice to elsewhere, and worker 2 is told by the second. Whose what that one does is.
fn goes_on_after_two_calls(w: &mut World, id: RequestId) -> Owner {
    let (mut first, mut second) = (Outbound::default(), Outbound::default());
    w.reads(1, id);
    w.asks(1, &mut first);
    w.asks(1, &mut second);
    w.is_told(2, &mut second);
    w.fault(2)
}

#[test]
fn who_writes_to_elsewhere_twice_may_do_so_for_two_until_an_answer_tells() {
    for (times, expected) in [(3, Owner::Nobody(Reason::Ambiguous)), (4, causal(A))] {
        let mut w = World::new();
        for id in (10..).take(times).map(RequestId) {
            w.contexts.opened(id);
            let fault = goes_on_after_two_calls(&mut w, id);
            w.answers(2, id);
            w.waits(2);
            let _ = w.now();
            w.assert(fault, causal(id));
        }
        let fault = goes_on_after_two_calls(&mut w, A);
        w.waits(2);
        w.end();
        w.assert(fault, expected);
    }
}

/// A loop whose timers set timers: of each request two stretches, and the answer comes of the second.
fn loop_with_strays(w: &mut World, ends_first: fn(&mut World)) {
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
        ends_first(w);
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
    let ends: [fn(&mut World); 5] = [
        |w| w.waits(1),
        |w| w.reads(1, B),
        |w| w.hears(1, &mut Channel::default()),
        |w| w.is_told(1, &mut Outbound::default()),
        |w| {
            let now = w.now();
            w.contexts.accepts(worker(1), now);
        },
    ];
    for ends_first in ends {
        for (faults, expected) in [(15, causal(A)), (16, Owner::Nobody(Reason::Ambiguous))] {
            let mut w = World::new();
            loop_with_strays(&mut w, ends_first);
            let all: Vec<_> = (0..faults).map(|_| w.fault(1)).collect();
            w.answers(1, A);
            w.end();
            for fault in all {
                w.assert(fault, expected);
            }
        }
    }
}

#[test]
fn what_follows_a_read_may_be_a_stray_too() {
    for (faults, expected) in [(15, direct(A)), (16, Owner::Nobody(Reason::Ambiguous))] {
        let mut w = World::new();
        loop_with_strays(&mut w, |w| w.waits(1));
        w.reads(1, A);
        let all: Vec<_> = (0..faults).map(|_| w.fault(1)).collect();
        w.waits(1);
        w.end();
        for fault in all {
            w.assert(fault, expected);
        }
    }
}

#[test]
fn where_more_was_due_what_is_more_than_usual_has_some_of_it() {
    let ambiguous = Owner::Nobody(Reason::Ambiguous);
    for (stretches, faults, expected) in [(7, 1, ambiguous), (8, 15, causal(B)), (8, 16, ambiguous)] {
        let mut w = World::new();
        for id in (10..).take(stretches).map(RequestId) {
            w.contexts.opened(id);
            w.reads(1, id);
            w.waits(1);
            for _ in 0..10 {
                w.fault(1);
            }
            w.answers(1, id);
        }
        let other = RequestId(9);
        w.contexts.opened(other);
        w.reads(1, A);
        w.reads(1, other);
        w.asks_for_events(1);
        // It has begun with the first, and perhaps with the other.
        w.asks(1, &mut Outbound::default());
        let all: Vec<_> = (0..faults).map(|_| w.fault(1)).collect();
        w.answers(1, B);
        w.end();
        for fault in all {
            w.assert(fault, expected);
        }
    }
}
