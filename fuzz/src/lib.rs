//! What memtrace reads from files, under a fuzzer: recordings.
//!
//! Owns what is done with a fuzzer's bytes. Must not know how fuzzers are built or run: `cargo xtask fuzz` does.

pub mod blocks;
pub mod replay;
