//! What becomes of a run: recordings that are kept in the repository, and runs that are made up event by event.

use std::collections::BTreeMap;

use memtrace::event::{Event, Notice, Socket};
use memtrace::perfetto::proto::{EventType, TrackEvent};
use memtrace::record::read::{Losses, Reader as Recording};
use memtrace::record::{Asked, Clocks};
use memtrace::run::{Closed, Ending, Look, Run};
use memtrace::timeline::Detail;
use memtrace_common::decode::{Payload, Record};
use memtrace_common::wire::{self, Fault, Header, Io, Segment, Segments, Tally};
use memtrace_common::{FaultCount, Fd, Nanos, Tgid, Tid};

use super::reader::Reader;

const P: u32 = 70;
const FIXTURES: [&[u8]; 2] = [
    include_bytes!("../../src/record/tests/fixtures/v1.mtr"),
    include_bytes!("../../src/record/tests/fixtures/v2.mtr"),
];

/// A run that is over: what was drawn, the two tables, and the rest.
struct Told {
    drawn: Reader,
    requests: Vec<BTreeMap<String, String>>,
    faults: Vec<BTreeMap<String, String>>,
    closed: Closed,
}

fn look(detail: Detail) -> Look {
    Look {
        timeline: Some(detail),
        tables: true,
        ..Look::default()
    }
}

fn over(run: Run) -> Told {
    let mut closed = run.close(Ending::default(), &mut Vec::new(), |_| {});
    Told {
        drawn: Reader::read(&std::mem::take(&mut closed.trace)),
        requests: rows(&closed.tables.requests),
        faults: rows(&closed.tables.faults),
        closed,
    }
}

fn rows(table: &[u8]) -> Vec<BTreeMap<String, String>> {
    let rows = csv::Reader::from_reader(table).into_deserialize();
    rows.map(|row| row.expect("a row")).collect()
}

/// A recording, told without ever taking what there is so far.
fn told(recording: &[u8], detail: Detail) -> Told {
    let mut recording = Recording::open(recording).expect("a recording");
    let preamble = recording.preamble().clone();
    let mut run = Run::new(&preamble.asked, preamble.origin.clocks, look(detail), false).expect("a run");
    let mut losses = Losses::default();
    while let Some(block) = recording.block().expect("memory can be read") {
        block
            .events(&mut losses, |event| run.feed(event))
            .expect("what was recorded");
    }
    run.report(&mut Vec::new(), |_| {});
    over(run)
}

