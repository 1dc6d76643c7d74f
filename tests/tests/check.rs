//! `memtrace check` of recordings: what a route takes more, by known truth, is what is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memtrace_tests::client::Client;
use memtrace_tests::leftover::{assert_no_process_with, names};
use memtrace_tests::memtrace::{Memtrace, command, run};
use memtrace_tests::process::{Finished, PATIENCE, Running};
use memtrace_tests::require_root;
use memtrace_tests::server::workload;
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

#[test]
fn there_has_to_be_something_to_check_and_one_thing_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    fs::write(&baseline, "version = 1\n[limits]\nmax = 1\n").expect("a file");
    let nothing = run(["check", "--baseline", text(&baseline)]);
    nothing.assert_status(2);
    nothing.assert(
        nothing.stderr.contains("neither a recording nor a TARGET"),
        "not said",
    );
    for more in [
        &["--pid", "1"][..],
        &["--duration", "1s"],
        &["--buffer", "16M"],
        &["--keep", "run.mtr"],
        &["--drive", "true"],
        &["--", "true"],
    ] {
        let both = check(FIXTURE, &baseline, more);
        both.assert_status(2);
        both.assert(both.stderr.contains("cannot be used with"), "both are taken");
    }
}

#[test]
fn a_verdict_is_written_in_every_form() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [baseline, json, markdown, junit, trace, summary] = [
        "memtrace.toml",
        "verdict.json",
        "comment.md",
        "tests.xml",
        "run.pftrace",
        "summary.md",
    ]
    .map(|name| folder.path().join(name));
    fs::write(&baseline, "version = 1\n[limits]\nmax = 0\n").expect("a file");
    fs::write(&summary, "# Before\n\n").expect("a file");
    let arguments = [
        "check",
        FIXTURE,
        "--baseline",
        text(&baseline),
        "--format",
        "json",
    ];
    let files = [
        "-o",
        text(&json),
        "--markdown",
        text(&markdown),
        "--junit",
        text(&junit),
    ];
    let mut command = command(
        arguments
            .into_iter()
            .chain(files)
            .chain(["--perfetto", text(&trace)]),
    );
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary);
    for (name, value) in [
        ("GITHUB_SERVER_URL", "https://github.example"),
        ("GITHUB_REPOSITORY", "us/app"),
        ("GITHUB_RUN_ID", "7"),
    ] {
        command.env(name, value);
    }
    let over = Running::start(&mut command).finish();
    over.assert_status(1);
    over.assert(over.stdout.is_empty(), "it goes to a file");
    over.assert(
        over.stderr
            .contains("::error title=memtrace check::GET /brk: faults max: 30, with 0 allowed (+30)\n"),
        "no annotation",
    );
    let read = |path: &Path| fs::read_to_string(path).expect("a file");
    let verdict: serde_json::Value = serde_json::from_str(&read(&json)).expect("JSON");
    assert_eq!(verdict["verdict"], "regression");
    assert_eq!(verdict["status"], 1);
    assert!(
        read(&junit).contains("<failure message=\"faults max: "),
        "{}",
        read(&junit)
    );
    let comment = read(&markdown);
    assert!(comment.contains("**OVER ITS LIMIT**"), "{comment}");
    assert!(
        comment.contains("(https://github.example/us/app/actions/runs/7)"),
        "{comment}"
    );
    assert_eq!(
        read(&summary),
        format!("# Before\n\n{comment}"),
        "what was there is gone"
    );
    assert!(fs::metadata(&trace).expect("a trace").len() > 0);
    let twice = check(FIXTURE, &baseline, &["-o", text(&json), "--junit", text(&json)]);
    twice.assert_status(2);
    twice.assert(
        twice.stderr.contains("something else is to be written there"),
        "twice",
    );
}

