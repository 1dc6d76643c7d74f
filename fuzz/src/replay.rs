//! A recording as `memtrace report` takes it, without the file and the terminal.

use memtrace::{
    record::read::{Losses, Reader},
    report::{
        Format,
        table::{TableOptions, WallClock},
    },
    run::{Ending, Look, Run},
    timeline::Detail,
};

/// Reads it, tells a run of it, and makes its report in the format that its length picks, with or without what is made
/// beside it. Panics where memtrace does,
/// and where the reader does not keep its word.
#[expect(clippy::missing_panics_doc, reason = "to panic is what a fuzzer looks for")]
pub fn replay(recording: &[u8]) {
    let Ok(mut reader) = Reader::open(recording) else {
        return;
    };
    let preamble = reader.preamble().clone();
    let clocks = preamble.origin.clocks;
    let format = [Format::Table, Format::Ndjson, Format::Json][recording.len() % 3];
    let table = TableOptions {
        width: Some(100),
        colour: true,
        wall: WallClock {
            offset_ns: i128::from(clocks.realtime) - i128::from(clocks.monotonic),
            zone: jiff::tz::TimeZone::UTC,
        },
    };
    let look = Look {
        report: Some((format, table)),
        timeline: recording.len().is_multiple_of(2).then_some(Detail::Faults),
        tables: recording.len() % 4 < 2,
        ..Look::default()
    };
    let Ok(mut run) = Run::new(&preamble.asked, clocks, look, false) else {
        return;
    };
    let (mut report, mut losses, mut malformed) = (Vec::new(), Losses::default(), Vec::new());
    run.open(&mut report);
    // A slice does not fail.
    while let Ok(Some(block)) = reader.block() {
        malformed.extend(block.events(&mut losses, |event| run.feed(event)).err());
        drop(run.take_directives());
        run.report(&mut report, |_| {});
        drop((run.take_trace(), run.take_tables()));
    }
    assert!(
        reader.position() <= recording.len() as u64,
        "it read more than there is"
    );
    for fault in &malformed {
        reader.is_damaged(fault);
    }
    let (lost, gap) = reader.damage().lost();
    if let Some(event) = losses.found(lost, gap) {
        run.feed(event);
    }
    let notes = reader.damage().notes();
    assert_eq!(
        notes.is_empty(),
        reader.damage().is_none(),
        "damage without a word"
    );
    let ending = Ending {
        command_status: reader.end().command_status,
        kernel: preamble.origin.kernel,
        programs: reader.end().programs,
        is_incomplete: !notes.is_empty(),
        notes,
    };
    run.close(ending, &mut report, |_| {});
    assert!(std::str::from_utf8(&report).is_ok(), "a report is text");
}
