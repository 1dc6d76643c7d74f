//! Whole reports as snapshots; below, against the schema and for any request that may come.

mod any;
mod schema;

use jiff::tz::TimeZone;

use super::*;
use crate::ledger::entry::{Books, Lost};
use crate::ledger::spread::Routes;
use table::WallClock;
use view::SortBy;

/// 2026-03-02 14:02:10 UTC was second 0 of the kernel's clock.
fn options(width: Option<usize>, colour: bool) -> TableOptions {
    let offset_ns = 1_772_460_130_000_000_000;
    TableOptions {
        width,
        colour,
        wall: WallClock {
            offset_ns,
            zone: TimeZone::UTC,
        },
    }
}

fn plain() -> TableOptions {
    options(None, false)
}

/// A report of these requests and of the routes that they make.
fn report(
    format: Format,
    view: View,
    table: TableOptions,
    requests: &[Request],
    summary: &Summary,
) -> String {
    let mut routes = Routes::new();
    requests
        .iter()
        .filter(|request| view.selects(request))
        .for_each(|request| routes.push(request));
    let (mut reporter, mut out) = (Reporter::new(format, view, table), Vec::new());
    reporter.open(&mut out);
    for request in requests {
        reporter.request(request, &mut out);
    }
    reporter.close(&routes.finish(), summary, &mut out);
    String::from_utf8(out).unwrap()
}

fn table(width: Option<usize>, requests: &[Request], summary: &Summary) -> String {
    report(
        Format::Table,
        View::default(),
        options(width, false),
        requests,
        summary,
    )
}

/// A short run of a small app, without what later features bring.
fn run() -> Vec<Request> {
    let mut requests = vec![
        sample::request(1, "POST", "/saju", 1_214),
        sample::request(2, "GET", "/", 14),
        sample::request(
            3,
            "GET",
            "/users/17/photos/2024-03-02-at-the-beach-with-everybody.jpeg",
            31,
        ),
        sample::request(4, "GET", "/users/18/photos/x.jpeg", 20),
        sample::request(5, "GET", "/static/\u{1b}[2J\u{9b}1m/사주.css", 0),
        sample::request(6, "DELETE", "/sessions/0af7651916cd43dd", 5),
        sample::request(7, "", "", 3),
    ];
    for (index, request) in requests.iter_mut().enumerate() {
        request.start_ns += index as u64 * 700_000_000;
    }
    let saju = &mut requests[0];
    saju.duration_ns = 412_345_678;
    (saju.faults.user_mode, saju.faults.kernel_mode) = (753, 461);
    (saju.faults.minor, saju.faults.major) = (1_212, 2);
    requests[1].duration_ns = 1_234_567;
    requests[3].status = Some(502);
    (requests[5].complete, requests[5].duration_ns) = (false, 3_400_000_000);
    (requests[6].complete, requests[6].status, requests[6].duration_ns) = (false, None, 850);
    requests
}

#[test]
fn a_table() {
    insta::assert_snapshot!(table(Some(100), &run(), &sample::summary()));
}

#[test]
fn a_table_in_80_columns() {
    insta::assert_snapshot!(table(Some(80), &run(), &sample::summary()));
}

#[test]
fn a_table_in_40_columns() {
    insta::assert_snapshot!(table(Some(40), &run(), &sample::summary()));
}

#[test]
fn a_table_that_goes_to_a_file() {
    insta::assert_snapshot!(table(None, &run(), &sample::summary()));
}

/// A path that is longer than any screen moves the figures of its own line only.
#[test]
fn a_long_route_leaves_the_other_lines_alone() {
    let long = format!("/{}", "x".repeat(9_000));
    let requests = [
        sample::request(1, "GET", &long, 14),
        sample::request(2, "GET", "/", 14),
    ];
    let text = table(None, &requests, &sample::summary());
    let (long, others): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.contains("xxx"));
    assert_eq!(long.len(), 2, "a request and its route");
    let longest = others.iter().max_by_key(|line| line.len()).unwrap();
    assert!(longest.len() < 200, "{longest}");
}

#[test]
fn a_table_in_colour() {
    let mut summary = sample::summary();
    summary.books.balanced = false;
    let text = report(
        Format::Table,
        View::default(),
        options(Some(100), true),
        &run(),
        &summary,
    );
    insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
    // Colour changes no column: without its codes it is the plain table.
    let mut bare = String::new();
    for part in text
        .split_inclusive('m')
        .flat_map(|part| part.split_once('\u{1b}').map_or([part, ""], |(a, _)| [a, ""]))
    {
        bare.push_str(part);
    }
    assert_eq!(bare, table(Some(100), &run(), &summary));
}

#[test]
fn a_table_with_what_later_features_bring() {
    let mut grown = sample::full(2);
    if let Some(rss) = &mut grown.rss {
        rss.delta = 4_823_450;
    }
    let mut unknown = sample::request(3, "POST", "/saju", 7);
    unknown.faults.attribution.causal = Some(0);
    let mut summary = sample::summary();
    (summary.books.direct, summary.books.causal) = (23_000, Some(1_002));
    let requests = [
        sample::full(1),
        grown,
        unknown,
        sample::request(4, "GET", "/", 12),
    ];
    insta::assert_snapshot!(table(Some(110), &requests, &summary));
}

