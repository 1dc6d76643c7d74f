//! `memtrace record`: the report of a recording is the run's own, byte for byte, and what becomes of a recording when
//! memtrace is killed, the disk is full, or there is no run at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memtrace::event::{Event, Notice};
use memtrace::record::read::{Losses, Reader};
use memtrace_tests::client::Client;
use memtrace_tests::denied::{as_nobody, public_folder, without_bpf};
use memtrace_tests::leftover::{Before, names};
use memtrace_tests::memtrace::{Memtrace, command, run};
use memtrace_tests::mount::Mount;
use memtrace_tests::node::{Saju, press};
use memtrace_tests::process::{Finished, Running, Stream, built};
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Storm, Workload};
use rustix::process::Signal;

/// Longer than what happens takes to be in the file: a second, and the compression of one block.
const IN_FILE: Duration = Duration::from_secs(3);

/// A run that was recorded, in a folder of its own.
struct Recorded {
    live: Finished,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Recorded {
    /// Records with these options while `drive` lasts.
    #[track_caller]
    fn of(pid: u32, options: &[&str], drive: impl FnOnce()) -> Recorded {
        Recorded::by(pid, options, |memtrace| {
            drive();
            memtrace.interrupt()
        })
    }

    #[track_caller]
    fn by(pid: u32, options: &[&str], end: impl FnOnce(Memtrace) -> Finished) -> Recorded {
        require_root();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("run.mtr");
        let (pid, to) = (pid.to_string(), file.to_str().expect("text"));
        let memtrace = Memtrace::attach(["record", "--pid", &pid, "-o", to].iter().chain(options));
        Recorded {
            live: end(memtrace),
            file,
            _folder: folder,
        }
    }

    #[track_caller]
    fn report(&self, options: &[&str]) -> Finished {
        report(&self.file, options)
    }

    /// The report of the recording is what the run printed.
    #[track_caller]
    fn assert_reports_the_same(&self, options: &[&str]) -> Finished {
        let told = self.report(options);
        if told.stdout != self.live.stdout {
            let both = self.live.stdout.lines().zip(told.stdout.lines());
            let differs = both.enumerate().find(|(_, (live, told))| live != told);
            panic!("with {options:?}, line {differs:#?}\n{}\n{told}", self.live);
        }
        told
    }

    /// How many events it has.
    #[track_caller]
    fn events(&self) -> u64 {
        let mut reader = Reader::open(fs::File::open(&self.file).expect("a recording")).expect("a recording");
        let (mut losses, mut events) = (Losses::default(), 0);
        while let Some(block) = reader.block().expect("it reads") {
            block
                .events(&mut losses, |event| {
                    events += u64::from(!matches!(event, Event::Notice(Notice::Lost { .. })));
                })
                .expect("it is whole");
        }
        assert!(reader.damage().is_none());
        events
    }
}

#[track_caller]
fn report(file: &Path, options: &[&str]) -> Finished {
    let mut report = command(["report"]);
    Running::start(report.arg(file).args(options)).finish()
}

/// Asks in every way that the workload knows, as several clients at once, so many rounds each.
fn busy(mut clients: Vec<Client>, rounds: usize) {
    const TARGETS: [&str; 9] = [
        "/none",
        "/touch?pages=40",
        "/kernel?pages=7",
        "/brk?pages=12",
        "/space?n=2",
        "/filemap?pages=5",
        "/sleep?ms=1&pages=9",
        "/wait/epoll_wait?pages=3",
        "/nowhere",
    ];
    std::thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for round in 0..rounds * TARGETS.len() {
                    let target = TARGETS[(round + number) % TARGETS.len()];
                    client.get(target).expect("an answer");
                }
            });
        }
    });
}

fn clients(workload: &Workload) -> Vec<Client> {
    (0..4).map(|_| workload.client()).collect()
}

