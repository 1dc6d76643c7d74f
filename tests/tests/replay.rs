//! `memtrace report` of a recording that is kept in the repository: narrowed, cut off, damaged, and of files that are
//! none. Takes no privilege.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use memtrace_tests::leftover::names;
use memtrace_tests::memtrace::{command, run};
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::report::{Report, Request};
use memtrace_tests::terminal::Terminal;
use serde_json::Value;
use tempfile::TempDir;

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../memtrace/src/record/tests/fixtures/v1.mtr"
);
/// What a block begins with.
const BLOCK: &[u8] = b"\xf0mtblock";
const CUT_OFF: &str = "the recording is cut off";

fn recording() -> Vec<u8> {
    fs::read(FIXTURE).expect("a recording")
}

/// Where its blocks begin: the last is its end.
fn blocks(recording: &[u8]) -> Vec<usize> {
    let begins = |at: &usize| recording[*at..].starts_with(BLOCK);
    (0..recording.len()).filter(begins).collect()
}

/// A file with these bytes, in a folder of its own.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.mtr");
    fs::write(&path, bytes).expect("a file");
    (folder, path)
}

#[track_caller]
fn report(recording: &Path, options: &[&str]) -> Finished {
    let mut report = command(["report"]);
    report.arg(recording).args(["--format", "ndjson"]).args(options);
    Running::start(&mut report).finish()
}

/// Status 2, nothing on standard output, and `memtrace: WHAT: WHY` with a hint.
#[track_caller]
fn assert_refused(run: &Finished, what: &str, why: &str) {
    run.assert_status(2);
    run.assert(run.stdout.is_empty(), "something is on standard output");
    let lines: Vec<&str> = run.stderr.lines().collect();
    run.assert(
        matches!(lines[..], [first, hint] if first.starts_with(&format!("memtrace: {what}: {why}"))
            && hint.starts_with("hint: ")),
        format_args!("not refused because of {what}: {why}"),
    );
}

/// Status 3, and a report of what is whole, with a note that says what is not.
#[track_caller]
fn assert_inconclusive(run: &Finished, note: &str) -> Report {
    run.assert_status(3);
    let report = Report::of(run);
    let notes = &report.summary.notes;
    run.assert(
        notes.iter().any(|said| said.starts_with(note)),
        format_args!("no note {note:?}"),
    );
    report
}

/// Options, and which requests they leave.
type Case<'c> = (&'c [&'c str], &'c dyn Fn(&Request) -> bool);

#[test]
fn each_format_is_to_be_had() {
    let path = Path::new(FIXTURE);
    let lines = report(path, &[]);
    lines.assert_status(0);
    lines.assert(lines.stderr.is_empty(), "something is on standard error");
    let by_line = Report::of(&lines);
    assert_eq!(by_line.check(), Ok(()));
    let document = run(["report", FIXTURE, "--format", "json"]);
    document.assert_status(0);
    let of_document = Report::of_document(&document);
    assert_eq!(of_document.requests.len(), by_line.requests.len());
    let table = run(["report", FIXTURE]);
    table.assert_status(0);
    table.assert(
        table.stdout.starts_with("TIME ") && table.stdout.contains("22 requests in 1.5 s"),
        "no table",
    );
    // Twice the same.
    for (again, first) in [
        (run(["report", FIXTURE]), &table),
        (report(path, &[]), &lines),
        (run(["report", FIXTURE, "--format", "json"]), &document),
    ] {
        assert_eq!(again.stdout, first.stdout);
    }
}

#[test]
fn a_report_goes_to_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().join("report");
    let written = report(Path::new(FIXTURE), &["-o", to.to_str().expect("text")]);
    written.assert_status(0);
    written.assert(written.stdout.is_empty(), "something is on standard output");
    let text = fs::read_to_string(&to).expect("a report");
    assert_eq!(text, report(Path::new(FIXTURE), &[]).stdout);
    assert_eq!(names(folder.path()), ["report"]);
}

