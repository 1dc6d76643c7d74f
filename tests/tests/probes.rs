//! What the probes have to see, on the real kernel.
//!
//! Threads and processes that come, go and change: the kernel's own count of their faults is the measure, to the last
//! one. And every way to read and write a connection, and to get hold of one.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use memtrace_tests::asked::Asked;
use memtrace_tests::leftover::entries;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::{Finished, PATIENCE, Running, Stream, built};
use memtrace_tests::report::{Lost, Report};
use memtrace_tests::require_root;
use memtrace_tests::server::Server;

/// Of the hundreds of threads that a test ends, the kernel may hold on to so many.
const UNDECIDED_MAX: u64 = 8;

/// A run of `memtrace-tasks` that was traced from one standstill to the next.
struct Traced {
    run: Finished,
    report: Report,
    /// What the kernel counted meanwhile, for the process and for all its children that have ended.
    kernel: u64,
}

impl Traced {
    /// Starts it, attaches, lets it do what it does until it prints a line that begins with `done`, and stops.
    #[track_caller]
    fn tasks(arguments: &str, done: &str) -> Traced {
        require_root();
        let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
        let mut tasks = Running::start(command.args(arguments.split(' ')));
        tasks.wait_for_line(Stream::Stdout, "ready ");
        let pid = tasks.pid().to_string();
        let before = counted_at_rest(&pid);
        let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson"]);
        tasks.type_in(b"g");
        tasks.wait_for_line(Stream::Stdout, done);
        // What it does on its way to its next read, memtrace has to see too.
        let kernel = counted_at_rest(&pid) - before;
        let run = memtrace.interrupt();
        tasks.type_in(b"g");
        tasks.finish().assert_status(0);
        run.assert_status(0);
        Traced {
            report: Report::of(&run),
            run,
            kernel,
        }
    }

    /// The books are the kernel's, nothing was lost, and each fault is on a reason.
    #[track_caller]
    fn assert_exact(&self) -> &Traced {
        let (books, lost) = (self.report.summary.books, self.report.summary.lost);
        self.run.assert(
            self.report.check().is_ok(),
            format_args!("{:?}", self.report.check()),
        );
        self.run
            .assert(lost == Lost::default(), format_args!("lost {lost:?}"));
        let traced = books.kernel_min_flt + books.kernel_maj_flt;
        // A kernel that never lets go of a thread says no last word on it. memtrace then says of how many faults it
        // does not know whether they completed, and may miss these and no others.
        let undecided = self.undecided();
        self.run.assert(
            undecided <= UNDECIDED_MAX,
            format_args!("{undecided} faults are undecided"),
        );
        self.run.assert(
            (traced..=traced + undecided).contains(&self.kernel),
            format_args!(
                "{traced} faults and {undecided} undecided, but the kernel counted {}",
                self.kernel
            ),
        );
        self
    }

    /// Faults that are on neither side of the books, as a note has it.
    fn undecided(&self) -> u64 {
        let mut notes = self.report.summary.notes.iter();
        let note = notes.find(|note| note.contains("on neither side of the books"));
        note.map_or(0, |note| {
            let number = note.split(' ').next().unwrap_or_default();
            number.parse().expect("it begins with a number")
        })
    }

    /// Every one of them was seen by a probe.
    #[track_caller]
    fn assert_all_seen(&self) -> &Traced {
        let books = self.report.summary.books;
        self.run.assert(
            books.untraced == 0,
            format_args!("{} of {} faults were not seen", books.untraced, self.kernel),
        );
        self
    }

    #[track_caller]
    fn assert_at_least(&self, faults: u64) -> &Traced {
        self.run.assert(
            self.kernel >= faults,
            format_args!("{} faults are fewer than {faults}", self.kernel),
        );
        self
    }
}

/// What the kernel has counted for a process, its threads and children that have ended included, once it rests.
#[track_caller]
fn counted_at_rest(pid: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        let now = counted(pid);
        if now.is_some() && now == last {
            return now.unwrap_or_default();
        }
        assert!(Instant::now() < deadline, "process {pid} does not come to rest");
        last = now;
        // Longer than a thread that wants to run has to wait for its turn.
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// The same, now; `None` where a thread runs.
#[track_caller]
fn counted(pid: &str) -> Option<u64> {
    let stat = |path: String| {
        let stat = std::fs::read_to_string(path).expect("it lives");
        let fields: Vec<String> = stat
            .rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .map(str::to_owned)
            .collect();
        fields
    };
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives") {
        let thread = thread.expect("it lives").path();
        if !matches!(stat(format!("{}/stat", thread.display()))[0].as_str(), "S" | "Z") {
            return None;
        }
    }
    // Fields 10 to 13 of `/proc/PID/stat`, of which these begin with the third.
    let numbers = &stat(format!("/proc/{pid}/stat"))[7..11];
    Some(
        numbers
            .iter()
            .map(|number| number.parse::<u64>().expect("a number"))
            .sum(),
    )
}

