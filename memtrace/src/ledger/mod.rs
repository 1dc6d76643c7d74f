//! Per-request totals and the books.
//!
//! Owns addition. Must not know where events come from or how figures are shown.

pub mod entry;
