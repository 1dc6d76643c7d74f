//! A whole recording: every event comes back, and a pipeline makes the same of them.

use memtrace_common::{
    FaultCount, Tgid, Tid,
    wire::{self, Fault, Header},
};
use proptest::{collection::vec, prelude::*};
use zerocopy::IntoBytes as _;

use super::{
    Made, Nanos, Read,
    any::{self, Told},
    preamble, read,
};
use crate::{
    event::{Event, Notice},
    pipeline::{Config, Outcome, Pipeline},
    record::{
        Recorder,
        block::Announced,
        read::{Losses, Reader},
        rows::Rows,
    },
};

/// What a pipeline makes of a recording, as `memtrace report` feeds it.
pub(super) fn outcome(bytes: &[u8]) -> (Outcome, Vec<String>) {
    let mut pipeline = Pipeline::new(Config::default());
    let mut reader = Reader::open(bytes).unwrap();
    let mut losses = Losses::default();
    while let Some(block) = reader.block().unwrap() {
        block.events(&mut losses, |event| pipeline.feed(event)).unwrap();
    }
    let (lost, gap) = reader.damage().lost();
    if let Some(event) = losses.found(lost, gap) {
        pipeline.feed(event);
    }
    (pipeline.finish(), reader.damage().notes())
}

/// A thread that takes so many faults, told of in so many stretches.
pub(super) fn faulting(faults: u64, stretches: u64) -> Vec<Vec<Told>> {
    let (tgid, tid) = (Tgid(7), Tid(8));
    let count = |minor| FaultCount { minor, major: 0 };
    let begin = [
        Notice::Begin { time: super::BEGAN },
        Notice::Process {
            tgid,
            comm: "app".to_owned(),
            brk: None,
            io_uring: false,
        },
        Notice::Thread {
            tgid,
            tid,
            count: count(100),
            sp: None,
            comm: "main".to_owned(),
        },
        Notice::Seeded {
            tgid,
            time: Nanos(1_001),
        },
    ];
    let fault = |n: u64| {
        let header = Header {
            time_ns: 2_000 + 500 * n,
            tgid: tgid.0,
            tid: tid.0,
            min_flt: 100 + n,
            kind: wire::KIND_FAULT,
            ..Header::default()
        };
        let fault = Fault {
            header,
            address: 0x7f00_0000_0000 + 4096 * n,
            ip: 0x40_1000,
        };
        Told::Record(fault.as_bytes().to_vec())
    };
    let end = [
        Notice::Horizon {
            tid,
            count: count(100 + faults),
        },
        Notice::Ending {
            time: Nanos(3_000 + 500 * faults),
        },
    ];
    let mut told: Vec<Vec<Told>> = vec![begin.map(Told::Notice).to_vec()];
    let each = faults / stretches;
    told.extend((0..stretches).map(|s| (s * each..(s + 1) * each).map(fault).collect()));
    told.push(end.map(Told::Notice).to_vec());
    told
}

/// A block is closed at a MiB, by a sum that takes figures for short. Whatever is in it, it is not much longer: that is
/// what a reader keeps.
#[test]
fn no_kind_of_event_is_much_longer_than_is_counted_for_it() {
    let path = vec![b'p'; 4096];
    let long = [
        Notice::Mapped {
            tgid: Tgid(1),
            start: u64::MAX,
            path: Some(path.clone()),
            shared: true,
            in_memory: true,
        },
        Notice::Named {
            tgid: Tgid(1),
            start: 0,
            len: 1,
            name: path.clone(),
        },
        Notice::Maps {
            tgid: Tgid(1),
            text: path.clone(),
            time: Nanos(0),
        },
        Notice::Note("n".repeat(4096)),
        Notice::Process {
            tgid: Tgid(1),
            comm: "c".repeat(4096),
            brk: None,
            io_uring: false,
        },
    ];
    let kinds = long.into_iter().map(Told::Notice).chain(any::sample(500));
    for told in kinds {
        let mut rows = Rows::new();
        for _ in 0..50 {
            rows.push(&told.event());
        }
        let (is, counted) = (rows.bytes().len(), rows.size);
        let what: String = format!("{:?}", told.event()).chars().take(80).collect();
        assert!(is < 8 * counted, "{is} bytes, counted as {counted}: {what}");
    }
}

#[test]
fn a_block_is_closed_when_it_is_full() {
    let (mut recorder, _) = Recorder::begin(&preamble());
    let told = faulting(300_000, 1).concat();
    let full: Vec<_> = told
        .iter()
        .filter_map(|told| recorder.push(&told.event()))
        .collect();
    assert!(full.len() >= 3, "{} blocks", full.len());
    for block in &full {
        assert!(
            (500_000..2_000_000).contains(&block.raw.len()),
            "{} bytes",
            block.raw.len()
        );
    }
}

