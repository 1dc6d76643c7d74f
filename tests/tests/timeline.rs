//! What Perfetto's own trace processor reads out of a run's trace, held against the run's report: every fault, call and
//! request is there once, and their figures add up to the ledger's.

use std::collections::BTreeMap;
use std::path::Path;

use memtrace_tests::memtrace::{self, Memtrace};
use memtrace_tests::process::Finished;
use memtrace_tests::report::{Report, Request, Space};
use memtrace_tests::trace_processor::TraceProcessor;
use memtrace_tests::traced::Traced;
use memtrace_tests::workload::{Mode, Storm};
use tempfile::TempDir;

const OBSERVED: &str = "select ifnull(sum(ifnull(extract_arg(arg_set_id, 'debug.count'), 1)), 0) from slice \
     where category = 'fault'";
const REQUESTS: &str = "select extract_arg(arg_set_id, 'debug.id'), name, ts, dur, \
     extract_arg(arg_set_id, 'debug.faults.total'), extract_arg(arg_set_id, 'debug.faults.time_ns'), \
     extract_arg(arg_set_id, 'debug.frames.allocated'), extract_arg(arg_set_id, 'debug.rss.delta') \
     from slice where category = 'request' order by 1";
/// By request: how many, and the time in them.
const FAULTS_OF: &str = "select extract_arg(arg_set_id, 'debug.request') as r, count(*), sum(dur) from slice \
     where category = 'fault' and r is not null group by r order by r";
const CALLS_OF: &str = "select extract_arg(arg_set_id, 'debug.request') as r, name, count(*), \
     sum(extract_arg(arg_set_id, 'debug.bytes')) from slice where category = 'mm' and r is not null \
     and extract_arg(arg_set_id, 'debug.error') is null and ifnull(extract_arg(arg_set_id, 'debug.moves'), 1) = 1 \
     group by r, name";
/// Arrows from a request to work for it, and slices of such work that have none.
const FLOWS: &str = "select count(*), sum(o.category = 'request' and i.category = 'work' \
     and extract_arg(o.arg_set_id, 'debug.id') = extract_arg(i.arg_set_id, 'debug.request')), \
     (select count(*) from slice where category = 'work') from flow \
     left join slice o on slice_out = o.id left join slice i on slice_in = i.id";
/// Requests on one row do not overlap, nor do the stretches of a thread's work.
const OVERLAPS: &str = "select count(*) from slice a join slice b on a.track_id = b.track_id and a.id < b.id \
     where a.category in ('request', 'work') and a.category = b.category and a.ts < b.ts + b.dur and b.ts < a.ts + a.dur";
/// Faults lie within the work that they are said to be for.
const ASTRAY: &str = "select count(*) from slice f join slice w on f.parent_id = w.id \
     where f.category = 'fault' and w.category = 'work' \
     and extract_arg(f.arg_set_id, 'debug.request') is not extract_arg(w.arg_set_id, 'debug.request')";
const OPEN_AT_END: &str = "select sum(value) from (select value, row_number() over (partition by track_id order by ts desc, c.id desc) n \
     from counter c join counter_track t on c.track_id = t.id where t.name = 'open requests') where n = 1";

fn plans() -> Vec<Vec<String>> {
    let kinds = [
        "/touch?pages=7",
        "/kernel?pages=5",
        "/brk?pages=6",
        "/none",
        "/keep?pages=3",
        "/unmap?pages=3",
    ];
    (0..3)
        .map(|_| (0..30).map(|i| kinds[i % kinds.len()].to_owned()).collect())
        .collect()
}

fn trace_of(folder: &TempDir) -> String {
    folder.path().join("run.pftrace").display().to_string()
}

fn number(cell: &str) -> i64 {
    cell.parse().unwrap_or_else(|_| panic!("{cell} is no number"))
}

#[track_caller]
fn one(rows: &[Vec<String>]) -> Vec<i64> {
    assert_eq!(rows.len(), 1);
    rows[0].iter().map(|cell| number(cell)).collect()
}

fn signed(figure: u64) -> i64 {
    i64::try_from(figure).expect("a figure that SQL can have")
}

