//! Connections that go from one process or thread to another: by fork, over a Unix socket, by a listener that several
//! have, by a number that is used again at once. Whoever answers, the request has its own pages.

use std::collections::BTreeSet;
use std::thread;

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::{Finished, Stream};
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, app, installed};
use memtrace_tests::workload::{Mode, Workload};
use serde_json::Value;

/// More than a request costs that asks for nothing.
const HANDFUL: u64 = 16;

/// What a request on this route has asked for: the number behind it.
fn pages(route: &str, request: &Request) -> Option<u64> {
    request.path.strip_prefix(route)?.split('/').next()?.parse().ok()
}

/// Fresh pages that are for a request, whatever else its server took for it: a child that has just been forked copies
/// what it writes to.
fn fresh(request: &Request) -> u64 {
    let cause = request.faults.cause.as_ref().expect("this kernel says it");
    cause.get("zero_fill").copied().unwrap_or(0)
}

/// Requests that were asked for with so many pages each, and no others, are listed and whole.
#[track_caller]
fn assert_listed(route: &str, mut asked: Vec<u64>, report: &Report, run: &Finished) {
    let whole = |r: &&Request| r.complete && r.status == Some(200);
    let mut listed: Vec<u64> = report
        .requests
        .iter()
        .filter(whole)
        .filter_map(|request| pages(route, request))
        .collect();
    listed.sort_unstable();
    asked.sort_unstable();
    run.assert(
        listed == asked && report.requests.len() == asked.len(),
        format_args!(
            "{} are listed, {} of them as asked for",
            report.requests.len(),
            listed.len()
        ),
    );
}

fn attach(pids: &[u32]) -> Memtrace {
    let targets = pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]);
    Memtrace::attach(
        ["--format", "ndjson", "--query"]
            .map(str::to_owned)
            .into_iter()
            .chain(targets),
    )
}

/// Asks `apps/shapes/server.py` for pages, on connections of one and of several requests.
#[track_caller]
fn assert_exact_in_python(server: &Server, targets: &[u32]) -> Report {
    require_root();
    let memtrace = attach(targets);
    let mut asked = Vec::new();
    for _ in 0..10 {
        let mut client = server.client();
        for _ in 0..=asked.len() % 3 {
            let pages = 100 * (asked.len() as u64 + 1);
            let answer = client.get(&format!("/touch-{pages}/200/0")).expect("an answer");
            assert_eq!(answer.status, 200);
            asked.push(pages);
        }
    }
    let run = memtrace.interrupt();
    let report = Report::of_whole(&run);
    assert_listed("/touch-", asked, &report, &run);
    for request in &report.requests {
        let pages = pages("/touch-", request).expect("as asked for");
        run.assert(
            (pages..pages + HANDFUL).contains(&fresh(request)),
            format_args!("{request:?}"),
        );
    }
    report
}

#[test]
#[ignore = "needs root and python3"]
fn a_forked_childs_answer_has_its_own_pages() {
    let server = Server::shapes(["--serve", "fork"]);
    let report = assert_exact_in_python(&server, &[server.pid()]);
    let children: BTreeSet<u32> = report.requests.iter().map(|r| r.pid).collect();
    assert_eq!((children.len(), children.contains(&server.pid())), (10, false));
}

#[test]
#[ignore = "needs root and python3"]
fn whoever_is_passed_a_connection_has_its_pages() {
    for with_parent in [true, false] {
        let server = Server::shapes(["--serve", "pass"]);
        let line = server.running.wait_for_line(Stream::Stdout, "worker ");
        let worker: u32 = line.trim_start_matches("worker ").parse().expect("a number");
        let targets = [worker, server.pid()];
        let report = assert_exact_in_python(&server, &targets[..=usize::from(with_parent)]);
        assert!(report.requests.iter().all(|r| r.pid == worker));
    }
}

/// `apps/cluster/server.js`, whose code has run by the time that this returns, and the processes that serve.
#[track_caller]
fn cluster(way: &str) -> (Server, Vec<u32>) {
    let mut command = installed("node", "nodejs");
    command.arg(app("cluster/server.js"));
    command.envs([("WAY", way), ("PORT", "0"), ("MALLOC_MMAP_THRESHOLD_", "16384")]);
    let server = Server::start(&mut command);
    let lines = server.running.printed(Stream::Stdout);
    let workers = lines
        .lines()
        .filter_map(|line| line.strip_prefix("worker ")?.parse().ok())
        .collect();
    (server, workers)
}

/// More than Node takes of its own while it serves a request.
const FEW: u64 = 250;
/// What its requests ask for are multiples of this.
const STEP: u64 = 2 * FEW;

/// Pages that were asked for, and the process that answered.
type Answered = Vec<(u64, u32)>;

