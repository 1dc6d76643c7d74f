//! What `memtrace::perfetto` writes, read by Perfetto's own trace processor in each version that is here: all of it is
//! found, and nothing else.

use std::fs;
use std::path::PathBuf;

use memtrace::perfetto::{
    Arg, BATCH_BYTES, Clocks, Event, FlowId, INTERNED_BYTES, Merge, Order, Track, TrackId, Unit, Value,
    Writer,
};
use memtrace_tests::trace_processor::TraceProcessor;
use tempfile::TempDir;

mod system_trace;

const CLOCKS: Clocks = Clocks {
    monotonic_ns: 5_000_000_000,
    boottime_ns: 7_000_000_000,
    realtime_ns: 1_700_000_000_000_000_000,
};
/// From `CLOCK_MONOTONIC` to what is shown.
const SHIFT: u64 = CLOCKS.boottime_ns - CLOCKS.monotonic_ns;

/// A trace in a file that is gone after the test.
struct Written {
    _folder: TempDir,
    path: PathBuf,
}

impl Written {
    fn new(bytes: &[u8]) -> Written {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("trace.pftrace");
        fs::write(&path, bytes).expect("written");
        Written {
            _folder: folder,
            path,
        }
    }

    /// Fails unless each version can read all of it, and has these rows for each query, their cells joined by spaces.
    #[track_caller]
    fn assert_rows(&self, expected: &[(&str, &[&str])]) {
        let queries: Vec<_> = expected.iter().map(|(sql, _)| *sql).collect();
        for processor in TraceProcessor::all() {
            let answers = processor.sound_queries(&self.path, &queries);
            for ((sql, expected), answer) in expected.iter().zip(answers) {
                let rows: Vec<_> = answer.iter().map(|row| row.join(" ")).collect();
                assert_eq!(rows, *expected, "{processor} to {sql}");
            }
        }
    }
}

/// A row of everything that can be written, `pid` apart.
fn everything(clocks: Clocks, pid: u32) -> Vec<u8> {
    let mut writer = Writer::new(clocks);
    let process = writer.track(&Track::process(pid, "node"));
    let thread = writer.track(&Track::thread(pid, pid, "main"));
    let worker = writer.track(&Track::thread(pid, pid + 1, ""));
    let requests = writer.track(&Track::child(Some(process), "requests").children(Order::Rank));
    let lane = |writer: &mut Writer, rank| writer.track(&Track::child(Some(requests), "open").rank(rank));
    let (first, second) = (lane(&mut writer, 1), lane(&mut writer, 2));
    let counter = Track::counter(Some(process), "rss", Unit::Bytes).share("memory");
    let rss = writer.track(&counter);
    let rate = writer.track(&Track::counter(None, "faults", Unit::Named("faults/s")));

    writer.slice(
        first,
        10_000,
        5_000,
        &Event {
            category: "request",
            name: "GET /saju",
            args: &[
                Arg::uint("id", 7),
                Arg::int("delta", -245_760),
                Arg::new("share", Value::Double(0.25)),
                Arg::new("complete", Value::Bool(true)),
                Arg::str("route", "/saju/{id}"),
                Arg::dict(
                    "faults",
                    &[
                        Arg::uint("total", 60),
                        Arg::dict("cause", &[Arg::uint("zero_fill", 58)]),
                    ],
                ),
                Arg::new("files", Value::List(&[Value::Str("/lib/é.so"), Value::Uint(2)])),
            ],
            flows: &[FlowId(1), FlowId(2)],
            ..Event::default()
        },
    );
    let fault = |writer: &mut Writer, track, at, flow| {
        let args = [
            Arg::pointer("address", 0xffff_8000_dead_b000),
            Arg::uint("count", 3),
        ];
        let event = Event {
            category: "fault",
            name: "zero-fill",
            args: &args,
            flows_end: &[flow],
            ..Event::default()
        };
        writer.slice(track, at, 300, &event);
    };
    fault(&mut writer, thread, 11_000, FlowId(1));
    fault(&mut writer, worker, 12_000, FlowId(2));
    writer.unfinished(
        second,
        13_000,
        &Event {
            category: "request",
            name: "POST /",
            ..Event::default()
        },
    );
    writer.instant(
        thread,
        11_100,
        &Event {
            name: "munmap",
            ..Event::default()
        },
    );
    writer.count(rss, 10_000, 81_000_000);
    writer.count(rss, 15_000, 81_245_760);
    writer.count(rate, 12_000, -1);
    // Said once more, as a name that is known only now.
    writer.describe(worker, &Track::thread(pid, pid + 1, "libuv-worker"));
    writer.finish()
}

