//! The whole path against a simulated kernel: threads whose counters are known, and what the probes would say.

use memtrace_common::{
    FaultCount, Fd, Nanos, Tgid, Tid,
    decode::{Payload, Record},
    wire::{self, Exec, Fault, Fork, Header, Io, Mm, Segment, Segments},
};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::{Config, Directive, Outcome, Pipeline};
use crate::{
    event::{Event, Notice, Socket},
    ledger::{
        entry::{Lost, Request},
        route::Routing,
    },
    model::vma::PAGE,
};

mod lives;
mod marks;
mod memory;
mod payload;
mod regions;

const P: u32 = 100;

/// A kernel with one process, whose threads do as they are told.
///
/// All that it tells is told again to a second pipeline, with what may be kept of it: both have to say the same.
struct Kernel {
    pipeline: Pipeline,
    again: Option<Pipeline>,
    time: u64,
    counts: std::collections::BTreeMap<u32, FaultCount>,
    done: Vec<Request>,
}

impl Kernel {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let config = Config {
            keeps_payload: true,
            ..config
        };
        let mut kernel = Self {
            pipeline: Pipeline::new(config.clone()),
            again: Some(Pipeline::new(config)),
            time: 1_000,
            counts: std::collections::BTreeMap::new(),
            done: Vec::new(),
        };
        kernel.notice(Notice::Begin { time: Nanos(1_000) });
        kernel.notice(Notice::Process {
            tgid: Tgid(P),
            comm: "app".into(),
            brk: Some(0x1000),
            io_uring: false,
        });
        kernel
    }

    fn notice(&mut self, notice: Notice) {
        self.feed(Event::Notice(notice));
    }

    fn thread(&mut self, tid: u32, count: FaultCount) {
        self.counts.insert(tid, count);
        self.notice(Notice::Thread {
            tgid: Tgid(P),
            tid: Tid(tid),
            count,
            sp: None,
            comm: String::new(),
        });
    }

    fn lost(&mut self, lost: Lost) {
        self.notice(Notice::Lost {
            lost,
            since: Nanos(0),
            until: Nanos(0),
        });
    }

    fn header(&mut self, tid: u32, kind: u8) -> Header {
        self.time += 10;
        let count = self.counts.get(&tid).copied().unwrap_or_default();
        Header {
            time_ns: self.time,
            tgid: P,
            tid,
            min_flt: count.minor,
            maj_flt: count.major,
            kind,
            ..Header::default()
        }
    }

    fn record(&mut self, record: Record<'_>) {
        self.feed(Event::Record(record));
        self.take_done();
    }

    fn feed(&mut self, event: Event<'_>) {
        self.pipeline.feed(event.clone());
        let kept = self.pipeline.payload_to_keep();
        let Some(again) = &mut self.again else { return };
        again.feed(match event {
            Event::Record(Record::Io(io, payload)) => {
                let payload = payload.with_captured(kept).expect("as many bytes");
                Event::Record(Record::Io(io, payload))
            }
            other => other,
        });
        assert_eq!(again.payload_to_keep(), kept);
    }

    fn take_done(&mut self) {
        let done = self.pipeline.take_done();
        if let Some(again) = &mut self.again {
            assert_eq!(again.take_done(), done);
        }
        self.done.extend(done);
    }

    fn take_directives(&mut self) -> Vec<Directive> {
        let directives = self.pipeline.take_directives();
        if let Some(again) = &mut self.again {
            assert_eq!(again.take_directives(), directives);
        }
        directives
    }

    fn attempt(&mut self, tid: u32, flags: u8) {
        self.attempt_at(tid, flags, 0x7000);
    }

    fn attempt_at(&mut self, tid: u32, flags: u8, address: u64) {
        let header = Header {
            flags,
            ..self.header(tid, wire::KIND_FAULT)
        };
        self.record(Record::Fault(Fault {
            header,
            address,
            ip: 0x4000,
        }));
    }

    fn call(&mut self, tid: u32, op: u8, ret: i64, args: [u64; 6]) {
        let header = Header {
            op,
            ..self.header(tid, wire::KIND_MM)
        };
        self.record(Record::Mm(Mm {
            header,
            began_ns: header.time_ns,
            ret,
            args,
            inode: 0,
            device: 0,
            magic: 0,
        }));
    }

    fn count(&mut self, tid: u32) -> &mut FaultCount {
        self.counts.entry(tid).or_default()
    }

    fn minor(&mut self, tid: u32, flags: u8) {
        self.attempt(tid, flags);
        self.count(tid).minor += 1;
    }

    fn major(&mut self, tid: u32) {
        self.attempt(tid, wire::FAULT_KERNEL);
        self.count(tid).major += 1;
    }

    fn wait(&mut self, tid: u32) {
        let header = self.header(tid, wire::KIND_WAIT);
        self.record(Record::Wait(header));
    }

    fn io(&mut self, tid: u32, op: u8, fd: i32, ret: i64) {
        let header = Header {
            op,
            fd,
            ..self.header(tid, wire::KIND_IO)
        };
        let io = Io {
            header,
            ret,
            other: 0,
        };
        self.record(Record::Io(io, Payload::unseen(u64::try_from(ret).unwrap_or(0))));
    }

    fn bytes(&mut self, tid: u32, op: u8, fd: i32, bytes: &[u8]) {
        let header = Header {
            op,
            fd,
            flags: wire::IO_PAYLOAD,
            ..self.header(tid, wire::KIND_IO)
        };
        let len = u16::try_from(bytes.len()).unwrap();
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: len.into(),
            head: len,
            tail: 0,
        };
        let io = Io {
            header,
            ret: len.into(),
            other: 0,
        };
        let raw = [io.as_bytes(), segments.as_bytes(), bytes].concat();
        self.record(Record::decode(&raw).unwrap());
    }

    fn accept(&mut self, tid: u32, fd: i32) {
        self.io(tid, wire::OP_ACCEPT, 3, fd.into());
    }

    fn request(&mut self, tid: u32, fd: i32, path: &str) {
        self.bytes(
            tid,
            wire::OP_READ,
            fd,
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
        );
    }

    fn respond(&mut self, tid: u32, fd: i32) {
        self.bytes(
            tid,
            wire::OP_WRITE,
            fd,
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        );
    }

    /// Ends the run: horizons are what the counters are now.
    fn finish(mut self) -> (Vec<Request>, Outcome) {
        for (tid, count) in std::mem::take(&mut self.counts) {
            self.notice(Notice::Horizon { tid: Tid(tid), count });
        }
        let time = Nanos(self.time);
        self.notice(Notice::Ending { time });
        self.take_directives();
        let outcome = self.pipeline.finish();
        if let Some(again) = self.again {
            assert_eq!(again.finish(), outcome);
        }
        self.done.extend(outcome.requests.iter().cloned());
        (self.done, outcome)
    }
}

