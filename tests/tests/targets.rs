//! Each kind of target: who is traced, from when on, and whose requests are listed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use memtrace_tests::asked::Asked;
use memtrace_tests::client::Client;
use memtrace_tests::memtrace::{Memtrace, command};
use memtrace_tests::process::{Finished, PATIENCE, Running, Stream, built};
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, app, installed, workload};
use memtrace_tests::workload::StormEnd;
use rustix::process::Signal;
use serde::Deserialize;

/// Processes that join a target in no way that a probe sees are looked for every now and then: far more than that.
const LOOKED_FOR: Duration = Duration::from_secs(1);

/// Two servers of which each is asked, and one that is no target.
#[test]
#[ignore = "needs root and python3"]
fn two_pids_are_both_traced_and_a_third_is_not() {
    require_root();
    let [first, second, third] = [(); 3].map(|()| Server::shapes([""]));
    let pids = [&first, &second].map(|server| server.pid().to_string());
    let memtrace = Memtrace::attach(["--pid", &pids[0], "--pid", &pids[1], "--format", "ndjson"]);
    let mut asked = Asked::default();
    asked.each_way(&mut first.client(), "first");
    asked.each_way(&mut second.client(), "second");
    Asked::default().each_way(&mut third.client(), "third");
    let run = memtrace.interrupt();
    let report = asked.assert_listed(&run);
    let mut traced = report.summary.target.pids;
    traced.sort_unstable();
    let mut expected = [first.pid(), second.pid()];
    expected.sort_unstable();
    run.assert(traced == expected, format_args!("{expected:?} were named"));
}

#[test]
#[ignore = "needs root and python3"]
fn all_who_listen_on_a_port_are_traced_and_other_ports_are_only_counted() {
    require_root();
    let first = Server::shapes(["--reuse-port", "--also"]);
    let also = first.running.wait_for_line(Stream::Stdout, "also on ");
    let also = also
        .rsplit(' ')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let port = first.port.to_string();
    let second = Server::shapes(["--reuse-port", "--port", &port]);
    let memtrace = Memtrace::attach(["--port", &port, "--format", "ndjson"]);
    let mut asked = Asked::default();
    let mut ask = |connections: usize, name: &str| {
        for number in 0..connections {
            // The kernel deals them out among those who listen.
            let mut client = first.client();
            let path = format!("/{name}-{number}/200/10");
            assert_eq!(client.get(&path).expect("an answer").status, 200);
            asked.note("GET", &path, 200);
        }
    };
    ask(20, "two");
    // On connections of their own: this server serves one at a time, to its end.
    for _ in 0..3 {
        let mut other = Client::connect(also).expect("a connection");
        assert_eq!(other.get("/other/200/10").expect("an answer").status, 200);
    }
    ask(10, "again");
    let run = memtrace.interrupt();
    run.assert_status(0);
    let report = Report::of(&run);
    let others = report.summary.other_requests;
    run.assert(others == 3, format_args!("{others} other requests, not 3"));
    for server in [&first, &second] {
        let pid = server.pid();
        run.assert(
            report.requests.iter().any(|r| r.pid == pid),
            format_args!("nothing was served by process {pid}"),
        );
    }
    // Faults on requests that are not listed are in the books, and on no line.
    let books = &report.summary.books;
    run.assert(
        books.balanced && books.check().is_ok(),
        format_args!("{:?}", books.check()),
    );
    asked.assert_only(&report.requests, &run);
}

/// A copy of the workload, by a name of its own.
struct Named {
    folder: tempfile::TempDir,
    name: String,
}

impl Named {
    #[track_caller]
    fn new(name: &str) -> Named {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("{name}-{}", std::process::id());
        fs::copy(workload(), folder.path().join(&name)).expect("a copy");
        Named { folder, name }
    }

    #[track_caller]
    fn start(&self) -> Server {
        Server::start(&mut Command::new(self.folder.path().join(&self.name)))
    }
}

/// Touches, beginning with this number of pages: more than any of the requests by which the workload rehearses.
#[track_caller]
fn touch(asked: &mut Asked, server: &Server, pages: u64) {
    let mut client = server.client();
    for pages in pages..pages + 5 {
        let path = format!("/touch?pages={pages}");
        assert_eq!(client.get(&path).expect("an answer").status, 200);
        asked.note("GET", &path, 200);
    }
}