/// So many clients ask at the same time, each on a connection that it keeps, or on a new one for each request.
#[track_caller]
fn ask_all_at_once(port: u16, clients: usize, keep: bool) -> Answered {
    const REQUESTS: u64 = 60;
    let ask = move |number| {
        let mut client = Client::connect(port).expect("a connection");
        let mut answered = Vec::new();
        for n in (number..REQUESTS).step_by(clients) {
            if !keep {
                client = Client::connect(port).expect("a connection");
            }
            let pages = STEP * (n % 5);
            let answer = client.get(&format!("/touch/{pages}")).expect("an answer");
            let who: Value = serde_json::from_slice(&answer.body).expect("it says who");
            let pid = who["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            answered.push((pages, pid.expect("a process")));
        }
        answered
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..clients as u64)
            .map(|number| scope.spawn(move || ask(number)))
            .collect();
        let content = clients
            .into_iter()
            .map(|client| client.join().expect("it is content"));
        content.flatten().collect()
    })
}

/// Asks while all its processes are traced. Each request is listed, with the process that answered it.
#[track_caller]
fn traced_in_node(way: &str, clients: usize, keep: bool) -> (Finished, Report) {
    require_root();
    let (server, workers) = cluster(way);
    ask_all_at_once(server.port, clients, keep);
    let targets: Vec<u32> = workers.iter().copied().chain([server.pid()]).collect();
    let memtrace = attach(&targets);
    let mut answered = ask_all_at_once(server.port, clients, keep);
    let run = memtrace.interrupt();
    let report = Report::of_whole(&run);
    let asked = answered.iter().map(|(pages, _)| *pages).collect();
    assert_listed("/touch/", asked, &report, &run);
    let mut listed: Answered = report
        .requests
        .iter()
        .filter_map(|request| Some((pages("/touch/", request)?, request.pid)))
        .collect();
    listed.sort_unstable();
    answered.sort_unstable();
    run.assert(
        listed == answered,
        format_args!("not of these processes: {answered:?}"),
    );
    (run, report)
}

/// Whether a request has its own pages, and no more than a few beside.
fn is_exact(request: &Request) -> bool {
    let own = pages("/touch/", request);
    own.is_some_and(|pages| (pages..pages + FEW).contains(&request.faults.total))
}

#[test]
#[ignore = "needs root and node"]
fn each_worker_of_a_node_cluster_has_its_own_pages() {
    for way in ["passed", "shared"] {
        for keep in [true, false] {
            let (run, report) = traced_in_node(way, 4, keep);
            for request in &report.requests {
                run.assert(is_exact(request), format_args!("{way}: {request:?}"));
            }
        }
    }
}

#[test]
#[ignore = "needs root and node"]
fn most_of_what_nodes_worker_threads_do_is_for_who_asked() {
    for (clients, keep) in [(1, true), (1, false), (4, true)] {
        let (run, report) = traced_in_node("threads", clients, keep);
        // The first thread reads, and touches nothing.
        run.assert(
            report.requests.iter().all(|r| r.faults.attribution.direct < FEW),
            "what another thread does is not direct",
        );
        // A thread that finds its next job before it waits for one makes no call in between, and whoever would wake it
        // need not: then nothing says whose that job is, and it is nobody's.
        for request in &report.requests {
            let own = pages("/touch/", request).unwrap_or(0);
            run.assert(
                request.faults.total < own + FEW,
                format_args!("another's pages: {request:?}"),
            );
        }
        let exact = report.requests.iter().filter(|r| is_exact(r)).count();
        run.assert(
            clients > 1 || 2 * exact > report.requests.len(),
            format_args!("only {exact} have their own pages"),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn a_number_that_is_used_again_at_once_mixes_no_two_connections() {
    const CLIENTS: u64 = 8;
    const OF_EACH: u64 = 250;
    require_root();
    let workload = Workload::start(Mode::Few);
    let memtrace = attach(&[workload.pid()]);
    let mut asked = Vec::new();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let port = workload.port;
            let mine: Vec<u64> = (0..OF_EACH).map(|n| (client + CLIENTS * n) % 200).collect();
            asked.extend(&mine);
            scope.spawn(move || {
                for pages in mine {
                    let mut client = Client::connect(port).expect("a connection");
                    let request = format!("GET /touch?pages={pages} HTTP/1.1\r\nConnection: close\r\n\r\n");
                    client.send(request.as_bytes()).expect("it listens");
                    assert_eq!(client.receive().expect("an answer").status, 200);
                }
            });
        }
    });
    let run = memtrace.interrupt();
    let report = Report::of_whole(&run);
    assert_listed("/touch?pages=", asked, &report, &run);
    for request in &report.requests {
        let pages = pages("/touch?pages=", request).expect("as asked for");
        run.assert(
            (pages..pages + HANDFUL).contains(&request.faults.total),
            format_args!("{request:?}"),
        );
    }
}