#[test]
fn faults_are_on_the_request_that_the_thread_read() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount { minor: 500, major: 7 });
    k.wait(1);
    k.minor(1, 0);
    k.accept(1, 5);
    k.request(1, 5, "/a?secret=1");
    for _ in 0..3 {
        k.minor(1, 0);
    }
    k.minor(1, wire::FAULT_KERNEL);
    k.major(1);
    k.respond(1, 5);
    k.minor(1, 0);
    k.wait(1);
    let (requests, outcome) = k.finish();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        (request.path.as_str(), request.status, request.complete),
        ("/a", Some(200), true)
    );
    let faults = &request.faults;
    assert_eq!((faults.total, faults.minor, faults.major), (5, 4, 1));
    assert_eq!((faults.user_mode, faults.kernel_mode), (3, 2));
    assert_eq!((faults.in_window, faults.open_requests_max), (5, 1));
    assert_eq!(outcome.unattributed, [("idle".to_owned(), 2)].into());
    assert_eq!(
        (outcome.books.kernel_min_flt, outcome.books.kernel_maj_flt),
        (6, 1)
    );
    assert!(outcome.books.balanced);
}

#[test]
fn failed_and_unseen_faults_are_told_apart() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/");
    k.attempt(1, wire::FAULT_KERNEL);
    k.minor(1, wire::FAULT_KERNEL);
    k.count(1).minor += 64;
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!(requests[0].faults.total, 1);
    assert_eq!(requests[0].faults.in_window, 1);
    assert_eq!(
        (
            outcome.books.failed,
            outcome.books.untraced,
            outcome.books.dropped
        ),
        (1, 64, 0)
    );
    assert!(outcome.books.balanced);
}

