//! More comes than memtrace can tell: it hears all the same, and what it could not tell is in its books.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::{Pid, setpriority_process};

/// Clients that keep the server busy.
const CLIENTS: usize = 4;

/// Traces a busy server, behind so many others that every CPU is busy with something else. Ctrl-C
/// comes in the middle of it, and the load goes on.
#[track_caller]
fn overloaded() -> Finished {
    let workload = Workload::start(Mode::Threads);
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson"]);
    let raw = Pid::from_raw(memtrace.pid().cast_signed()).expect("a process");
    setpriority_process(Some(raw), 10).expect("it runs");
    let cpus = thread::available_parallelism().expect("a number").get();
    let stop = AtomicBool::new(false);
    let goes_on = || !stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = workload.client();
            scope.spawn(move || {
                while goes_on() {
                    client.get("/touch?pages=400").expect("an answer");
                }
            });
        }
        for _ in 0..2 * cpus {
            scope.spawn(|| while goes_on() {});
        }
        thread::sleep(Duration::from_secs(3));
        // Ended in any case: the scope waits for its threads.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| memtrace.interrupt()));
        stop.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|why| std::panic::resume_unwind(why))
    })
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_is_heard_where_more_comes_than_can_be_told() {
    require_root();
    let run = overloaded();
    run.assert_status(3);
    let report = Report::of(&run);
    let (books, lost) = (report.summary.books, report.summary.lost);
    run.assert(
        books.check().is_ok() && books.balanced,
        format_args!("{:?}", books.check()),
    );
    run.assert(
        books.dropped > 0 && lost.fault >= books.dropped,
        "nothing was lost",
    );
    // No attempt of this server's fails. What found the ring full once the run was over is no attempt of the run's.
    run.assert(
        books.failed < books.dropped / 20,
        format_args!("{} attempts that did not complete", books.failed),
    );
}
