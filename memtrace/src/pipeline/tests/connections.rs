//! Connections that are open when the run ends, and very many channels.

use super::*;
use crate::http;

#[test]
fn what_a_run_ends_in_the_middle_of_is_told_as_far_as_it_is_known() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    for (fd, bytes) in [
        (5, &b"GET /never HTTP/1.1\r\nX: y"[..]),
        (6, b"POST /half"),
        (7, b"GET"),
        (8, b"\0"),
    ] {
        k.accept(1, fd);
        k.bytes(1, wire::OP_READ, fd, bytes);
        k.minor(1, 0);
    }
    let (requests, outcome) = k.finish();
    let told: Vec<_> = requests
        .iter()
        .map(|r| (&*r.method, &*r.path, r.status, r.complete, r.faults.total))
        .collect();
    assert_eq!(
        told,
        [
            ("GET", "/never", None, false, 1),
            ("POST", "/half", None, false, 1)
        ]
    );
    // Perhaps they never were any.
    assert_eq!(outcome.unattributed, [("idle".to_owned(), 2)].into());
    assert!(outcome.books.balanced);
}

#[test]
fn requests_that_went_unlisted_are_told_of_though_their_connection_is_open() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    for _ in 0..=http::QUEUE_MAX {
        k.request(1, 5, "/");
    }
    let (_, outcome) = k.finish();
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.starts_with("1 pipelined request ")),
        "{:?}",
        outcome.notes
    );
}

/// A move through an eventfd.
fn eventfd(k: &mut Kernel, tid: u32, op: u8, fd: i32) {
    let header = Header {
        op,
        fd,
        flags: wire::IO_CHANNEL,
        ..k.header(tid, wire::KIND_IO)
    };
    let io = Io {
        header,
        ret: 8,
        other: 0,
    };
    k.record(Record::Io(io, Payload::unseen(0)));
}

/// A look through all of them at each close would take minutes.
#[test]
fn as_many_channels_as_a_process_can_have_come_and_go() {
    let mut k = Kernel::new();
    for tid in [1, 2] {
        k.thread(tid, FaultCount::default());
        k.wait(tid);
    }
    let find_all = |k: &mut Kernel| {
        for fd in 10..100_000_i32 {
            let way = Some(fd.unsigned_abs().into());
            k.notice(Notice::Channel {
                tgid: Tgid(P),
                fd: Fd(fd),
                reads: way,
                writes: way,
            });
        }
    };
    find_all(&mut k);
    k.accept(1, 5);
    k.request(1, 5, "/");
    for fd in [10, 11] {
        eventfd(&mut k, 1, wire::OP_WRITE, fd);
    }
    eventfd(&mut k, 2, wire::OP_READ, 10);
    k.minor(2, 0);
    for fd in 10..100_000 {
        k.io(1, wire::OP_CLOSE, fd, 0);
    }
    find_all(&mut k);
    // Of the same name, and another.
    eventfd(&mut k, 2, wire::OP_READ, 11);
    k.minor(2, 0);
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!(requests[0].faults.total, 1);
    assert_eq!(outcome.unattributed, [("idle".to_owned(), 1)].into());
}