#[test]
#[ignore = "needs node and trace_processor"]
fn all_that_was_written_is_found_and_nothing_else() {
    let trace = Written::new(&everything(CLOCKS, 4242));
    let at = |ns: u64| (ns + SHIFT).to_string();
    trace.assert_rows(&[
        (
            "select ts, dur, depth, ifnull(category, '-'), name from slice order by ts, dur desc",
            &[
                &format!("{} 5000 0 request GET /saju", at(10_000)),
                &format!("{} 300 0 fault zero-fill", at(11_000)),
                &format!("{} 0 1 - munmap", at(11_100)),
                &format!("{} 300 0 fault zero-fill", at(12_000)),
                &format!("{} -1 0 request POST /", at(13_000)),
            ],
        ),
        (
            "select flat_key, key, value_type, ifnull(string_value, '-'), ifnull(int_value, real_value)
         from args join slice using (arg_set_id) where name = 'GET /saju' order by args.id",
            &[
                "debug.id debug.id uint - 7",
                "debug.delta debug.delta int - -245760",
                "debug.share debug.share real - 0.25",
                "debug.complete debug.complete bool - 1",
                "debug.route debug.route string /saju/{id} NULL",
                "debug.faults.total debug.faults.total uint - 60",
                "debug.faults.cause.zero_fill debug.faults.cause.zero_fill uint - 58",
                "debug.files debug.files[0] string /lib/é.so NULL",
                "debug.files debug.files[1] uint - 2",
            ],
        ),
        (
            "select value_type, printf('%x', int_value) from slice join args using (arg_set_id)
         where key = 'debug.address'",
            &["pointer ffff8000deadb000", "pointer ffff8000deadb000"],
        ),
        (
            "select sum(extract_arg(arg_set_id, 'debug.count')) from slice where category = 'fault'",
            &["6"],
        ),
        (
            "select o.name, i.name, i.ts from flow join slice o on o.id = slice_out
         join slice i on i.id = slice_in order by i.ts",
            &[
                &format!("GET /saju zero-fill {}", at(11_000)),
                &format!("GET /saju zero-fill {}", at(12_000)),
            ],
        ),
        (
            "select pid, name from process where pid > 0 order by pid",
            &["4242 node"],
        ),
        (
            "select tid, thread.name, pid from thread join process using (upid) where tid > 0 order by tid",
            &["4242 main 4242", "4243 libuv-worker 4242"],
        ),
        (
            "select tid, count(*) from slice join thread_track t on t.id = track_id join thread using (utid)
         group by tid order by tid",
            &["4242 2", "4243 1"],
        ),
        // The rows of one name are apart, each with a slice.
        (
            "select t.name, p.name, count(*) from slice join track t on t.id = track_id
         join track p on p.id = t.parent_id group by t.id order by t.id",
            &["open requests 1", "open requests 1"],
        ),
        (
            "select name, ifnull(unit, '-'), ts, cast(value as int) from counter
         join counter_track t on t.id = track_id order by ts, name",
            &[
                &format!("rss bytes {} 81000000", at(10_000)),
                &format!("faults faults/s {} -1", at(12_000)),
                &format!("rss bytes {} 81245760", at(15_000)),
            ],
        ),
    ]);
}

#[test]
#[ignore = "needs node and trace_processor"]
fn two_traces_in_one_file_are_one_trace() {
    let later = Clocks {
        monotonic_ns: CLOCKS.monotonic_ns + 60_000_000_000,
        boottime_ns: CLOCKS.boottime_ns + 60_000_000_000,
        realtime_ns: CLOCKS.realtime_ns + 60_000_000_000,
    };
    // Two runs on one process are two groups of rows, as are two processes.
    for pid in [4242, 5000] {
        let both = [everything(CLOCKS, 4242), everything(later, pid)].concat();
        let trace = Written::new(&both);
        trace.assert_rows(&[
            ("select count(*) from slice", &["10"]),
            ("select count(distinct ts) from slice", &["5"]),
            ("select count(*) from flow", &["4"]),
            (
                "select count(*) from flow join slice o on o.id = slice_out
                 join slice i on i.id = slice_in where i.ts < o.ts",
                &["0"],
            ),
            ("select count(*), count(distinct track_id) from counter", &["6 4"]),
            ("select count(*) from process where pid > 0", &["2"]),
            ("select count(*) from thread where tid > 0", &["4"]),
        ]);
    }
}