impl Told {
    /// What is said of the slices and instants of a category.
    fn of(&self, category: &str) -> impl Iterator<Item = (EventType, &str)> {
        let begins = format!("{category} ");
        self.drawn.events.iter().filter_map(move |(_, event, words)| {
            let said = words.strip_prefix(&begins)?;
            Some((event.r#type(), said))
        })
    }

    /// The values of the counters of this name, track by track.
    fn counters(&self, name: &str) -> Vec<Vec<i64>> {
        let named = self.drawn.tracks.iter().filter(|track| track.name() == name);
        named
            .map(|track| {
                let of = |uuid| uuid == track.uuid;
                let values = self
                    .drawn
                    .events
                    .iter()
                    .filter(|(_, event, _)| of(event.track_uuid));
                values.filter_map(|(_, event, _)| event.counter_value).collect()
            })
            .collect()
    }
}

#[test]
fn every_fault_and_request_of_a_recording_is_drawn_once() {
    for recording in FIXTURES {
        let told = told(recording, Detail::Faults);
        let summary = &told.closed.summary;
        assert_eq!(told.of("fault").count() as u64, summary.books.observed);
        assert_eq!(told.of("request").count() as u64, summary.requests);
        assert_eq!(told.faults.len() as u64, summary.books.observed);
        assert_eq!(told.requests.len() as u64, summary.requests);
        let flows = |ends: bool| -> Vec<u64> {
            let of = |event: &TrackEvent| {
                if ends {
                    event.terminating_flow_ids.clone()
                } else {
                    event.flow_ids.clone()
                }
            };
            let events = told.drawn.events.iter().map(|(_, event, _)| event);
            let mut flows: Vec<u64> = events.flat_map(of).collect();
            flows.sort_unstable();
            flows
        };
        assert_eq!(flows(true), flows(false), "each arrow has both ends");
        assert_eq!(flows(true).len(), told.of("work").count());
    }
}

#[test]
fn less_detail_has_the_same_faults_in_fewer_slices() {
    let recording = FIXTURES[1];
    let observed = told(recording, Detail::Faults).closed.summary.books.observed;
    let runs = told(recording, Detail::Runs);
    let count = |said: &str| -> u64 {
        let (_, count) = said.split_once("count=Uint(").expect("a count");
        count[..count.find(')').unwrap()].parse().unwrap()
    };
    assert_eq!(
        runs.of("fault").map(|(_, said)| count(said)).sum::<u64>(),
        observed
    );
    assert!((runs.of("fault").count() as u64) < observed / 2);
    let requests = told(recording, Detail::Requests);
    let drawn = ["fault", "mm", "work", "request"].map(|category| requests.of(category).count() as u64);
    assert_eq!(drawn, [0, 0, 0, requests.closed.summary.requests]);
}

#[test]
fn times_of_faults_add_up_to_the_ledgers() {
    let told = told(FIXTURES[1], Detail::Faults);
    let timed = told
        .of("fault")
        .filter(|(kind, _)| *kind == EventType::SliceBegin);
    assert_eq!(Some(timed.count() as u64), told.closed.summary.books.timed);
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for fault in &told.faults {
        let sum = sums.entry(&fault["request"]).or_default();
        sum.0 += 1;
        sum.1 += fault["duration_ns"].parse::<u64>().unwrap();
    }
    for request in &told.requests {
        let (faults, ns) = sums.get(request["id"].as_str()).copied().unwrap_or_default();
        assert_eq!(faults.to_string(), request["faults.total"]);
        assert_eq!(ns.to_string(), request["faults.time_ns"]);
    }
}

/// A run of one process with a connection, as its events come.
struct Live {
    run: Run,
    time: u64,
    minor: u64,
}

impl Live {
    fn new() -> Self {
        let asked = Asked {
            fault_time: true,
            ..Asked::default()
        };
        let run = Run::new(&asked, Clocks::default(), look(Detail::Faults), false).expect("a run");
        let mut live = Self {
            run,
            time: 1_000,
            minor: 0,
        };
        let (tgid, time) = (Tgid(P), Nanos(1_000));
        let socket = Socket::Inbound { port: None };
        for notice in [
            Notice::Begin { time },
            Notice::Process {
                tgid,
                comm: "app".to_owned(),
                brk: None,
                io_uring: false,
            },
            Notice::Thread {
                tgid,
                tid: Tid(P),
                count: FaultCount::default(),
                sp: None,
                comm: "main".to_owned(),
            },
            Notice::Seeded { tgid, time },
            Notice::Socket {
                tgid,
                fd: Fd(5),
                socket,
            },
        ] {
            live.run.feed(Event::Notice(notice));
        }
        live
    }

    fn header(&mut self, kind: u8) -> Header {
        self.time += 1_000;
        Header {
            time_ns: self.time,
            tgid: P,
            tid: P,
            min_flt: self.minor,
            kind,
            ..Header::default()
        }
    }

    fn reads(&mut self) {
        let header = self.header(wire::KIND_IO);
        self.io(wire::OP_READ, 5, header, b"GET / HTTP/1.1\r\n\r\n");
    }

    fn io(&mut self, op: u8, fd: i32, header: Header, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).expect("few bytes");
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: len.into(),
            head: len,
            tail: 0,
        };
        let io = Io {
            header: Header {
                op,
                flags: wire::IO_PAYLOAD,
                fd,
                ..header
            },
            ret: len.into(),
            other: 0,
        };
        let payload = Payload::new(len.into(), segments, bytes).expect("a payload");
        self.run.feed(Event::Record(Record::Io(io, payload)));
    }

