//! What memtrace cannot do as asked: status 2, and the two lines that say why and what to do.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use memtrace_tests::denied::{as_nobody, without_bpf};
use memtrace_tests::leftover::{Before, assert_no_process_with, marker, names};
use memtrace_tests::memtrace::{command, run};
use memtrace_tests::mount::Mount;
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::require_root;

/// Status 2, nothing on standard output, and exactly the two lines: `memtrace: WHAT: WHY`, with `what` and `why` in
/// them, and a hint.
#[track_caller]
fn assert_refused(run: &Finished, what: &str, why: &str) {
    run.assert_status(2);
    run.assert(run.stdout.is_empty(), "something is on standard output");
    let lines: Vec<&str> = run.stderr.lines().collect();
    let [first, second] = lines[..] else {
        panic!("{} lines on standard error, not 2\n{run}", lines.len());
    };
    let rest = first.strip_prefix("memtrace: ").unwrap_or_default();
    let said = rest.strip_prefix(what).and_then(|rest| rest.strip_prefix(": "));
    run.assert(
        said.is_some(),
        format_args!("the first line is not about {what:?}"),
    );
    run.assert(
        said.is_some_and(|said| said.contains(why)),
        format_args!("the first line does not say {why:?}"),
    );
    run.assert(
        second.strip_prefix("hint: ").is_some_and(|hint| hint.len() > 10),
        "the second line is no hint",
    );
}

/// The same for a command line.
#[track_caller]
fn assert_target_refused(arguments: &[&str], what: &str, why: &str) {
    assert_refused(&run(arguments), what, why);
}

/// The same of a process that can be neither traced nor mapped.
#[track_caller]
fn assert_pid_refused(pid: &str, why: &str) {
    for verb in [&[][..], &["map"]] {
        let arguments = [verb, &["--pid", pid]].concat();
        assert_target_refused(&arguments, &format!("--pid {pid}"), why);
    }
}

#[test]
fn usage() {
    for (arguments, why) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["nonsense"], "nonsense"),
        (&["--pid"], "a value is required"),
        (&["--pid", "0"], "above 0"),
        (&["--pid", "-1"], "-1"),
        (&["--pid", "node"], "above 0"),
        (&["--pid", "1", "--duration", "0"], "longer than 0"),
        (&["--pid", "1", "--duration", "0ms"], "longer than 0"),
        (&["--pid", "1", "--duration", "soon"], "unit of time"),
        (&["--pid", "1", "--requests", "0"], "'0'"),
        (&["--pid", "1", "--format", "xml"], "table, ndjson and json"),
        (&["--pid", "1", "--sort", "nonsense"], "in_window"),
        (&["--pid", "1", "--route", "users/{id}"], "begin with '/'"),
        (&["--pid", "1", "--route", "/users/x{id}"], "a whole segment"),
        (&["--pid", "1", "--only", "POST"], "a method and a pattern"),
        (&["--pid", "1", "--min-faults", "many"], "many"),
        (&["--pid", "1", "--buffer", "0"], "4K"),
        (&["--pid", "1", "--buffer", "16X"], "unit of size"),
        (&["--pid", "1", "--quiet", "--verbose"], "cannot be used with"),
        (&["--port", "0"], "0"),
        (&["--port", "65536"], "65536"),
        (&["--user", "nobody"], "COMMAND"),
    ] {
        assert_refused(&run(arguments), "usage", why);
    }
}

#[test]
fn help_is_no_error() {
    for (argument, says) in [
        ("--help", "--port"),
        ("-h", "--port"),
        ("--version", "memtrace 0."),
    ] {
        let run = run([argument]);
        run.assert_status(0);
        run.assert(
            run.stdout.contains(says),
            format_args!("it does not say {says:?}"),
        );
        run.assert(run.stderr.is_empty(), "something is on standard error");
    }
}

#[test]
fn no_target() {
    assert_refused(&run([""; 0]), "no target", "whom to trace");
    assert_refused(&run(["--duration", "1s"]), "no target", "whom to trace");
    assert_refused(&run(["--"]), "no target", "whom to trace");
}

#[test]
fn two_targets() {
    for arguments in [
        &["--pid", "1", "--comm", "node"][..],
        &["--pid", "1", "--port", "3000"],
        &["--port", "3000", "--cgroup", "/sys/fs/cgroup"],
        &["--pid", "1", "--", "true"],
    ] {
        assert_refused(&run(arguments), "more than one target", "");
    }
}

#[test]
fn no_such_pid() {
    // One above the most that the kernel can be told to give out (PID_MAX_LIMIT), and the most that fits.
    for pid in ["4194305", "4294967295"] {
        assert_target_refused(&["--pid", pid], &format!("--pid {pid}"), "no such process");
    }
    // One that was there.
    let gone = Running::start(&mut Command::new("true"));
    let pid = gone.pid().to_string();
    gone.finish().assert_status(0);
    assert_pid_refused(&pid, "no such process");
}

