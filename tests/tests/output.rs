//! What a run prints, as the user asked for it, on the student's app under a little load: formats, what is listed and
//! in which order, and where it goes.

use std::fs;

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::node::{BIRTH, Saju, fortune};
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;

/// What each of the clients asks for, in this order.
const ASKED: [(&str, &str, u16); 5] = [
    ("GET", "/?from=link", 200),
    ("POST", "/saju?from=button", 200),
    ("GET", "/missing/4711", 404),
    ("POST", "/saju?from=button", 200),
    ("GET", "/?from=link", 200),
];
const CLIENTS: usize = 3;
/// All that they ask for.
const REQUESTS: usize = CLIENTS * ASKED.len();
/// Of these, how often the button is pressed.
const PRESSES: usize = CLIENTS * 2;

/// The app, which several runs are pointed at.
struct App(Saju);

impl App {
    #[track_caller]
    fn start() -> App {
        require_root();
        App(Saju::start(&[("MOCK_DELAY_MS", "20-60")]))
    }

    /// Memtrace with these options, while the clients ask.
    #[track_caller]
    fn traced(&self, options: &[&str]) -> Finished {
        let port = self.0.port.to_string();
        let memtrace = Memtrace::attach([&["--port", &port], options].concat());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| ask(&mut self.0.client()));
            }
        });
        let run = memtrace.interrupt();
        run.assert_status(0);
        run
    }

    /// The same, read as JSON lines. The books hold whatever is listed.
    #[track_caller]
    fn report(&self, options: &[&str]) -> (Finished, Report) {
        let run = self.traced(&[&["--format", "ndjson"], options].concat());
        let report = Report::of(&run);
        assert_books(&run, &report);
        (run, report)
    }
}

#[track_caller]
fn ask(client: &mut Client) {
    for (method, path, status) in ASKED {
        let response = match method {
            "GET" => client.get(path),
            _ => client.post(path, BIRTH),
        };
        let response = response.expect("an answer");
        assert_eq!(response.status, status, "{method} {path}");
        if method == "POST" {
            fortune(&response);
        }
    }
}

/// The run as a whole is the same whatever is listed of it.
#[track_caller]
fn assert_books(run: &Finished, report: &Report) {
    let summary = &report.summary;
    run.assert(
        summary.books.check().is_ok() && summary.books.balanced && summary.books.dropped == 0,
        format_args!("{:?}", summary.books),
    );
    run.assert(
        summary.requests == REQUESTS as u64 && summary.other_requests == 0,
        format_args!("{} requests, not {REQUESTS}", summary.requests),
    );
    for request in &report.requests {
        run.assert(request.check().is_ok(), format_args!("{:?}", request.check()));
        run.assert(request.complete, format_args!("not whole: {request:?}"));
    }
}

/// These, so often each, and nothing else: method, path, route.
#[track_caller]
fn assert_lists(run: &Finished, requests: &[Request], expected: &[(&str, &str, &str, usize)]) {
    for &(method, path, route, times) in expected {
        let listed = requests
            .iter()
            .filter(|r| (&*r.method, &*r.path, &*r.route) == (method, path, route))
            .count();
        run.assert(
            listed == times,
            format_args!("{listed} of {method} {path} by the route {route}, not {times}"),
        );
    }
    let all: usize = expected.iter().map(|&(_, _, _, times)| times).sum();
    run.assert(
        requests.len() == all,
        format_args!("{} are listed, not {all}", requests.len()),
    );
}

/// What a run lists that was asked for nothing in particular.
const ALL: [(&str, &str, &str, usize); 3] = [
    ("GET", "/", "/", 2 * CLIENTS),
    ("POST", "/saju", "/saju", PRESSES),
    ("GET", "/missing/4711", "/missing/{id}", CLIENTS),
];

#[test]
#[ignore = "needs root and node"]
fn a_json_document_is_one_whole_report() {
    let app = App::start();
    let run = app.traced(&["--format", "json"]);
    let report = Report::of_document(&run);
    assert_books(&run, &report);
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    assert_lists(&run, &report.requests, &ALL);
    run.assert(report.routes.len() == ALL.len(), "not a route for each");
    for route in &report.routes {
        let of = |name: &str| route[name].as_str().unwrap_or_default().to_owned();
        let requests = report
            .requests
            .iter()
            .filter(|r| r.method == of("method") && r.route == of("route"));
        let (mut count, mut sum) = (0, 0);
        for request in requests {
            count += 1;
            sum += request.faults.total;
        }
        run.assert(
            route["requests"] == count && route["faults"]["total"]["sum"] == sum,
            format_args!("its requests are {count} with {sum} faults: {route}"),
        );
    }
}

