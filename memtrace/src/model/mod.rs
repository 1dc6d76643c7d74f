//! What is running and what it holds: threads with their fault counts, processes with their descriptors.
//!
//! Owns the state that events keep up to date. Must not know requests.
//!
//! - `counting`: one thread's attempts at faults, confirmed by its counters
//! - `process`: descriptors and the break

pub mod counting;
pub mod process;
