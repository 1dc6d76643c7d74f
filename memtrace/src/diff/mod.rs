//! Two runs side by side, route by route.
//!
//! Owns which routes belong together, in which order they come, and in what the runs' surroundings differ. Must not know
//! where requests come from, nor say what a change is worth: two figures are no statistics.

pub mod moved;

mod json;
mod table;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use self::moved::{Change, Sums, per_request, ranked};
use crate::{
    ledger::{
        entry::{Request, Route, Summary},
        spread::{OTHER_METHOD, OTHER_ROUTE, ROUTES_MAX, Routes},
    },
    record::{Asked, Origin, Program},
    report::{form::Form, table::TableOptions},
};

/// Fewer requests of a route than this are pointed out: chance alone may have moved their figures.
pub const REQUESTS_FEW: u64 = 5;

/// Files that are told apart over all routes of one run; the faults in further ones are under [`OTHER_FILES`].
const FILES_MAX: usize = 16_384;

/// What stands for the files after the first 16,384.
pub const OTHER_FILES: &str = "(other files)";

/// By the executables' base names; none where the recording does not say.
type Programs = BTreeMap<String, Program>;

/// So many digits of a build's identity are told.
const BUILD: usize = 12;

/// What stands for what an older recording does not say.
const UNKNOWN: &str = "unknown";

/// The route, then the method.
type Key = (String, String);

/// The requests of one run, as they come.
#[derive(Debug, Default)]
pub struct Gathering {
    routes: Routes,
    sums: BTreeMap<Key, Sums>,
    files: usize,
}

impl Gathering {
    /// Adds a request that ended.
    pub fn push(&mut self, request: &Request) {
        self.routes.push(request);
        let mut key = (request.route.clone(), request.method.clone());
        if self.sums.len() >= ROUTES_MAX && !self.sums.contains_key(&key) {
            // Folded as the routes themselves are.
            key = (OTHER_ROUTE.to_owned(), OTHER_METHOD.to_owned());
        }
        let room = FILES_MAX.saturating_sub(self.files);
        self.files += self.sums.entry(key).or_default().push(request, room);
    }

    /// The run, after its last request.
    pub fn finish(self, run: About) -> Side {
        Side {
            routes: self.routes.finish(),
            sums: self.sums,
            about: run,
        }
    }
}

/// One run without its requests.
#[derive(Clone, Debug)]
pub struct About {
    /// What to call it: the recording's path.
    pub name: String,
    /// Where and by what it was recorded.
    pub origin: Origin,
    /// What it was asked for, as it is told now.
    pub asked: Asked,
    /// What ran in the targets.
    pub programs: Programs,
    /// Its end.
    pub summary: Summary,
    /// Nothing of it is lost, cut off or damaged, and its books balance.
    pub is_conclusive: bool,
}

/// One of the two runs.
#[derive(Clone, Debug)]
pub struct Side {
    routes: Vec<Route>,
    sums: BTreeMap<Key, Sums>,
    about: About,
}

impl Side {
    /// Nothing of it is lost, cut off or damaged, and its books balance.
    pub fn is_conclusive(&self) -> bool {
        self.about.is_conclusive
    }
}