#[test]
#[ignore = "needs node and trace_processor"]
fn strings_that_overflow_the_tables_are_all_there() {
    const EVENTS: u32 = 60_000;
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::process(1, "init"));
    for n in 0..EVENTS {
        let path = format!("/orders/{n}");
        let args = [Arg::str("path", &path), Arg::uint("n", n.into())];
        let event = Event {
            category: "request",
            name: &path,
            args: &args,
            ..Event::default()
        };
        writer.slice(track, u64::from(n) * 10, 5, &event);
    }
    let trace = Written::new(&writer.finish());
    trace.assert_rows(&[(
        "select count(*), count(distinct name), sum(name = '/orders/' || extract_arg(arg_set_id, 'debug.n')),
             sum(name = extract_arg(arg_set_id, 'debug.path')), sum(category = 'request') from slice",
        &[&[EVENTS.to_string().as_str(); 5].join(" ")],
    )]);
}

/// Numbers that look random, and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Appends a slice and what is in it as (start, end, depth), and returns its end. Many touch.
fn grow(dice: &mut Dice, start: u64, depth: u64, slices: &mut Vec<(u64, u64, u64)>) -> u64 {
    let place = slices.len();
    slices.push((start, 0, depth));
    let mut at = start + dice.below(3);
    for _ in 0..dice.below(4).saturating_sub(depth / 2) {
        at = grow(dice, at, depth + 1, slices) + dice.below(2);
    }
    // No slice of no length: whether it is in what ends at the same moment is for nobody to say.
    at = at.max(start + 1);
    if slices.last().is_some_and(|last| last.1 == at && last.0 == start) {
        // Nor two of the same place.
        at += 1;
    }
    slices[place].1 = at;
    at
}

#[test]
#[ignore = "needs node and trace_processor"]
fn slices_nest_as_they_should_whatever_the_order_they_are_written_in() {
    let mut dice = Dice(1);
    let mut slices = Vec::new();
    let mut at = 10;
    while slices.len() < 2_000 {
        at = grow(&mut dice, at, 0, &mut slices) + dice.below(2);
    }
    // As they end, then backwards, then shuffled.
    let mut as_they_end = slices.clone();
    as_they_end.sort_by_key(|(start, end, depth)| (*end, u64::MAX - start, u64::MAX - depth));
    let backwards = slices.iter().rev().copied().collect();
    let mut shuffled = slices.clone();
    for n in (1..shuffled.len()).rev() {
        shuffled.swap(n, usize::try_from(dice.below(n as u64 + 1)).expect("an index"));
    }
    slices.sort_unstable();
    let expected: Vec<_> = slices
        .iter()
        .map(|(start, end, depth)| format!("{} {} {depth} {end}", start + SHIFT, end - start))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    for order in [as_they_end, backwards, shuffled] {
        let mut writer = Writer::new(CLOCKS);
        let track = writer.track(&Track::thread(7, 7, "main"));
        for (start, end, _) in order {
            let args = [Arg::uint("end", end)];
            writer.slice(
                track,
                start,
                end - start,
                &Event {
                    name: "slice",
                    args: &args,
                    ..Event::default()
                },
            );
        }
        let trace = Written::new(&writer.finish());
        trace.assert_rows(&[
("select ts, dur, depth, extract_arg(arg_set_id, 'debug.end') from slice order by ts, ts + dur, depth",
            &expected),
]);
    }
}

#[test]
#[ignore = "needs node and trace_processor"]
fn what_takes_no_time_is_in_what_begins_then_and_after_what_ends() {
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::thread(7, 7, "main"));
    let named = |name| Event {
        name,
        ..Event::default()
    };
    writer.instant(track, 20, &named("instant"));
    writer.slice(track, 20, 0, &named("nothing"));
    writer.slice(track, 20, 5, &named("inner"));
    writer.slice(track, 20, 10, &named("outer"));
    writer.slice(track, 10, 10, &named("before"));
    let trace = Written::new(&writer.finish());
    trace.assert_rows(&[(
        "select ts, dur, depth, name from slice order by ts, depth, name",
        &[
            &format!("{} 10 0 before", 10 + SHIFT),
            &format!("{} 10 0 outer", 20 + SHIFT),
            &format!("{} 5 1 inner", 20 + SHIFT),
            &format!("{} 0 2 instant", 20 + SHIFT),
            &format!("{} 0 2 nothing", 20 + SHIFT),
        ],
    )]);
}

