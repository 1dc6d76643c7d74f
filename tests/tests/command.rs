//! `-- COMMAND`: run as if memtrace were not there, and its status passed on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use memtrace_tests::leftover::{Before, assert_no_process_with, marker};
use memtrace_tests::memtrace::command;
use memtrace_tests::process::{Finished, Running, Stream, built};
use memtrace_tests::report::{Report, Summary};
use memtrace_tests::require_root;
use tempfile::TempDir;

/// A traced command, its report kept apart from what it prints.
struct Traced {
    running: Running,
    report: PathBuf,
    _folder: TempDir,
}

impl Traced {
    #[track_caller]
    fn start(options: &[&str], of: &[&str]) -> Traced {
        require_root();
        let folder = tempfile::tempdir().expect("it works");
        let report = folder.path().join("report");
        let mut command = command(["--format", "ndjson", "-o"]);
        command.arg(&report).args(options).arg("--").args(of);
        Traced {
            running: Running::start(&mut command),
            report,
            _folder: folder,
        }
    }

    /// Its end, and the report's summary. The books balance, or it fails.
    #[track_caller]
    fn finish(self) -> (Finished, Summary) {
        let run = self.running.finish();
        let text = std::fs::read_to_string(&self.report);
        let report = text
            .map_err(|e| e.to_string())
            .and_then(|text| Report::parse(&text));
        match report.and_then(|report| report.check().map(|()| report)) {
            Ok(report) => (run, report.summary),
            Err(why) => panic!("{why}\n{run}"),
        }
    }
}

#[track_caller]
fn traced(options: &[&str], of: &[&str]) -> (Finished, Summary) {
    Traced::start(options, of).finish()
}

/// What a shell prints, without memtrace.
#[track_caller]
fn untraced(of: &[&str]) -> String {
    Running::start(Command::new(of[0]).args(&of[1..])).finish().stdout
}

#[test]
#[ignore = "needs root"]
fn its_status_is_passed_on() {
    let before = Before::now();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 128 + 9),
        ("kill -TERM $$", 128 + 15),
    ] {
        let (run, summary) = traced(&[], &["sh", "-c", script]);
        run.assert_status(status);
        run.assert(
            summary.command_status == Some(status),
            format_args!("command_status is {:?}", summary.command_status),
        );
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn its_standard_streams_are_its_own() {
    let mut cat = Traced::start(&[], &["sh", "-c", "cat; echo to stderr >&2"]);
    cat.running.type_in(b"one\n");
    // It passes each on at once: nothing is kept back until the end.
    cat.running.wait_for_line(Stream::Stdout, "one");
    cat.running.type_in(b"two\n");
    let (run, _) = cat.finish();
    run.assert_status(0);
    run.assert(run.stdout == "one\ntwo\n", "not what went in");
    run.assert(
        run.stderr.contains("to stderr\n"),
        "standard error is not passed on",
    );
}

#[test]
#[ignore = "needs root"]
fn it_finds_what_it_would_find_without_memtrace() {
    // What a program can inherit: signals, descriptors, limits, environment, folder, terminal, priority.
    const LOOK: &str = "grep -E '^(Sig(Blk|Ign|Cgt)|Groups|Umask|Seccomp|NoNewPrivs|Cap)' /proc/self/status; \
        ls /proc/self/fd; ulimit -a; env | sort; pwd; ps -o pgid=,sid=,tty=,nice= -p $$ | tr -s ' '; \
        cat /proc/self/oom_score_adj /proc/self/cgroup";
    for signals in [
        "--default-signal",
        "--ignore-signal=INT,TERM,HUP",
        "--ignore-signal=TERM",
    ] {
        let within = |before: &[&str]| {
            let mut command = Command::new("env");
            command.arg("-C").arg("/").arg(signals).args(before);
            command.args(["sh", "-c", LOOK]);
            // A group of its own has a number of its own.
            Running::start(&mut command).finish().stdout
        };
        let memtrace = built("memtrace", "MEMTRACE_BIN");
        let alone = within(&["env"]);
        let traced = within(&[&memtrace.to_string_lossy(), "-o", "/dev/null", "--"]);
        assert!(alone.lines().count() > 30, "it looks at little: {alone}");
        assert_eq!(traced, alone, "{signals}");
    }
}

#[test]
#[ignore = "needs root"]
fn it_runs_as_another_user() {
    let whoami = "id -u; id -g; id -G; echo $HOME $USER";
    let (run, summary) = traced(&["--user", "nobody"], &["sh", "-c", whoami]);
    run.assert_status(0);
    let expected = ["-u", "-g", "-G"]
        .map(|which| untraced(&["id", which, "nobody"]))
        .concat();
    run.assert(
        run.stdout.starts_with(&expected) && !expected.starts_with("0\n"),
        format_args!("not user nobody: {expected}"),
    );
    run.assert(run.stdout.contains(" nobody\n"), "USER is another's");
    run.assert(summary.command_status == Some(0), "no command_status");
}

#[test]
#[ignore = "needs root"]
fn its_children_are_followed_or_not() {
    const FAULTS: u64 = 20_000;
    let workload = built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN");
    // The shell has to wait for it: something follows.
    let script = format!("{} --storm {FAULTS}; exit 3", workload.display());
    let of = ["sh", "-c", &script];
    let (run, followed) = traced(&[], &of);
    run.assert_status(3);
    let counted = |summary: &Summary| summary.books.kernel_min_flt + summary.books.kernel_maj_flt;
    run.assert(
        counted(&followed) > FAULTS,
        format_args!("the child's faults are missing: {:?}", followed.books),
    );
    let pids: BTreeSet<u32> = followed.target.pids.iter().copied().collect();
    run.assert(pids.len() == 2, format_args!("not two processes: {pids:?}"));
    let (run, alone) = traced(&["--no-follow"], &of);
    run.assert_status(3);
    run.assert(
        counted(&alone) < FAULTS,
        format_args!("the child is followed: {:?}", alone.books),
    );
    run.assert(
        alone.target.pids.len() == 1,
        format_args!("not one process: {:?}", alone.target.pids),
    );
}

#[test]
#[ignore = "needs root"]
fn a_command_that_runs_on_is_ended() {
    let before = Before::now();
    let mark = marker();
    let (run, summary) = traced(&["--duration", "300ms"], &["sleep", &mark]);
    run.assert_status(0);
    run.assert(
        summary.command_status.is_none(),
        "a status that is memtrace's own doing",
    );
    assert_no_process_with(&mark);
    // One that will not hear of it is killed.
    let deaf = "trap '' TERM; echo deaf; while :; do sleep 0.1; done";
    let (run, _) = traced(&["--duration", "500ms"], &["sh", "-c", deaf, &mark]);
    run.assert_status(0);
    run.assert(run.stdout == "deaf\n", "it did not run");
    assert_no_process_with(&mark);
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_name_cannot_write_on_the_terminal() {
    require_root();
    let folder = tempfile::tempdir().expect("it works");
    let evil = folder.path().join("evil\n\u{1b}[2Jx");
    std::fs::copy("/bin/sleep", &evil).expect("it works");
    let target = Running::start(Command::new(&evil).arg(marker()));
    let run = Running::start(&mut command([
        "--pid",
        &target.pid().to_string(),
        "--duration",
        "100ms",
    ]))
    .finish();
    run.assert_status(0);
    for text in [&run.stdout, &run.stderr] {
        run.assert(!text.contains('\u{1b}'), "an escape");
    }
    run.assert(run.stderr.lines().count() == 1, "not one line");
}