/// The words of a line.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
#[ignore = "needs root and node"]
fn a_table_has_a_row_a_request_then_routes_then_the_books() {
    let app = App::start();
    let run = app.traced(&[]);
    let parts: Vec<&str> = run.stdout.trim_end().split("\n\n").collect();
    let [requests, routes, rest] = parts[..] else {
        panic!("{} parts, not 3\n{run}", parts.len());
    };
    let (head, rows) = requests.split_once('\n').unwrap_or_default();
    run.assert(
        words(head)
            == [
                "TIME", "REQUEST", "STATUS", "TOOK", "FAULTS", "MAJOR", "KERNEL", "IN", "WINDOW", "RSS",
                "MOSTLY",
            ],
        "other columns of requests",
    );
    let rows: Vec<Vec<&str>> = rows.lines().map(words).collect();
    run.assert(
        rows.len() == REQUESTS,
        format_args!("{} rows, not {REQUESTS}", rows.len()),
    );
    for (method, path, _, times) in ALL {
        let status = if path == "/missing/4711" { "404" } else { "200" };
        let of = rows
            .iter()
            .filter(|row| row.get(1..4) == Some(&[method, path, status]));
        let of = of.count();
        run.assert(
            of == times,
            format_args!("{of} rows of {method} {path}, not {times}"),
        );
    }
    let (head, rows) = routes.split_once('\n').unwrap_or_default();
    let columns = [
        "ROUTE", "N", "FAULTS", "p50", "p99", "max", "MINOR", "MAJOR", "KERNEL", "IN", "WINDOW", "p50",
        "RSS", "p50", "TOOK", "p50", "NOT", "DIRECT",
    ];
    run.assert(words(head) == columns, "other columns of routes");
    for (method, _, route, times) in ALL {
        let row = rows
            .lines()
            .map(words)
            .find(|row| row.get(..2) == Some(&[method, route]));
        run.assert(
            row.is_some_and(|row| row.get(2) == Some(&&*times.to_string())),
            format_args!("not {times} of {method} {route}"),
        );
    }
    run.assert(rows.lines().count() == ALL.len(), "routes of nobody");
    let comm = format!("(pid {})", app.0.pid());
    run.assert(
        rest.starts_with(&format!("{REQUESTS} requests in ")) && rest.contains(&comm),
        "no line for the run",
    );
    let books = rest.lines().filter(|line| {
        line.contains(" counted by the kernel = ") && line.ends_with(" None lost. The books balance.")
    });
    run.assert(books.count() == 1, "not one line for the books");
}

#[test]
#[ignore = "needs root and node"]
fn sorted_by_a_field_the_worst_come_first() {
    type Field = fn(&Request) -> u64;
    let fields: [(&str, Field); 5] = [
        ("faults", |r| r.faults.total),
        ("major", |r| r.faults.major),
        ("duration", |r| r.duration_ns),
        ("kernel", |r| r.faults.kernel_mode),
        ("in_window", |r| r.faults.in_window),
    ];
    let app = App::start();
    for (name, of) in fields {
        let (run, report) = app.report(&["--sort", name]);
        let values: Vec<u64> = report.requests.iter().map(of).collect();
        run.assert(
            values.is_sorted_by(|a, b| a >= b),
            format_args!("not sorted by {name}: {values:?}"),
        );
        assert_lists(&run, &report.requests, &ALL);
    }
}

