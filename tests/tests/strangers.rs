//! Clients that send what is no request, or never becomes one. Whoever else asks meanwhile has exact figures, and the
//! report says what it could not read.

use memtrace_tests::client::Client;
use memtrace_tests::memtrace::Memtrace;
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request};
use memtrace_tests::require_root;
use memtrace_tests::server::Server;
use memtrace_tests::workload::{Mode, Workload};

/// More than a request costs that asks for nothing.
const HANDFUL: u64 = 16;

/// Requests that were asked for beside: so many pages each, and none as many as its neighbours.
#[derive(Default)]
struct Beside(Vec<u64>);

impl Beside {
    /// One more.
    #[track_caller]
    fn ask(&mut self, client: &mut Client) {
        let pages = 2 * HANDFUL * (self.0.len() as u64 % 50 + 1);
        let answer = client.get(&format!("/touch?pages={pages}")).expect("an answer");
        assert_eq!(answer.status, 200);
        self.0.push(pages);
    }

    /// Each is among these, in order and with its own pages. Returns the others.
    #[track_caller]
    fn assert_exact<'r>(&self, requests: &'r [Request], run: &Finished) -> Vec<&'r Request> {
        let (asked, others): (Vec<_>, Vec<_>) = requests.iter().partition(|r| r.path.starts_with("/touch?"));
        for (request, &pages) in asked.iter().zip(&self.0) {
            let is_whole = request.complete && request.status == Some(200);
            run.assert(
                is_whole
                    && request.path == format!("/touch?pages={pages}")
                    && (pages..pages + HANDFUL).contains(&request.faults.total),
                format_args!("{pages} pages: {request:?}"),
            );
        }
        run.assert(
            asked.len() == self.0.len(),
            format_args!("not {} requests", self.0.len()),
        );
        others
    }
}

#[track_caller]
fn attach(pid: u32) -> Memtrace {
    Memtrace::attach(["--pid", &pid.to_string(), "--format", "ndjson", "--query"])
}

/// A head, byte by byte, that never has an end.
struct Drip {
    client: Client,
    /// As far as it goes before it repeats its last byte.
    head: &'static [u8],
    sent: usize,
}

impl Drip {
    fn next(&mut self) {
        let byte = self.head.get(self.sent).or(self.head.last()).expect("a head");
        self.sent += 1;
        self.client
            .send(std::slice::from_ref(byte))
            .expect("it is patient");
    }
}

/// What they send, and of which method and path that is a request by then. The last byte is repeated: a method of so
/// many letters is none.
const HEADS: [(&str, Option<(&str, &str)>); 5] = [
    ("G", None),
    ("GET /nothing", Some(("GET", "/nothinggg"))),
    ("GET /never HTTP/1.1\r\nX-Never: x", Some(("GET", "/never"))),
    (
        "POST /never HTTP/1.1\r\nContent-Length: 10\r\nX: y",
        Some(("POST", "/never")),
    ),
    ("\r\n", None),
];

#[test]
#[ignore = "needs root"]
fn heads_that_never_end_disturb_nobody() {
    const OF_EACH: usize = 10;
    const BYTES: usize = 60;
    require_root();
    for mode in Mode::ALL {
        for leave in [false, true] {
            let workload = Workload::start(mode);
            let mut client = workload.client();
            let strangers = |count| {
                let heads = HEADS.iter().cycle().take(HEADS.len() * count);
                heads.map(|(head, _)| Drip {
                    client: workload.client(),
                    head: head.as_bytes(),
                    sent: 0,
                })
            };
            let mut drips: Vec<Drip> = strangers(OF_EACH / 2).collect();
            let memtrace = attach(workload.pid());
            drips.extend(strangers(OF_EACH / 2));
            let mut beside = Beside::default();
            for _ in 0..BYTES {
                drips.iter_mut().for_each(Drip::next);
                beside.ask(&mut client);
            }
            if leave {
                drips.clear();
                beside.ask(&mut client);
            }
            let run = memtrace.interrupt();
            let report = Report::of_whole(&run);
            let mut others = beside.assert_exact(&report.requests, &run);
            for (method, path) in HEADS.iter().filter_map(|(_, request)| *request) {
                let is_one = |r: &&Request| r.method == method && r.path.starts_with(path);
                let (these, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_one);
                others = rest;
                let unfinished = |r: &&Request| !r.complete && r.status.is_none() && r.faults.total < HANDFUL;
                run.assert(
                    these.len() == OF_EACH && these.iter().all(unfinished),
                    format_args!("{mode:?}: {method} {path}: {these:?}"),
                );
            }
            // What each that came late had asked before it.
            run.assert(
                others.iter().all(|r| r.path == "/none" && r.complete),
                format_args!("{mode:?}, beside: {others:?}"),
            );
        }
    }
}

