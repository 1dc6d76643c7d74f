//! However memtrace ends, `kill -9` included: no probe, no held process and no half-written file is left.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use memtrace_tests::leftover::{
    Before, Bpf, arguments, assert_no_process_with, is_held, marker, names, processes_with,
};
use memtrace_tests::memtrace::command;
use memtrace_tests::process::{PATIENCE, Running, Stream};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::{Pid, Signal, kill_process};

const READY: &str = "memtrace: tracing";
/// When to strike, in milliseconds after the start: most of it in the first moments, where most happens.
const MOMENTS: [u64; 24] = [
    0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 21, 25, 30, 35, 40, 50, 60, 70, 80, 100, 200, 400,
];

#[track_caller]
fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("it works");
    // It may be gone.
    let _ = kill_process(pid, Signal::KILL);
}

/// Waits until this is so. What it looks at belongs to other processes, who say nothing.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
#[ignore = "needs root"]
fn the_probes_of_a_run_go_with_it() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let memtrace = Running::start(&mut command(["--pid", &workload.pid().to_string()]));
        memtrace.wait_for_line(Stream::Stderr, READY);
        let bpf = Bpf::held_by(memtrace.pid());
        // Faults, tasks and system calls: this many at least, or the test looks at the wrong thing.
        assert!(
            bpf.links.len() >= 8 && bpf.programs.len() >= 8 && !bpf.maps.is_empty(),
            "{bpf:?}\n{memtrace}"
        );
        memtrace.signal(signal);
        memtrace.finish();
        bpf.assert_freed();
    }
}

#[test]
#[ignore = "needs root"]
fn the_probes_go_with_a_memtrace_that_is_killed_while_stopped() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let memtrace = Running::start(&mut command(["--pid", &workload.pid().to_string()]));
    memtrace.wait_for_line(Stream::Stderr, READY);
    let bpf = Bpf::held_by(memtrace.pid());
    memtrace.signal(Signal::STOP);
    // The ring fills while nobody reads it; the target goes on.
    let mut client = workload.client();
    for _ in 0..200 {
        client.get("/touch?pages=1000").expect("it works");
    }
    memtrace.signal(Signal::KILL);
    memtrace.finish();
    bpf.assert_freed();
}

#[test]
#[ignore = "needs root"]
fn killed_at_any_moment_it_leaves_no_probe_and_no_file() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let folder = tempfile::tempdir().expect("it works");
    let report = folder.path().join("report");
    for moment in MOMENTS {
        for older in [None, Some("an older report\n")] {
            if let Some(text) = older {
                fs::write(&report, text).expect("it works");
            }
            let pid = workload.pid().to_string();
            let mut command = command(["--format", "ndjson", "--pid", &pid, "-o"]);
            let memtrace = Running::start(command.arg(&report));
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(moment) {
                client.get("/touch?pages=10").expect("it works");
            }
            memtrace.signal(Signal::KILL);
            memtrace.finish();
            assert_eq!(fs::read_to_string(&report).ok().as_deref(), older);
            assert_eq!(names(folder.path()).len(), usize::from(older.is_some()));
            if older.is_some() {
                fs::remove_file(&report).expect("it works");
            }
        }
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn killed_while_it_writes_it_leaves_no_file() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let folder = tempfile::tempdir().expect("it works");
    let report = folder.path().join("report");
    for requests in [1, 10, 100, 1000] {
        let pid = workload.pid().to_string();
        let mut command = command(["--format", "ndjson", "--pid", &pid, "-o"]);
        let memtrace = Running::start(command.arg(&report));
        memtrace.wait_for_line(Stream::Stderr, READY);
        for _ in 0..requests {
            client.get("/none").expect("it works");
        }
        // Until some of it is on the disk, in a file that has no name.
        wait_until("it writes", || {
            let fds = fs::read_dir(format!("/proc/{}/fd", memtrace.pid()))
                .into_iter()
                .flatten()
                .flatten();
            fds.map(|fd| fd.path()).any(|fd| {
                fs::read_link(&fd).is_ok_and(|to| to.starts_with(folder.path()))
                    && fs::metadata(&fd).is_ok_and(|file| file.len() > 0)
            })
        });
        assert_eq!(names(folder.path()), [""; 0], "a name before the end");
        memtrace.signal(Signal::KILL);
        memtrace.finish();
        assert_eq!(names(folder.path()), [""; 0], "half a report");
    }
}

