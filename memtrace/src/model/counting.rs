//! One thread's faults: attempts, confirmed by what its counters say next.
//!
//! Owns the rule of DESIGN section 1. A probe at a fault's entry reads the thread's count of faults **before** it.
//! The thread's next record carries the count again: if it grew by one the attempt completed, if not it failed, and
//! what it grew by beyond that was counted by the kernel with no probe fired. Must not know what an attempt is for:
//! it hands back the token that came with it.

use memtrace_common::FaultCount;

/// A thread's place in the books.
#[derive(Clone, Debug)]
pub struct Counting<T> {
    /// Its counters when it began to count here.
    base: FaultCount,
    /// Its counters as of the last record.
    last: FaultCount,
    /// Its counters at the end of the run, once known: what comes later is not counted.
    horizon: Option<FaultCount>,
    /// The attempt that has not been confirmed yet.
    pending: Option<T>,
    /// The kernel's count went backwards: the records contradict each other.
    contradicted: bool,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel did not count it: it ended in a signal, ran with faults disabled, or was taken again.
    Failed,
    /// It completed, and `min_flt` grew.
    Minor,
    /// It completed, and `maj_flt` grew.
    Major,
}

/// What one look at a thread's counters tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled<T> {
    /// The attempt that was pending, and what became of it.
    pub attempt: Option<(T, Outcome)>,
    /// Completed faults that no record accounts for.
    pub unseen: u64,
}

impl<T> Settled<T> {
    const NOTHING: Self = Self {
        attempt: None,
        unseen: 0,
    };
}

impl<T> Counting<T> {
    /// A thread whose faults count from here on.
    pub fn from(base: FaultCount) -> Self {
        Self {
            base,
            last: base,
            horizon: None,
            pending: None,
            contradicted: false,
        }
    }

    /// Reads the counters of a record of this thread. Call this first, whatever the record is.
    pub fn observe(&mut self, now: FaultCount) -> Settled<T> {
        if now.total() < self.base.total() {
            // Made before the baseline was read.
            return Settled::NOTHING;
        }
        let now = match self.horizon {
            Some(horizon) if now.total() > horizon.total() => horizon,
            _ => now,
        };
        if now.minor < self.last.minor || now.major < self.last.major {
            self.contradicted = true;
            return Settled::NOTHING;
        }
        let minor = now.minor - self.last.minor;
        let major = now.major - self.last.major;
        let grown = minor.saturating_add(major);
        self.last = now;
        match self.pending.take() {
            None => Settled {
                attempt: None,
                unseen: grown,
            },
            Some(token) if grown == 0 => Settled {
                attempt: Some((token, Outcome::Failed)),
                unseen: 0,
            },
            Some(token) => {
                // Where both grew, one of them is the attempt's, and nothing says which: faults that fire no probe
                // (MAP_POPULATE, mlock) are nearly always minor too, so minor is the likelier of the two.
                let outcome = if minor > 0 { Outcome::Minor } else { Outcome::Major };
                Settled {
                    attempt: Some((token, outcome)),
                    unseen: grown - 1,
                }
            }
        }
    }

    /// Whether an attempt with these counters is of this run.
    pub fn counts(&self, now: FaultCount) -> bool {
        now.total() >= self.base.total() && self.horizon.is_none_or(|horizon| now.total() < horizon.total())
    }

    /// An attempt begins, with these counters. One that is not of this run is let go.
    pub fn attempt(&mut self, now: FaultCount, token: T) {
        if self.counts(now) {
            self.pending = Some(token);
        }
    }

    /// From these counters on, nothing counts. Hands back an attempt that was in flight at that moment: whatever
    /// becomes of it is after the end.
    pub fn end_at(&mut self, horizon: FaultCount) -> Option<T> {
        self.horizon = Some(horizon);
        self.pending.take_if(|_| self.last.total() >= horizon.total())
    }

    /// The run is over for this thread: settles what is pending.
    ///
    /// Where there is no horizon (the thread is gone, and its last word with it) nothing says what became of a
    /// pending attempt: it is left out on both sides, and handed back.
    pub fn finish(&mut self) -> (Settled<T>, Option<T>) {
        match self.horizon {
            Some(horizon) => (self.observe(horizon), None),
            None => (Settled::NOTHING, self.pending.take()),
        }
    }

    /// Its counters as of the last record.
    pub fn last(&self) -> FaultCount {
        self.last
    }

    /// What the kernel counted from the baseline to the last record, or to the horizon once finished.
    pub fn kernel_count(&self) -> FaultCount {
        FaultCount {
            minor: self.last.minor - self.base.minor,
            major: self.last.major - self.base.major,
        }
    }