/// A TLS client's hello, as far as it matters.
const TLS: &[u8] = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03abcdefghijklmnopqrstuvwxyz012345\x20";
/// An HTTP/2 client's preface and its first frame, SETTINGS (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Redis's protocol, both of its ways to ask.
const REDIS: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n";
const REDIS_INLINE: &[u8] = b"PING\r\n";
/// A client of `PostgreSQL`'s: may it use TLS? And its startup message.
const POSTGRES: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f\0\0\0\x13\0\x03\0\0user\0postgres\0\0";
/// Nobody's protocol.
const ZEROS: &[u8] = &[0; 64 * 1024];

/// Bytes of every value, without an order.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        // Numerical Recipes' generator, whose high bits are good enough.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What a report says of as many connections as there are `strange` bytes.
const NOTES: [&str; 3] = [
    "1 connection speaks TLS: what is in it is not seen",
    "1 connection speaks HTTP/2, which is not read yet",
    "14 connections speak something other than HTTP/1.x, and were left alone",
];

/// All of them.
fn strange() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [TLS, HTTP2, REDIS, REDIS_INLINE, POSTGRES, ZEROS]
        .map(<[u8]>::to_vec)
        .into();
    all.extend((1..=10).map(|seed| noise(seed, 100 * seed as usize)));
    all
}

#[test]
#[ignore = "needs root"]
fn other_protocols_that_are_refused_disturb_nobody() {
    require_root();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        // Half of them come on connections that were there.
        let mut early: Vec<Client> = strange().iter().map(|_| workload.client()).collect();
        let memtrace = attach(workload.pid());
        let mut beside = Beside::default();
        for (bytes, early) in strange().iter().zip(&mut early) {
            let mut late = Client::connect(workload.port).expect("a connection");
            for stranger in [early, &mut late] {
                // The server may be done with it before it has sent all.
                let _ = stranger.send(bytes);
                beside.ask(&mut client);
            }
        }
        let run = memtrace.interrupt();
        let report = Report::of_whole(&run);
        let others = beside.assert_exact(&report.requests, &run);
        run.assert(others.is_empty(), format_args!("{mode:?}, beside: {others:?}"));
        // Those that were there may have spoken something else before.
        run.assert(report.summary.notes == NOTES, "other notes");
    }
}

#[test]
#[ignore = "needs root and python3"]
fn other_protocols_that_are_spoken_disturb_nobody() {
    require_root();
    let strange = strange();
    let shapes = strange.iter().flat_map(|_| ["speak=echo", "speak=http"]);
    let server = Server::shapes(["--serve", "fork"].into_iter().chain(shapes));
    let memtrace = attach(server.pid());
    let mut open = Vec::new();
    let mut asked = Vec::new();
    for (number, bytes) in strange.iter().enumerate() {
        let mut stranger = Client::connect(server.port).expect("a connection");
        stranger.send(bytes).expect("it listens");
        let pages = 100 * (number as u64 + 1);
        let answer = server.client().get(&format!("/touch-{pages}/200/0"));
        assert_eq!(answer.expect("an answer").status, 200);
        asked.push(pages);
        stranger.send(bytes).expect("it listens");
        open.push(stranger);
    }
    let run = memtrace.interrupt();
    let report = Report::of_whole(&run);
    run.assert(report.requests.len() == asked.len(), "other requests");
    for (request, pages) in report.requests.iter().zip(asked) {
        // A child copies what it writes to, beside.
        let cause = request.faults.cause.as_ref().expect("this kernel says it");
        run.assert(
            request.complete
                && request.path == format!("/touch-{pages}/200/0")
                && (pages..pages + HANDFUL).contains(&cause["zero_fill"]),
            format_args!("{pages} pages: {request:?}"),
        );
    }
    run.assert(report.summary.notes == NOTES, "other notes");
}
