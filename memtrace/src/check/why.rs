//! Why a route takes more: where its faults are, what it calls, and which of its requests show it.
//!
//! Owns what is picked out of a run for each route that has a regression. Must not judge.

use super::{
    baseline::{Baseline, RouteWas},
    chance::{Quantile, at},
    judge::{Judgement, Line, What},
    metric::{Call, Metric},
    samples::{Number, Route, Samples},
    words,
};
use crate::{model::vma::Region, report::figure::count};

/// So many requests are named.
const REQUESTS_MAX: usize = 3;

/// Of one route that has a regression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// `METHOD PATTERN`
    pub route: String,
    /// What is looked at: the first figure that is a regression.
    pub figure: Metric,
    /// Kinds of memory in which there are more faults than there were, or fewer; the most first.
    pub regions: Vec<(Region, i64)>,
    /// Calls of which half of the requests make more than they did, or fewer: before, and now.
    pub calls: Vec<(Call, i64, i64)>,
    /// The requests that have the most of the figure.
    pub requests: Vec<Most>,
    /// They are of several runs.
    is_of_several: bool,
}

/// A request that has much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Most {
    /// The recording that has it, where its run is kept.
    pub recording: Option<String>,
    /// Its number there.
    pub id: u64,
    /// How much it has.
    pub value: i64,
}

/// Looks into each route that has a regression. These are the recordings of the runs, as far as they are kept.
pub fn whys(
    judgement: &Judgement,
    baseline: &Baseline,
    samples: &Samples,
    recordings: &[String],
) -> Vec<Why> {
    let mut whys: Vec<Why> = Vec::new();
    for line in judgement.lines.iter().filter(|line| line.verdict.is_regression()) {
        if whys.iter().any(|why| why.route == line.route) {
            continue;
        }
        let route = samples
            .routes
            .iter()
            .find(|(name, _)| name.to_string() == line.route);
        if let Some((_, route)) = route {
            whys.extend(why(line, baseline.routes.get(&line.route), route, recordings));
        }
    }
    whys
}

fn why(line: &Line, was: Option<&RouteWas>, route: &Route, recordings: &[String]) -> Option<Why> {
    let (figure, quantile) = match line.what {
        What::Figure(metric, quantile) => (metric, quantile),
        What::Most(metric) => (metric, Quantile::P99),
        What::Route | What::WarmUp => return None,
    };
    let figures = route.figures(figure)?;
    let mut requests: Vec<(Number, i64)> =
        std::iter::zip(route.numbers.iter().copied(), figures.iter().copied()).collect();
    requests.sort_by_key(|&(number, figure)| (std::cmp::Reverse(figure), number));
    requests.truncate(REQUESTS_MAX);
    let requests = requests.into_iter().map(|(Number { run, id }, value)| Most {
        recording: recordings.get(run).cloned(),
        id,
        value,
    });
    Some(Why {
        route: line.route.clone(),
        figure,
        regions: was.map_or_else(Vec::new, |was| regions(was, route, quantile)),
        calls: was.map_or_else(Vec::new, |was| calls(was, route)),
        requests: requests.collect(),
        is_of_several: route.runs > 1,
    })
}

fn regions(was: &RouteWas, route: &Route, quantile: Quantile) -> Vec<(Region, i64)> {
    let changed = |region: Region| {
        let metric = Metric::Region(region);
        let before = was.figures.get(&metric)?.at(quantile);
        let mut now = route.figures(metric)?.to_vec();
        now.sort_unstable();
        let change = at(&now, quantile)?.saturating_sub(before);
        (change != 0).then_some((region, change))
    };
    let mut regions: Vec<_> = Region::ALL.into_iter().filter_map(changed).collect();
    regions.sort_by_key(|&(_, change)| std::cmp::Reverse(change));
    regions
}

fn calls(was: &RouteWas, route: &Route) -> Vec<(Call, i64, i64)> {
    // One that was written before there were any.
    let Some(calls) = &was.calls else {
        return Vec::new();
    };
    let changed = |call: Call| {
        let before = calls.get(&call).copied().unwrap_or(0);
        let now = route.half_call(call);
        (now != before).then_some((call, before, now))
    };
    Call::ALL.into_iter().filter_map(changed).collect()
}

impl Why {
    /// What is known, a sentence each.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let (more, fewer): (Vec<_>, Vec<_>) = self.regions.iter().partition(|(_, change)| *change > 0);
        for (regions, how) in [(more, "more"), (fewer, "fewer")] {
            let regions: Vec<String> = regions
                .iter()
                .map(|(region, change)| format!("{} in {}", count(change.unsigned_abs()), region.name()))
                .collect();
            if !regions.is_empty() {
                sentences.push(format!("Faults {how}: {}.", regions.join(", ")));
            }
        }
        let calls: Vec<String> = self
            .calls
            .iter()
            .map(|(call, was, is)| format!("{} {was} times, now {is}", call.name()))
            .collect();
        if !calls.is_empty() {
            sentences.push(format!("Half of its requests called {}.", calls.join(", ")));
        }
        sentences.extend(self.examples());
        sentences
    }

    /// Requests to look at, and how.
    fn examples(&self) -> Option<String> {
        let first = self.requests.first()?;
        let requests: Vec<String> = self
            .requests
            .iter()
            .map(|most| {
                let value = words::text(self.figure.unit(), most.value);
                match &most.recording {
                    Some(recording) if self.is_of_several => format!("{} of {recording} ({value})", most.id),
                    _ => format!("{} ({value})", most.id),
                }
            })
            .collect();
        let how = match &first.recording {
            Some(recording) => format!("`memtrace report {recording} --id {}` shows one", first.id),
            None => format!(
                "with `--keep FILE`, `memtrace report FILE --id {}` shows one",
                first.id
            ),
        };
        Some(format!(
            "The requests with the most {}: {} ({how}).",
            self.figure.name(),
            requests.join(", ")
        ))
    }
}
