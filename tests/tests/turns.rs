//! A thread that has read a request and turns from it: by waiting for events, or to the answer of a server that its
//! process has asked. What it touches from then on is that request's only by what follows from it.

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::report::Report;
use memtrace_tests::require_root;
use memtrace_tests::server::Server;
use memtrace_tests::workload::{Counted, Mode, Workload};

/// Every call that waits for events.
const WAITS: [&str; 7] = [
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "select",
    "pselect6",
];
/// Pages that are touched.
const PAGES: u64 = 300;
/// More than a request costs that asks for nothing.
const HANDFUL: u64 = 16;

#[test]
#[ignore = "needs root"]
fn what_a_thread_does_after_it_waited_is_for_whom_it_answers_then() {
    require_root();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        let memtrace = Memtrace::attach(["--pid", &workload.pid().to_string(), "--format", "ndjson"]);
        for wait in WAITS {
            let answer = client
                .get(&format!("/wait/{wait}?pages={PAGES}"))
                .expect("an answer");
            let counted = Counted::of(&answer).total();
            assert!(
                (PAGES..PAGES + HANDFUL).contains(&counted),
                "{wait}: {counted} faults"
            );
        }
        // The same without waiting: what the probes would make of it if they did not see the call.
        client.get(&format!("/touch?pages={PAGES}")).expect("an answer");
        let run = memtrace.interrupt();
        let report = Report::of(run.assert_status(0));
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        let (touch, waits) = report.requests.split_last().expect("requests");
        run.assert(
            touch.faults.attribution.direct >= PAGES,
            format_args!("{mode:?}: it did not wait, and has {:?}", touch.faults),
        );
        run.assert(waits.len() == WAITS.len(), "not a request for each");
        for (request, wait) in waits.iter().zip(WAITS) {
            run.assert(request.path == format!("/wait/{wait}"), "other requests");
            let attribution = &request.faults.attribution;
            run.assert(
                attribution.direct < HANDFUL && attribution.causal.is_some_and(|n| n >= PAGES),
                format_args!("{mode:?}, {wait}: {:?}", request.faults),
            );
        }
    }
}

#[test]
#[ignore = "needs root and python3"]
fn what_a_waited_for_answer_costs_is_the_requests() {
    require_root();
    let behind = Server::shapes([""; 0]);
    let server = Server::shapes(["--upstream", &behind.port.to_string()]);
    let mut client = server.client();
    // Its code runs once before it is traced.
    let mut ask = |path: &str| assert_eq!(client.get(path).expect("an answer").status, 200, "{path}");
    ["/waits/200/0", "/blocks/200/0"].into_iter().for_each(&mut ask);
    let memtrace = Memtrace::attach(["--pid", &server.pid().to_string(), "--format", "ndjson"]);
    ["/waits/200/0", "/blocks/200/0", "/waits/200/1"]
        .into_iter()
        .for_each(&mut ask);
    let run = memtrace.interrupt();
    let report = Report::of(run.assert_status(0));
    run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
    let [first, blocks, last] = &report.requests[..] else {
        panic!("{} requests, not 3\n{run}", report.requests.len());
    };
    // Python takes a few of its own.
    let few = PAGES / 2;
    for (request, by_waiting) in [(first, true), (blocks, false), (last, true)] {
        let faults = &request.faults;
        let [direct, causal] = [faults.attribution.direct, faults.attribution.causal.unwrap_or(0)];
        let (is, other) = if by_waiting {
            (causal, direct)
        } else {
            (direct, causal)
        };
        run.assert(
            request
                .path
                .starts_with(if by_waiting { "/waits/" } else { "/blocks/" })
                && (PAGES..PAGES + few).contains(&is)
                && other < few,
            format_args!("{}: {faults:?}", request.path),
        );
    }
}
