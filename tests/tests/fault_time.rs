//! The time in faults, and the second witness that comes with it: each fault's end is told by another event than its
//! beginning, so the two counts hold each other to account.
//!
//! They are equal where nothing was in the middle of a fault at either end of the run: everything here stands still
//! then. What must not be equal: attempts that failed have a beginning and no end, and what the kernel populates by
//! itself has neither.
//!
//! The records say the time of each single fault too; the report has sums only, so this looks at the records.

mod watched;

use std::collections::HashMap;
use std::process::Command;

use memtrace::event::{Event, Notice};
use memtrace::pipeline::{Config, Pipeline};
use memtrace_common::Tid;
use memtrace_common::decode::Record;
use memtrace_common::wire::{Fault, Header, OP_READ, OP_WRITE};
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::report::Report;
use memtrace_tests::traced::{Traced, plan};
use memtrace_tests::workload::{Mode, Workload, kinds_of_memory};
use memtrace_tests::{kernel_at_least, require_root};
use watched::watched;

/// Faults in both modes, failed ones, and some that fire no event.
const ROUTES: [&str; 7] = [
    "/touch?pages=",
    "/kernel?pages=",
    "/brk?pages=",
    "/pwrite?pages=",
    "/futex?pages=",
    "/segv?n=",
    "/populate?pages=",
];

fn targets(routes: &[&str], round: usize) -> Vec<String> {
    routes
        .iter()
        .map(|route| format!("{route}{}", 1 + round))
        .collect()
}

