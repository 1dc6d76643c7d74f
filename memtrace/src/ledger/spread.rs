//! How one figure spreads over many requests, and the roll-up of requests into routes.
//!
//! Owns percentiles and the bounds on what a long run may keep. Must not know how a path became a route,
//! nor how a route is shown.

use std::collections::BTreeMap;

use crate::ledger::entry::{Request, Route, RouteFaults, RouteFrames, Spread};

/// Routes that are told apart in one run; the requests of any further one fold into [`OTHER_ROUTE`].
pub const ROUTES_MAX: usize = 1_000;

/// The route that stands for all that came after the first [`ROUTES_MAX`]; its method is [`OTHER_METHOD`].
pub const OTHER_ROUTE: &str = "(other)";

/// The method of [`OTHER_ROUTE`].
pub const OTHER_METHOD: &str = "*";

/// Distinct values that one [`Tally`] tells apart.
const VALUES_MAX: usize = 1_024;

/// The precision, in leading bits, that a [`Tally`] falls back to first when its values no longer fit.
const COARSE_BITS_FIRST: u32 = 12;

/// What a [`Spread`] can be of.
pub trait Figure: Copy + Ord + Default {
    /// `self + other`, or the type's limit.
    #[must_use]
    fn plus(self, other: Self) -> Self;

    /// The highest value that shares its `bits` leading bits (of the magnitude) and its sign with `self`.
    #[must_use]
    fn rounded_up(self, bits: u32) -> Self;
}

/// The bits of `magnitude` below its `bits` leading ones, all set.
fn low_mask(magnitude: u64, bits: u32) -> u64 {
    let low = (u64::BITS - magnitude.leading_zeros()).saturating_sub(bits);
    1_u64.checked_shl(low).map_or(u64::MAX, |bit| bit - 1)
}

impl Figure for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn rounded_up(self, bits: u32) -> Self {
        self | low_mask(self, bits)
    }
}

impl Figure for i64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }

    fn rounded_up(self, bits: u32) -> Self {
        let magnitude = self.unsigned_abs();
        let mask = low_mask(magnitude, bits);
        if self < 0 {
            // Up is towards zero here. What is left has a bit fewer than 64 unless it is i64::MIN itself.
            i64::try_from(magnitude & !mask).map_or(self, |rest| -rest)
        } else {
            i64::try_from(magnitude | mask).unwrap_or(i64::MAX)
        }
    }
}

/// The rank, counted from 1, of the `percent`th percentile of `count` values: `ceil(percent / 100 * count)`.
fn nearest_rank(percent: u64, count: u64) -> u64 {
    let rank = (u128::from(percent) * u128::from(count)).div_ceil(100);
    u64::try_from(rank).unwrap_or(u64::MAX)
}

impl<T: Figure> Spread<T> {
    /// The spread of `values`, which are left sorted.
    ///
    /// Percentiles are by **nearest rank**: the Pth of N values in ascending order is the one at place
    /// `ceil(P / 100 * N)`, counted from 1. So each is a value that did occur, the least that at least P in a
    /// hundred do not exceed, and of two values the median is the lower. No values: all zeros.
    pub fn of(values: &mut [T]) -> Self {
        values.sort_unstable();
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else {
            return Self::default();
        };
        let count = values.len() as u64;
        let at = |percent| {
            let index = usize::try_from(nearest_rank(percent, count) - 1).unwrap_or(usize::MAX);
            values.get(index).copied().unwrap_or(max)
        };
        Self {
            min,
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max,
            sum: values.iter().fold(T::default(), |sum, &value| sum.plus(value)),
        }
    }
}

/// The values of one figure, in bounded memory.
///
/// While at most 1,024 distinct values occur (fault counts hardly ever have more) every percentile is exact and
/// equals [`Spread::of`]. Past that, values are rounded **up** to as many leading bits as fit in 1,024 again: 11
/// or fewer, and with the times of one route, which span a factor of a hundred at most, about 8, so a percentile
/// is at most 1% above the exact one. It still holds that so many in a hundred are no higher. The least, the
/// most and the sum are always exact.
#[derive(Clone, Debug)]
pub struct Tally<T> {
    counts: BTreeMap<T, u64>,
    /// Leading bits that are kept of each value.
    bits: u32,
    count: u64,
    min: T,
    max: T,
    sum: T,
}

impl<T: Figure> Default for Tally<T> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            bits: u64::BITS,
            count: 0,
            min: T::default(),
            max: T::default(),
            sum: T::default(),
        }
    }
}

impl<T: Figure> Tally<T> {
    /// Adds one value.
    pub fn push(&mut self, value: T) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum = self.sum.plus(value);
        self.count += 1;
        *self.counts.entry(value.rounded_up(self.bits)).or_default() += 1;
        while self.counts.len() > VALUES_MAX && self.bits > 1 {
            self.coarsen();
        }
    }

    fn coarsen(&mut self) {
        self.bits = (self.bits - 1).min(COARSE_BITS_FIRST);
        for (value, count) in std::mem::take(&mut self.counts) {
            *self.counts.entry(value.rounded_up(self.bits)).or_default() += count;
        }
    }

    /// The spread of what was pushed, by nearest rank; all zeros where nothing was.
    pub fn spread(&self) -> Spread<T> {
        let at = |percent| {
            let rank = nearest_rank(percent, self.count);
            let mut below = 0;
            let found = self.counts.iter().find(|&(_, &count)| {
                below += count;
                below >= rank
            });
            found.map_or(self.max, |(&value, _)| value.clamp(self.min, self.max))
        };
        Spread {
            min: self.min,
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: self.max,
            sum: self.sum,
        }
    }

    /// The spread, or `None` where no request had this figure.
    fn known(&self) -> Option<Spread<T>> {
        (self.count > 0).then(|| self.spread())
    }
}

