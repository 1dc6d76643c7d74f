//! Right, wrong or unattributed: whose each fault is, against whose it is said to be.
//!
//! Owns the arithmetic. Faults are told apart by thread and time, so what is said of them may come in any order. Must
//! not know where either side comes from.

use std::{collections::BTreeMap, num::ParseIntError, str::FromStr};

use memtrace::window::RequestId;
use memtrace_common::{Nanos, Tid};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

/// The number that a client gave its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Number(pub(crate) u64);

impl FromStr for Number {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Where and when a fault was taken. A thread takes one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment(pub(crate) Tid, pub(crate) Nanos);

/// The request that a fault is on, or why it is on none.
type Whose = Result<RequestId, &'static str>;

/// Both sides of every fault.
#[derive(Debug, Default)]
pub(crate) struct Mark {
    sections: FxHashMap<Moment, Number>,
    given: FxHashMap<Moment, Whose>,
    numbers: FxHashMap<RequestId, Number>,
    withdrawn: FxHashSet<RequestId>,
}

/// What it comes to. Counts are faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Score {
    /// Taken in a section, and on its request.
    right: u64,
    /// Taken in a section, and on another request.
    wrong: u64,
    /// Taken in a section, and on none, by reason.
    unattributed: BTreeMap<&'static str, u64>,
    /// Taken in no section, and on a request all the same.
    extra: u64,
    /// Taken in no section, and on none.
    elsewhere: u64,
    /// Requests with faults in their sections.
    requests: u64,
    /// The median over them of |attributed - true| / true; `None` where there are none.
    error: Option<f64>,
    /// Records that were lost: with any, the sections themselves are in doubt.
    lost: u64,
}

impl Mark {
    /// A fault is taken, in a section or in none. It may turn out to have failed.
    pub(crate) fn taken(&mut self, moment: Moment, of: Option<Number>) {
        if let Some(of) = of {
            self.sections.insert(moment, of);
        }
    }

    /// A fault has completed, and this is whose it is said to be. The last word counts.
    pub(crate) fn given(&mut self, moment: Moment, whose: Whose) {
        self.given.insert(moment, whose);
    }

    /// What was taken for a request is none.
    pub(crate) fn withdrawn(&mut self, id: RequestId) {
        self.withdrawn.insert(id);
    }

    /// Which of the client's requests this is.
    pub(crate) fn is_numbered(&mut self, id: RequestId, number: Number) {
        self.numbers.insert(id, number);
    }

    /// How many faults have completed.
    pub(crate) fn faults(&self) -> u64 {
        self.given.len() as u64
    }

    /// Judges all faults that have completed.
    pub(crate) fn score(&self, lost: u64) -> Score {
        let mut score = Score {
            lost,
            ..Score::default()
        };
        // Of each request: the faults in its sections, and those of any section that it was given.
        let mut requests: FxHashMap<Number, (u64, u64)> = FxHashMap::default();
        for (moment, &whose) in &self.given {
            let whose = match whose {
                Ok(id) if self.withdrawn.contains(&id) => Err("withdrawn"),
                whose => whose,
            };
            let Some(&of) = self.sections.get(moment) else {
                if whose.is_ok() {
                    score.extra += 1;
                } else {
                    score.elsewhere += 1;
                }
                continue;
            };
            requests.entry(of).or_default().0 += 1;
            match whose {
                Ok(id) => {
                    let number = self.numbers.get(&id).copied();
                    if let Some(number) = number {
                        requests.entry(number).or_default().1 += 1;
                    }
                    if number == Some(of) {
                        score.right += 1;
                    } else {
                        score.wrong += 1;
                    }
                }
                Err(reason) => *score.unattributed.entry(reason).or_default() += 1,
            }
        }
        let mut errors: Vec<f64> = requests
            .values()
            .filter(|(in_sections, _)| *in_sections > 0)
            .map(|&(in_sections, given)| given.abs_diff(in_sections) as f64 / in_sections as f64)
            .collect();
        errors.sort_by(f64::total_cmp);
        score.requests = errors.len() as u64;
        score.error = median(&errors);
        score
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let above = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(above);
    }
    Some(f64::midpoint(*sorted.get(middle - 1)?, above))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Whose = Err("idle");

