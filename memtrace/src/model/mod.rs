//! What is running and what it holds: threads with their fault counts, processes with their descriptors
//! and their memory.
//!
//! Owns the state that events keep up to date. Must not know requests.
//!
//! - `cause`: why a fault was taken
//! - `counting`: one thread's attempts at faults, confirmed by its counters
//! - `maps`: the lines of `/proc/PID/maps`
//! - `process`: descriptors and the break
//! - `vma`: the regions of a process's memory

pub mod cause;
pub mod counting;
pub mod maps;
pub mod process;
pub mod vma;
