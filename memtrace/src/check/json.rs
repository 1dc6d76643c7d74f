//! A judgement as one JSON object; docs/CHECK.md describes it.
//!
//! Owns its fields. Must not know a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    judge::{Line, Status, Verdict, What},
    metric::Call,
    samples::{Name, Route},
    told::Told,
    warmup::WarmUp,
    why::Why,
};
use crate::report::json::push;

#[derive(Serialize)]
#[serde(tag = "type", rename = "check")]
struct Object<'a> {
    version: u32,
    verdict: &'static str,
    status: u8,
    figures: Vec<Held<'a>>,
    routes: Vec<Judged<'a>>,
    why: Vec<Reason<'a>>,
    doubts: &'a [String],
    notes: &'a [String],
    perfetto: Option<&'a str>,
}

/// A line; `null` where a route as a whole is meant, or what it was or is, is not known.
#[derive(Serialize)]
struct Held<'a> {
    route: &'a str,
    figure: Option<String>,
    at: Option<String>,
    baseline: Option<i64>,
    now: Option<i64>,
    change: Option<i64>,
    noise: i64,
    verdict: &'static str,
}

/// A route's requests.
#[derive(Serialize)]
struct Judged<'a> {
    route: &'a str,
    method: &'a str,
    requests: usize,
    /// `null` where nobody knows where the warm-up ends.
    warmup: Option<usize>,
    warmup_faults: i64,
}

/// Why a route takes more.
#[derive(Serialize)]
struct Reason<'a> {
    route: &'a str,
    figure: String,
    region: BTreeMap<&'static str, i64>,
    calls: BTreeMap<&'static str, Change>,
    requests: Vec<Most<'a>>,
}

#[derive(Serialize)]
struct Change {
    baseline: i64,
    now: i64,
}

#[derive(Serialize)]
struct Most<'a> {
    recording: Option<&'a str>,
    id: u64,
    value: i64,
}

/// Appends the object and the end of its line.
pub fn write(told: &Told<'_>, out: &mut Vec<u8>) {
    let judgement = told.judgement;
    let status = judgement.status();
    let object = Object {
        version: 1,
        verdict: match status {
            Status::Within => "within",
            Status::Regression => "regression",
            Status::Inconclusive => "inconclusive",
        },
        status: status.code(),
        figures: judgement.lines.iter().map(figure).collect(),
        routes: told
            .samples
            .routes
            .iter()
            .map(|(name, route)| requests(name, route))
            .collect(),
        why: told.whys.iter().map(reason).collect(),
        doubts: &judgement.doubts,
        notes: &judgement.notes,
        perfetto: told.trace.map(|trace| trace.path),
    };
    push(&object, out);
    out.push(b'\n');
}

fn figure(line: &Line) -> Held<'_> {
    let (name, at) = match line.what {
        What::Route => (None, None),
        What::WarmUp => (Some("warmup".to_owned()), None),
        What::Figure(metric, quantile) => (Some(metric.name()), Some(format!("p{}", quantile.percent()))),
        What::Most(metric) => (Some(metric.name()), Some("max".to_owned())),
    };
    Held {
        route: &line.route,
        figure: name,
        at,
        baseline: line.was,
        now: line.is,
        change: line.was.and(line.is).map(|_| line.change()),
        noise: line.least,
        verdict: match line.verdict {
            Verdict::Same => "same",
            Verdict::More => "more",
            Verdict::Less => "less",
            Verdict::Over => "over",
            Verdict::New => "new",
            Verdict::Missing => "missing",
            Verdict::TooFew => "too_few",
            Verdict::NotSteady => "not_steady",
            Verdict::Unknown => "unknown",
        },
    }
}

fn requests<'a>(name: &'a Name, route: &Route) -> Judged<'a> {
    Judged {
        route: &name.route,
        method: &name.method,
        requests: route.requests,
        warmup: match route.warmup {
            WarmUp::Ends(end) => Some(end),
            WarmUp::GoesOn | WarmUp::Unknown => None,
        },
        warmup_faults: route.cold_faults,
    }
}

fn reason(why: &Why) -> Reason<'_> {
    let call = |&(call, baseline, now): &(Call, i64, i64)| (call.name(), Change { baseline, now });
    Reason {
        route: &why.route,
        figure: why.figure.name(),
        region: why
            .regions
            .iter()
            .map(|(region, change)| (region.name(), *change))
            .collect(),
        calls: why.calls.iter().map(call).collect(),
        requests: why
            .requests
            .iter()
            .map(|most| Most {
                recording: most.recording.as_deref(),
                id: most.id,
                value: most.value,
            })
            .collect(),
    }
}
