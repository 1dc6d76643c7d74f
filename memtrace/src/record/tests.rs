//! Recordings, written and read again: whole, cut off, damaged, and made up.
//!
//! Owns making a recording of given blocks and telling what a reader has of it. Must not know files.

use std::ops::Range;

use memtrace_common::Nanos;

use super::{
    Asked, Clocks, End, Origin, Preamble, Program, Recorder,
    block::FAMILIES,
    read::{Losses, ReadError, Reader},
    rows::family_of,
};
use crate::{
    event::{Event, Notice},
    ledger::entry::Lost,
};

mod any;
mod crafted;
mod damage;
mod documented;
mod fixtures;
mod losses;
mod whole;

use any::Told;

const BEGAN: Nanos = Nanos(1_000);

fn preamble() -> Preamble {
    let origin = Origin {
        memtrace: "0.1.0".to_owned(),
        kernel: "6.1".to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        page_size: 4096,
        clocks: Clocks {
            monotonic: BEGAN.0,
            boottime: 2_000,
            realtime: 1_700_000_000_000_000_000,
        },
        huge_pages: Some("madvise".to_owned()),
    };
    let asked = Asked {
        port: Some(80),
        fault_time: true,
        route: vec!["/users/{id}".to_owned()],
        ..Asked::default()
    };
    Preamble::new(origin, asked)
}

fn end() -> End {
    let program = Program {
        build: Some("0aff".to_owned()),
        settings: [("GOGC".to_owned(), "50".to_owned())].into(),
    };
    End {
        command_status: Some(7),
        programs: [("app".to_owned(), program)].into(),
    }
}

/// A recording, and where its blocks are: the last is the end.
struct Made {
    bytes: Vec<u8>,
    blocks: Vec<Range<usize>>,
}

impl Made {
    /// Of these events, a block for each stretch of them.
    fn of(stretches: &[Vec<Told>]) -> Self {
        let (mut recorder, mut bytes) = Recorder::begin(&preamble());
        let mut blocks = Vec::new();
        let mut add = |block: &super::Filled| {
            let begin = bytes.len();
            bytes.extend(block.seal().unwrap());
            blocks.push(begin..bytes.len());
        };
        for stretch in stretches {
            for told in stretch {
                assert!(recorder.push(&told.event()).is_none(), "too much for one block");
            }
            add(&recorder.cut().unwrap());
        }
        recorder.end(&end()).for_each(|block| add(&block));
        Self { bytes, blocks }
    }

    /// The preamble, and these blocks in this order.
    fn with(&self, order: &[usize]) -> Vec<u8> {
        let mut bytes = self.bytes[..self.blocks[0].start].to_vec();
        for &block in order {
            bytes.extend(&self.bytes[self.blocks[block].clone()]);
        }
        bytes
    }
}

/// What a reader has of a recording.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// All events but losses, each as text.
    events: Vec<String>,
    /// What was said to be lost, and after how many events.
    losses: Vec<(usize, Lost)>,
    /// What there is to say of damage.
    notes: Vec<String>,
    /// Records that are missing, in all.
    lost: Lost,
    end: End,
}

/// Reads as `memtrace report` does.
fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let mut reader = Reader::open(bytes)?;
    let mut read = Read::default();
    let mut losses = Losses::default();
    let mut malformed = Vec::new();
    let mut sink = |event: Event<'_>| match event {
        Event::Notice(Notice::Lost { lost, .. }) => read.losses.push((read.events.len(), lost)),
        event => read.events.push(format!("{event:?}")),
    };
    while let Some(block) = reader.block()? {
        malformed.extend(block.events(&mut losses, &mut sink).err());
    }
    for fault in &malformed {
        reader.is_damaged(fault);
    }
    let (lost, gap) = reader.damage().lost();
    if let Some(event) = losses.found(lost, gap) {
        sink(event);
    }
    read.notes = reader.damage().notes();
    read.lost = lost;
    read.end = reader.end();
    Ok(read)
}

fn texts(events: &[Told]) -> Vec<String> {
    events.iter().map(|told| format!("{:?}", told.event())).collect()
}

/// How many events of each family there are.
fn families(events: &[Told]) -> [u64; FAMILIES] {
    let mut families = [0; FAMILIES];
    for told in events {
        families[family_of(&told.event())] += 1;
    }
    families
}

/// The same as records that are lost, without the time.
fn as_lost([fault, mm, io, frame, task, _]: [u64; FAMILIES]) -> Lost {
    Lost {
        fault,
        mm,
        io,
        frame,
        task,
        ns: 0,
    }
}

const CUT_OFF: &str = "the recording is cut off: memtrace was killed, or the file is not all there; this is what was \
                       whole until then";

fn left_out(block: usize, events: usize) -> String {
    format!("block {block} of the recording is damaged and left out, with {events} events")
}
