//! Which futex words are locks: a wake-up there says who is next, and not for whom there is work.
//!
//! Owns what is learned of each word. A lock's waiters are its wakers, and some of them wait in the middle of what they do;
//! a queue's waiters are woken by others, and have nothing to do. Must not know contexts. Holds the last wake-ups of the
//! words that were used last, and forgets the rest.

use std::collections::{BTreeMap, VecDeque};

use memtrace_common::Tgid;
use rustc_hash::FxHashMap;

use super::WorkerId;

/// Wake-ups of a word that are remembered: several for each of many threads that want one lock.
const WAKES_MAX: usize = 512;
/// Where some wait in the middle of a request and some not, more than one wake-up in so many is by who waits there, too.
const BOTH_SHARE: usize = 4;
/// Fewer than one in so many are a coincidence.
const KIND_SHARE: usize = 8;
/// In glibc's `pthread_cond_t`, from `__g_refs`, where who signals waits until the last ones are gone that it woke, to
/// `__g_signals`, where those wait for it: `sysdeps/nptl/bits/thread-shared-types.h`.
const REFS_TO_SIGNALS: u64 = 24;
/// So many who were woken after they had waked another are no coincidence.
const TOLD_MIN: u32 = 8;
/// Of these the older ones count half, each time that there are so many.
const WAITS_MAX: u32 = 256;
/// Words that are remembered.
const WORDS_MAX: usize = 4096;

/// A futex word of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Word {
    /// The process.
    pub tgid: Tgid,
    /// The word's address.
    pub address: u64,
}

impl Word {
    /// It is the same word, or the other one of a `pthread_cond_t`, at which waiters wait by turns: `__g_signals`.
    pub(super) fn is_beside(self, other: Self) -> bool {
        self.tgid == other.tgid && self.address / 8 == other.address / 8
    }
}

/// What is known of words.
#[derive(Debug, Default)]
pub(super) struct Words {
    known: FxHashMap<Word, Known>,
    /// By the time of their last use.
    by_use: BTreeMap<u64, Word>,
    uses: u64,
}

/// A word's last wake-ups.
#[derive(Debug, Default)]
struct Known {
    /// The newest last.
    wakes: VecDeque<Woke>,
    /// How often each has waked and waited in these.
    parts: FxHashMap<WorkerId, Part>,
    /// Workers that have done both.
    both: usize,
    /// Wake-ups by those.
    by_both: usize,
    /// Wake-ups of who was in the middle of a request.
    of_busy: usize,
    /// Who was woken there has then woken who waited for that.
    is_for_work: bool,
    /// Who waked others there in the middle of a request: so often it has been woken before it answered,
    told: u32,
    /// and so often not.
    untold: u32,
    used: u64,
}

/// A wake-up.
#[derive(Clone, Copy, Debug)]
struct Woke {
    waker: WorkerId,
    waiter: WorkerId,
    /// Who waited was in the middle of a request.
    is_busy: bool,
}

/// A worker's part in a word's last wake-ups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    woke: u32,
    waited: u32,
}

impl Part {
    fn is_both(self) -> bool {
        self.woke > 0 && self.waited > 0
    }

    fn woke_as_both(self) -> usize {
        if self.is_both() { self.woke as usize } else { 0 }
    }
}

impl Known {
    fn push(&mut self, woke: Woke) {
        if self.wakes.len() >= WAKES_MAX
            && let Some(oldest) = self.wakes.pop_front()
        {
            self.change(oldest.waker, |part| part.woke -= 1);
            self.change(oldest.waiter, |part| part.waited -= 1);
            self.of_busy -= usize::from(oldest.is_busy);
        }
        self.wakes.push_back(woke);
        self.change(woke.waker, |part| part.woke += 1);
        self.change(woke.waiter, |part| part.waited += 1);
        self.of_busy += usize::from(woke.is_busy);
    }