    /// An attempt, which says how long the last fault took.
    fn attempt(&mut self, last_ns: u32) {
        let header = self.header(wire::KIND_FAULT).with_last_fault_ns(last_ns);
        self.run.feed(Event::Record(Record::Fault(Fault {
            header,
            address: 0x1000,
            ip: 0x2000,
        })));
    }

    fn tally(&mut self, last_ns: u32) {
        let header = self.header(wire::KIND_TALLY).with_last_fault_ns(last_ns);
        self.run.feed(Event::Record(Record::Tally(Tally {
            header,
            frames: wire::FrameCount::default(),
            timed_faults: 1,
            fault_ns: last_ns.into(),
        })));
    }

    fn is_freed(&mut self) {
        let header = self.header(wire::KIND_FREE);
        self.run.feed(Event::Record(Record::Free(header)));
    }
}

#[test]
fn a_process_that_ends_in_the_middle_of_a_request_is_at_zero_then() {
    let mut live = Live::new();
    live.reads();
    live.is_freed();
    let told = over(live.run);
    assert_eq!(told.of("request").count(), 1);
    assert_eq!(told.counters("open requests"), [[1, 0]]);
}

#[test]
fn a_fault_has_its_own_time_and_one_that_failed_has_none() {
    let mut live = Live::new();
    live.attempt(0);
    // It failed; the next completes, and what follows tells its time: a fault, a tally, or nothing.
    live.attempt(0);
    live.minor = 1;
    live.attempt(7);
    live.minor = 2;
    live.tally(9);
    live.attempt(0);
    live.minor = 3;
    live.is_freed();
    let told = over(live.run);
    let times: Vec<_> = told
        .faults
        .iter()
        .map(|fault| fault["duration_ns"].as_str())
        .collect();
    assert_eq!(times, ["7", "9", ""]);
    let kinds: Vec<_> = told.of("fault").map(|(kind, _)| kind).collect();
    let slice = EventType::SliceBegin;
    assert_eq!(kinds, [slice, slice, EventType::Instant]);
    let threads = told.drawn.tracks.iter().filter(|track| track.thread.is_some());
    assert_eq!(threads.count(), 1, "its last fault is on the row of the others");
}

/// Times on two CPUs, each taken before its record is in the ring: that of the first answer is in it before the second
/// request, which began earlier.
#[test]
fn requests_that_overlap_a_little_by_their_times_are_on_two_rows() {
    let mut live = Live::new();
    let socket = Socket::Inbound { port: None };
    live.run.feed(Event::Notice(Notice::Socket {
        tgid: Tgid(P),
        fd: Fd(6),
        socket,
    }));
    let at = |time_ns, tid| Header {
        time_ns,
        tgid: P,
        tid,
        kind: wire::KIND_IO,
        ..Header::default()
    };
    let (asks, answers) = (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n");
    live.io(wire::OP_READ, 5, at(10_000, P), asks);
    live.io(wire::OP_WRITE, 5, at(20_000, P), answers);
    live.io(wire::OP_READ, 6, at(19_900, P + 1), asks);
    live.io(wire::OP_WRITE, 6, at(30_000, P + 1), answers);
    // The first row is free again by now.
    live.io(wire::OP_READ, 5, at(40_000, P), asks);
    live.io(wire::OP_WRITE, 5, at(50_000, P), answers);
    let told = over(live.run);
    let requests =
        told.drawn.events.iter().filter(|(_, event, words)| {
            event.r#type() == EventType::SliceBegin && words.starts_with("request ")
        });
    let rows: Vec<(u64, u64)> = requests.map(|(at, event, _)| (*at, event.track_uuid())).collect();
    let [(10_000, first), (19_900, second), (40_000, third)] = rows[..] else {
        panic!("{rows:?}");
    };
    assert!(first != second && first == third, "{rows:?}");
    assert_eq!(told.counters("open requests"), [[1, 0, 1, 0, 1, 0]]);
}