#[test]
fn what_was_dropped_is_not_called_untraced() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.wait(1);
    k.count(1).minor += 10;
    k.wait(1);
    k.lost(Lost {
        fault: 8,
        ns: 5,
        ..Lost::default()
    });
    let (_, outcome) = k.finish();
    assert_eq!(
        (
            outcome.books.dropped,
            outcome.books.untraced,
            outcome.books.failed
        ),
        (8, 2, 0)
    );
    assert!(outcome.books.balanced);
}

#[test]
fn pipelined_requests_each_have_their_own() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.bytes(
        1,
        wire::OP_READ,
        5,
        b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n",
    );
    for n in 1..=3 {
        for _ in 0..n {
            k.minor(1, 0);
        }
        k.respond(1, 5);
    }
    let (requests, _) = k.finish();
    let totals: Vec<_> = requests
        .iter()
        .map(|r| (r.path.as_str(), r.faults.total, r.faults.in_window))
        .collect();
    assert_eq!(totals, [("/1", 1, 1), ("/2", 2, 3), ("/3", 3, 6)]);
}

#[test]
fn a_thread_that_turns_to_another_answer_is_nobodys() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.accept(1, 6);
    k.request(1, 5, "/slow");
    k.wait(1);
    k.request(1, 6, "/fast");
    k.bytes(
        1,
        wire::OP_WRITE,
        5,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfive",
    );
    k.minor(1, 0);
    k.respond(1, 6);
    let (requests, outcome) = k.finish();
    assert!(requests.iter().all(|r| r.faults.total == 0));
    assert_eq!(outcome.unattributed, [("ambiguous".to_owned(), 1)].into());
    assert_eq!(
        requests.iter().find(|r| r.path == "/slow").map(|r| r.complete),
        Some(false)
    );
}

#[test]
fn an_upstreams_answer_is_said_to_be_one() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/saju");
    k.io(1, wire::OP_CONNECT, 6, -115);
    k.wait(1);
    k.io(1, wire::OP_WRITE, 6, 100);
    k.wait(1);
    k.io(1, wire::OP_READ, 6, 600_000);
    k.minor(1, 0);
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!((requests[0].faults.total, requests[0].faults.in_window), (0, 1));
    assert_eq!(outcome.unattributed, [("upstream".to_owned(), 1)].into());
}

#[test]
fn a_request_in_flight_when_tracing_begins_is_not_reported() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.notice(Notice::Seeded {
        tgid: Tgid(P),
        time: Nanos(2_000),
    });
    k.notice(Notice::Socket {
        tgid: Tgid(P),
        fd: Fd(5),
        socket: Socket::Inbound { port: Some(80) },
    });
    k.request(1, 5, "/early");
    k.time = 3_000;
    k.minor(1, 0);
    k.respond(1, 5);
    k.request(1, 5, "/whole");
    k.minor(1, 0);
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!(
        requests.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(),
        ["/whole"]
    );
    assert_eq!(
        outcome.unattributed,
        [("in_flight_at_start".to_owned(), 1)].into()
    );
}

