//! Windows that programs open and close themselves.

use super::*;
use crate::ledger::entry::RuntimeSize;

impl Kernel {
    fn mark(&mut self, tid: u32, text: &str) {
        let shown = &text[..text.len().min(wire::MARK_MAX)];
        let header = Header {
            op: wire::OP_MARK,
            fd: 1,
            flags: wire::IO_PAYLOAD,
            ..self.header(tid, wire::KIND_IO)
        };
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: u32::try_from(text.len()).unwrap(),
            head: u16::try_from(shown.len()).unwrap(),
            tail: 0,
        };
        let io = Io {
            header,
            ret: i64::try_from(text.len()).unwrap(),
            other: 0,
        };
        let raw = [io.as_bytes(), segments.as_bytes(), shown.as_bytes()].concat();
        self.record(Record::decode(&raw).unwrap());
    }

    fn faults(&mut self, tid: u32, count: usize) {
        for _ in 0..count {
            self.minor(tid, 0);
        }
    }
}

fn totals(requests: &[Request]) -> Vec<(&str, &str, u64, bool)> {
    let mut totals: Vec<_> = requests
        .iter()
        .map(|r| (r.id, (&*r.method, &*r.path, r.faults.total, r.complete)))
        .collect();
    totals.sort_unstable();
    totals.into_iter().map(|(_, total)| total).collect()
}

#[test]
fn a_window_is_traced_as_a_request_is() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.faults(1, 2);
    k.mark(1, "memtrace:begin job 7");
    k.faults(1, 5);
    k.mark(1, "memtrace:value heapUsed 10\nmemtrace:value heapUsed 12");
    k.mark(1, "memtrace:end 7");
    k.faults(1, 3);
    let (requests, outcome) = k.finish();
    assert_eq!(totals(&requests), [("MARK", "job", 5, true)]);
    assert_eq!(requests[0].values, Some([("heapUsed".to_owned(), 12)].into()));
    assert_eq!((outcome.books.direct, outcome.books.unattributed), (5, 5));
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
}

#[test]
fn of_two_windows_and_a_request_the_innermost_has_the_fault() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k.request(1, 5, "/");
    k.faults(1, 1);
    k.mark(1, "memtrace:begin outer a");
    k.faults(1, 2);
    k.mark(1, "memtrace:begin inner b");
    k.faults(1, 3);
    k.mark(1, "memtrace:end b");
    k.faults(1, 4);
    k.mark(1, "memtrace:end a");
    k.faults(1, 5);
    k.respond(1, 5);
    let (requests, _) = k.finish();
    assert_eq!(
        totals(&requests),
        [
            ("GET", "/", 6, true),
            ("MARK", "outer", 6, true),
            ("MARK", "inner", 3, true)
        ]
    );
}

#[test]
fn a_window_that_is_never_closed_ends_with_its_process() {
    let mut k = Kernel::new();
    k.thread(P, FaultCount::default());
    k.mark(P, "memtrace:begin job 1");
    k.faults(P, 2);
    k.mark(P, "memtrace:begin job 1");
    k.faults(P, 3);
    let header = k.header(P, wire::KIND_FREE);
    k.record(Record::Free(header));
    assert_eq!(
        totals(&k.done),
        [("MARK", "job", 2, false), ("MARK", "job", 3, false)]
    );
}

#[test]
fn markers_that_are_none_are_counted_and_nothing_is_lost() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    k.mark(1, "memtrace:begin job");
    k.mark(1, "memtrace:end nobody");
    k.mark(1, "memtrace:value lonely 1");
    k.mark(1, &format!("memtrace:begin job {}", "x".repeat(300)));
    k.faults(1, 1);
    let (requests, outcome) = k.finish();
    assert!(requests.is_empty());
    assert_eq!(outcome.books.unattributed, 1);
    for said in ["not understood", "cut off", "not open", "values"] {
        assert!(
            outcome.notes.iter().any(|note| note.contains(said)),
            "{said}: {:?}",
            outcome.notes
        );
    }
}

#[test]
fn a_million_windows_are_bounded() {
    let mut k = Kernel::new();
    // Once is long enough.
    k.again = None;
    k.thread(1, FaultCount::default());
    for id in 0..1_000_000 {
        k.mark(1, &format!("memtrace:begin job {id}"));
    }
    let (requests, outcome) = k.finish();
    assert_eq!(requests.len(), 10_000);
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.starts_with("990000 windows"))
    );
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    for id in 0..100_000 {
        k.mark(1, &format!("memtrace:begin job {id}"));
        k.mark(1, &format!("memtrace:end {id}"));
    }
    assert_eq!(k.done.len(), 100_000);
    let (_, outcome) = k.finish();
    assert!(outcome.notes.is_empty(), "{:?}", outcome.notes);
}

/// The runtime names the connection: whichever request its thread is thought to work for.
#[test]
fn what_a_runtime_says_is_of_the_request_on_its_connection() {
    let mut k = Kernel::new();
    k.thread(1, FaultCount::default());
    let start = "memtrace:runtime start 9 rss=4096 heapUsed=100";
    k.mark(1, start);
    k.accept(1, 9);
    k.request(1, 9, "/one");
    k.mark(1, start);
    k.mark(1, "memtrace:runtime end 9 rss=8192 external=5");
    k.respond(1, 9);
    k.mark(1, "memtrace:runtime end 9 rss=1");
    let (requests, outcome) = k.finish();
    let size = |start, end| RuntimeSize { start, end };
    let expected = [
        ("external", size(None, Some(5))),
        ("heapUsed", size(Some(100), None)),
        ("rss", size(Some(4096), Some(8192))),
    ];
    let expected = expected.map(|(name, size)| (name.to_owned(), size)).into();
    assert_eq!(requests[0].runtime, Some(expected));
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.starts_with("2 words of a runtime")),
        "{:?}",
        outcome.notes
    );
}
