//! `memtrace explain`: the request that it tells of, and figures that are the report's own.

use std::path::Path;

use memtrace_tests::memtrace::{Memtrace, run};
use memtrace_tests::node::{Saju, press};
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};

/// A recording of requests that take these pages each, and its report.
fn record(folder: &Path, targets: &[&str]) -> (String, Report) {
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let recording = folder.join("run.mtr").display().to_string();
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach(["record", "--pid", &pid, "-o", &recording]);
    for target in targets {
        client.get(target).expect("an answer");
    }
    memtrace.interrupt().assert_status(0);
    let report = run(["report", &recording, "--format", "ndjson"]);
    (recording, Report::of_whole(&report))
}

#[track_caller]
fn told(arguments: &[&str]) -> Finished {
    let run = run([&["explain"], arguments].concat());
    run.assert_status(0);
    run
}

/// The text on one line, however it was broken.
fn words(run: &Finished) -> String {
    run.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_says(run: &Finished, said: &str) {
    run.assert(
        words(run).contains(said),
        format_args!("it does not say {said:?}"),
    );
}

#[track_caller]
fn request<'r>(report: &'r Report, path: &str) -> &'r Request {
    let mut found = report.requests.iter().filter(|request| request.path == path);
    let (Some(request), None) = (found.next(), found.next()) else {
        panic!("not one {path}: {:?}", report.requests);
    };
    request
}

#[test]
#[ignore = "needs root"]
fn the_worst_is_told_of_unless_another_is_asked_for() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let targets = [
        "/keep?pages=300",
        "/none",
        "/sleep?ms=80&pages=2",
        "/kernel?pages=50",
    ];
    let (recording, report) = record(folder.path(), &targets);
    let keep = request(&report, "/keep");
    let worst = told(&[&recording]);
    assert_says(
        &worst,
        "One GET /keep, step by step (the one with the most faults of 4):",
    );
    assert_says(&worst, &format!("{} page faults", keep.faults.total));
    // It asked for them in one call, and got all that it asked for.
    let kept = "What it got by these calls is 1.2 MiB of addresses: a promise, and no memory. A page of it is given when it is \
                first touched. So far 300 pages were given, a fault each. That is all of it.";
    assert_says(&worst, kept);
    assert_says(&worst, "The books balance");
    assert_says(&told(&[&recording, "--most-faults"]), "One GET /keep,");
    assert_says(
        &told(&[&recording, "--slowest"]),
        "One GET /sleep, step by step (the slowest of 4):",
    );
    let id = request(&report, "/kernel").id.to_string();
    let kernel = told(&[&recording, "--request", &id]);
    assert_says(
        &kernel,
        &format!("One GET /kernel, step by step (request {id} of 4):"),
    );
    assert_says(&kernel, "taken in kernel mode");
    assert_says(&told(&[&recording, "--only", "GET /none"]), "One GET /none,");
}

#[test]
#[ignore = "needs root"]
fn where_there_is_none_it_says_so() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let (recording, _) = record(folder.path(), &["/none"]);
    for (arguments, why) in [
        (
            &[recording.as_str(), "--request", "77"][..],
            "the run has no request 77",
        ),
        (
            &[&recording, "--only", "POST /saju"],
            "no request of those that --only names",
        ),
        (&[], "neither a recording nor a TARGET is named"),
        (&[&recording, "--pid", "1"], "cannot be used with"),
        (&[&recording, "--slowest", "--most-faults"], "cannot be used with"),
        (&["/no/such/recording"], "No such file"),
    ] {
        let run = run([&["explain"], arguments].concat());
        run.assert_status(2);
        run.assert(
            run.stdout.is_empty() && run.stderr.contains(why) && run.stderr.contains("hint: "),
            format_args!("it does not say {why:?}"),
        );
    }
}

#[test]
#[ignore = "needs root and node"]
fn a_run_that_is_traced_now_is_told_of_at_its_end() {
    require_root();
    let preload = concat!("--import=", env!("CARGO_MANIFEST_DIR"), "/../node/memtrace.mjs");
    let saju = Saju::start(&[("NODE_OPTIONS", preload)]);
    let mut client = saju.client();
    press(&mut client, "Mina").expect("a reading");
    let pid = saju.pid().to_string();
    let memtrace = Memtrace::attach(["explain", "--pid", &pid, "--only", "POST /saju"]);
    for name in ["Mina", "Juno"] {
        press(&mut client, name).expect("a reading");
    }
    client.get("/").expect("the page");
    let run = memtrace.interrupt();
    run.assert_status(0);
    assert_says(
        &run,
        "One POST /saju, step by step (the one with the most faults of 3):",
    );
    assert_says(&run, "JavaScript's own view: of its heap ");
    assert_says(&run, "The first of its faults came ");
    // A screenful.
    let lines = run.stdout.lines().count();
    run.assert((8..=50).contains(&lines), format_args!("{lines} lines"));
}