/// Everything in the trace is as the report has it.
#[track_caller]
fn assert_agrees(trace: &Path, report: &Report) {
    for processor in TraceProcessor::all() {
        let queries = [
            OBSERVED,
            REQUESTS,
            FAULTS_OF,
            CALLS_OF,
            FLOWS,
            OVERLAPS,
            ASTRAY,
            OPEN_AT_END,
        ];
        let answers = processor.sound_queries(trace, &queries);
        let [observed, requests, faults, calls, flows, overlaps, astray, open] = &answers[..] else {
            panic!("{processor}: {} answers", answers.len());
        };
        assert_eq!(
            one(observed),
            [signed(report.summary.books.observed)],
            "{processor}"
        );
        assert_requests(requests, report);
        let mut expected: Vec<&Request> = report.requests.iter().filter(|r| r.faults.total > 0).collect();
        expected.sort_by_key(|r| r.id);
        let found: Vec<[i64; 3]> = faults
            .iter()
            .map(|row| [number(&row[0]), number(&row[1]), number(&row[2])])
            .collect();
        let expected: Vec<[i64; 3]> = expected
            .iter()
            .map(|r| {
                let time = r.faults.time_ns.expect("faults are timed");
                [signed(r.id), signed(r.faults.total), signed(time)]
            })
            .collect();
        assert_eq!(
            found, expected,
            "{processor}: faults of requests, and the time in them"
        );
        assert_calls(calls, report);
        let [arrows, right, work] = one(flows)[..] else {
            panic!("three figures")
        };
        assert_eq!(
            (arrows, right),
            (work, work),
            "{processor}: arrows from requests to work"
        );
        assert!(
            work >= signed(report.summary.requests),
            "{processor}: {work} stretches of work"
        );
        assert_eq!((one(overlaps), one(astray)), (vec![0], vec![0]), "{processor}");
        assert_eq!(
            open[0][0].parse::<f64>(),
            Ok(0.0),
            "{processor}: open requests at the end"
        );
    }
}

#[track_caller]
fn assert_requests(rows: &[Vec<String>], report: &Report) {
    let mut requests: Vec<&Request> = report.requests.iter().collect();
    requests.sort_by_key(|r| r.id);
    assert_eq!(rows.len(), requests.len());
    for (row, request) in rows.iter().zip(requests) {
        assert_eq!(row[1], format!("{} {}", request.method, request.route));
        let frames = request.frames.expect("frames are counted").allocated;
        let expected = [
            signed(request.id),
            signed(request.duration_ns),
            signed(request.faults.total),
            signed(request.faults.time_ns.expect("faults are timed")),
            signed(frames),
            request.rss.expect("RSS is known").delta,
        ];
        let found = [0, 3, 4, 5, 6, 7].map(|column| number(&row[column]));
        assert_eq!(found, expected, "{} {}", request.method, request.path);
    }
}

#[track_caller]
fn assert_calls(rows: &[Vec<String>], report: &Report) {
    let mut found: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for row in rows {
        found.insert((number(&row[0]), &row[1]), (number(&row[2]), number(&row[3])));
    }
    let mut any = 0;
    for request in &report.requests {
        let Space {
            mmap_calls,
            mmap_bytes,
            munmap_calls,
            munmap_bytes,
            brk_calls,
            brk_bytes,
            ..
        } = request.space;
        for (name, calls, bytes) in [
            ("mmap", mmap_calls, mmap_bytes),
            ("munmap", munmap_calls, munmap_bytes),
            ("brk", brk_calls, brk_bytes),
        ] {
            let drawn = found
                .get(&(signed(request.id), name))
                .copied()
                .unwrap_or_default();
            assert_eq!(
                drawn,
                (signed(calls), signed(bytes)),
                "{name} of {}",
                request.path
            );
            any += calls;
        }
    }
    assert!(any > 0, "no call was made for any request");
}

#[test]
#[ignore = "needs root, node and trace_processor"]
fn all_that_the_report_has_is_in_the_trace() {
    for mode in [Mode::Threads, Mode::Loop] {
        let folder = tempfile::tempdir().expect("a folder");
        let trace = trace_of(&folder);
        let traced = Traced::drive(mode, &["--fault-time", "--perfetto", &trace], &plans());
        assert_agrees(Path::new(&trace), &traced.report);
    }
}

#[test]
#[ignore = "needs root, node and trace_processor"]
fn a_recordings_trace_is_the_live_runs_at_every_detail() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (recording, live) = (path("run.mtr"), path("live.pftrace"));
    let workload = memtrace_tests::workload::Workload::start(Mode::Threads);
    let pid = workload.pid().to_string();
    let options = [
        "record",
        "--pid",
        &pid,
        "-o",
        &recording,
        "--perfetto",
        &live,
        "--format",
        "ndjson",
    ];
    let memtrace = Memtrace::attach(options);
    let mut client = workload.client();
    for (i, target) in plans().concat().into_iter().enumerate() {
        client.get(&target).expect("an answer");
        if i == 0 {
            // Longer than a request waits for what may still be its: this one is told in the middle of the run.
            std::thread::sleep(std::time::Duration::from_millis(400));
        }
    }
    let run = memtrace.interrupt();
    run.assert_status(0);
    let report = Report::of(&run);
    let observed = signed(report.summary.books.observed);
    let bytes = |path: &str| std::fs::read(path).expect("a trace");

    for detail in ["faults", "runs", "requests"] {
        let (exported, reported) = (path("exported.pftrace"), path("reported.pftrace"));
        let of = |verb: &str, to: &str| {
            let options = [verb, &recording, "--perfetto", to, "--perfetto-detail", detail];
            memtrace::run(options).assert_status(0);
        };
        of("export", &exported);
        of("report", &reported);
        assert!(
            bytes(&exported) == bytes(&reported),
            "{detail}: export and report differ"
        );
        if detail == "faults" {
            assert!(bytes(&exported) == bytes(&live), "the live run's trace differs");
        }
        let (faults, slices) = match detail {
            "faults" => (observed, Some(observed)),
            "runs" => (observed, None),
            _ => (0, Some(0)),
        };
        for processor in TraceProcessor::all() {
            let count = "select count(*) from slice where category = 'fault'";
            let requests = "select count(*) from slice where category = 'request'";
            let answers = processor.sound_queries(Path::new(&exported), &[OBSERVED, count, requests]);
            assert_eq!(one(&answers[0]), [faults], "{processor}, {detail}");
            let found = one(&answers[1])[0];
            assert!(
                slices.is_none_or(|slices| slices == found),
                "{processor}, {detail}: {found}"
            );
            if detail == "runs" {
                assert!(
                    found < observed,
                    "{processor}: {found} slices for {observed} faults"
                );
            }
            assert_eq!(
                one(&answers[2]),
                [signed(report.summary.requests)],
                "{processor}, {detail}"
            );
        }
    }
    assert_tables(&recording, folder.path(), &report);
}