#[test]
#[ignore = "needs root"]
fn a_fault_after_the_exit_probe_is_counted() {
    Traced::tasks("late --threads 100", "{")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(100);
}

#[test]
#[ignore = "needs root"]
fn a_fault_after_the_exit_probe_is_counted_though_the_process_ends_at_once() {
    Traced::tasks("late --threads 4 --children 50", "{")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(200);
}

#[test]
#[ignore = "needs root"]
fn a_thousand_short_threads_are_exact() {
    Traced::tasks("threads --count 1000 --pages 7", "{")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(7_000);
}

#[test]
#[ignore = "needs root"]
fn a_hundred_short_children_are_exact() {
    Traced::tasks("children --count 100 --pages 7", "{")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(700);
}

#[test]
#[ignore = "needs root"]
fn exec_by_another_thread_is_exact() {
    for _ in 0..8 {
        // The arguments of the new program are copied with no exception taken: some faults are `untraced`.
        Traced::tasks("exec --pages 300", "done")
            .assert_exact()
            .assert_at_least(600);
    }
}

#[test]
#[ignore = "needs root"]
fn exec_by_another_thread_once_the_first_is_gone_is_exact() {
    for _ in 0..8 {
        Traced::tasks("exec --pages 300 --leaderless", "done")
            .assert_exact()
            .assert_at_least(600);
    }
}

#[test]
#[ignore = "needs root"]
fn a_process_whose_first_thread_ends_is_traced_on() {
    Traced::tasks("leaderless --pages 300", "done")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(300);
}

#[test]
#[ignore = "needs root"]
fn a_process_whose_first_thread_has_ended_is_a_target() {
    Traced::tasks("leaderless --pages 300 --early", "done")
        .assert_exact()
        .assert_all_seen()
        .assert_at_least(300);
}

#[test]
#[ignore = "needs root"]
fn processes_killed_in_mid_storm_are_exact() {
    Traced::tasks("kill --children 100 --threads 4", "{").assert_exact();
}

/// A connection of each shape, asked on while the server is traced.
#[track_caller]
fn assert_each_shape_is_seen(serve: &[&str], shapes: &[&str]) {
    require_root();
    let server = Server::shapes(serve.iter().chain(shapes));
    let memtrace = Memtrace::attach(["--pid", &server.pid().to_string(), "--format", "ndjson"]);
    let mut asked = Asked::default();
    for shape in shapes {
        asked.each_way(&mut server.client(), &shape.replace(['=', ','], "-"));
    }
    asked.assert_listed(&memtrace.interrupt());
}

const PLAIN: &str = "read=read,write=write";

#[test]
#[ignore = "needs root and python3"]
fn every_way_to_read_is_seen() {
    assert_each_shape_is_seen(
        &[],
        &[
            "read=read",
            "read=readv",
            "read=recvfrom",
            "read=recvmsg",
            "read=recvmmsg",
            "read=splice",
        ],
    );
}

#[test]
#[ignore = "needs root and python3"]
fn a_look_ahead_changes_nothing() {
    assert_each_shape_is_seen(&[], &["read=peek", "read=peekmsg"]);
}

#[test]
#[ignore = "needs root and python3"]
fn every_way_to_write_is_seen() {
    assert_each_shape_is_seen(
        &[],
        &[
            "write=write",
            "write=writev",
            "write=sendto",
            "write=sendmsg",
            "write=sendmmsg",
            "write=sendfile",
            "write=splice",
        ],
    );
}

#[test]
#[ignore = "needs root and python3"]
fn every_way_to_get_a_descriptor_is_seen() {
    assert_each_shape_is_seen(
        &[],
        &[
            "accept=accept4",
            "accept=accept",
            "fd=dup",
            "fd=dup2",
            "fd=dup3",
            "fd=dupfd",
            // The number is closed in bulk, and then the next connection's.
            "fd=close_range",
            "fd=close_range",
            PLAIN,
        ],
    );
}

#[test]
#[ignore = "needs root and python3"]
fn a_connection_that_a_forked_child_serves_is_seen() {
    assert_each_shape_is_seen(&["--serve", "wait"], &[PLAIN, "fd=dup", PLAIN]);
}

#[test]
#[ignore = "needs root and python3"]
fn a_forked_child_is_seen_though_its_parent_closes_the_connection_first() {
    assert_each_shape_is_seen(
        &["--serve", "fork", "--linger", "0.05"],
        &[PLAIN, "fd=dup", PLAIN],
    );
}

/// The connections' requests are the worker's, whether or not the process that accepts them is traced too.
#[track_caller]
fn assert_passed_on(with_parent: bool, beside: u32) {
    require_root();
    let server = Server::shapes(["--serve", "pass", "--beside", &beside.to_string()]);
    let line = server.running.wait_for_line(Stream::Stdout, "worker ");
    let worker = line.trim_start_matches("worker ").to_owned();
    let parent = server.pid().to_string();
    let parent = if with_parent { &["--pid", &parent][..] } else { &[] };
    let memtrace = Memtrace::attach([&["--pid", &worker, "--format", "ndjson"], parent].concat());
    let mut asked = Asked::default();
    for name in ["first", "second", "third"] {
        asked.each_way(&mut server.client(), name);
    }
    let run = memtrace.interrupt();
    let report = asked.assert_listed(&run);
    run.assert(
        report.requests.iter().all(|r| r.pid.to_string() == worker),
        format_args!("not all are the worker's, process {worker}"),
    );
}

