//! A baseline: what the requests of each route took when that was found to be right, in TOML that people review.
//!
//! Owns the file's words, and what stays when it is written anew: comments, and limits that are set by hand. Must not know
//! how a run is judged by it.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::{
    chance::{Alike, Quantile, at},
    metric::{Metric, Unit},
    samples::{Route, Samples},
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

/// Why a file is no baseline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// It is no TOML.
    #[error("{0}")]
    Toml(String),
    /// Something in it is not what it should be.
    #[error("{at}: {why}")]
    Entry {
        /// Where.
        at: String,
        /// Why not.
        why: String,
    },
}

/// What moves figures beside the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// Bytes of a page.
    pub page_size: u64,
    /// The version of memtrace.
    pub memtrace: String,
}

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
    pub quantiles: [i64; Quantile::ALL.len()],
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
        alike: Alike::NOT,
    };

    /// Of a run's figures, in their order; `None` where there are none.
    pub fn of(figures: &[i64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_unstable();
        let mut quantiles = [0; Quantile::ALL.len()];
        let mut alike = Alike::NOT;
        for (quantile, slot) in std::iter::zip(Quantile::ALL, &mut quantiles) {
            *slot = at(&sorted, quantile)?;
            let which: Vec<bool> = figures.iter().map(|figure| figure > slot).collect();
            alike = alike.or(Alike::of(&which));
        }
        Some(Self { quantiles, alike })
    }
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
                "environment" => baseline.environment = environment(table(item, key)?)?,
                "limits" => {
                    for (name, item) in table(item, key)?.iter() {
                        let at = format!("limits.{name}");
                        if !baseline.limits.take(name, item, &at)? {
                            return Err(unknown(&at));
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
                _ => return Err(unknown(key)),
            }
        }
        match version {
            Some(VERSION) => {}
            Some(other) => {
                return Err(entry(
                    "version",
                    format!("{other} is none that this memtrace knows; it knows {VERSION}"),
                ));
            }
            None => return Err(entry("version", "it is missing: this is no baseline")),
        }
        Ok(Self { document, ..baseline })
    }

    /// The same text with what this run has. Routes that it lacks stay as they are.
    pub fn updated(&self, samples: &Samples, environment: &Environment) -> String {
        let mut document = self.document.clone();
        let is_new = document.is_empty();
        set(document.as_table_mut(), "version", VERSION);
        let surroundings = subtable(document.as_table_mut(), "environment");
        set(surroundings, "kernel", environment.kernel.as_str());
        let page_size = i64::try_from(environment.page_size).unwrap_or(i64::MAX);
        set(surroundings, "page_size", page_size);
        set(surroundings, "memtrace", environment.memtrace.as_str());
        let has_routes = document.contains_key("routes");
        let routes = subtable(document.as_table_mut(), "routes");
        if !has_routes {
            // No line for the table of tables.
            routes.set_implicit(true);
        }
        for (name, route) in &samples.routes {
            write_route(subtable(routes, &name.to_string()), route);
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

fn write_route(table: &mut Table, route: &Route) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    set(table, "requests", number(route.steady()));
    set(table, "warmup", number(route.cold()));
    if route.cold() > 0 {
        set(table, "warmup_faults", route.cold_faults());
    } else {
        table.remove("warmup_faults");
    }
    let mut nothing = Array::new();
    for metric in Metric::all() {
        let name = metric.name();
        let Some(was) = route.figures(metric).and_then(Was::of) else {
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
        set(table, &name, figures);
    }
    if nothing.is_empty() {
        table.remove("nothing");
    } else {
        set(table, "nothing", nothing);
    }
}

/// What is written beside the entry stays.
fn set(table: &mut Table, key: &str, new: impl Into<Value>) {
    let mut new = new.into();
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

/// The table of this name, made where there is none.
fn subtable<'a>(table: &'a mut Table, key: &str) -> &'a mut Table {
    let item = table.entry(key).or_insert_with(toml_edit::table);
    if !item.is_table() {
        // Written in one line by hand.
        let in_one_line = std::mem::take(item).into_table();
        *item = Item::Table(in_one_line.unwrap_or_default());
    }
    item.as_table_mut().expect("it is one by now")
}

fn entry(at: &str, why: impl Into<String>) -> BaselineError {
    BaselineError::Entry {
        at: at.to_owned(),
        why: why.into(),
    }
}

fn unknown(at: &str) -> BaselineError {
    entry(at, "no such entry; is it misspelt?")
}

fn table<'a>(item: &'a Item, at: &str) -> Result<&'a dyn TableLike, BaselineError> {
    item.as_table_like()
        .ok_or_else(|| entry(at, "it should be a table"))
}

fn integer(item: &Item, at: &str) -> Result<i64, BaselineError> {
    item.as_integer()
        .ok_or_else(|| entry(at, "it should be a whole number"))
}

fn count(item: &Item, at: &str) -> Result<usize, BaselineError> {
    usize::try_from(integer(item, at)?).map_err(|_| entry(at, "it should be no less than 0"))
}

fn environment(table: &dyn TableLike) -> Result<Environment, BaselineError> {
    let mut environment = Environment::default();
    for (key, item) in table.iter() {
        let at = format!("environment.{key}");
        let text = || {
            item.as_str()
                .map(str::to_owned)
                .ok_or_else(|| entry(&at, "it should be a text"))
        };
        match key {
            "kernel" => environment.kernel = text()?,
            "memtrace" => environment.memtrace = text()?,
            "page_size" => environment.page_size = integer(item, &at)?.unsigned_abs(),
            _ => return Err(unknown(&at)),
        }
    }
    Ok(environment)
}

fn route(table: &dyn TableLike, at: &str) -> Result<RouteWas, BaselineError> {
    let mut route = RouteWas::default();
    for (key, item) in table.iter() {
        let at = format!("{at}.{key}");
        match key {
            "requests" => route.requests = count(item, &at)?,
            // For who reads the file.
            "warmup" | "warmup_faults" => drop(count(item, &at)?),
            "nothing" => {
                let names = item.as_array().ok_or_else(|| entry(&at, "it should be a list"))?;
                for name in names {
                    let metric = name
                        .as_str()
                        .and_then(Metric::named)
                        .ok_or_else(|| unknown(&at))?;
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
                    return Err(unknown(&at));
                }
            }
        }
    }
    Ok(route)
}

fn was(item: &Item, at: &str) -> Result<Was, BaselineError> {
    let mut quantiles = [None; Quantile::ALL.len()];
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
            _ => return Err(unknown(&at)),
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
        alike,
    })
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
