//! `memtrace demo`: what it prints agrees with itself, and it leaves nothing behind however it ends.

use std::path::Path;
use std::time::{Duration, Instant};

use memtrace_tests::memtrace::{self, command};
use memtrace_tests::process::{Finished, PATIENCE, Running, Stream};
use memtrace_tests::require_root;
use rustix::process::Signal;

/// All numbers in a text, thousands grouped or not.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit() && c != ',')
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect()
}

/// The output in one line, so that it does not matter where lines are broken.
fn joined(run: &Finished) -> String {
    run.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The numbers between two phrases.
#[track_caller]
fn between(run: &Finished, text: &str, from: &str, to: &str) -> Vec<u64> {
    let part = text.split_once(from).and_then(|(_, rest)| rest.split_once(to));
    run.assert(
        part.is_some(),
        format_args!("nothing between {from:?} and {to:?}"),
    );
    numbers(part.map_or("", |(part, _)| part))
}

/// The one number between two phrases.
#[track_caller]
fn number(run: &Finished, text: &str, from: &str, to: &str) -> u64 {
    let found = between(run, text, from, to);
    run.assert(
        found.len() == 1,
        format_args!("not one number between {from:?} and {to:?}: {found:?}"),
    );
    found.first().copied().unwrap_or_default()
}

/// The app's process, which the ready line names.
#[track_caller]
fn app_of(line: &str) -> u64 {
    let pid = line
        .strip_prefix("memtrace: tracing fortune-app (pid ")
        .and_then(|rest| numbers(rest).first().copied());
    pid.unwrap_or_else(|| panic!("no app in {line:?}"))
}

#[track_caller]
fn assert_gone(pid: u64) {
    let folder = format!("/proc/{pid}");
    let deadline = Instant::now() + PATIENCE;
    while Path::new(&folder).exists() {
        assert!(Instant::now() < deadline, "process {pid} was left behind");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs root"]
fn the_story_agrees_with_the_table_and_the_books() {
    require_root();
    let run = memtrace::run(["demo"]);
    run.assert_status(0);
    let app = app_of(run.stderr.lines().next().unwrap_or_default());
    assert_gone(app);
    let text = joined(&run);

    // The table: all requests, each of them answered.
    let lines = |start: &str| {
        let is_line =
            |line: &&str| line.as_bytes().get(2) == Some(&b':') && line[8..].trim_start().starts_with(start);
        run.stdout.lines().filter(is_line).collect::<Vec<_>>()
    };
    for (route, count) in [("POST /saju ", 12), ("GET  / ", 12), ("GET  /sky.svg ", 12)] {
        run.assert(
            lines(route).len() == count,
            format_args!("not {count} lines of {route}"),
        );
        run.assert(
            lines(route).iter().all(|line| line.contains(" 200 ")),
            format_args!("not all of {route} are whole"),
        );
    }
    // Figures end where their headings do.
    let heads = run
        .stdout
        .lines()
        .find(|line| line.starts_with("TIME "))
        .unwrap_or_default();
    let end = heads.find(" FAULTS ").map_or(0, |at| at + " FAULTS".len());
    let faults_of = |line: &&str| {
        let line: String = line.chars().take(end).collect();
        numbers(&line).last().copied().unwrap_or_default()
    };
    let mut pressed: Vec<u64> = lines("POST /saju ").iter().map(faults_of).collect();
    pressed.sort_unstable();

    // The books: both sides of the equation, of the table's and of the story's.
    run.assert(
        text.contains("None lost. The books balance."),
        "the table's books",
    );
    let kernel = number(&run, &text, "the kernel itself counted ", " faults for the app.");
    let on_requests = number(&run, &text, "memtrace has ", " on 36 requests");
    let table = between(&run, &text, "fortune-app (pid ", " None lost.");
    run.assert(
        table.contains(&kernel),
        format_args!("the table does not count {kernel}"),
    );
    run.assert(
        table.contains(&on_requests),
        format_args!("the table does not have {on_requests} on requests"),
    );
    let rest = between(&run, &text, "among them,", " The books balance, to the fault.");
    // What is on none comes first in each further part of the sum, its reasons in brackets.
    let further = text.split_once("among them,").map_or("", |(_, rest)| rest);
    let further = further.split_once("The books balance").map_or("", |(sum, _)| sum);
    let further: u64 = further
        .split(" + ")
        .skip(1)
        .filter_map(|part| numbers(part).first().copied())
        .sum();
    run.assert(
        on_requests + further == kernel,
        format_args!("{on_requests} + {further} is not {kernel}: {rest:?}"),
    );

    // The request: it is the median, and its parts add up.
    let total = number(&run, &text, "had to see to it: ", " page faults.");
    run.assert(
        pressed.get(5) == Some(&total),
        format_args!("{total} is not the median of {pressed:?}"),
    );
    let kib = number(&run, &text, "At 4 KiB a page that is ", " KiB. ");
    run.assert(kib == total * 4, "pages and KiB");
    let user = between(&run, &text, " on that. 3. ", " were taken in user mode");
    let kernel_mode = between(
        &run,
        &text,
        "small pieces of memory. ",
        " were taken in kernel mode",
    );
    run.assert(
        user.first()
            .zip(kernel_mode.first())
            .is_some_and(|(u, k)| u + k == total),
        format_args!("{user:?} and {kernel_mode:?} are not {total}"),
    );

    // Its faults are each for something, and somewhere.
    let story = text.split_once("step by step").map_or("", |(_, story)| story);
    let story = story.replace("brk(2)", "brk");
    for (from, to) in [("What for: ", ". 6. "), ("Where: ", ". ")] {
        let parts = between(&run, &story, from, to);
        run.assert(
            parts.iter().sum::<u64>() == total,
            format_args!("{from:?} {parts:?} are not {total}"),
        );
    }

    // What it says of the app is so: the answer went through a buffer of fresh pages, and the tree is larger.
    let answer = number(&run, &text, "parses the answer, ", " KiB of JSON");
    let buffer = kernel_mode.last().copied().unwrap_or_default();
    run.assert(
        buffer * 2 > answer && buffer < answer + 100,
        format_args!("{buffer} KiB in kernel mode for an answer of {answer} KiB"),
    );
    run.assert(
        user.last().is_some_and(|tree| *tree > answer),
        format_args!("{user:?} for a tree of {answer} KiB of text"),
    );
}

#[test]
#[ignore = "needs root"]
fn ctrl_c_ends_it_with_what_there_is() {
    require_root();
    let running = Running::start(&mut command(["demo", "-q"]));
    let app = app_of(&running.wait_for_line(Stream::Stderr, "memtrace: tracing"));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_status(0);
    run.assert(run.stdout.contains("The books balance."), "no summary");
    run.assert(run.stdout.contains(" doctor"), "no end");
    assert_gone(app);
}

#[test]
#[ignore = "needs root"]
fn the_app_does_not_outlive_memtrace_however_that_ends() {
    require_root();
    for signal in [Signal::KILL, Signal::TERM, Signal::HUP] {
        let running = Running::start(&mut command(["demo"]));
        let app = app_of(&running.wait_for_line(Stream::Stderr, "memtrace: tracing"));
        running.signal(signal);
        // A process that holds its output open would keep this from ending.
        running.finish();
        assert_gone(app);
    }
}

#[test]
#[ignore = "needs root"]
fn an_app_that_dies_is_no_good_run() {
    require_root();
    let running = Running::start(&mut command(["demo"]));
    let app = app_of(&running.wait_for_line(Stream::Stderr, "memtrace: tracing"));
    let pid = i32::try_from(app).ok().and_then(rustix::process::Pid::from_raw);
    let killed = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    let run = running.finish();
    run.assert(killed == Some(Ok(())), "the app could not be killed");
    run.assert_status(3);
    run.assert(
        run.stderr.contains("memtrace: the demo's app"),
        "it does not say why",
    );
    run.assert(run.stderr.contains("\nhint: "), "it does not say what to do");
    assert_gone(app);
}
