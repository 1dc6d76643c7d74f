//! `memtrace map --diff`: what changes around a request of which that is known.

use std::thread;
use std::time::Duration;

use memtrace_tests::map::{Changes, signal};
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::node::{Saju, press};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::Signal;

/// A request keeps so many pages: they are in one region that is new or larger, and so are its faults.
#[test]
#[ignore = "needs root"]
fn what_a_request_keeps_is_what_changes_around_it() {
    const PAGES: u64 = 321;
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let changes = Changes::around(workload.pid(), &["--request", "GET /keep"], || {
        for path in ["/touch?pages=50", "/none", "/touch?pages=70"] {
            client.get(path).expect("an answer");
        }
        // Time to look again: what those did is not part of what follows.
        thread::sleep(Duration::from_millis(300));
        client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
    });
    assert_eq!(changes.path(), "/keep");
    let mut kept = changes.regions.iter().filter(|change| change.faults.own >= PAGES);
    let (Some(kept), None) = (kept.next(), kept.next()) else {
        panic!("not one region with {PAGES} faults: {changes:#?}");
    };
    let pages = i64::try_from(PAGES).expect("few") * 4096;
    let is_new = kept.what == "born" || kept.what == "grown";
    assert!(
        is_new && kept.r#type == "mmap" && kept.faults.own == PAGES,
        "{kept:?}"
    );
    assert_eq!(
        [kept.delta(|side| side.size), kept.delta(|side| side.resident)],
        [pages; 2]
    );
    assert_eq!(changes.faults.others, 0, "{changes:#?}");
    assert!(changes.totals.resident >= pages, "{changes:#?}");

    let unmapped = Changes::around(workload.pid(), &[], || {
        client.get(&format!("/unmap?pages={PAGES}")).expect("an answer");
    });
    let gone = unmapped
        .regions
        .iter()
        .find(|change| change.delta(|side| side.size) == -pages);
    let gone = gone.unwrap_or_else(|| panic!("nothing is smaller: {unmapped:#?}"));
    assert!(matches!(gone.what.as_str(), "gone" | "shrunk"), "{gone:?}");
    assert_eq!(gone.delta(|side| side.resident), -pages);
}

/// What is mapped, touched and unmapped is in neither look, and its faults are not lost.
#[test]
#[ignore = "needs root"]
fn memory_that_comes_and_goes_is_between_the_looks() {
    const PAGES: u64 = 77;
    require_root();
    let workload = Workload::start(Mode::Loop);
    let mut client = workload.client();
    let changes = Changes::around(workload.pid(), &[], || {
        client.get(&format!("/touch?pages={PAGES}")).expect("an answer");
    });
    assert_eq!(changes.between.own, PAGES, "{changes:#?}");
}

#[test]
#[ignore = "needs root"]
fn a_time_can_be_looked_at_too() {
    const PAGES: u64 = 99;
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut clients = [workload.client(), workload.client()];
    let changes = Changes::around(workload.pid(), &["--duration", "1s"], || {
        for client in &mut clients {
            client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
        }
    });
    assert!(changes.request.is_none());
    assert!(
        changes.faults.own >= 2 * PAGES && changes.faults.others == 0,
        "{changes:#?}"
    );
    assert!(changes.totals.resident >= 2 * 99 * 4096, "{changes:#?}");
}

#[test]
#[ignore = "needs root"]
fn where_no_request_comes_it_says_what_to_do() {
    require_root();
    let workload = Workload::start(Mode::Loop);
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach([
        "map",
        "--pid",
        &pid,
        "--diff",
        "--request",
        "POST /saju",
        "--timeout",
        "300ms",
    ]);
    workload.client().get("/none").expect("an answer");
    let run = memtrace.finish();
    run.assert_status(2);
    run.assert(
        run.stdout.is_empty()
            && run.stderr.contains("no request of POST /saju was answered")
            && run.stderr.contains("\nhint: "),
        "not why, or not what to do",
    );
}

/// It ends before the request is answered.
#[test]
#[ignore = "needs root"]
fn where_the_process_ends_it_says_so() {
    require_root();
    let workload = Workload::start(Mode::Loop);
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach(["map", "--pid", &pid, "--diff"]);
    signal(workload.pid(), Signal::KILL);
    let run = memtrace.finish();
    run.assert_status(2);
    run.assert(
        run.stdout.is_empty() && run.stderr.contains("\nhint: "),
        "no hint",
    );
}

#[test]
#[ignore = "needs root and node"]
fn a_reading_of_nodes_is_in_its_heap() {
    require_root();
    let saju = Saju::start(&[]);
    let mut client = saju.client();
    press(&mut client, "Mina").expect("a reading");
    let changes = Changes::around(saju.pid(), &["--request", "POST /saju"], || {
        press(&mut client, "Mina").expect("a reading");
    });
    let own: u64 = changes
        .regions
        .iter()
        .filter(|change| matches!(change.r#type.as_str(), "mmap" | "heap" | "jit"))
        .map(|change| change.faults.own)
        .sum();
    assert!(own > 20, "{changes:#?}");
}
