//! A baseline: what the requests of each route took when that was found to be right, in TOML that people review.
//!
//! Owns the file's words, and what stays when it is written anew: comments, and limits that are set by hand. Must not know
//! how a run is judged by it.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{
    chance::{Alike, Quantile, at},
    entry::{BaselineError, count, entry, integer, set, subtable, table, texts_of, unknown},
    environment::Environment,
    metric::{Call, Metric, Unit},
    samples::{Quantiles, Route, Samples},
};

/// The version that is written, and read.
const VERSION: i64 = 1;
/// Where routes are written: tables are numbered from the top of the file.
const AFTER_ALL_ELSE: isize = 1 << 20;
/// What a new one begins with.
const HEAD: &str = "\
# What requests take, route by route: half of them no more than p50 says, and so on. Written by
# `memtrace check --update`, which leaves comments and limits where they are: `max = 200` (faults), `max_major = 0`,
# `max_rss_delta = \"2 MiB\"`, for a route or, under [limits], for all.
";

/// Set by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of each figure, the most that a request may have.
    pub figures: BTreeMap<Metric, i64>,
    /// The most faults that a warm-up may have, all together.
    pub warmup: Option<i64>,
}

/// What one figure of a route was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Was {
    /// By [`Quantile::ALL`].
    pub quantiles: Quantiles,
    /// How far these lay apart in the runs of which it was written.
    pub between: Quantiles,
    /// How much alike requests were that came one after another.
    pub alike: Alike,
}

/// What a route was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteWas {
    /// Requests, without the warm-up.
    pub requests: usize,
    /// By figure.
    pub figures: BTreeMap<Metric, Was>,
    /// How often half of the requests made each call, at most; those that are not there, never.
    pub calls: Option<BTreeMap<Call, i64>>,
    /// Its own.
    pub limits: Limits,
}

/// A baseline that has been read.
#[derive(Debug, Default)]
pub struct Baseline {
    /// As it was.
    pub environment: Environment,
    /// For all routes.
    pub limits: Limits,
    /// By `METHOD PATTERN`.
    pub routes: BTreeMap<String, RouteWas>,
    document: DocumentMut,
}

