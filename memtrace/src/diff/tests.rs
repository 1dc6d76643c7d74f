//! Comparisons as snapshots and as JSON; below, what holds of any two runs.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    ledger::{causes_of, entry::FileFaults, regions_of},
    report::{sample, table::WallClock},
};

fn about(name: &str) -> About {
    About {
        name: name.to_owned(),
        origin: Origin {
            memtrace: "0.1.0".to_owned(),
            kernel: "6.18.44".to_owned(),
            page_size: 4096,
            ..Origin::default()
        },
        asked: Asked::default(),
        programs: BTreeMap::new(),
        summary: sample::summary(),
        is_conclusive: true,
    }
}

fn gathered(requests: &[Request]) -> Gathering {
    let mut gathering = Gathering::default();
    for request in requests {
        gathering.push(request);
    }
    gathering
}

fn side(name: &str, requests: &[Request]) -> Side {
    gathered(requests).finish(About {
        summary: Summary {
            requests: requests.len() as u64,
            ..sample::summary()
        },
        ..about(name)
    })
}

fn written(form: Form, width: Option<usize>, before: &Side, after: &Side) -> String {
    let options = TableOptions {
        width,
        colour: false,
        wall: WallClock {
            offset_ns: 0,
            zone: TimeZone::UTC,
        },
    };
    let mut out = Vec::new();
    Diff::of(before, after).write(form, &options, &mut out);
    String::from_utf8(out).unwrap()
}

/// A request whose faults are all zero fill in anonymous memory, but for those in a file.
fn touching(path: &str, anon: u64, file: u64) -> Request {
    let mut request = sample::request(1, "GET", path, anon + file);
    request.faults.cause = Some(causes_of(&[("file_map", file), ("zero_fill", anon)]));
    request.faults.region = Some(regions_of(&[("anon", anon), ("file", file)]));
    request.faults.files = Some(vec![FileFaults {
        path: "/usr/lib/libc.so.6".to_owned(),
        faults: file,
    }]);
    request
}

fn times(n: usize, request: &Request) -> Vec<Request> {
    vec![request.clone(); n]
}

/// One route that moved, one that did not, one that is new and one that is gone.
fn two() -> (Side, Side) {
    let same = times(6, &touching("/same", 12, 1));
    let mut before = times(6, &touching("/moved", 100, 2));
    let mut after = times(8, &touching("/moved", 218, 5));
    for request in &mut after {
        request.duration_ns = 3_000_000;
        request.space.mmap_bytes = 262_144;
    }
    before.extend(times(5, &touching("/gone", 7, 0)));
    before.push(sample::full(9));
    after.extend(times(2, &touching("/new/17", 40, 0)));
    before.extend(same.clone());
    after.extend(same);
    (side("a.mtr", &before), side("b.mtr", &after))
}

#[test]
fn routes_that_moved_came_and_went() {
    let (before, after) = two();
    insta::assert_snapshot!(written(Form::Table, None, &before, &after));
}

