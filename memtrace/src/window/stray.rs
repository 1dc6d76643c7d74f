//! What a worker does that no answer comes of: a timer's callback that sets the next timer, a job that nobody waits for
//! yet when it is done.
//!
//! Owns how much that is, and how much a worker usually does before an answer. Where there is much of it, what is more
//! than usual has some of it inside, and nobody knows how much. Must not know tokens or requests. Amounts are faults.

/// So many faults that no answer came of are a coincidence.
const LEFT_MIN: u64 = 64;
/// More than one in so many, and it may be anywhere.
const LEFT_SHARE: u64 = 8;
/// Of all faults the older ones count half, each time that there are so many.
const FAULTS_MAX: u64 = 1 << 14;
/// So many jobs for another than was promised are a coincidence.
const MIXED_MIN: u64 = 2;
/// More than one in so many, and jobs end unseen: who asked for one had not begun to wait.
const MIXED_SHARE: u64 = 32;
/// Of all jobs the older ones count half, each time that there are so many.
const JOBS_MAX: u64 = 256;
/// Stretches of work from which it is told what is usual.
const STRETCHES: usize = 32;
/// With fewer than these nothing is usual.
const STRETCHES_MIN: usize = 8;

/// How many jobs a worker has done since it last turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jobs {
    /// It is as much as it does for each, and that is always about the same.
    One,
    /// More, and jobs end unseen.
    Several,
    /// Nobody knows.
    Unknown,
}

/// A worker's.
#[derive(Debug, Default)]
pub(super) struct Stray {
    left: u64,
    answered: u64,
    before_answers: Usual,
    after_reads: Usual,
    jobs: Usual,
    kept: u64,
    broken: u64,
}

impl Stray {
    /// It has done this for nobody known, and goes to wait.
    pub(super) fn leaves(&mut self, faults: u64) {
        self.left += faults;
        self.forget();
    }

    /// It has done this for nobody known, and answers, when other work `was_due`, or may have been. Whether some of it is
    /// likely to be stray, or that.
    pub(super) fn is_likely_in_answer(&mut self, faults: u64, was_due: bool) -> bool {
        self.answered += faults;
        self.forget();
        let is_likely = (self.is_much() && self.before_answers.is_exceeded_by(faults))
            || (was_due && !self.before_answers.is_usual(faults));
        self.before_answers.note(faults);
        is_likely
    }

    /// It has done this since it read a request, and goes to wait. Whether some of it is likely to be stray.
    pub(super) fn is_likely_in_read(&mut self, faults: u64) -> bool {
        let is_likely = self.is_much() && self.after_reads.is_exceeded_by(faults);
        self.after_reads.note(faults);
        is_likely
    }

    /// It has done this for who waits for it. It was promised for that one, or for another, or nobody said for whom. Some of
    /// it may be another's, whose end was not seen.
    pub(super) fn jobs_in(&mut self, faults: u64, is_promised: Option<bool>) -> Jobs {
        match is_promised {
            Some(true) => self.kept += 1,
            Some(false) => self.broken += 1,
            None => {}
        }
        if self.kept + self.broken >= JOBS_MAX {
            self.kept /= 2;
            self.broken /= 2;
        }
        let is_mixed = self.broken >= MIXED_MIN && MIXED_SHARE * self.broken > self.kept + self.broken;
        let jobs = if self.jobs.is_like_all(faults) {
            Jobs::One
        } else if is_mixed && self.jobs.is_exceeded_by(faults) {
            Jobs::Several
        } else {
            Jobs::Unknown
        };
        self.jobs.note(faults);
        jobs
    }

    fn is_much(&self) -> bool {
        self.left >= LEFT_MIN && LEFT_SHARE * self.left > self.left + self.answered
    }

    fn forget(&mut self) {
        if self.left + self.answered > FAULTS_MAX {
            self.left /= 2;
            self.answered /= 2;
        }
    }
}

/// How long the last stretches of one kind were.
#[derive(Debug, Default)]
struct Usual {
    last: [u32; STRETCHES],
    count: usize,
}

impl Usual {
    /// Whether a stretch is more than half as long again as their median. It sorts: not to be asked for each stretch.
    fn is_exceeded_by(&self, faults: u64) -> bool {
        self.median().is_some_and(|median| 2 * faults > 3 * median)
    }

    /// Whether it is known to be no longer than that. It sorts, too.
    fn is_usual(&self, faults: u64) -> bool {
        self.median().is_some_and(|median| 2 * faults <= 3 * median)
    }