#[test]
fn what_ends_after_the_horizon_is_cut() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/");
    k.minor(1, 0);
    k.notice(Notice::Horizon {
        tid: Tid(1),
        count: FaultCount { minor: 1, major: 0 },
    });
    let time = Nanos(k.time);
    k.notice(Notice::Ending { time });
    k.minor(1, 0);
    k.respond(1, 5);
    let outcome = k.pipeline.finish();
    assert_eq!(outcome.requests.len(), 1);
    assert!(!outcome.requests[0].complete);
    assert_eq!(outcome.requests[0].faults.total, 1);
    assert_eq!(outcome.books.observed, 1);
    assert!(outcome.books.balanced);
}

#[test]
fn requests_of_other_ports_are_counted_only() {
    let mut k = Kernel::with(Config {
        port: Some(80),
        ..Config::default()
    });
    k.thread(1, FaultCount::default());
    for (listener, port) in [(3, 80), (4, 81)] {
        let socket = Socket::Listener { port: Some(port) };
        k.notice(Notice::Socket {
            tgid: Tgid(P),
            fd: Fd(listener),
            socket,
        });
    }
    for listener in [4, 3, 3] {
        k.io(1, wire::OP_ACCEPT, listener, 9);
        k.request(1, 9, "/");
        k.minor(1, 0);
        k.respond(1, 9);
        k.io(1, wire::OP_CLOSE, 9, 0);
    }
    let (requests, outcome) = k.finish();
    assert_eq!((requests.len(), outcome.listed, outcome.others), (2, 2, 1));
    assert_eq!(outcome.books.direct, 3, "their faults are theirs all the same");
}

#[test]
fn a_run_whose_faults_fire_no_probe_says_so() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.minor(1, 0);
    k.count(1).minor += 2;
    k.wait(1);
    let (_, outcome) = k.finish();
    let said = |notes: &[String]| notes.iter().any(|note| note.contains("fired no probe"));
    assert!(said(&outcome.notes), "{:?}", outcome.notes);
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.minor(1, 0);
    k.count(1).minor += 1;
    k.wait(1);
    let (_, outcome) = k.finish();
    assert_eq!(outcome.books.untraced, 1);
    assert!(!said(&outcome.notes), "{:?}", outcome.notes);
}

#[test]
fn a_forked_child_serves_the_connection_that_its_parent_accepted() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    let header = k.header(1, wire::KIND_FORK);
    k.record(Record::Fork(Fork {
        header,
        child_tgid: 200,
        child_tid: 200,
        child_sp: 0,
    }));
    k.io(1, wire::OP_CLOSE, 5, 0);
    let child = |k: &mut Kernel, op, bytes: &[u8]| {
        let mut header = k.header(200, wire::KIND_IO);
        header.tgid = 200;
        header.op = op;
        header.fd = 5;
        header.flags = wire::IO_PAYLOAD;
        let len = u16::try_from(bytes.len()).unwrap();
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: len.into(),
            head: len,
            tail: 0,
        };
        let io = Io {
            header,
            ret: len.into(),
            other: 0,
        };
        let raw = [io.as_bytes(), segments.as_bytes(), bytes].concat();
        k.record(Record::decode(&raw).unwrap());
    };
    child(&mut k, wire::OP_READ, b"GET /child HTTP/1.1\r\n\r\n");
    child(&mut k, wire::OP_WRITE, b"HTTP/1.1 204 No Content\r\n\r\n");
    let (requests, _) = k.finish();
    assert_eq!(
        (requests[0].pid, requests[0].path.as_str(), requests[0].complete),
        (200, "/child", true)
    );
}

#[test]
fn a_killed_server_leaves_its_request_incomplete() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.accept(P, 5);
    k.request(P, 5, "/last");
    k.minor(P, 0);
    for kind in [wire::KIND_EXIT, wire::KIND_FREE] {
        let header = k.header(P, kind);
        k.record(if kind == wire::KIND_EXIT {
            Record::Exit(header)
        } else {
            Record::Free(header)
        });
    }
    k.counts.clear();
    let (requests, outcome) = k.finish();
    assert_eq!(
        (requests[0].complete, requests[0].status, requests[0].faults.total),
        (false, None, 1)
    );
    assert!(outcome.books.balanced);
    assert_eq!(outcome.books.kernel_min_flt, 1);
}

