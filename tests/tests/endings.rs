//! How a run ends: by the target, the user, the reader (status 0), or with something missing (status 3).

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use memtrace_tests::leftover::{Before, Bpf, names};
use memtrace_tests::memtrace::{Memtrace, command};
use memtrace_tests::mount::Mount;
use memtrace_tests::process::{Finished, PATIENCE, Running, Stream};
use memtrace_tests::report::{Lost, Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Storm, Workload};
use rustix::fs::{CWD, FileType};
use rustix::process::Signal;
use tempfile::TempDir;

const READY: &str = "memtrace: tracing";
/// Requests whose lines of JSON are more than a pipe has room for.
const MORE_THAN_A_PIPE: usize = 400;

/// Memtrace, tracing this process, with these options.
#[track_caller]
fn attach(pid: u32, options: &[&str]) -> Running {
    let pid = pid.to_string();
    let running = Running::start(&mut command([&["--pid", &pid], options].concat()));
    running.wait_for_line(Stream::Stderr, READY);
    running
}

/// The same, with its standard output going to `to`.
#[track_caller]
fn attach_writing_to(to: &Path, pid: u32, options: &[&str]) -> Running {
    let pid = pid.to_string();
    let memtrace = command([&["--pid", &pid], options].concat());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"to="$0"; exec "$@" >"$to""#])
        .arg(to)
        .arg(memtrace.get_program())
        .args(memtrace.get_args());
    let running = Running::start(&mut shell);
    running.wait_for_line(Stream::Stderr, READY);
    running
}

/// A pipe with a name.
#[track_caller]
fn fifo() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("it works");
    let path = folder.path().join("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, 0o600.into(), 0).expect("it works");
    (folder, path)
}

/// The end of the run as far as memtrace says it in words: nothing but its ready line, then these.
#[track_caller]
fn assert_said(run: &Finished, beginnings: &[&str]) {
    let lines: Vec<&str> = run.stderr.lines().collect();
    let expected: Vec<&str> = [READY].iter().chain(beginnings).copied().collect();
    run.assert(
        lines.len() == expected.len()
            && lines
                .iter()
                .zip(&expected)
                .all(|(line, with)| line.starts_with(with)),
        format_args!("standard error has not just {expected:?}"),
    );
}

/// Waits until it ends of itself, while `meanwhile` is done over and over.
#[track_caller]
fn until_ended(mut running: Running, mut meanwhile: impl FnMut()) -> Finished {
    let deadline = Instant::now() + PATIENCE;
    while !running.has_ended() {
        assert!(Instant::now() < deadline, "it does not end\n{running}");
        meanwhile();
        // Not so fast that something could be lost.
        std::thread::sleep(Duration::from_millis(1));
    }
    running.finish()
}

/// Reaps it as soon as it ends, as its parent would.
fn reap(mut child: Child) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        child.wait().expect("it works");
    })
}

