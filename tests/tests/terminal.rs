//! A report on a terminal: as wide as that is, and in colour only there.

use std::process::Command;

use memtrace_tests::memtrace::command;
use memtrace_tests::process::{Finished, Running, Stream};
use memtrace_tests::require_root;
use memtrace_tests::terminal::{Terminal, uncoloured};
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::Signal;

/// Longer than any of the terminals is wide.
const LONG: &str = "/none/of/what/there/is/and/longer/than/the/line/has/room/for/whatever/its/terminal/shows/to/whoever/\
                    looks/at/it";
const ESCAPE: char = '\u{1b}';

/// Traces a few requests while `memtrace` runs, which writes elsewhere or is `piped`.
#[track_caller]
fn traced(memtrace: &mut Command, workload: &Workload) -> Finished {
    let running = Running::start(memtrace);
    running.wait_for_line(Stream::Stderr, "memtrace: tracing");
    let mut client = workload.client();
    for target in ["/none", LONG, "/touch?pages=300"] {
        client.get(target).expect("an answer");
    }
    // The last answer is in the client's hands before the write that sent it returns.
    std::thread::sleep(std::time::Duration::from_millis(100));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_status(0);
    run
}

/// What it shows on a terminal of so many columns.
#[track_caller]
fn shown(columns: u16, no_colour: Option<&str>, workload: &Workload) -> (Finished, String) {
    let terminal = Terminal::of_columns(columns);
    let memtrace = command(["--pid", &workload.pid().to_string()]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"to="$0"; exec "$@" >"$to""#])
        .arg(terminal.path())
        .arg(memtrace.get_program())
        .args(memtrace.get_args());
    shell.env_remove("NO_COLOR");
    shell.envs(no_colour.map(|value| ("NO_COLOR", value)));
    let run = traced(&mut shell, workload);
    (run, terminal.shown())
}

#[test]
#[ignore = "needs root"]
fn no_line_is_wider_than_the_terminal() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut widest = Vec::new();
    for columns in [60, 80, 120] {
        let (run, text) = shown(columns, None, &workload);
        let text = uncoloured(&text);
        // All that is shown here takes one column a character.
        let wide = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        run.assert(
            wide <= usize::from(columns),
            format_args!("a line of {wide} on {columns} columns:\n{text}"),
        );
        // The heading, a line for each request (one that makes sure of the connection, and three), and figures.
        let figures = text
            .lines()
            .filter(|line| line.contains(" GET ") || line.starts_with("GET "));
        run.assert(
            figures.count() >= 4 && text.contains("FAULTS"),
            format_args!("there is no table:\n{text}"),
        );
        let balanced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        run.assert(
            balanced.contains("The books balance."),
            format_args!("there are no books:\n{text}"),
        );
        run.assert(!text.contains(LONG), format_args!("nothing was cut:\n{text}"));
        widest.push(wide);
    }
    assert!(
        widest.is_sorted_by(|a, b| a < b),
        "a wider terminal shows no more: {widest:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn there_is_colour_on_a_terminal_alone_and_none_where_it_is_not_wanted() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    for (no_colour, coloured) in [
        (None, true),
        // https://no-color.org: set and not empty.
        (Some(""), true),
        (Some("1"), false),
    ] {
        let (run, text) = shown(80, no_colour, &workload);
        run.assert(
            text.contains(ESCAPE) == coloured,
            format_args!("NO_COLOR is {no_colour:?}:\n{text}"),
        );
        run.assert(
            !uncoloured(&text).contains(ESCAPE),
            format_args!("other escape codes than for colour:\n{text}"),
        );
    }
    let mut piped = command(["--pid", &workload.pid().to_string()]);
    let run = traced(piped.env_remove("NO_COLOR"), &workload);
    run.assert(!run.stdout.contains(ESCAPE), "there is colour in a pipe");
    run.assert(run.stdout.contains(LONG), "something was cut for a pipe");
}
