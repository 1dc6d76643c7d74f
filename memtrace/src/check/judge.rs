//! What is said of each figure of each route.
//!
//! Owns the verdicts and what they rest on. Must not know how they are shown, nor where a baseline lies.

use std::collections::BTreeSet;

use super::{
    baseline::{Baseline, Limits, RouteWas, Was},
    chance::{Alike, Quantile, Requests, at, likelihood},
    entry::nearest,
    environment::Environment,
    metric::Metric,
    samples::{REQUESTS_MAX, Route, Samples},
    warmup::{REQUESTS_MIN, WarmUp},
};
use crate::{
    ledger::spread::ROUTES_MAX,
    report::{figure::counted, view::Only},
};

/// That an unchanged program is found changed by chance, in one check of all its figures, is no more likely.
pub const FALSE_ALARM: f64 = 1e-3;

/// Runs of one program lie as many times as far apart as those did of which the baseline was written, hardly ever more.
const APART: i64 = 2;

/// What is found of one figure, or of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it was, as far as can be told.
    Same,
    /// More than it was: a regression.
    More,
    /// Less than it was, by as much as would be a regression the other way.
    Less,
    /// More than its limit: a regression.
    Over,
    /// A route that the baseline does not have.
    New,
    /// A route that the run does not have.
    Missing,
    /// Too few requests to find even that all of them have more.
    TooFew,
    /// The warm-up did not end.
    NotSteady,
    /// The run does not say: faults were not timed, for one.
    Unknown,
}

impl Verdict {
    /// The check fails.
    pub fn is_regression(self) -> bool {
        matches!(self, Self::More | Self::Over)
    }

    /// The check says nothing.
    pub fn is_inconclusive(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::TooFew | Self::NotSteady | Self::Unknown
        )
    }
}

/// What of a route is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The route as a whole.
    Route,
    /// The faults of its warm-up, all together.
    WarmUp,
    /// A figure that so many of its requests have at most: the part that moved, or the half where none did.
    Figure(Metric, Quantile),
    /// The most of a figure that any request has.
    Most(Metric),
}

/// One thing that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `METHOD PATTERN`
    pub route: String,
    /// What is judged.
    pub what: What,
    /// What it was, or its limit.
    pub was: Option<i64>,
    /// What it is.
    pub is: Option<i64>,
    /// A change of no more is no regression.
    pub least: i64,
    /// What is made of it.
    pub verdict: Verdict,
}

/// What is said of a run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is as it was, or less.
    Within,
    /// Something takes more.
    Regression,
    /// Not all could be judged, and of what could be, nothing takes more.
    Inconclusive,
}

impl Status {
    /// The exit status, as CONTRACT has it.
    pub fn code(self) -> u8 {
        match self {
            Self::Within => 0,
            Self::Regression => 1,
            Self::Inconclusive => 3,
        }
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Route by route.
    pub lines: Vec<Line>,
    /// Why less can be said than was asked, a sentence each.
    pub doubts: Vec<String>,
    /// Events were lost, or the books do not balance: nothing that the run says counts.
    pub is_lost: bool,
    /// What the reader should know, a sentence each.
    pub notes: Vec<String>,
}

impl Line {
    /// By how much it is more.
    pub fn change(&self) -> i64 {
        self.is.unwrap_or(0).saturating_sub(self.was.unwrap_or(0))
    }
}

impl Judgement {
    /// All of it in a word.
    pub fn status(&self) -> Status {
        if self.is_lost {
            Status::Inconclusive
        } else if self.is_regression() {
            Status::Regression
        } else if self.is_inconclusive() {
            Status::Inconclusive
        } else {
            Status::Within
        }
    }

    /// Something takes more than it did.
    pub fn is_regression(&self) -> bool {
        self.lines.iter().any(|line| line.verdict.is_regression())
    }

