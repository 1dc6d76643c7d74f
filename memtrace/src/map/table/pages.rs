//! Pages and their frames for a person: a line a page, those alike that are nowhere on one.
//!
//! Owns the columns and their words.

use std::borrow::Cow;

use super::{Kind, write_table};
use crate::{
    map::{
        frames::{Frames, Page, State},
        json::prot,
    },
    model::vma::PAGE,
    report::{
        columns::Cell,
        figure::{count, counted},
        printable::escaped,
        table::{FAINT, TableOptions},
    },
};

/// So many pages that are nowhere, for the same reason, are shown as one line.
const ALIKE_MIN: usize = 4;
/// An address within a page, to show how it is translated.
const WITHIN: u64 = 0x10;

/// Appends all lines.
pub(in crate::map) fn write(frames: &Frames, options: &TableOptions, out: &mut Vec<u8>) {
    let options = &options.clone().widened();
    let heads = [
        ("ADDRESS", Kind::Needed, true),
        ("PAGE", Kind::Needed, true),
        ("FRAME", Kind::Needed, true),
        ("STATE", Kind::Needed, false),
        ("OF", Kind::Spare(2), false),
        ("MAPPED", Kind::Spare(3), true),
        ("HUGE", Kind::Spare(4), false),
        ("REGION", Kind::Text, false),
    ];
    let mut lines = Vec::new();
    let mut rest = frames.pages.as_slice();
    while let Some(first) = rest.first() {
        let alike = rest.iter().take_while(|page| are_alike(first, page)).count();
        let taken = if alike >= ALIKE_MIN { alike } else { 1 };
        lines.push(cells(frames, first, taken));
        rest = rest.get(taken..).unwrap_or_default();
    }
    write_table(&heads, lines, options, out);
    out.push(b'\n');
    options.paragraph(&sums(frames), anstyle::Style::new(), out);
    if let Some(translated) = translated(frames) {
        options.paragraph(&translated, FAINT, out);
    }
}

fn are_alike(one: &Page, other: &Page) -> bool {
    !matches!(one.state, State::Present { .. }) && (one.state, one.region) == (other.state, other.region)
}

fn cells(frames: &Frames, page: &Page, pages: usize) -> Vec<Cell> {
    let is_nowhere = !matches!(page.state, State::Present { .. });
    let cell = |text: Cow<'_, str>| Cell::new(text).styled(is_nowhere, FAINT);
    let state = match pages {
        1 => page.state.name().into(),
        pages => format!("{}, {} pages", page.state.name(), count(pages as u64)).into(),
    };
    let [frame, of, mappings, huge] = match page.state {
        State::Present {
            frame,
            of,
            mappings,
            huge,
            ..
        } => [
            format!("→ {frame:x}"),
            of.name().to_owned(),
            count(mappings),
            if huge { "yes" } else { "-" }.to_owned(),
        ],
        _ => ["-"; 4].map(ToOwned::to_owned),
    };
    let region = frames.region(page).map_or(String::new(), |region| {
        let name = region
            .path
            .as_deref()
            .or(region.name.as_deref())
            .unwrap_or_default();
        format!("{} {} {name}", region.kind.name(), prot(region.prot))
    });
    vec![
        cell(format!("{:08x}", page.number * PAGE).into()),
        cell(format!("{:x}", page.number).into()),
        cell(frame.into()),
        cell(state),
        cell(of.into()),
        cell(mappings.into()),
        cell(huge.into()),
        cell(escaped(region.trim_end())),
    ]
}

fn sums(frames: &Frames) -> String {
    let pages = frames.pages.len() as u64;
    let in_memory = frames.count(|state| matches!(state, State::Present { .. }));
    let parts = [
        (in_memory, "in memory"),
        (
            frames.count(|state| state == State::Absent),
            "absent: promised, and given when they are touched",
        ),
        (frames.count(|state| state == State::Swapped), "in swap"),
        (
            frames.count(|state| state == State::Guard),
            "that guard what is beside them",
        ),
        (frames.count(|state| state == State::Unmapped), "not mapped"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .enumerate()
        .filter(|(index, (pages, _))| *index == 0 || *pages > 0)
        .map(|(_, (pages, what))| format!("{} {what}", count(*pages as u64)))
        .collect();
    format!(
        "Process {} ({}), {} of 4 KiB: {}.",
        frames.map.tgid,
        frames.map.comm,
        counted(pages, "page"),
        parts.join(", ")
    )
}

/// The way from an address to memory, on the first page that is there.
fn translated(frames: &Frames) -> Option<String> {
    let (page, frame) = frames.pages.iter().find_map(|page| match page.state {
        State::Present { frame, .. } => Some((page.number, frame)),
        _ => None,
    })?;
    Some(format!(
        "The last 12 bits of an address say where in the page, the rest which page. Address {:#x} is byte {WITHIN:#x} of page \
         {page:#x}, which is in frame {frame:#x}: byte {:#x} of the machine's memory.",
        page * PAGE + WITHIN,
        frame * PAGE + WITHIN,
    ))
}
