//! The two sides of a run's books: what the kernel counted, and what became of every fault that was seen.
//!
//! Owns that they are held against each other. Must not know a request, nor whom work is for.

use std::collections::BTreeMap;

use memtrace_common::FaultCount;

use super::entry::{Books, Lost};
use crate::window::Reason;

/// Both sides, of a run that goes on.
#[derive(Debug, Default)]
pub(super) struct Sides {
    kernel: FaultCount,
    contradicted: bool,
    direct: u64,
    causal: u64,
    unattributed: BTreeMap<Reason, u64>,
    /// Counted by the kernel, and no record accounts for them.
    unseen: u64,
    failed: u64,
    /// Attempts of which nothing says whether they completed.
    undecided: u64,
    /// Faults whose end was seen as well.
    timed: u64,
}

impl Sides {
    /// A thread's part of the run is over: what the kernel counted for it.
    pub(super) fn kernel_counted(&mut self, count: FaultCount, contradicted: bool) {
        self.kernel.minor = self.kernel.minor.saturating_add(count.minor);
        self.kernel.major = self.kernel.major.saturating_add(count.major);
        self.contradicted |= contradicted;
    }

    /// A request that is over has had so many.
    pub(super) fn on_request(&mut self, direct: u64, causal: u64) {
        self.direct = self.direct.saturating_add(direct);
        self.causal = self.causal.saturating_add(causal);
    }

    /// So many are on no request, for this reason.
    pub(super) fn explain(&mut self, reason: Reason, faults: u64) {
        if faults > 0 {
            let sum = self.unattributed.entry(reason).or_default();
            *sum = sum.saturating_add(faults);
        }
    }

    /// No record accounts for so many.
    pub(super) fn unseen(&mut self, faults: u64) {
        self.unseen = self.unseen.saturating_add(faults);
    }

    /// An attempt did not complete.
    pub(super) fn failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// Of an attempt nothing says whether it completed.
    pub(super) fn undecided(&mut self) {
        self.undecided = self.undecided.saturating_add(1);
    }

    /// The end of so many was seen as well.
    pub(super) fn timed(&mut self, faults: u64) {
        self.timed = self.timed.saturating_add(faults);
    }

    /// The books, of a run whose faults are timed or not.
    pub(super) fn books(&self, lost: &Lost, times_faults: bool) -> Books {
        let unattributed = self.unattributed.values().copied().fold(0, u64::saturating_add);
        let observed = self
            .direct
            .saturating_add(self.causal)
            .saturating_add(unattributed);
        let dropped = lost.fault.min(self.unseen);
        let untraced = self.unseen - dropped;
        Books {
            kernel_min_flt: self.kernel.minor,
            kernel_maj_flt: self.kernel.major,
            observed,
            direct: self.direct,
            causal: Some(self.causal),
            unattributed,
            dropped,
            untraced,
            failed: self.failed.saturating_add(lost.fault - dropped),
            timed: times_faults.then_some(self.timed),
            balanced: !self.contradicted && self.kernel.total() == observed.saturating_add(self.unseen),
        }
    }

    /// Faults on no request, by reason.
    pub(super) fn unattributed(&self) -> BTreeMap<String, u64> {
        self.unattributed
            .iter()
            .map(|(reason, &faults)| (reason.name().to_owned(), faults))
            .collect()
    }

    /// What the books cannot say in figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let attempts = match self.undecided {
            0 => return Vec::new(),
            1 => "1 attempt at a fault".to_owned(),
            n => format!("{n} attempts at faults"),
        };
        vec![format!(
            "{attempts} of threads that have ended stand on neither side of the books: the kernel has not said whether \
             they completed"
        )]
    }
}
