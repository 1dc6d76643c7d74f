//! `memtrace check` of recordings: what a route takes more, by known truth, is what is found.

use std::fs;
use std::path::{Path, PathBuf};

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::{Memtrace, run};
use memtrace_tests::process::Finished;
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../memtrace/src/record/tests/fixtures/v1.mtr"
);

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn check(recording: &str, baseline: &Path, more: &[&str]) -> Finished {
    let arguments = ["check", recording, "--baseline", text(baseline)];
    run(arguments.iter().chain(more).copied())
}

#[test]
fn there_has_to_be_a_baseline_and_it_has_to_be_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    let none = check(FIXTURE, &baseline, &[]);
    none.assert_status(2);
    none.assert(
        none.stderr.contains("No such file") && none.stderr.contains("hint: ") && none.stdout.is_empty(),
        "no word of what to do",
    );
    fs::write(&baseline, "version = 1\n[limits]\nmax_majr = 0\n").expect("a file");
    let misspelt = check(FIXTURE, &baseline, &[]);
    misspelt.assert_status(2);
    misspelt.assert(misspelt.stderr.contains("limits.max_majr"), "not by name");
    let itself = check(FIXTURE, Path::new(FIXTURE), &["--update"]);
    itself.assert_status(2);
    itself.assert(
        itself.stderr.contains("that is the recording itself"),
        "the recording would be written onto",
    );
}

#[test]
fn few_requests_never_pass() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    check(FIXTURE, &baseline, &["--update"]).assert_status(0);
    let written = fs::read_to_string(&baseline).expect("a baseline");
    assert!(written.contains("[routes.\"GET /touch\"]"), "{written}");
    let again = check(FIXTURE, &baseline, &[]);
    again.assert_status(3);
    again.assert(again.stdout.contains("too few requests"), "not said");
    assert_eq!(
        fs::read_to_string(&baseline).expect("a baseline"),
        written,
        "only --update writes it"
    );
}

#[test]
fn a_recording_that_is_cut_off_says_nothing_and_makes_no_baseline() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (cut, baseline) = (folder.path().join("cut.mtr"), folder.path().join("memtrace.toml"));
    let bytes = fs::read(FIXTURE).expect("a recording");
    fs::write(&cut, &bytes[..bytes.len() - 1]).expect("a file");
    check(text(&cut), &baseline, &["--update"]).assert_status(3);
    assert!(!baseline.exists(), "a baseline of half a run");
    fs::write(&baseline, "version = 1\n[limits]\nmax = 0\n").expect("a file");
    let judged = check(text(&cut), &baseline, &[]);
    judged.assert_status(3);
    judged.assert(
        judged
            .stdout
            .contains("Inconclusive: events of this run were lost"),
        "not said",
    );
}

#[test]
#[ignore = "needs root"]
fn three_pages_more_a_request_are_found_and_the_same_again_is_not() {
    const REQUESTS: u64 = 60;
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let workload = Workload::start(Mode::Threads);
    let record = |name: &str, pages: u64| -> PathBuf {
        let path = folder.path().join(name);
        let mut client: Client = workload.client();
        let pid = workload.pid().to_string();
        let memtrace = Memtrace::attach(["record", "--pid", &pid, "-o", text(&path)]);
        for _ in 0..REQUESTS {
            client.get(&format!("/touch?pages={pages}")).expect("an answer");
        }
        memtrace.interrupt().assert_status(0);
        path
    };
    let baseline = folder.path().join("memtrace.toml");
    let before = record("before.mtr", 10);
    check(text(&before), &baseline, &["--update"]).assert_status(0);
    let same = check(text(&record("same.mtr", 10)), &baseline, &[]);
    same.assert_status(0);
    same.assert(same.stdout.contains("Within the baseline"), "not said");
    let more = record("more.mtr", 13);
    let found = check(text(&more), &baseline, &[]);
    found.assert_status(1);
    for figure in ["faults p50", "minor p50", "region_anon p50"] {
        let line = found
            .stdout
            .lines()
            .find(|line| line.contains(figure))
            .unwrap_or_default();
        found.assert(line.contains("+3") && line.ends_with("MORE"), figure);
    }
    check(text(&more), &baseline, &["--update"]).assert_status(0);
    check(text(&more), &baseline, &[]).assert_status(0);
    let limited = fs::read_to_string(&baseline).expect("a baseline") + "\n[limits]\nmax = 12\n";
    fs::write(&baseline, limited).expect("a file");
    let over = check(text(&more), &baseline, &[]);
    over.assert_status(1);
    over.assert(over.stdout.contains("OVER ITS LIMIT"), "not said");
}
