//! An address space, or pages of it, as one JSON object; docs/schema/map.schema.json describes both.
//!
//! Owns its fields. Must not know a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Around, Change, Frames, Map, Moment, Page, Pages, Region, State, Sum, Taken};
use crate::{
    ledger::entry::Request,
    model::vma::{PAGE, Prot},
    report::json::push,
};

#[derive(Serialize)]
#[serde(tag = "type", rename = "map")]
struct Object<'a> {
    pid: u32,
    comm: &'a str,
    regions: Option<Vec<Line<'a>>>,
    totals: Totals,
}

#[derive(Serialize)]
struct Line<'a> {
    start: String,
    end: String,
    size: u64,
    resident: u64,
    dirty: u64,
    swapped: u64,
    share: &'static str,
    prot: String,
    r#type: &'static str,
    path: Option<&'a str>,
    name: Option<&'a str>,
    tid: Option<u32>,
    proportional: u64,
    shared: u64,
    anonymous: u64,
    huge: u64,
    hugetlb: u64,
}

#[derive(Serialize)]
struct Totals {
    all: Figures,
    writable: Figures,
    types: BTreeMap<&'static str, Figures>,
}

#[derive(Serialize)]
struct Figures {
    regions: u64,
    size: u64,
    resident: u64,
    dirty: u64,
    swapped: u64,
}

/// Appends the object and the end of its line.
pub(super) fn write(map: &Map, is_summary: bool, out: &mut Vec<u8>) {
    let object = Object {
        pid: map.tgid,
        comm: &map.comm,
        regions: (!is_summary).then(|| map.regions.iter().map(line).collect()),
        totals: Totals {
            all: figures(map.sum(|_| true)),
            writable: figures(map.writable()),
            types: map
                .types()
                .into_iter()
                .map(|(kind, sum)| (kind.name(), figures(sum)))
                .collect(),
        },
    };
    push(&object, out);
    out.push(b'\n');
}

fn line(region: &Region) -> Line<'_> {
    let pages = &region.pages;
    Line {
        start: format!("{:#x}", region.range.start),
        end: format!("{:#x}", region.range.end),
        size: region.size(),
        resident: pages.resident,
        dirty: pages.dirty,
        swapped: pages.swapped,
        share: region.share.name(),
        prot: prot(region.prot),
        r#type: region.kind.name(),
        path: region.path.as_deref(),
        name: region.name.as_deref(),
        tid: region.tid,
        proportional: pages.proportional,
        shared: pages.shared,
        anonymous: pages.anonymous,
        huge: pages.huge,
        hugetlb: pages.hugetlb,
    }
}

/// `rw-`
pub(super) fn prot(prot: Prot) -> String {
    let letter = |is_so, letter| if is_so { letter } else { '-' };
    [
        letter(prot.read(), 'r'),
        letter(prot.write(), 'w'),
        letter(prot.exec(), 'x'),
    ]
    .into_iter()
    .collect()
}

fn figures(sum: Sum) -> Figures {
    Figures {
        regions: sum.regions,
        size: sum.size,
        resident: sum.pages.resident,
        dirty: sum.pages.dirty,
        swapped: sum.pages.swapped,
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "frames")]
struct FramesObject<'a> {
    pid: u32,
    comm: &'a str,
    page_size: u64,
    pages: Vec<PageLine<'a>>,
    totals: States,
}

#[derive(Serialize)]
struct PageLine<'a> {
    address: String,
    page: String,
    frame: Option<String>,
    state: &'static str,
    of: Option<&'static str>,
    mappings: Option<u64>,
    exclusive: Option<bool>,
    huge: Option<bool>,
    region: Option<&'static str>,
    path: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct States {
    pages: usize,
    present: usize,
    swapped: usize,
    absent: usize,
    guard: usize,
    unmapped: usize,
}

/// Appends the object and the end of its line.
pub(super) fn write_pages(frames: &Frames, out: &mut Vec<u8>) {
    let count = |name: &str| frames.count(|state| state.name() == name);
    let object = FramesObject {
        pid: frames.map.tgid,
        comm: &frames.map.comm,
        page_size: PAGE,
        pages: frames.pages.iter().map(|page| page_line(frames, page)).collect(),
        totals: States {
            pages: frames.pages.len(),
            present: count("present"),
            swapped: count("swapped"),
            absent: count("absent"),
            guard: count("guard"),
            unmapped: count("unmapped"),
        },
    };
    push(&object, out);
    out.push(b'\n');
}