#[test]
fn what_is_listed_can_be_narrowed_and_the_books_stay() {
    let whole = Report::of(&report(Path::new(FIXTURE), &[]));
    let bytes = recording();
    let length = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
    let preamble: Value = serde_json::from_slice(&bytes[16..][..length as usize]).expect("a preamble");
    let began = preamble["origin"]["clocks"]["monotonic"]
        .as_u64()
        .expect("a time");
    let start = |request: &Request| request.start_ns - began;
    let middle = start(&whole.requests[whole.requests.len() / 2]) / 1_000_000;
    let text = format!("{middle}ms");
    let (first, last) = (whole.requests[2].id.to_string(), whole.requests[7].id.to_string());
    let since = |r: &Request| start(r) >= middle * 1_000_000;
    let by_id = |r: &Request| [2, 7].contains(&r.id);
    let by_route = |r: &Request| r.path == "/touch" || r.route == "/wait/{call}";
    let cases: [Case<'_>; 7] = [
        (&["--since", &text], &since),
        (&["--until", &text], &|r| !since(r)),
        (&["--since", "1h"], &|_| false),
        (&["--until", "0"], &|_| false),
        (&["--id", &first, "--id", &last], &by_id),
        (&["--only", "GET /touch", "--only", "* /wait/{any}"], &by_route),
        (&["--min-faults", "10"], &|r| r.faults.total >= 10),
    ];
    for (options, selects) in cases {
        let run = report(Path::new(FIXTURE), options);
        run.assert_status(0);
        let narrowed = Report::of(&run);
        let ids = |requests: &[Request]| requests.iter().map(|r| r.id).collect::<Vec<_>>();
        let mut expected = whole.requests.clone();
        expected.retain(|request| selects(request));
        assert_eq!(ids(&narrowed.requests), ids(&expected), "{options:?}");
        assert!(expected.len() < whole.requests.len(), "{options:?} selects all");
        let books = |report: &Report| format!("{:?}", report.summary.books);
        assert_eq!(books(&narrowed), books(&whole), "{options:?}");
    }
    // Routes as they are wanted now, and an order.
    let run = report(Path::new(FIXTURE), &["--route", "/{any}", "--sort", "faults"]);
    let sorted = Report::of(&run);
    assert!(
        sorted
            .requests
            .is_sorted_by_key(|r| std::cmp::Reverse(r.faults.total))
    );
    assert!(
        sorted
            .requests
            .iter()
            .any(|r| r.path == "/touch" && r.route == "/{any}"),
        "{run}"
    );
}

#[test]
fn what_was_not_recorded_cannot_be_asked_for() {
    let run = report(Path::new(FIXTURE), &["--query"]);
    assert_refused(&run, "--query", "the recording has no query strings");
}

#[test]
fn options_that_make_no_sense_are_a_usage_error() {
    for options in [
        &["--since", "soon"][..],
        &["--until", "-1s"],
        &["--id", "first"],
        &["--only", "/touch"],
        &["--pid", "1"],
        &["--requests", "3"],
    ] {
        assert_refused(&report(Path::new(FIXTURE), options), "usage", "");
    }
    assert_refused(&run(["report"]), "usage", "");
    assert_refused(
        &run(["record", "--pid", "1"]),
        "usage",
        "record: it has to know where to",
    );
}

#[test]
fn what_is_no_recording_is_refused_by_its_line() {
    let whole = recording();
    let first = blocks(&whole)[0];
    let mut newer = whole.clone();
    newer[8..12].copy_from_slice(&99_u32.to_le_bytes());
    let mut flipped = whole.clone();
    flipped[100] ^= 1;
    for (bytes, why) in [
        (&b""[..], "it is empty"),
        (b"once upon a time", "it is not a recording of memtrace"),
        (b"{\"type\":\"request\"}\n", "it is not a recording of memtrace"),
        (&[0; 5_000], "it is not a recording of memtrace"),
        (&whole[..7], "it is cut off before anything was recorded"),
        (&whole[..first - 1], "it is cut off before anything was recorded"),
        (
            &newer,
            "a newer memtrace wrote it: recording format 99, and this one reads up to ",
        ),
        (
            &flipped,
            "its beginning is damaged, and with it what the rest means",
        ),
    ] {
        let (_folder, path) = file(bytes);
        let run = report(&path, &[]);
        assert_refused(&run, &format!("cannot read {}", path.display()), why);
        // Nothing is written for nothing.
        let to = path.with_extension("report");
        report(&path, &["-o", to.to_str().expect("text")]).assert_status(2);
        assert!(!to.exists());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, why) in [
        (folder.path().to_owned(), "Is a directory"),
        (folder.path().join("none.mtr"), "No such file or directory"),
    ] {
        assert_refused(
            &report(&path, &[]),
            &format!("cannot read {}", path.display()),
            why,
        );
    }
}