#[test]
#[ignore = "needs root"]
fn a_report_is_what_the_live_run_printed() {
    // What is asked for of the run is recorded with it; how it is looked at is asked for again.
    const ASKED: [(&[&str], &[&str]); 4] = [
        (&[], &[]),
        (
            &[
                "--route",
                "/wait/{call}",
                "--only",
                "GET /touch",
                "--only",
                "* /wait/{x}",
            ],
            &[],
        ),
        (&["--query", "--fault-time"], &["--sort", "faults"]),
        (&["--no-follow"], &["--min-faults", "10"]),
    ];
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        for format in ["table", "ndjson", "json"] {
            for (of_run, of_look) in ASKED {
                let look = [&["--format", format], of_look].concat();
                let recorded = Recorded::of(workload.pid(), &[of_run, &look].concat(), || {
                    busy(clients(&workload), 10);
                });
                recorded.live.assert_status(0);
                recorded
                    .live
                    .assert(recorded.live.stdout.lines().count() > 5, "a short report");
                let told = recorded.assert_reports_the_same(&look);
                told.assert_status(0);
                told.assert(told.stderr.is_empty(), "something is on standard error");
            }
        }
    }
}

/// The run ends in the middle of things, with more requests than were wanted on their way.
#[test]
#[ignore = "needs root"]
fn a_run_of_so_many_requests_is_reported_the_same() {
    let workload = Workload::start(Mode::Threads);
    for format in ["table", "ndjson", "json"] {
        for more in [&[][..], &["--only", "GET /touch"]] {
            let options = [&["--requests", "25", "--format", format], more].concat();
            let clients = clients(&workload);
            let recorded = Recorded::by(workload.pid(), &options, |memtrace| {
                busy(clients, 40);
                memtrace.finish()
            });
            recorded.live.assert_status(0);
            recorded
                .assert_reports_the_same(&["--format", format])
                .assert_status(0);
            if format == "ndjson" {
                let report = Report::of(&recorded.live);
                let wanted = |r: &&memtrace_tests::report::Request| more.is_empty() || r.path == "/touch";
                assert_eq!(report.requests.iter().filter(wanted).count(), 25);
                // Looked at otherwise, all that was recorded is there.
                let all = Report::of(&recorded.report(&["--format", "ndjson", "--since", "0"]));
                assert!(all.requests.len() >= report.requests.len());
            }
        }
    }
}

#[test]
#[ignore = "needs root and node"]
fn a_node_app_is_reported_the_same_in_at_most_ten_bytes_an_event() {
    let saju = Saju::start(&[("MOCK_DELAY_MS", "5-20")]);
    for format in ["table", "ndjson", "json"] {
        let port = saju.port.to_string();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("run.mtr");
        let to = file.to_str().expect("text");
        require_root();
        let memtrace = Memtrace::attach(["record", "--port", &port, "-o", to, "--format", format]);
        std::thread::scope(|scope| {
            for name in ["Mina", "Jun", "Ara"] {
                let mut client = saju.client();
                scope.spawn(move || {
                    for _ in 0..16 {
                        press(&mut client, name).expect("an answer");
                    }
                });
            }
        });
        let recorded = Recorded {
            live: memtrace.interrupt(),
            file,
            _folder: folder,
        };
        recorded.live.assert_status(0);
        recorded
            .assert_reports_the_same(&["--format", format])
            .assert_status(0);
        let (bytes, events) = (
            fs::metadata(&recorded.file).expect("a file").len(),
            recorded.events(),
        );
        assert!(events > 5_000, "only {events} events");
        assert!(bytes <= 10 * events, "{bytes} bytes for {events} events");
    }
}

