//! The address space for a person: a line a region, then the sums by type.
//!
//! Owns the columns and their words; `pages` those of pages, `around` those of changes. Must not know a terminal: width and colour are given.

use std::borrow::Cow;

mod around;
mod pages;

use super::{Map, Region, Share, Sum, Type, json::prot};
use crate::report::{
    columns::{Cell, Column, Columns, Kind},
    figure::{bytes, count, counted, share},
    printable::escaped,
    table::{FAINT, HEAD, ROUTE_UNCUT, TableOptions, push_line},
};

pub(super) use self::{around::write as write_around, pages::write as write_pages};

/// Appends all lines.
pub(super) fn write(map: &Map, is_summary: bool, options: &TableOptions, out: &mut Vec<u8>) {
    let options = &options.clone().widened();
    if !is_summary {
        regions(map, options, out);
        out.push(b'\n');
    }
    types(map, options, out);
    out.push(b'\n');
    options.paragraph(&writable(map), anstyle::Style::new(), out);
    if !is_summary {
        options.paragraph(&shares(map), FAINT, out);
    }
}

fn regions(map: &Map, options: &TableOptions, out: &mut Vec<u8>) {
    let is_swapped = map.regions.iter().any(|region| region.pages.swapped > 0);
    let swapped = ("SWAPPED", Kind::Spare(1), true);
    let heads = [
        ("TYPE", Kind::Needed, false),
        ("START-END", Kind::Needed, true),
        ("SIZE", Kind::Needed, true),
        ("RESIDENT", Kind::Needed, true),
        ("DIRTY", Kind::Spare(2), true),
        swapped,
        ("PROT", Kind::Spare(3), false),
        ("SHARE", Kind::Spare(4), false),
        ("NAME", Kind::Text, false),
    ];
    let shown = |head: &str| is_swapped || head != swapped.0;
    let lines = map.regions.iter().map(|region| {
        let cells = heads.iter().zip(cells(region));
        cells
            .filter(|((head, ..), _)| shown(head))
            .map(|(_, cell)| cell)
            .collect()
    });
    let heads: Vec<_> = heads.into_iter().filter(|(head, ..)| shown(head)).collect();
    write_table(&heads, lines.collect(), options, out);
}

fn cells(region: &Region) -> [Cell; 9] {
    let is_empty = matches!(region.kind, Type::Reserved | Type::StackGuard);
    let cell = |text: Cow<'_, str>| Cell::new(text).styled(is_empty, FAINT);
    let pages = &region.pages;
    [
        cell(region.kind.name().into()),
        cell(format!("{:08x}-{:08x}", region.range.start, region.range.end).into()),
        cell(bytes(region.size()).into()),
        cell(some(pages.resident)),
        cell(some(pages.dirty)),
        cell(some(pages.swapped)),
        cell(prot(region.prot).into()),
        cell(region.share.name().into()),
        cell(named(region)),
    ]
}

/// What is shown where there is none is no figure: the eye finds those that are.
fn some(size: u64) -> Cow<'static, str> {
    if size == 0 { "-".into() } else { bytes(size).into() }
}

fn named(region: &Region) -> Cow<'_, str> {
    let name = region.path.as_ref().or(region.name.as_ref());
    name.map_or("".into(), |name| escaped(name))
}

fn types(map: &Map, options: &TableOptions, out: &mut Vec<u8>) {
    let heads = [
        ("TYPE", Kind::Text, false),
        ("REGIONS", Kind::Needed, true),
        ("SIZE", Kind::Needed, true),
        ("RESIDENT", Kind::Needed, true),
        ("DIRTY", Kind::Needed, true),
        ("SWAPPED", Kind::Needed, true),
    ];
    let line = |name: &str, sum: &Sum| {
        let size = |size| Cell::new(some(size));
        vec![
            Cell::new(name),
            Cell::new(count(sum.regions)),
            Cell::new(bytes(sum.size)),
            size(sum.pages.resident),
            size(sum.pages.dirty),
            size(sum.pages.swapped),
        ]
    };
    let types = map.types();
    let lines = types.iter().map(|(kind, sum)| line(kind.name(), sum));
    let all = line("all", &map.sum(|_| true));
    let all = all.into_iter().map(|cell| cell.styled(true, HEAD)).collect();
    write_table(&heads, lines.chain([all]).collect(), options, out);
}

fn write_table(
    heads: &[(&'static str, Kind, bool)],
    lines: Vec<Vec<Cell>>,
    options: &TableOptions,
    out: &mut Vec<u8>,
) {
    let widest = |index: usize| {
        let cells = lines.iter().filter_map(|line| line.get(index));
        cells.map(Cell::columns).max().unwrap_or(0)
    };
    let all = heads
        .iter()
        .enumerate()
        .map(|(index, &(head, kind, right))| Column {
            head,
            least: match (kind, options.width) {
                (Kind::Text, None) => widest(index).min(ROUTE_UNCUT),
                _ => widest(index),
            },
            kind,
            right,
        });
    let columns = Columns::new(all.collect(), options.width, options.colour);
    push_line(out, &columns.head(HEAD));
    for line in lines {
        push_line(out, &columns.line(line));
    }
}

fn writable(map: &Map) -> String {
    let Sum { regions, size, pages } = map.writable();
    let swapped = match pages.swapped {
        0 => "none".to_owned(),
        swapped => bytes(swapped),
    };
    format!(
        "Process {} ({}): {} that may be written, {}. Of that {} ({}) are resident, {} dirty, {swapped} swapped.",
        map.tgid,
        map.comm,
        counted(regions, "region"),
        bytes(size),
        bytes(pages.resident),
        share(pages.resident, size),
        bytes(pages.dirty),
    )
}

/// What the words of the column mean that are there.
fn shares(map: &Map) -> String {
    let meant = |share| match share {
        Share::Prv => "its own",
        Share::Cow => "copied when it is written",
        Share::Zer => "filled with zeros when it is touched",
        Share::Shm => "shared",
        Share::Nul => "addresses without memory",
    };
    let there = Share::ALL
        .into_iter()
        .filter(|&share| map.regions.iter().any(|region| region.share == share));
    let words: Vec<_> = there
        .map(|share| format!("{} {}", share.name(), meant(share)))
        .collect();
    format!("{}.", words.join(", "))
}