/// One from another architecture: all as here but for its name, and the checksum.
#[test]
fn a_recording_of_another_architecture_is_refused() {
    let whole = recording();
    let first = blocks(&whole)[0];
    let json = String::from_utf8(whole[16..first - 8].to_vec()).expect("text");
    let here = std::env::consts::ARCH;
    let json = json.replace(&format!("\"arch\":\"{here}\""), "\"arch\":\"riscv64\"");
    let length = u32::try_from(json.len()).expect("a short text");
    let mut bytes = [&whole[..12], &length.to_le_bytes(), json.as_bytes()].concat();
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&bytes).to_le_bytes());
    bytes.extend(&whole[first..]);
    let (_folder, path) = file(&bytes);
    let why = format!("it was made on riscv64, and this memtrace reads recordings of {here}");
    assert_refused(
        &report(&path, &[]),
        &format!("cannot read {}", path.display()),
        &why,
    );
}

#[test]
fn a_recording_that_is_cut_off_is_reported_as_far_as_it_goes() {
    let whole = recording();
    let all = Report::of(&report(Path::new(FIXTURE), &[])).requests.len();
    let mut listed = Vec::new();
    for cut in blocks(&whole).into_iter().chain([whole.len() - 1]) {
        let (_folder, path) = file(&whole[..cut]);
        let run = report(&path, &[]);
        listed.push(assert_inconclusive(&run, CUT_OFF).requests.len());
    }
    // Before the first block there is nothing to list, and without the end of all nothing is missing.
    assert_eq!((listed[0], listed.last()), (0, Some(&all)));
    assert!(listed.is_sorted(), "{listed:?}");
}

#[test]
fn a_flipped_bit_in_any_block_is_named_and_the_rest_reported() {
    let whole = recording();
    let begins = blocks(&whole);
    assert!(begins.len() >= 3, "too few blocks: {begins:?}");
    let mut records = 0;
    for (number, &at) in begins[..begins.len() - 1].iter().enumerate() {
        // In its head, and in what it has.
        for at in [at + 70, at + 200] {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x20;
            let (_folder, path) = file(&flipped);
            let note = format!("block {number} of the recording is damaged and left out, with ");
            let read = assert_inconclusive(&report(&path, &[]), &note);
            let lost = read.summary.lost;
            records += lost.fault + lost.mm + lost.io + lost.frame + lost.task;
            assert_eq!(read.summary.books.check(), Ok(()));
            // All formats say it.
            for format in ["table", "json"] {
                let run = run([
                    "report".as_ref(),
                    path.as_os_str(),
                    "--format".as_ref(),
                    format.as_ref(),
                ]);
                run.assert_status(3);
                let said = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                run.assert(said.contains("damaged and left out"), "no word of the damage");
            }
        }
    }
    // One has what userspace learned alone.
    assert!(records > 0);
}

