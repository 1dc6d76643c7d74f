//! Which requests a report lists, and in which order, as the reader asked.
//!
//! Owns `--only`, `--since`, `--until`, `--id`, `--min-faults` and `--sort`. Must not know how a request is rendered. None of them touches
//! the routes' figures or the books.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use memtrace_common::Nanos;

use super::figure::counted;
use crate::ledger::entry::Request;
use crate::ledger::route::{Pattern, PatternError, without_query};

/// Requests that `--sort` keeps for the end: the worst of the run.
pub const SORTED_MAX: usize = 1_000;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Only requests with at least so many faults.
    pub min_faults: u64,
    /// All at the end, the worst first, rather than each as it ends.
    pub sort: Option<SortBy>,
    /// Only requests that one of these selects; all, where there is none.
    pub only: Vec<Only>,
    /// Only requests that began at this time or later,
    pub since: Option<Nanos>,
    /// and only those that began before this one.
    pub until: Option<Nanos>,
    /// Only requests with one of these numbers; all, where there is none.
    pub ids: Vec<u64>,
}

/// The field of `--sort`; the highest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// `faults.total`.
    Faults,
    /// `faults.major`.
    Major,
    /// `duration_ns`.
    Duration,
    /// `faults.kernel_mode`.
    Kernel,
    /// `faults.in_window`.
    InWindow,
}

impl SortBy {
    /// All fields with the names that users write.
    pub const ALL: [(&'static str, SortBy); 5] = [
        ("faults", SortBy::Faults),
        ("major", SortBy::Major),
        ("duration", SortBy::Duration),
        ("kernel", SortBy::Kernel),
        ("in_window", SortBy::InWindow),
    ];

    fn of(self, request: &Request) -> u64 {
        match self {
            SortBy::Faults => request.faults.total,
            SortBy::Major => request.faults.major,
            SortBy::Duration => request.duration_ns,
            SortBy::Kernel => request.faults.kernel_mode,
            SortBy::InWindow => request.faults.in_window,
        }
    }
}

/// A `--sort` field that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--sort '{0}': no such field; there are faults, major, duration, kernel and in_window")]
pub struct SortByError(String);

impl FromStr for SortBy {
    type Err = SortByError;

    fn from_str(name: &str) -> Result<Self, SortByError> {
        let known = Self::ALL.into_iter().find(|(known, _)| *known == name);
        known
            .map(|(_, field)| field)
            .ok_or_else(|| SortByError(name.to_owned()))
    }
}

/// `'METHOD PATTERN'`: one method, or all with `*` or `ANY`, and the paths that fit a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    method: Option<String>,
    pattern: Pattern,
}

/// Why an `--only` is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnlyError {
    /// It is not two words.
    #[error("'{}' has to be a method and a pattern, such as 'GET /users/{{id}}' or '* /users/*'", .0.escape_debug())]
    Words(String),
    /// Its pattern is none.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl FromStr for Only {
    type Err = OnlyError;

    fn from_str(text: &str) -> Result<Self, OnlyError> {
        let mut words = text.split_ascii_whitespace();
        let (Some(method), Some(pattern), None) = (words.next(), words.next(), words.next()) else {
            return Err(OnlyError::Words(text.to_owned()));
        };
        let method = (method != "*" && method != "ANY").then(|| method.to_owned());
        Ok(Self {
            method,
            pattern: pattern.parse()?,
        })
    }
}

impl fmt::Display for Only {
    /// As it can be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.as_deref().unwrap_or("*"), self.pattern)
    }
}

impl Only {
    /// Methods are compared as they are, as RFC 9110 section 9.1 has it: `get` is not `GET`.
    fn selects(&self, request: &Request) -> bool {
        self.fits(&request.method, &request.path)
    }

    /// Whether it is for such requests, of a path or of a route's pattern.
    pub fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_ref().is_none_or(|own| own == method) && self.pattern.matches(without_query(path))
    }
}

