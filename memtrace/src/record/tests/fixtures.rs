//! A real run's recording of every version that was ever written, and the report that the run printed itself.
//!
//! Whoever raises the version leaves such a pair of the one before. No recording is ever made again. Its report is by
//! today's rules of attribution: where these find out more, the report's text is what they find, and nothing else of it
//! changes.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Losses, Reader};
use crate::{
    record::VERSION,
    report::{
        Format,
        table::{TableOptions, WallClock},
    },
    run::{Ending, Look, Run},
};

/// The current version may change until it has been released, and need not be there.
fn versions() -> impl Iterator<Item = u32> {
    (1..=VERSION).filter(|&v| v < VERSION || folder().join(format!("v{v}.mtr")).exists())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/record/tests/fixtures")
}

/// What `memtrace report --format ndjson` prints of it.
fn report(recording: &[u8]) -> String {
    let mut reader = Reader::open(recording).unwrap();
    let preamble = reader.preamble().clone();
    let table = TableOptions {
        width: None,
        colour: false,
        wall: WallClock {
            offset_ns: 0,
            zone: jiff::tz::TimeZone::UTC,
        },
    };
    let look = Look {
        report: Some((Format::Ndjson, table)),
        ..Look::default()
    };
    let mut run = Run::new(&preamble.asked, preamble.origin.clocks, look, false).unwrap();
    let (mut bytes, mut losses) = (Vec::new(), Losses::default());
    run.open(&mut bytes);
    while let Some(block) = reader.block().unwrap() {
        block.events(&mut losses, |event| run.feed(event)).unwrap();
        run.report(&mut bytes, |_| {});
    }
    assert!(reader.damage().is_none());
    let ending = Ending {
        command_status: reader.end().command_status,
        kernel: preamble.origin.kernel,
        ..Ending::default()
    };
    run.close(ending, &mut bytes, |_| {});
    String::from_utf8(bytes).unwrap()
}

/// What was said then is said now. What was not known then may be known now, and there may be more beside it.
#[track_caller]
fn assert_says(now: &Value, then: &Value, at: &str) {
    match (then, now) {
        (Value::Null, _) => {}
        (Value::Object(then), Value::Object(now)) => {
            for (name, then) in then {
                assert_says(
                    now.get(name).unwrap_or(&Value::Null),
                    then,
                    &format!("{at}/{name}"),
                );
            }
        }
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            for (i, (then, now)) in then.iter().zip(now).enumerate() {
                assert_says(now, then, &format!("{at}/{i}"));
            }
        }
        _ => assert_eq!(now, then, "{at}"),
    }
}

#[test]
fn every_version_that_was_ever_written_reports_what_its_run_did() {
    for version in versions() {
        let recording = std::fs::read(folder().join(format!("v{version}.mtr")));
        let recording = recording.unwrap_or_else(|why| panic!("no recording of version {version}: {why}"));
        assert_eq!(
            recording[8..12],
            version.to_le_bytes(),
            "v{version}.mtr is of another version"
        );
        let then = std::fs::read_to_string(folder().join(format!("v{version}.ndjson"))).unwrap();
        let now = report(&recording);
        assert_eq!(now.lines().count(), then.lines().count(), "{now}");
        for (line, (now, then)) in now.lines().zip(then.lines()).enumerate() {
            let parse = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
            let mut then = parse(then);
            if let Some(version) = then.get_mut("version") {
                // The version of who reports, not of who recorded.
                *version = Value::from(env!("CARGO_PKG_VERSION"));
            }
            assert_says(
                &parse(now),
                &then,
                &format!("v{version}.ndjson, line {}", line + 1),
            );
        }
    }
}

/// Recordings are read on other machines, by other people: these name nothing of where they were made.
#[test]
fn fixtures_are_small_and_of_no_place() {
    for version in versions() {
        let recording = std::fs::read(folder().join(format!("v{version}.mtr"))).unwrap();
        assert!(
            recording.len() < 20_000,
            "v{version}.mtr has {} bytes",
            recording.len()
        );
        let mut reader = Reader::open(&recording[..]).unwrap();
        let mut losses = Losses::default();
        let mut kinds = std::collections::BTreeSet::new();
        while let Some(block) = reader.block().unwrap() {
            block
                .events(&mut losses, |event| {
                    let text = match &event {
                        crate::event::Event::Notice(super::Notice::Maps { text, .. }) => {
                            String::from_utf8_lossy(text).into_owned()
                        }
                        event => format!("{event:?}"),
                    };
                    for place in ["/home", "/root"] {
                        assert!(!text.contains(place), "{text}");
                    }
                    let debug = format!("{event:?}");
                    kinds.insert(debug.split(['(', ' ', '{']).take(2).collect::<Vec<_>>().join(" "));
                })
                .unwrap();
        }
        // Most of what there is to say is in it.
        assert!(kinds.len() >= 15, "v{version}.mtr has only {kinds:?}");
    }
}
