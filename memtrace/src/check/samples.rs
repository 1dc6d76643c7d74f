//! The requests of a run, route by route, as far as they are to be judged.
//!
//! Owns what is kept of each, and the bound on it. Must not know what it is compared with.

use std::collections::BTreeMap;

use super::{
    metric::Metric,
    warmup::{WarmUp, warm_up},
};
use crate::ledger::{entry::Request, spread::ROUTES_MAX};

/// Requests that are kept in all: they take some 80 MB. What more there is of a run tells nothing new.
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

/// One request: its number, and its figures in [`Metric::all`]'s order.
type Sample = (u64, Vec<Option<i64>>);

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
            let figures = Metric::all().map(|metric| metric.of(request)).collect();
            self.routes.entry(name).or_default().push((request.id, figures));
        }
    }

    /// All of them, with the warm-up of each route found, or as long as it is said to be.
    pub fn finish(self, warmup: Option<usize>) -> Samples {
        let route = |(name, mut samples): (Name, Vec<Sample>)| {
            samples.sort_unstable_by_key(|&(id, _)| id);
            let figures: BTreeMap<Metric, Vec<i64>> = Metric::all()
                .enumerate()
                .filter_map(|(at, metric)| {
                    let figures: Option<Vec<i64>> = samples.iter().map(|(_, row)| *row.get(at)?).collect();
                    Some((metric, figures?))
                })
                .collect();
            let faults = figures.get(&Metric::Faults).map_or(&[][..], Vec::as_slice);
            let warmup = match warmup {
                Some(given) => WarmUp::Ends(given.min(faults.len())),
                None => warm_up(faults, Metric::Faults.least()),
            };
            let requests = samples.len();
            (
                name,
                Route {
                    requests,
                    warmup,
                    figures,
                },
            )
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

/// A route's requests, in the order in which they began.
#[derive(Debug)]
pub struct Route {
    /// How many.
    pub requests: usize,
    /// Which of them are not like the rest.
    pub warmup: WarmUp,
    figures: BTreeMap<Metric, Vec<i64>>,
}

impl Route {
    /// How many come before those that are like each other.
    pub fn cold(&self) -> usize {
        match self.warmup {
            WarmUp::Ends(end) => end,
            WarmUp::GoesOn | WarmUp::Unknown => 0,
        }
    }

    /// How many are.
    pub fn steady(&self) -> usize {
        self.requests - self.cold()
    }

    /// A figure of those, where it is known of all.
    pub fn figures(&self, metric: Metric) -> Option<&[i64]> {
        self.figures.get(&metric)?.get(self.cold()..)
    }

    /// The faults of those before, all together.
    pub fn cold_faults(&self) -> i64 {
        let faults = self
            .figures
            .get(&Metric::Faults)
            .and_then(|all| all.get(..self.cold()));
        let faults = faults.unwrap_or_default().iter();
        faults.fold(0, |sum, &one| sum.saturating_add(one))
    }
}