#[test]
fn an_update_shows_what_it_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    let first = check(FIXTURE, &baseline, &["--update"]);
    first.assert(
        first.stderr.contains("+[routes.\"GET /touch\"]"),
        "all of it is new",
    );
    let written = fs::read_to_string(&baseline).expect("a baseline");
    let line = written
        .lines()
        .find(|line| line.starts_with("page_size"))
        .expect("an entry");
    fs::write(&baseline, written.replace(line, "page_size = 1")).expect("a file");
    let second = check(FIXTURE, &baseline, &["--update"]);
    second.assert(
        second.stderr.contains("-page_size = 1\n") && second.stderr.contains(&format!("+{line}\n")),
        "not what is changed",
    );
    assert_eq!(fs::read_to_string(&baseline).expect("a baseline"), written);
    let third = check(FIXTURE, &baseline, &["--update"]);
    third.assert(!third.stderr.contains("memtrace.toml"), "nothing is changed");
}

#[test]
fn several_runs_are_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    let twice = [
        "check",
        "--baseline",
        text(&baseline),
        "--update",
        "--warmup",
        "0",
    ];
    run(twice.iter().chain(&["--runs", FIXTURE, FIXTURE])).assert_status(0);
    let written = fs::read_to_string(&baseline).expect("a baseline");
    assert!(written.contains("\nruns = 2\n"), "{written}");
    let itself = run(["check", "--baseline", FIXTURE, "--runs", FIXTURE, FIXTURE]);
    itself.assert_status(2);
    itself.assert(
        itself.stderr.contains("that is the recording itself"),
        "it would be written onto",
    );
    let both = check(FIXTURE, &baseline, &["--runs", FIXTURE]);
    both.assert_status(2);
}

/// A command for `--drive` that says which port it was given, and waits: this process is the client.
struct Drive {
    folder: tempfile::TempDir,
}

impl Drive {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let drive = Self { folder };
        let made = std::process::Command::new("mkfifo")
            .arg(drive.at("enough"))
            .status();
        assert!(made.expect("mkfifo").success());
        drive
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// For `--drive`: it ends with this status once it is told so.
    fn command(&self, status: u8) -> String {
        let [port, written, enough] = ["port", "port.part", "enough"].map(|name| self.at(name));
        let [port, written, enough] = [&port, &written, &enough].map(|path| text(path));
        format!(
            "echo $MEMTRACE_PORT > {written} && mv {written} {port} && read line < {enough}; exit {status}"
        )
    }

    /// A connection to the server, once it is there.
    fn connect(&self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(port) = fs::read_to_string(self.at("port")) {
                return Client::connect(port.trim().parse().expect("a port")).expect("a server");
            }
            assert!(Instant::now() < deadline, "no client comes");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&self) {
        fs::write(self.at("enough"), "enough\n").expect("somebody waits for it");
    }
}

/// `memtrace check` of the workload, started for it, that is asked for so many pages so often.
fn driven(baseline: &Path, pages: u64, more: &[&str], status: u8) -> Finished {
    let drive = Drive::new();
    let server = workload();
    let client = drive.command(status);
    let arguments = [
        "check",
        "--baseline",
        text(baseline),
        "--drive",
        &client,
        "--only",
        "GET /touch",
    ];
    let server = ["--", text(&server)];
    let mut command = command(arguments.iter().chain(more).chain(&server));
    let running = Running::start(&mut command);
    let mut client = drive.connect();
    for _ in 0..60 {
        client.get(&format!("/touch?pages={pages}")).expect("an answer");
    }
    drive.end();
    running.finish()
}

#[test]
#[ignore = "needs root"]
fn a_server_is_started_driven_and_judged_at_once() {
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [baseline, kept] = ["memtrace.toml", "run.mtr"].map(|name| folder.path().join(name));
    let first = driven(&baseline, 10, &["--update"], 0);
    first.assert_status(0);
    let written = fs::read_to_string(&baseline).expect("a baseline");
    assert!(written.contains("programs = { memtrace-workload = "), "{written}");
    driven(&baseline, 10, &[], 0).assert_status(0);
    let more = driven(&baseline, 13, &["--keep", text(&kept)], 0);
    more.assert_status(1);
    more.assert(more.stdout.contains("Faults more: 3 in anon."), "not where");
    more.assert(
        !more.stdout.contains("listening on"),
        "what the server says is in the way",
    );
    let again = check(text(&kept), &baseline, &[]);
    again.assert_status(1);
    assert_eq!(again.stdout, more.stdout, "the recording says the same");
    let failed = driven(&baseline, 10, &[], 7);
    failed.assert_status(3);
    failed.assert(
        failed.stdout.contains("the client ended with status 7"),
        "not said",
    );
    assert_no_process_with(text(&workload()));
}

