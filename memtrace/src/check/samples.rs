//! The requests of a run, route by route, as far as they are to be judged.
//!
//! Owns what is kept of each, and the bound on it. Must not know what it is compared with.

use std::collections::BTreeMap;

use super::{
    chance::{Alike, Quantile, at},
    drift::Drift,
    metric::{Call, Metric},
    warmup::{WarmUp, warm_up},
};
use crate::ledger::{entry::Request, spread::ROUTES_MAX};

/// Requests that are kept in all: they take some 90 MB. What more there is of a run tells nothing new.
pub const REQUESTS_MAX: usize = 1 << 18;

/// A route: its pattern and its method.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// `/users/{id}`
    pub route: String,
    /// `GET`
    pub method: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.route)
    }
}

/// Requests as they come.
#[derive(Debug, Default)]
pub struct Gathering {
    routes: BTreeMap<Name, Vec<Sample>>,
    kept: usize,
    too_many: u64,
    unnamed: u64,
    unfinished: u64,
}

/// One request.
#[derive(Debug)]
struct Sample {
    id: u64,
    /// In [`Metric::all`]'s order.
    figures: Vec<Option<i64>>,
    /// In [`Call::ALL`]'s order.
    calls: [u32; Call::ALL.len()],
}

impl Sample {
    fn number(&self) -> Number {
        Number { run: 0, id: self.id }
    }

    fn maps_and_unmaps(&self) -> bool {
        let has =
            |wanted| std::iter::zip(Call::ALL, self.calls).any(|(call, count)| call == wanted && count > 0);
        has(Call::Mmap) && has(Call::Munmap)
    }
}

impl Gathering {
    /// Adds one. Those whose answer was not seen to its end are counted and no more.
    pub fn push(&mut self, request: &Request) {
        let name = Name {
            route: request.route.clone(),
            method: request.method.clone(),
        };
        if !request.complete {
            self.unfinished += 1;
        } else if self.kept >= REQUESTS_MAX {
            self.too_many += 1;
        } else if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(&name) {
            self.unnamed += 1;
        } else {
            self.kept += 1;
            self.routes.entry(name).or_default().push(Sample {
                id: request.id,
                figures: Metric::all().map(|metric| metric.of(request)).collect(),
                calls: Call::ALL.map(|call| call.of(request)),
            });
        }
    }

    /// All of them, with the warm-up of each route found, or as long as it is said to be.
    pub fn finish(self, warmup: Option<usize>) -> Samples {
        let route = |(name, mut samples): (Name, Vec<Sample>)| {
            samples.sort_unstable_by_key(|sample| sample.id);
            let figures: BTreeMap<Metric, Vec<i64>> = Metric::all()
                .enumerate()
                .filter_map(|(at, metric)| {
                    let figures: Option<Vec<i64>> =
                        samples.iter().map(|sample| *sample.figures.get(at)?).collect();
                    Some((metric, figures?))
                })
                .collect();
            let faults = figures.get(&Metric::Faults).map_or(&[][..], Vec::as_slice);
            let warmup = match warmup {
                Some(given) => WarmUp::Ends(given.min(faults.len())),
                None => warm_up(faults, Metric::Faults.least()),
            };
            (name, Route::of(&samples, warmup, figures))
        };
        Samples {
            routes: self.routes.into_iter().map(route).collect(),
            too_many: self.too_many,
            unnamed: self.unnamed,
            unfinished: self.unfinished,
        }
    }
}

/// A run.
#[derive(Debug)]
pub struct Samples {
    /// By name.
    pub routes: BTreeMap<Name, Route>,
    /// Requests that were too many to be kept.
    pub too_many: u64,
    /// Requests of further routes than are told apart.
    pub unnamed: u64,
    /// Requests whose answer was not seen to its end.
    pub unfinished: u64,
}

impl Samples {
    /// Several runs as one, each without its warm-ups; and how far they lie apart.
    pub fn pool(runs: Vec<Self>) -> Self {
        let mut routes: BTreeMap<Name, Vec<Route>> = BTreeMap::new();
        let mut pooled = Self {
            routes: BTreeMap::new(),
            too_many: 0,
            unnamed: 0,
            unfinished: 0,
        };
        for (number, run) in runs.into_iter().enumerate() {
            pooled.too_many += run.too_many;
            pooled.unnamed += run.unnamed;
            pooled.unfinished += run.unfinished;
            for (name, mut route) in run.routes {
                for request in &mut route.numbers {
                    request.run = number;
                }
                routes.entry(name).or_default().push(route);
            }
        }
        let pool = |(name, routes): (Name, Vec<Route>)| (name, Route::pool(routes));
        pooled.routes = routes.into_iter().map(pool).collect();
        pooled
    }
}

/// A figure at each of [`Quantile::ALL`].
pub type Quantiles = [i64; Quantile::ALL.len()];

/// A request, among those of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Which run, from 0.
    pub run: usize,
    /// Its number there.
    pub id: u64,
}