#[test]
fn a_pid_that_waits_for_its_parent() {
    let mut ended = Command::new("true").spawn().expect("it works");
    let pid = ended.id().to_string();
    while !fs::read_to_string(format!("/proc/{pid}/stat"))
        .expect("it works")
        .contains(") Z ")
    {
        std::thread::yield_now();
    }
    assert_pid_refused(&pid, "it has ended");
    ended.wait().expect("it works");
}

/// A thread of the kernel's own. In a pid namespace other than the host's there is none to be named.
fn kernel_thread() -> Option<u32> {
    /// `PF_KTHREAD` in include/linux/sched.h.
    const KERNEL_THREAD: u32 = 0x0020_0000;
    let processes = fs::read_dir("/proc").expect("it works").flatten();
    let mut pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.find(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The ninth field is the seventh after the name.
        let flags = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(6));
        flags
            .and_then(|flags| flags.parse().ok())
            .is_some_and(|flags: u32| flags & KERNEL_THREAD != 0)
    })
}

#[test]
fn a_kernel_thread() {
    let Some(pid) = kernel_thread() else {
        // `PROC_PID_INIT_INO` in include/linux/proc_ns.h.
        let namespace = fs::read_link("/proc/self/ns/pid").expect("it works");
        assert_ne!(
            namespace.as_os_str(),
            "pid:[4026531836]",
            "the host has no kernel thread"
        );
        // Past the harness, which keeps what a test that passes prints to itself.
        writeln!(
            io::stderr(),
            "left out: a_kernel_thread, in a pid namespace without any"
        )
        .expect("it works");
        return;
    };
    assert_pid_refused(&pid.to_string(), "a thread of the kernel's own");
}

/// All threads of a process are traced under its number alone.
#[test]
fn a_thread_of_another_number_than_its_process() {
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let (told, tid) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        told.send(rustix::thread::gettid().as_raw_nonzero())
            .expect("it listens");
        end.recv().expect("it says when");
    });
    let tid = tid.recv().expect("it says").to_string();
    let process = std::process::id();
    assert_pid_refused(&tid, &format!("a thread of process {process}"));
    ended.send(()).expect("it listens");
    thread.join().expect("it ends");
}

#[test]
fn a_comm_of_kernel_threads_only() {
    assert_target_refused(&["--comm", "kthreadd"], "--comm kthreadd", "no process");
}

#[test]
fn no_listener_on_the_port() {
    let was = TcpListener::bind("127.0.0.1:0").expect("it works");
    let port = was.local_addr().expect("it works").port().to_string();
    drop(was);
    assert_target_refused(
        &["--port", &port],
        &format!("--port {port}"),
        "listens on this TCP port",
    );
}

#[test]
fn a_comm_of_nobody() {
    assert_target_refused(&["--comm", "no-such-comm"], "--comm no-such-comm", "no process");
}

#[test]
fn what_was_typed_stays_on_its_line_and_moves_no_cursor() {
    assert_target_refused(
        &["--comm", "two\nlines\u{1b}[2J"],
        "--comm two lines\u{fffd}[2J",
        "no process",
    );
}

#[test]
fn not_a_cgroup() {
    let folder = tempfile::tempdir().expect("it works");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("it works");
    for (path, why) in [
        (folder.path(), "not a cgroup v2 directory"),
        (&file, "not a cgroup v2 directory"),
        (Path::new("/no/such/cgroup"), "No such file or directory"),
    ] {
        let path = path.to_str().expect("it works");
        assert_target_refused(&["--cgroup", path], &format!("--cgroup {path}"), why);
    }
}

#[test]
fn no_such_command() {
    let folder = tempfile::tempdir().expect("it works");
    let text = folder.path().join("text");
    fs::write(&text, "no program").expect("it works");
    for name in [
        "no-such-program",
        "/no/such/program",
        "",
        folder.path().to_str().expect("it works"),
        text.to_str().expect("it works"),
    ] {
        assert_target_refused(
            &["--", name],
            format!("cannot run {name}").trim_end(),
            "command not found",
        );
    }
}

#[test]
fn no_such_user() {
    assert_target_refused(
        &["--user", "no-such-user", "--", "true"],
        "--user no-such-user",
        "no such user",
    );
}

#[test]
fn no_folder_for_the_report() {
    let folder = tempfile::tempdir().expect("it works");
    let inside = folder.path().join("missing").join("report");
    let (inside, folder) = (
        inside.to_str().expect("it works"),
        folder.path().to_str().expect("it works"),
    );
    assert_refused(
        &run(["--pid", "1", "-o", inside]),
        &format!("cannot write {inside}"),
        "No such file or directory",
    );
    assert_refused(
        &run(["--pid", "1", "-o", folder]),
        &format!("cannot write {folder}"),
        "is a directory",
    );
    assert!(names(Path::new(folder)).is_empty());
}

