//! The table that a person reads: a line a request while it runs, then the routes, then the books in words.
//!
//! Owns the columns and what is pointed out. Must not know a terminal: width, colour and the time of day are
//! given. Whatever a client sent is escaped before it gets here into a cell.

use std::borrow::Cow;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::books;
use super::columns::{Cell, Column, Columns, Kind};
use super::figure::{bytes_changed, count, duration, share};
use super::printable::escaped;
use crate::ledger::entry::{ByName, Faults, Request, Route, Summary};

/// Narrower terminals than this are served as if they were this wide.
pub const WIDTH_LEAST: usize = 20;

/// The request column on a wide terminal: beyond this, figures would stand too far from what they belong to.
const REQUEST_MOST: usize = 64;

/// The request column where nothing is cut: longer requests push their line's figures to the right.
const REQUEST_UNCUT: usize = 40;

/// What a runtime calls the part of its heap that is in use.
const IN_USE: &str = "heapUsed";

/// The same of routes, which are all known when the column is laid out: room for all but the strangest.
pub(crate) const ROUTE_UNCUT: usize = 80;

pub(crate) const HEAD: Style = Style::new().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const ALARM: Style = AnsiColor::Red.on_default();
pub(crate) const DOUBT: Style = AnsiColor::Yellow.on_default();

/// How a table is laid out.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// The terminal's columns; `None` where the report goes elsewhere, and then nothing is cut.
    pub width: Option<usize>,
    /// Whether escape codes for colour may be written.
    pub colour: bool,
    /// From the kernel's clock to the time of day.
    pub wall: WallClock,
}

impl TableOptions {
    /// The same, as wide as anything can be shown in.
    pub(crate) fn widened(self) -> Self {
        Self {
            width: self.width.map(|width| width.max(WIDTH_LEAST)),
            ..self
        }
    }

    /// Text, broken between words where there is a width.
    pub(crate) fn paragraph(&self, text: &str, style: Style, out: &mut Vec<u8>) {
        let text = escaped(text);
        let lines = match self.width {
            Some(width) => textwrap::wrap(&text, textwrap::Options::new(width).subsequent_indent("  ")),
            None => vec![text],
        };
        for line in lines {
            if self.colour && style != Style::new() {
                push_line(out, &format!("{style}{line}{style:#}"));
            } else {
                push_line(out, &line);
            }
        }
    }
}

/// From `CLOCK_MONOTONIC` to the time of day.
#[derive(Clone, Debug)]
pub struct WallClock {
    /// What `CLOCK_REALTIME` is ahead of `CLOCK_MONOTONIC`, nanoseconds.
    pub offset_ns: i128,
    /// Where the reader is.
    pub zone: TimeZone,
}

impl WallClock {
    /// The second of `CLOCK_REALTIME` that `monotonic_ns` is in.
    fn second(&self, monotonic_ns: u64) -> i128 {
        let time = self.offset_ns.saturating_add(i128::from(monotonic_ns));
        time.div_euclid(1_000_000_000)
    }

    /// The time of day in this second, `HH:MM:SS`; dashes where it is outside of what a calendar holds.
    fn time_of_day(&self, second: i128) -> String {
        match Timestamp::from_nanosecond(second.saturating_mul(1_000_000_000)) {
            Ok(time) => time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string(),
            Err(_) => "--:--:--".to_owned(),
        }
    }
}

/// A table on its way.
#[derive(Debug)]
pub(super) struct Table {
    options: TableOptions,
    /// Chosen at the first line.
    live: Option<Live>,
    /// A request was listed whose answer was not seen to its end.
    cut_short: bool,
}

#[derive(Debug)]
struct Live {
    columns: Columns,
    /// Faults are timed.
    timed: bool,
    /// The program says what it has in use.
    tells: bool,
    /// The last line's second and its time of day: many requests begin in one.
    second: Option<(i128, String)>,
}

impl Table {
    pub(super) fn new(options: TableOptions) -> Self {
        Self {
            options: options.widened(),
            live: None,
            cut_short: false,
        }
    }

    /// A line for one request, after the headings if it is the first.
    pub(super) fn request(&mut self, request: &Request, out: &mut Vec<u8>) {
        self.cut_short |= !request.complete;
        let options = &self.options;
        let live = self.live.get_or_insert_with(|| {
            let live = Live::new(options, request);
            push_line(out, &live.columns.head(HEAD));
            live
        });
        push_line(out, &live.line(options, request));
    }