    /// Faults of thread 1, one a nanosecond: whose they are, and whose they are said to be.
    fn marked(faults: &[(Option<u64>, Whose)]) -> Mark {
        let mut mark = Mark::default();
        for (at, &(of, whose)) in (0..).zip(faults) {
            let moment = Moment(Tid(1), Nanos(at));
            mark.taken(moment, of.map(Number));
            mark.given(moment, whose);
        }
        // Ids are memtrace's, numbers the client's.
        for (id, number) in [(1, 70), (2, 80)] {
            mark.is_numbered(RequestId(id), Number(number));
        }
        mark
    }

    #[test]
    fn each_fault_is_judged() {
        let score = marked(&[
            (Some(70), Ok(RequestId(1))),
            (Some(70), Ok(RequestId(1))),
            (Some(70), Ok(RequestId(2))),
            (Some(80), Ok(RequestId(2))),
            (Some(80), IDLE),
            (Some(80), Err("upstream")),
            (Some(80), IDLE),
            (None, Ok(RequestId(1))),
            (None, IDLE),
        ])
        .score(3);
        assert_eq!((score.right, score.wrong), (3, 1));
        assert_eq!(score.unattributed, BTreeMap::from([("idle", 2), ("upstream", 1)]));
        assert_eq!((score.extra, score.elsewhere), (1, 1));
        assert_eq!((score.requests, score.lost), (2, 3));
        // 2 of 3, and 2 of 4, one of them the other's.
        let expected = f64::midpoint(1.0 / 3.0, 0.5);
        assert!(score.error.is_some_and(|error| (error - expected).abs() < 1e-12));
    }

    #[test]
    fn a_request_without_a_number_is_another_one() {
        let score = marked(&[(Some(70), Ok(RequestId(9)))]).score(0);
        assert_eq!((score.right, score.wrong), (0, 1));
        assert_eq!(score.error, Some(1.0));
    }

    #[test]
    fn what_is_withdrawn_is_nobodys() {
        let mut mark = marked(&[(Some(70), Ok(RequestId(1))), (None, Ok(RequestId(1)))]);
        mark.withdrawn(RequestId(1));
        let score = mark.score(0);
        assert_eq!((score.right, score.wrong), (0, 0));
        assert_eq!(score.unattributed, BTreeMap::from([("withdrawn", 1)]));
        assert_eq!((score.extra, score.elsewhere), (0, 1));
    }

    #[test]
    fn what_is_said_later_and_out_of_order_is_the_same() {
        let mut mark = Mark::default();
        let moment = |tid, at| Moment(Tid(tid), Nanos(at));
        mark.taken(moment(1, 5), Some(Number(70)));
        // At the same time on another thread, in no section.
        mark.taken(moment(2, 5), None);
        mark.taken(moment(1, 6), Some(Number(80)));
        // It failed: nothing is said of it.
        mark.taken(moment(1, 7), Some(Number(80)));
        mark.given(moment(1, 6), Ok(RequestId(2)));
        mark.given(moment(2, 5), Ok(RequestId(2)));
        mark.given(moment(1, 5), Ok(RequestId(1)));
        mark.is_numbered(RequestId(2), Number(80));
        mark.is_numbered(RequestId(1), Number(70));
        assert_eq!(mark.faults(), 3);
        let score = mark.score(0);
        assert_eq!((score.right, score.wrong, score.extra), (2, 0, 1));
        assert_eq!(score.error, Some(0.0));
    }

    #[test]
    fn without_sections_there_is_no_error() {
        let score = marked(&[(None, IDLE)]).score(0);
        assert_eq!((score.requests, score.error), (0, None));
        assert_eq!(median(&[1.0, 2.0, 9.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
    }
}
