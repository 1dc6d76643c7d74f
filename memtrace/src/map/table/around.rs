//! What changed for a person: a line a region, after what happened and before the sums.
//!
//! Owns the columns and their words.

use std::{borrow::Cow, fmt::Write as _};

use super::{Kind, named, write_table};
use crate::{
    ledger::entry::Request,
    map::{Around, Change, Region, Taken, What, json::prot},
    report::{
        columns::Cell,
        figure::{bytes, bytes_changed, count, counted, duration},
        table::{ALARM, DOUBT, FAINT, TableOptions},
    },
};

/// Appends all lines.
pub(in crate::map) fn write(around: &Around<'_>, options: &TableOptions, out: &mut Vec<u8>) {
    let options = &options.clone().widened();
    options.paragraph(&what_happened(around), anstyle::Style::new(), out);
    if let Some(doubt) = late(around) {
        options.paragraph(doubt, DOUBT, out);
    }
    out.push(b'\n');
    if around.changes.regions.is_empty() {
        options.paragraph("No region has changed.", anstyle::Style::new(), out);
    } else {
        regions(around, options, out);
    }
    out.push(b'\n');
    options.paragraph(&sums(around), anstyle::Style::new(), out);
    for view in around.request.into_iter().flat_map(views) {
        options.paragraph(&view, anstyle::Style::new(), out);
    }
    if !around.is_whole {
        let lost = "Events were lost, or the books do not balance: there may be more faults than are shown.";
        options.paragraph(lost, ALARM, out);
    }
}

/// Which request, when it was looked, and the faults.
fn what_happened(around: &Around<'_>) -> String {
    let process = format!("process {} ({})", around.map.tgid, around.map.comm);
    let Taken { own, others } = around.changes.all;
    let Some(request) = around.request else {
        let [before, after] = around.looks;
        return format!(
            "{process}, looked at twice, {} apart. Meanwhile it took {}.",
            duration(after.began.0.saturating_sub(before.ended.0)),
            counted(own, "page fault")
        );
    };
    let status = request
        .status
        .map_or(String::new(), |status| format!(", status {status}"));
    let [before, after] = around.margins().unwrap_or_default();
    let before = match before {
        0.. => format!("{} before it", duration(before.unsigned_abs())),
        _ => format!("when it had begun {} ago", duration(before.unsigned_abs())),
    };
    let others = match others {
        0 => "and none for anything else".to_owned(),
        others => format!("and {} for others or for none", count(others)),
    };
    format!(
        "{} {} (request {} of {process}{status}) took {}. Looked at {before} and {} after it; between the looks were {} for \
         it {others}.",
        request.method,
        request.path,
        request.id,
        duration(request.duration_ns),
        duration(after.max(0).cast_unsigned()),
        counted(own, "page fault"),
    )
}

