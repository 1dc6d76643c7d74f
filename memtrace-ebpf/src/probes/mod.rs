//! One file for each family of tracepoints.
//!
//! Owns nothing itself.

pub(crate) mod fault;
pub(crate) mod frame;
pub(crate) mod io;
pub(crate) mod mm;
pub(crate) mod payload;
pub(crate) mod rss;
pub(crate) mod syscall;
pub(crate) mod task;
pub(crate) mod wait;
pub(crate) mod wake;
