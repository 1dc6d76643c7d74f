//! Requests whose faults are known in advance: memtrace has to find exactly those, on the right request, in the
//! right mode, and to say of the rest what it was.
//!
//! What a request costs beside (`/none`) is measured in the same run, never assumed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request, Space};
use memtrace_tests::workload::{Counted, Mode, Truth, Workload, kinds_of_memory};
use memtrace_tests::{kernel_at_least, require_root};

/// The least and the most that a request cost which asked for nothing.
struct Baseline {
    user: RangeInclusive<u64>,
    kernel: RangeInclusive<u64>,
    total: RangeInclusive<u64>,
}

impl Baseline {
    #[track_caller]
    fn of(report: &Report, run: &Finished) -> Baseline {
        let none: Vec<&Request> = report
            .requests
            .iter()
            .filter(|request| request.path == "/none")
            .collect();
        run.assert(
            none.len() >= 10,
            format_args!("{} requests for /none are too few to measure", none.len()),
        );
        let range = |of: fn(&Request) -> u64| {
            let costs = || none.iter().map(|request| of(request));
            costs().min().unwrap_or(0)..=costs().max().unwrap_or(0)
        };
        let baseline = Baseline {
            user: range(|request| request.faults.user_mode),
            kernel: range(|request| request.faults.kernel_mode),
            total: range(|request| request.faults.total),
        };
        run.assert(
            *baseline.total.end() < 16,
            format_args!("/none cost {:?}, no handful", baseline.total),
        );
        baseline
    }
}

/// One run under memtrace: what was asked for, and what it said.
struct Traced {
    asked: Vec<String>,
    run: Finished,
    report: Report,
}

impl Traced {
    /// Attaches, has each client ask for its targets in its own way, and stops.
    ///
    /// Every client's connection is older than the attachment, as a keep-alive connection is on a live server.
    #[track_caller]
    fn drive(mode: Mode, plans: &[Vec<String>], ask: fn(&mut Client, &[String])) -> Traced {
        require_root();
        let workload = Workload::start(mode);
        let mut clients: Vec<Client> = plans.iter().map(|_| workload.client()).collect();
        let memtrace = Memtrace::attach([
            "--pid",
            &workload.pid().to_string(),
            "--format",
            "ndjson",
            "--query",
        ]);
        std::thread::scope(|scope| {
            for (client, plan) in clients.iter_mut().zip(plans) {
                scope.spawn(move || ask(client, plan));
            }
        });
        let run = memtrace.interrupt();
        run.assert_status(0);
        let report = Report::of(&run);
        let traced = Traced {
            asked: plans.concat(),
            run,
            report,
        };
        if let Err(why) = traced.report.check() {
            panic!("{why}\n{}", traced.run);
        }
        traced
    }

    /// Each request that was made is listed once, whole, and nothing else is.
    #[track_caller]
    fn assert_each_is_listed_once(&self) {
        let count = |paths: &mut dyn Iterator<Item = &String>| {
            let mut counts = BTreeMap::<String, u64>::new();
            paths.for_each(|path| *counts.entry(path.clone()).or_default() += 1);
            counts
        };
        let listed = count(&mut self.report.requests.iter().map(|request| &request.path));
        let asked = count(&mut self.asked.iter());
        let differing: Vec<_> = asked
            .keys()
            .chain(listed.keys())
            .filter(|path| asked.get(*path) != listed.get(*path))
            .collect();
        self.run.assert(
            differing.is_empty(),
            format_args!("asked for and listed differ: {differing:?}"),
        );
        for request in &self.report.requests {
            self.run.assert(
                request.complete && request.status == Some(200) && request.method == "GET",
                format_args!("{} is not whole: {request:?}", request.path),
            );
        }
        self.run.assert(
            self.report.summary.other_requests == 0,
            "there are other requests",
        );
    }

    /// Each request has what it asked for and what `/none` costs, in the right mode.
    #[track_caller]
    fn assert_each_is_exact(&self) {
        self.assert_each_is_listed_once();
        let baseline = Baseline::of(&self.report, &self.run);
        for request in &self.report.requests {
            let truth = Truth::of(&request.path);
            for (what, is, expected, beside) in [
                ("user_mode", request.faults.user_mode, truth.user, &baseline.user),
                (
                    "kernel_mode",
                    request.faults.kernel_mode,
                    truth.kernel,
                    &baseline.kernel,
                ),
                (
                    "total",
                    request.faults.total,
                    truth.user + truth.kernel,
                    &baseline.total,
                ),
            ] {
                let holds = is
                    .checked_sub(expected)
                    .is_some_and(|rest| beside.contains(&rest));
                self.run.assert(
                    holds,
                    format_args!("{}: {what} is {is}, not {expected} and {beside:?}", request.path),
                );
            }
        }
    }

    /// What the requests made that no probe sees is in the books, to the last one.
    #[track_caller]
    fn assert_untraced_is_exact(&self) {
        let expected: u64 = self.asked.iter().map(|target| Truth::of(target).untraced).sum();
        let is = self.report.summary.books.untraced;
        self.run
            .assert(is == expected, format_args!("untraced is {is}, not {expected}"));
    }
}

