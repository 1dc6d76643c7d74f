//! Runs of made-up requests, held to baselines of such.

use jiff::tz::TimeZone;

use super::{
    baseline::{Baseline, Environment},
    chance::Quantile,
    judge::{Judgement, Verdict, What, judge},
    metric::Metric,
    samples::{Gathering, Samples},
    text,
};
use crate::{
    ledger::entry::{Request, Rss},
    report::{
        sample::request,
        table::{TableOptions, WallClock},
    },
};

/// Requests of one route that take so many faults each.
fn touches(faults: impl IntoIterator<Item = u64>) -> Vec<Request> {
    (1..)
        .zip(faults)
        .map(|(id, faults)| request(id, "GET", "/touch", faults))
        .collect()
}

fn run(requests: &[Request]) -> Samples {
    let mut gathering = Gathering::default();
    for request in requests {
        gathering.push(request);
    }
    gathering.finish(None)
}

fn here() -> Environment {
    Environment {
        kernel: "6.18.0".to_owned(),
        page_size: 4096,
        memtrace: "0.1.0".to_owned(),
    }
}

fn written(requests: &[Request]) -> String {
    Baseline::default().updated(&run(requests), &here())
}

fn baseline(text: &str) -> Baseline {
    Baseline::parse(text).expect("a baseline")
}

/// What is made of such requests, after those.
fn judged(before: &[Request], after: &[Request]) -> Judgement {
    judge(&baseline(&written(before)), &run(after), &here(), &[])
}

fn verdicts(judgement: &Judgement) -> Vec<(What, Verdict)> {
    let told = judgement
        .lines
        .iter()
        .filter(|line| line.verdict != Verdict::Same);
    told.map(|line| (line.what, line.verdict)).collect()
}

const FAULTS: What = What::Figure(Metric::Faults, Quantile::P50);

#[test]
fn the_same_again_is_within_the_baseline() {
    let before = touches((0..200).map(|i| 48 + i % 3));
    let judgement = judged(&before, &before);
    assert_eq!(verdicts(&judgement), []);
    assert!(!judgement.is_regression() && !judgement.is_inconclusive());
    assert!(judgement.lines.iter().any(|line| line.what == FAULTS));
}

#[test]
fn more_is_a_regression_and_less_is_none() {
    let before = touches([60; 100]);
    let more = judged(&before, &touches([64; 100]));
    assert_eq!(
        verdicts(&more),
        [
            (FAULTS, Verdict::More),
            (What::Figure(Metric::Minor, Quantile::P50), Verdict::More)
        ]
    );
    assert!(more.is_regression());
    let less = judged(&before, &touches([50; 100]));
    assert_eq!(verdicts(&less)[0], (FAULTS, Verdict::Less));
    assert!(!less.is_regression() && !less.is_inconclusive());
    assert_eq!(verdicts(&judged(&before, &touches([62; 100]))), [], "two faults");
}

#[test]
fn more_requests_that_take_more_are_a_regression_though_half_of_them_do_not() {
    let every = |nth: u64| touches((0..1200).map(move |i| if i % nth == 5 { 500 } else { 48 }));
    let judgement = judged(&every(12), &every(6));
    assert_eq!(
        verdicts(&judgement)[0],
        (What::Figure(Metric::Faults, Quantile::P90), Verdict::More)
    );
    assert_eq!(verdicts(&judged(&every(12), &every(12))), []);
}

#[test]
fn few_requests_are_inconclusive_and_never_pass() {
    let many = touches([60; 100]);
    for few in [&many[..0], &many[..1], &many[..10]] {
        for (before, after) in [(&many[..], few), (few, &many[..])] {
            let judgement = judged(before, after);
            assert!(judgement.is_inconclusive(), "{judgement:?}");
        }
    }
}

#[test]
fn a_route_that_is_missing_is_inconclusive_and_a_new_one_is_told() {
    let before = touches([60; 100]);
    let mut other = before.clone();
    for request in &mut other {
        request.route = "/other".to_owned();
    }
    let judgement = judged(&before, &other);
    assert_eq!(
        verdicts(&judgement),
        [(What::Route, Verdict::New), (What::Route, Verdict::Missing)]
    );
    assert!(judgement.is_inconclusive() && !judgement.is_regression());
}

#[test]
fn what_was_not_asked_for_is_not_missing() {
    let before = touches([60; 100]);
    let text = written(&before).replace("GET /touch", "GET /users/{id}");
    let asked = |only: &str| {
        let only = [only.parse().expect("an --only")];
        verdicts(&judge(&baseline(&text), &run(&before), &here(), &only)).len()
    };
    assert_eq!(asked("GET /users/{id}"), 2, "new, and missing");
    assert_eq!(asked("* /touch"), 1);
    assert_eq!(asked("POST /users/{id}"), 1);
}