/// A COMMAND that says in a file that it runs, and does so for long.
fn command_that_tells(ran: &Path, mark: &str) -> Command {
    let script = format!("echo > {}; exec sleep {mark}", ran.display());
    command(["--", "sh", "-c", &script, mark])
}

#[test]
#[ignore = "needs root"]
fn killed_while_it_holds_a_command_the_command_never_runs() {
    require_root();
    let before = Before::now();
    let folder = tempfile::tempdir().expect("it works");
    let ran = folder.path().join("ran");
    let (mut held, mut tries) = (0, 0);
    while held < 10 {
        tries += 1;
        assert!(
            tries <= 100,
            "it could be caught with a held command {held} times only"
        );
        let mark = marker();
        let memtrace = Running::start(&mut command_that_tells(&ran, &mark));
        let mut helper = None;
        wait_until("a helper", || {
            helper = processes_with(&mark, memtrace.pid())
                .into_iter()
                .find(|&pid| is_held(pid));
            helper.is_some() || ran.exists()
        });
        // Whatever it was about to do, it does no more, and the helper has had its time to hear of what was done.
        memtrace.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(50));
        if let Some(helper) = helper.filter(|&helper| is_held(helper) && !ran.exists()) {
            held += 1;
            memtrace.signal(Signal::KILL);
            wait_until("the helper ends", || arguments(helper).is_empty());
            memtrace.finish();
            assert!(!ran.exists(), "the command ran");
        } else {
            // It has been released: too late.
            memtrace.signal(Signal::KILL);
            processes_with(&mark, memtrace.pid()).into_iter().for_each(kill);
            memtrace.finish();
            let _ = fs::remove_file(&ran);
        }
        assert_no_process_with(&mark);
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_at_any_moment_leaves_neither_probe_nor_command() {
    require_root();
    let before = Before::now();
    let folder = tempfile::tempdir().expect("it works");
    for moment in MOMENTS {
        let mark = marker();
        // Whoever runs these tests may ignore SIGINT, and so would memtrace until it catches it.
        let inner = command_that_tells(&folder.path().join(&mark), &mark);
        let mut outer = Command::new("env");
        outer
            .arg("--default-signal=INT")
            .arg(inner.get_program())
            .args(inner.get_args());
        let memtrace = Running::start(&mut outer);
        std::thread::sleep(Duration::from_millis(moment));
        memtrace.signal(Signal::INT);
        let run = memtrace.finish();
        assert_no_process_with(&mark);
        // Before it catches the signal it dies of it, and after that it ends in good order.
        run.assert(
            matches!(run.status.code(), None | Some(0)),
            format_args!("after {moment} ms it failed"),
        );
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn killed_at_any_moment_it_leaves_no_command_held() {
    require_root();
    let before = Before::now();
    let folder = tempfile::tempdir().expect("it works");
    for moment in MOMENTS {
        let mark = marker();
        let ran = folder.path().join(&mark);
        let memtrace = Running::start(&mut command_that_tells(&ran, &mark));
        std::thread::sleep(Duration::from_millis(moment));
        memtrace.signal(Signal::KILL);
        let pid = memtrace.pid();
        // Until then it may start one.
        wait_until("memtrace is gone", || arguments(pid).is_empty());
        wait_until("no command is held", || {
            // One that has been released runs on, as under perf or strace; until it has begun it is still `hold`.
            let left = processes_with(&mark, pid);
            left.is_empty()
                || left
                    .iter()
                    .all(|&pid| arguments(pid).first().is_some_and(|program| program == "sleep"))
        });
        let released = processes_with(&mark, pid);
        assert_eq!(
            !released.is_empty(),
            ran.exists(),
            "a command ran half, after {moment} ms"
        );
        released.into_iter().for_each(kill);
        memtrace.finish();
        assert_no_process_with(&mark);
    }
    before.assert_nothing_is_left();
}
