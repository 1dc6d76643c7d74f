//! A fault, from the moment when it is taken until the kernel has said what became of it.
//!
//! Owns what is known of it then. Must not know what becomes of it.

use memtrace_common::{Nanos, Tid};

use super::Place;
use crate::window::Owner;

/// A fault, as it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The thread.
    pub tid: Tid,
    /// When.
    pub at: Nanos,
    /// The address that was touched.
    pub address: u64,
    /// The instruction that touched it.
    pub ip: u64,
    /// It was taken in kernel mode.
    pub kernel_mode: bool,
    /// What it falls in.
    pub place: Place,
}

/// A fault's attempt, until it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whom it is for.
    pub owner: Owner,
    pub(super) taken: Taken,
    /// Its number among its process's attempts.
    pub(super) number: u64,
}
