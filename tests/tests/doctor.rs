//! What `memtrace doctor` says, held against what can really be done here: by root, and by a user with the
//! capabilities that it names.

use std::process::Command;

use memtrace_tests::asked::Asked;
use memtrace_tests::denied::{NOBODY, as_nobody};
use memtrace_tests::memtrace;
use memtrace_tests::process::{Finished, Running, Stream};
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, installed};
use rustix::process::Signal;
use tempfile::TempDir;

/// Verdict and subject of each finding. What is below a finding is indented; after all of them comes an empty line.
fn findings(run: &Finished) -> Vec<(String, String)> {
    let lines = run.stdout.lines().take_while(|line| !line.is_empty());
    let findings = lines.filter(|line| !line.starts_with(' ')).map(|line| {
        let (verdict, rest) = line.split_once(' ').unwrap_or((line, ""));
        // Two blanks at least end a column.
        let subject = rest.trim_start().split("  ").next().unwrap_or_default();
        (verdict.to_owned(), subject.to_owned())
    });
    findings.collect()
}

#[track_caller]
fn assert_ok(run: &Finished, subject: &str) {
    let found = findings(run);
    let verdicts: Vec<&str> = found
        .iter()
        .filter(|(_, of)| of == subject)
        .map(|(verdict, _)| &**verdict)
        .collect();
    run.assert(
        verdicts == ["ok"],
        format_args!("{subject}: {verdicts:?}, not once ok"),
    );
}

/// What the rest of these tests do here, doctor must not deny.
#[test]
#[ignore = "needs root and python3"]
fn root_has_all_that_tracing_takes() {
    require_root();
    let server = Server::shapes([""; 0]);
    let client = server.client();
    let pid = server.pid();
    let run = memtrace::run(["doctor", "--pid", &pid.to_string()]);
    run.assert_status(0);
    for subject in [
        "kernel",
        "BTF",
        "CAP_BPF",
        "CAP_PERFMON",
        "CAP_SYS_PTRACE",
        "CAP_DAC_READ_SEARCH",
        // Maps, and the ring buffer among them.
        "BPF",
        "sched_process_fork",
        "sched_process_exec",
        "sched_process_exit",
        "sched_process_free",
        "sys_enter",
        "sys_exit",
        "sched_waking",
        "page_fault_user",
        "page_fault_kernel",
        "its sockets",
        "its memory",
    ] {
        assert_ok(&run, subject);
    }
    assert_ok(&run, &format!("pid {pid}"));
    run.assert(
        run.stdout.contains("ring buffer can be made")
            && run.stdout.contains(&format!("listens on {}", server.port)),
        "not a word of the ring buffer, or of the port",
    );
    run.assert(
        run.stdout.ends_with("\nmemtrace can trace here.\n"),
        "not the last line",
    );
    drop(client);
}

/// The capabilities that doctor tells a user without any to give to memtrace.
#[track_caller]
fn named_by_doctor() -> Vec<String> {
    let (mut doctor, _folder) = as_nobody(["doctor"]);
    let run = Running::start(&mut doctor).finish();
    run.assert_status(2);
    // Its lines are wrapped.
    let text = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let list = text.split_once("sudo setcap ").map(|(_, rest)| rest);
    let list = list.and_then(|rest| Some(rest.split_once("+ep on the memtrace binary")?.0));
    let list = list.unwrap_or_else(|| panic!("it names no capabilities\n{run}"));
    list.split(',').map(str::to_owned).collect()
}

/// Memtrace as a user who owns nothing, with these capabilities.
#[track_caller]
fn as_nobody_with(capabilities: &[&str], arguments: &[&str]) -> (Command, TempDir) {
    let (memtrace, folder) = as_nobody(arguments);
    let mut list = "-all".to_owned();
    for capability in capabilities {
        list += ",+";
        list += capability.trim_start_matches("cap_");
    }
    let mut setpriv = installed("setpriv", "util-linux");
    setpriv.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string()]);
    setpriv.args(["--clear-groups", "--inh-caps", &list, "--ambient-caps", &list]);
    setpriv.args(["--bounding-set", &list, "--"]);
    setpriv
        .arg(memtrace.get_program())
        .args(memtrace.get_args())
        .current_dir(folder.path());
    (setpriv, folder)
}

#[test]
#[ignore = "needs root and python3"]
fn with_the_capabilities_that_doctor_names_any_user_traces_anothers_process() {
    require_root();
    let named = named_by_doctor();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let server = Server::shapes([""; 0]);
    let mut client = server.client();
    Asked::default().each_way(&mut client, "before");
    // By its port too: that takes a look into every user's descriptors.
    let (pid, port) = (server.pid().to_string(), server.port.to_string());
    for target in [["--pid", &pid], ["--port", &port]] {
        let (mut memtrace, _folder) =
            as_nobody_with(&named, &[&target[..], &["--format", "ndjson"]].concat());
        let running = Running::start(&mut memtrace);
        running.wait_for_line(Stream::Stderr, "memtrace: tracing");
        assert_eq!(effective_user(running.pid()), NOBODY);
        let mut asked = Asked::default();
        // One connection that was open, and one that was not.
        asked.each_way(&mut client, "open");
        drop(client);
        client = server.client();
        asked.each_way(&mut client, "new");
        std::thread::sleep(std::time::Duration::from_millis(100));
        running.signal(Signal::INT);
        // All that was asked for is listed, and the books balance.
        let report = asked.assert_listed(&running.finish());
        assert!(report.summary.books.observed > 0, "{:?}", report.summary);
    }
}

#[test]
#[ignore = "needs root and python3"]
fn each_capability_that_doctor_names_is_needed() {
    require_root();
    let named = named_by_doctor();
    let server = Server::shapes([""; 0]);
    let port = server.port.to_string();
    for left_out in &named {
        let rest: Vec<&str> = named
            .iter()
            .filter(|name| *name != left_out)
            .map(String::as_str)
            .collect();
        let (mut memtrace, _folder) = as_nobody_with(&rest, &["--port", &port, "--duration", "50ms"]);
        let run = Running::start(&mut memtrace).finish();
        run.assert_status(2);
        let why = match left_out.as_str() {
            "cap_bpf" | "cap_perfmon" => "memtrace: cannot trace: missing privilege",
            // Somebody does listen: nothing here may deny it.
            _ => "no process that this user may look into listens on this TCP port",
        };
        run.assert(
            run.stderr.contains(why),
            format_args!("without {left_out} it does not say {why:?}"),
        );
    }
}

/// The second of the four in `/proc/PID/status`.
#[track_caller]
fn effective_user(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let user = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    user.expect("it says so")
}

#[test]
#[ignore = "needs root"]
fn without_any_doctor_says_so() {
    require_root();
    let (mut doctor, _folder) = as_nobody(["doctor"]);
    let run = Running::start(&mut doctor).finish();
    run.assert_status(2);
    for (verdict, subject) in [("no", "CAP_BPF"), ("no", "CAP_PERFMON"), ("no", "BPF")] {
        run.assert(
            findings(&run).contains(&(verdict.to_owned(), subject.to_owned())),
            format_args!("{subject} is not {verdict}"),
        );
    }
    run.assert(run.stdout.contains("memtrace cannot trace here: "), "it can?");
    // Memtrace itself says the same.
    let pid = std::process::id().to_string();
    let (mut refused, _folder) = as_nobody(["--pid", &pid]);
    Running::start(&mut refused).finish().assert_status(2);
}