#[test]
#[ignore = "needs root"]
fn a_pid_that_exits_while_attaching() {
    require_root();
    let before = Before::now();
    let (mut traced, mut refused) = (0, 0);
    for step in 0..50_u32 {
        let mut target = if step.is_multiple_of(2) {
            let mut sleep = Command::new("sleep");
            sleep.arg(format!("{}", f64::from(step) * 0.012));
            sleep
        } else {
            // One that faults until it ends.
            let storm = (10_000 * step).to_string();
            let program = memtrace_tests::process::built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN");
            let mut workload = Command::new(program);
            workload
                .args(["--storm", &storm])
                .stdout(std::process::Stdio::null());
            workload
        };
        let target = target.spawn().expect("it works");
        let pid = target.id().to_string();
        let reaper = reap(target);
        let run = Running::start(&mut command(["--pid", &pid, "--format", "ndjson"])).finish();
        reaper.join().expect("it works");
        match run.status.code() {
            Some(0) => {
                traced += 1;
                let report = Report::of(&run);
                run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
                assert_said(&run, &[]);
            }
            Some(2) => {
                refused += 1;
                let gone = ["no such process\n", "it has ended and waits for its parent\n"];
                run.assert(
                    gone.iter().any(|why| {
                        run.stderr
                            .starts_with(&format!("memtrace: --pid {pid}: {why}hint: "))
                    }),
                    "not refused for its end",
                );
                run.assert(run.stderr.lines().count() == 2, "not two lines");
                run.assert(run.stdout.is_empty(), "something is on standard output");
            }
            _ => panic!("neither 0 nor 2\n{run}"),
        }
    }
    // Far fewer than the targets that live for longer than attaching takes.
    assert!(
        traced >= 5,
        "only {traced} of 50 were traced, and {refused} refused"
    );
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn the_targets_death_in_mid_request() {
    require_root();
    let before = Before::now();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        let memtrace = attach(workload.pid(), &["--format", "ndjson"]);
        client.get("/touch?pages=50").expect("it works");
        client
            .send(b"GET /sleep?ms=60000&pages=50 HTTP/1.1\r\n\r\n")
            .expect("it works");
        std::thread::sleep(Duration::from_millis(200));
        // SIGKILL.
        drop(workload);
        let run = memtrace.finish();
        run.assert_status(0);
        assert_said(&run, &[]);
        let report = Report::of(&run);
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        let seen: Vec<_> = report
            .requests
            .iter()
            .map(|request| (&*request.path, request.complete, request.status))
            .collect();
        run.assert(
            seen == [("/touch", true, Some(200)), ("/sleep", false, None)],
            format_args!("{mode:?}: {seen:?}"),
        );
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_and_sigterm_end_a_run_with_its_summary() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    for signal in [Signal::INT, Signal::TERM] {
        let memtrace = attach(workload.pid(), &["--format", "ndjson"]);
        client.get("/touch?pages=10").expect("it works");
        std::thread::sleep(Duration::from_millis(100));
        memtrace.signal(signal);
        let run = memtrace.finish();
        run.assert_status(0);
        assert_said(&run, &[]);
        let report = Report::of(&run);
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        run.assert(report.requests.len() == 1, "not one request");
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_again_cuts_nothing_off() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    for wait_ms in [0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        let memtrace = attach(workload.pid(), &["--format", "ndjson"]);
        for _ in 0..20 {
            client.get("/touch?pages=10").expect("it works");
        }
        std::thread::sleep(Duration::from_millis(100));
        for _ in 0..3 {
            memtrace.signal(Signal::INT);
            std::thread::sleep(Duration::from_millis(wait_ms));
        }
        let run = memtrace.finish();
        run.assert_status(0);
        assert_said(&run, &[]);
        let report = Report::of(&run);
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        run.assert(report.requests.len() == 20, "not all requests");
    }
    before.assert_nothing_is_left();
}

/// Makes more requests than the reader of `memtrace` makes room for, and presses Ctrl-C once. The probes go, and
/// memtrace waits for its reader. Then presses it again.
#[track_caller]
fn press_twice(memtrace: Running, workload: &Workload) -> Finished {
    let mut client = workload.client();
    let bpf = Bpf::held_by(memtrace.pid());
    assert!(!bpf.links.is_empty(), "no probes\n{memtrace}");
    for _ in 0..MORE_THAN_A_PIPE {
        client.get("/none").expect("it works");
    }
    memtrace.signal(Signal::INT);
    bpf.assert_freed();
    let mut memtrace = memtrace;
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        !memtrace.has_ended(),
        "it did not wait for its reader\n{memtrace}"
    );
    memtrace.signal(Signal::INT);
    memtrace.finish()
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_again_leaves_a_reader_who_stalls() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let (_folder, pipe) = fifo();
    // Open, and never read.
    let _stalled = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("it works");
    let memtrace = attach_writing_to(&pipe, workload.pid(), &["--format", "ndjson"]);
    let run = press_twice(memtrace, &workload);
    run.assert_status(0);
    assert_said(&run, &[]);
    // What was asked for by name and is not there is another matter.
    let file = ["--format", "ndjson", "-o", pipe.to_str().expect("it works")];
    let run = press_twice(attach(workload.pid(), &file), &workload);
    run.assert_status(3);
    assert_said(&run, &["memtrace: cannot write the report to ", "hint: "]);
}

#[test]
#[ignore = "needs root"]
fn a_reader_who_stalls_and_comes_back_gets_all() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let (_folder, pipe) = fifo();
    let stalled = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("it works");
    let memtrace = attach_writing_to(&pipe, workload.pid(), &["--format", "ndjson"]);
    for _ in 0..MORE_THAN_A_PIPE {
        client.get("/none").expect("it works");
    }
    std::thread::sleep(Duration::from_millis(100));
    memtrace.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    // Only the write end has to go, or the reader would wait for itself.
    let reader = File::open(&pipe).expect("it works");
    drop(stalled);
    let text = std::io::read_to_string(reader).expect("it works");
    memtrace.finish().assert_status(0);
    let report = Report::parse(&text).expect("it works");
    assert_eq!(report.check(), Ok(()));
    assert_eq!(report.requests.len(), MORE_THAN_A_PIPE);
}