#[test]
fn nothing_against_nothing_never_passes() {
    let nothing = judge(&baseline("version = 1"), &run(&touches([1; 100])), &here(), &[]);
    assert_eq!(nothing.doubts.len(), 1);
    let no_requests = judge(
        &baseline("version = 1\n[limits]\nmax = 1"),
        &run(&[]),
        &here(),
        &[],
    );
    assert_eq!(no_requests.doubts.len(), 1);
    let limits_alone = judge(
        &baseline("version = 1\n[limits]\nmax = 1"),
        &run(&touches([1; 100])),
        &here(),
        &[],
    );
    assert!(!limits_alone.is_inconclusive());
}

#[test]
fn warm_ups_are_judged_apart() {
    let cold = |requests: usize, faults| {
        let rest = std::iter::repeat_n(48, 200);
        touches(std::iter::repeat_n(faults, requests).chain(rest))
    };
    assert_eq!(
        verdicts(&judged(&cold(0, 0), &cold(30, 900))),
        [],
        "the first one"
    );
    let (before, after) = (cold(10, 300), cold(30, 900));
    assert_eq!(verdicts(&judged(&before, &after)), []);
    let limited = |limit: u64| {
        let text = format!("{}\n[limits]\nmax_warmup = {limit}\n", written(&before));
        verdicts(&judge(&baseline(&text), &run(&after), &here(), &[]))
    };
    assert_eq!(limited(27_000), []);
    assert_eq!(limited(26_999), [(What::WarmUp, Verdict::Over)]);
    let falling = judged(&cold(0, 0), &touches((0..200).rev().map(|i| 48 + 10 * i)));
    assert_eq!(verdicts(&falling), [(What::Route, Verdict::NotSteady)]);
    assert!(falling.is_inconclusive());
}

#[test]
fn limits_are_for_every_request_and_a_routes_own_comes_first() {
    let requests = touches((0..100).map(|i| 48 + i % 10));
    let text = written(&requests);
    let most = |text: &str| {
        let judgement = judge(&baseline(text), &run(&requests), &here(), &[]);
        verdicts(&judgement)
    };
    let for_all = |limits: &str| format!("{text}\n[limits]\n{limits}\n");
    assert_eq!(most(&for_all("max = 57")), []);
    assert_eq!(
        most(&for_all("max = 56")),
        [(What::Most(Metric::Faults), Verdict::Over)]
    );
    assert_eq!(most(&for_all("max_major = 0")), []);
    let own = for_all("max = 56").replace("warmup = 0", "warmup = 0\nmax = 60");
    assert_eq!(most(&own), []);
}

#[test]
fn sizes_have_units() {
    let mut requests = touches([1; 100]);
    for request in &mut requests {
        request.rss = Some(Rss {
            delta: 3 << 20,
            ..Rss::default()
        });
    }
    let text = written(&requests);
    for (limit, is_over) in [("\"2 MiB\"", true), ("\"3MiB\"", false), ("3145727", true)] {
        let text = format!("{text}\n[limits]\nmax_rss_delta = {limit}\n");
        let judgement = judge(&baseline(&text), &run(&requests), &here(), &[]);
        assert_eq!(judgement.is_regression(), is_over, "{limit}");
    }
}

#[test]
fn another_page_size_is_inconclusive_and_another_kernel_is_named_where_something_moved() {
    let before = touches([60; 100]);
    let text = written(&before);
    let elsewhere = |page_size, kernel: &str| Environment {
        page_size,
        kernel: kernel.to_owned(),
        ..here()
    };
    let same = judge(&baseline(&text), &run(&before), &elsewhere(4096, "7.0.0"), &[]);
    assert_eq!((same.doubts.len(), same.notes.len()), (0, 0));
    let moved = judge(
        &baseline(&text),
        &run(&touches([80; 100])),
        &elsewhere(4096, "7.0.0"),
        &[],
    );
    assert_eq!((moved.doubts.len(), moved.notes.len()), (0, 1));
    let large = judge(&baseline(&text), &run(&before), &elsewhere(65_536, "6.18.0"), &[]);
    assert!(large.is_inconclusive());
}