#[track_caller]
fn assert_found_by_name(named: &Named) {
    require_root();
    let mut asked = Asked::default();
    let now = named.start();
    let other = Server::start(&mut Command::new(workload()));
    let memtrace = Memtrace::attach(["--comm", &named.name, "--format", "ndjson", "--query"]);
    touch(&mut asked, &now, 100);
    touch(&mut Asked::default(), &other, 200);
    let later = named.start();
    touch(&mut asked, &later, 300);
    // All of the name may be gone for a while.
    drop((now, later));
    std::thread::sleep(LOOKED_FOR);
    let last = named.start();
    touch(&mut asked, &last, 400);
    let run = memtrace.interrupt();
    run.assert_status(0);
    let mut report = Report::of(&run);
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    // Those that came later are traced from exec on: what they rehearse is listed too.
    let asked_for = |path: &str| {
        let pages = path.strip_prefix("/touch?pages=");
        pages.is_some_and(|pages| pages.len() == "100".len())
    };
    let rehearsed: Vec<_> = report
        .requests
        .extract_if(.., |request| !asked_for(&request.path))
        .collect();
    run.assert(
        rehearsed.iter().filter(|r| r.path == "/touch?pages=2").count() == 2 * 2,
        format_args!("rehearsed: {rehearsed:?}"),
    );
    report
        .requests
        .retain(|request| request.path != "/sleep?ms=1&pages=2");
    asked.assert_only(&report.requests, &run);
}

#[test]
#[ignore = "needs root"]
fn processes_of_a_name_are_traced_now_and_later() {
    assert_found_by_name(&Named::new("mt"));
}

#[test]
#[ignore = "needs root"]
fn a_name_may_be_longer_than_the_kernel_keeps() {
    assert_found_by_name(&Named::new("memtrace-workload-with-a-long-name"));
}

/// Each thread whose faults are timed takes descriptors, of which memtrace may have no end.
#[test]
#[ignore = "needs root"]
fn processes_that_are_gone_hold_no_descriptor_of_a_run_that_times_faults() {
    require_root();
    let named = Named::new("mt-timed");
    let _first = named.start();
    let memtrace = Memtrace::attach(["--comm", &named.name, "--fault-time", "--format", "ndjson"]);
    let held = || {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", memtrace.pid()));
        descriptors.expect("it runs").count()
    };
    let wait_until = |what: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < deadline, "{} descriptors", held());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let before = held();
    for _ in 0..4 {
        let have = held();
        let next = named.start();
        wait_until(&|| held() > have);
        drop(next);
        wait_until(&|| held() <= before);
    }
    memtrace.interrupt().assert_status(0);
}

