//! Runs of made-up requests, held to baselines of such.

use std::collections::BTreeMap;

use super::{
    baseline::Baseline,
    chance::Quantile,
    environment::Environment,
    judge::{Judgement, Verdict, What, judge},
    metric::Metric,
    samples::{Gathering, Samples},
    why::whys,
};
use crate::{
    ledger::entry::{Request, Rss},
    report::{sample::request, view::Only},
};

mod file;
mod told;

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
        huge_pages: Some("madvise".to_owned()),
        programs: texts("node", "1a2b3c"),
        settings: Some(texts("MALLOC_ARENA_MAX", "2")),
    }
}

fn texts(name: &str, text: &str) -> BTreeMap<String, String> {
    [(name.to_owned(), text.to_owned())].into()
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
fn what_else_is_another_is_named_where_something_moved() {
    let text = written(&touches([60; 100]));
    let elsewhere = Environment {
        huge_pages: Some("always".to_owned()),
        programs: texts("node", "4d5e6f"),
        settings: Some(texts("MALLOC_MMAP_THRESHOLD_", "65536")),
        ..here()
    };
    let moved = judge(&baseline(&text), &run(&touches([80; 100])), &elsewhere, &[]);
    assert_eq!(
        moved.notes,
        [
            "huge pages are for `always` now, and were for `madvise`",
            "node is another build than the baseline's",
            "MALLOC_ARENA_MAX is not set now, and was `2`",
            "MALLOC_MMAP_THRESHOLD_ is `65536` now, and was not set",
        ]
    );
    let older = text.lines().filter(|line| {
        !["huge_pages", "programs", "settings"]
            .iter()
            .any(|key| line.starts_with(key))
    });
    let older: Vec<&str> = older.collect();
    let older = baseline(&older.join("\n"));
    let moved = judge(&older, &run(&touches([80; 100])), &elsewhere, &[]);
    assert_eq!(moved.notes, [""; 0], "an older baseline does not say");
}

#[test]
fn other_programs_are_named_in_any_case() {
    let before = touches([60; 100]);
    let other = Environment {
        programs: texts("python3.13", "77"),
        ..here()
    };
    let judgement = judge(&baseline(&written(&before)), &run(&before), &other, &[]);
    assert_eq!(
        judgement.notes,
        ["the run is of other programs (python3.13) than the baseline (node)"]
    );
}

#[test]
fn what_is_misspelt_is_guessed() {
    let before = touches([60; 100]);
    let misspelt = written(&before).replace("GET /touch", "GET /tuoch");
    let judgement = judge(&baseline(&misspelt), &run(&before), &here(), &[]);
    assert!(judgement.is_inconclusive());
    assert_eq!(
        judgement.notes,
        ["GET /tuoch is not in this run; did you mean GET /touch?"]
    );
    let only: Only = "GET /tuch".parse().expect("a pattern");
    let judgement = judge(&baseline(&written(&before)), &run(&[]), &here(), &[only]);
    assert!(judgement.is_inconclusive());
    assert!(
        judgement
            .doubts
            .iter()
            .any(|doubt| doubt.ends_with("did you mean GET /touch?")),
        "{judgement:?}"
    );
}

#[test]
fn requests_of_several_runs_are_named_with_their_recording() {
    let before = baseline(&written(&touches([48; 50])));
    let with_one = |most| run(&touches([[60; 49].as_slice(), &[most]].concat()));
    // The first has not this route at all.
    let other: Vec<Request> = (0..50).map(|id| request(id, "GET", "/other", 7)).collect();
    let after = Samples::pool(vec![run(&other), with_one(75), with_one(90)]);
    let judgement = judge(&before, &after, &here(), &[]);
    let sentence = |recordings: &[String]| {
        let whys = whys(&judgement, &before, &after, recordings);
        whys.first()
            .and_then(|why| why.sentences().pop())
            .unwrap_or_default()
    };
    let recordings = ["a", "b", "c"].map(|name| format!("{name}.mtr"));
    assert_eq!(
        sentence(&recordings),
        "The requests with the most faults: 50 of c.mtr (90), 50 of b.mtr (75), 1 of b.mtr (60) \
         (`memtrace report c.mtr --id 50` shows one)."
    );
    assert_eq!(
        sentence(&[]),
        "The requests with the most faults: 50 (90), 50 (75), 1 (60) \
         (with `--keep FILE`, `memtrace report FILE --id 50` shows one)."
    );
}

/// Runs of fifty requests that are alike in each.
fn runs(faults: &[u64]) -> Samples {
    Samples::pool(faults.iter().map(|&one| run(&touches([one; 50]))).collect())
}

#[test]
fn how_far_runs_lie_apart_is_learned_from_several() {
    let of_three = Baseline::default().updated(&runs(&[48, 52, 50]), &here());
    assert!(of_three.contains("requests = 150\nruns = 3\n"), "{of_three}");
    let figures = "faults = { p50 = 50, p75 = 52, p90 = 52, p95 = 52, p99 = 52, between = [4, 4, 4, 4, 4] }";
    assert!(of_three.contains(figures), "{of_three}");
    let judged = |samples: &Samples| judge(&baseline(&of_three), samples, &here(), &[]);
    assert_eq!(verdicts(&judged(&runs(&[58]))), [], "twice as far");
    assert_eq!(verdicts(&judged(&runs(&[59])))[0], (FAULTS, Verdict::More));
    assert_eq!(
        verdicts(&judged(&runs(&[60, 61])))[0].1,
        Verdict::More,
        "several are judged as one"
    );
    let few = Samples::pool(vec![run(&touches([50; 50])), run(&touches([50; 5]))]);
    assert!(
        judged(&few).is_inconclusive(),
        "nobody knows where the second has warmed up"
    );
    for bad in ["[4, 4]", "[4, 4, 4, 4, -1]", "4", "[4, 4, 4, 4, \"4\"]"] {
        let text = of_three.replace("[4, 4, 4, 4, 4]", bad);
        let error = Baseline::parse(&text).expect_err(bad).to_string();
        assert!(
            error.contains("between: it should be a list of 5 numbers"),
            "{error}"
        );
    }
}

#[test]
fn what_several_runs_taught_is_not_unlearned_by_one() {
    let of_three = Baseline::default().updated(&runs(&[48, 52, 50]), &here());
    let of_one = baseline(&of_three).updated(&runs(&[80]), &here());
    assert!(
        of_one.contains("p50 = 80, p75 = 80, p90 = 80, p95 = 80, p99 = 80, between = [4, 4, 4, 4, 4]"),
        "{of_one}"
    );
    assert!(!of_one.contains("runs ="), "{of_one}");
    let judged = judge(&baseline(&of_one), &runs(&[88]), &here(), &[]);
    assert_eq!(verdicts(&judged), [], "twice as far");
    let of_two = baseline(&of_one).updated(&runs(&[80, 81]), &here());
    assert!(of_two.contains("between = [1, 1, 1, 1, 1]"), "{of_two}");
}

#[test]
fn what_a_threshold_that_moves_does_is_said_unless_it_is_held() {
    let mut requests = touches((0..200).map(|i| if i < 90 { 48 } else { 0 }));
    for request in &mut requests[..90] {
        request.space.mmap_calls = 1;
        request.space.munmap_calls = 1;
    }
    let samples = run(&requests);
    let judgement =
        |environment: &Environment| judge(&baseline(&written(&requests)), &samples, environment, &[]);
    let notes = judgement(&here()).notes;
    assert!(
        notes.len() == 1 && notes[0].starts_with("GET /touch: the first requests map and unmap memory"),
        "{notes:?}"
    );
    for (name, value) in [
        ("MALLOC_MMAP_THRESHOLD_", "65536"),
        ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536"),
    ] {
        let held = Environment {
            settings: Some(texts(name, value)),
            ..here()
        };
        assert_eq!(judgement(&held).notes, [""; 0]);
    }
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