#[test]
#[ignore = "needs root"]
fn a_closed_pipe() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    for format in ["table", "ndjson"] {
        let (_folder, pipe) = fifo();
        let reader = {
            let pipe = pipe.clone();
            // `head -1`
            std::thread::spawn(move || {
                let mut line = String::new();
                BufReader::new(File::open(pipe).expect("it works"))
                    .read_line(&mut line)
                    .expect("it works");
                line
            })
        };
        let memtrace = attach_writing_to(&pipe, workload.pid(), &["--format", format]);
        let run = until_ended(memtrace, || {
            client.get("/none").expect("it works");
        });
        run.assert_status(0);
        assert_said(&run, &[]);
        let line = reader.join().expect("it works");
        run.assert(line.len() > 20, format_args!("the first line is {line:?}"));
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn nobody_listens_to_standard_error() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let pid = workload.pid().to_string();
    let memtrace = command(["--pid", &pid, "--duration", "200ms", "--format", "ndjson"]);
    let script = r#"exec 3>&1; { sleep 0.2; "$0" "$@" >&3; echo $? >&3; } 2>&1 | true"#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(memtrace.get_program())
        .args(memtrace.get_args());
    let run = Running::start(&mut shell).finish();
    let (report, status) = run.stdout.trim_end().rsplit_once('\n').unwrap_or_default();
    run.assert(status == "0", "not status 0");
    run.assert(Report::parse(report).is_ok(), "no report");
}

