//! `memtrace diff` of recordings of the known-truth workload: what it was asked to fault more is what moved.

use std::fs;
use std::path::Path;

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::{Memtrace, run};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};
use serde_json::{Value, json};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../memtrace/src/record/tests/fixtures/v1.mtr"
);

#[test]
fn a_recording_beside_itself_moves_nothing() {
    let json = run(["diff", FIXTURE, FIXTURE, "--format", "json"]);
    json.assert_status(0);
    json.assert(json.stderr.is_empty(), "something is on standard error");
    let diff: Value = serde_json::from_str(&json.stdout).expect("an object");
    let routes = diff["routes"].as_array().expect("routes");
    assert_eq!(routes.len(), 21);
    for route in routes {
        assert_eq!(route["before"], route["after"]);
        for kind in ["cause", "region", "file"] {
            assert_eq!(route["moved"][kind], json!({}), "{route}");
        }
    }
    let table = run(["diff", FIXTURE, FIXTURE, "--only", "GET /touch"]);
    table.assert_status(0);
    table.assert(
        table.stdout.contains("/touch") && !table.stdout.contains("/brk"),
        "not narrowed",
    );
}

#[test]
fn a_recording_that_is_cut_off_is_compared_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = folder.path().join("cut.mtr");
    let bytes = fs::read(FIXTURE).expect("a recording");
    fs::write(&cut, &bytes[..bytes.len() - 1]).expect("a file");
    let cut = cut.to_str().expect("text");
    for sides in [[FIXTURE, cut], [cut, FIXTURE]] {
        let diff = run(["diff", sides[0], sides[1]]);
        diff.assert_status(3);
        diff.assert(
            diff.stdout.contains("the recording is cut off") && diff.stdout.contains("GET  /touch"),
            "no report of what is whole",
        );
    }
}

#[test]
fn neither_recording_is_written_onto_and_what_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (one, other) = (folder.path().join("1.mtr"), folder.path().join("2.mtr"));
    for path in [&one, &other] {
        fs::copy(FIXTURE, path).expect("a copy");
    }
    let text = |path: &Path| path.to_str().expect("text").to_owned();
    for output in [&one, &other] {
        let refused = run(["diff", &text(&one), &text(&other), "-o", &text(output)]);
        refused.assert_status(2);
        refused.assert(
            refused.stderr.contains("that is the recording itself") && refused.stderr.lines().count() == 2,
            "not refused",
        );
        assert_eq!(
            fs::read(output).expect("a file"),
            fs::read(FIXTURE).expect("a file")
        );
    }
    let none = run(["diff", &text(&one), "/dev/null"]);
    none.assert_status(2);
    none.assert(
        none.stdout.is_empty() && none.stderr.lines().count() == 2,
        "not refused",
    );
    let to = folder.path().join("diff");
    run(["diff", FIXTURE, FIXTURE, "-o", &text(&to)]).assert_status(0);
    let shown = run(["diff", FIXTURE, FIXTURE]);
    assert_eq!(fs::read_to_string(&to).expect("a file"), shown.stdout);
}

#[test]
#[ignore = "needs root"]
fn five_pages_more_a_request_are_five_zero_fills_more() {
    const REQUESTS: u64 = 10;
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let workload = Workload::start(Mode::Threads);
    let record = |name: &str, pages: u64| {
        let path = folder.path().join(name).to_str().expect("text").to_owned();
        let mut client: Client = workload.client();
        let pid = workload.pid().to_string();
        // What only the first requests cost is over.
        for _ in 0..REQUESTS {
            client.get(&format!("/touch?pages={pages}")).expect("an answer");
        }
        let memtrace = Memtrace::attach(["record", "--pid", &pid, "-o", &path]);
        for _ in 0..REQUESTS {
            client.get(&format!("/touch?pages={pages}")).expect("an answer");
        }
        memtrace.interrupt().assert_status(0);
        path
    };
    let (before, after) = (record("before.mtr", 10), record("after.mtr", 15));
    let shown = run(["diff", &before, &after]);
    shown.assert_status(0);
    shown.assert(
        shown.stdout.contains("\n  +5 a request: zero fill +5; anon +5\n"),
        "not +5 a request",
    );
    let written = run(["diff", &before, &after, "--format", "json"]);
    written.assert_status(0);
    let diff: Value = serde_json::from_str(&written.stdout).expect("an object");
    let route = &diff["routes"][0];
    assert_eq!(
        (&route["route"], &route["before"]["requests"]),
        (&json!("/touch"), &json!(REQUESTS))
    );
    for (kind, name) in [("cause", "zero_fill"), ("region", "anon")] {
        let sum = |side: &str| route["moved"][kind][name][side].as_u64().expect("a sum");
        written.assert(
            sum("after") - sum("before") == 5 * REQUESTS,
            format_args!("{name} did not move by five"),
        );
    }
}
