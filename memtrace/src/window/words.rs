//! Which futex words are locks: a wake-up there says who is next, and not for whom there is work.
//!
//! Owns what is learned of each word. A lock's waiters are its wakers; a queue's waiters are woken by others. Must not
//! know contexts. Holds the last wake-ups of the words that were used last, and forgets the rest.

use std::collections::{BTreeMap, VecDeque};

use memtrace_common::Tgid;
use rustc_hash::FxHashMap;

use super::WorkerId;

/// Wake-ups of a word that are remembered: several for each of many threads that want one lock.
const WAKES_MAX: usize = 512;
/// In glibc's `pthread_cond_t`, from `__g_refs`, where who signals waits until the last ones are gone that it woke, to
/// `__g_signals`, where those wait for it: `sysdeps/nptl/bits/thread-shared-types.h`.
const REFS_TO_SIGNALS: u64 = 24;
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
    /// The waker and who waited, the newest last.
    wakes: VecDeque<(WorkerId, WorkerId)>,
    /// How often each has waked and waited in these.
    parts: FxHashMap<WorkerId, Part>,
    /// Workers that have done both.
    both: usize,
    used: u64,
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
}

impl Known {
    fn push(&mut self, waker: WorkerId, waiter: WorkerId) {
        if self.wakes.len() >= WAKES_MAX
            && let Some((waker, waiter)) = self.wakes.pop_front()
        {
            self.change(waker, |part| part.woke -= 1);
            self.change(waiter, |part| part.waited -= 1);
        }
        self.wakes.push_back((waker, waiter));
        self.change(waker, |part| part.woke += 1);
        self.change(waiter, |part| part.waited += 1);
    }

    fn change(&mut self, worker: WorkerId, change: impl FnOnce(&mut Part)) {
        let part = self.parts.entry(worker).or_default();
        let before = part.is_both();
        change(part);
        let (after, is_over) = (part.is_both(), *part == Part::default());
        self.both = self.both + usize::from(after) - usize::from(before);
        if is_over {
            self.parts.remove(&worker);
        }
    }
}

impl Words {
    /// One worker wakes another there.
    pub(super) fn wakes(&mut self, word: Word, waker: WorkerId, waiter: WorkerId) {
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
        known.push(waker, waiter);
    }

    /// Those who wait there and those who wake are mostly the same.
    pub(super) fn is_lock(&self, word: Word) -> bool {
        self.known
            .get(&word)
            .is_some_and(|known| 2 * known.both > known.parts.len())
    }

    /// This word is the inside of a condition variable: the one that waits there had woken the other, and that is gone now.
    pub(super) fn is_inside(&self, word: Word, waker: WorkerId, waiter: WorkerId) -> bool {
        let signals = Word {
            address: word.address.saturating_add(REFS_TO_SIGNALS),
            ..word
        };
        let part = |worker| {
            let known = self.known.get(&signals)?;
            known.parts.get(&worker)
        };
        part(waiter).is_some_and(|part| part.woke > 0) && part(waker).is_some_and(|part| part.waited > 0)
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
            words.wakes(word(8), worker(waker), worker(waiter));
        }
        assert!(words.is_lock(word(8)));
        assert!(!words.is_lock(word(16)), "nothing is known of it");
    }

    #[test]
    fn a_queue_is_woken_by_others() {
        let mut words = Words::default();
        for waiter in 2..10 {
            words.wakes(word(8), worker(1), worker(waiter));
        }
        assert!(!words.is_lock(word(8)));
        words.wakes(word(8), worker(2), worker(3));
        assert!(!words.is_lock(word(8)), "one of the pool may pass it on");
        assert!(words.has_waited(word(8), worker(2)));
        assert!(!words.has_waited(word(8), worker(1)));
    }

    #[test]
    fn what_a_word_was_is_forgotten() {
        let mut words = Words::default();
        for _ in 0..WAKES_MAX {
            words.wakes(word(8), worker(1), worker(2));
            words.wakes(word(8), worker(2), worker(1));
        }
        assert!(words.is_lock(word(8)));
        for _ in 0..WAKES_MAX {
            words.wakes(word(8), worker(1), worker(3));
        }
        assert!(!words.is_lock(word(8)), "the memory is something else now");
    }

    #[test]
    fn a_million_words_are_bounded() {
        let mut words = Words::default();
        for address in 0..1_000_000 {
            words.wakes(word(address), worker(1), worker(2));
            words.wakes(word(7), worker(2), worker(1));
        }
        assert_eq!((words.known.len(), words.by_use.len()), (WORDS_MAX, WORDS_MAX));
        assert!(words.has_waited(word(7), worker(1)), "it is in use");
        assert!(!words.has_waited(word(8), worker(2)));
    }
}