/// The first look came late.
fn late(around: &Around<'_>) -> Option<&'static str> {
    let [before, _] = around.margins()?;
    let late = "What it did before the first look is not in the changes. Try again when the process has been idle for a moment.";
    (before < 0).then_some(late)
}

/// What the kernel and the program's runtime say of the process's memory at both ends of the request.
fn views(request: &Request) -> Vec<String> {
    let kernel = request.rss.as_ref().map(|rss| {
        let kinds = [
            ("anonymous", rss.anon_delta),
            ("files", rss.file_delta),
            ("shared memory", rss.shmem_delta),
            ("swapped", rss.swap_delta),
        ];
        let kinds = kinds
            .into_iter()
            .filter(|(name, delta)| *delta != 0 || *name == "anonymous");
        let kinds: Vec<String> = kinds
            .map(|(name, delta)| format!("{name} {}", bytes_changed(delta)))
            .collect();
        format!(
            "The kernel's view of it: RSS {} ({}).",
            moved(rss.start, rss.end, rss.delta),
            kinds.join(", ")
        )
    });
    let runtime = request.runtime.as_ref().map(|sizes| {
        let sizes = sizes
            .iter()
            .map(|(name, size)| match (size.start, size.end, size.delta()) {
                (Some(start), Some(end), Some(delta)) => format!("{name} {}", moved(start, end, delta)),
                (Some(start), ..) => format!("{name} {} at its start", bytes(start)),
                (_, Some(end), _) => format!("{name} {} at its end", bytes(end)),
                _ => format!("{name} not known"),
            });
        format!(
            "The program's own view: {}.",
            sizes.collect::<Vec<_>>().join(", ")
        )
    });
    kernel.into_iter().chain(runtime).collect()
}

fn moved(start: u64, end: u64, delta: i64) -> String {
    format!("{} → {}, {}", bytes(start), bytes(end), bytes_changed(delta))
}

fn regions(around: &Around<'_>, options: &TableOptions, out: &mut Vec<u8>) {
    let is_swapped = around
        .changes
        .regions
        .iter()
        .any(|change| change.delta(|region| region.pages.swapped) != 0);
    let has_others = around.changes.all.others > 0;
    let heads = [
        ("CHANGE", Kind::Needed, false),
        ("TYPE", Kind::Needed, false),
        ("START-END", Kind::Needed, true),
        ("SIZE", Kind::Needed, true),
        ("RESIDENT", Kind::Needed, true),
        ("DIRTY", Kind::Spare(2), true),
        ("SWAPPED", Kind::Spare(1), true),
        ("FAULTS", Kind::Needed, true),
        ("OTHERS", Kind::Spare(3), true),
        ("PROT", Kind::Spare(4), false),
        ("NAME", Kind::Text, false),
    ];
    let is_shown = |head: &str| match head {
        "SWAPPED" => is_swapped,
        "OTHERS" => has_others,
        _ => true,
    };
    let lines = around.changes.regions.iter().map(|change| {
        let cells = heads.iter().zip(cells(change));
        cells
            .filter(|((head, ..), _)| is_shown(head))
            .map(|(_, cell)| cell)
            .collect()
    });
    let shown: Vec<_> = heads
        .iter()
        .copied()
        .filter(|(head, ..)| is_shown(head))
        .collect();
    write_table(&shown, lines.collect(), options, out);
}

fn cells(change: &Change<'_>) -> [Cell; 11] {
    let region = change.region;
    let is_gone = matches!(change.what, What::Gone | What::Joined);
    let cell = |text: Cow<'_, str>| Cell::new(text).styled(is_gone, FAINT);
    let delta = |of: fn(&Region) -> u64| cell(changed(change.delta(of)));
    let faults = |faults: u64| {
        cell(if faults == 0 {
            "-".into()
        } else {
            count(faults).into()
        })
    };
    [
        cell(change.what.name().into()),
        cell(region.kind.name().into()),
        cell(format!("{:08x}-{:08x}", region.range.start, region.range.end).into()),
        delta(Region::size),
        delta(|region| region.pages.resident),
        delta(|region| region.pages.dirty),
        delta(|region| region.pages.swapped),
        faults(change.faults.own),
        faults(change.faults.others),
        cell(prot(region.prot).into()),
        cell(named(region)),
    ]
}

fn changed(delta: i64) -> Cow<'static, str> {
    if delta == 0 {
        "-".into()
    } else {
        bytes_changed(delta).into()
    }
}

fn sums(around: &Around<'_>) -> String {
    let changes = &around.changes;
    let mut text = format!(
        "Altogether: addresses {}, resident {}, dirty {}.",
        bytes_changed(changes.delta(Region::size)),
        bytes_changed(changes.delta(|region| region.pages.resident)),
        bytes_changed(changes.delta(|region| region.pages.dirty)),
    );
    let between = changes.between.own + changes.between.others;
    if between > 0 {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " {} {} in memory that was mapped after the first look and unmapped before the second.",
            counted(between, "fault"),
            if between == 1 { "was" } else { "were" }
        );
    }
    text
}
