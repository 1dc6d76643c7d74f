//! The time in faults, and the second witness that comes with it: each fault's end is told by another event than its
//! beginning, so the two counts hold each other to account.
//!
//! They are equal where nothing was in the middle of a fault at either end of the run: everything here stands still
//! then. What must not be equal: attempts that failed have a beginning and no end, and what the kernel populates by
//! itself has neither.

use std::process::Command;

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::report::Report;
use memtrace_tests::traced::{Traced, plan};
use memtrace_tests::workload::{Mode, kinds_of_memory};
use memtrace_tests::{kernel_at_least, require_root};

/// Faults in both modes, failed ones, and some that fire no event.
const ROUTES: [&str; 7] = [
    "/touch?pages=",
    "/kernel?pages=",
    "/brk?pages=",
    "/pwrite?pages=",
    "/futex?pages=",
    "/segv?n=",
    "/populate?pages=",
];

fn targets(routes: &[&str], round: usize) -> Vec<String> {
    routes
        .iter()
        .map(|route| format!("{route}{}", 1 + round))
        .collect()
}

#[track_caller]
fn assert_timed(mode: Mode, routes: &[&str], clients: usize, rounds: usize) {
    let plans = vec![plan(rounds, |round| targets(routes, round)); clients];
    let traced = Traced::drive(mode, &["--fault-time"], &plans);
    let (run, report) = (&traced.run, &traced.report);
    let books = report.summary.books;
    run.assert(
        books.timed == Some(books.observed) && books.observed >= (clients * rounds * (rounds + 1) / 2) as u64,
        format_args!("{mode:?}: {books:?}"),
    );
    for request in &report.requests {
        let time = request.faults.time_ns;
        let holds =
            time.is_some_and(|time| (time > 0) == (request.faults.total > 0) && time <= request.duration_ns);
        run.assert(
            holds,
            format_args!(
                "{mode:?}, {}: {time:?} of {} ns in {:?}",
                request.path, request.duration_ns, request.faults
            ),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn each_fault_is_timed_and_nothing_else_is() {
    for mode in Mode::ALL {
        assert_timed(mode, &ROUTES, 1, 30);
    }
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_memory_is_timed() {
    for mode in Mode::ALL {
        assert_timed(mode, &kinds_of_memory(), 1, 10);
    }
}

#[test]
#[ignore = "needs root"]
fn each_fault_of_eight_clients_is_timed() {
    for mode in Mode::ALL {
        assert_timed(mode, &ROUTES, 8, 15);
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_is_timed_where_nobody_asks() {
    for mode in Mode::ALL {
        let traced = Traced::drive(mode, &[], &[plan(5, |round| targets(&ROUTES, round))]);
        let timed = traced.report.requests.iter().filter_map(|r| r.faults.time_ns);
        traced.run.assert(
            timed.count() == 0 && traced.report.summary.books.timed.is_none(),
            "something is timed",
        );
    }
}

/// `memtrace-tasks` from one standstill to the next, with all that it starts meanwhile: those inherit what times them.
/// Of its faults, at least `at_least`, all but so many are timed.
#[track_caller]
fn assert_offspring_is_timed(arguments: &str, done: &str, at_least: u64, untimed: u64) {
    require_root();
    let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
    let mut tasks = Running::start(command.args(arguments.split(' ')));
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let pid = tasks.pid().to_string();
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson", "--fault-time"]);
    tasks.type_in(b"g");
    tasks.wait_for_line(Stream::Stdout, done);
    let run = memtrace.interrupt();
    tasks.type_in(b"g");
    tasks.finish().assert_status(0);
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let books = report.summary.books;
    run.assert(
        books.timed.map(|timed| timed + untimed) == Some(books.observed) && books.observed >= at_least,
        format_args!("{books:?}, of which {untimed} are not timed"),
    );
}

#[test]
#[ignore = "needs root"]
fn threads_that_come_and_go_are_timed() {
    assert_offspring_is_timed("threads --count 200 --pages 50", "{", 10_000, 0);
}

#[test]
#[ignore = "needs root"]
fn children_that_come_and_go_are_timed() {
    assert_offspring_is_timed("children --count 200 --pages 50", "{", 10_000, 0);
}

#[test]
#[ignore = "needs root"]
fn what_exec_becomes_is_timed() {
    assert_offspring_is_timed("exec --pages 500", "done", 1000, 0);
}

/// Since 6.16 a thread that exits lets go of its events before it lets go of its memory (`perf_event_exit_task` in
/// `do_exit`, kernel/exit.c). What it takes after that is observed, and nobody times it.
#[test]
#[ignore = "needs root"]
fn what_a_thread_takes_on_its_way_out_is_timed_while_it_has_events() {
    let untimed = if kernel_at_least(6, 16) { 100 } else { 0 };
    assert_offspring_is_timed("late --threads 100", "{", 100, untimed);
}