#[test]
#[ignore = "needs root and python3"]
fn a_connection_that_a_traced_process_passes_on_is_seen() {
    assert_passed_on(true, 0);
}

#[test]
#[ignore = "needs root and python3"]
fn a_connection_that_another_process_passes_on_is_seen() {
    assert_passed_on(false, 0);
}

#[test]
#[ignore = "needs root and python3"]
fn a_connection_that_is_passed_on_beside_others_is_seen() {
    assert_passed_on(false, 2);
    // With it, as many as one message can pass.
    assert_passed_on(false, 252);
}

#[test]
#[ignore = "needs root and python3"]
fn processes_that_are_gone_leave_nothing_in_the_probes_tables() {
    require_root();
    let server = Server::shapes(["--serve", "fork"]);
    let memtrace = Memtrace::attach(["--pid", &server.pid().to_string(), "--format", "ndjson"]);
    let mut asked = Asked::default();
    for _ in 0..100 {
        assert_eq!(
            server.client().get("/child/200/10").expect("an answer").status,
            200
        );
        asked.note("GET", "/child/200/10", 200);
    }
    let left = || ["FDS", "ROW_OWNERS", "PARENTS"].map(|map| entries(memtrace.pid(), map));
    // A hundred children have come and gone: the server's own few are what stays.
    let deadline = Instant::now() + PATIENCE;
    while left().iter().any(|&n| n > 10) {
        assert!(
            Instant::now() < deadline,
            "descriptors and parents left: {:?}",
            left()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    asked.assert_listed(&memtrace.interrupt());
}

#[test]
#[ignore = "needs root and python3"]
fn a_connection_that_is_open_already_is_usable_at_once() {
    require_root();
    let server = Server::shapes([PLAIN]);
    let mut client = server.client();
    Asked::default().each_way(&mut client, "before");
    let memtrace = Memtrace::attach(["--pid", &server.pid().to_string(), "--format", "ndjson"]);
    let mut asked = Asked::default();
    asked.each_way(&mut client, "after");
    asked.assert_listed(&memtrace.interrupt());
}

#[test]
#[ignore = "needs root and python3"]
fn a_server_that_uses_io_uring_is_said_to() {
    require_root();
    let server = Server::shapes([PLAIN]);
    let pid = server.pid().to_string();
    let mut client = server.client();
    // The first run sees it set up, the second finds it.
    for path in ["/io_uring/200/0", "/other/200/0"] {
        let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson"]);
        assert_eq!(client.get(path).expect("an answer").status, 200);
        let run = memtrace.interrupt();
        let notes = &Report::of(run.assert_status(0)).summary.notes;
        run.assert(
            notes.iter().any(|n| n.contains("io_uring") && n.contains(&pid)),
            "no note of io_uring",
        );
    }
}

/// A 32-bit program that needs no 32-bit library: it calls times(2), whose number is accept(2)'s for 64-bit programs.
const TIMES_32_BIT: &str = "
.globl _start
_start:
    mov $43, %eax
    xor %ebx, %ebx
    int $0x80
    mov $1, %eax
    xor %ebx, %ebx
    int $0x80
";

#[test]
#[ignore = "needs root"]
fn a_32_bit_programs_calls_are_not_taken_for_others() {
    require_root();
    let folder = tempfile::tempdir().expect("it works");
    let [source, object, program] = ["times.s", "times.o", "times"].map(|name| folder.path().join(name));
    std::fs::write(&source, TIMES_32_BIT).expect("it works");
    let tool = |name: &str, option: &[&str], from: &Path, to: &Path| {
        let mut command = Command::new(name);
        command.args(option).arg(from).arg("-o").arg(to);
        Running::start(&mut command).finish().assert_status(0);
    };
    tool("as", &["--32"], &source, &object);
    tool("ld", &["-m", "elf_i386"], &object, &program);
    // Not every kernel runs 32-bit programs.
    if Command::new(&program).status().is_err() {
        return;
    }
    let mut command = memtrace_tests::memtrace::command(["--format", "ndjson", "--"]);
    let run = Running::start(command.arg(&program)).finish();
    let summary = Report::of(run.assert_status(0)).summary;
    run.assert(
        summary.notes.iter().any(|note| note.contains("a 32-bit program")),
        "it does not say so",
    );
    run.assert(
        !summary
            .notes
            .iter()
            .any(|note| note.contains("1 connection was accepted")),
        "times(2) is taken for accept(2)",
    );
    run.assert(summary.books.observed > 0, "no fault of it is seen");
}
