//! Tokens by themselves: what is bounded, and that whatever waits is resolved.

use super::*;
use crate::window::tokens::Tokens;

#[test]
fn tokens_without_end_are_bounded_and_the_oldest_is_given_up() {
    let mut tokens = Tokens::default();
    let first = tokens.fresh(Nanos(1), None, Reason::Idle);
    tokens.take_up(first, false);
    for _ in 0..1 << 16 {
        let token = tokens.fresh(Nanos(1), None, Reason::Idle);
        tokens.take_up(token, false);
    }
    assert_eq!(
        tokens.take_effects().collect::<Vec<_>>(),
        [Effect::Resolved(first, Whose::Nobody(Reason::Evicted))]
    );
}

#[test]
fn requests_without_end_are_bounded_however_they_end() {
    let mut tokens = Tokens::default();
    for id in 0..3 << 16 {
        tokens.opened(RequestId(id));
        if id % 2 == 0 {
            tokens.answered(RequestId(id), Nanos(id));
        } else {
            tokens.withdrawn(RequestId(id));
        }
    }
    assert_eq!(tokens.requests(), 1 << 16);
}

#[test]
fn faults_without_end_are_bounded_and_a_claim_is_kept() {
    let mut tokens = Tokens::default();
    tokens.opened(A);
    let [claimed, unclaimed] = [(); 2].map(|()| tokens.fresh(Nanos(1), None, Reason::Idle));
    for token in [claimed, unclaimed] {
        tokens.take_up(token, false);
        tokens.awaits(token);
    }
    tokens.claim(claimed, Whose::Request(A));
    let last = tokens.fresh(Nanos(1), None, Reason::Idle);
    tokens.take_up(last, false);
    for _ in 0..1 << 18 {
        tokens.awaits(last);
    }
    assert_eq!(
        tokens.take_effects().collect::<Vec<_>>(),
        [
            Effect::Resolved(claimed, Whose::Request(A)),
            Effect::Resolved(unclaimed, Whose::Nobody(Reason::Evicted)),
        ]
    );
}

#[test]
fn a_long_chain_and_a_circle_are_resolved() {
    let mut tokens = Tokens::default();
    tokens.opened(A);
    let first = tokens.fresh(Nanos(1), None, Reason::Idle);
    tokens.own(first);
    let mut last = first;
    for _ in 0..50_000 {
        last = tokens.fresh(Nanos(1), Some(last), Reason::Idle);
    }
    tokens.take_up(first, false);
    tokens.claim(first, Whose::Request(A));
    tokens.leave(first, false);
    let effects: Vec<_> = tokens.take_effects().collect();
    assert_eq!(effects.len(), 50_001);
    assert_eq!(effects.last(), Some(&Effect::Resolved(last, Whose::Request(A))));

    let [one, other] = [(); 2].map(|()| tokens.fresh(Nanos(1), None, Reason::Idle));
    for token in [one, other] {
        tokens.take_up(token, false);
    }
    tokens.fall_back_on(one, other);
    tokens.fall_back_on(other, one);
    for token in [one, other] {
        tokens.leave(token, false);
    }
    assert_eq!(tokens.take_effects().count(), 2);
}
