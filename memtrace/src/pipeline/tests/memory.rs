//! Page frames, resident memory and the time in faults: on the request that they were for.

use memtrace_common::wire::{FrameCount, Rss, Tally};

use super::*;
use crate::ledger::Work;

impl Kernel {
    fn tally(&mut self, tid: u32, user: u64, timed_faults: u64, fault_ns: u64) {
        let header = self.header(tid, wire::KIND_TALLY);
        let frames = FrameCount {
            user,
            page_table: 1,
            kernel: 2,
            freed: 7,
            huge: 0,
        };
        self.record(Record::Tally(Tally {
            header,
            frames,
            timed_faults,
            fault_ns,
        }));
    }

    fn resident(&mut self, tid: u32, anon: i64) {
        let header = self.header(tid, wire::KIND_RSS);
        self.record(Record::Rss(Rss {
            header,
            pages: [1, anon, 0, 0],
            error_pages: 0,
        }));
    }
}

fn timed() -> Kernel {
    Kernel::with(Config {
        fault_time: true,
        ..Config::default()
    })
}

#[test]
fn a_tally_is_for_whom_the_thread_worked() {
    let mut k = timed();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.tally(1, 100, 1, 10);
    k.request(1, 5, "/a");
    k.tally(1, 30, 3, 500);
    k.io(1, wire::OP_CONNECT, 6, 0);
    k.tally(1, 4, 1, 50);
    k.respond(1, 5);
    k.tally(1, 900, 1, 1_000);
    k.wait(1);
    k.notice(Notice::Untold {
        tid: Tid(1),
        work: Work {
            timed_faults: 2,
            ..Work::default()
        },
    });
    let (requests, outcome) = k.finish();
    let frames = requests[0].frames.as_ref().unwrap();
    assert_eq!(
        (
            frames.allocated,
            frames.user,
            frames.page_table,
            frames.kernel,
            frames.freed
        ),
        (40, 34, 2, 4, 14)
    );
    assert_eq!(requests[0].faults.time_ns, Some(550));
    assert_eq!(outcome.books.timed, Some(8), "all of them, whoever they were for");
}

#[test]
fn time_that_was_not_asked_for_is_not_known() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/a");
    k.respond(1, 5);
    let (requests, outcome) = k.finish();
    assert_eq!((requests[0].faults.time_ns, outcome.books.timed), (None, None));
    assert_eq!(requests[0].rss, None, "nobody said what was resident");
}

#[test]
fn resident_memory_is_of_the_first_read_and_the_last_write() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.resident(1, 10);
    k.bytes(
        1,
        wire::OP_READ,
        5,
        b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n",
    );
    k.resident(1, 11);
    k.bytes(1, wire::OP_READ, 5, b"body");
    k.resident(1, 14);
    k.bytes(
        1,
        wire::OP_WRITE,
        5,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    );
    k.resident(1, 13);
    k.bytes(1, wire::OP_WRITE, 5, b"ok");
    k.resident(1, 90);
    k.request(1, 5, "/b");
    let (requests, _) = k.finish();
    let rss = requests[0].rss.as_ref().unwrap();
    assert_eq!(
        (rss.start, rss.end, rss.anon_delta),
        (11 * 4096, 14 * 4096, 3 * 4096)
    );
    assert_eq!(requests[1].rss, None, "it was not answered");
}

#[test]
fn one_write_that_answers_several_is_the_last_of_each() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.resident(1, 10);
    k.bytes(
        1,
        wire::OP_READ,
        5,
        b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
    );
    k.resident(1, 12);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    k.bytes(1, wire::OP_WRITE, 5, &[&answer[..], answer].concat());
    let (requests, _) = k.finish();
    let deltas: Vec<_> = requests
        .iter()
        .map(|r| r.rss.as_ref().map(|rss| rss.delta))
        .collect();
    assert_eq!(deltas, [Some(2 * 4096), Some(2 * 4096)]);
}

#[test]
fn what_a_thread_did_for_a_request_that_another_answered_is_the_requests() {
    let mut k = timed();
    k.thread(1, FaultCount::default());
    k.thread(2, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/a");
    k.respond(2, 5);
    assert!(k.done.is_empty(), "its reader has not told yet");
    k.tally(1, 30, 3, 500);
    k.wait(1);
    assert_eq!(k.done.len(), 1);
    k.request(1, 5, "/b");
    k.respond(2, 5);
    k.wait(1);
    assert_eq!(k.done.len(), 2, "its reader had nothing to tell");
    k.request(1, 5, "/c");
    k.respond(2, 5);
    k.time += 250_000_000;
    k.wait(2);
    assert_eq!(k.done.len(), 3, "its reader has not told for too long");
    let frames: Vec<_> = k.done.iter().map(|r| r.frames.as_ref().map(|f| f.user)).collect();
    assert_eq!(frames, [Some(30), Some(0), Some(0)]);
}

#[test]
fn what_was_not_told_when_the_run_ended_is_of_what_is_open() {
    let mut k = timed();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/a");
    let work = Work {
        fault_ns: 70,
        ..Work::default()
    };
    k.notice(Notice::Untold { tid: Tid(1), work });
    let (requests, _) = k.finish();
    assert_eq!(requests[0].faults.time_ns, Some(70));
}
