//! The student's app: a real Node server, under load, as the README's tour has it.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::node::{Saju, fortune, press};
use memtrace_tests::process::{PATIENCE, Running};
use memtrace_tests::report::{Lost, Report};
use memtrace_tests::require_root;
use rustix::process::Signal;

/// The app's delay, shortened: what is tested does not depend on it.
const QUICK: [(&str, &str); 1] = [("MOCK_DELAY_MS", "20-60")];

#[test]
#[ignore = "needs node"]
fn the_app_serves_its_page_and_a_fortune() {
    let saju = Saju::start(&QUICK);
    let mut client = saju.client();
    let page = client.get("/").unwrap();
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<form id=\"form\">"), "{}", page.text());
    let fortune = fortune(&press(&mut client, "Mina").unwrap());
    assert_eq!(fortune["name"], "Mina");
    assert_eq!(fortune["pillars"]["day"]["name"], "경진");
    assert_eq!(fortune["drafts"], 3);
    assert!(
        fortune["reading"]["overall"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{fortune}"
    );
}

#[test]
#[ignore = "needs node"]
fn the_app_refuses_what_it_cannot_read() {
    let saju = Saju::start(&QUICK);
    let mut client = saju.client();
    for body in [
        "",
        "no json",
        "null",
        r#"{"name":"","birthDate":"2001-05-17"}"#,
        r#"{"name":"Mina"}"#,
        r#"{"name":"Mina","birthDate":"2001-02-30"}"#,
        r#"{"name":"Mina","birthDate":"2999-01-01"}"#,
        r#"{"name":"Mina","birthDate":"2001-05-17","birthTime":"24:00"}"#,
    ] {
        let response = client.post("/saju", body).unwrap();
        assert_eq!(response.status, 400, "{body}: {}", response.text());
    }
    assert_eq!(client.get("/saju").unwrap().status, 405);
    assert_eq!(client.get("/nowhere").unwrap().status, 404);
    assert_eq!(client.post("/saju", &"x".repeat(100_000)).unwrap().status, 413);
}

#[test]
#[ignore = "needs node"]
fn the_app_says_so_when_its_api_is_not_there() {
    // Port 9 (discard) of this host: nobody listens.
    let saju = Saju::start(&[("GPT_API_URL", "http://127.0.0.1:9/v1/chat/completions")]);
    assert_eq!(press(&mut saju.client(), "Mina").unwrap().status, 502);
}

/// Four that press the button and two that load the page, until `stop`; how many presses were answered is counted.
fn keep_busy<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    saju: &'s Saju,
    stop: &'s AtomicBool,
    presses: &'s AtomicU64,
) {
    for client in 0..4 {
        scope.spawn(move || {
            let mut connection = saju.client();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                fortune(&press(&mut connection, &format!("client {client}, {number}")).expect("an answer"));
                presses.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for _ in 0..2 {
        scope.spawn(|| {
            let mut connection = saju.client();
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(connection.get("/").expect("the page").status, 200);
                // Of twenty requests some are to be presses, however long these take.
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }
}

/// Ends the load when the test's own thread leaves the scope, by a panic too.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "needs root and node"]
fn twenty_requests_of_a_busy_node_server_add_up() {
    require_root();
    let saju = Saju::start(&QUICK);
    let port = saju.port.to_string();
    let (stop, presses) = (AtomicBool::new(false), AtomicU64::new(0));
    let run = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        keep_busy(scope, &saju, &stop, &presses);
        Memtrace::attach(["--port", &port, "--requests", "20", "--format", "ndjson"]).finish()
    });
    run.assert_status(0);
    let report = Report::of(&run);
    run.assert(
        report.requests.len() == 20,
        format_args!("{} requests, not 20", report.requests.len()),
    );
    for request in &report.requests {
        if let Err(why) = request.check() {
            panic!("request {}: {why}\n{run}", request.id);
        }
        run.assert(
            matches!(
                (&*request.method, &*request.path),
                ("POST", "/saju") | ("GET", "/")
            ),
            format_args!("nobody asked for this: {request:?}"),
        );
        run.assert(
            request.status == Some(200),
            format_args!("not answered: {request:?}"),
        );
    }
    run.assert(
        report.requests.iter().any(|request| request.path == "/saju"),
        "nobody pressed the button",
    );
    let (books, lost) = (report.summary.books, report.summary.lost);
    run.assert(books.check().is_ok(), format_args!("{:?}", books.check()));
    run.assert(books.balanced && books.dropped == 0, "not balanced, or not whole");
    run.assert(lost == Lost::default(), format_args!("lost {lost:?}"));
    run.assert(report.summary.target.pids == [saju.pid()], "not this process");
    run.assert(
        report.summary.other_requests == 0,
        "no port was asked for that any came in on another of",
    );
}

#[test]
#[ignore = "needs root and node"]
fn requests_counts_those_that_only_selects() {
    require_root();
    let saju = Saju::start(&QUICK);
    let port = saju.port.to_string();
    let (stop, presses) = (AtomicBool::new(false), AtomicU64::new(0));
    let run = std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        keep_busy(scope, &saju, &stop, &presses);
        let only = ["--only", "POST /saju", "--requests", "3", "--format", "ndjson"];
        Memtrace::attach(["--port", &port].into_iter().chain(only)).finish()
    });
    run.assert_status(0);
    let report = Report::of(&run);
    run.assert(
        report.requests.len() == 3 && report.requests.iter().all(|r| r.method == "POST"),
        "not three presses of the button",
    );
}

#[test]
#[ignore = "needs root and node"]
fn a_fixed_drive_is_listed_whole() {
    require_root();
    let saju = Saju::start(&QUICK);
    let port = saju.port.to_string();
    let memtrace = Memtrace::attach(["--port", &port, "--format", "ndjson"]);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let saju = &saju;
            scope.spawn(move || {
                let mut connection = saju.client();
                for number in 0..5 {
                    assert_eq!(connection.get("/").expect("the page").status, 200);
                    fortune(&press(&mut connection, &format!("{client}.{number}")).expect("an answer"));
                }
            });
        }
    });
    let run = memtrace.interrupt();
    run.assert_status(0);
    let report = Report::of(&run);
    if let Err(why) = report.check() {
        panic!("{why}\n{run}");
    }
    let of = |method: &str, path: &str| {
        let whole = |r: &&memtrace_tests::report::Request| r.complete && r.method == method && r.path == path;
        report.requests.iter().filter(whole).count()
    };
    run.assert(
        of("POST", "/saju") == 20,
        format_args!("{} presses, not 20", of("POST", "/saju")),
    );
    run.assert(
        of("GET", "/") == 20,
        format_args!("{} page loads, not 20", of("GET", "/")),
    );
    run.assert(report.requests.len() == 40, "requests that nobody made");
    run.assert(report.summary.other_requests == 0, "requests on another port");
}

