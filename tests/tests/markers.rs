//! Windows that real programs open and close themselves: each has exactly what its thread took meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use memtrace_tests::memtrace::{self, Memtrace};
use memtrace_tests::process::{Finished, Running, Stream, built};
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, installed};

/// Windows that may be open in one process.
const OPEN_MAX: usize = 10_000;

/// `memtrace-tasks` from one standstill to the next.
#[track_caller]
fn tasks(arguments: &str) -> (Finished, Report) {
    require_root();
    let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
    let mut tasks = Running::start(command.args(arguments.split(' ')));
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let memtrace = Memtrace::attach(["--pid", &tasks.pid().to_string(), "--format", "ndjson"]);
    tasks.type_in(b"g");
    tasks.wait_for_line(Stream::Stdout, "{");
    let run = memtrace.interrupt();
    tasks.type_in(b"g");
    tasks.finish().assert_status(0);
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    (run, report)
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_window_has_exactly_its_faults() {
    const PAGES: u64 = 40;
    /// In the order in which they are opened: how many times `PAGES`, and whether they are closed.
    const WINDOWS: [(&str, u64, bool); 11] = [
        ("plain", 1, true),
        ("empty", 0, true),
        ("outer", 1 + 3, true),
        ("inner", 2, true),
        ("first", 1, true),
        ("second", 2 + 3, true),
        // Opened anew before it was closed.
        ("again", 1, false),
        ("again", 2, true),
        ("lines", 1, true),
        // Another thread closes it, having touched pages of its own.
        ("here", 1, true),
        ("left-open", 1, false),
    ];
    let (run, mut report) = tasks(&format!("marks --pages {PAGES}"));
    report.requests.sort_by_key(|request| request.id);
    let is: Vec<_> = report
        .requests
        .iter()
        .map(|r| (&*r.path, r.faults.total, r.complete))
        .collect();
    let expected = WINDOWS.map(|(name, times, complete)| (name, times * PAGES, complete));
    run.assert(is == expected, format_args!("{is:?}\nnot {expected:?}"));
    for request in &report.requests {
        let Request {
            method,
            path,
            route,
            status,
            values,
            frames,
            ..
        } = request;
        let reported: BTreeMap<_, _> = [
            ("pages".to_owned(), PAGES.cast_signed()),
            ("below".to_owned(), -8),
        ]
        .into();
        let holds = method == "MARK"
            && route == path
            && status.is_none()
            && *values == (path == "lines").then_some(reported)
            // What a thread has not yet told of its frames when its window ends elsewhere is not in it.
            && (["here", "left-open"].contains(&&**path)
                || frames.is_some_and(|frames| frames.user == request.faults.total));
        run.assert(holds, format_args!("{request:?}"));
    }
    // After `plain`; where nothing was opened; and around `here`: the other thread's, and what came after it. Before its
    // first window and after its last the process may take one or another for itself.
    let nobodys = (1 + 1 + 5 + 1) * PAGES;
    run.assert(
        (nobodys..nobodys + PAGES).contains(&report.summary.books.unattributed),
        format_args!("{nobodys} are in no window: {:?}", report.summary),
    );
    let notes = &report.summary.notes;
    for (number, what) in [
        (2, "understood"),
        (1, "cut off"),
        (1, "not open"),
        (1, "left out"),
    ] {
        let said = notes
            .iter()
            .any(|note| note.starts_with(&format!("{number} ")) && note.contains(what));
        run.assert(said, format_args!("{number} {what}: {notes:?}"));
    }
    run.assert(notes.len() == 4, format_args!("{notes:?}"));
}

#[test]
#[ignore = "needs root"]
fn each_of_a_hundred_thousand_windows_is_exact() {
    const COUNT: usize = 100_000;
    let (run, report) = tasks(&format!("windows --count {COUNT} --pages 1"));
    let exact = report
        .requests
        .iter()
        .filter(|r| r.complete && r.path == "job" && r.faults.total == 1)
        .count();
    run.assert(
        (exact, report.requests.len()) == (COUNT, COUNT) && report.summary.notes.is_empty(),
        format_args!("{exact} are exact: {:?}", report.summary),
    );
}

#[test]
#[ignore = "needs root"]
fn only_so_many_are_open_and_the_others_are_counted() {
    let (run, report) = tasks(&format!("windows --count {} --leave-open", 2 * OPEN_MAX));
    let left_open = report.requests.iter().filter(|r| !r.complete).count();
    run.assert(
        (left_open, report.requests.len()) == (OPEN_MAX, OPEN_MAX),
        format_args!("{left_open} were left open"),
    );
    let note = format!("{OPEN_MAX} windows were not opened");
    let notes = &report.summary.notes;
    run.assert(
        notes.len() == 1 && notes[0].starts_with(&note),
        format_args!("{notes:?}"),
    );
}

/// Runs a command under memtrace, to its own end.
#[track_caller]
fn traced(command: &Command) -> (Finished, Report) {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    let mut memtrace = memtrace::command(["--format", "ndjson", "-o"]);
    memtrace.arg(&file).arg("--").arg(command.get_program());
    let run = Running::start(memtrace.args(command.get_args())).finish();
    run.assert_status(0);
    let text = fs::read_to_string(file).expect("a report");
    let report = Report::parse(&text).unwrap_or_else(|why| panic!("{why}\n{run}"));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    (run, report)
}

/// A program that opens 50 windows, and prints for each what the kernel counted for its thread (`min_flt` in
/// `/proc/thread-self/stat`) from its first moment in it to its last, and from before it to after it. Most windows have
/// more than the one and less than the other has to spare: then there is no doubt what is in them.
#[track_caller]
fn assert_windows_have_what_the_kernel_counted(command: &Command) {
    let (run, report) = traced(command);
    let counted: Vec<(u64, u64)> = run
        .stdout
        .lines()
        .filter_map(|line| {
            let (within, around) = line.split_once(' ')?;
            Some((within.parse().ok()?, around.parse().ok()?))
        })
        .collect();
    run.assert(
        (counted.len(), report.requests.len()) == (50, 50),
        format_args!("{} of 50 windows", report.requests.len()),
    );
    let mut sum = (0, 0);
    for (request, &(within, around)) in report.requests.iter().zip(&counted) {
        run.assert(
            request.complete && (within..=around).contains(&request.faults.minor),
            format_args!("{within} to {around} were counted: {request:?}"),
        );
        sum = (sum.0 + within, sum.1 + around);
    }
    run.assert(
        sum.0 > 10_000 && sum.1 - sum.0 < sum.0 / 10,
        format_args!("{sum:?} leave too much room"),
    );
}

#[test]
#[ignore = "needs root and python3"]
fn pythons_windows_have_what_the_kernel_counted() {
    const SCRIPT: &str = r#"
import mmap, os
mark = os.open("/dev/null", os.O_WRONLY)
def counted():
    with open("/proc/thread-self/stat") as stat:
        return int(stat.read().split()[9])
for n in range(50):
    before = counted()
    os.write(mark, b"memtrace:begin job %d" % n)
    first = counted()
    memory = mmap.mmap(-1, (1 + 10 * n) * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(10 * n):
        memory[page * 4096] = 1
    memory.close()
    last = counted()
    os.write(mark, b"memtrace:end %d" % n)
    print(last - first, counted() - before)
"#;
    assert_windows_have_what_the_kernel_counted(installed("python3", "python3").args(["-c", SCRIPT]));
}

#[test]
#[ignore = "needs root and node"]
fn nodes_windows_have_what_the_kernel_counted() {
    const SCRIPT: &str = r"
const fs = require('fs');
const mark = fs.openSync('/dev/null', 'w');
const counted = () => Number(fs.readFileSync('/proc/thread-self/stat', 'utf8').split(' ')[9]);
let kept;
for (let n = 0; n < 50; n++) {
  const before = counted();
  fs.writeSync(mark, `memtrace:begin job ${n}`);
  const first = counted();
  kept = Buffer.alloc(40960 * n, 1);
  const last = counted();
  fs.writeSync(mark, `memtrace:end ${n}`);
  console.log(`${last - first} ${counted() - before}`);
}
";
    assert_windows_have_what_the_kernel_counted(installed("node", "nodejs").args(["-e", SCRIPT]));
}

#[test]
#[ignore = "needs root"]
fn the_shells_windows_have_what_the_kernel_counted() {
    const SCRIPT: &str = r#"
exec 3>/dev/null
count() { read -r line </proc/thread-self/stat; set -- $line; counted=${10}; }
n=0
while [ $n -lt 50 ]; do
    count; before=$counted
    echo "memtrace:begin job $n" >&3
    count; first=$counted
    text=$(printf "%0$((40960 * n + 1))d" 1)
    count; last=$counted
    echo "memtrace:end $n" >&3
    count
    echo $((last - first)) $((counted - before))
    n=$((n + 1))
done
"#;
    assert_windows_have_what_the_kernel_counted(Command::new("sh").args(["-c", SCRIPT]));
}

/// Its body looks like a marker and goes out by a `write` of its own.
#[test]
#[ignore = "needs root and python3"]
fn what_is_written_to_a_client_is_no_marker() {
    const SCRIPT: &str = r#"
import os, socket
listener = socket.create_server(("127.0.0.1", 0))
print("listening on", listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    while client.recv(65536):
        body = b"memtrace:begin stolen 1"
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        os.write(client.fileno(), body)
"#;
    require_root();
    let server = Server::start(installed("python3", "python3").args(["-c", SCRIPT]));
    let memtrace = Memtrace::attach(["--pid", &server.pid().to_string(), "--format", "ndjson"]);
    let mut client = server.client();
    for _ in 0..5 {
        let answer = client.get("/page").expect("an answer");
        assert_eq!(answer.text(), "memtrace:begin stolen 1");
    }
    let run = memtrace.interrupt();
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let pages = report.requests.iter().filter(|r| r.complete && r.path == "/page");
    run.assert(
        pages.count() == 5 && report.requests.len() == 5 && report.summary.notes.is_empty(),
        "5 requests, and nothing else",
    );
}

/// The program in docs/MARKERS.md that is in this language, in a file of its own.
#[track_caller]
fn snippet(language: &str, folder: &Path) -> std::path::PathBuf {
    let page: std::path::PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "docs", "MARKERS.md"]
        .iter()
        .collect();
    let page = fs::read_to_string(page).expect("the page");
    let program = page
        .split_once(&format!("\n```{language}\n"))
        .and_then(|(_, rest)| rest.split_once("\n```"));
    let (program, _) = program.unwrap_or_else(|| panic!("no program in {language}"));
    let file = folder.join(format!("snippet.{language}"));
    fs::write(&file, format!("{program}\n")).expect("a file");
    file
}

/// It shows what the page says that it shows.
#[track_caller]
fn assert_shows_its_window(command: &Command) {
    let (run, report) = traced(command);
    let [window] = &report.requests[..] else {
        panic!("{} windows\n{run}", report.requests.len());
    };
    let bytes = window.values.as_ref().and_then(|values| values.get("bytes"));
    run.assert(
        (&*window.method, &*window.path, window.complete) == ("MARK", "resize", true)
            && bytes == Some(&(1 << 20))
            && window.faults.total >= 256
            && report.summary.notes.is_empty(),
        format_args!("{window:?}, {:?}", report.summary.notes),
    );
}

#[test]
#[ignore = "needs root and python3"]
fn pythons_snippet_shows_its_window() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_shows_its_window(installed("python3", "python3").arg(snippet("python", folder.path())));
}

#[test]
#[ignore = "needs root and node"]
fn nodes_snippet_shows_its_window() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_shows_its_window(installed("node", "nodejs").arg(snippet("js", folder.path())));
}

#[test]
#[ignore = "needs root"]
fn the_shells_snippet_shows_its_window() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_shows_its_window(Command::new("sh").arg(snippet("sh", folder.path())));
}

/// As far as there are compilers: Rust's is there where this is built, with the linker that it needs.
#[test]
#[ignore = "needs root"]
fn compiled_snippets_show_their_windows() {
    const COMPILERS: [(&str, &str, &[&str]); 3] = [
        ("rust", "rustc", &["--edition", "2024", "-o"]),
        ("c", "cc", &["-Wall", "-Wextra", "-Werror", "-O2", "-o"]),
        ("go", "go", &["build", "-o"]),
    ];
    for (language, compiler, arguments) in COMPILERS {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        let mut command = Command::new(compiler);
        let compiled = command
            .args(arguments)
            .arg(&program)
            .arg(snippet(language, folder.path()))
            .output();
        match compiled {
            Ok(compiled) => assert!(
                compiled.status.success(),
                "{language}: {}",
                String::from_utf8_lossy(&compiled.stderr)
            ),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && language != "rust" => continue,
            Err(error) => panic!("{compiler}: {error}"),
        }
        assert_shows_its_window(&Command::new(program));
    }
}