/// A route's requests.
#[derive(Debug)]
pub struct Route {
    /// How many.
    pub requests: usize,
    /// Of how many runs.
    pub runs: usize,
    /// Which of them are not like the rest; of several runs, all of them.
    pub warmup: WarmUp,
    /// The faults of those, all together; of several runs, the most.
    pub cold_faults: i64,
    /// How glibc's malloc may have moved them, in the last run that shows it.
    pub drift: Option<Drift>,
    /// The others, in the order in which they began, run after run.
    pub numbers: Vec<Number>,
    /// Of each run, how many there are here.
    lengths: Vec<usize>,
    calls: Vec<[u32; Call::ALL.len()]>,
    figures: BTreeMap<Metric, Vec<i64>>,
    between: BTreeMap<Metric, Quantiles>,
}

impl Route {
    fn of(samples: &[Sample], warmup: WarmUp, mut figures: BTreeMap<Metric, Vec<i64>>) -> Self {
        let cold = warmup.requests();
        let faults = figures.get(&Metric::Faults).map_or(&[][..], Vec::as_slice);
        let cold_faults = faults.iter().take(cold);
        let cold_faults = cold_faults.fold(0_i64, |sum, &one| sum.saturating_add(one));
        for figures in figures.values_mut() {
            figures.drain(..cold.min(figures.len()));
        }
        let maps: Vec<bool> = samples.iter().map(Sample::maps_and_unmaps).collect();
        let first = match warmup {
            WarmUp::Ends(end) => end,
            WarmUp::GoesOn | WarmUp::Unknown => maps.len() / 2,
        };
        let (first, rest) = maps.split_at(first.min(maps.len()));
        Self {
            requests: samples.len(),
            runs: 1,
            drift: Drift::of(first, rest),
            warmup,
            cold_faults,
            numbers: samples.iter().skip(cold).map(Sample::number).collect(),
            lengths: vec![samples.len().saturating_sub(cold)],
            calls: samples.iter().skip(cold).map(|sample| sample.calls).collect(),
            figures,
            between: BTreeMap::new(),
        }
    }

    fn pool(mut runs: Vec<Self>) -> Self {
        if runs.len() == 1
            && let Some(only) = runs.pop()
        {
            return only;
        }
        let known = |metric: &Metric| runs.iter().all(|run| run.figures.contains_key(metric));
        let metrics: Vec<Metric> = Metric::all().filter(known).collect();
        let figures = metrics.iter().map(|&metric| {
            let all = runs
                .iter()
                .flat_map(|run| run.figures(metric).unwrap_or_default());
            (metric, all.copied().collect())
        });
        let between = metrics.iter().map(|&metric| (metric, apart(&runs, metric)));
        Self {
            requests: runs.iter().map(|run| run.requests).sum(),
            runs: runs.len(),
            drift: runs.iter().rev().find_map(|run| run.drift),
            warmup: WarmUp::of_all(runs.iter().map(|run| run.warmup)),
            cold_faults: runs.iter().map(|run| run.cold_faults).max().unwrap_or(0),
            numbers: runs.iter().flat_map(|run| run.numbers.clone()).collect(),
            lengths: runs.iter().flat_map(|run| run.lengths.clone()).collect(),
            calls: runs.iter().flat_map(|run| run.calls.clone()).collect(),
            figures: figures.collect(),
            between: between.collect(),
        }
    }

    /// How many requests are like each other.
    pub fn steady(&self) -> usize {
        self.requests - self.warmup.requests()
    }

    /// A figure of those, where it is known of all.
    pub fn figures(&self, metric: Metric) -> Option<&[i64]> {
        self.figures.get(&metric).map(Vec::as_slice)
    }

    /// How much alike requests are that came one after another in the same run, where these are told apart.
    pub fn alike(&self, mut which: &[bool]) -> Alike {
        let mut alike = Alike::NOT;
        for &length in &self.lengths {
            let (run, rest) = which.split_at(length.min(which.len()));
            alike = alike.or(Alike::of(run));
            which = rest;
        }
        alike
    }

    /// How far a figure's quantiles lie apart between the runs.
    pub fn between(&self, metric: Metric) -> Quantiles {
        self.between.get(&metric).copied().unwrap_or_default()
    }

    /// How often half of them make a call, at most.
    pub fn half_call(&self, call: Call) -> i64 {
        let of_this = |calls: &[u32; Call::ALL.len()]| {
            let all = std::iter::zip(Call::ALL, calls);
            let this = all.into_iter().find(|(other, _)| *other == call);
            this.map_or(0, |(_, count)| i64::from(*count))
        };
        let mut counts: Vec<i64> = self.calls.iter().map(of_this).collect();
        counts.sort_unstable();
        at(&counts, Quantile::P50).unwrap_or(0)
    }
}

/// From the least to the most of a figure's quantiles in these runs.
fn apart(runs: &[Route], metric: Metric) -> Quantiles {
    let sorted: Vec<Vec<i64>> = runs
        .iter()
        .map(|run| {
            let mut figures = run.figures(metric).unwrap_or_default().to_vec();
            figures.sort_unstable();
            figures
        })
        .collect();
    Quantile::ALL.map(|quantile| {
        let values = || sorted.iter().filter_map(|figures| at(figures, quantile));
        let most = values().max().unwrap_or(0);
        most.saturating_sub(values().min().unwrap_or(0))
    })
}
