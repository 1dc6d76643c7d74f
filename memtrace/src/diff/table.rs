//! The comparison for a person: a few lines a route, then each run's books, then in what the runs differ.
//!
//! Owns the lines and their words. Must not know a terminal: width and colour are given.

use super::{About, Diff, REQUESTS_FEW, Row, moved::Change};
use crate::{
    ledger::entry::Route,
    report::{
        columns::{Cell, Column, Columns, Kind},
        figure::{bytes, bytes_changed, count, counted, duration},
        table::{ALARM, DOUBT, FAINT, HEAD, ROUTE_UNCUT, TableOptions, named, push_line},
    },
};

/// Causes, regions and files that are named at most, each.
const NAMED_MAX: usize = 3;

/// A figure's unit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Bytes,
    /// Of something that itself is a change.
    BytesChanged,
    Nanoseconds,
}

/// A figure of a route on both sides.
struct Figure {
    name: &'static str,
    unit: Unit,
    sides: [Option<i128>; 2],
    /// Shown though it did not move.
    always: bool,
}

/// Appends all lines.
pub(super) fn write(diff: &Diff<'_>, options: &TableOptions, out: &mut Vec<u8>) {
    let options = &options.clone().widened();
    let blocks: Vec<(&Row<'_>, Vec<Vec<Cell>>)> = diff.rows.iter().map(|row| (row, lines(row))).collect();
    if !blocks.is_empty() {
        let columns = columns(&blocks, options);
        push_line(out, &columns.head(HEAD));
        for (row, lines) in blocks {
            for line in lines {
                push_line(out, &columns.line(line));
            }
            if let Some(text) = moved(row) {
                options.paragraph(&text, FAINT, out);
            }
        }
        out.push(b'\n');
    }
    if diff
        .rows
        .iter()
        .any(|row| is_few(row.before) || is_few(row.after))
    {
        let text = format!(
            "?: N too small: of fewer than {REQUESTS_FEW} requests chance may have moved any figure."
        );
        options.paragraph(&text, DOUBT, out);
    }
    for (name, about) in [("Before", diff.before), ("After", diff.after)] {
        let style = if about.is_conclusive {
            anstyle::Style::new()
        } else {
            ALARM
        };
        options.paragraph(&run(name, about), style, out);
    }
    let differs: Vec<String> = diff
        .surroundings()
        .into_iter()
        .map(|(what, was, is)| format!("{what} {was} → {is}"))
        .collect();
    if !differs.is_empty() {
        let text = format!("The runs differ in more than time: {}.", differs.join(", "));
        options.paragraph(&text, DOUBT, out);
    }
    for (name, about) in [("before", diff.before), ("after", diff.after)] {
        for note in &about.summary.notes {
            options.paragraph(&format!("Note ({name}): {note}"), anstyle::Style::new(), out);
        }
    }
}

fn columns(blocks: &[(&Row<'_>, Vec<Vec<Cell>>)], options: &TableOptions) -> Columns {
    let widest = |index: usize| {
        let lines = blocks.iter().flat_map(|(_, lines)| lines);
        lines
            .filter_map(|line| line.get(index))
            .map(Cell::columns)
            .max()
            .unwrap_or(0)
    };
    let heads = [
        ("ROUTE", Kind::Text),
        ("BEFORE", Kind::Needed),
        ("AFTER", Kind::Needed),
        ("CHANGE", Kind::Needed),
        ("%", Kind::Spare(1)),
    ];
    let all = heads.into_iter().enumerate().map(|(index, (head, kind))| Column {
        head,
        least: match (kind, options.width) {
            (Kind::Text, None) => widest(index).min(ROUTE_UNCUT),
            _ => widest(index),
        },
        kind,
        right: kind != Kind::Text,
    });
    Columns::new(all.collect(), options.width, options.colour)
}

fn is_few(route: Option<&Route>) -> bool {
    route.is_some_and(|route| route.requests < REQUESTS_FEW)
}

/// The route and how many requests it had, and a line for each figure that moved.
fn lines(row: &Row<'_>) -> Vec<Vec<Cell>> {
    let requests = |route: Option<&Route>| {
        let text = route.map_or("-".to_owned(), |route| {
            let doubt = if is_few(Some(route)) { "?" } else { "" };
            format!("{}{doubt}", counted(route.requests, "request"))
        });
        Cell::new(text).styled(is_few(route), DOUBT)
    };
    let state = match (row.before, row.after) {
        (None, _) => "new",
        (_, None) => "gone",
        _ => "",
    };
    let name = Cell::new(named(row.method, row.route)).styled(true, HEAD);
    let mut lines = vec![vec![
        name,
        requests(row.before),
        requests(row.after),
        Cell::new(state),
        Cell::default(),
    ]];
    lines.extend(
        figures(row)
            .iter()
            .filter(|figure| figure.is_shown())
            .map(Figure::cells),
    );
    lines
}

fn figures(row: &Row<'_>) -> [Figure; 9] {
    use Unit::{Bytes, BytesChanged, Count, Nanoseconds};
    let of = |name, unit, figure: fn(&Route) -> Option<i128>| Figure {
        name,
        unit,
        sides: [row.before, row.after].map(|route| route.and_then(figure)),
        always: false,
    };
    [
        Figure {
            always: true,
            ..of("  faults p50", Count, |r| Some(r.faults.total.p50.into()))
        },
        of("  faults max", Count, |r| Some(r.faults.total.max.into())),
        of("  major", Count, |r| Some(r.faults.major.sum.into())),
        of("  kernel mode p50", Count, |r| {
            Some(r.faults.kernel_mode.p50.into())
        }),
        of("  frames allocated p50", Count, |r| {
            r.frames.as_ref().map(|frames| frames.allocated.p50.into())
        }),
        of("  RSS delta p50", BytesChanged, |r| {
            r.rss_delta.map(|rss| rss.p50.into())
        }),
        Figure {
            name: "  mmap a request",
            unit: Bytes,
            sides: row.mapped().map(|mapped| mapped.map(i128::from)),
            always: false,
        },
        of("  took p50", Nanoseconds, |r| Some(r.duration_ns.p50.into())),
        of("  in faults p50", Nanoseconds, |r| {
            r.fault_time_ns.map(|time| time.p50.into())
        }),
    ]
}

impl Figure {
    /// It moved. What a new or gone route has none of is not worth a line.
    fn is_shown(&self) -> bool {
        self.always || self.sides[0].unwrap_or(0) != self.sides[1].unwrap_or(0)
    }

    fn cells(&self) -> Vec<Cell> {
        let side =
            |value: Option<i128>| Cell::new(value.map_or("-".to_owned(), |value| self.unit.text(value)));
        let [was, is] = self.sides;
        let (change, percent) = match (was, is) {
            (Some(was), Some(is)) => (self.unit.change(is - was), percent(was, is)),
            _ => (String::new(), String::new()),
        };
        vec![
            Cell::new(self.name),
            side(was),
            side(is),
            Cell::new(change).styled(true, HEAD),
            Cell::new(percent),
        ]
    }
}

impl Unit {
    fn text(self, value: i128) -> String {
        match self {
            Self::BytesChanged => bytes_changed(narrow(value)),
            Self::Count => count(value.unsigned_abs()),
            Self::Bytes => bytes(magnitude(value)),
            Self::Nanoseconds => duration(magnitude(value)),
        }
    }

    /// With its sign; `0` of none.
    fn change(self, change: i128) -> String {
        let unsigned = match self {
            _ if change == 0 => return "0".to_owned(),
            Self::BytesChanged | Self::Bytes => bytes(magnitude(change)),
            Self::Count | Self::Nanoseconds => self.text(change),
        };
        format!("{}{unsigned}", sign(change))
    }
}

fn sign(change: i128) -> &'static str {
    match change {
        0 => "",
        1.. => "+",
        _ => "-",
    }
}

fn magnitude(value: i128) -> u64 {
    u64::try_from(value.unsigned_abs()).unwrap_or(u64::MAX)
}

fn narrow(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The change in per cent of what was; nothing where that was nothing, or where nothing changed.
fn percent(was: i128, is: i128) -> String {
    let (was, change) = (was.unsigned_abs(), is - was);
    if was == 0 || change == 0 {
        return String::new();
    }
    match (change.unsigned_abs() * 200 + was) / (was * 2) {
        0 => format!("{}<1%", sign(change)),
        rounded => format!("{}{}%", sign(change), count(rounded)),
    }
}

/// `  +120 a request: zero fill +118, cow +2; anon +119, heap +1; /usr/lib/libc.so.6 +3`.
fn moved(row: &Row<'_>) -> Option<String> {
    let list = |changes: &[(&str, Change)], are_words: bool| {
        let changes = changes.iter().filter(|(_, change)| change.is_worth_a_word());
        let parts = changes.take(NAMED_MAX).map(|(name, change)| {
            let name = if are_words {
                name.replace('_', " ")
            } else {
                (*name).to_owned()
            };
            format!("{name} {}", faults(*change))
        });
        parts.collect::<Vec<_>>().join(", ")
    };
    let parts = [
        list(&row.causes, true),
        list(&row.regions, true),
        list(&row.files, false),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match (row.faults.is_worth_a_word(), parts.is_empty()) {
        (false, true) => None,
        (true, true) => Some(format!("  {} a request", faults(row.faults))),
        _ => Some(format!(
            "  {} a request: {}",
            faults(row.faults),
            parts.join("; ")
        )),
    }
}

/// `+118`, `-2.5`: faults a request. A tenth is worth showing below ten.
fn faults(change: Change) -> String {
    let tenths = change.tenths();
    let number = match tenths {
        0 => return "0".to_owned(),
        1..100 if !tenths.is_multiple_of(10) => format!("{}.{}", tenths / 10, tenths % 10),
        _ => count((change.size().saturating_add(500)) / 1_000),
    };
    format!("{}{number}", sign(change.sign()))
}

/// One line on a run's books.
fn run(name: &str, about: &About) -> String {
    let summary = &about.summary;
    let books = &summary.books;
    let balance = if books.balanced {
        "the books balance"
    } else {
        "the books do not balance"
    };
    let lost = match (books.dropped, summary.lost.records()) {
        (0, 0) => "none lost".to_owned(),
        (0, records) => format!("{} lost", counted(records, "record")),
        (faults, _) => format!("{} lost", counted(faults, "fault")),
    };
    format!(
        "{name}: {}, {} in {}; {balance}, {lost}.",
        about.name,
        counted(summary.requests, "request"),
        duration(summary.elapsed_ns),
    )
}
