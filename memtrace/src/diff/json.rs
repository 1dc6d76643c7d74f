//! The comparison as one JSON object; docs/DIFF.md describes it.
//!
//! Owns its fields. Must not know a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    About, Diff, Row,
    moved::{Change, Sums},
};
use crate::{
    ledger::entry::{Books, Lost, Route, Target},
    report::json::push,
};

#[derive(Serialize)]
#[serde(tag = "type", rename = "diff")]
struct Object<'a> {
    before: Run<'a>,
    after: Run<'a>,
    routes: Vec<Line<'a>>,
}

/// A run without its requests.
#[derive(Serialize)]
struct Run<'a> {
    recording: &'a str,
    memtrace: &'a str,
    kernel: &'a str,
    page_size: u64,
    requests: u64,
    elapsed_ns: u64,
    target: &'a Target,
    books: &'a Books,
    lost: &'a Lost,
    conclusive: bool,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Line<'a> {
    route: &'a str,
    method: &'a str,
    before: Option<&'a Route>,
    after: Option<&'a Route>,
    moved: Moved<'a>,
}

/// Sums over a route's requests, of those that moved; `null` where neither side knows.
#[derive(Serialize)]
struct Moved<'a> {
    cause: Option<BTreeMap<&'a str, Sum>>,
    region: Option<BTreeMap<&'a str, Sum>>,
    file: Option<BTreeMap<&'a str, Sum>>,
    mmap_bytes: Sum,
}

#[derive(Serialize)]
struct Sum {
    before: Option<u64>,
    after: Option<u64>,
}

/// Appends the object and the end of its line.
pub(super) fn write(diff: &Diff<'_>, out: &mut Vec<u8>) {
    let object = Object {
        before: run(diff.before),
        after: run(diff.after),
        routes: diff.rows.iter().map(line).collect(),
    };
    push(&object, out);
    out.push(b'\n');
}

fn run(about: &About) -> Run<'_> {
    let summary = &about.summary;
    Run {
        recording: &about.name,
        memtrace: &about.origin.memtrace,
        kernel: &about.origin.kernel,
        page_size: about.origin.page_size,
        requests: summary.requests,
        elapsed_ns: summary.elapsed_ns,
        target: &summary.target,
        books: &summary.books,
        lost: &summary.lost,
        conclusive: about.is_conclusive,
        notes: &summary.notes,
    }
}

fn line<'a>(row: &Row<'a>) -> Line<'a> {
    let [was, is] = row.sums.map(|sums| sums.map_or([false; 3], Sums::known));
    let of = |part: usize, changes: &[(&'a str, Change)]| {
        let (was, is) = (was[part], is[part]);
        let sum = |change: &Change| Sum {
            before: was.then_some(change.sums[0]),
            after: is.then_some(change.sums[1]),
        };
        (was || is).then(|| {
            changes
                .iter()
                .map(|(name, change)| (*name, sum(change)))
                .collect()
        })
    };
    let [before, after] = row.sums.map(|sums| sums.map(Sums::mmap_bytes));
    Line {
        route: row.route,
        method: row.method,
        before: row.before,
        after: row.after,
        moved: Moved {
            cause: of(0, &row.causes),
            region: of(1, &row.regions),
            file: of(2, &row.files),
            mmap_bytes: Sum { before, after },
        },
    }
}