/// Across batches only the first to be written can be the outer one, and everything else is put right by time.
#[test]
#[ignore = "needs node and trace_processor"]
fn a_slice_that_is_written_batches_after_what_is_in_it_has_it_inside() {
    const INNER: u64 = 50_000;
    let mut writer = Writer::new(CLOCKS);
    let track = writer.track(&Track::thread(7, 7, "main"));
    for n in 0..INNER {
        writer.slice(
            track,
            10 + n * 10,
            10,
            &Event {
                name: "inner",
                ..Event::default()
            },
        );
    }
    assert!(writer.ready() > 0, "no batch has ended");
    writer.slice(
        track,
        9,
        INNER * 10 + 1,
        &Event {
            name: "outer",
            ..Event::default()
        },
    );
    let trace = Written::new(&writer.finish());
    trace.assert_rows(&[(
        "select name, depth, count(*), min(dur), max(dur) from slice group by 1, 2 order by 2",
        &[
            &format!("outer 0 1 {0} {0}", INNER * 10 + 1),
            &format!("inner 1 {INNER} 10 10"),
        ],
    )]);
}

#[test]
#[ignore = "needs node and trace_processor"]
fn siblings_of_one_name_are_apart_or_one_as_they_were_given() {
    let mut writer = Writer::new(CLOCKS);
    let process = writer.track(&Track::process(7, "node"));
    let tracks: Vec<TrackId> = [Merge::Apart, Merge::Apart, Merge::ByName, Merge::ByName]
        .into_iter()
        .zip(["apart", "apart", "merged", "merged"])
        .map(|(merge, name)| writer.track(&Track::child(Some(process), name).merge(merge)))
        .collect();
    for track in tracks {
        writer.slice(
            track,
            10,
            10,
            &Event {
                name: "slice",
                ..Event::default()
            },
        );
    }
    let trace = Written::new(&writer.finish());
    trace.assert_rows(&[
("select name, count(distinct ifnull(track_group_id, 1000 + id)) from track where name in ('apart', 'merged')
         group by 1 order by 1",
        &["apart 2", "merged 1"]),
]);
}

/// What a batch and the tables may take at most: vectors have at most twice the room that they need, and sorted packets
/// are there once more.
const HELD: usize = 2 * (BATCH_BYTES + 4096) * 2 + BATCH_BYTES + 2 * INTERNED_BYTES;

#[test]
#[ignore = "needs node and trace_processor"]
fn ten_million_events_take_no_more_memory_and_as_many_as_are_read_back_are_sound() {
    const EVENTS: u64 = 10_000_000;
    const READ_BACK: u64 = 200_000;
    let mut writer = Writer::new(CLOCKS);
    let threads: Vec<_> = (0..4)
        .map(|tid| writer.track(&Track::thread(7, 7 + tid, "worker")))
        .collect();
    let counter = writer.track(&Track::counter(None, "rss", Unit::Bytes));
    let (mut read_back, mut most) = (Vec::new(), 0);
    for n in 0..EVENTS / 2 {
        let path = format!("/orders/{}", n / 8);
        let event = Event {
            category: "fault",
            name: "zero-fill",
            args: &[Arg::str("path", &path)],
            ..Event::default()
        };
        writer.slice(
            threads[usize::try_from(n % 4).expect("an index")],
            n * 100,
            90,
            &event,
        );
        writer.count(counter, n * 100, i64::try_from(n).expect("a size"));
        most = most.max(writer.held());
        if n + 1 == READ_BACK / 2 {
            writer.end_batch();
            read_back.extend(writer.take());
        } else if n < READ_BACK / 2 {
            read_back.extend(writer.take());
        } else {
            drop(writer.take());
        }
    }
    assert!(most <= HELD, "{most} bytes were held");
    let trace = Written::new(&read_back);
    let half = (READ_BACK / 2).to_string();
    trace.assert_rows(&[
        (
            "select count(*), sum(dur) / 90 from slice",
            &[&format!("{half} {half}")],
        ),
        ("select count(*) from counter", &[&half]),
    ]);
}

#[test]
#[ignore = "needs node and trace_processor"]
fn a_system_trace_behind_ours_shares_its_clock_and_its_process() {
    let ours = everything(CLOCKS, 4242);
    let system = system_trace::written(8_000 + SHIFT, 10);
    let trace = Written::new(&[ours, system].concat());
    trace.assert_rows(&[
        ("select count(*) from slice", &["5"]),
        ("select count(*) from sched", &["1000"]),
        ("select count(*) from process where pid = 4242", &["1"]),
        // What its thread did in the kernel during the request.
        (
            "select count(*) > 0, min(s.ts) = 11000 + 2000000000 from sched s join thread using (utid)
             join slice r on r.name = 'GET /saju' and s.ts >= r.ts and s.ts < r.ts + r.dur
             where tid = 4242",
            &["1 1"],
        ),
    ]);
}
