//! Very many of something that memtrace keeps for as long as it is there: descriptors, and requests that are open. Each
//! request has its own pages all the same, and memtrace's memory stays bounded.

use std::io::{self, Write as _};

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Counted, Mode, Workload};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than a request costs that asks for nothing.
const HANDFUL: u64 = 16;
/// What memtrace may have at most, in bytes. It has had 84 MiB in these runs.
const MEMORY: u64 = 256 << 20;

/// Memtrace at work on the whole server.
#[track_caller]
fn attach(workload: &Workload) -> Memtrace {
    let pid = workload.pid().to_string();
    Memtrace::attach(["--pid", &pid, "--format", "ndjson", "--query"])
}

/// Stops it. Its report adds up, and it had no more memory than it may.
#[track_caller]
fn stop(memtrace: Memtrace) -> (Finished, Report) {
    let peak = memtrace.peak_memory();
    let run = memtrace.interrupt();
    run.assert(peak < MEMORY, format_args!("{} MiB at its peak", peak >> 20));
    let report = Report::of_whole(&run);
    (run, report)
}

/// Asks for so many pages, which the server itself counts.
#[track_caller]
fn touch(client: &mut Client, pages: u64) {
    let answer = client.get(&format!("/touch?pages={pages}")).expect("an answer");
    assert!((pages..pages + HANDFUL).contains(&Counted::of(&answer).total()));
}

/// What the requests on this route asked for, each of which has that many faults and no more than a handful beside.
#[track_caller]
fn pages_of(route: &str, requests: &[Request], run: &Finished) -> Vec<u64> {
    let query = |request: &Request| {
        let query = request.path.strip_prefix(route)?.strip_prefix("?pages=")?;
        query.parse::<u64>().ok()
    };
    let asked = requests
        .iter()
        .filter_map(|request| Some((query(request)?, request)));
    let asked = asked.map(|(pages, request)| {
        let (total, is_whole) = (
            request.faults.total,
            request.complete && request.status == Some(200),
        );
        run.assert(
            is_whole && (pages..pages + HANDFUL).contains(&total),
            format_args!("{request:?}"),
        );
        pages
    });
    asked.collect()
}

/// May have so many descriptors at once, and so may whatever is started from now on; fewer where nobody may.
#[track_caller]
fn allow_descriptors(count: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(count);
    let limit = |current: u64| Rlimit {
        current: Some(current),
        maximum: Some(most.max(current)),
    };
    // What root may do is not what it may do in every container.
    if setrlimit(Resource::Nofile, limit(count)).is_ok() {
        return count;
    }
    setrlimit(Resource::Nofile, limit(most)).expect("anybody may do that");
    most
}

#[test]
#[ignore = "needs root"]
fn a_process_with_a_hundred_thousand_descriptors_is_exact() {
    /// Its own, and its clients'.
    const OTHERS: u64 = 1000;
    require_root();
    let allowed = allow_descriptors(100_000 + OTHERS);
    if allowed < 100_000 + OTHERS {
        // Past the harness, which keeps what a test that passes prints to itself.
        let why = format!("{allowed} descriptors at most: RLIMIT_NOFILE");
        writeln!(
            io::stderr(),
            "with fewer: a_process_with_a_hundred_thousand_descriptors_is_exact, {why}"
        )
        .expect("it works");
    }
    let descriptors = (allowed - OTHERS).to_string();
    for mode in Mode::ALL {
        let workload = Workload::start_with(mode, &["--descriptors", &descriptors]);
        let (mut early, mut other) = (workload.client(), workload.client());
        let memtrace = attach(&workload);
        let mut late = workload.client();
        let mut asked = Vec::new();
        let mut touch_each = || {
            for client in [&mut early, &mut late] {
                let pages = 2 * HANDFUL * (asked.len() as u64 + 1);
                touch(client, pages);
                asked.push(pages);
            }
        };
        let mut change = |target: &str| assert_eq!(other.get(target).expect("an answer").status, 200);
        touch_each();
        // None of them, then others under the same numbers.
        change(&format!("/close?n={descriptors}"));
        touch_each();
        change(&format!("/open?n={descriptors}"));
        touch_each();
        let (run, report) = stop(memtrace);
        let mut listed = pages_of("/touch", &report.requests, &run);
        listed.sort_unstable();
        assert_eq!(listed, asked, "{mode:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn ten_thousand_open_requests_are_exact() {
    const REQUESTS: usize = 10_000;
    /// So few connections wait to be accepted at any time.
    const AT_ONCE: usize = 100;
    require_root();
    allow_descriptors(REQUESTS as u64 + 1000);
    let workload = Workload::start_with(Mode::Loop, &["--slots", &(REQUESTS + 1).to_string()]);
    let mut control = workload.client();
    let memtrace = attach(&workload);
    let mut asked: Vec<u64> = (0..REQUESTS as u64).map(|number| 1 + number % 7).collect();
    let mut open: Vec<Client> = Vec::with_capacity(REQUESTS);
    for &pages in &asked {
        let mut client = Client::connect(workload.port).expect("a connection");
        // The server closes, so that it is no port of a client's that the kernel keeps back.
        let request = format!("GET /hold?pages={pages} HTTP/1.1\r\nConnection: close\r\n\r\n");
        client.send(request.as_bytes()).expect("it listens");
        open.push(client);
        if open.len().is_multiple_of(AT_ONCE) {
            assert_eq!(control.get("/none").expect("an answer").status, 200);
        }
    }
    let released = control.get(&format!("/release?n={REQUESTS}"));
    assert_eq!(released.expect("an answer").status, 200);
    for (client, &pages) in open.iter_mut().zip(&asked) {
        let counted = Counted::of(&client.receive().expect("an answer")).total();
        assert!(
            (pages..pages + HANDFUL).contains(&counted),
            "{counted} for {pages}"
        );
    }
    let (run, report) = stop(memtrace);
    let mut listed = pages_of("/hold", &report.requests, &run);
    listed.sort_unstable();
    asked.sort_unstable();
    assert_eq!(listed, asked);
    let held = || report.requests.iter().filter(|r| r.path.starts_with("/hold"));
    let most = held().map(|r| r.faults.open_requests_max).max();
    // Perhaps one of the others, too.
    let all = REQUESTS as u64;
    run.assert(
        most.is_some_and(|most| (all..=all + 1).contains(&most)),
        format_args!("{most:?} were open"),
    );
    let (total, sum) = (
        held().map(|r| r.faults.total).sum::<u64>(),
        asked.iter().sum::<u64>(),
    );
    run.assert(
        total < sum + HANDFUL,
        format_args!("{total} faults for {sum} pages"),
    );
}