#[test]
fn exec_closes_what_nobody_says_is_still_open() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.accept(P, 5);
    k.accept(P, 6);
    k.request(P, 5, "/cut");
    let header = k.header(P, wire::KIND_EXEC);
    k.record(Record::Exec(Exec {
        header,
        old_tid: P,
        pad: 0,
        comm: [0; 16],
    }));
    k.notice(Notice::Socket {
        tgid: Tgid(P),
        fd: Fd(6),
        socket: Socket::Inbound { port: None },
    });
    k.request(P, 6, "/kept");
    k.respond(P, 6);
    k.request(P, 5, "/a file that has this number now");
    let directives = k.take_directives();
    assert!(matches!(directives[..], [Directive::Ignore(Tgid(P), Fd(5), _)]));
    let (requests, _) = k.finish();
    let paths: Vec<_> = requests.iter().map(|r| (r.path.as_str(), r.complete)).collect();
    assert_eq!(paths, [("/cut", false), ("/kept", true)]);
}

#[test]
fn address_space_calls_are_on_the_request_and_failures_are_not() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/");
    let mut call = |op: u8, ret: i64, args: [u64; 6]| k.call(1, op, ret, args);
    call(wire::MM_MMAP, 0x7f00_0000_0000, [0, 5000, 3, 0x22, u64::MAX, 0]);
    call(wire::MM_MMAP, -12, [0, 5000, 3, 0x22, u64::MAX, 0]);
    call(wire::MM_MUNMAP, 0, [0x7f00_0000_0000, 4096, 0, 0, 0, 0]);
    call(wire::MM_BRK, 0x3000, [0x3000, 0, 0, 0, 0, 0]);
    call(wire::MM_BRK, 0x3000, [0, 0, 0, 0, 0, 0]);
    call(wire::MM_BRK, 0x3000, [0x9999_0000, 0, 0, 0, 0, 0]);
    call(wire::MM_BRK, 0x2000, [0x2000, 0, 0, 0, 0, 0]);
    call(wire::MM_MADVISE, 0, [0; 6]);
    k.respond(1, 5);
    let (requests, _) = k.finish();
    let space = requests[0].space;
    assert_eq!((space.mmap_calls, space.mmap_bytes), (1, 8192));
    assert_eq!((space.munmap_calls, space.munmap_bytes), (1, 4096));
    assert_eq!(
        (space.brk_calls, space.brk_bytes),
        (2, 0x2000),
        "up from 0x1000, then down"
    );
    assert_eq!(
        (space.madvise_calls, space.mremap_calls, space.mprotect_calls),
        (1, 0, 0)
    );
}

#[test]
fn a_connection_that_is_no_http_is_left_alone() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.bytes(
        1,
        wire::OP_READ,
        5,
        &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03],
    );
    let directives = k.take_directives();
    assert!(matches!(directives[..], [Directive::Ignore(Tgid(P), Fd(5), _)]));
    let (requests, outcome) = k.finish();
    assert!(requests.is_empty());
    assert!(
        outcome.notes.iter().any(|n| n.contains("TLS")),
        "{:?}",
        outcome.notes
    );
}

/// What a thread of the simulated server does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(u8),
    Request(u8),
    Respond(u8),
    Close(u8),
    Wait,
    Minor(bool),
    Major,
    Fail,
    /// At this page, with these `FAULT_` bits.
    At(u8, u8),
    /// These pages, with this protection and these flags.
    Map(u8, u8, u8, u8),
    Unmap(u8, u8),
    Unseen(u8),
}