#[test]
fn a_report_never_replaces_its_recording() {
    let (folder, path) = file(&recording());
    let (hard, soft) = (folder.path().join("hard"), folder.path().join("soft"));
    fs::hard_link(&path, &hard).expect("a link");
    symlink("run.mtr", &soft).expect("a link");
    for from in [&path, &hard, &soft] {
        for to in [&path, &hard, &soft] {
            let run = report(from, &["-o", to.to_str().expect("text")]);
            let what = format!("cannot write {}", to.display());
            assert_refused(&run, &what, "that is the recording itself");
        }
        for (redirect, what) in [
            (r#""$@" >>"$to""#, "standard output"),
            (r#""$@" -o /dev/stdout >>"$to""#, "/dev/stdout"),
        ] {
            let program = command(["report"]);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!(r#"to="$0"; {redirect}"#)])
                .arg(&path)
                .arg(program.get_program())
                .args(program.get_args())
                .arg(from);
            let run = Running::start(&mut shell).finish();
            assert_refused(
                &run,
                &format!("cannot write {what}"),
                "that is the recording itself",
            );
        }
    }
    assert_eq!(fs::read(&path).expect("a recording"), recording());
    assert_eq!(names(folder.path()), ["hard", "run.mtr", "soft"]);
    // Something else is replaced, and may lie beside it.
    let other = folder.path().join("other");
    fs::write(&other, "before").expect("a file");
    report(&path, &["-o", other.to_str().expect("text")]).assert_status(0);
    assert!(
        fs::read_to_string(&other)
            .expect("a report")
            .starts_with("{\"type\":\"request\"")
    );
}

#[test]
fn a_report_that_cannot_be_written_says_so() {
    let run = report(Path::new(FIXTURE), &["-o", "/dev/full"]);
    run.assert_status(3);
    run.assert(
        run.stderr
            .starts_with("memtrace: cannot write the report to /dev/full: No space left on device"),
        "not for want of room",
    );
    let run = report(Path::new(FIXTURE), &["-o", "/no/such/folder/report"]);
    assert_refused(
        &run,
        "cannot write /no/such/folder/report",
        "No such file or directory",
    );
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let program = command(["report", FIXTURE, "--format", "ndjson"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"{ "$0" "$@"; echo $? >&2; } | head -c 1 >/dev/null"#])
        .arg(program.get_program())
        .args(program.get_args());
    let run = Running::start(&mut shell).finish();
    run.assert(run.stderr == "0\n", "it minds");
}

#[test]
fn a_trace_is_whole_though_nobody_reads_the_report() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (whole, beside) = (path("whole"), path("beside"));
    report(Path::new(FIXTURE), &["--perfetto", &whole]).assert_status(0);
    let program = command(["report", FIXTURE, "--perfetto", &beside]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"{ "$0" "$@"; echo $? >&2; } | true"#])
        .arg(program.get_program())
        .args(program.get_args());
    let run = Running::start(&mut shell).finish();
    run.assert(run.stderr == "0\n", "it minds");
    let bytes = |path: &str| fs::read(path).expect("a trace");
    assert!(bytes(&beside) == bytes(&whole), "another trace");
}

/// The second would take the first's place, and nobody would know.
#[test]
fn two_things_are_not_written_into_one_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (one, link, csv) = (path("one"), path("link"), path("tables"));
    symlink("one", &link).expect("a link");
    let table = path("tables/faults.csv");
    for arguments in [
        &["report", FIXTURE, "-o", &one, "--perfetto", &one][..],
        &["report", FIXTURE, "-o", &one, "--perfetto", &link],
        &["export", FIXTURE, "--csv", &csv, "--perfetto", &table],
        &["--pid", "1", "-o", &link, "--perfetto", &one],
        &["record", "--pid", "1", "-o", &one, "--perfetto", &one],
    ] {
        let last = arguments.last().expect("a file");
        let refused = run(arguments);
        let of_the_two = [last, arguments[3], &one].map(|path| format!("cannot write {path}"));
        let first = refused.stderr.lines().next().unwrap_or_default();
        refused.assert(
            of_the_two.iter().any(|what| first.contains(what)) && first.contains("something else"),
            "it does not say which",
        );
        refused.assert_status(2);
    }
    assert_eq!(names(folder.path()), ["link", "tables"]);
    assert!(names(Path::new(&csv)).is_empty());
    run(["report", FIXTURE, "-o", "/dev/null", "--perfetto", "/dev/null"]).assert_status(0);
}

/// What a terminal shows of a report that takes longer than a second: whoever writes the recording takes his time.
#[track_caller]
fn shown_slowly(options: &[&str], to_terminal: &str) -> (Finished, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    let terminal = Terminal::of_columns(100);
    let program = command(["report", "--format", "ndjson"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!(r#"to="$0"; exec "$@" {to_terminal}"#)])
        .arg(terminal.path())
        .arg(program.get_program())
        .args(program.get_args())
        .arg(&pipe)
        .args(options);
    let running = Running::start(&mut shell);
    let whole = recording();
    let begins = blocks(&whole);
    let mut writer = File::options().write(true).open(&pipe).expect("a pipe");
    writer.write_all(&whole[..begins[1]]).expect("it reads");
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    writer.write_all(&whole[begins[1]..]).expect("it reads");
    drop(writer);
    let run = running.finish();
    run.assert_status(0);
    (run, terminal.shown())
}

#[test]
fn progress_is_shown_on_a_terminal_where_it_takes_its_time() {
    let plain = report(Path::new(FIXTURE), &[]).stdout;
    let (run, shown) = shown_slowly(&[], r#"2>"$to""#);
    assert_eq!(run.stdout, plain);
    assert!(shown.contains("B read"), "{shown:?}");
    // It goes when it is over.
    assert!(shown.ends_with("\u{1b}[2K"), "{shown:?}");
    let (run, shown) = shown_slowly(&["--quiet"], r#"2>"$to""#);
    assert_eq!((run.stdout, shown), (plain.clone(), String::new()));
    // On one terminal, no line of the report is written into the bar.
    let (_, shown) = shown_slowly(&[], r#">"$to" 2>&1"#);
    for line in plain.lines() {
        let at = shown
            .find(line)
            .unwrap_or_else(|| panic!("{line:?} is not in {shown:?}"));
        let before = &shown[..at];
        assert!(
            before.is_empty() || before.ends_with('\n') || before.ends_with("\u{1b}[2K"),
            "{:?}",
            &before[before.len().saturating_sub(200)..]
        );
    }
}
