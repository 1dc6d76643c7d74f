//! The harness of the end-to-end tests: the known-truth workload, an HTTP client, memtrace itself, and its reports.
//!
//! Owns starting and ending other programs, and showing all that is known when a claim fails. Must not know how
//! memtrace works: it is run as a user runs it, and its output is read by CONTRACT's names alone.
#![expect(
    clippy::missing_panics_doc,
    reason = "a harness reports failure by panicking; that is all it does"
)]

pub mod asked;
pub mod client;
pub mod denied;
pub mod leftover;
pub mod map;
pub mod memtrace;
pub mod mount;
pub mod nginx;
pub mod node;
pub mod process;
pub mod report;
pub mod schema;
pub mod server;
pub mod swap;
pub mod terminal;
pub mod trace_processor;
pub mod traced;
pub mod workload;

/// Ends the test with a plain word where it lacks root, which loading BPF programs takes.
#[track_caller]
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test loads BPF programs: run it as root, as `cargo xtask test` does"
    );
}

/// The release of the running kernel, as far as it decides what a test expects.
pub fn kernel_at_least(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}