#[test]
#[ignore = "needs root"]
fn a_server_that_does_not_serve_is_inconclusive_and_is_gone() {
    const MARKER: &str = "86399.25";
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    fs::write(&baseline, "version = 1\n[limits]\nmax = 1\n").expect("a file");
    let checked = |more: &[&str]| {
        let arguments = ["check", "--baseline", text(&baseline)];
        run(arguments.iter().chain(more))
    };
    let silent = checked(&["--drive", "true", "--patience", "300ms", "--", "sleep", MARKER]);
    silent.assert_status(3);
    silent.assert(
        silent
            .stderr
            .contains("does not listen on any TCP port after 0.3 s"),
        "not said",
    );
    assert_no_process_with(MARKER);
    let ended = checked(&["--drive", "true", "--", "sh", "-c", "exit 4"]);
    ended.assert_status(3);
    ended.assert(
        ended
            .stdout
            .contains("the server ended before its client did, with status 4"),
        "not said",
    );
    let nowhere = checked(&["--markdown", "/nowhere/comment.md", "--", "sleep", MARKER]);
    nowhere.assert_status(2);
    nowhere.assert(!nowhere.stderr.contains("memtrace: tracing"), "it is said late");
    let failed = checked(&["--", "false"]);
    failed.assert_status(3);
    failed.assert(
        failed.stdout.contains("the command ended with status 1"),
        "not said",
    );
}

#[test]
#[ignore = "needs root"]
fn a_server_that_runs_is_judged_as_long_as_its_client_runs() {
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let baseline = folder.path().join("memtrace.toml");
    let workload = Workload::start(Mode::Threads);
    let pid = workload.pid().to_string();
    let drive = Drive::new();
    let client = drive.command(0);
    let arguments = [
        "check",
        "--baseline",
        text(&baseline),
        "--update",
        "--pid",
        &pid,
        "--drive",
    ];
    let running = Running::start(&mut command(arguments.into_iter().chain([client.as_str()])));
    let mut client = drive.connect();
    for _ in 0..60 {
        client.get("/touch?pages=10").expect("an answer");
    }
    drive.end();
    running.finish().assert_status(0);
    let written = fs::read_to_string(&baseline).expect("a baseline");
    assert!(written.contains("requests = 60\n"), "{written}");
    workload.client().get("/none").expect("it runs on");
}

/// `action/check.sh`, which `action.yml` runs.
fn action() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "action", "check.sh"]
        .iter()
        .collect()
}

#[test]
fn the_action_says_what_it_is_not_told() {
    let told = Running::start(std::process::Command::new(action()).env_remove("MEMTRACE")).finish();
    told.assert_status(2);
    told.assert(
        told.stderr.contains("check.sh: MEMTRACE is not set"),
        "not by name",
    );
}

#[test]
#[ignore = "needs root"]
fn the_action_keeps_all_that_a_ci_shows() {
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [baseline, kept] = ["memtrace.toml", "kept"].map(|name| folder.path().join(name));
    let drive = Drive::new();
    let running = Running::start(
        std::process::Command::new(action())
            .env("MEMTRACE", command(["check"]).get_program())
            .env("MEMTRACE_SERVER", workload())
            .env("MEMTRACE_CLIENT", drive.command(0))
            .env("MEMTRACE_BASELINE", &baseline)
            .env("MEMTRACE_FOLDER", &kept)
            .env("MEMTRACE_OPTIONS", "--update -v"),
    );
    let mut client = drive.connect();
    for _ in 0..60 {
        client.get("/touch?pages=10").expect("an answer");
    }
    drive.end();
    running.finish().assert_status(0);
    assert!(baseline.exists());
    assert_eq!(
        names(&kept),
        [
            "comment.md",
            "memtrace.toml",
            "run.mtr",
            "run.pftrace",
            "tests.xml"
        ],
        "what is kept"
    );
    assert_no_process_with(text(&workload()));
}