fn page_line<'a>(frames: &'a Frames, page: &Page) -> PageLine<'a> {
    let region = frames.region(page);
    let there = match page.state {
        State::Present {
            frame,
            of,
            mappings,
            exclusive,
            huge,
        } => Some((frame, of, mappings, exclusive, huge)),
        _ => None,
    };
    PageLine {
        address: format!("{:#x}", page.number * PAGE),
        page: format!("{:#x}", page.number),
        frame: there.map(|(frame, ..)| format!("{frame:#x}")),
        state: page.state.name(),
        of: there.map(|(_, of, ..)| of.name()),
        mappings: there.map(|(_, _, mappings, ..)| mappings),
        exclusive: there.map(|(.., exclusive, _)| exclusive),
        huge: there.map(|(.., huge)| huge),
        region: region.map(|region| region.kind.name()),
        path: region.and_then(|region| region.path.as_deref()),
        name: region.and_then(|region| region.name.as_deref()),
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "changes")]
struct ChangesObject<'a> {
    pid: u32,
    comm: &'a str,
    request: Option<&'a Request>,
    looks: [LookLine; 2],
    faults: FaultsLine,
    between: FaultsLine,
    regions: Vec<ChangeLine<'a>>,
    totals: Deltas,
    complete: bool,
}

#[derive(Serialize)]
struct LookLine {
    start_ns: u64,
    end_ns: u64,
}

#[derive(Serialize)]
struct FaultsLine {
    own: u64,
    others: u64,
}

#[derive(Serialize)]
struct ChangeLine<'a> {
    change: &'static str,
    start: String,
    end: String,
    prot: String,
    r#type: &'static str,
    path: Option<&'a str>,
    name: Option<&'a str>,
    tid: Option<u32>,
    before: Option<Side>,
    after: Option<Side>,
    faults: FaultsLine,
}

#[derive(Serialize)]
struct Side {
    size: u64,
    resident: u64,
    dirty: u64,
    swapped: u64,
}

#[derive(Serialize)]
struct Deltas {
    size: i64,
    resident: i64,
    dirty: i64,
    swapped: i64,
}

/// Appends the object and the end of its line.
pub(super) fn write_around(around: &Around<'_>, out: &mut Vec<u8>) {
    let changes = &around.changes;
    let delta = |of: fn(&Pages) -> u64| changes.delta(|region| of(&region.pages));
    let object = ChangesObject {
        pid: around.map.tgid,
        comm: &around.map.comm,
        request: around.request,
        looks: around.looks.map(|Moment { began, ended }| LookLine {
            start_ns: began.0,
            end_ns: ended.0,
        }),
        faults: faults(changes.all),
        between: faults(changes.between),
        regions: changes.regions.iter().map(change_line).collect(),
        totals: Deltas {
            size: changes.delta(Region::size),
            resident: delta(|pages| pages.resident),
            dirty: delta(|pages| pages.dirty),
            swapped: delta(|pages| pages.swapped),
        },
        complete: around.is_whole,
    };
    push(&object, out);
    out.push(b'\n');
}

fn change_line<'a>(change: &Change<'a>) -> ChangeLine<'a> {
    let region = change.region;
    ChangeLine {
        change: change.what.name(),
        start: format!("{:#x}", region.range.start),
        end: format!("{:#x}", region.range.end),
        prot: prot(region.prot),
        r#type: region.kind.name(),
        path: region.path.as_deref(),
        name: region.name.as_deref(),
        tid: region.tid,
        before: change.before.map(side),
        after: change.after.map(side),
        faults: faults(change.faults),
    }
}

fn side(region: &Region) -> Side {
    Side {
        size: region.size(),
        resident: region.pages.resident,
        dirty: region.pages.dirty,
        swapped: region.pages.swapped,
    }
}

fn faults(Taken { own, others }: Taken) -> FaultsLine {
    FaultsLine { own, others }
}