#[test]
fn a_storm_takes_a_few_bytes_an_event() {
    let told = faulting(200_000, 1).concat();
    let made = Made::of(&told.chunks(50_000).map(<[Told]>::to_vec).collect::<Vec<_>>());
    let each = made.bytes.len() as f64 / told.len() as f64;
    assert!(each < 1.0, "{each} bytes an event");
}

#[test]
fn a_recording_of_nothing_is_whole() {
    let read = read(&Made::of(&[]).bytes).unwrap();
    let expected = Read {
        end: super::end(),
        ..Read::default()
    };
    assert_eq!(read, expected);
}

/// Lengths and counts in heads are those of what follows.
#[test]
fn heads_say_what_follows_them() {
    let stretches: Vec<_> = any::sample(60).chunks(12).map(<[Told]>::to_vec).collect();
    let made = Made::of(&stretches);
    let mut before = [0; super::FAMILIES];
    for (number, (range, stretch)) in made.blocks.iter().zip(&stretches).enumerate() {
        let head = Announced::read(&made.bytes[range.clone()]).unwrap();
        assert_eq!(head.stored_len, range.len() - crate::record::block::HEAD);
        assert_eq!(head.about.number, number as u64);
        assert_eq!(head.about.events as usize, stretch.len());
        assert_eq!(head.about.before, before);
        assert_eq!(head.about.within, super::families(stretch));
        for (before, within) in before.iter_mut().zip(head.about.within) {
            *before += within;
        }
    }
}

#[test]
fn a_pipeline_makes_the_same_of_it_block_by_block() {
    for stretches in [1, 2, 10, 100] {
        let told = faulting(1_000, stretches);
        let (outcome, notes) = outcome(&Made::of(&told).bytes);
        assert_eq!(outcome, directly(&told.concat()), "{stretches} stretches");
        assert!(notes.is_empty(), "{notes:?}");
        assert!(
            outcome.books.balanced && outcome.books.observed == 1_000,
            "{outcome:?}"
        );
    }
}

fn directly(told: &[Told]) -> Outcome {
    let mut pipeline = Pipeline::new(Config::default());
    for told in told {
        pipeline.feed(told.event());
    }
    pipeline.finish()
}

proptest! {
    #[test]
    fn any_events_come_back_over_any_number_of_blocks(stretches in vec(vec(any::event(), 1..40), 0..6)) {
        let made = Made::of(&stretches);
        let mut expected = stretches.concat().into_iter();
        let mut reader = Reader::open(&made.bytes[..]).unwrap();
        let mut losses = Losses::default();
        while let Some(block) = reader.block().unwrap() {
            block
                .events(&mut losses, |event| assert_eq!(Some(event), expected.next().as_ref().map(Told::event)))
                .unwrap();
        }
        prop_assert_eq!(expected.next().map(|told| format!("{told:?}")), None);
        prop_assert!(reader.damage().is_none());
        prop_assert_eq!(reader.end(), super::end());
        prop_assert_eq!(reader.position(), (made.bytes.len() - made.blocks[0].start) as u64);
    }

    /// What no kernel says, too: a pipeline takes it the same way twice, and does not panic.
    #[test]
    fn a_pipeline_makes_the_same_of_any_events(stretches in vec(vec(any::event(), 1..60), 1..4)) {
        let (outcome, _) = outcome(&Made::of(&stretches).bytes);
        prop_assert_eq!(outcome, directly(&stretches.concat()));
    }

    /// A source that gives what it likes at a time.
    #[test]
    fn a_source_may_give_its_bytes_in_any_pieces(sizes in vec(1..5_000_usize, 1..50)) {
        struct Pieces<'a>(&'a [u8], std::iter::Cycle<std::vec::IntoIter<usize>>);
        impl std::io::Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let n = self.1.next().unwrap().min(buffer.len());
                std::io::Read::read(&mut self.0, &mut buffer[..n])
            }
        }
        let told = any::sample(60);
        let made = Made::of(&told.chunks(9).map(<[Told]>::to_vec).collect::<Vec<_>>());
        let mut reader = Reader::open(Pieces(&made.bytes, sizes.into_iter().cycle())).unwrap();
        let mut events = 0;
        while let Some(block) = reader.block().unwrap() {
            block.events(&mut Losses::default(), |_: Event<'_>| events += 1).unwrap();
        }
        prop_assert_eq!(events, told.len());
        prop_assert!(reader.damage().is_none());
    }
}