    /// Something cannot be said.
    pub fn is_inconclusive(&self) -> bool {
        !self.doubts.is_empty() || self.lines.iter().any(|line| line.verdict.is_inconclusive())
    }
}

/// Holds a run to a baseline. Where `only` some requests were asked for, no others are missed.
pub fn judge(baseline: &Baseline, samples: &Samples, environment: &Environment, only: &[Only]) -> Judgement {
    let mut judgement = Judgement::default();
    let figures: usize = baseline.routes.values().map(|route| route.figures.len()).sum();
    let chance = FALSE_ALARM / (figures * Quantile::ALL.len()).max(1) as f64;
    let routes = samples
        .routes
        .iter()
        .map(|(name, route)| (name.to_string(), route));
    let mut known = BTreeSet::new();
    for (name, route) in routes {
        if let Some(was) = baseline.routes.get(&name) {
            judgement.lines.extend(of_route(&name, was, route, chance));
        } else {
            judgement.lines.push(whole(&name, Verdict::New));
        }
        let of_route = baseline.routes.get(&name).map(|route| &route.limits);
        judgement
            .lines
            .extend(over_limits(&name, route, baseline, of_route));
        known.insert(name);
    }
    let missing = baseline
        .routes
        .keys()
        .filter(|name| !known.contains(*name) && is_asked(name, only));
    judgement
        .lines
        .extend(missing.map(|name| whole(name, Verdict::Missing)));
    if baseline.routes.is_empty() && baseline.limits.is_empty() {
        let why = "the baseline has neither routes nor limits: --update writes it";
        judgement.doubts.push(why.to_owned());
    }
    if samples.routes.is_empty() {
        judgement.doubts.push("the run has no requests".to_owned());
    }
    if !environment.holds_threshold() {
        let drifts = samples.routes.iter();
        let drifts = drifts.filter_map(|(name, route)| Some(route.drift?.sentence(&name.to_string())));
        judgement.notes.extend(drifts);
    }
    misspelt(&mut judgement, baseline, only);
    surroundings(&mut judgement, &baseline.environment, environment);
    left_out(&mut judgement, samples);
    judgement
}

fn is_asked(name: &str, only: &[Only]) -> bool {
    let Some((method, route)) = name.split_once(' ') else {
        return true;
    };
    only.is_empty() || only.iter().any(|only| only.fits(method, route))
}

fn whole(name: &str, verdict: Verdict) -> Line {
    Line {
        route: name.to_owned(),
        what: What::Route,
        was: None,
        is: None,
        least: 0,
        verdict,
    }
}

fn unknown(name: &str, what: What) -> Line {
    Line {
        what,
        ..whole(name, Verdict::Unknown)
    }
}

fn of_route(name: &str, was: &RouteWas, route: &Route, chance: f64) -> Vec<Line> {
    match route.warmup {
        WarmUp::GoesOn => return vec![whole(name, Verdict::NotSteady)],
        WarmUp::Unknown => return vec![whole(name, Verdict::TooFew)],
        WarmUp::Ends(_) => {}
    }
    let [before, after] = [was.requests, route.steady()].map(|count| Requests {
        count,
        alike: Alike::NOT,
    });
    let is_blind = likelihood(before, Quantile::P50, after, after.count) >= chance;
    if is_blind || before.count < REQUESTS_MIN {
        return vec![whole(name, Verdict::TooFew)];
    }
    let figures = Metric::all().filter_map(|metric| {
        let held = Held {
            metric,
            was: was.figures.get(&metric)?,
            requests: was.requests,
            route,
            chance,
        };
        let Some(figures) = route.figures(metric) else {
            return Some(unknown(name, What::Figure(metric, Quantile::P50)));
        };
        Some(held.judge(name, figures))
    });
    figures.collect()
}

/// A figure of a route, and what it is held to.
#[derive(Clone, Copy)]
struct Held<'a> {
    metric: Metric,
    was: &'a Was,
    /// Of so many requests.
    requests: usize,
    route: &'a Route,
    /// What chance does no more often than this is not chance.
    chance: f64,
}

impl Held<'_> {
    fn judge(self, name: &str, figures: &[i64]) -> Line {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable();
        let line = |(quantile, before)| {
            let apart = self.was.between(quantile).saturating_mul(APART);
            Line {
                what: What::Figure(self.metric, quantile),
                was: Some(before),
                is: at(&sorted, quantile),
                least: least(self.metric, quantile, before).max(apart),
                ..whole(name, Verdict::Same)
            }
        };
        let lines = std::iter::zip(Quantile::ALL, self.was.quantiles).map(line);
        let has_more = |line: &Line| match (line.what, line.was) {
            (What::Figure(_, quantile), Some(before)) => {
                line.change() > line.least && self.is_unlikely(before, quantile, figures)
            }
            _ => false,
        };
        if let Some(more) = lines.clone().find(has_more) {
            return Line {
                verdict: Verdict::More,
                ..more
            };
        }
        let half = lines.clone().next();
        let half = half.unwrap_or_else(|| whole(name, Verdict::Same));
        let verdict = if half.change() < -half.least {
            Verdict::Less
        } else {
            Verdict::Same
        };
        Line { verdict, ..half }
    }

    /// Whether so many requests have more than this quantile was, that chance would hardly do it.
    fn is_unlikely(self, before: i64, quantile: Quantile, figures: &[i64]) -> bool {
        let which: Vec<bool> = figures.iter().map(|&figure| figure > before).collect();
        let more = which.iter().filter(|&&is| is).count();
        let before = Requests {
            count: self.requests,
            alike: self.was.alike,
        };
        let after = Requests {
            count: figures.len(),
            alike: self.route.alike(&which),
        };
        likelihood(before, quantile, after, more) < self.chance
    }
}

