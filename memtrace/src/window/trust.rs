//! Whether work that was handed on is what became of it: learned from answers.
//!
//! Owns what each way of handing on has promised and kept. A pool whose threads take whatever job is next breaks its
//! promises whenever it is busy, and a handler's request to elsewhere may be written by whoever comes by. Must not know
//! tokens. Bounded: what was learned of all ways is forgotten when there are too many.

use memtrace_common::Tgid;
use rustc_hash::FxHashMap;

use super::{TokenId, Word};

/// Ways that are remembered.
const LINKS_MAX: usize = 4096;
/// Of a way's outcomes the older ones count half, each time that there are so many.
const OUTCOMES_MAX: u32 = 256;
/// So many broken promises are a coincidence.
const BROKEN_MIN: u32 = 4;
/// So many promises that were kept are none.
const KEPT_MIN: u32 = 4;
/// Pieces of work under way that are remembered.
const UNDER_WAY_MAX: usize = 64;
/// More than one in so many broken promises, and nothing is believed.
const BROKEN_SHARE: u32 = 8;
/// After so many hand-offs that were not believed, it is tried again.
const RETRY: u32 = 1024;

/// A way by which a worker comes to work that may be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Link {
    /// It was woken at a futex word.
    Word(Word),
    /// It had written to elsewhere, and went on. Processes differ.
    Wrote(Tgid),
    /// It has read a channel.
    Channel(Tgid),
}

/// Whether work that is handed on is to be believed for whom it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// It was so before.
    Proven,
    /// Nobody knows: while there is one such piece of work at a time, whoever has been handed it is on it.
    Unproven,
    /// It was not so too often.
    Refuted,
}

/// What has become of what each way promised.
#[derive(Debug, Default)]
pub(super) struct Trust {
    known: FxHashMap<Link, Record>,
}

#[derive(Debug, Default)]
struct Record {
    kept: u32,
    broken: u32,
    /// Hand-offs since it was last believed.
    refused: u32,
    /// As long as it is not proven: what was handed on and may not have been taken up.
    under_way: Vec<TokenId>,
}

impl Record {
    fn belief(&self) -> Belief {
        if self.broken >= BROKEN_MIN && BROKEN_SHARE * self.broken > self.kept + self.broken {
            Belief::Refuted
        } else if self.kept >= KEPT_MIN {
            Belief::Proven
        } else {
            Belief::Unproven
        }
    }
}

impl Trust {
    /// Work that came this way was for whom it promised, or for another.
    pub(super) fn learn(&mut self, link: Link, is_kept: bool) {
        let record = self.record(link);
        if is_kept {
            record.kept += 1;
        } else {
            record.broken += 1;
        }
        if record.kept + record.broken >= OUTCOMES_MAX {
            record.kept /= 2;
            record.broken /= 2;
        }
    }

    /// Work is handed on. Whether it is to be believed for whom.
    pub(super) fn belief(&mut self, link: Link) -> Belief {
        let Some(record) = self.known.get_mut(&link) else {
            return Belief::Unproven;
        };
        let belief = record.belief();
        if belief == Belief::Refuted {
            record.refused += 1;
            if record.refused >= RETRY {
                *record = Record::default();
            }
        }
        belief
    }

    /// Work is handed on by a way that is not proven. What was before, as far as it still `waits` for whom it was meant.
    pub(super) fn under_way(
        &mut self,
        link: Link,
        token: TokenId,
        waits: impl Fn(TokenId) -> bool,
    ) -> &[TokenId] {
        let under_way = &mut self.record(link).under_way;
        under_way.retain(|&token| waits(token));
        if under_way.len() >= UNDER_WAY_MAX {
            under_way.remove(0);
        }
        under_way.push(token);
        let before = under_way.len() - 1;
        &under_way[..before]
    }

    fn record(&mut self, link: Link) -> &mut Record {
        if self.known.len() >= LINKS_MAX && !self.known.contains_key(&link) {
            self.known.clear();
        }
        self.known.entry(link).or_default()
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::Nanos;

    use super::*;
    use crate::window::{Reason, tokens::Tokens};

    const POOL: Link = Link::Word(Word {
        tgid: Tgid(1),
        address: 8,
    });

    #[test]
    fn who_breaks_one_promise_in_eight_is_not_believed() {
        let mut trust = Trust::default();
        for _ in 0..BROKEN_MIN - 1 {
            trust.learn(POOL, false);
            assert_eq!(trust.belief(POOL), Belief::Unproven, "it may be a coincidence");
        }
        trust.learn(POOL, false);
        assert_eq!(trust.belief(POOL), Belief::Refuted);
        assert_eq!(
            trust.belief(Link::Wrote(Tgid(1))),
            Belief::Unproven,
            "another way"
        );
        for _ in 0..(BROKEN_SHARE - 1) * BROKEN_MIN {
            trust.learn(POOL, true);
        }
        assert_eq!(trust.belief(POOL), Belief::Proven);
        trust.learn(POOL, false);
        assert_eq!(trust.belief(POOL), Belief::Refuted);
    }

    #[test]
    fn it_is_tried_again_now_and_then() {
        let mut trust = Trust::default();
        for _ in 0..BROKEN_MIN {
            trust.learn(POOL, false);
        }
        let tries = (0..2 * RETRY)
            .filter(|_| trust.belief(POOL) != Belief::Refuted)
            .count();
        assert_eq!(tries, RETRY as usize);
    }

    #[test]
    fn what_was_long_ago_counts_less() {
        let mut trust = Trust::default();
        for _ in 0..100 * OUTCOMES_MAX {
            trust.learn(POOL, true);
        }
        for _ in 0..OUTCOMES_MAX / 4 {
            trust.learn(POOL, false);
        }
        assert_eq!(trust.belief(POOL), Belief::Refuted);
    }

    #[test]
    fn a_million_ways_and_what_is_under_way_are_bounded() {
        let mut trust = Trust::default();
        for address in 0..1_000_000 {
            let tgid = Tgid(1);
            trust.learn(Link::Word(Word { tgid, address }), true);
        }
        assert!(trust.known.len() <= LINKS_MAX);
        let mut tokens = Tokens::default();
        for _ in 0..1000 {
            let token = tokens.fresh(Nanos(1), None, Reason::Idle);
            assert!(trust.under_way(POOL, token, |_| true).len() < UNDER_WAY_MAX);
        }
    }
}
