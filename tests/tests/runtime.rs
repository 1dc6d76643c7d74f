//! Node's own view of its memory, by `node/memtrace.mjs`, on the requests that memtrace traces.

use std::process::Command;
use std::thread;
use std::time::Duration;

use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request, RuntimeSize};
use memtrace_tests::require_root;
use memtrace_tests::server::{Server, app, installed};

const NAMES: [&str; 5] = ["arrayBuffers", "external", "heapTotal", "heapUsed", "rss"];
/// What Node itself reads of a request, and its collector may free of others.
const BESIDE: i64 = 128 << 10;

/// The app, with the preload or without it.
fn start(is_preloaded: bool) -> Server {
    let mut node = installed("node", "nodejs");
    if is_preloaded {
        node.arg("--import").arg(app("../../node/memtrace.mjs"));
    }
    Server::start(node.arg(app("runtime/server.js")))
}

fn attach(server: &Server) -> Memtrace {
    Memtrace::attach([
        "--pid",
        &server.pid().to_string(),
        "--format",
        "ndjson",
        "--query",
    ])
}

/// What is said of a request at both ends.
#[track_caller]
fn size(run: &Finished, request: &Request, name: &str) -> RuntimeSize {
    let runtime = request.runtime.as_ref();
    let size = runtime.and_then(|sizes| sizes.get(name));
    *size.unwrap_or_else(|| panic!("no {name} in {request:?}\n{run}"))
}

#[track_caller]
fn whole(run: &Finished) -> Report {
    let report = Report::of_whole(run);
    for request in &report.requests {
        let names: Vec<&str> = request
            .runtime
            .iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        run.assert(names == NAMES, format_args!("{request:?}"));
        for name in NAMES {
            let RuntimeSize { start, end, delta } = size(run, request, name);
            let is_whole = start.is_some() && end.is_some();
            let both = || end?.checked_sub(start?);
            run.assert(is_whole && delta == both(), format_args!("{name}: {request:?}"));
        }
    }
    run.assert(
        !report.summary.notes.iter().any(|note| note.contains("runtime")),
        "words were left out",
    );
    report
}

#[test]
#[ignore = "needs root and node"]
fn node_says_what_a_request_keeps() {
    require_root();
    let server = start(true);
    let mut client = server.client();
    client.get("/keep?bytes=1").expect("an answer");
    let memtrace = attach(&server);
    let sizes: [i64; 4] = [1 << 20, 3 << 20, 0, 8 << 20];
    for bytes in sizes {
        client.get(&format!("/keep?bytes={bytes}")).expect("an answer");
    }
    let run = memtrace.interrupt();
    let report = whole(&run);
    run.assert(report.requests.len() == sizes.len(), "not all requests");
    for (request, bytes) in report.requests.iter().zip(sizes) {
        let delta = size(&run, request, "arrayBuffers").delta.unwrap_or_default();
        run.assert(
            (delta - bytes).abs() <= BESIDE,
            format_args!("{bytes} bytes: {request:?}"),
        );
        // The buffer is filled, page by page.
        let faults = i64::try_from(request.faults.total).expect("few");
        run.assert(faults * 4096 >= bytes, format_args!("{bytes} bytes: {request:?}"));
        // Both look at the same counters of the kernel's.
        let rss = request.rss.as_ref().expect("it is known");
        let says = size(&run, request, "rss").end.unwrap_or_default();
        let off = (says - i64::try_from(rss.end).expect("it fits")).abs();
        run.assert(
            off <= 1 << 20,
            format_args!("rss is {off} bytes off: {request:?}"),
        );
    }
}

/// The connection says which request it is about, whoever else is on the way.
#[test]
#[ignore = "needs root and node"]
fn each_requests_words_are_its_own() {
    require_root();
    let server = start(true);
    let sizes: Vec<i64> = (1..=6).map(|mebibytes| mebibytes << 20).collect();
    let mut clients: Vec<_> = sizes.iter().map(|_| server.client()).collect();
    for client in &mut clients {
        client.get("/keep?bytes=1").expect("an answer");
    }
    let memtrace = attach(&server);
    thread::scope(|scope| {
        // The first that begins ends last.
        for (number, (client, bytes)) in (0..).zip(clients.iter_mut().zip(&sizes)) {
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(20 * number));
                let path = format!("/keep?bytes={bytes}&ms={}", 1000 - 150 * number);
                client.get(&path).expect("an answer");
            });
        }
    });
    let run = memtrace.interrupt();
    let report = whole(&run);
    run.assert(report.requests.len() == sizes.len(), "not all requests");
    let arrays = |request: &Request| size(&run, request, "arrayBuffers");
    let mut by_end: Vec<&Request> = report.requests.iter().collect();
    by_end.sort_by_key(|request| request.start_ns + request.duration_ns);
    // At the end of each there is what those before it keep, and its own.
    let first = arrays(by_end[0]).start.unwrap_or_default();
    let mut kept = first;
    for request in by_end {
        let bytes: i64 = request
            .path
            .split(['=', '&'])
            .nth(1)
            .and_then(|bytes| bytes.parse().ok())
            .expect("its size");
        kept += bytes;
        let end = arrays(request).end.unwrap_or_default();
        run.assert(
            (end - kept).abs() <= 2 * BESIDE,
            format_args!("{end}, not {kept}: {request:?}"),
        );
    }
}

#[test]
#[ignore = "needs root and node"]
fn where_it_is_not_loaded_nothing_is_said() {
    require_root();
    let server = start(false);
    let memtrace = attach(&server);
    server.client().get("/keep?bytes=1").expect("an answer");
    let run = memtrace.interrupt();
    let report = Report::of_whole(&run);
    run.assert(
        report.requests.iter().all(|request| request.runtime.is_none()),
        "it is",
    );
}

#[test]
#[ignore = "needs root and node"]
fn the_table_has_a_column_for_it_where_it_is_said() {
    require_root();
    for is_preloaded in [false, true] {
        let server = start(is_preloaded);
        let memtrace = Memtrace::attach(["--pid", &server.pid().to_string()]);
        server.client().get("/keep?bytes=1").expect("an answer");
        let run = memtrace.interrupt();
        run.assert_status(0);
        run.assert(run.stdout.contains("HEAP USED") == is_preloaded, "the column");
    }
}

/// Nobody traces, a client leaves, an answer comes in pieces: the app does as without it.
#[test]
#[ignore = "needs node"]
fn an_app_does_as_it_did() {
    for is_preloaded in [false, true] {
        let server = start(is_preloaded);
        let answer = server.client().get("/keep?bytes=100").expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "kept\n"));
        let mut leaves = server.client();
        leaves
            .send(b"GET /keep?bytes=1&ms=50 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("it listens");
        drop(leaves);
        thread::sleep(Duration::from_millis(100));
        let again = server.client().get("/keep?bytes=100").expect("an answer");
        assert_eq!(again.status, 200);
    }
    let script = "const h = require('http'); \
        const s = h.createServer((q, r) => { r.write('a'); setTimeout(() => { r.end('b'); r.end(); }, 20); }); \
        s.listen(0, () => h.get({ port: s.address().port }, (r) => { let t = ''; r.on('data', (d) => t += d); \
        r.on('end', () => { console.log(t); s.close(); }); }));";
    let mut node: Command = installed("node", "nodejs");
    let ran = node
        .arg("--import")
        .arg(app("../../node/memtrace.mjs"))
        .args(["-e", script])
        .output();
    let ran = ran.expect("node runs");
    assert_eq!(
        String::from_utf8_lossy(&ran.stdout),
        "ab\n",
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}