fn address(page: u8) -> u64 {
    0x7000_0000 + u64::from(page) * PAGE
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6).prop_map(Step::Accept),
        (0_u8..6).prop_map(Step::Request),
        (0_u8..6).prop_map(Step::Respond),
        (0_u8..6).prop_map(Step::Close),
        Just(Step::Wait),
        any::<bool>().prop_map(Step::Minor),
        Just(Step::Major),
        Just(Step::Fail),
        (0_u8..16, 0_u8..16).prop_map(|(page, flags)| Step::At(page, flags)),
        (
            0_u8..16,
            1_u8..8,
            0_u8..8,
            prop::sample::select(vec![0x21, 0x22, 1, 2])
        )
            .prop_map(|(page, pages, prot, flags)| Step::Map(page, pages, prot, flags)),
        (0_u8..16, 1_u8..8).prop_map(|(page, pages)| Step::Unmap(page, pages)),
        (1_u8..9).prop_map(Step::Unseen),
    ]
}

proptest! {
    /// Whatever threads do in whatever order, and whatever is lost: each request's parts add up, and so do the books.
    #[test]
    fn books_balance_for_any_stream(
        steps in proptest::collection::vec((1_u32..4, step(), prop::bool::weighted(0.1)), 0..300),
        bases in proptest::collection::vec(0_u64..1_000, 3),
        lossy in any::<bool>(),
    ) {
        let mut k = Kernel::new();
        for (tid, base) in (1..).zip(bases) {
            k.thread(tid, FaultCount { minor: base, major: base / 7 });
        }
        let mut lost = Lost::default();
        for (tid, step, lose) in steps {
            let lose = lose && lossy;
            match step {
                Step::Accept(c) => k.accept(tid, 10 + i32::from(c)),
                Step::Request(c) => k.request(tid, 10 + i32::from(c), "/x"),
                Step::Respond(c) => k.respond(tid, 10 + i32::from(c)),
                Step::Close(c) => k.io(tid, wire::OP_CLOSE, 10 + i32::from(c), 0),
                Step::Wait => k.wait(tid),
                Step::Minor(_) if lose => {
                    k.count(tid).minor += 1;
                    lost.fault += 1;
                }
                Step::Minor(kernel) => k.minor(tid, u8::from(kernel)),
                Step::Major => k.major(tid),
                Step::Fail if lose => lost.fault += 1,
                Step::Fail => k.attempt(tid, 0),
                Step::At(page, flags) => {
                    k.attempt_at(tid, flags, address(page));
                    k.count(tid).minor += 1;
                }
                Step::Map(page, pages, prot, flags) => {
                    let at = address(page).cast_signed();
                    let args = [0, u64::from(pages) * PAGE, prot.into(), flags.into(), 3, 0];
                    k.call(tid, wire::MM_MMAP, at, args);
                }
                Step::Unmap(page, pages) => {
                    let args = [address(page), u64::from(pages) * PAGE, 0, 0, 0, 0];
                    k.call(tid, wire::MM_MUNMAP, 0, args);
                }
                Step::Unseen(n) => k.count(tid).minor += u64::from(n),
            }
        }
        k.lost(lost);
        let (requests, outcome) = k.finish();
        for r in &requests {
            let f = &r.faults;
            prop_assert_eq!(f.total, f.minor + f.major);
            prop_assert_eq!(f.total, f.user_mode + f.kernel_mode);
            prop_assert_eq!(f.total, f.attribution.direct);
            prop_assert_eq!(Some(f.total), f.cause.as_ref().map(|c| c.values().sum()));
            prop_assert_eq!(Some(f.total), f.region.as_ref().map(|r| r.values().sum()));
            prop_assert!(f.total <= f.in_window, "{:?}", f);
            prop_assert!(f.open_requests_max >= 1);
        }
        let b = outcome.books;
        prop_assert!(b.balanced, "{:?}", b);
        prop_assert_eq!(b.kernel_min_flt + b.kernel_maj_flt, b.observed + b.dropped + b.untraced);
        prop_assert_eq!(b.direct, requests.iter().map(|r| r.faults.total).sum::<u64>());
        prop_assert_eq!(b.unattributed, outcome.unattributed.values().sum::<u64>());
        prop_assert_eq!(b.observed, outcome.cause.values().sum::<u64>());
        prop_assert_eq!(b.observed, outcome.region.values().sum::<u64>());
        prop_assert_eq!(outcome.listed, requests.len() as u64);
    }
}
