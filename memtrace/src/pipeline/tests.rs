//! The whole path against a simulated kernel: which request a fault is on, and what is said where that cannot be known.

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

mod books;
mod connections;
mod kernel;
mod lives;
mod marks;
mod memory;
mod payload;
mod regions;

use kernel::Kernel;

const P: u32 = 100;

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
    k.minor(1, 0);
    k.bytes(
        1,
        wire::OP_WRITE,
        5,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfive",
    );
    k.minor(1, 0);
    k.respond(1, 6);
    let (requests, outcome) = k.finish();
    let totals: Vec<_> = requests
        .iter()
        .map(|r| {
            (
                r.path.as_str(),
                r.complete,
                r.faults.total,
                r.faults.attribution.causal,
            )
        })
        .collect();
    // What came after the one answer led up to the other.
    assert_eq!(
        totals,
        [("/fast", true, 1, Some(1)), ("/slow", false, 0, Some(0))]
    );
    assert_eq!(outcome.unattributed, [("ambiguous".to_owned(), 1)].into());
}

#[test]
fn an_upstreams_answer_is_for_the_request_that_it_was_asked_for() {
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
    let faults = &requests[0].faults;
    assert_eq!((faults.total, faults.in_window), (1, 1));
    assert_eq!(
        (faults.attribution.direct, faults.attribution.causal),
        (0, Some(1))
    );
    assert_eq!((outcome.books.causal, outcome.books.unattributed), (Some(1), 0));
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
    k.fork(1, 200, 200, 0);
    k.io(1, wire::OP_CLOSE, 5, 0);
    k.bytes_in(200, 200, wire::OP_READ, 5, b"GET /child HTTP/1.1\r\n\r\n");
    k.bytes_in(200, 200, wire::OP_WRITE, 5, b"HTTP/1.1 204 No Content\r\n\r\n");
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