/// One route in both runs, or in the only one that has it.
#[derive(Debug)]
pub struct Row<'a> {
    /// The pattern that grouped the requests.
    pub route: &'a str,
    /// Their method.
    pub method: &'a str,
    /// What it was; `None` where the route is new.
    pub before: Option<&'a Route>,
    /// What it is; `None` where the route is gone.
    pub after: Option<&'a Route>,
    sums: [Option<&'a Sums>; 2],
    /// Faults a request. What is not there has none.
    pub faults: Change,
    /// By cause, the biggest change first. Those that did not move are left out here and below.
    pub causes: Vec<(&'a str, Change)>,
    /// By region.
    pub regions: Vec<(&'a str, Change)>,
    /// By mapped file.
    pub files: Vec<(&'a str, Change)>,
}

/// Two runs, compared.
#[derive(Debug)]
pub struct Diff<'a> {
    before: &'a About,
    after: &'a About,
    /// The routes of both, those first whose faults a request changed most.
    pub rows: Vec<Row<'a>>,
}

impl<'a> Diff<'a> {
    /// What `after` has otherwise than `before`.
    pub fn of(before: &'a Side, after: &'a Side) -> Self {
        let (was, is) = (by_key(before), by_key(after));
        let keys: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
        let mut rows: Vec<Row<'a>> = keys
            .into_iter()
            .map(|key| {
                let sums = [before, after].map(|side| side.sums.get(&(key.0.to_owned(), key.1.to_owned())));
                Row::of(key, was.get(&key).copied(), is.get(&key).copied(), sums)
            })
            .collect();
        // Equal ones stay in the order of their names.
        rows.sort_by_key(|row| Reverse(row.faults.size()));
        Self {
            before: &before.about,
            after: &after.about,
            rows,
        }
    }

    /// Appends it.
    pub fn write(&self, form: Form, options: &TableOptions, out: &mut Vec<u8>) {
        match form {
            Form::Table => table::write(self, options, out),
            Form::Json => json::write(self, out),
        }
    }

    /// Where the runs' surroundings differ: what it is, before and after.
    fn surroundings(&self) -> Vec<(&'static str, String, String)> {
        let (was, is) = (self.before, self.after);
        let list = |texts: &[String]| {
            if texts.is_empty() {
                "none".to_owned()
            } else {
                texts.join(" ")
            }
        };
        let port = |asked: &Asked| asked.port.map_or("any".to_owned(), |port| port.to_string());
        let size = |origin: &Origin| format!("{} B", origin.page_size);
        let huge = |origin: &Origin| origin.huge_pages.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let builds = |programs: &Programs| {
            let build = |(name, program): (&String, &Program)| {
                let build = program.build.as_deref().unwrap_or(UNKNOWN);
                format!("{name} {}", build.get(..BUILD).unwrap_or(build))
            };
            let builds: Vec<String> = programs.iter().map(build).collect();
            if builds.is_empty() {
                UNKNOWN.to_owned()
            } else {
                list(&builds)
            }
        };
        let settings = |programs: &Programs| {
            let all: BTreeSet<String> = programs
                .values()
                .flat_map(|program| {
                    program
                        .settings
                        .iter()
                        .map(|(name, value)| format!("{name}={value}"))
                })
                .collect();
            if programs.is_empty() {
                return UNKNOWN.to_owned();
            }
            list(&all.into_iter().collect::<Vec<_>>())
        };
        let timed = |asked: &Asked| if asked.fault_time { "yes" } else { "no" }.to_owned();
        let limit = |asked: &Asked| asked.requests.map_or("any".to_owned(), |n| n.to_string());
        let all = [
            ("kernel", was.origin.kernel.clone(), is.origin.kernel.clone()),
            ("page size", size(&was.origin), size(&is.origin)),
            (
                "memtrace",
                was.origin.memtrace.clone(),
                is.origin.memtrace.clone(),
            ),
            ("huge pages", huge(&was.origin), huge(&is.origin)),
            ("programs", builds(&was.programs), builds(&is.programs)),
            ("settings", settings(&was.programs), settings(&is.programs)),
            ("--route", list(&was.asked.route), list(&is.asked.route)),
            ("--only", list(&was.asked.only), list(&is.asked.only)),
            ("--port", port(&was.asked), port(&is.asked)),
            ("--requests", limit(&was.asked), limit(&is.asked)),
            ("--fault-time", timed(&was.asked), timed(&is.asked)),
        ];
        all.into_iter().filter(|(_, was, is)| was != is).collect()
    }
}

fn by_key(side: &Side) -> BTreeMap<(&str, &str), &Route> {
    side.routes
        .iter()
        .map(|route| ((route.route.as_str(), route.method.as_str()), route))
        .collect()
}

impl<'a> Row<'a> {
    fn of(
        (route, method): (&'a str, &'a str),
        before: Option<&'a Route>,
        after: Option<&'a Route>,
        sums: [Option<&'a Sums>; 2],
    ) -> Self {
        let requests = [before, after].map(|route| route.map_or(0, |route| route.requests));
        let total = |route: Option<&Route>| route.map_or(0, |route| route.faults.total.sum);
        let [was, is] = sums;
        let by = |of: fn(&'a Sums) -> Vec<(&'a str, u64)>| {
            ranked(
                was.map(of).unwrap_or_default(),
                is.map(of).unwrap_or_default(),
                requests,
            )
        };
        Self {
            route,
            method,
            before,
            after,
            sums,
            faults: Change::of([total(before), total(after)], requests),
            causes: by(Sums::causes),
            regions: by(Sums::regions),
            files: by(Sums::files),
        }
    }

    /// Bytes that `mmap` mapped, a request; `None` on a side without the route.
    fn mapped(&self) -> [Option<u64>; 2] {
        let mapped = |route: Option<&Route>, sums: Option<&Sums>| {
            Some(per_request(sums?.mmap_bytes(), route?.requests))
        };
        let [was, is] = self.sums;
        [mapped(self.before, was), mapped(self.after, is)]
    }
}

#[cfg(test)]
mod tests;
