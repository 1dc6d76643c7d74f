//! What `memtrace::perfetto` writes, read by its messages alone. Root tests read it with Perfetto's own reader.

use memtrace::perfetto::proto::{BuiltinClock, CounterUnit, Data, EventType, TrackDescriptor};
use memtrace::perfetto::{
    Arg, BATCH_BYTES, Clocks, Event, FlowId, INTERNED_BYTES, Merge, Order, STRING_BYTES, Track, Unit, Value,
    Writer,
};
use proptest::prelude::*;

mod drawn;
mod reader;

use reader::{Reader, packets};

const CLOCKS: Clocks = Clocks {
    monotonic_ns: 1_000,
    boottime_ns: 1_500,
    realtime_ns: 1_700_000_000_000_000_000,
};

#[test]
fn what_is_said_of_an_event_is_in_its_packet() {
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::thread(7, 8, "worker"));
    writer.slice(
        track,
        2_000,
        300,
        &Event {
            category: "request",
            name: "GET /",
            args: &[
                Arg::uint("uint", u64::MAX),
                Arg::int("int", i64::MIN),
                Arg::new("double", Value::Double(0.5)),
                Arg::new("yes", Value::Bool(true)),
                Arg::pointer("address", 0x7fff_dead_b000),
                Arg::str("path", "/usr/lib/libc.so.6"),
                Arg::dict(
                    "faults",
                    &[Arg::uint("total", 3), Arg::dict("cause", &[Arg::uint("cow", 2)])],
                ),
                Arg::new(
                    "list",
                    Value::List(&[Value::Uint(1), Value::Dict(&[Arg::str("path", "é")])]),
                ),
            ],
            flows: &[FlowId(1), FlowId(2)],
            flows_end: &[FlowId(3)],
        },
    );
    writer.instant(
        track,
        2_100,
        &Event {
            name: "GET /",
            ..Event::default()
        },
    );
    writer.unfinished(
        track,
        2_400,
        &Event {
            category: "request",
            ..Event::default()
        },
    );
    let counter = writer.track(&Track::counter(None, "rss", Unit::Bytes));
    writer.count(counter, 2_050, -5);
    let reader = Reader::read(&writer.finish());

    let events: Vec<_> = reader
        .events
        .iter()
        .map(|(at, event, words)| (*at, event.r#type(), &**words))
        .collect();
    let said = "request GET / uint=Uint(18446744073709551615) int=Int(-9223372036854775808) double=Double(0.5) \
                yes=Bool(true) address=Pointer(140736929312768) path=\"/usr/lib/libc.so.6\" \
                faults={total=Uint(3) cause={cow=Uint(2)}[]}[] list={}[=Uint(1) ={path=\"é\"}[]]";
    assert_eq!(
        events,
        [
            (2_000, EventType::SliceBegin, said),
            (2_050, EventType::Counter, ""),
            (2_100, EventType::Instant, "GET /"),
            (2_300, EventType::SliceEnd, ""),
            (2_400, EventType::SliceBegin, "request"),
        ]
    );
    let [begin, count, instant, end, unfinished] = &*reader.events else {
        panic!("five events")
    };
    assert_eq!(count.1.counter_value, Some(-5));
    assert_eq!(
        (begin.1.flow_ids.len(), begin.1.terminating_flow_ids.len()),
        (2, 1)
    );
    let [thread, counter] = &*reader.tracks else {
        panic!("two tracks")
    };
    for event in [begin, instant, end, unfinished] {
        assert_eq!(event.1.track_uuid, thread.uuid);
    }
    assert_eq!(count.1.track_uuid, counter.uuid);
}

#[test]
fn tracks_are_described_as_they_were_given() {
    let mut writer = Writer::new(CLOCKS);
    let process = Track::process(7, "node");
    let process_id = writer.track(&process);
    writer.track(&Track::thread(7, 8, ""));
    let group = Track::child(Some(process_id), "requests")
        .children(Order::Rank)
        .description("one row a request at a time");
    let group_id = writer.track(&group);
    for rank in [-1, 2] {
        writer.track(&Track::child(Some(group_id), "lane").rank(rank));
    }
    writer.track(&Track::child(Some(group_id), "lane").merge(Merge::ByName));
    for unit in [
        Unit::Bytes,
        Unit::Count,
        Unit::Nanoseconds,
        Unit::Named("faults/s"),
    ] {
        writer.track(&Track::counter(None, "counter", unit).share("key"));
    }
    writer.describe(process_id, &Track::process(7, "node server.js"));
    let reader = Reader::read(&writer.finish());

    let [process, thread, group, lane, lane2, merged, counters @ .., again] = &*reader.tracks else {
        panic!("tracks")
    };
    let of_process = process.process.as_ref().expect("a process");
    assert_eq!((of_process.pid(), of_process.process_name()), (7, "node"));
    assert_eq!(process.name, None);
    assert_eq!(again.uuid, process.uuid);
    assert_eq!(
        again.process.as_ref().expect("a process").process_name(),
        "node server.js"
    );
    let of_thread = thread.thread.as_ref().expect("a thread");
    assert_eq!(
        (of_thread.pid(), of_thread.tid(), &of_thread.thread_name),
        (7, 8, &None)
    );
    assert_eq!(
        (group.name(), group.description()),
        ("requests", "one row a request at a time")
    );
    assert_eq!(group.parent_uuid, process.uuid);
    assert_eq!(group.child_ordering, Some(3));
    assert_eq!(lane.parent_uuid, group.uuid);
    assert_eq!(
        [lane, lane2, merged].map(TrackDescriptor::sibling_order_rank),
        [-1, 2, 0]
    );
    assert_eq!(
        [lane, lane2, merged].map(|t| t.sibling_merge_behavior),
        [Some(2), Some(2), Some(1)]
    );
    let units: Vec<_> = counters
        .iter()
        .map(|t| t.counter.as_ref().expect("a counter"))
        .map(|c| (c.unit(), c.unit_name(), c.y_axis_share_key()))
        .collect();
    assert_eq!(
        units,
        [
            (CounterUnit::SizeBytes, "", "key"),
            (CounterUnit::Count, "", "key"),
            (CounterUnit::TimeNs, "", "key"),
            (CounterUnit::Unspecified, "faults/s", "key"),
        ]
    );
    let mut uuids: Vec<_> = reader.tracks.iter().map(TrackDescriptor::uuid).collect();
    uuids.sort_unstable();
    uuids.dedup();
    assert_eq!(
        uuids.len(),
        reader.tracks.len() - 1,
        "each track has a number of its own"
    );
    assert!(!uuids.contains(&0));
}

#[test]
fn clocks_come_first_and_tracks_and_events_have_a_sequence_each() {
    let all = packets(&small(CLOCKS));
    let Some(Data::ClockSnapshot(clocks)) = &all[0].data else {
        panic!("clocks first: {:?}", all[0])
    };
    let said: Vec<_> = clocks
        .clocks
        .iter()
        .map(|c| (c.clock_id(), c.timestamp()))
        .collect();
    assert_eq!(said, [(6, 1_500), (3, 1_000), (1, 1_700_000_000_000_000_000)]);
    assert_eq!(clocks.primary_trace_clock(), BuiltinClock::Boottime);
    let of_tracks = all[0].trusted_packet_sequence_id();
    let of_events = all.last().expect("packets").trusted_packet_sequence_id();
    assert_ne!(of_tracks, of_events);
    let (mut begins, mut first_event) = (Vec::new(), true);
    for packet in &all {
        let sequence = packet.trusted_packet_sequence_id();
        if packet.sequence_flags() == 1 {
            begins.push(sequence);
        }
        match &packet.data {
            Some(Data::TrackEvent(_)) => assert_eq!(sequence, of_events),
            Some(_) => assert_eq!(sequence, of_tracks),
            None => {
                assert!(std::mem::take(&mut first_event), "one packet begins the events");
                let defaults = packet.trace_packet_defaults.as_ref().expect("defaults");
                assert_eq!(defaults.timestamp_clock_id(), 3);
            }
        }
    }
    assert_eq!(begins, [of_tracks, of_events]);
}

/// A trace with a track, a flow and a slice.
fn small(clocks: Clocks) -> Vec<u8> {
    let mut writer = Writer::new(clocks);
    let track = writer.track(&Track::process(1, "init"));
    let event = Event {
        flows: &[FlowId(1)],
        ..Event::default()
    };
    writer.slice(track, 1, 2, &event);
    writer.finish()
}

#[test]
fn the_same_calls_give_the_same_bytes_and_another_run_shares_no_number() {
    assert_eq!(small(CLOCKS), small(CLOCKS));
    let later = Clocks {
        realtime_ns: CLOCKS.realtime_ns + 5_000_000_000,
        ..CLOCKS
    };
    let numbers = [CLOCKS, later].map(|clocks| {
        let reader = Reader::read(&small(clocks));
        (reader.tracks[0].uuid(), reader.events[0].1.flow_ids.clone())
    });
    assert_ne!(numbers[0].0, numbers[1].0);
    assert_ne!(numbers[0].1, numbers[1].1);
}

#[test]
fn what_is_taken_is_whole_packets_and_nothing_is_lost_or_kept() {
    const SLICES: usize = 30_000;
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::process(1, "init"));
    let (mut taken, mut parts) = (Vec::new(), 0);
    for (index, n) in (0..SLICES).zip(0_u64..) {
        let path = format!("/{}", n % 100);
        let event = Event {
            name: &path,
            args: &[Arg::uint("n", n), Arg::str("path", &path)],
            ..Event::default()
        };
        writer.slice(track, 10 * n, 5, &event);
        if n % 1_000 == 999 {
            let part = writer.take();
            parts += usize::from(!part.is_empty());
            assert!(packets(&part).len() < SLICES);
            taken.extend(part);
        }
        if index == SLICES / 2 {
            writer.end_batch();
            assert!(writer.ready() > 0);
        }
    }
    taken.extend(writer.finish());
    assert!(parts > 3, "{parts} parts");
    let reader = Reader::read(&taken);
    assert_eq!(reader.events.len(), 2 * SLICES);
    let begins: Vec<_> = reader
        .events
        .iter()
        .filter(|(_, e, _)| e.r#type() == EventType::SliceBegin)
        .collect();
    for (n, (at, _, words)) in (0..).zip(begins) {
        assert_eq!(
            (*at, &**words),
            (10 * n, &*format!("/{0} n=Uint({n}) path=\"/{0}\"", n % 100))
        );
    }
    assert_eq!(reader.begun, 1);
}

/// What a batch and the tables may take at most: vectors have at most twice the room that they need, an event here is
/// far below 4 KiB, and sorted packets are there once more.
const HELD: usize = 2 * (BATCH_BYTES + 4096) * 2 + BATCH_BYTES + 2 * INTERNED_BYTES;

#[test]
fn memory_is_bounded_however_many_events_and_strings_there_are() {
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::process(1, "init"));
    let counter = writer.track(&Track::counter(None, "rss", Unit::Bytes));
    let mut most = 0;
    for n in 0..50_000_u64 {
        // A string in each that was never seen before, as ids in paths are.
        let path = format!("/orders/{n:040}");
        let event = Event {
            category: "request",
            name: &path,
            args: &[Arg::str("path", &path)],
            ..Event::default()
        };
        writer.slice(track, n * 10, 9, &event);
        writer.count(counter, n * 10, 5);
        drop(writer.take());
        most = most.max(writer.held());
    }
    assert!(most > INTERNED_BYTES, "the tables were never full: {most} bytes");
    assert!(most <= HELD, "{most} bytes");
}