#[test]
fn in_60_columns() {
    let (before, after) = two();
    let text = written(Form::Table, Some(60), &before, &after);
    assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_moved() {
    let (before, _) = two();
    insta::assert_snapshot!(written(Form::Table, None, &before, &before));
}

#[test]
fn runs_without_requests() {
    let (before, mut after) = (side("a.mtr", &[]), side("b.mtr", &[]));
    after.about.origin.kernel = "5.10.0".to_owned();
    after.about.origin.page_size = 65_536;
    after.about.asked.route = vec!["/users/{id}".to_owned()];
    after.about.summary.books.balanced = false;
    after.about.summary.lost.io = 3;
    after
        .about
        .summary
        .notes
        .push("the recording is cut \u{1b}[2Joff".to_owned());
    after.about.is_conclusive = false;
    insta::assert_snapshot!(written(Form::Table, None, &before, &after));
}

#[test]
fn json_is_one_object_of_integers_and_nulls() {
    let (before, after) = two();
    let text = written(Form::Json, None, &before, &after);
    assert_eq!(text.matches('\n').count(), 1);
    let diff: Value = serde_json::from_str(&text).unwrap();
    assert!(
        text.starts_with(r#"{"type":"diff","before":{"recording":"a.mtr""#),
        "{text}"
    );
    let route = |name: &str| {
        let routes = diff["routes"].as_array().unwrap();
        routes.iter().find(|route| route["route"] == name).unwrap()
    };
    let moved = route("/moved");
    assert_eq!(diff["routes"][0], *moved);
    assert_eq!(moved["before"]["faults"]["total"]["p50"], 102);
    assert_eq!(moved["after"]["faults"]["total"]["sum"], 223 * 8);
    assert_eq!(
        moved["moved"]["cause"],
        serde_json::json!({"file_map": {"before": 12, "after": 40}, "zero_fill": {"before": 600, "after": 1744}})
    );
    assert_eq!(moved["moved"]["mmap_bytes"]["after"], 8 * 262_144);
    assert_eq!(route("/same")["moved"]["region"], serde_json::json!({}));
    let (new, gone) = (route("/new/{id}"), route("/gone"));
    assert!(new["before"].is_null() && gone["after"].is_null());
    assert!(new["moved"]["region"]["anon"]["before"].is_null());
    assert_eq!(gone["moved"]["region"]["anon"]["before"], 35);
    // What no request says is not known.
    let plain = side("c.mtr", &[sample::request(1, "GET", "/", 3)]);
    let text = written(Form::Json, None, &plain, &plain);
    let diff: Value = serde_json::from_str(&text).unwrap();
    assert!(diff["routes"][0]["moved"]["cause"].is_null());
    assert!(diff["routes"][0]["before"]["rss_delta"].is_null());
}

#[test]
fn requests_of_different_number_are_compared_one_by_one() {
    let change = Change::of([30, 20], [3, 2]);
    assert_eq!((change.sign(), change.size()), (0, 0));
    assert!(Change::of([0, 1], [2, 2]).is_worth_a_word());
    assert!(!Change::of([0, 499], [1_000, 1_000]).is_worth_a_word());
    // However small, it is no zero.
    assert_eq!(Change::of([0, 1], [1, u64::MAX]).sign(), 1);
    assert_eq!(Change::of([u64::MAX, 0], [u64::MAX, u64::MAX]).sign(), -1);
}

#[test]
fn routes_and_files_have_a_bound() {
    let mut gathering = Gathering::default();
    for number in 0..ROUTES_MAX + 3 {
        let mut request = touching("/", 0, 1);
        request.route = format!("/r{number}");
        request.faults.files = Some(
            (0..20)
                .map(|file| FileFaults {
                    path: format!("/lib/{file}"),
                    faults: 1,
                })
                .collect(),
        );
        gathering.push(&request);
    }
    assert_eq!(
        (gathering.sums.len(), gathering.files),
        (ROUTES_MAX + 1, FILES_MAX)
    );
    let files: u64 = gathering
        .sums
        .values()
        .flat_map(Sums::files)
        .map(|(_, sum)| sum)
        .sum();
    assert_eq!(files, 20 * (ROUTES_MAX as u64 + 3));
    let side = gathering.finish(about("a.mtr"));
    let diff = Diff::of(&side, &side);
    let other = diff.rows.iter().find(|row| row.route == OTHER_ROUTE).unwrap();
    assert!(other.sums[0].is_some_and(|sums| sums.causes().contains(&("file_map", 3))));
}

proptest! {
    #[test]
    fn a_run_beside_itself_moves_nothing(requests in prop::collection::vec(sample::any_request(), 0..20)) {
        let side = side("a.mtr", &requests);
        let diff = Diff::of(&side, &side);
        for row in &diff.rows {
            prop_assert_eq!(row.faults.sign(), 0);
            prop_assert!(row.causes.is_empty() && row.regions.is_empty() && row.files.is_empty());
        }
        prop_assert!(!written(Form::Table, None, &side, &side).contains(" a request: "));
    }

    #[test]
    fn swapped_sides_negate(
        before in prop::collection::vec(sample::any_request(), 0..20),
        after in prop::collection::vec(sample::any_request(), 0..20),
        kinds in (0..99_u64, 0..99_u64, 0..99_u64, 0..99_u64),
    ) {
        let with = |mut requests: Vec<Request>, request: Request| {
            requests.push(request);
            requests
        };
        let before = side("a.mtr", &with(before, touching("/k", kinds.0, kinds.1)));
        let after = side("b.mtr", &with(after, touching("/k", kinds.2, kinds.3)));
        let (there, back) = (Diff::of(&before, &after), Diff::of(&after, &before));
        prop_assert_eq!(there.rows.len(), back.rows.len());
        let all = |row: &Row<'_>| {
            let parts = [&row.causes, &row.regions, &row.files];
            let parts = parts.into_iter().flatten().map(|(name, change)| ((*name).to_owned(), *change));
            std::iter::once((String::new(), row.faults)).chain(parts).collect::<Vec<_>>()
        };
        for (there, back) in there.rows.iter().zip(&back.rows) {
            prop_assert_eq!((there.route, there.method), (back.route, back.method));
            for ((name, one), (same, other)) in all(there).into_iter().zip(all(back)) {
                prop_assert_eq!(name, same);
                prop_assert_eq!((one.sign(), one.size()), (-other.sign(), other.size()));
                prop_assert_eq!(one.sums, [other.sums[1], other.sums[0]]);
            }
        }
    }

    #[test]
    fn any_two_runs_fit_any_width(
        before in prop::collection::vec(sample::any_request(), 0..9),
        after in prop::collection::vec(sample::any_request(), 0..9),
        width in prop::option::of(0..200_usize),
    ) {
        let text = written(Form::Table, width, &side("a.mtr", &before), &side("b.mtr", &after));
        let is_escaped = !text.contains('\u{1b}');
        prop_assert!(is_escaped);
    }
}