/// A change of no more is none worth a word: of what few requests have, less than of what half of them have.
fn least(metric: Metric, quantile: Quantile, before: i64) -> i64 {
    let percent = match quantile {
        Quantile::P50 | Quantile::P75 => 2,
        Quantile::P90 => 5,
        Quantile::P95 => 10,
        Quantile::P99 => 20,
    };
    metric
        .least()
        .max(before.saturating_abs().saturating_mul(percent) / 100)
}

/// Limits of figures are for all requests after the warm-up.
fn over_limits(name: &str, route: &Route, baseline: &Baseline, own: Option<&Limits>) -> Vec<Line> {
    let over = |what, limit: i64, most: i64| {
        (most > limit).then(|| Line {
            what,
            was: Some(limit),
            is: Some(most),
            ..whole(name, Verdict::Over)
        })
    };
    let figures = Metric::all().filter_map(|metric| {
        let limit = own
            .and_then(|own| own.figures.get(&metric))
            .or_else(|| baseline.limits.figures.get(&metric))?;
        let Some(figures) = route.figures(metric) else {
            return Some(unknown(name, What::Most(metric)));
        };
        over(What::Most(metric), *limit, *figures.iter().max()?)
    });
    let warmup = own.and_then(|own| own.warmup).or(baseline.limits.warmup);
    let warmup = warmup.and_then(|limit| over(What::WarmUp, limit, route.cold_faults));
    figures.chain(warmup).collect()
}

/// Routes that are missing may be written otherwise in the run; requests that were asked for, in either.
fn misspelt(judgement: &mut Judgement, baseline: &Baseline, only: &[Only]) {
    let of = |verdict| {
        let lines = judgement.lines.iter().filter(move |line| line.verdict == verdict);
        lines.map(|line| line.route.clone())
    };
    let notes: Vec<String> = of(Verdict::Missing)
        .filter_map(|missing| {
            let meant = nearest(&missing, of(Verdict::New))?;
            Some(format!("{missing} is not in this run; did you mean {meant}?"))
        })
        .collect();
    let known: BTreeSet<&String> = judgement
        .lines
        .iter()
        .map(|line| &line.route)
        .chain(baseline.routes.keys())
        .collect();
    let doubts: Vec<String> = only
        .iter()
        .filter(|only| {
            !known
                .iter()
                .any(|name| is_asked(name, std::slice::from_ref(*only)))
        })
        .map(|only| {
            let asked = only.to_string();
            let meant = nearest(&asked, known.iter().map(|&name| name.clone()));
            let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            format!("{asked} is neither in the run nor in the baseline{meant}")
        })
        .collect();
    judgement.notes.extend(notes);
    judgement.doubts.extend(doubts);
}

fn surroundings(judgement: &mut Judgement, was: &Environment, is: &Environment) {
    if was.page_size != 0 && was.page_size != is.page_size {
        judgement.doubts.push(format!(
            "the baseline is of a machine with pages of {} bytes, and this one's have {}",
            was.page_size, is.page_size
        ));
    }
    let has_moved = judgement
        .lines
        .iter()
        .any(|line| matches!(line.verdict, Verdict::More | Verdict::Less));
    judgement.notes.extend(was.other_programs(is));
    if has_moved {
        judgement.notes.extend(was.changes(is));
    }
}

fn left_out(judgement: &mut Judgement, samples: &Samples) {
    let Samples {
        too_many,
        unnamed,
        unfinished,
        ..
    } = *samples;
    if unnamed > 0 {
        judgement.doubts.push(format!(
            "{} of further routes than the first {ROUTES_MAX} are not judged: group paths with --route",
            counted(unnamed, "request")
        ));
    }
    if too_many > 0 {
        judgement.notes.push(format!(
            "{} after the first {REQUESTS_MAX} are not judged",
            counted(too_many, "request")
        ));
    }
    if unfinished > 0 {
        judgement.notes.push(format!(
            "{} whose answer was not seen to its end are not judged",
            counted(unfinished, "request")
        ));
    }
}