    fn change(&mut self, worker: WorkerId, change: impl FnOnce(&mut Part)) {
        let part = self.parts.entry(worker).or_default();
        let before = *part;
        change(part);
        let after = *part;
        self.both = self.both + usize::from(after.is_both()) - usize::from(before.is_both());
        self.by_both = self.by_both + after.woke_as_both() - before.woke_as_both();
        if after == Part::default() {
            self.parts.remove(&worker);
        }
    }

    /// Most workers have done both. Or many wake-ups are by such, where threads come and go; that is so of a queue's
    /// threads, too, if each wakes the next, but those never wait in the middle of a request.
    fn is_lock(&self) -> bool {
        let wakes = self.wakes.len();
        let of_idle = wakes - self.of_busy;
        let is_for_both_kinds = KIND_SHARE * self.of_busy.min(of_idle) > wakes;
        2 * self.both > self.parts.len() || (is_for_both_kinds && BOTH_SHARE * self.by_both > wakes)
    }
}

impl Words {
    /// One worker wakes another there, which may have been in the middle of a request.
    pub(super) fn wakes(&mut self, word: Word, waker: WorkerId, waiter: WorkerId, is_busy: bool) {
        self.uses += 1;
        if !self.known.contains_key(&word)
            && self.known.len() >= WORDS_MAX
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.known.remove(&oldest);
        }
        let known = self.known.entry(word).or_default();
        self.by_use.remove(&known.used);
        known.used = self.uses;
        self.by_use.insert(self.uses, word);
        known.push(Woke {
            waker,
            waiter,
            is_busy,
        });
    }

    /// Those who wait there and those who wake are mostly the same.
    pub(super) fn is_lock(&self, word: Word) -> bool {
        self.known.get(&word).is_some_and(Known::is_lock)
    }

    /// Who was woken there has then woken another elsewhere, which had waited for that in the middle of a request.
    pub(super) fn brings_work(&mut self, word: Word) {
        if let Some(known) = self.known.get_mut(&word) {
            known.is_for_work = true;
        }
    }

    /// Whether that has been seen.
    pub(super) fn is_for_work(&self, word: Word) -> bool {
        self.known.get(&word).is_some_and(|known| known.is_for_work)
    }

    /// Who woke another there in the middle of a request has been woken since, or answers without that.
    pub(super) fn wait_ends(&mut self, word: Word, is_told: bool) {
        let Some(known) = self.known.get_mut(&word) else {
            return;
        };
        if is_told {
            known.told += 1;
        } else {
            known.untold += 1;
        }
        if known.told + known.untold >= WAITS_MAX {
            known.told /= 2;
            known.untold /= 2;
        }
    }

    /// Whether who wakes another there waits for what comes of it: most have been woken.
    pub(super) fn is_waited_for(&self, word: Word) -> bool {
        self.known
            .get(&word)
            .is_some_and(|known| known.told >= TOLD_MIN && known.told > known.untold)
    }

    /// This word is the inside of a condition variable: the one that waits there had woken the other, and that is gone now.
    /// Of a lock it may be anyone.
    pub(super) fn is_inside(&self, word: Word, waker: WorkerId, waiter: WorkerId) -> bool {
        let signals = Word {
            address: word.address.saturating_add(REFS_TO_SIGNALS),
            ..word
        };
        self.known.get(&signals).is_some_and(|known| {
            let part = |worker| known.parts.get(&worker).copied().unwrap_or_default();
            part(waker).waited > 0 && (part(waiter).woke > 0 || known.is_lock())
        })
    }

    /// This worker has waited there: it is one of those whom it wakes.
    pub(super) fn has_waited(&self, word: Word, worker: WorkerId) -> bool {
        self.known
            .get(&word)
            .and_then(|known| known.parts.get(&worker))
            .is_some_and(|part| part.waited > 0)
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::Tid;

    use super::*;

    fn word(address: u64) -> Word {
        Word {
            tgid: Tgid(1),
            address,
        }
    }

    fn worker(tid: u32) -> WorkerId {
        Tid(tid).into()
    }

    #[test]
    fn a_lock_is_woken_by_those_who_wait_for_it() {
        let mut words = Words::default();
        for (waker, waiter) in [(1, 2), (2, 3), (3, 1), (2, 1)] {
            words.wakes(word(8), worker(waker), worker(waiter), false);
        }
        assert!(words.is_lock(word(8)));
        assert!(!words.is_lock(word(16)), "nothing is known of it");
    }

    #[test]
    fn a_queue_is_woken_by_others() {
        let mut words = Words::default();
        for waiter in 2..10 {
            words.wakes(word(8), worker(1), worker(waiter), false);
        }
        assert!(!words.is_lock(word(8)));
        words.wakes(word(8), worker(2), worker(3), false);
        assert!(!words.is_lock(word(8)), "one of the pool may pass it on");
        assert!(words.has_waited(word(8), worker(2)));
        assert!(!words.has_waited(word(8), worker(1)));
    }

    #[test]
    fn a_lock_of_threads_that_come_and_go_is_one_where_some_wait_in_the_middle_of_a_request() {
        for (is_busy, expected) in [(true, true), (false, false)] {
            let mut words = Words::default();
            for new in (10..100).step_by(4) {
                // Of a pool, each of which wakes the next; and of threads that live as long as a request.
                words.wakes(word(8), worker(1), worker(2), false);
                words.wakes(word(8), worker(2), worker(new), is_busy);
                words.wakes(word(8), worker(new), worker(1), false);
                words.wakes(word(8), worker(new + 1), worker(1), false);
                words.wakes(word(8), worker(1), worker(new + 2), is_busy);
                words.wakes(word(8), worker(2), worker(new + 3), is_busy);
            }
            assert_eq!(words.is_lock(word(8)), expected, "{is_busy}");
        }
    }

    #[test]
    fn where_busy_and_idle_ones_wait_one_wake_up_in_four_is_enough() {
        for (others, expected) in [(2, true), (3, false)] {
            let mut words = Words::default();
            for new in (10..200).step_by(4) {
                words.wakes(word(8), worker(1), worker(2), false);
                words.wakes(word(8), worker(2), worker(1), true);
                for other in 0..2 * others {
                    // Not the same in two rounds.
                    words.wakes(word(8), worker(new * 100 + other), worker(1), true);
                }
            }
            assert_eq!(words.is_lock(word(8)), expected, "{others}");
        }
    }

    #[test]
    fn at_the_inside_of_a_lock_anyone_may_wait() {
        let mut words = Words::default();
        let (inside, signals) = (word(8), word(8 + REFS_TO_SIGNALS));
        words.wakes(signals, worker(1), worker(2), false);
        assert!(words.is_inside(inside, worker(2), worker(1)), "it has woken it");
        assert!(!words.is_inside(inside, worker(2), worker(3)));
        words.wakes(signals, worker(2), worker(1), false);
        assert!(words.is_inside(inside, worker(2), worker(3)));
        assert!(
            !words.is_inside(inside, worker(4), worker(3)),
            "it has not waited"
        );
    }

    #[test]
    fn what_a_word_was_is_forgotten() {
        let mut words = Words::default();
        for _ in 0..WAKES_MAX {
            words.wakes(word(8), worker(1), worker(2), false);
            words.wakes(word(8), worker(2), worker(1), false);
        }
        assert!(words.is_lock(word(8)));
        for _ in 0..WAKES_MAX {
            words.wakes(word(8), worker(1), worker(3), false);
        }
        assert!(!words.is_lock(word(8)), "the memory is something else now");
    }

    #[test]
    fn a_million_words_are_bounded() {
        let mut words = Words::default();
        for address in 0..1_000_000 {
            words.wakes(word(address), worker(1), worker(2), false);
            words.wakes(word(7), worker(2), worker(1), false);
        }
        assert_eq!((words.known.len(), words.by_use.len()), (WORDS_MAX, WORDS_MAX));
        assert!(words.has_waited(word(7), worker(1)), "it is in use");
        assert!(!words.has_waited(word(8), worker(2)));
    }
}
