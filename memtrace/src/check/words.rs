//! A line of a judgement in words, the same wherever it is shown.
//!
//! Owns names, units and signs. Must not know a terminal or a file format.

use super::{
    judge::{Judgement, Line, Status, Verdict, What},
    metric::{Metric, Unit},
    samples::Samples,
    warmup::WarmUp,
};
use crate::report::figure::{bytes, bytes_changed, count, counted};

/// What its columns are called.
pub(super) const HEADS: [&str; 7] = ["ROUTE", "FIGURE", "BASELINE", "NOW", "CHANGE", "NOISE", "VERDICT"];

/// What stands in place of a figure where a route as a whole is meant.
const ROUTE: &str = "(all)";

/// A line's columns, without its route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) what: String,
    pub(super) was: String,
    pub(super) is: String,
    pub(super) change: String,
    pub(super) noise: String,
    pub(super) verdict: &'static str,
}

impl Words {
    /// Of a line.
    pub(super) fn of(line: &Line) -> Self {
        let unit = unit(line.what);
        let figure = |value: Option<i64>| value.map_or("-".to_owned(), |value| text(unit, value));
        Self {
            what: what(line.what),
            was: figure(line.was),
            is: figure(line.is),
            change: match (line.was, line.is) {
                (Some(_), Some(_)) => changed(unit, line.change()),
                _ => "-".to_owned(),
            },
            noise: match (line.least, unit) {
                (..=0, _) => "-".to_owned(),
                (least, Unit::BytesChanged) => format!("±{}", text(Unit::Bytes, least)),
                (least, _) => format!("±{}", text(unit, least)),
            },
            verdict: verdict(line.verdict),
        }
    }

    /// They in a sentence.
    pub(super) fn sentence(&self) -> String {
        let Self {
            what,
            was,
            is,
            change,
            noise,
            verdict,
        } = self;
        match (was.as_str(), is.as_str(), noise.as_str()) {
            _ if what == ROUTE => (*verdict).to_owned(),
            ("-", "-", _) => format!("{what}: {verdict}"),
            (_, _, "-") => format!("{what}: {is}, with {was} allowed ({change})"),
            _ => format!("{what}: {was} before, {is} now ({change}; the noise is {noise})"),
        }
    }
}

/// Whatever moved, and of each route its faults.
pub(super) fn is_shown(line: &Line) -> bool {
    line.verdict != Verdict::Same || matches!(line.what, What::Figure(Metric::Faults, _))
}

/// What came before the requests that are judged, a sentence for each route.
pub(super) fn warm_ups(samples: &Samples) -> impl Iterator<Item = String> {
    samples.routes.iter().filter_map(|(name, route)| match route.warmup {
        WarmUp::Ends(0) | WarmUp::Unknown => None,
        WarmUp::Ends(cold) => Some(format!(
            "{name}: a warm-up of {} with {}, which are not judged with the rest.",
            counted(cold as u64, "request"),
            counted(route.cold_faults.unsigned_abs(), "fault")
        )),
        WarmUp::GoesOn => Some(format!(
            "{name}: the first half of its requests is mostly unlike the second: it has not settled. Drive it for longer, \
             or say how long that takes with --warmup."
        )),
    })
}

/// All of it in a sentence.
pub(super) fn summary(judgement: &Judgement) -> String {
    let many =
        |is: fn(Verdict) -> bool| judgement.lines.iter().filter(|line| is(line.verdict)).count() as u64;
    match judgement.status() {
        Status::Regression => format!("{}.", counted(many(Verdict::is_regression), "regression")),
        Status::Inconclusive => "Inconclusive: not all could be judged.".to_owned(),
        Status::Within => {
            let held = many(|verdict| matches!(verdict, Verdict::Same | Verdict::Less));
            match held {
                0 => "Nothing was held to a baseline.".to_owned(),
                held => format!("Within the baseline: {} held to it.", counted(held, "figure")),
            }
        }
    }
}

fn what(what: What) -> String {
    match what {
        What::Route => ROUTE.to_owned(),
        What::WarmUp => "warm-up faults".to_owned(),
        What::Figure(metric, quantile) => format!("{} p{}", metric.name(), quantile.percent()),
        What::Most(metric) => format!("{} max", metric.name()),
    }
}

fn unit(what: What) -> Unit {
    match what {
        What::Route | What::WarmUp => Unit::Count,
        What::Figure(metric, _) | What::Most(metric) => metric.unit(),
    }
}

/// A sentence, with its full stop.
pub(super) fn ended(sentence: &str) -> String {
    if sentence.ends_with('?') {
        sentence.to_owned()
    } else {
        format!("{sentence}.")
    }
}

/// What is made of a line.
pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "same",
        Verdict::More => "MORE",
        Verdict::Less => "less",
        Verdict::Over => "OVER ITS LIMIT",
        Verdict::New => "new",
        Verdict::Missing => "not in this run",
        Verdict::TooFew => "too few requests",
        Verdict::NotSteady => "not steady",
        Verdict::Unknown => "not known in this run",
    }
}

/// A figure with its unit.
pub(super) fn text(unit: Unit, value: i64) -> String {
    match unit {
        Unit::Count => count(value.unsigned_abs()),
        Unit::Bytes => bytes(value.unsigned_abs()),
        Unit::BytesChanged => bytes_changed(value),
        Unit::Thousandths => format!("{}.{}%", value / 10, (value % 10).abs()),
    }
}

fn changed(unit: Unit, change: i64) -> String {
    match (unit, change) {
        (_, 0) => "0".to_owned(),
        (Unit::Bytes | Unit::BytesChanged, _) => bytes_changed(change),
        (_, 1..) => format!("+{}", text(unit, change)),
        (Unit::Thousandths, _) => format!("-{}", text(unit, change.saturating_abs())),
        (Unit::Count, _) => format!("-{}", text(unit, change)),
    }
}