/// Two witnesses of the same seconds. perf counts the end of each fault that a task takes itself, so it leaves out
/// what memtrace calls `untraced`. The load begins when both are attached and ends before either leaves; what may
/// differ is the few faults of an idle Node between one's edge and the other's.
#[test]
#[ignore = "needs root, node and perf"]
fn perf_counts_the_same() {
    require_root();
    let saju = Saju::start(&QUICK);
    let pid = saju.pid().to_string();
    let counts = std::env::temp_dir().join(format!("memtrace-perf-{pid}"));
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson"]);
    let mut perf = Command::new("perf");
    perf.args(["stat", "-x,", "-e", "minor-faults,major-faults", "-p", &pid, "-o"])
        .arg(&counts);
    let perf = Running::start(&mut perf);
    wait_for_its_events(&perf);
    let (stop, presses) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        keep_busy(scope, &saju, &stop, &presses);
        std::thread::sleep(Duration::from_secs(5));
    });
    perf.signal(Signal::INT);
    // Ended by the signal that ends its counting: its status says no more than that.
    let perf = perf.finish();
    let run = memtrace.interrupt();
    run.assert_status(0);
    let text = std::fs::read_to_string(&counts).unwrap_or_default();
    let _ = std::fs::remove_file(&counts);
    let count = |event: &str| -> u64 {
        let line = text.lines().find(|line| line.contains(event));
        let number = line.and_then(|line| line.split(',').next()?.parse().ok());
        number.unwrap_or_else(|| panic!("perf has no {event}: {text}\n{perf}"))
    };
    let witnessed = count("minor-faults") + count("major-faults");
    let books = Report::of(&run).summary.books;
    run.assert(books.balanced && books.dropped == 0, "not balanced, or not whole");
    run.assert(
        presses.load(Ordering::Relaxed) > 20 && witnessed > 1000,
        format_args!("too little load: {text}"),
    );
    let apart = books.observed.abs_diff(witnessed);
    run.assert(
        apart <= 50 + witnessed / 100,
        format_args!(
            "memtrace observed {}, perf counted {witnessed}:\n{text}",
            books.observed
        ),
    );
}

/// perf says nothing when it is ready; its descriptors do: two events for each thread, and no more are coming.
#[track_caller]
fn wait_for_its_events(perf: &Running) {
    let deadline = Instant::now() + PATIENCE;
    let events = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", perf.pid()))
            .into_iter()
            .flatten()
            .flatten();
        let targets = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().contains("perf_event"))
            .count()
    };
    loop {
        let before = events();
        std::thread::sleep(Duration::from_millis(200));
        if before >= 2 && events() == before {
            return;
        }
        assert!(Instant::now() < deadline, "perf does not begin\n{perf}");
    }
}