    /// The routes, the legend, the run and the books.
    pub(super) fn close(&mut self, routes: &[Route], summary: &Summary, out: &mut Vec<u8>) {
        if self.live.is_some() && !routes.is_empty() {
            out.push(b'\n');
        }
        self.routes(routes, out);
        if self.live.is_some() || !routes.is_empty() {
            out.push(b'\n');
        }
        if self.cut_short {
            self.options.paragraph(
                "STATUS 200? or -: the answer was not seen to its end.",
                Style::new(),
                out,
            );
        }
        for text in books::run(summary) {
            self.options.paragraph(&text, Style::new(), out);
        }
        let books = &summary.books;
        let alarm = !books.balanced || books.dropped > 0 || summary.lost.records() > 0;
        for text in books::books(summary) {
            self.options
                .paragraph(&text, if alarm { ALARM } else { Style::new() }, out);
        }
        if let Some(text) = books::kinds(summary) {
            self.options.paragraph(&text, Style::new(), out);
        }
        for note in &summary.notes {
            self.options
                .paragraph(&format!("Note: {note}"), Style::new(), out);
        }
    }

    /// One line for each route.
    fn routes(&self, routes: &[Route], out: &mut Vec<u8>) {
        if routes.is_empty() {
            return;
        }
        let rss = routes.iter().any(|route| route.rss_delta.is_some());
        let causal = routes.iter().any(|route| route.faults.causal.is_some());
        let mut heads = vec![
            ("ROUTE", Kind::Text),
            ("N", Kind::Spare(2)),
            ("FAULTS p50", Kind::Needed),
            ("p99", Kind::Spare(5)),
            ("max", Kind::Spare(1)),
            ("MINOR", Kind::Spare(9)),
            ("MAJOR", Kind::Spare(3)),
            ("KERNEL", Kind::Spare(6)),
            ("IN WINDOW p50", Kind::Spare(10)),
        ];
        if rss {
            heads.push(("RSS p50", Kind::Spare(8)));
        }
        heads.push(("TOOK p50", Kind::Spare(4)));
        if causal {
            heads.push(("NOT DIRECT", Kind::Spare(7)));
        }
        let lines: Vec<Vec<Cell>> = routes
            .iter()
            .map(|route| route_cells(route, rss, causal))
            .collect();
        let widest = |index: usize| {
            lines
                .iter()
                .filter_map(|line| line.get(index))
                .map(Cell::columns)
                .max()
        };
        let columns = heads.into_iter().enumerate().map(|(index, (head, kind))| {
            let widest = widest(index).unwrap_or(0);
            let least = match (kind, self.options.width) {
                (Kind::Text, None) => widest.min(ROUTE_UNCUT),
                _ => widest,
            };
            Column {
                head,
                least,
                kind,
                right: kind != Kind::Text,
            }
        });
        let columns = Columns::new(columns.collect(), self.options.width, self.options.colour);
        push_line(out, &columns.head(HEAD));
        for line in lines {
            push_line(out, &columns.line(line));
        }
    }
}

impl Live {
    /// For requests like the first.
    fn new(options: &TableOptions, first: &Request) -> Self {
        let timed = first.faults.time_ns.is_some();
        let tells = first
            .runtime
            .as_ref()
            .is_some_and(|sizes| sizes.contains_key(IN_USE));
        let request = if options.width.is_some() {
            REQUEST_MOST
        } else {
            REQUEST_UNCUT
        };
        let column = |head, least, kind| Column {
            head,
            least,
            kind,
            right: true,
        };
        let mut columns = vec![
            Column {
                right: false,
                ..column("TIME", 8, Kind::Spare(8))
            },
            Column {
                right: false,
                ..column("REQUEST", request, Kind::Text)
            },
            column("STATUS", 6, Kind::Spare(1)),
            column("TOOK", 7, Kind::Spare(2)),
            column("FAULTS", 7, Kind::Needed),
            column("MAJOR", 5, Kind::Spare(3)),
            column("KERNEL", 6, Kind::Spare(4)),
            column("IN WINDOW", 9, Kind::Spare(7)),
        ];
        columns.push(column("RSS", 9, Kind::Spare(6)));
        if tells {
            columns.push(column("HEAP USED", 9, Kind::Spare(6)));
        }
        if timed {
            columns.push(column("IN FAULTS", 11, Kind::Spare(5)));
        }
        columns.push(Column {
            right: false,
            ..column("MOSTLY", 15, Kind::Spare(9))
        });
        Self {
            columns: Columns::new(columns, options.width, options.colour),
            timed,
            tells,
            second: None,
        }
    }