/// The tables that are exported have a row for each request and each fault.
#[track_caller]
fn assert_tables(recording: &str, folder: &Path, report: &Report) {
    let tables = folder.join("tables");
    let to = tables.display().to_string();
    memtrace::run(["export", recording, "--csv", &to]).assert_status(0);
    let read = |name: &str| std::fs::read_to_string(tables.join(name)).expect("a table");
    let (requests, faults) = (read("requests.csv"), read("faults.csv"));
    assert_eq!(requests.lines().count() - 1, report.requests.len());
    assert_eq!(
        faults.lines().count() - 1,
        usize::try_from(report.summary.books.observed).expect("a count")
    );
    let column = |text: &str, name: &str| {
        let header = text.lines().next().expect("a header");
        header
            .split(',')
            .position(|column| column == name)
            .expect("a column")
    };
    let (id, total, of) = (
        column(&requests, "id"),
        column(&requests, "faults.total"),
        column(&faults, "request"),
    );
    let mut on: BTreeMap<String, u64> = BTreeMap::new();
    for line in faults.lines().skip(1) {
        let field = line.split(',').nth(of).expect("a field");
        *on.entry(field.to_owned()).or_default() += 1;
    }
    for line in requests.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let rows = on.get(fields[id]).copied().unwrap_or(0);
        assert_eq!(rows.to_string(), fields[total], "{line}");
    }
}

#[test]
#[ignore = "needs root, node and trace_processor"]
fn a_gap_is_drawn_where_it_is() {
    memtrace_tests::require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let trace = trace_of(&folder);
    let mut storm = Storm::ready(300_000);
    let pid = storm.pid().to_string();
    let options = [
        "--pid",
        &pid,
        "--buffer",
        "4K",
        "--format",
        "ndjson",
        "--perfetto",
        &trace,
    ];
    let memtrace = Memtrace::attach(options);
    storm.blow();
    let run: Finished = memtrace.interrupt();
    run.assert_status(3);
    let report = Report::of(&run);
    run.assert(report.summary.lost.fault > 0, "nothing was lost");
    for processor in TraceProcessor::all() {
        let gaps = "select sum(extract_arg(arg_set_id, 'debug.fault')), min(dur) > 0, count(*) > 0 from slice \
             join track on track_id = track.id where category = 'lost' and track.name = 'losses'";
        let answers = processor.sound_queries(Path::new(&trace), &[gaps, OBSERVED]);
        assert_eq!(
            one(&answers[0]),
            [signed(report.summary.lost.fault), 1, 1],
            "{processor}"
        );
        assert_eq!(
            one(&answers[1]),
            [signed(report.summary.books.observed)],
            "{processor}"
        );
    }
}

#[test]
#[ignore = "needs root, node and trace_processor"]
fn the_demos_trace_can_be_opened() {
    memtrace_tests::require_root();
    let folder = tempfile::tempdir().expect("a folder");
    let trace = trace_of(&folder);
    memtrace::run(["demo", "--perfetto", &trace]).assert_status(0);
    for processor in TraceProcessor::all() {
        let groups = "select count(distinct t.name) from track t join track g on t.parent_id = g.id where g.name = 'requests'";
        let named = "select count(*) from process where name = 'fortune-app'";
        let answers = processor.sound_queries(Path::new(&trace), &[groups, named, FLOWS]);
        assert!(
            one(&answers[0])[0] >= 2,
            "{processor}: two browsers need two rows"
        );
        assert_eq!(one(&answers[1]), [1], "{processor}");
        let [arrows, right, work] = one(&answers[2])[..] else {
            panic!("three figures")
        };
        assert!(
            work > 0 && (arrows, right) == (work, work),
            "{processor}: {arrows} {right} {work}"
        );
    }
}
