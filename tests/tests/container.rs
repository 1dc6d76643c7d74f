//! In a container, which has a pid namespace of its own: processes go by the numbers that are seen there.
//!
//! The tests of other files are run again in such a namespace; and what is different there has its own.

use std::path::PathBuf;
use std::process::Command;

use memtrace_tests::memtrace::{self, Memtrace};
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::report::Report;
use memtrace_tests::require_root;

/// A program in a new pid namespace, as its first process's child.
fn contained(arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    // The first process of a namespace is special: most signals do nothing to it.
    command
        .args(["sh", "-c", "\"$@\"; exit $?", "sh"])
        .args(arguments);
    command
}

/// Runs tests of another file of this crate, which `cargo test` has built beside this one.
#[track_caller]
fn run_contained(file: &str, tests: &[&str]) {
    require_root();
    let me = std::env::current_exe().expect("it works");
    let folder = me.parent().expect("a folder");
    let mut built: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(folder)
        .expect("it works")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.starts_with(&format!("{file}-")) && path.extension().is_none()
        })
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .collect();
    built.sort();
    let (_, program) = built.pop().unwrap_or_else(|| panic!("{file} is not built"));
    let program = program.to_string_lossy().into_owned();
    let mut arguments = vec![program.as_str(), "--ignored", "--test-threads=1", "--exact"];
    arguments.extend(tests);
    let run = Running::start(&mut contained(&arguments)).finish();
    run.assert_status(0);
    let passed = format!("{} passed; 0 failed", tests.len());
    run.assert(run.stdout.contains(&passed), format_args!("not {passed}"));
}

#[test]
#[ignore = "needs root"]
fn threads_and_processes_are_exact() {
    run_contained(
        "probes",
        &[
            "a_thousand_short_threads_are_exact",
            "a_hundred_short_children_are_exact",
            "exec_by_another_thread_is_exact",
            "exec_by_another_thread_once_the_first_is_gone_is_exact",
            "a_process_whose_first_thread_ends_is_traced_on",
            "processes_killed_in_mid_storm_are_exact",
            "a_forked_child_is_seen_though_its_parent_closes_the_connection_first",
        ],
    );
}

#[test]
#[ignore = "needs root"]
fn a_command_is_exact_from_exec_on() {
    run_contained(
        "targets",
        &[
            "a_command_is_exact_from_exec_on",
            "what_a_command_starts_is_exact_from_its_birth_to_its_end",
            "children_are_followed_unless_told_otherwise",
        ],
    );
}

/// What was typed into a shell in a container, and came of it.
#[track_caller]
fn typed(script: &str) -> Finished {
    let memtrace = memtrace::command([""; 0]);
    let program = memtrace.get_program().to_string_lossy().into_owned();
    Running::start(&mut contained(&["sh", "-c", script, &program])).finish()
}

#[test]
#[ignore = "needs root"]
fn a_process_below_is_said_to_be_out_of_reach() {
    require_root();
    let run = typed("\"$0\" --format ndjson -- unshare --pid --fork sh -c 'exit 0'");
    run.assert_status(0);
    let report = Report::of(&run);
    run.assert(
        report
            .summary
            .notes
            .iter()
            .any(|note| note.contains("pid namespace of its own")),
        "no note of it",
    );
}

#[test]
#[ignore = "needs root"]
fn processes_outside_are_left_alone() {
    require_root();
    // Outside, somebody has each small number; inside, number 1 is the shell's parent.
    let run = typed(
        "\"$0\" --format ndjson --pid 1 --duration 300ms & sleep 0.1; cat /proc/self/status >/dev/null; wait $!",
    );
    run.assert_status(0);
    let report = Report::of(&run);
    let books = report.summary.books;
    run.assert(books.balanced, format_args!("{books:?}"));
}

#[test]
#[ignore = "needs root"]
fn a_proc_of_another_namespace_is_refused() {
    require_root();
    let memtrace = memtrace::command([""; 0]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork"]).arg(memtrace.get_program());
    let run = Running::start(command.args(["--pid", "1"])).finish();
    run.assert_status(2);
    run.assert(
        run.stderr
            .starts_with("memtrace: cannot look processes up: /proc is of another pid namespace")
            && run.stderr.contains("\nhint: "),
        "it does not say why",
    );
}

#[test]
#[ignore = "needs root"]
fn from_the_host_a_container_is_traced_under_the_hosts_numbers() {
    require_root();
    let mut contained = Running::start(&mut contained(&["cat"]));
    contained.type_in(b"here\n");
    contained.wait_for_line(memtrace_tests::process::Stream::Stdout, "here");
    let memtrace = Memtrace::attach(["--comm", "cat", "--format", "ndjson", "--duration", "300ms"]);
    contained.type_in(b"again\n");
    let run = memtrace.finish();
    run.assert_status(0);
    let report = Report::of(&run);
    let host_pid = report.summary.target.pids.first().copied().unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{host_pid}/status")).unwrap_or_default();
    run.assert(
        status
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.split_whitespace().count() == 3),
        format_args!("process {host_pid} is not in a namespace below: {status}"),
    );
}