#[test]
fn tables_that_overflow_begin_again_and_no_event_loses_its_strings() {
    const EVENTS: u64 = 40_000;
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::process(1, "init"));
    for n in 0..EVENTS {
        let path = format!("/orders/{n}");
        let args = [Arg::str("path", &path), Arg::str("again", "the same each time")];
        writer.instant(
            track,
            n,
            &Event {
                category: "request",
                name: &path,
                args: &args,
                ..Event::default()
            },
        );
    }
    let reader = Reader::read(&writer.finish());
    assert!(reader.begun > 2, "begun {} times", reader.begun);
    assert_eq!(reader.events.len() as u64, EVENTS);
    for (n, (_, _, words)) in (0..).zip(&reader.events) {
        assert_eq!(
            *words,
            format!("request /orders/{n} path=\"/orders/{n}\" again=\"the same each time\"")
        );
    }
}

#[test]
fn long_strings_are_cut_and_counted() {
    let mut writer = Writer::new(CLOCKS);
    let long = "x".repeat(STRING_BYTES + 1);
    let track = writer.track(&Track::process(1, &long));
    assert_eq!(writer.cut_strings(), 1);
    writer.instant(
        track,
        1,
        &Event {
            name: &long,
            ..Event::default()
        },
    );
    assert_eq!(writer.cut_strings(), 2);
    let reader = Reader::read(&writer.finish());
    assert_eq!(reader.events[0].2.len(), STRING_BYTES);
    assert_eq!(
        reader.tracks[0]
            .process
            .as_ref()
            .expect("a process")
            .process_name()
            .len(),
        STRING_BYTES
    );
}