/// A cgroup of the test's own, removed on drop: what is in it has to be gone by then.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Where cgroup v2 is mounted, wherever that is.
    #[track_caller]
    fn new() -> Cgroup {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        // Fields by proc_pid_mountinfo(5): the fifth is the place, and the type follows the lone dash.
        let place = mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4))?
        });
        let place = place.expect("this test needs cgroup v2 mounted: mount -t cgroup2 none /sys/fs/cgroup");
        let path = Path::new(place).join(format!("memtrace-test-{}", std::process::id()));
        Cgroup::make(path)
    }

    #[track_caller]
    fn below(&self) -> Cgroup {
        Cgroup::make(self.0.join("below"))
    }

    #[track_caller]
    fn make(path: PathBuf) -> Cgroup {
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Cgroup(path)
    }

    /// A server that is in it from its first instruction on.
    #[track_caller]
    fn start(&self) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"echo $$ > "$0" && exec "$@""#]);
        shell.arg(self.0.join("cgroup.procs"));
        let python = installed("python3", "python3");
        Server::start(shell.arg(python.get_program()).arg(app("shapes/server.py")))
    }

    /// Moves a process here.
    #[track_caller]
    fn take_in(&self, server: &Server) {
        fs::write(self.0.join("cgroup.procs"), server.pid().to_string()).expect("moved");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that was just killed holds it for a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
#[ignore = "needs root and python3"]
fn processes_of_a_cgroup_and_below_are_traced_now_and_later() {
    require_root();
    let cgroup = Cgroup::new();
    let below = cgroup.below();
    let (now, outside, moved) = (cgroup.start(), Server::shapes([""]), Server::shapes([""]));
    let path = cgroup.0.to_str().expect("a name");
    let memtrace = Memtrace::attach(["--cgroup", path, "--format", "ndjson"]);
    let mut asked = Asked::default();
    asked.each_way(&mut now.client(), "now");
    Asked::default().each_way(&mut outside.client(), "outside");
    let (later, deeper) = (cgroup.start(), below.start());
    asked.each_way(&mut later.client(), "later");
    asked.each_way(&mut deeper.client(), "deeper");
    below.take_in(&moved);
    std::thread::sleep(LOOKED_FOR);
    asked.each_way(&mut moved.client(), "moved");
    let run = memtrace.interrupt();
    let report = asked.assert_listed(&run);
    run.assert(
        report.summary.unattributed.contains_key("startup"),
        "those that came later are traced from exec on",
    );
}

/// Runs a COMMAND to its end; its standard output is memtrace's own, so the report is in a file.
#[track_caller]
fn run_command(options: &[&str], arguments: &[&str]) -> (Finished, Report) {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    let file = file.to_str().expect("a name");
    let fixed = ["--format", "ndjson", "-o", file];
    let run = memtrace_tests::memtrace::run([&fixed, options, &["--"], arguments].concat());
    run.assert_status(0);
    let report = fs::read_to_string(file).map_err(|error| error.to_string());
    match report.and_then(|report| Report::parse(&report)) {
        Ok(report) => {
            run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
            (run, report)
        }
        Err(why) => panic!("{why}\n{run}"),
    }
}

#[track_caller]
fn json<T: serde::de::DeserializeOwned>(run: &Finished) -> T {
    let line = run.stdout.lines().rfind(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_else(|| panic!("no line of JSON\n{run}"))
}

/// What `memtrace-tasks` says of a process.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Counted {
    minflt: u64,
    majflt: u64,
}

impl Counted {
    fn total(self) -> u64 {
        self.minflt + self.majflt
    }
}

/// `memtrace-tasks parent`'s last line.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Family {
    own: Counted,
    all: Counted,
    children: Counted,
}

#[test]
#[ignore = "needs root"]
fn a_command_is_exact_from_exec_on() {
    const STORM: u64 = 20_000;
    let workload = workload();
    let workload = workload.to_str().expect("a name");
    let (run, report) = run_command(&[], &[workload, "--storm", &STORM.to_string()]);
    let storm: StormEnd = json(&run);
    let books = report.summary.books;
    let counted = books.kernel_min_flt + books.kernel_maj_flt;
    // The rest is the program's own start and end.
    let beside = counted.checked_sub(storm.minflt + storm.majflt);
    run.assert(
        storm.minflt >= STORM && beside.is_some_and(|faults| faults < 2_000),
        format_args!("{counted} faults, with {storm:?}"),
    );
    run.assert(
        report.summary.command_status == Some(0),
        format_args!("{:?}", report.summary.command_status),
    );
}

#[test]
#[ignore = "needs root"]
fn what_a_command_starts_is_exact_from_its_birth_to_its_end() {
    let tasks = built("memtrace-tasks", "MEMTRACE_TASKS_BIN");
    let (tasks, workload) = (tasks.to_str().expect("a name").to_owned(), workload());
    let workload = workload.to_str().expect("a name");
    let (run, report) = run_command(&[], &[&tasks, "parent", "--", workload, "--storm", "20000"]);
    let family: Family = json(&run);
    let books = report.summary.books;
    let counted = books.kernel_min_flt + books.kernel_maj_flt;
    // The parent was born before it was traced, and ends after it has counted.
    let least = family.children.total() + family.own.total();
    let most = family.children.total() + family.all.total() + 30;
    run.assert(
        (least..=most).contains(&counted),
        format_args!("{counted} is not from {least} to {most}"),
    );
}

