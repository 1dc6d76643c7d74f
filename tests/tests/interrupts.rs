//! Page frames: whose they are.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use memtrace_tests::memtrace;
use memtrace_tests::report::Report;
use memtrace_tests::require_root;

/// A window in which nothing is done but to count, in user mode.
const COUNT: &str = "exec 3>/dev/null
    echo memtrace:begin count 1 >&3
    i=0; while [ $i -lt 3000000 ]; do i=$((i+1)); done
    echo memtrace:end 1 >&3";
/// A new page of the shell's own, now and then. Interrupts free a hundred meanwhile.
const HANDFUL: u64 = 32;

#[test]
#[ignore = "needs root"]
fn frames_that_interrupts_free_in_a_threads_time_are_not_its_own() {
    require_root();
    let done = AtomicBool::new(false);
    let run = thread::scope(|scope| {
        // Processes that end leave memory to RCU, whose soft interrupts free it on whoever's time.
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Command::new("true").status().expect("it runs");
                }
            });
        }
        let run = memtrace::run(["--format", "ndjson", "--", "sh", "-c", COUNT]);
        done.store(true, Ordering::Relaxed);
        run
    });
    let report = Report::of(run.assert_status(0));
    let [count] = &report.requests[..] else {
        panic!("{} windows, not 1\n{run}", report.requests.len());
    };
    let frames = count.frames.expect("this kernel tells");
    for (what, frames) in [("allocated", frames.allocated), ("freed", frames.freed)] {
        run.assert(frames < HANDFUL, format_args!("{frames} frames {what}"));
    }
}