/// A slice with what is in it: lengths of its parts, some of which are slices in turn.
#[derive(Clone, Debug)]
struct Tree {
    /// Time before, between and after children.
    gaps: Vec<u64>,
    children: Vec<Tree>,
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    // Gaps of nothing are common, so that slices touch and some have no length.
    let gaps = || proptest::collection::vec(prop_oneof![Just(0_u64), 0..3_u64], 5);
    let leaf = gaps().prop_map(|gaps| Tree {
        gaps,
        children: Vec::new(),
    });
    let tree = leaf.prop_recursive(4, 24, 4, move |inner| {
        (gaps(), proptest::collection::vec(inner, 0..4)).prop_map(|(gaps, children)| Tree { gaps, children })
    });
    proptest::collection::vec(tree, 1..6)
}

impl Tree {
    /// Appends itself and all below as (start, end), and returns its end.
    fn lay_out(&self, start: u64, slices: &mut Vec<(u64, u64)>) -> u64 {
        let place = slices.len();
        slices.push((start, 0));
        let mut at = start + self.gaps[0];
        for (child, gap) in self.children.iter().zip(&self.gaps[1..]) {
            at = child.lay_out(at, slices) + gap;
        }
        slices[place].1 = at;
        at
    }
}

proptest! {
    /// Whoever reads it sorts by time, keeps the order of what has one time, and ends the innermost slice.
    #[test]
    fn slices_nest_whatever_the_order_they_are_written_in(trees in trees(), shuffle in any::<u64>()) {
        let mut slices = Vec::new();
        let mut at = 10;
        for tree in &trees {
            at = tree.lay_out(at, &mut slices);
        }
        let mut order: Vec<usize> = (0..slices.len()).collect();
        order.sort_by_key(|n| (*n as u64 + 1).wrapping_mul(shuffle | 1).rotate_left(29));
        let mut writer = Writer::new(CLOCKS);
        let track = writer.track(&Track::process(1, "init"));
        for n in order {
            let (start, end) = slices[n];
            writer.slice(track, start, end - start, &Event { args: &[Arg::uint("end", end)], ..Event::default() });
        }
        let mut events = Reader::read(&writer.finish()).events;
        events.sort_by_key(|(at, ..)| *at);
        let mut open: Vec<u64> = Vec::new();
        for (at, event, words) in events {
            if event.r#type() == EventType::SliceEnd {
                prop_assert_eq!(open.pop(), Some(at), "what ends is what should");
            } else {
                let end = words.trim_start_matches("end=Uint(").trim_end_matches(')').parse().expect("a time");
                prop_assert!(open.iter().all(|outer| *outer >= end), "it is inside of what is open");
                open.push(end);
            }
        }
        prop_assert!(open.is_empty(), "all have ended");
    }
}