#[test]
fn a_kernel_before_5_8() {
    // The kernel itself then says that it is 2.6: 6.18 calls itself 2.6.78 (`override_release` in kernel/sys.c).
    let program = command(["--pid", &std::process::id().to_string()]);
    let mut old = Command::new("setarch");
    old.args([std::env::consts::ARCH, "--uname-2.6"]);
    old.arg(program.get_program()).args(program.get_args());
    assert_refused(&Running::start(&mut old).finish(), "cannot trace", "kernel 2.6.");
}

#[test]
fn no_bpf() {
    let pid = std::process::id().to_string();
    let run = without_bpf(libc::ENOSYS, || run(["--pid", &pid]));
    assert_refused(&run, "cannot trace", "Function not implemented");
}

#[test]
fn bpf_forbidden_to_root_too() {
    let pid = std::process::id().to_string();
    let run = without_bpf(libc::EPERM, || run(["--pid", &pid]));
    assert_refused(&run, "cannot trace", "missing privilege");
}

#[test]
fn no_privilege() {
    let pid = std::process::id().to_string();
    // This process is there to be found, whatever else runs.
    let comm = fs::read_to_string(format!("/proc/{pid}/comm")).expect("it runs");
    for arguments in [
        &["--pid", &pid][..],
        &["--comm", comm.trim_end()],
        &["--", "true"],
    ] {
        let (mut command, _folder) = as_nobody(arguments);
        let run = Running::start(&mut command).finish();
        assert_refused(&run, "cannot trace", "missing privilege");
        run.assert(run.stderr.contains("sudo"), "no word of sudo");
    }
}

#[test]
fn a_reader_of_errors_who_left_changes_no_status() {
    // `eprintln!` would panic, and end with 101.
    let program = command(["--nonsense"]);
    let mut shell = Command::new("sh");
    let script = r#"exec 3>&1; { sleep 0.2; "$0" "$@" >/dev/null; echo $? >&3; } 2>&1 | true"#;
    shell
        .args(["-c", script])
        .arg(program.get_program())
        .args(program.get_args());
    let run = Running::start(&mut shell).finish();
    run.assert(run.stdout == "2\n", "not status 2");
}

#[test]
#[ignore = "needs root"]
fn a_listener_of_another_user_without_privilege() {
    require_root();
    let listener = TcpListener::bind("127.0.0.1:0").expect("it works");
    let port = listener.local_addr().expect("it works").port().to_string();
    let (mut command, _folder) = as_nobody(["--port", &port]);
    let run = Running::start(&mut command).finish();
    // Somebody does listen: nothing here may deny it.
    assert_refused(&run, &format!("--port {port}"), "that this user may look into");
    run.assert(run.stderr.contains("sudo"), "no word of sudo");
}

#[test]
#[ignore = "needs root"]
fn an_empty_cgroup() {
    require_root();
    let hierarchy = Mount::cgroup2();
    let path = hierarchy
        .path()
        .join(format!("memtrace-test-{}", std::process::id()));
    fs::create_dir(&path).expect("it works");
    let run = run(["--cgroup".as_ref(), path.as_os_str()]);
    fs::remove_dir(&path).expect("it works");
    assert_refused(&run, &format!("--cgroup {}", path.display()), "no process");
}

#[test]
#[ignore = "needs root"]
fn a_command_that_turns_out_not_to_run() {
    require_root();
    let before = Before::now();
    let folder = tempfile::tempdir().expect("it works");
    let script = folder.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").expect("it works");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it works");
    let script = script.to_str().expect("it works");
    let mark = marker();
    for format in ["table", "ndjson", "json"] {
        let run = run(["--format", format, "--", script, &mark]);
        assert_refused(&run, &format!("cannot run {script}"), "No such file or directory");
    }
    assert_no_process_with(&mark);
    before.assert_nothing_is_left();
}

#[test]
#[ignore = "needs root"]
fn a_command_is_let_go_where_nothing_can_be_traced() {
    require_root();
    let folder = tempfile::tempdir().expect("it works");
    let (ran, report) = (folder.path().join("ran"), folder.path().join("report"));
    let mark = marker();
    let run = without_bpf(libc::ENOSYS, || {
        let script = format!("echo > {}; sleep {mark}", ran.display());
        run([
            "-o",
            report.to_str().expect("it works"),
            "--",
            "sh",
            "-c",
            &script,
            &mark,
        ])
    });
    assert_refused(&run, "cannot trace", "Function not implemented");
    assert_no_process_with(&mark);
    assert_eq!(
        names(folder.path()),
        [""; 0],
        "the command ran, or there is a report"
    );
}