impl View {
    /// Whether this request is one of those that were asked for. A caller that rolls up routes pushes those that are.
    pub fn selects(&self, request: &Request) -> bool {
        let start = Nanos(request.start_ns);
        (self.only.is_empty() || self.only.iter().any(|only| only.selects(request)))
            && self.since.is_none_or(|since| start >= since)
            && self.until.is_none_or(|until| start < until)
            && (self.ids.is_empty() || self.ids.contains(&request.id))
    }

    /// The options that select, for a person.
    fn selected_by(&self) -> String {
        let options = [
            ("--only", !self.only.is_empty()),
            ("--since", self.since.is_some()),
            ("--until", self.until.is_some()),
            ("--id", !self.ids.is_empty()),
        ];
        let given: Vec<_> = options
            .iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| *name)
            .collect();
        given.join(", ")
    }
}

/// The requests that pass through a [`View`], with a count of those that do not.
#[derive(Debug)]
pub(crate) struct Sieve {
    view: View,
    /// The worst first; the second part keeps the order in which requests came among equals.
    held: BTreeMap<(Reverse<u64>, u64), Request>,
    came: u64,
    not_selected: u64,
    below_min: u64,
    not_held: u64,
    held_max: usize,
}

impl Sieve {
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            held: BTreeMap::new(),
            came: 0,
            not_selected: 0,
            below_min: 0,
            not_held: 0,
            held_max: SORTED_MAX,
        }
    }

    /// The request, if it is to be listed now.
    pub(crate) fn pass<'r>(&mut self, request: &'r Request) -> Option<&'r Request> {
        self.came += 1;
        if !self.view.selects(request) {
            self.not_selected += 1;
            return None;
        }
        if request.faults.total < self.view.min_faults {
            self.below_min += 1;
            return None;
        }
        let Some(field) = self.view.sort else {
            return Some(request);
        };
        let key = (Reverse(field.of(request)), self.came);
        if self.held.len() >= self.held_max {
            self.not_held += 1;
            // Equal to the least of those held is too late: keys differ in the second part.
            if self.held.last_key_value().is_some_and(|(least, _)| *least < key) {
                return None;
            }
            self.held.pop_last();
        }
        self.held.insert(key, request.clone());
        None
    }

    /// What was held for the end, the worst first.
    pub(crate) fn take_held(&mut self) -> impl Iterator<Item = Request> + use<> {
        std::mem::take(&mut self.held).into_values()
    }

    /// What was left out, a sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let requests = |n: u64| {
            if n == 1 {
                "1 request is".to_owned()
            } else {
                format!("{n} requests are")
            }
        };
        let left_out = [
            (
                self.not_selected,
                format!("not listed: not selected by {}", self.view.selected_by()),
            ),
            (
                self.below_min,
                format!(
                    "not listed: fewer than {} (--min-faults)",
                    counted(self.view.min_faults, "fault")
                ),
            ),
            (
                self.not_held,
                format!("not listed: --sort keeps the first {}", self.held_max),
            ),
        ];
        let said = left_out.into_iter().filter(|(count, _)| *count > 0);
        said.map(|(count, why)| format!("{} {why}", requests(count)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn view(only: &[&str], min_faults: u64, sort: Option<SortBy>) -> View {
        View {
            min_faults,
            sort,
            only: only.iter().map(|text| text.parse().unwrap()).collect(),
            ..View::default()
        }
    }

    #[test]
    fn only_goes_by_method_and_path() {
        let listed = |only: &[&str], method: &str, path: &str| {
            view(only, 0, None).selects(&sample::request(1, method, path, 0))
        };
        assert!(listed(&[], "GET", "/"));
        assert!(listed(&["GET /users/{id}"], "GET", "/users/me?x=1"));
        assert!(!listed(&["GET /users/{id}"], "POST", "/users/me"));
        assert!(!listed(&["get /"], "GET", "/"));
        assert!(!listed(&["GET /users/{id}"], "GET", "/users/me/7"));
        assert!(listed(&["ANY /users/*"], "PUT", "/users/me/7"));
        assert!(listed(&["*  /a/*/c"], "PUT", "/a/b/c"));
        assert!(listed(&["GET /x", "GET /y"], "GET", "/y"));
        assert!(!listed(&["ANY /*"], "OPTIONS", "*"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let only = |text: &str| text.parse::<Only>().unwrap_err().to_string();
        let said = [
            only("/users"),
            only("GET /a b"),
            only(""),
            only("GET users"),
            "rss".parse::<SortBy>().unwrap_err().to_string(),
        ];
        insta::assert_snapshot!(said.join("\n"), @r#"
        '/users' has to be a method and a pattern, such as 'GET /users/{id}' or '* /users/*'
        'GET /a b' has to be a method and a pattern, such as 'GET /users/{id}' or '* /users/*'
        '' has to be a method and a pattern, such as 'GET /users/{id}' or '* /users/*'
        route pattern 'users': it has to begin with '/', as paths do
        --sort 'rss': no such field; there are faults, major, duration, kernel and in_window
        "#);
        for (name, field) in SortBy::ALL {
            assert_eq!(name.parse(), Ok(field));
        }
    }

    #[test]
    fn the_worst_come_first_and_the_rest_is_counted() {
        let mut sieve = Sieve::new(view(&["GET /*"], 3, Some(SortBy::Faults)));
        sieve.held_max = 4;
        for (id, faults) in [4, 9, 2, 7, 9, 3, 12, 7, 7, 5].into_iter().enumerate() {
            assert_eq!(sieve.pass(&sample::request(id as u64, "GET", "/", faults)), None);
        }
        sieve.pass(&sample::request(99, "POST", "/", 1_000));
        insta::assert_snapshot!(sieve.notes().join("\n"), @"
        1 request is not listed: not selected by --only
        1 request is not listed: fewer than 3 faults (--min-faults)
        5 requests are not listed: --sort keeps the first 4
        ");
        let held: Vec<_> = sieve.take_held().map(|r| (r.id, r.faults.total)).collect();
        assert_eq!(held, [(6, 12), (1, 9), (4, 9), (3, 7)]);
        assert_eq!(sieve.take_held().count(), 0);
    }

    #[test]
    fn each_field_sorts_by_itself() {
        let mut worst = Vec::new();
        for (_, field) in SortBy::ALL {
            let mut sieve = Sieve::new(view(&[], 0, Some(field)));
            for id in 0..5 {
                let mut request = sample::request(id, "GET", "/", 1);
                let high = |at: u64| if id == at { 10 } else { 1 };
                request.faults.total = high(0);
                request.faults.major = high(1);
                request.duration_ns = high(2);
                request.faults.kernel_mode = high(3);
                request.faults.in_window = high(4);
                sieve.pass(&request);
            }
            worst.push(sieve.take_held().next().unwrap().id);
        }
        assert_eq!(worst, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn without_sort_a_request_passes_at_once() {
        let mut sieve = Sieve::new(view(&[], 2, None));
        let (few, many) = (
            sample::request(1, "GET", "/", 1),
            sample::request(2, "GET", "/", 2),
        );
        assert_eq!((sieve.pass(&few), sieve.pass(&many)), (None, Some(&many)));
        assert_eq!(
            sieve.notes(),
            ["1 request is not listed: fewer than 2 faults (--min-faults)"]
        );
    }

    #[test]
    fn one_fault_is_not_many() {
        let mut sieve = Sieve::new(view(&[], 1, None));
        sieve.pass(&sample::request(1, "GET", "/", 0));
        assert_eq!(
            sieve.notes(),
            ["1 request is not listed: fewer than 1 fault (--min-faults)"]
        );
    }
}