#[track_caller]
fn assert_timed(mode: Mode, routes: &[&str], clients: usize, rounds: usize) {
    let plans = vec![plan(rounds, |round| targets(routes, round)); clients];
    let traced = Traced::drive(mode, &["--fault-time"], &plans);
    let (run, report) = (&traced.run, &traced.report);
    let books = report.summary.books;
    run.assert(
        books.timed == Some(books.observed) && books.observed >= (clients * rounds * (rounds + 1) / 2) as u64,
        format_args!("{mode:?}: {books:?}"),
    );
    for request in &report.requests {
        let time = request.faults.time_ns;
        let holds =
            time.is_some_and(|time| (time > 0) == (request.faults.total > 0) && time <= request.duration_ns);
        run.assert(
            holds,
            format_args!(
                "{mode:?}, {}: {time:?} of {} ns in {:?}",
                request.path, request.duration_ns, request.faults
            ),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn each_fault_is_timed_and_nothing_else_is() {
    for mode in Mode::ALL {
        assert_timed(mode, &ROUTES, 1, 30);
    }
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_memory_is_timed() {
    for mode in Mode::ALL {
        assert_timed(mode, &kinds_of_memory(), 1, 10);
    }
}

#[test]
#[ignore = "needs root"]
fn each_fault_of_eight_clients_is_timed() {
    for mode in Mode::ALL {
        assert_timed(mode, &ROUTES, 8, 15);
    }
}

#[test]
#[ignore = "needs root"]
fn nothing_is_timed_where_nobody_asks() {
    for mode in Mode::ALL {
        let traced = Traced::drive(mode, &[], &[plan(5, |round| targets(&ROUTES, round))]);
        let timed = traced.report.requests.iter().filter_map(|r| r.faults.time_ns);
        traced.run.assert(
            timed.count() == 0 && traced.report.summary.books.timed.is_none(),
            "something is timed",
        );
    }
}

/// `memtrace-tasks` from one standstill to the next, with all that it starts meanwhile: those inherit what times them.
/// Of its faults, at least `at_least`, all but so many are timed.
#[track_caller]
fn assert_offspring_is_timed(arguments: &str, done: &str, at_least: u64, untimed: u64) {
    require_root();
    let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
    let mut tasks = Running::start(command.args(arguments.split(' ')));
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let pid = tasks.pid().to_string();
    let memtrace = Memtrace::attach(["--pid", &pid, "--format", "ndjson", "--fault-time"]);
    tasks.type_in(b"g");
    tasks.wait_for_line(Stream::Stdout, done);
    let run = memtrace.interrupt();
    tasks.type_in(b"g");
    tasks.finish().assert_status(0);
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let books = report.summary.books;
    run.assert(
        books.timed.map(|timed| timed + untimed) == Some(books.observed) && books.observed >= at_least,
        format_args!("{books:?}, of which {untimed} are not timed"),
    );
}

#[test]
#[ignore = "needs root"]
fn threads_that_come_and_go_are_timed() {
    assert_offspring_is_timed("threads --count 200 --pages 50", "{", 10_000, 0);
}

#[test]
#[ignore = "needs root"]
fn children_that_come_and_go_are_timed() {
    assert_offspring_is_timed("children --count 200 --pages 50", "{", 10_000, 0);
}

#[test]
#[ignore = "needs root"]
fn what_exec_becomes_is_timed() {
    assert_offspring_is_timed("exec --pages 500", "done", 1000, 0);
}

/// Since 6.16 a thread that exits lets go of its events before it lets go of its memory (`perf_event_exit_task` in
/// `do_exit`, kernel/exit.c). What it takes after that is observed, and nobody times it.
#[test]
#[ignore = "needs root"]
fn what_a_thread_takes_on_its_way_out_is_timed_while_it_has_events() {
    let untimed = if kernel_at_least(6, 16) { 100 } else { 0 };
    assert_offspring_is_timed("late --threads 100", "{", 100, untimed);
}

/// So many faults, and the time in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    faults: u64,
    ns: u64,
}

impl Sum {
    fn add(&mut self, faults: u64, ns: u64) {
        self.faults += faults;
        self.ns += ns;
    }
}

/// An attempt at a fault, and what later records said of it.
struct Attempt {
    fault: Fault,
    /// Its thread's next record counted it.
    completed: Option<bool>,
    took: Option<u32>,
}

#[derive(Default)]
struct Thread {
    last: Option<Attempt>,
    /// Since its last tally: of each fault by itself.
    by_fault: Sum,
    /// Since its last request was read; none where it has been answered.
    request_ns: Option<u64>,
}

/// Every fault by itself, as the records say, held to the tallies' sums.
#[derive(Default)]
struct Each {
    threads: HashMap<u32, Thread>,
    /// Attempts that nothing more can be said of.
    past: Vec<Attempt>,
    /// Of all threads: fault by fault, and by tallies.
    by_fault: Sum,
    tallied: Sum,
    /// Tallies that say something else than their own faults.
    differing: Vec<String>,
    /// The time in each request's faults, in the order in which they were answered.
    requests_ns: Vec<u64>,
}

impl Each {
    #[track_caller]
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Record(record) => self.record(record),
            Event::Notice(Notice::Untold { tid, work }) => {
                if let Ok(ns @ 1..) = u32::try_from(work.last_fault_ns) {
                    self.ended(*tid, ns, u64::MAX);
                }
                self.tally(tid.0, work.timed_faults, work.fault_ns);
            }
            Event::Notice(_) => {}
        }
    }

    #[track_caller]
    fn record(&mut self, record: &Record<'_>) {
        let header = record.header();
        if let Some((tid, ns)) = record.ended_fault() {
            self.ended(tid, ns, header.time_ns);
        }
        let thread = self.threads.entry(header.tid).or_default();
        if let Some(last) = &mut thread.last
            && last.completed.is_none()
        {
            last.completed = Some(counted(header) > counted(&last.fault.header));
        }
        match record {
            Record::Fault(fault) => {
                let attempt = Attempt {
                    fault: *fault,
                    completed: None,
                    took: None,
                };
                self.past.extend(thread.last.replace(attempt));
            }
            Record::Tally(tally) => self.tally(header.tid, tally.timed_faults, tally.fault_ns),
            Record::Exec(exec) if exec.old_tid != header.tid => {
                // What it has not told yet comes under its new number.
                let old = self.threads.remove(&exec.old_tid).unwrap_or_default();
                self.past.extend(old.last);
                self.threads.entry(header.tid).or_default().by_fault = old.by_fault;
            }
            Record::Io(io, _) if header.op == OP_READ && io.ret > 0 => thread.request_ns = Some(0),
            Record::Io(..) if header.op == OP_WRITE => self.requests_ns.extend(thread.request_ns.take()),
            _ => {}
        }
    }

    /// The last fault under this number took so long.
    #[track_caller]
    fn ended(&mut self, Tid(tid): Tid, ns: u32, told_at: u64) {
        let thread = self.threads.entry(tid).or_default();
        let Some(last) = &mut thread.last else {
            panic!("thread {tid}: {ns} ns in no fault")
        };
        let Attempt { fault, took, .. } = last;
        assert_eq!(*took, None, "one time more, {ns} ns: {fault:?}");
        assert!(
            fault.header.time_ns + u64::from(ns) <= told_at,
            "{ns} ns until after {told_at}: {fault:?}"
        );
        *took = Some(ns);
        thread.by_fault.add(1, ns.into());
        self.by_fault.add(1, ns.into());
        if let Some(sum) = &mut thread.request_ns {
            *sum += u64::from(ns);
        }
    }

    fn tally(&mut self, tid: u32, faults: u64, ns: u64) {
        self.tallied.add(faults, ns);
        let each = std::mem::take(&mut self.threads.entry(tid).or_default().by_fault);
        if each != (Sum { faults, ns }) {
            self.differing.push(format!(
                "thread {tid}: {each:?}, but it tells {faults} faults, {ns} ns"
            ));
        }
    }

    /// The run is over.
    fn finish(&mut self) {
        let threads = self.threads.values_mut();
        self.past.extend(threads.filter_map(|thread| thread.last.take()));
    }

    #[track_caller]
    fn assert_sums(&self, at_least: u64) {
        assert_eq!(self.by_fault, self.tallied);
        assert!(self.by_fault.faults >= at_least, "{:?}", self.by_fault);
    }

    /// For runs in which threads keep their numbers.
    #[track_caller]
    fn assert_each_tally(&self) {
        assert!(self.differing.is_empty(), "{:#?}", self.differing);
        for Attempt {
            fault,
            completed,
            took,
        } in &self.past
        {
            assert!(
                completed.is_none_or(|completed| completed == took.is_some()),
                "completed is {completed:?}, but it took {took:?} ns: {fault:?}"
            );
        }
    }
}

fn counted(header: &Header) -> u64 {
    header.min_flt + header.maj_flt
}

/// Asks for each of these routes in each round, one by one, on one connection.
#[track_caller]
fn assert_each_faults_time(mode: Mode, routes: &[&str], rounds: usize) {
    require_root();
    let workload = Workload::start(mode);
    let mut client = workload.client();
    let asked = plan(rounds, |round| targets(routes, round));
    let config = Config {
        fault_time: true,
        ..Config::default()
    };
    let mut pipeline = Pipeline::new(config);
    let mut each = Each::default();
    let act = || {
        for target in &asked {
            assert_eq!(client.get(target).expect("an answer").status, 200, "{target}");
        }
    };
    watched(workload.pid(), true, act, |event| {
        each.observe(event);
        pipeline.feed(event.clone());
    });
    each.finish();
    let outcome = pipeline.finish();
    let books = outcome.books;
    each.assert_sums((rounds * routes.len()) as u64);
    each.assert_each_tally();
    assert_eq!(books.timed, Some(each.by_fault.faults), "{mode:?}: {books:?}");
    assert_eq!(books.observed, each.by_fault.faults, "{mode:?}: {books:?}");
    let mut requests = outcome.requests;
    requests.sort_by_key(|request| request.start_ns);
    let times: Vec<Option<u64>> = requests.iter().map(|r| r.faults.time_ns).collect();
    let expected: Vec<Option<u64>> = each.requests_ns.iter().copied().map(Some).collect();
    assert_eq!((times.len(), &times), (asked.len(), &expected), "{mode:?}");
    let took = each.past.iter().filter(|attempt| attempt.took.is_some()).count();
    let failed = each.past.len() - took;
    assert_eq!(
        failed as u64, books.failed,
        "{mode:?}: attempts with no time, {books:?}"
    );
}

#[test]
#[ignore = "needs root"]
fn each_faults_time_is_told_and_they_are_the_requests() {
    for mode in Mode::ALL {
        assert_each_faults_time(mode, &ROUTES, 20);
        assert_each_faults_time(mode, &kinds_of_memory(), 8);
    }
}

/// `memtrace-tasks`, and what the records say of its faults between its standstills.
#[track_caller]
fn each_of_tasks(arguments: &str, done: &str) -> Each {
    require_root();
    let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
    let mut tasks = Running::start(command.args(arguments.split(' ')));
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let pid = tasks.pid();
    let mut each = Each::default();
    let act = || {
        tasks.type_in(b"g");
        tasks.wait_for_line(Stream::Stdout, done);
    };
    watched(pid, true, act, |event| each.observe(event));
    tasks.type_in(b"g");
    tasks.finish().assert_status(0);
    each
}

#[test]
#[ignore = "needs root"]
fn each_faults_time_is_told_though_its_thread_or_process_ends() {
    for what in ["threads", "children"] {
        let each = each_of_tasks(&format!("{what} --count 100 --pages 50"), "{");
        each.assert_sums(5_000);
        assert!(each.differing.is_empty(), "{:#?}", each.differing);
    }
    each_of_tasks("late --threads 100", "{").assert_sums(100);
}

/// The thread that calls `exec` has another number from then on, which was another thread's.
#[test]
#[ignore = "needs root"]
fn each_faults_time_is_told_though_exec_renames_its_thread() {
    for _ in 0..8 {
        for arguments in ["exec --pages 300", "exec --pages 300 --leaderless"] {
            each_of_tasks(arguments, "done").assert_sums(600);
        }
    }
}