#[test]
fn the_worst_first() {
    let view = View {
        min_faults: 5,
        sort: Some(SortBy::Faults),
        only: vec!["GET /*".parse().unwrap(), "POST /*".parse().unwrap()],
        ..View::default()
    };
    insta::assert_snapshot!(report(
        Format::Table,
        view,
        options(Some(100), false),
        &run(),
        &sample::summary()
    ));
}

#[test]
fn no_request_at_all() {
    let mut summary = sample::summary();
    summary.requests = 0;
    (summary.books.direct, summary.books.unattributed) = (0, 24_310);
    summary.unattributed = [("idle".to_owned(), 24_310)].into();
    summary.notes = vec![
        "no connection carried HTTP/1: is the traffic TLS, or HTTP/2?".to_owned(),
        "node uses io_uring (fd 12 \u{1b}[0m), whose reads fire no probe".to_owned(),
    ];
    let text = table(Some(80), &[], &summary);
    insta::assert_snapshot!(text);
}

#[test]
fn books_that_need_more_words() {
    let balanced = sample::summary();
    let said = |change: &dyn Fn(&mut Summary)| {
        let mut summary = balanced.clone();
        change(&mut summary);
        books::run(&summary)
            .into_iter()
            .chain(books::books(&summary))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let lost = Lost {
        fault: 15,
        io: 3,
        task: 1,
        ns: 12_000_000,
        ..Lost::default()
    };
    let cases = [
        said(&|summary| (summary.books.kernel_min_flt, summary.books.untraced) = (24_320, 12)),
        said(&|summary| summary.books.failed = 8),
        said(&|summary| (summary.requests, summary.other_requests) = (0, 3)),
        said(&|summary| (summary.books.failed, summary.command_status) = (1, Some(3))),
        said(&|summary| {
            (summary.books.kernel_min_flt, summary.books.dropped, summary.lost) = (24_323, 15, lost);
        }),
        said(&|summary| {
            summary.lost = Lost {
                mm: 2,
                frame: 4,
                ..Lost::default()
            }
        }),
        said(&|summary| (summary.books.kernel_min_flt, summary.books.balanced) = (24_318, false)),
        said(&|summary| (summary.books.kernel_min_flt, summary.books.balanced) = (24_300, false)),
        said(&|summary| summary.books.balanced = false),
        said(&|summary| {
            (summary.requests, summary.target.pids, summary.command_status) = (1, vec![7, 8, 9], Some(0));
            summary.books = Books {
                kernel_min_flt: 1,
                observed: 1,
                direct: 1,
                balanced: true,
                ..Books::default()
            };
            summary.unattributed.clear();
        }),
    ];
    insta::assert_snapshot!(cases.join("\n\n"));
}

#[test]
fn lines_of_json() {
    let requests = [
        sample::full(7),
        sample::request(8, "GET", "/a/\u{1b}[2J\u{9b}\u{202e}\"\\/é", 3),
    ];
    insta::assert_snapshot!(report(
        Format::Ndjson,
        View::default(),
        plain(),
        &requests,
        &sample::summary()
    ));
}

#[test]
fn one_document() {
    let requests = [sample::full(7), sample::request(8, "GET", "/", 3)];
    insta::assert_snapshot!(report(
        Format::Json,
        View::default(),
        plain(),
        &requests,
        &sample::summary()
    ));
    insta::assert_snapshot!(
        "an_empty_document",
        report(Format::Json, View::default(), plain(), &[], &sample::summary())
    );
}

#[test]
fn a_view_holds_for_every_format() {
    for format in [Format::Json, Format::Ndjson] {
        let view = View {
            min_faults: 20,
            sort: Some(SortBy::Faults),
            ..View::default()
        };
        let text = report(format, view, plain(), &run(), &sample::summary());
        let ids: Vec<&str> = text
            .split("\"type\":\"request\",\"id\":")
            .skip(1)
            .map(|rest| &rest[..1])
            .collect();
        assert_eq!(ids, ["1", "3", "4"]);
        assert!(
            text.contains(r#""notes":["4 requests are not listed: fewer than 20 faults (--min-faults)"]"#),
            "{text}"
        );
    }
}

#[test]
fn formats_have_names() {
    let seen = ["table", "ndjson", "json"].map(str::parse);
    assert_eq!(seen, [Ok(Format::Table), Ok(Format::Ndjson), Ok(Format::Json)]);
    insta::assert_snapshot!("yaml".parse::<Format>().unwrap_err(), @"--format 'yaml': no such format; there are table, ndjson and json");
}

#[test]
fn a_time_of_day_that_no_calendar_has() {
    let mut options = plain();
    options.wall.offset_ns = i128::MAX;
    let text = report(
        Format::Table,
        View::default(),
        options,
        &run()[1..2],
        &sample::summary(),
    );
    assert!(text.contains("--:--:--  GET  /"), "{text}");
}
