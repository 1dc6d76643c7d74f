//! Where `-o` leads, with links on the way.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use memtrace_tests::memtrace::command;
use memtrace_tests::process::Running;
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};

/// `-o /dev/stdout > FILE`, with a link of the test's own: this host's is not to be replaced.
#[test]
#[ignore = "needs root"]
fn a_link_to_standard_output() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let folder = tempfile::tempdir().expect("it works");
    let (link, file) = (folder.path().join("stdout"), folder.path().join("file"));
    symlink("/proc/self/fd/1", &link).expect("it works");
    let pid = workload.pid().to_string();
    let memtrace = command(["--pid", &pid, "--duration", "200ms", "--format", "ndjson", "-o"]);
    let script = r#"to="$0"; { echo before; "$@"; echo after; } >"$to""#;
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(&file)
        .arg(memtrace.get_program())
        .args(memtrace.get_args())
        .arg(&link);
    let run = Running::start(&mut shell).finish();
    run.assert_status(0);
    run.assert(link.is_symlink(), "the link was replaced");
    let written = fs::read_to_string(&file).expect("it works");
    let report = written
        .strip_prefix("before\n")
        .and_then(|rest| rest.strip_suffix("after\n"));
    run.assert(
        report.is_some_and(|report| Report::parse(report).is_ok()),
        format_args!("{written:?}"),
    );
}