#[test]
#[ignore = "needs root"]
fn two_memtraces_on_one_pid() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let first = Memtrace::attach(["--pid", &workload.pid().to_string(), "--format", "ndjson"]);
    let second = Memtrace::attach(["--pid", &workload.pid().to_string(), "--format", "ndjson"]);
    for n in 0..50 {
        for route in ["touch", "kernel", "brk", "pwrite", "populate"] {
            client.get(&format!("/{route}?pages={n}")).expect("it works");
        }
        client.get(&format!("/segv?n={n}")).expect("it works");
    }
    // The second goes on alone for a while.
    let first = first.interrupt();
    client.get("/touch?pages=100").expect("it works");
    let second = second.interrupt();
    let [first, mut second] = [first, second].map(|run| {
        run.assert_status(0);
        assert_said(&run, &[]);
        let report = Report::of(&run);
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        report
    });
    let alone = second.requests.pop().expect("it works");
    assert_eq!((&*alone.path, alone.faults.total >= 100), ("/touch", true));
    let listed = |report: &Report| -> Vec<_> {
        let faults = |request: &Request| {
            let faults = &request.faults;
            (faults.minor, faults.major, faults.user_mode, faults.kernel_mode)
        };
        let requests = report.requests.iter();
        requests
            .map(|request| {
                (
                    request.path.clone(),
                    request.complete,
                    faults(request),
                    request.space,
                )
            })
            .collect()
    };
    assert_eq!(first.requests.len(), 300);
    assert_eq!(listed(&first), listed(&second));
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_target_that_outruns_memtrace_does_not_outlast_it() {
    require_root();
    let before = Before::now();
    let workload = memtrace_tests::process::built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN");
    for duration in [None, Some("1s")] {
        // Far longer than the test has patience. Two of them, because one could be too slow.
        let storms = [(); 2].map(|()| {
            let mut storm = Command::new(&workload);
            Running::start(storm.args(["--storm", "1000000000"]))
        });
        let other = storms[1].pid().to_string();
        let mut options = vec!["--pid", &other, "--format", "ndjson"];
        options.extend(duration.iter().flat_map(|time| ["--duration", time]));
        let memtrace = attach(storms[0].pid(), &options);
        if duration.is_none() {
            std::thread::sleep(Duration::from_secs(1));
            memtrace.signal(Signal::INT);
        }
        let run = memtrace.finish();
        let books = Report::of(&run).summary.books;
        run.assert(books.check().is_ok(), format_args!("{:?}", books.check()));
        // It may have lost some, and says so.
        run.assert_status(if books.dropped > 0 { 3 } else { 0 });
        for mut storm in storms {
            assert!(!storm.has_ended(), "the storm was over before memtrace\n{run}");
        }
    }
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_ring_that_overflows() {
    require_root();
    let before = Before::now();
    let mut storm = Storm::ready(300_000);
    let memtrace = attach(storm.pid(), &["--format", "ndjson", "--buffer", "4K"]);
    let end = storm.blow();
    memtrace.signal(Signal::INT);
    let run = memtrace.finish();
    storm.end().assert_status(0);
    run.assert_status(3);
    let (books, lost) = {
        let summary = Report::of(&run).summary;
        (summary.books, summary.lost)
    };
    run.assert(books.check().is_ok(), format_args!("{:?}", books.check()));
    run.assert(
        lost.fault > 0 && lost.ns > 0,
        format_args!("nothing was lost: {lost:?}"),
    );
    // However long the ring was full, it was not longer than the run.
    run.assert(
        lost.ns < Report::of(&run).summary.elapsed_ns,
        format_args!("lost for longer than the run: {lost:?}"),
    );
    run.assert(
        books.kernel_min_flt + books.kernel_maj_flt >= end.minflt + end.majflt,
        format_args!("{end:?} is more than the books' kernel side"),
    );
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_full_disk() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let disk = Mount::tmpfs(16 << 10);
    let report = disk.path().join("report");
    let options = ["--format", "ndjson", "-o", report.to_str().expect("it works")];
    // With nothing there, and with an older report, which stays.
    for older in [None, Some("an older report\n")] {
        if let Some(text) = older {
            fs::write(&report, text).expect("it works");
        }
        let run = until_ended(attach(workload.pid(), &options), || {
            client.get("/none").expect("it works");
        });
        run.assert_status(3);
        run.assert(run.stdout.is_empty(), "something is on standard output");
        assert_said(&run, &["memtrace: cannot write the report to ", "hint: "]);
        run.assert(run.stderr.contains("No space left on device"), "another reason");
        run.assert(
            fs::read_to_string(&report).ok().as_deref() == older,
            "half a report",
        );
        run.assert(
            names(disk.path()).len() == usize::from(older.is_some()),
            "something is left behind",
        );
    }
    // A device that is always full.
    let run = until_ended(attach(workload.pid(), &["-o", "/dev/full"]), || {
        client.get("/none").expect("it works");
    });
    run.assert_status(3);
    assert_said(
        &run,
        &["memtrace: cannot write the report to /dev/full: ", "hint: "],
    );
    // And where standard output is one.
    let run = until_ended(
        attach_writing_to(Path::new("/dev/full"), workload.pid(), &[]),
        || {
            client.get("/none").expect("it works");
        },
    );
    run.assert_status(3);
    assert_said(
        &run,
        &["memtrace: cannot write the report to standard output: ", "hint: "],
    );
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_lost_record_is_no_reason_to_lose_the_report() {
    require_root();
    let mut storm = Storm::ready(300_000);
    let folder = tempfile::tempdir().expect("it works");
    let report = folder.path().join("report");
    let options = [
        "--format",
        "ndjson",
        "--buffer",
        "4K",
        "-o",
        report.to_str().expect("it works"),
    ];
    let memtrace = attach(storm.pid(), &options);
    storm.blow();
    memtrace.signal(Signal::INT);
    memtrace.finish().assert_status(3);
    let lost = Report::parse(&fs::read_to_string(&report).expect("it works"))
        .expect("it works")
        .summary
        .lost;
    assert_ne!(lost, Lost::default());
    assert_eq!(names(folder.path()), ["report"]);
}
