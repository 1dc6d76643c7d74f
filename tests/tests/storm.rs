//! A storm of faults: nothing is lost with the default buffer, and a tiny one says what it lost.

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Lost, Report};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Storm, StormEnd};

/// Traces a storm of 300,000 faults, with these options beside.
#[track_caller]
fn traced(options: &[&str]) -> (StormEnd, Finished, Report) {
    require_root();
    let mut storm = Storm::ready(300_000);
    let pid = storm.pid().to_string();
    let memtrace = Memtrace::attach([&["--pid", &pid, "--format", "ndjson"], options].concat());
    let end = storm.blow();
    let run = memtrace.interrupt();
    storm.end().assert_status(0);
    let report = Report::of(&run);
    (end, run, report)
}

#[test]
#[ignore = "needs root"]
fn a_storm_loses_nothing_with_the_default_buffer() {
    let (end, run, report) = traced(&[]);
    run.assert_status(0);
    let (books, lost) = (report.summary.books, report.summary.lost);
    run.assert(books.check().is_ok(), format_args!("{:?}", books.check()));
    run.assert(books.balanced && books.dropped == 0, "not balanced, or not whole");
    run.assert(lost == Lost::default(), format_args!("lost {lost:?}"));
    // A few more may follow the storm: printing its result, waiting for the next sign.
    let beside = books.observed.checked_sub(end.minflt + end.majflt);
    run.assert(
        beside.is_some_and(|faults| faults < 100),
        format_args!("{end:?}, but observed {}", books.observed),
    );
}

#[test]
#[ignore = "needs root"]
fn a_ring_that_overflows_says_so() {
    // One event a fault, so that a storm is more than the ring has room for between two polls.
    let (end, run, report) = traced(&["--buffer", "4KiB"]);
    run.assert_status(3);
    let (books, lost) = (report.summary.books, report.summary.lost);
    run.assert(lost.fault > 0, "the ring did not overflow");
    run.assert(books.check().is_ok(), format_args!("{:?}", books.check()));
    // What was dropped is known by number: the kernel's own count is what is known of it.
    run.assert(
        books.kernel_min_flt + books.kernel_maj_flt >= end.minflt + end.majflt,
        format_args!("{end:?} is more than the books' kernel side"),
    );
}