#[test]
fn a_figure_that_the_run_does_not_know_never_passes() {
    let before = touches([60; 100]);
    let mut timed = before.clone();
    for request in &mut timed {
        request.faults.time_ns = Some(1);
    }
    let fault_time = What::Figure(Metric::FaultTime, Quantile::P50);
    let judgement = judged(&timed, &before);
    assert_eq!(verdicts(&judgement), [(fault_time, Verdict::Unknown)]);
    assert!(judgement.is_inconclusive());
    let limited = format!("{}\n[limits]\nmax_fault_time = 100\n", written(&before));
    let judgement = judge(&baseline(&limited), &run(&before), &here(), &[]);
    assert_eq!(
        verdicts(&judgement),
        [(What::Most(Metric::FaultTime), Verdict::Unknown)]
    );
}

#[test]
fn what_is_left_out_is_said() {
    let mut requests = touches([60; 100]);
    requests[7].complete = false;
    let judgement = judged(&requests, &requests);
    assert_eq!(judgement.notes.len(), 1, "{judgement:?}");
    let many: Vec<Request> = (0..1002)
        .map(|id| request(id, "GET", &format!("/r{id}x"), 1))
        .collect();
    assert!(judged(&many, &many).doubts[0].starts_with("2 requests of further routes"));
}

#[test]
fn a_baseline_is_short_and_reads_well() {
    let mut requests = touches((0..100).map(|i| if i < 4 { 900 } else { 48 + i % 3 }));
    requests.extend((200..250).map(|id| request(id, "POST", "/saju", 7)));
    insta::assert_snapshot!(written(&requests));
}

#[test]
fn what_people_have_written_stays() {
    let text = written(&touches([60; 100]));
    let with_words = text
        .replace("version = 1", "# Ours.\nversion = 1 # the first")
        .replace("requests = 100", "max = 90 # see issue 12\nrequests = 100");
    let again = baseline(&with_words).updated(&run(&touches([61; 100])), &here());
    assert_eq!(again, with_words.replace("= 60", "= 61"));
    let first_of_all: Vec<Request> = (0..50).map(|id| request(id, "GET", "/a", 1)).collect();
    let another = baseline(&again).updated(&run(&first_of_all), &here());
    assert!(
        another.contains("max = 90 # see issue 12"),
        "the other route stays"
    );
    assert!(
        another.find("GET /a").expect("the new one") < another.find("GET /touch").expect("the old one"),
        "{another}"
    );
    assert_eq!(
        baseline(&another).updated(&run(&first_of_all), &here()),
        another,
        "written twice it is the same"
    );
}

#[test]
fn what_is_no_baseline_is_refused_by_name() {
    let good = written(&touches((0..100).map(|i| 60 + i % 9)));
    let refused = |text: &str| Baseline::parse(text).expect_err(text).to_string();
    let changed = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        refused(&text)
    };
    assert_eq!(refused(""), "version: it is missing: this is no baseline");
    assert!(changed("version = 1", "version = 2").contains("2 is none"));
    assert!(changed("[environment]", "[enviroment]").starts_with("enviroment: no such entry"));
    assert!(changed("page_size = 4096", "page_size = \"4K\"").contains("a whole number"));
    assert!(changed("warmup = 0", "max_majr = 0").contains("max_majr: no such entry"));
    assert!(changed("warmup = 0", "max_mmap_bytes = \"2 MB\"").contains("\"2 MiB\""));
    assert!(changed("warmup = 0", "max = \"2 MiB\"").contains("a whole number"));
    assert!(changed("warmup = 0", "warmup = -1").contains("no less than 0"));
    assert!(changed("p75", "p80").contains("p80: no such entry"));
    assert!(changed("p50 = 64, ", "").contains("p50 is missing"));
    assert!(changed("p50 = 64", "p50 = 640").contains("no less than the one before"));
    assert!(changed("\"major\"", "\"mayor\"").contains("nothing: no such entry"));
    assert!(refused("version = 1\nroutes = 3").contains("routes: it should be a table"));
    assert!(refused("version = ").contains("TOML parse error at line 1"));
}

#[test]
fn the_verdicts_are_told() {
    let before = touches((0..100).map(|i| if i < 4 { 900 } else { 48 }));
    let mut after = touches((0..100).map(|i| if i < 3 { 700 } else { 60 }));
    after.extend((200..250).map(|id| request(id, "POST", "/saju", 7)));
    let samples = run(&after);
    let judgement = judge(&baseline(&written(&before)), &samples, &here(), &[]);
    let mut out = Vec::new();
    let options = TableOptions {
        width: None,
        colour: false,
        wall: WallClock {
            offset_ns: 0,
            zone: TimeZone::UTC,
        },
    };
    text::write(&judgement, &samples, &options, &mut out);
    insta::assert_snapshot!(String::from_utf8(out).expect("text"));
}