#[test]
#[ignore = "needs root"]
fn a_commands_status_is_the_live_runs_and_in_both_reports() {
    require_root();
    let workload = built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.mtr");
    // It says nothing on standard output, which has the report.
    let script = format!("{} --storm 20000 >&2; exit 7", workload.display());
    for format in ["table", "ndjson", "json"] {
        let mut record = command(["record", "--format", format, "-o"]);
        record.arg(&file).args(["--", "sh", "-c", &script]);
        let live = Running::start(&mut record).finish();
        live.assert_status(7);
        let told = report(&file, &["--format", format]);
        told.assert_status(0);
        told.assert(told.stdout == live.stdout, "another report");
        if format == "ndjson" {
            assert_eq!(Report::of(&told).summary.command_status, Some(7));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_killed_memtrace_leaves_all_but_the_last_moment_and_so_does_one_that_runs() {
    require_root();
    let before = Before::now();
    let workload = Workload::start(Mode::Threads);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("run.mtr");
    let mut record = command(["record", "--pid", &workload.pid().to_string(), "-o"]);
    let memtrace = Running::start(record.arg(&file));
    memtrace.wait_for_line(Stream::Stderr, "memtrace: tracing");
    let mut client = workload.client();
    for number in 0..50 {
        client.get(&format!("/first/{number}/x")).expect("an answer");
    }
    // Others go on, so that it is killed in the middle of something.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut client in clients(&workload) {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.get("/touch?pages=50").expect("an answer");
                }
            });
        }
        std::thread::sleep(IN_FILE);
        let growing = report(&file, &["--format", "ndjson"]);
        memtrace.signal(Signal::KILL);
        memtrace.finish();
        stop.store(true, Ordering::Relaxed);
        let killed = report(&file, &["--format", "ndjson"]);
        for run in [growing, killed] {
            run.assert_status(3);
            let report = Report::of(&run);
            run.assert(
                report
                    .summary
                    .notes
                    .iter()
                    .any(|note| note.starts_with("the recording is cut off")),
                "no word of it",
            );
            let first = report.requests.iter().filter(|r| r.path.starts_with("/first/"));
            assert_eq!(first.filter(|r| r.complete).count(), 50);
        }
    });
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_ends_the_run_and_what_was_written_can_be_read() {
    require_root();
    let disk = Mount::tmpfs(256 << 10);
    let file = disk.path().join("run.mtr");
    let mut storm = Storm::ready(1_000_000);
    let (pid, to) = (storm.pid().to_string(), file.to_str().expect("text"));
    let memtrace = Memtrace::attach(["record", "--pid", &pid, "--format", "ndjson", "-o", to]);
    storm.blow();
    // It ends by itself: the target lives on.
    let live = memtrace.finish();
    storm.end().assert_status(0);
    live.assert_status(3);
    let lines: Vec<&str> = live.stderr.lines().skip(1).collect();
    let what = format!("memtrace: cannot write the recording to {to}: No space left on device");
    live.assert(
        matches!(lines[..], [first, hint] if first.starts_with(&what) && hint.starts_with("hint: make room")),
        "not the two lines",
    );
    // The live report is whole.
    assert!(Report::of(&live).summary.books.observed > 0);
    let told = report(&file, &["--format", "ndjson"]);
    told.assert_status(3);
    let summary = Report::of(&told).summary;
    assert!(
        summary
            .notes
            .iter()
            .any(|note| note.starts_with("the recording is cut off"))
    );
    told.assert(summary.books.observed > 10_000, "hardly anything is in it");
    // Whole blocks and nothing else.
    let mut reader = Reader::open(fs::File::open(&file).expect("a recording")).expect("a recording");
    let mut events = 0;
    while let Some(block) = reader.block().expect("it reads") {
        block
            .events(&mut Losses::default(), |_: Event<'_>| events += 1)
            .expect("it is whole");
    }
    assert_eq!(reader.damage().lost().0, memtrace::ledger::entry::Lost::default());
    assert!(events > 10_000, "{events}");
}

/// Status 2, nothing on standard output, and the two lines.
#[track_caller]
fn assert_refused(run: &Finished, what: &str, why: &str) {
    run.assert_status(2);
    run.assert(run.stdout.is_empty(), "something is on standard output");
    let lines: Vec<&str> = run.stderr.lines().collect();
    run.assert(
        matches!(lines[..], [first, hint] if first.starts_with(&format!("memtrace: {what}: "))
            && first.contains(why) && hint.starts_with("hint: ")),
        format_args!("not refused because of {what}: {why}"),
    );
}

#[test]
#[ignore = "needs root"]
fn a_folder_that_cannot_be_written_to_is_refused() {
    require_root();
    let pid = std::process::id().to_string();
    let disk = Mount::read_only();
    let file = disk.path().join("run.mtr");
    let to = file.to_str().expect("text");
    let what = format!("cannot write {to}");
    assert_refused(
        &run(["record", "--pid", &pid, "-o", to]),
        &what,
        "Read-only file system",
    );
    assert_refused(
        &run(["record", "-o", "/no/such/folder/run.mtr", "--pid", &pid]),
        "cannot write /no/such/folder/run.mtr",
        "No such file or directory",
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().to_str().expect("text");
    let what = format!("cannot write {to}");
    assert_refused(&run(["record", "--pid", &pid, "-o", to]), &what, "Is a directory");
    // Another user's.
    let others = public_folder();
    fs::set_permissions(others.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let file = others.path().join("run.mtr");
    let to = file.to_str().expect("text");
    let (mut record, _folder) = as_nobody(["record", "--pid", &pid, "-o", to]);
    let what = format!("cannot write {to}");
    assert_refused(&Running::start(&mut record).finish(), &what, "Permission denied");
    assert_eq!(names(others.path()), [""; 0]);
}

/// The probes cannot be attached, or the COMMAND cannot be run: no file comes of it, and one that is there stays.
#[test]
#[ignore = "needs root"]
fn a_run_that_does_not_begin_leaves_no_file_and_spoils_none() {
    require_root();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let script = path("script");
    fs::write(&script, "#!/no/such/interpreter\n").expect("a file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::write(path("old.mtr"), "an older recording").expect("a file");
    symlink("nowhere.mtr", path("dangling")).expect("a link");
    symlink("old.mtr", path("link")).expect("a link");
    let there = ["dangling", "link", "old.mtr", "script"];
    let script = script.to_str().expect("text");
    let pid = std::process::id().to_string();
    for name in ["new.mtr", "old.mtr", "dangling", "link"] {
        let file = path(name);
        let to = file.to_str().expect("text");
        let unattached = without_bpf(libc::ENOSYS, || run(["record", "--pid", &pid, "-o", to]));
        assert_refused(&unattached, "cannot trace", "Function not implemented");
        let nobody = run(["record", "--comm", "no-such-comm", "-o", to]);
        assert_refused(&nobody, "--comm no-such-comm", "no process");
        let command = run(["record", "-o", to, "--", script]);
        assert_refused(
            &command,
            &format!("cannot run {script}"),
            "No such file or directory",
        );
        assert_eq!(names(folder.path()), there, "with -o {name}");
        assert_eq!(fs::read(path("old.mtr")).expect("a file"), b"an older recording");
        assert!(path("dangling").is_symlink() && path("link").is_symlink());
    }
    // One that does begin replaces what is there, however long that was.
    fs::write(path("old.mtr"), vec![b'x'; 1 << 20]).expect("a file");
    let link = path("link");
    let recorded = run(["record", "-o", link.to_str().expect("text"), "--", "true"]);
    recorded.assert_status(0);
    report(&link, &[]).assert_status(0);
    assert!(link.is_symlink());
    assert!(fs::metadata(&link).expect("a file").len() < 100_000);
}

/// `VmHWM` of a `memtrace report` that has read all of this, in KiB. The recording comes through a pipe whose writer
/// keeps the last byte back, so that it is still there to be asked.
#[track_caller]
fn peak_of_report(file: &Path, options: &[&str]) -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo")
            .success()
    );
    let running = Running::start(command(["report"]).arg(&pipe).args(options));
    let mut writer = fs::File::options().write(true).open(&pipe).expect("a pipe");
    let recording = fs::read(file).expect("a recording");
    let (last, all) = recording.split_last().expect("a recording");
    std::io::Write::write_all(&mut writer, all).expect("it reads");
    // What is in the pipe still, and in the reader's hands.
    std::thread::sleep(Duration::from_millis(500));
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).expect("it runs");
    std::io::Write::write_all(&mut writer, &[*last]).expect("it reads");
    drop(writer);
    running.finish().assert_status(0);
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_else(|| panic!("no VmHWM in {status}"))
}

#[test]
#[ignore = "needs root"]
fn memory_does_not_grow_with_a_recordings_length() {
    const MOST: u64 = 64 << 10;
    let peak = |faults: u64| {
        let mut storm = Storm::ready(faults);
        let recorded = Recorded::of(storm.pid(), &["--buffer", "256M", "-q"], || {
            storm.blow();
        });
        storm.end().assert_status(0);
        recorded.live.assert_status(0);
        assert!(recorded.events() >= faults);
        let told = recorded.assert_reports_the_same(&[]);
        told.assert_status(0);
        [&[][..], &["--perfetto", "/dev/null"]].map(|options| peak_of_report(&recorded.file, options))
    };
    for (short, long) in peak(500_000).into_iter().zip(peak(5_000_000)) {
        assert!(long < MOST, "{long} KiB");
        // Ten times as long: not even half as much again.
        assert!(
            long < short + short / 2,
            "{short} KiB, and {long} KiB of ten times as many events"
        );
    }
}
