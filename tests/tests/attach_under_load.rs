//! The books balance however memtrace comes and goes while the server is busy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memtrace_tests::client::Client;
use memtrace_tests::report::{Lost, Report};
use memtrace_tests::workload::{Counted, Mode, Truth, Workload};
use memtrace_tests::{memtrace, require_root};

/// Clients that keep the server busy.
const CLIENTS: usize = 4;
/// What each asks for, around and around; every kind of attempt is among them.
const TARGETS: [&str; 8] = [
    "/touch?pages=40",
    "/kernel?pages=30",
    "/none",
    "/brk?pages=20",
    "/pwrite?pages=10",
    "/segv?n=5",
    "/populate?pages=10",
    "/sleep?ms=1&pages=5",
];

/// How often memtrace attaches and detaches.
fn runs() -> usize {
    match std::env::var("MEMTRACE_RUNS") {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("MEMTRACE_RUNS is a number, not {text:?}")),
        Err(_) => 100,
    }
}

/// Asks until `stop`, on connections that last three rounds: with threads, they are born and die meanwhile.
fn keep_busy(workload: &Workload, stop: &AtomicBool, served: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(workload.port).expect("a connection");
        for target in TARGETS.iter().cycle().take(3 * TARGETS.len()) {
            Counted::of(&client.get(target).expect("an answer"));
            served.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whole requests of one run that the server has a known number for; or why the run is wrong.
///
/// `balanced` is memtrace's own word. What the server and `/proc` say has to agree with it.
fn judge(mode: Mode, report: &Report, kernel_at_most: u64) -> Result<usize, String> {
    let summary = &report.summary;
    summary.books.check()?;
    if !summary.books.balanced || summary.books.dropped > 0 || summary.lost != Lost::default() {
        return Err(format!("not balanced, or not whole: {:?}", summary.lost));
    }
    let kernel = summary.books.kernel_min_flt + summary.books.kernel_maj_flt;
    if kernel > kernel_at_most {
        return Err(format!(
            "the process took {kernel_at_most} faults, before and after included"
        ));
    }
    let mut whole = 0;
    for request in &report.requests {
        request
            .check()
            .map_err(|why| format!("{}: {why}", request.path))?;
        // A request in flight at either edge may be listed in part. In a loop, what follows a sleep is not direct.
        if !request.complete
            || request.path.is_empty()
            || mode == Mode::Loop && request.path.starts_with("/sleep")
        {
            continue;
        }
        let truth = Truth::of(&request.path);
        for (is, expected) in [
            (request.faults.user_mode, truth.user),
            (request.faults.kernel_mode, truth.kernel),
        ] {
            if !(expected..expected + 16).contains(&is) {
                return Err(format!("{}: {is}, not {expected} and a handful", request.path));
            }
        }
        whole += 1;
    }
    if whole == 0 {
        Err("no whole request".into())
    } else {
        Ok(whole)
    }
}

/// `min_flt` and `maj_flt` of a process, threads that have ended included (`/proc/PID/stat`, fields 10 and 12).
#[track_caller]
fn faults_of(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields[number - 3].parse::<u64>().expect("a number");
    field(10) + field(12)
}

#[track_caller]
fn assert_balanced_in_every_run(mode: Mode) {
    require_root();
    let workload = Workload::start(mode);
    let pid = workload.pid().to_string();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut wrong = Vec::new();
    let (mut failed, mut untraced) = (0, 0);
    std::thread::scope(|scope| {
        // Stopped even when a run fails the test: the scope waits for its threads.
        let _stop = StopOnDrop(&stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| keep_busy(&workload, &stop, &served));
        }
        for run in 1..=runs() {
            let before = (served.load(Ordering::Relaxed), faults_of(&pid));
            let arguments = [
                "--pid",
                &pid,
                "--duration",
                "150ms",
                "--format",
                "ndjson",
                "--query",
            ];
            let finished = memtrace::run(arguments);
            let after = (served.load(Ordering::Relaxed), faults_of(&pid));
            assert!(after.0 > before.0, "there was no load in run {run}");
            finished.assert_status(0);
            let report = Report::of(&finished);
            let books = report.summary.books;
            if let Err(why) = judge(mode, &report, after.1 - before.1) {
                wrong.push(format!("run {run}: {why}: {books:?}\n{}", finished.stderr));
            }
            failed += books.failed;
            untraced += books.untraced;
        }
    });
    let (wrong, count) = (wrong.join("\n"), wrong.len());
    assert!(count == 0, "{count} of {} runs are wrong:\n{wrong}", runs());
    // The load makes both: a run that sees neither has not looked.
    assert!(
        failed > 0 && untraced > 0,
        "failed: {failed}, untraced: {untraced} in all runs"
    );
}

struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Both at once: it saves minutes, and two runs at a time are a harder test than one.
#[test]
#[ignore = "needs root"]
fn balanced_in_every_run_with_threads_and_in_a_loop() {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_balanced_in_every_run(Mode::Threads));
        scope.spawn(|| assert_balanced_in_every_run(Mode::Loop));
    });
}