/// So many rounds of each of these routes, no two with the same number, and `/none` between them.
fn plan(routes: &[&str], client: usize, rounds: usize) -> Vec<String> {
    let mut targets = Vec::new();
    for round in 0..rounds {
        for route in routes {
            targets.push("/none".to_owned());
            targets.push(format!("{route}{}", 1 + client * rounds + round));
        }
    }
    targets
}

/// Every route that a thread serves from its first byte to its last. A sleep in the loop is a test of its own:
/// while it waits, the loop's one thread turns to others.
fn routes(mode: Mode) -> Vec<&'static str> {
    let mut routes = vec![
        "/touch?pages=",
        "/kernel?pages=",
        "/brk?pages=",
        "/pwrite?pages=",
        "/futex?pages=",
        "/segv?n=",
        "/populate?pages=",
    ];
    if mode == Mode::Threads {
        routes.push("/sleep?ms=2&pages=");
    }
    routes
}

fn one_by_one(client: &mut Client, targets: &[String]) {
    for target in targets {
        let counted = Counted::of(&client.get(target).expect("an answer"));
        assert_server_agrees(target, counted);
    }
}

fn three_in_one_write(client: &mut Client, targets: &[String]) {
    for three in targets.chunks(3) {
        let responses = client.pipeline(three).expect("three answers");
        for (target, response) in three.iter().zip(&responses) {
            assert_server_agrees(target, Counted::of(response));
        }
    }
}

/// The serving thread's own count, which owes memtrace nothing.
#[track_caller]
fn assert_server_agrees(target: &str, counted: Counted) {
    let truth = Truth::of(target);
    assert_eq!(
        counted.total(),
        truth.counted(),
        "the server itself took something else for {target}"
    );
}

#[track_caller]
fn assert_exact(mode: Mode, clients: usize, rounds: usize, ask: fn(&mut Client, &[String])) {
    assert_routes_exact(mode, &routes(mode), clients, rounds, ask);
}

#[track_caller]
fn assert_routes_exact(
    mode: Mode,
    routes: &[&str],
    clients: usize,
    rounds: usize,
    ask: fn(&mut Client, &[String]),
) {
    let plans: Vec<_> = (0..clients).map(|client| plan(routes, client, rounds)).collect();
    let traced = Traced::drive(mode, &plans, ask);
    traced.assert_each_is_exact();
    traced.assert_untraced_is_exact();
}

#[test]
#[ignore = "needs root"]
fn keep_alive_requests_are_exact_with_threads() {
    assert_exact(Mode::Threads, 1, 40, one_by_one);
}

#[test]
#[ignore = "needs root"]
fn keep_alive_requests_are_exact_in_a_loop() {
    assert_exact(Mode::Loop, 1, 40, one_by_one);
}

#[test]
#[ignore = "needs root"]
fn pipelined_requests_are_exact_with_threads() {
    assert_exact(Mode::Threads, 1, 40, three_in_one_write);
}

#[test]
#[ignore = "needs root"]
fn pipelined_requests_are_exact_in_a_loop() {
    assert_exact(Mode::Loop, 1, 40, three_in_one_write);
}

#[test]
#[ignore = "needs root"]
fn eight_clients_are_exact_with_threads() {
    assert_exact(Mode::Threads, 8, 15, one_by_one);
}

#[test]
#[ignore = "needs root"]
fn eight_clients_are_exact_in_a_loop() {
    assert_exact(Mode::Loop, 8, 15, one_by_one);
}

#[test]
#[ignore = "needs root"]
fn eight_pipelining_clients_are_exact_with_threads() {
    assert_exact(Mode::Threads, 8, 15, three_in_one_write);
}

#[test]
#[ignore = "needs root"]
fn eight_pipelining_clients_are_exact_in_a_loop() {
    assert_exact(Mode::Loop, 8, 15, three_in_one_write);
}

#[test]
#[ignore = "needs root"]
fn each_kind_of_memory_is_exact() {
    for mode in Mode::ALL {
        assert_routes_exact(mode, &kinds_of_memory(), 1, 20, one_by_one);
    }
}

#[test]
#[ignore = "needs root"]
fn a_sleep_in_a_loop_is_booked_whole_or_not_at_all() {
    let traced = Traced::drive(Mode::Loop, &[plan(&["/sleep?ms=5&pages="], 0, 40)], one_by_one);
    traced.assert_each_is_listed_once();
    let baseline = Baseline::of(&traced.report, &traced.run);
    for request in &traced.report.requests {
        // The wait is the loop's, so what follows it is not on a thread that has just read this request.
        let pages = Truth::of(&request.path).user;
        let total = request.faults.total;
        let whole = total
            .checked_sub(pages)
            .is_some_and(|rest| baseline.total.contains(&rest));
        traced.run.assert(
            whole || baseline.total.contains(&total),
            format_args!("{}: total is {total}, neither {pages} nor none", request.path),
        );
    }
}