impl Limits {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty() && self.warmup.is_none()
    }

    /// Takes an entry, if it is a limit.
    fn take(&mut self, key: &str, item: &Item, at: &str) -> Result<bool, BaselineError> {
        if key == "max_warmup" {
            self.warmup = Some(integer(item, at)?);
        } else if let Some(metric) = limited(key) {
            self.figures.insert(metric, limit(item, metric, at)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

impl Was {
    /// No request had any.
    pub const NOTHING: Self = Self {
        quantiles: [0; Quantile::ALL.len()],
        between: [0; Quantile::ALL.len()],
        alike: Alike::NOT,
    };

    /// What so many requests had at most.
    pub fn at(&self, quantile: Quantile) -> i64 {
        one_of(self.quantiles, quantile)
    }

    /// How far that lay apart between runs.
    pub fn between(&self, quantile: Quantile) -> i64 {
        one_of(self.between, quantile)
    }

    /// Of a run's requests, in their order; `None` where they have no such figure, or there are none.
    pub fn of(route: &Route, metric: Metric) -> Option<Self> {
        let figures = route.figures(metric)?;
        let mut sorted = figures.to_vec();
        sorted.sort_unstable();
        let mut quantiles = Quantiles::default();
        let mut alike = Alike::NOT;
        for (quantile, slot) in std::iter::zip(Quantile::ALL, &mut quantiles) {
            *slot = at(&sorted, quantile)?;
            let which: Vec<bool> = figures.iter().map(|figure| figure > slot).collect();
            alike = alike.or(route.alike(&which));
        }
        Some(Self {
            quantiles,
            between: route.between(metric),
            alike,
        })
    }
}

fn one_of(quantiles: Quantiles, wanted: Quantile) -> i64 {
    let mut all = std::iter::zip(Quantile::ALL, quantiles);
    let this = all.find(|(quantile, _)| *quantile == wanted);
    this.map_or(0, |(_, figure)| figure)
}

impl Baseline {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BaselineError> {
        let document: DocumentMut = text
            .parse()
            .map_err(|why: toml_edit::TomlError| BaselineError::Toml(why.to_string()))?;
        let mut baseline = Self::default();
        let mut version = None;
        for (key, item) in document.iter() {
            match key {
                "version" => version = Some(integer(item, key)?),
                "environment" => baseline.environment = Environment::read(table(item, key)?)?,
                "limits" => {
                    for (name, item) in table(item, key)?.iter() {
                        let at = format!("limits.{name}");
                        if !baseline.limits.take(name, item, &at)? {
                            return Err(unknown(&at, name, limits()));
                        }
                    }
                }
                "routes" => {
                    for (name, item) in table(item, key)?.iter() {
                        let at = format!("routes.\"{name}\"");
                        baseline
                            .routes
                            .insert(name.to_owned(), route(table(item, &at)?, &at)?);
                    }
                }
                _ => {
                    return Err(unknown(
                        key,
                        key,
                        texts_of(&["version", "environment", "limits", "routes"]),
                    ));
                }
            }
        }
        match version {
            Some(VERSION) => {}
            Some(other) => {
                return Err(entry(
                    "version",
                    format!(
                        "{other} is none that this memtrace knows; it knows {VERSION}: a newer one may have written it"
                    ),
                ));
            }
            None => return Err(entry("version", "it is missing: this is no baseline")),
        }
        Ok(Self { document, ..baseline })
    }

    /// Nothing has been written to it yet.
    pub fn is_new(&self) -> bool {
        self.document.is_empty()
    }

    /// As it was read; nothing, where there was none.
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// The same text with what this run has. Routes that it lacks stay as they are.
    pub fn updated(&self, samples: &Samples, environment: &Environment) -> String {
        let mut document = self.document.clone();
        let is_new = self.is_new();
        set(document.as_table_mut(), "version", VERSION);
        environment.write(subtable(document.as_table_mut(), "environment"));
        let has_routes = document.contains_key("routes");
        let routes = subtable(document.as_table_mut(), "routes");
        if !has_routes {
            // No line for the table of tables.
            routes.set_implicit(true);
        }
        for (name, route) in &samples.routes {
            let name = name.to_string();
            write_route(subtable(routes, &name), route, self.routes.get(&name));
        }
        routes.sort_values();
        for (place, (_, item)) in (AFTER_ALL_ELSE..).zip(routes.iter_mut()) {
            if let Some(table) = item.as_table_mut() {
                table.set_position(Some(place));
            }
        }
        if is_new {
            format!("{HEAD}{document}")
        } else {
            document.to_string()
        }
    }
}

fn write_route(table: &mut Table, route: &Route, before: Option<&RouteWas>) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    set(table, "requests", number(route.steady()));
    if route.runs > 1 {
        set(table, "runs", number(route.runs));
    } else {
        table.remove("runs");
    }
    set(table, "warmup", number(route.warmup.requests()));
    if route.warmup.requests() > 0 {
        set(table, "warmup_faults", route.cold_faults);
    } else {
        table.remove("warmup_faults");
    }
    let mut nothing = Array::new();
    for metric in Metric::all() {
        let name = metric.name();
        let Some(was) = Was::of(route, metric) else {
            table.remove(&name);
            continue;
        };
        let has_none = route
            .figures(metric)
            .is_some_and(|all| all.iter().all(|&figure| figure == 0));
        if has_none {
            table.remove(&name);
            nothing.push(name);
            continue;
        }
        let mut figures = InlineTable::new();
        for (quantile, figure) in std::iter::zip(Quantile::ALL, was.quantiles) {
            figures.insert(format!("p{}", quantile.percent()), figure.into());
        }
        if was.alike.rounded() > 1.0 {
            figures.insert("alike", was.alike.rounded().into());
        }
        // One run cannot say how far runs lie apart; what several said is not unlearned.
        let learned = before.filter(|_| route.runs == 1);
        let learned = learned.and_then(|before| before.figures.get(&metric));
        let between = learned.map_or(was.between, |learned| learned.between);
        if between != Quantiles::default() {
            figures.insert("between", between.into_iter().collect::<Array>().into());
        }
        set(table, &name, figures);
    }
    let mut calls = InlineTable::new();
    for call in Call::ALL {
        let count = route.half_call(call);
        if count > 0 {
            calls.insert(call.name(), count.into());
        }
    }
    set(table, "calls", calls);
    if nothing.is_empty() {
        table.remove("nothing");
    } else {
        set(table, "nothing", nothing);
    }
}

/// What stands in a table of limits.
fn limits() -> impl Iterator<Item = String> {
    let figures = Metric::all().map(|metric| match metric {
        Metric::Faults => "max".to_owned(),
        other => format!("max_{}", other.name()),
    });
    figures.chain(["max_warmup".to_owned()])
}

fn route(entries: &dyn TableLike, at: &str) -> Result<RouteWas, BaselineError> {
    let mut route = RouteWas::default();
    for (key, item) in entries.iter() {
        let at = format!("{at}.{key}");
        match key {
            "requests" => route.requests = count(item, &at)?,
            // For who reads the file.
            "runs" | "warmup" | "warmup_faults" => drop(count(item, &at)?),
            "calls" => {
                let mut calls = BTreeMap::new();
                for (name, item) in table(item, &at)?.iter() {
                    let at = format!("{at}.{name}");
                    let known = || Call::ALL.map(|call| call.name().to_owned());
                    let call = Call::named(name).ok_or_else(|| unknown(&at, name, known()))?;
                    calls.insert(call, integer(item, &at)?);
                }
                route.calls = Some(calls);
            }
            "nothing" => {
                let names = item.as_array().ok_or_else(|| entry(&at, "it should be a list"))?;
                for name in names {
                    let name = name.as_str().unwrap_or_default();
                    let metric = Metric::named(name)
                        .ok_or_else(|| unknown(&at, name, Metric::all().map(Metric::name)))?;
                    route.figures.insert(metric, Was::NOTHING);
                }
            }
            _ => {
                if route.limits.take(key, item, &at)? {
                    continue;
                }
                if let Some(metric) = Metric::named(key) {
                    route.figures.insert(metric, was(item, &at)?);
                } else {
                    let known =
                        texts_of(&["requests", "runs", "warmup", "warmup_faults", "nothing", "calls"])
                            .chain(Metric::all().map(Metric::name))
                            .chain(limits());
                    return Err(unknown(&at, key, known));
                }
            }
        }
    }
    Ok(route)
}

fn was(item: &Item, at: &str) -> Result<Was, BaselineError> {
    let mut quantiles = [None; Quantile::ALL.len()];
    let mut between = Quantiles::default();
    let mut alike = Alike::NOT;
    for (key, item) in table(item, at)?.iter() {
        let at = format!("{at}.{key}");
        let quantile = Quantile::ALL
            .iter()
            .position(|quantile| key.strip_prefix('p') == Some(&quantile.percent().to_string()));
        match (key, quantile) {
            (_, Some(quantile)) => quantiles[quantile] = Some(integer(item, &at)?),
            ("alike", _) => {
                let number = item.as_float().or(item.as_integer().map(|n| n as f64));
                alike = number
                    .and_then(Alike::from_number)
                    .ok_or_else(|| entry(&at, "it should be a number, 1 or more"))?;
            }
            ("between", _) => between = integers(item, &at)?,
            _ => {
                let known = Quantile::ALL.map(|quantile| format!("p{}", quantile.percent()));
                return Err(unknown(
                    &at,
                    key,
                    known.into_iter().chain(texts_of(&["alike", "between"])),
                ));
            }
        }
    }
    let mut known = [0; Quantile::ALL.len()];
    for ((quantile, found), slot) in std::iter::zip(std::iter::zip(Quantile::ALL, quantiles), &mut known) {
        *slot = found.ok_or_else(|| entry(at, format!("p{} is missing", quantile.percent())))?;
    }
    if !known.is_sorted() {
        return Err(entry(at, "each should be no less than the one before"));
    }
    Ok(Was {
        quantiles: known,
        between,
        alike,
    })
}

fn integers(item: &Item, at: &str) -> Result<Quantiles, BaselineError> {
    let why = || {
        entry(
            at,
            format!(
                "it should be a list of {} numbers, 0 or more",
                Quantile::ALL.len()
            ),
        )
    };
    let list = item.as_array().ok_or_else(why)?;
    let numbers = list
        .iter()
        .map(|value| value.as_integer().filter(|&number| number >= 0));
    let numbers: Option<Vec<i64>> = numbers.collect();
    numbers.and_then(|all| all.try_into().ok()).ok_or_else(why)
}

/// `max` and `max_major`: what they limit.
fn limited(key: &str) -> Option<Metric> {
    match key.strip_prefix("max")? {
        "" => Some(Metric::Faults),
        rest => Metric::named(rest.strip_prefix('_')?),
    }
}

/// A number in the figure's own unit, or a size with one.
fn limit(item: &Item, metric: Metric, at: &str) -> Result<i64, BaselineError> {
    let is_size = matches!(metric.unit(), Unit::Bytes | Unit::BytesChanged);
    match item.as_value() {
        Some(Value::Integer(number)) => Ok(*number.value()),
        Some(Value::String(text)) if is_size => {
            size(text.value()).ok_or_else(|| entry(at, "it should be a size, as \"2 MiB\""))
        }
        _ if is_size => Err(entry(at, "it should be bytes, or a size, as \"2 MiB\"")),
        _ => Err(entry(at, "it should be a whole number")),
    }
}

fn size(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}