    /// Whether it is as long as their median, and so are eight in ten of them: an eighth more or less at most. Where they are
    /// of all lengths, two may be as long as one. It sorts, too.
    fn is_like_all(&self, faults: u64) -> bool {
        let (sorted, count) = self.sorted();
        let sorted = &sorted[..count];
        let tenth = count / 10;
        let most = sorted.get(tenth..count - tenth).unwrap_or_default();
        let (Some(median), Some(first), Some(last)) = (middle(sorted), most.first(), most.last()) else {
            return false;
        };
        let lengths = [u64::from(*first), u64::from(*last), faults];
        lengths
            .iter()
            .all(|&length| 8 * length.abs_diff(median) <= median)
    }

    fn median(&self) -> Option<u64> {
        let (sorted, count) = self.sorted();
        middle(&sorted[..count])
    }

    /// They from the shortest to the longest, and how many they are.
    fn sorted(&self) -> ([u32; STRETCHES], usize) {
        let mut sorted = self.last;
        let count = self.count.min(STRETCHES);
        sorted[..count].sort_unstable();
        (sorted, count)
    }

    fn note(&mut self, faults: u64) {
        if faults > 0 {
            self.last[self.count % STRETCHES] = u32::try_from(faults).unwrap_or(u32::MAX);
            self.count += 1;
        }
    }
}

/// The median of what is sorted, where it is enough to be usual.
fn middle(sorted: &[u32]) -> Option<u64> {
    let middle = sorted.get(sorted.len() / 2).copied().map(u64::from);
    middle.filter(|_| sorted.len() >= STRETCHES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker with so many stretches of ten faults before an answer, and this much that none came of.
    fn stray(stretches: usize, left: u64) -> Stray {
        let mut stray = Stray::default();
        stray.leaves(left);
        for _ in 0..stretches {
            assert!(!stray.is_likely_in_answer(10, false), "it is as usual");
            assert!(!stray.is_likely_in_read(20), "it is as usual");
        }
        stray
    }

    #[test]
    fn where_much_is_left_what_is_more_than_usual_has_some_of_it() {
        let mut stray = stray(STRETCHES, 100);
        assert!(!stray.is_likely_in_answer(15, false));
        assert!(stray.is_likely_in_answer(16, false));
        assert!(!stray.is_likely_in_read(30));
        assert!(stray.is_likely_in_read(31));
    }

    #[test]
    fn where_little_is_left_a_request_may_take_more_than_others() {
        let mut few = stray(STRETCHES, LEFT_MIN - 1);
        let mut small = stray(1000, 1000);
        for stray in [&mut few, &mut small] {
            assert!(!stray.is_likely_in_answer(1000, false));
            assert!(!stray.is_likely_in_read(1000));
        }
    }

    #[test]
    fn where_jobs_end_unseen_a_job_that_is_more_than_usual_may_be_two() {
        let mut honest = Stray::default();
        let mut mixed = Stray::default();
        for n in 0..STRETCHES {
            let expected = if n < STRETCHES_MIN {
                Jobs::Unknown
            } else {
                Jobs::One
            };
            assert_eq!(honest.jobs_in(10, Some(true)), expected);
            assert_eq!(mixed.jobs_in(10, Some(true)), expected);
        }
        for _ in 0..MIXED_MIN {
            assert_eq!(mixed.jobs_in(1000, None), Jobs::Unknown, "it may be large");
            assert_eq!(mixed.jobs_in(10, Some(false)), Jobs::One);
        }
        assert_eq!(mixed.jobs_in(1000, None), Jobs::Several);
        assert_eq!(mixed.jobs_in(10, None), Jobs::One, "few are longer");
        assert_eq!(honest.jobs_in(1000, None), Jobs::Unknown);
        assert_eq!(honest.jobs_in(11, None), Jobs::One);
        assert_eq!(honest.jobs_in(12, None), Jobs::Unknown);
    }

    #[test]
    fn where_jobs_are_of_all_lengths_none_is_known_to_be_one() {
        let mut stray = Stray::default();
        for n in 0..STRETCHES as u64 {
            assert_ne!(stray.jobs_in(500 * (1 + n % 4), Some(n % 3 > 0)), Jobs::One);
        }
        assert_eq!(
            stray.jobs_in(1500, Some(false)),
            Jobs::Unknown,
            "two may be as long as one"
        );
    }

    #[test]
    fn with_few_stretches_nothing_is_usual() {
        let mut stray = stray(STRETCHES_MIN - 1, 1000);
        assert!(!stray.is_likely_in_answer(1000, false));
        assert!(stray.is_likely_in_answer(1000, false));
    }

    #[test]
    fn what_is_usual_changes() {
        let mut stray = stray(STRETCHES, 1000);
        for _ in 0..STRETCHES {
            let _ = stray.is_likely_in_answer(1000, false);
        }
        assert!(!stray.is_likely_in_answer(1000, false));
    }
}