/// `failed` and `untraced` of a run of `/none` alone, and of the same run with a route between.
#[track_caller]
fn failed_and_untraced(mode: Mode, route: &str) -> ([u64; 2], Traced) {
    const ROUNDS: usize = 30;
    let none = vec!["/none".to_owned(); 2 * ROUNDS];
    let quiet = Traced::drive(mode, &[none], one_by_one);
    let traced = Traced::drive(mode, &[plan(&[route], 0, ROUNDS)], one_by_one);
    traced.assert_each_is_exact();
    let (with, without) = (&traced.report.summary.books, &quiet.report.summary.books);
    let beyond = |what, with: u64, without: u64| {
        with.checked_sub(without)
            .unwrap_or_else(|| panic!("{what}: {without} for /none alone\n{}", quiet.run))
    };
    let failed = beyond("failed", with.failed, without.failed);
    let untraced = beyond("untraced", with.untraced, without.untraced);
    ([failed, untraced], traced)
}

/// What 30 rounds of `plan` ask for in all.
const ASKED: u64 = 30 * 31 / 2;

#[track_caller]
fn assert_failed_and_untraced(route: &str, expected: [u64; 2]) {
    for mode in Mode::ALL {
        let (is, traced) = failed_and_untraced(mode, route);
        traced.run.assert(
            is == expected,
            format_args!("{mode:?}: [failed, untraced] is {is:?}, not {expected:?}"),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn touching_and_reading_fail_nothing_and_hide_nothing() {
    for route in ["/touch?pages=", "/kernel?pages=", "/brk?pages="] {
        assert_failed_and_untraced(route, [0, 0]);
    }
}

#[test]
#[ignore = "needs root"]
fn each_handled_signal_is_one_failed_attempt() {
    assert_failed_and_untraced("/segv?n=", [ASKED, 0]);
}

#[test]
#[ignore = "needs root"]
fn each_futex_word_on_a_fresh_page_is_tried_twice_and_counted_once() {
    assert_failed_and_untraced("/futex?pages=", [ASKED, 0]);
}

#[test]
#[ignore = "needs root"]
fn each_page_written_out_fresh_is_tried_twice_and_counted_once() {
    for mode in Mode::ALL {
        let ([failed, untraced], traced) = failed_and_untraced(mode, "/pwrite?pages=");
        // Older kernels may fault the source in before they first try to copy it.
        let expected = failed == ASKED || failed == 0 && !kernel_at_least(6, 18);
        traced.run.assert(
            expected,
            format_args!("{mode:?}: failed is {failed}, not {ASKED}"),
        );
        traced.run.assert(
            untraced == 0,
            format_args!("{mode:?}: untraced is {untraced}, not 0"),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn each_populated_page_is_untraced() {
    assert_failed_and_untraced("/populate?pages=", [0, ASKED]);
}

#[test]
#[ignore = "needs root"]
fn address_space_calls_and_their_bytes_are_exact() {
    for mode in Mode::ALL {
        let plans = [plan(
            &[
                "/touch?pages=",
                "/kernel?pages=",
                "/brk?pages=",
                "/populate?pages=",
                "/space?n=",
            ],
            0,
            30,
        )];
        let traced = Traced::drive(mode, &plans, one_by_one);
        traced.assert_each_is_listed_once();
        let page = rustix::param::page_size() as u64;
        for request in &traced.report.requests {
            let truth = Truth::of(&request.path);
            let bytes = truth.counted() * page;
            let expected = match request.path.split('?').next() {
                Some("/none") => Space::default(),
                Some("/space") => {
                    let rounds = request.path.rsplit('=').next().and_then(|n| n.parse().ok());
                    let rounds: u64 = rounds.expect("a number");
                    Space {
                        mmap_calls: rounds,
                        mmap_bytes: 2 * rounds * page,
                        madvise_calls: 2 * rounds,
                        mprotect_calls: 3 * rounds,
                        mremap_calls: 4 * rounds,
                        munmap_calls: rounds,
                        // As much longer as `mremap` has made it.
                        munmap_bytes: 6 * rounds * page,
                        brk_calls: 2 * rounds,
                        brk_bytes: rounds * page,
                    }
                }
                // Up and down; only up has bytes.
                Some("/brk") => Space {
                    brk_calls: 2,
                    brk_bytes: bytes,
                    ..Space::default()
                },
                _ => Space {
                    mmap_calls: 1,
                    mmap_bytes: bytes,
                    munmap_calls: 1,
                    munmap_bytes: bytes,
                    ..Space::default()
                },
            };
            traced.run.assert(
                request.space == expected,
                format_args!(
                    "{mode:?}, {}: {:?}, not {expected:?}",
                    request.path, request.space
                ),
            );
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_head_in_two_pieces_is_one_request() {
    for mode in Mode::ALL {
        let traced = Traced::drive(mode, &[plan(&["/touch?pages="], 0, 20)], |client, targets| {
            for (index, target) in targets.iter().enumerate() {
                let pause = std::time::Duration::from_millis(3);
                let response = client.split(target, 1 + index, pause).expect("an answer");
                assert_server_agrees(target, Counted::of(&response));
            }
        });
        traced.assert_each_is_exact();
    }
}
