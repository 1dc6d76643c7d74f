//! The two figures of a request that are about others too: all faults of its process while it was open, and the most
//! requests that were open meanwhile.

use std::time::Duration;

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};

/// More than a request costs that asks for nothing.
const HANDFUL: u64 = 16;

#[test]
#[ignore = "needs root"]
fn a_sleep_has_its_neighbours_faults_in_its_window() {
    require_root();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let (mut sleeper, mut neighbour) = (workload.client(), workload.client());
        let memtrace = Memtrace::attach(["--pid", &workload.pid().to_string(), "--format", "ndjson"]);
        // Alone, before and after.
        neighbour.get("/touch?pages=7").expect("an answer");
        sleeper
            .send(b"GET /sleep?ms=1000&pages=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("it works");
        std::thread::sleep(Duration::from_millis(200));
        neighbour.get("/touch?pages=500").expect("an answer");
        assert_eq!(sleeper.receive().expect("an answer").status, 200);
        neighbour.get("/touch?pages=7").expect("an answer");
        let run = memtrace.interrupt();
        let report = Report::of(run.assert_status(0));
        run.assert(report.check().is_ok(), format_args!("{:?}", report.check()));
        let [before, touch, sleep, after] = &report.requests[..] else {
            panic!("{} requests, not 4\n{run}", report.requests.len());
        };
        let end = |request: &Request| request.start_ns + request.duration_ns;
        run.assert(
            (&*touch.path, &*sleep.path) == ("/touch", "/sleep")
                && sleep.start_ns < touch.start_ns
                && end(touch) < end(sleep),
            format_args!("{mode:?}: one was not open within the other"),
        );
        let (s, t) = (&sleep.faults, &touch.faults);
        run.assert(
            s.total < HANDFUL && (500..500 + HANDFUL).contains(&t.total),
            format_args!("{mode:?}: {} and {} faults of their own", s.total, t.total),
        );
        // What each took itself beside is in both windows, and nobody took anything else.
        run.assert(
            (500..500 + 2 * HANDFUL).contains(&s.in_window)
                && t.in_window >= t.total
                && t.in_window <= s.in_window,
            format_args!("{mode:?}: {} and {} in their windows", s.in_window, t.in_window),
        );
        run.assert(
            (s.open_requests_max, t.open_requests_max) == (2, 2),
            format_args!(
                "{mode:?}: at most {} and {} open",
                s.open_requests_max, t.open_requests_max
            ),
        );
        for alone in [before, after] {
            let faults = &alone.faults;
            run.assert(
                faults.open_requests_max == 1 && (7..7 + HANDFUL).contains(&faults.in_window),
                format_args!("{mode:?}, alone: {faults:?}"),
            );
        }
    }
}