#[test]
#[ignore = "needs root and node"]
fn requests_below_a_number_of_faults_are_counted_and_not_listed() {
    let app = App::start();
    // What divides them differs from run to run: the first says where.
    let (_, report) = app.report(&[]);
    let mut totals: Vec<u64> = report.requests.iter().map(|r| r.faults.total).collect();
    totals.sort_unstable();
    let middle = totals[REQUESTS / 2].max(1);
    let (run, report) = app.report(&["--min-faults", &middle.to_string()]);
    let listed = report.requests.len();
    run.assert(
        report.requests.iter().all(|r| r.faults.total >= middle),
        format_args!("some have fewer than {middle} faults"),
    );
    let note = format!("fewer than {middle} faults (--min-faults)");
    let left_out = REQUESTS - listed;
    run.assert(
        left_out == 0
            || report
                .summary
                .notes
                .iter()
                .any(|n| n.ends_with(&note) && n.starts_with(&format!("{left_out} request"))),
        format_args!("no word of the {left_out} that are not listed"),
    );
    let (run, report) = app.report(&["--min-faults", "1000000"]);
    run.assert(report.requests.is_empty(), "nobody takes a million faults");
    run.assert(report.summary.notes.len() == 1, "no word of that");
    // They are only left out of the list.
    run.assert(report.routes.len() == ALL.len(), "not all routes");
}

#[test]
#[ignore = "needs root and node"]
fn only_what_is_selected_is_listed() {
    let app = App::start();
    let (run, report) = app.report(&["--only", "POST /saju"]);
    assert_lists(&run, &report.requests, &[("POST", "/saju", "/saju", PRESSES)]);
    run.assert(report.routes.len() == 1, "another route");
    let left_out = format!(
        "{} requests are not listed: not selected by --only",
        REQUESTS - PRESSES
    );
    run.assert(report.summary.notes == [left_out], "no word of the others");
}

#[test]
#[ignore = "needs root and node"]
fn paths_are_grouped_by_the_patterns_that_are_given() {
    let app = App::start();
    let (run, report) = app.report(&["--route", "/missing/{what}", "--route", "/{page}"]);
    let grouped = [
        ("GET", "/", "/", 2 * CLIENTS),
        ("POST", "/saju", "/{page}", PRESSES),
        ("GET", "/missing/4711", "/missing/{what}", CLIENTS),
    ];
    assert_lists(&run, &report.requests, &grouped);
}

#[test]
#[ignore = "needs root and node"]
fn query_strings_are_dropped_unless_they_are_asked_for() {
    let app = App::start();
    let (run, report) = app.report(&[]);
    assert_lists(&run, &report.requests, &ALL);
    for secret in ["link", "button", "Mina", "2001-05-17"] {
        run.assert(
            !run.stdout.contains(secret),
            format_args!("{secret:?} is in the report"),
        );
    }
    let (run, report) = app.report(&["--query"]);
    let kept = [
        ("GET", "/?from=link", "/", 2 * CLIENTS),
        ("POST", "/saju?from=button", "/saju", PRESSES),
        ("GET", "/missing/4711", "/missing/{id}", CLIENTS),
    ];
    assert_lists(&run, &report.requests, &kept);
}

#[test]
#[ignore = "needs root and node"]
fn quiet_is_the_ready_line_and_no_more() {
    let app = App::start();
    for quiet in ["-q", "--quiet"] {
        let (run, report) = app.report(&[quiet]);
        assert_lists(&run, &report.requests, &ALL);
        run.assert(
            run.stderr.lines().count() == 1 && run.stderr.starts_with("memtrace: tracing "),
            "not the one line on standard error",
        );
    }
}

#[test]
#[ignore = "needs root and node"]
fn a_report_in_a_file_is_the_one_that_would_be_printed() {
    let app = App::start();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    let path = file.to_str().expect("a name");
    for format in ["ndjson", "json", "table"] {
        let run = app.traced(&["--format", format, "-o", path]);
        run.assert(run.stdout.is_empty(), "something is on standard output");
        let text = fs::read_to_string(&file).expect("a report");
        let report = match format {
            "ndjson" => Report::parse(&text),
            "json" => Report::parse_document(&text),
            _ => {
                let rows = text
                    .lines()
                    .filter(|line| line.contains(" GET  ") || line.contains(" POST "));
                run.assert(rows.count() == REQUESTS, format_args!("other rows:\n{text}"));
                run.assert(
                    text.contains("The books balance."),
                    format_args!("no books:\n{text}"),
                );
                continue;
            }
        };
        let report = report.unwrap_or_else(|why| panic!("{why}\n{text}\n{run}"));
        assert_books(&run, &report);
        assert_lists(&run, &report.requests, &ALL);
    }
    let left = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(left, 1, "something lies beside the report");
}
