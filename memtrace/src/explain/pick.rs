//! The request that is told of.
//!
//! Owns which that is, and what is gathered of each request until that is known. Must not know how it is told.

use std::ops::Range;

use memtrace_common::Nanos;
use rustc_hash::FxHashMap;

use super::course::{Course, Seen, promised};
use crate::{
    ledger::{entry::Request, journal::Posting},
    timed::Completed,
    waiting::Waiting,
    window::{Owner, RequestId},
};

/// Faults and promises that are kept of all requests together.
const KEPT_MAX: usize = 4 << 20;
/// Requests of which the median is looked for, at most.
const OF_MEDIAN_MAX: usize = 1024;

/// Which request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this number.
    Id(u64),
    /// The one that took longest.
    Slowest,
    /// The one with the most faults.
    MostFaults,
    /// Of those of this method and route that were answered with status 200, the one with the median of faults.
    Median(&'static str, &'static str),
}

/// Gathers what there is to tell.
#[derive(Debug)]
pub struct Explainer {
    which: Which,
    seen: FxHashMap<RequestId, Seen>,
    /// Promises of which it is not known yet whose they are.
    waiting: Waiting<(Owner, Range<u64>)>,
    kept: Vec<Request>,
    size: usize,
    is_full: bool,
}

impl Explainer {
    /// For this one.
    pub fn new(which: Which) -> Self {
        Self {
            which,
            seen: FxHashMap::default(),
            waiting: Waiting::default(),
            kept: Vec::new(),
            size: 0,
            is_full: false,
        }
    }

    /// Something was booked.
    pub fn posting(&mut self, posting: &Posting) {
        match posting {
            Posting::Opened { id, .. } => _ = self.seen.insert(*id, Seen::default()),
            Posting::Withdrawn { id } | Posting::Unlisted { id } => self.forget(*id),
            Posting::Call {
                call,
                moved: Some(moved),
                of,
            } => {
                if let Some(range) = promised(call, *moved)
                    && let Some((owner, range)) = self.waiting.keep(*of, (*of, range))
                {
                    self.promise(owner, range);
                }
            }
            Posting::Resolved { token, whose } => {
                for (owner, range) in self.waiting.resolved(*token) {
                    self.promise(owner.resolved(*whose), range);
                }
            }
            _ => {}
        }
    }

    fn promise(&mut self, owner: Owner, range: Range<u64>) {
        if let Some(seen) = self.of(owner) {
            seen.promise(range);
        }
    }

    /// A fault has completed, and it is known for whom.
    pub fn fault(&mut self, fault: &Completed) {
        if let Some(seen) = self.of(fault.owner) {
            seen.fault(fault);
        }
    }

    /// Room for one thing more of a request that may be told of.
    fn of(&mut self, owner: Owner) -> Option<&mut Seen> {
        let Owner::Request(id, _) = owner else { return None };
        let seen = self.seen.get_mut(&id)?;
        if self.size >= KEPT_MAX {
            self.is_full = true;
            return None;
        }
        self.size += 1;
        Some(seen)
    }

    fn forget(&mut self, id: RequestId) {
        if let Some(seen) = self.seen.remove(&id) {
            self.size -= seen.len();
        }
    }

    /// A request is reported; perhaps one of those that it may be.
    pub fn request(&mut self, request: &Request, is_selected: bool) {
        let id = RequestId(request.id);
        let is_worse = |of: fn(&Request) -> u64| self.kept.first().is_none_or(|kept| of(request) > of(kept));
        let is_kept = match self.which {
            Which::Id(wanted) => wanted == request.id,
            Which::Slowest => is_worse(|request| request.duration_ns),
            Which::MostFaults => is_worse(|request| request.faults.total),
            Which::Median(method, route) => {
                let is_one = (request.method.as_str(), request.route.as_str()) == (method, route);
                is_one && request.complete && request.status == Some(200) && self.kept.len() < OF_MEDIAN_MAX
            }
        };
        if !is_kept || !is_selected {
            return self.forget(id);
        }
        if !matches!(self.which, Which::Median(..)) {
            for earlier in std::mem::take(&mut self.kept) {
                self.forget(RequestId(earlier.id));
            }
        }
        self.kept.push(request.clone());
    }

    /// The request, and its course if all of that was kept.
    pub fn finish(mut self) -> Option<(Request, Option<Course>)> {
        self.kept
            .sort_by_key(|request| (request.faults.total, request.id));
        let middle = self.kept.len().checked_sub(1)? / 2;
        let request = self.kept.get(middle)?.clone();
        let seen = self.seen.get(&RequestId(request.id)).filter(|_| !self.is_full);
        let course = seen.map(|seen| seen.course(Nanos(request.start_ns)));
        Some((request, course))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn pressed(id: u64, faults: u64) -> Request {
        sample::request(id, "POST", "/saju", faults)
    }

    fn picked(which: Which, requests: &[Request]) -> Option<u64> {
        let mut explainer = Explainer::new(which);
        for request in requests {
            explainer.request(request, true);
        }
        explainer.finish().map(|(request, _)| request.id)
    }

    #[test]
    fn the_worst_is_the_first_of_those_that_are_as_bad() {
        let slow = Request {
            duration_ns: 9_000_000,
            ..pressed(2, 1)
        };
        let all = [pressed(1, 5), slow, pressed(3, 9), pressed(4, 9)];
        assert_eq!(picked(Which::MostFaults, &all), Some(3));
        assert_eq!(picked(Which::Slowest, &all), Some(2));
        assert_eq!(picked(Which::Id(4), &all), Some(4));
        assert_eq!(picked(Which::Id(5), &all), None);
        assert_eq!(picked(Which::Slowest, &[]), None);
        let mut explainer = Explainer::new(Which::MostFaults);
        explainer.request(&pressed(1, 9), false);
        assert!(explainer.finish().is_none(), "another was asked for");
    }

    #[test]
    fn the_median_is_of_those_that_were_answered() {
        let median = |requests: &[Request]| picked(Which::Median("POST", "/saju"), requests);
        let failed = Request {
            status: Some(502),
            ..pressed(9, 0)
        };
        let cut = Request {
            complete: false,
            ..pressed(8, 0)
        };
        let page = sample::request(7, "GET", "/", 0);
        assert_eq!(median(&[failed.clone(), cut.clone(), page.clone()]), None);
        let all = [
            pressed(1, 30),
            failed,
            pressed(2, 10),
            cut,
            page,
            pressed(3, 20),
            pressed(4, 20),
        ];
        assert_eq!(median(&all), Some(3));
    }
}
