//! What work comes to, whoever it was for.
//!
//! Owns the sums of faults, frames and calls, and the accounts that keep them until it is known whose they are. Must
//! not know how that is found out.

use super::{Taken, Work, entry::Space, kinds::Kinds};
use crate::{
    model::counting::Outcome,
    window::{Label, Whose},
};

/// Figures that can be a request's.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) minor: u64,
    pub(super) major: u64,
    pub(super) user_mode: u64,
    pub(super) kernel_mode: u64,
    /// Of these, not found directly.
    pub(super) causal: u64,
    pub(super) kinds: Kinds,
    pub(super) work: Work,
    pub(super) space: Space,
}

impl Sums {
    /// An attempt at a fault has come to this.
    pub(super) fn add(&mut self, taken: &Taken, outcome: Outcome, label: Label) {
        match outcome {
            Outcome::Failed => return,
            Outcome::Minor => self.minor += 1,
            Outcome::Major => self.major += 1,
        }
        *(if taken.kernel_mode {
            &mut self.kernel_mode
        } else {
            &mut self.user_mode
        }) += 1;
        self.causal += u64::from(label == Label::Causal);
        self.kinds.add(taken.place, outcome);
    }

    /// These were for the same.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.minor, other.minor),
            (&mut self.major, other.major),
            (&mut self.user_mode, other.user_mode),
            (&mut self.kernel_mode, other.kernel_mode),
            (&mut self.causal, other.causal),
        ] {
            *sum += more;
        }
        self.kinds.absorb(&other.kinds);
        self.work.add(&other.work);
        self.space.add(&other.space);
    }

    /// Completed faults.
    pub(super) fn faults(&self) -> u64 {
        self.minor + self.major
    }
}

/// The account of a token.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) sums: Sums,
    /// Attempts that are not confirmed yet.
    pub(super) pending: u64,
    /// Whose it is, once that is known: what is confirmed later is theirs.
    pub(super) whose: Option<Whose>,
}
