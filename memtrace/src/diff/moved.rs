//! What a route's faults were for and where, summed up, and how much of it a request has more or less.
//!
//! Owns the sums and their changes. Must not know how a change reads. Integers throughout: swapped sides negate exactly.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::OTHER_FILES;
use crate::ledger::entry::Request;

/// What a [`Change`] counts in: thousandths of a fault.
const PER_FAULT: i128 = 1_000;

/// Sums over the requests of a route that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    cause: Option<BTreeMap<&'static str, u64>>,
    region: Option<BTreeMap<&'static str, u64>>,
    files: Option<BTreeMap<String, u64>>,
    mmap_bytes: u64,
}

impl Sums {
    /// Adds a request; of files that are new here at most `room` get a name. Returns how many did.
    pub(super) fn push(&mut self, request: &Request, room: usize) -> usize {
        let faults = &request.faults;
        self.mmap_bytes = self.mmap_bytes.saturating_add(request.space.mmap_bytes);
        for (sums, more) in [
            (&mut self.cause, &faults.cause),
            (&mut self.region, &faults.region),
        ] {
            let Some(more) = more else { continue };
            let sums = sums.get_or_insert_default();
            for (name, faults) in more.iter() {
                add(sums.entry(name).or_default(), faults);
            }
        }
        let mut named = 0;
        if let Some(more) = &faults.files {
            let sums = self.files.get_or_insert_default();
            for file in more {
                if let Some(sum) = sums.get_mut(&file.path) {
                    add(sum, file.faults);
                } else if named < room {
                    named += 1;
                    sums.insert(file.path.clone(), file.faults);
                } else {
                    add(sums.entry(OTHER_FILES.to_owned()).or_default(), file.faults);
                }
            }
        }
        named
    }

    /// Faults by what the kernel had to do.
    pub(super) fn causes(&self) -> Vec<(&str, u64)> {
        self.cause
            .iter()
            .flatten()
            .map(|(&name, &sum)| (name, sum))
            .collect()
    }

    /// Faults by what the address belongs to.
    pub(super) fn regions(&self) -> Vec<(&str, u64)> {
        self.region
            .iter()
            .flatten()
            .map(|(&name, &sum)| (name, sum))
            .collect()
    }

    /// Faults by mapped file.
    pub(super) fn files(&self) -> Vec<(&str, u64)> {
        self.files
            .iter()
            .flatten()
            .map(|(path, &sum)| (path.as_str(), sum))
            .collect()
    }

    /// Bytes that `mmap` mapped.
    pub(super) fn mmap_bytes(&self) -> u64 {
        self.mmap_bytes
    }

    /// Whether anything is known of causes, regions and files.
    pub(super) fn known(&self) -> [bool; 3] {
        [self.cause.is_some(), self.region.is_some(), self.files.is_some()]
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// What a request has more or less of, from one run to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The sums over all requests, before and after.
    pub sums: [u64; 2],
    /// Thousandths of a fault a request.
    thousandths: i128,
}

impl Change {
    /// From sums over all requests and the numbers of requests. Of no requests there is nothing.
    pub fn of(sums: [u64; 2], requests: [u64; 2]) -> Self {
        let [was, is] = sums.map(i128::from);
        let [before, after] = requests.map(|n| i128::from(n.max(1)));
        let difference = is
            .saturating_mul(before)
            .saturating_sub(was.saturating_mul(after));
        let all = before.saturating_mul(after);
        // Half a thousandth goes away from zero on either side of it, and less than that is still no zero.
        let rounded = difference
            .saturating_mul(PER_FAULT)
            .saturating_mul(2)
            .saturating_add(difference.signum().saturating_mul(all))
            / all.saturating_mul(2);
        let thousandths = if rounded == 0 {
            difference.signum()
        } else {
            rounded
        };
        Self { sums, thousandths }
    }

    /// How big it is, in either direction; of no unit.
    pub fn size(self) -> u128 {
        self.thousandths.unsigned_abs()
    }

    /// Whether it is more, the same or less: 1, 0 or -1.
    pub fn sign(self) -> i128 {
        self.thousandths.signum()
    }

    /// Whether it is half a fault a request, or more.
    pub fn is_worth_a_word(self) -> bool {
        self.thousandths.saturating_mul(2).unsigned_abs() >= PER_FAULT.unsigned_abs()
    }

    /// Its size in tenths of a fault a request.
    pub(super) fn tenths(self) -> u128 {
        self.size().saturating_add(50) / 100
    }
}

/// What moved, the most first, equal ones by name.
pub(super) fn ranked<'a>(
    was: Vec<(&'a str, u64)>,
    is: Vec<(&'a str, u64)>,
    requests: [u64; 2],
) -> Vec<(&'a str, Change)> {
    let (was, is): (BTreeMap<_, _>, BTreeMap<_, _>) = (was.into_iter().collect(), is.into_iter().collect());
    let names: BTreeSet<&str> = was.keys().chain(is.keys()).copied().collect();
    let sum = |sums: &BTreeMap<&str, u64>, name| sums.get(name).copied().unwrap_or(0);
    let mut moved: Vec<_> = names
        .into_iter()
        .map(|name| (name, Change::of([sum(&was, name), sum(&is, name)], requests)))
        .filter(|(_, change)| change.sign() != 0)
        .collect();
    moved.sort_by_key(|(_, change)| Reverse(change.size()));
    moved
}

/// `sum` over so many requests, rounded.
pub(super) fn per_request(sum: u64, requests: u64) -> u64 {
    let requests = u128::from(requests.max(1));
    let rounded = (u128::from(sum) * 2 + requests) / (requests * 2);
    u64::try_from(rounded).unwrap_or(u64::MAX)
}