    /// When it began.
    fn time_of_day(&mut self, wall: &WallClock, request: &Request) -> String {
        let second = wall.second(request.start_ns);
        match &mut self.second {
            Some((last, text)) if *last == second => text.clone(),
            last => {
                let text = wall.time_of_day(second);
                *last = Some((second, text.clone()));
                text
            }
        }
    }

    fn line(&mut self, options: &TableOptions, request: &Request) -> String {
        let faults = &request.faults;
        let failed = request.complete && request.status.is_some_and(|status| status >= 500);
        let mut cells = vec![
            Cell::new(self.time_of_day(&options.wall, request)).styled(true, FAINT),
            Cell::new(named(&request.method, &request.path)),
            Cell::new(status(request))
                .styled(!request.complete, DOUBT)
                .styled(failed, ALARM),
            Cell::new(duration(request.duration_ns)),
            Cell::new(count(faults.total)).styled(true, HEAD),
            Cell::new(count(faults.major)).styled(faults.major > 0, ALARM),
            Cell::new(share(faults.kernel_mode, faults.total)),
            Cell::new(count(faults.in_window)).styled(true, FAINT),
        ];
        cells.push(Cell::new(
            request
                .rss
                .as_ref()
                .map_or("-".to_owned(), |rss| bytes_changed(rss.delta)),
        ));
        if self.tells {
            let in_use = request
                .runtime
                .as_ref()
                .and_then(|sizes| sizes.get(IN_USE)?.delta());
            cells.push(Cell::new(in_use.map_or("-".to_owned(), bytes_changed)));
        }
        if self.timed {
            let inside = faults.time_ns.unwrap_or(0);
            let share = share(inside, request.duration_ns);
            cells.push(Cell::new(format!("{} {share:>3}", duration(inside))));
        }
        cells.push(Cell::new(mostly(faults)).styled(true, FAINT));
        self.columns.line(cells)
    }
}

fn route_cells(route: &Route, rss: bool, causal: bool) -> Vec<Cell> {
    let faults = &route.faults;
    let mut cells = vec![
        Cell::new(named(&route.method, &route.route)),
        Cell::new(count(route.requests)),
        Cell::new(count(faults.total.p50)).styled(true, HEAD),
        Cell::new(count(faults.total.p99)),
        Cell::new(count(faults.total.max)),
        Cell::new(count(faults.minor.sum)),
        Cell::new(count(faults.major.sum)).styled(faults.major.sum > 0, ALARM),
        Cell::new(share(faults.kernel_mode.sum, faults.total.sum)),
        Cell::new(count(faults.in_window.p50)).styled(true, FAINT),
    ];
    if rss {
        cells.push(Cell::new(
            route
                .rss_delta
                .map_or("-".to_owned(), |delta| bytes_changed(delta.p50)),
        ));
    }
    cells.push(Cell::new(duration(route.duration_ns.p50)));
    if causal {
        let not_direct = faults
            .causal
            .map_or("-".to_owned(), |causal| share(causal.sum, faults.total.sum));
        cells.push(Cell::new(not_direct));
    }
    cells
}

/// The cause and the region of the most faults: `zero fill, anon`.
fn mostly(faults: &Faults) -> String {
    let most = |sums: &Option<ByName>| {
        // Of equals the first by name.
        let sums = sums.as_ref()?.iter().rev();
        sums.max_by_key(|(_, n)| *n)
            .filter(|(_, n)| *n > 0)
            .map(|(name, _)| name.replace('_', " "))
    };
    match (most(&faults.cause), most(&faults.region)) {
        (Some(cause), Some(region)) => format!("{cause}, {region}"),
        _ => String::new(),
    }
}

/// `METHOD PATH`, with `?` for what was never seen, and paths in one line under another.
pub(crate) fn named(method: &str, path: &str) -> String {
    fn or_unseen(text: &str) -> Cow<'_, str> {
        if text.is_empty() {
            "?".into()
        } else {
            escaped(text)
        }
    }
    let (method, path) = (or_unseen(method), or_unseen(path));
    let mut named = String::with_capacity(method.len() + path.len() + 5);
    named.push_str(&method);
    // The formatter would take a while for this.
    for _ in method.chars().count()..4 {
        named.push(' ');
    }
    named.push(' ');
    named.push_str(&path);
    named
}

/// `200`, `200?` of an answer that was not seen to its end, `-` where there was none.
fn status(request: &Request) -> String {
    match request.status {
        None => "-".to_owned(),
        Some(status) if request.complete => status.to_string(),
        Some(status) => format!("{status}?"),
    }
}

pub(crate) fn push_line(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}
