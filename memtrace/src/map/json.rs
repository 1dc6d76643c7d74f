//! The address space as one JSON object; docs/schema/map.schema.json describes it.
//!
//! Owns its fields. Must not know a terminal.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Map, Region, Sum};
use crate::{model::vma::Prot, report::json::push};

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