    /// Whether the records contradict each other.
    pub fn is_contradicted(&self) -> bool {
        self.contradicted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(minor: u64, major: u64) -> FaultCount {
        FaultCount { minor, major }
    }

    #[test]
    fn an_attempt_is_confirmed_by_the_next_look() {
        let mut thread = Counting::from(count(10, 1));
        thread.attempt(count(10, 1), 'a');
        assert_eq!(
            thread.observe(count(11, 1)),
            Settled {
                attempt: Some(('a', Outcome::Minor)),
                unseen: 0
            }
        );
        thread.attempt(count(11, 1), 'b');
        assert_eq!(
            thread.observe(count(11, 2)),
            Settled {
                attempt: Some(('b', Outcome::Major)),
                unseen: 0
            }
        );
        thread.attempt(count(11, 2), 'c');
        assert_eq!(
            thread.observe(count(11, 2)),
            Settled {
                attempt: Some(('c', Outcome::Failed)),
                unseen: 0
            }
        );
        assert_eq!(thread.kernel_count(), count(1, 1));
    }

    #[test]
    fn a_jump_is_counted_but_not_seen() {
        let mut thread = Counting::<char>::from(count(0, 0));
        assert_eq!(
            thread.observe(count(100, 0)),
            Settled {
                attempt: None,
                unseen: 100
            }
        );
        thread.attempt(count(100, 0), 'a');
        assert_eq!(
            thread.observe(count(104, 0)),
            Settled {
                attempt: Some(('a', Outcome::Minor)),
                unseen: 3
            }
        );
    }

    #[test]
    fn what_was_before_the_baseline_or_after_the_horizon_does_not_count() {
        let mut thread = Counting::from(count(10, 0));
        assert_eq!(thread.observe(count(8, 0)), Settled::NOTHING);
        assert!(!thread.counts(count(8, 0)));
        thread.attempt(count(10, 0), 'a');
        assert_eq!(thread.end_at(count(12, 0)), None);
        assert_eq!(thread.observe(count(11, 0)).attempt, Some(('a', Outcome::Minor)));
        thread.attempt(count(11, 0), 'b');
        assert_eq!(thread.observe(count(12, 0)).attempt, Some(('b', Outcome::Minor)));
        assert!(!thread.counts(count(12, 0)));
        assert_eq!(thread.observe(count(50, 0)), Settled::NOTHING);
        assert_eq!(thread.finish(), (Settled::NOTHING, None));
        assert_eq!(thread.kernel_count(), count(2, 0));
    }

    #[test]
    fn a_count_that_goes_backwards_is_noticed() {
        let mut thread = Counting::<char>::from(count(0, 0));
        thread.observe(count(5, 0));
        thread.observe(count(4, 0));
        assert!(thread.is_contradicted());
    }

    #[test]
    fn an_attempt_in_flight_at_the_end_is_neither_completed_nor_failed() {
        let mut thread = Counting::from(count(0, 0));
        thread.attempt(count(0, 0), 'a');
        assert_eq!(thread.end_at(count(0, 0)), Some('a'));
        assert_eq!(thread.observe(count(1, 0)), Settled::NOTHING);
        assert_eq!(thread.finish(), (Settled::NOTHING, None));
    }

    proptest! {
        /// However a thread faults, and wherever the run begins and ends in its life, the two sides are equal.
        #[test]
        fn books_of_one_thread_balance(
            // Each step: fails, completes, completes major, or is counted unseen; and whether a record follows.
            steps in proptest::collection::vec((0_u8..4, any::<bool>()), 0..200),
            from in 0_u64..50,
            to in 0_u64..250,
        ) {
            let mut truth = count(0, 0);
            let mut thread = Counting::from(count(from, 0));
            let (mut seen, mut unseen, mut failed) = (0, 0, 0);
            let mut book = |s: Settled<()>| {
                unseen += s.unseen;
                match s.attempt {
                    Some(((), Outcome::Failed)) => failed += 1,
                    Some(_) => seen += 1,
                    None => {}
                }
            };
            // All minor before the baseline, so that it can be told as one number.
            let mut ended = false;
            for (kind, record) in steps {
                if !ended && truth.total() >= from + to {
                    let _ = thread.end_at(truth);
                    ended = true;
                }
                if kind != 3 {
                    book(thread.observe(truth));
                    thread.attempt(truth, ());
                }
                match kind {
                    1 | 3 => truth.minor += 1,
                    2 if truth.total() >= from => truth.major += 1,
                    _ => {}
                }
                if record {
                    book(thread.observe(truth));
                }
            }
            if !ended {
                let _ = thread.end_at(truth);
            }
            book(thread.finish().0);
            prop_assert!(!thread.is_contradicted());
            prop_assert_eq!(thread.kernel_count().total(), seen + unseen);
        }
    }
}