/// Requests, rolled up by route and method as they end.
///
/// Keeps figures, not requests, so that a run may last for days: for each of at most [`ROUTES_MAX`] routes and
/// one more, nine [`Tally`]s.
#[derive(Debug)]
pub struct Routes {
    /// By route, and then by method.
    by_name: BTreeMap<String, BTreeMap<String, RouteTally>>,
    /// How many that are.
    known: usize,
    other: RouteTally,
    max: usize,
}

#[derive(Debug, Default)]
struct RouteTally {
    requests: u64,
    total: Tally<u64>,
    minor: Tally<u64>,
    major: Tally<u64>,
    in_window: Tally<u64>,
    kernel_mode: Tally<u64>,
    causal: Tally<u64>,
    frames_allocated: Tally<u64>,
    rss_delta: Tally<i64>,
    duration_ns: Tally<u64>,
    fault_time_ns: Tally<u64>,
}

impl Default for Routes {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// No requests yet.
    pub fn new() -> Self {
        Self::with_max(ROUTES_MAX)
    }

    fn with_max(max: usize) -> Self {
        Self {
            by_name: BTreeMap::new(),
            known: 0,
            other: RouteTally::default(),
            max,
        }
    }

    /// Adds a request that ended, whole or not: its faults are in the books either way.
    pub fn push(&mut self, request: &Request) {
        self.tally(&request.route, &request.method).push(request);
    }

    /// Nearly all requests are of a route that is known: no name is copied for them.
    fn tally(&mut self, route: &str, method: &str) -> &mut RouteTally {
        let is_known = |methods: &BTreeMap<String, RouteTally>| methods.contains_key(method);
        if !self.by_name.get(route).is_some_and(is_known) {
            if self.known == self.max {
                return &mut self.other;
            }
            self.known += 1;
            let methods = self.by_name.entry(route.to_owned()).or_default();
            methods.insert(method.to_owned(), RouteTally::default());
        }
        let known = self.by_name.get_mut(route);
        known
            .and_then(|methods| methods.get_mut(method))
            .unwrap_or(&mut self.other)
    }

    /// Requests that were folded into [`OTHER_ROUTE`].
    pub fn folded(&self) -> u64 {
        self.other.requests
    }

    /// What to tell the reader where routes were folded: a sentence for [`Summary::notes`].
    ///
    /// [`Summary::notes`]: crate::ledger::entry::Summary::notes
    pub fn note(&self) -> Option<String> {
        (self.folded() > 0).then(|| {
            let others = match self.folded() {
                1 => "1 request of a further one stands".to_owned(),
                n => format!("{n} requests of further ones stand"),
            };
            format!(
                "only the first {} routes are told apart; {others} under {OTHER_ROUTE}: group paths with --route PATTERN",
                self.max,
            )
        })
    }

    /// The routes, those with the most faults in all first, equal ones by name and method.
    ///
    /// A figure that no request had is `None`; one that only some had is over those.
    pub fn finish(self) -> Vec<Route> {
        let mut routes: Vec<Route> = self
            .by_name
            .into_iter()
            .flat_map(|(route, methods)| {
                let named = move |(method, tally): (String, RouteTally)| tally.finish(route.clone(), method);
                methods.into_iter().map(named)
            })
            .collect();
        if self.other.requests > 0 {
            routes.push(self.other.finish(OTHER_ROUTE.to_owned(), OTHER_METHOD.to_owned()));
        }
        routes.sort_by(|a, b| {
            let faults = b.faults.total.sum.cmp(&a.faults.total.sum);
            faults.then_with(|| (&a.route, &a.method).cmp(&(&b.route, &b.method)))
        });
        routes
    }
}

impl RouteTally {
    fn push(&mut self, request: &Request) {
        let faults = &request.faults;
        self.requests += 1;
        self.total.push(faults.total);
        self.minor.push(faults.minor);
        self.major.push(faults.major);
        self.in_window.push(faults.in_window);
        self.kernel_mode.push(faults.kernel_mode);
        self.duration_ns.push(request.duration_ns);
        if let Some(causal) = faults.attribution.causal {
            self.causal.push(causal);
        }
        if let Some(frames) = &request.frames {
            self.frames_allocated.push(frames.allocated);
        }
        if let Some(rss) = &request.rss {
            self.rss_delta.push(rss.delta);
        }
        if let Some(time_ns) = faults.time_ns {
            self.fault_time_ns.push(time_ns);
        }
    }

    fn finish(self, route: String, method: String) -> Route {
        Route {
            route,
            method,
            requests: self.requests,
            faults: RouteFaults {
                total: self.total.spread(),
                minor: self.minor.spread(),
                major: self.major.spread(),
                in_window: self.in_window.spread(),
                kernel_mode: self.kernel_mode.spread(),
                causal: self.causal.known(),
            },
            frames: self
                .frames_allocated
                .known()
                .map(|allocated| RouteFrames { allocated }),
            rss_delta: self.rss_delta.known(),
            duration_ns: self.duration_ns.spread(),
            fault_time_ns: self.fault_time_ns.known(),
        }
    }
}

#[cfg(test)]
mod tests;