#[test]
#[ignore = "needs root and python3"]
fn a_command_that_serves_is_traced_from_its_first_request_on() {
    require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report");
    let python = installed("python3", "python3");
    let memtrace = Server::start(
        command(["--format", "ndjson", "-o"])
            .arg(&file)
            .arg("--")
            .arg(python.get_program())
            .arg(app("shapes/server.py")),
    );
    let mut asked = Asked::default();
    asked.each_way(&mut memtrace.client(), "first");
    std::thread::sleep(Duration::from_millis(100));
    memtrace.running.signal(Signal::INT);
    let run = memtrace.running.finish();
    run.assert_status(0);
    let report = Report::parse(&fs::read_to_string(&file).expect("a report")).expect("a report");
    asked.assert_listed_in(&report, &run);
    run.assert(
        report.summary.unattributed.contains_key("startup"),
        "its start is told apart",
    );
}

#[test]
#[ignore = "needs root"]
fn a_command_runs_as_the_user_that_is_named() {
    let (run, report) = run_command(&["--user", "nobody"], &["id", "-un"]);
    run.assert(run.stdout == "nobody\n", "it is run as another");
    run.assert(
        report.summary.books.observed > 0,
        "it is traced as any other command",
    );
}

/// The last line of `memtrace-tasks children`.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Line {
    own: Counted,
    children: Counted,
}

/// `memtrace-tasks` with 50 forked children, traced; what it says of itself, and the report.
#[track_caller]
fn fifty_children(options: &[&str]) -> (Line, Finished, Report) {
    require_root();
    let mut tasks = Running::start(
        Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"))
            .args(["children", "--count", "50", "--pages", "100"]),
    );
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let pid = tasks.pid().to_string();
    let memtrace = Memtrace::attach([&["--pid", &pid, "--format", "ndjson"], options].concat());
    tasks.type_in(b"g");
    let line = tasks.wait_for_line(Stream::Stdout, "{");
    let run = memtrace.interrupt();
    run.assert_status(0);
    let report = Report::of(&run);
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    (serde_json::from_str(&line).expect("a line of JSON"), run, report)
}

#[test]
#[ignore = "needs root"]
fn children_are_followed_unless_told_otherwise() {
    for (options, children_count) in [(&[][..], true), (&["--no-follow"][..], false)] {
        let (line, run, report) = fifty_children(options);
        let children = line.children.total();
        let least = line.own.total() + if children_count { children } else { 0 };
        let books = report.summary.books;
        let counted = books.kernel_min_flt + books.kernel_maj_flt;
        run.assert(children >= 5_000, "the children did nothing");
        // What it takes to begin and to say how it ended.
        run.assert(
            (least..least + 30).contains(&counted),
            format_args!("{counted} faults, with {line:?}"),
        );
    }
}

#[test]
#[ignore = "needs root and python3"]
fn a_child_that_serves_is_left_alone_where_children_are() {
    require_root();
    let server = Server::shapes(["--serve", "wait"]);
    let pid = server.pid().to_string();
    let memtrace = Memtrace::attach(["--pid", &pid, "--no-follow", "--format", "ndjson"]);
    Asked::default().each_way(&mut server.client(), "child");
    Asked::default().assert_listed(&memtrace.interrupt());
}

#[test]
#[ignore = "needs root"]
fn threads_that_begin_later_are_followed() {
    require_root();
    let server = Server::start(&mut Command::new(workload()));
    let pid = server.pid().to_string();
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson", "--query"]);
    let mut asked = Asked::default();
    // A thread a connection.
    for pages in 100..120 {
        let path = format!("/touch?pages={pages}");
        let response = server.client().get(&path).expect("an answer");
        assert_eq!(response.status, 200);
        asked.note("GET", &path, 200);
    }
    let run = memtrace.interrupt();
    let report = asked.assert_listed(&run);
    for request in &report.requests {
        let pages: u64 = request
            .path
            .rsplit('=')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        // A thread's first request also touches its own stack for the first time.
        let beside = request.faults.total.checked_sub(pages);
        run.assert(
            beside.is_some_and(|faults| faults < 32),
            format_args!("{}: {} faults", request.path, request.faults.total),
        );
    }
}
