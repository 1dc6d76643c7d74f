//! A reader of the report who stalls: the ring is drained all the same, and nothing is lost.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Stdio,
};

use memtrace_tests::{
    memtrace, require_root,
    workload::{Mode, Workload},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Their lines are a hundred times what a pipe holds.
const REQUESTS: usize = 10_000;
const PAGES: u64 = 3;

#[test]
#[ignore = "needs root"]
fn a_reader_who_stalls_loses_nothing() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let mut memtrace = memtrace::command(["--pid", &workload.pid().to_string(), "--format", "ndjson"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("memtrace starts");
    let mut said = BufReader::new(memtrace.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.starts_with("memtrace: tracing") {
        line.clear();
        assert!(
            said.read_line(&mut line).expect("readable") > 0,
            "memtrace ended early"
        );
    }

    for _ in 0..REQUESTS {
        client.get(&format!("/touch?pages={PAGES}")).expect("an answer");
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let pid = Pid::from_child(&memtrace);
    kill_process(pid, Signal::INT).expect("memtrace runs");
    // Only now does anybody read.
    let mut report = String::new();
    memtrace
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut report)
        .expect("UTF-8");
    let status = memtrace.wait().expect("memtrace ends");

    let objects: Vec<Value> = report
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    let requests: Vec<&Value> = objects.iter().filter(|o| o["type"] == "request").collect();
    let summary = objects.last().expect("a summary");
    assert_eq!(status.code(), Some(0), "{summary}");
    assert_eq!(requests.len(), REQUESTS);
    assert!(
        requests
            .iter()
            .all(|r| r["faults"]["total"] == PAGES && r["complete"] == true)
    );
    assert_eq!(summary["books"]["balanced"], true, "{summary}");
    assert_eq!(summary["lost"]["fault"], 0, "{summary}");
    assert_eq!(summary["notes"], Value::Array(Vec::new()), "{summary}");
}
