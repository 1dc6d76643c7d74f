//! A fuzzer's bytes with the right checksums around them, so that it gets past those.
//!
//! Owns its own writer of blocks, by docs/RECORDING.md alone: if that is wrong, nothing that is written here is read.
//! Must not know what is in a column.

use std::mem;

use anyhow::{Context as _, Result};
use memtrace::{
    event::Event,
    record::{
        Asked, Clocks, Origin, Preamble, Recorder,
        read::{Losses, Reader},
    },
};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// What a block begins with.
const MAGIC: &[u8; 8] = b"\xf0mtblock";
/// How long its head is, bytes.
const HEAD: usize = 160;
const EVENTS: u32 = 1;
const END: u32 = 2;
/// Events of a seed's block, at most: short inputs are tried more often.
const SEED_EVENTS: usize = 12;

/// A word of a fuzzer's: columns have the numbers from 0, and these come behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// So many bytes for this column follow, after a byte that says how many.
    Column(usize),
    /// The block is over.
    Close,
    /// The same, and its head claims as many events as it can.
    CloseWithTooMany,
    /// The same, and the next block's number is one more than it should be.
    CloseAndSkip,
    /// The next row is of this table.
    Row(u8),
}

impl Word {
    fn of(byte: u8, columns: usize) -> Self {
        match usize::from(byte).checked_sub(columns) {
            None => Self::Column(byte.into()),
            Some(0) => Self::Close,
            Some(1) => Self::CloseWithTooMany,
            Some(2) => Self::CloseAndSkip,
            Some(row) => Self::Row(u8::try_from(row - 3).unwrap_or(u8::MAX)),
        }
    }
}

/// What all recordings here are of.
fn preamble() -> Preamble {
    let origin = Origin {
        memtrace: "0.1.0".to_owned(),
        kernel: "6.1".to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        page_size: 4096,
        clocks: Clocks::default(),
        huge_pages: None,
    };
    Preamble::new(origin, Asked::default())
}

/// The bytes that they begin with, and how many columns each of their blocks has.
fn beginning() -> Result<(Vec<u8>, usize)> {
    let (_, bytes) = Recorder::begin(&preamble());
    let json = bytes
        .get(16..bytes.len().saturating_sub(8))
        .context("a preamble is longer than that")?;
    let json: Value = serde_json::from_slice(json)?;
    let tables = json["tables"].as_array().context("a preamble lists tables")?;
    let columns = tables
        .iter()
        .filter_map(|table| Some(table["columns"].as_array()?.len()));
    Ok((bytes, columns.sum()))
}

/// Blocks, one behind the other.
#[derive(Default)]
struct Blocks {
    bytes: Vec<u8>,
    number: u64,
    before: u64,
}

impl Blocks {
    fn add(&mut self, holds: u32, events: u32, raw: &[u8]) -> Result<()> {
        let stored = zstd::bulk::compress(raw, 1)?;
        let mut head = MAGIC.to_vec();
        head.extend(holds.to_le_bytes());
        head.extend(events.to_le_bytes());
        head.extend(self.number.to_le_bytes());
        head.extend(u32::try_from(raw.len())?.to_le_bytes());
        head.extend(u32::try_from(stored.len())?.to_le_bytes());
        // The times of its first and last event.
        head.extend([0; 16]);
        // All are faults, for all that a head knows.
        for families in [self.before, events.into()] {
            head.extend(families.to_le_bytes());
            head.extend([0; 5 * 8]);
        }
        head.extend(xxh3_64(&stored).to_le_bytes());
        head.extend(xxh3_64(&head).to_le_bytes());
        self.bytes.extend(head);
        self.bytes.extend(stored);
        self.number = self.number.saturating_add(1);
        self.before = self.before.saturating_add(events.into());
        Ok(())
    }

    fn add_columns(&mut self, events: u32, columns: &[Vec<u8>]) -> Result<()> {
        let mut raw = Vec::new();
        for column in columns {
            put_varint(&mut raw, column.len());
        }
        raw.extend(columns.concat());
        self.add(EVENTS, events, &raw)
    }
}

/// The recording that a fuzzer's words make.
pub fn recording(words: &[u8]) -> Result<Vec<u8>> {
    let (mut recording, count) = beginning()?;
    let mut columns = vec![Vec::new(); count];
    let mut blocks = Blocks::default();
    let mut words = words.iter().copied();
    while let Some(byte) = words.next() {
        let (too_many, skip) = match Word::of(byte, count) {
            Word::Column(number) => {
                let length = usize::from(words.next().unwrap_or(0));
                if let Some(column) = columns.get_mut(number) {
                    column.extend(words.by_ref().take(length));
                }
                continue;
            }
            Word::Row(table) => {
                if let Some(rows) = columns.first_mut() {
                    rows.push(table);
                }
                continue;
            }
            Word::Close => (false, 0),
            Word::CloseWithTooMany => (true, 0),
            Word::CloseAndSkip => (false, 1),
        };
        let rows = columns.first().map_or(0, Vec::len);
        let events = if too_many { u32::MAX } else { u32::try_from(rows)? };
        blocks.add_columns(events, &mem::replace(&mut columns, vec![Vec::new(); count]))?;
        blocks.number += skip;
    }
    let rows = columns.first().map_or(0, Vec::len);
    blocks.add_columns(u32::try_from(rows)?, &columns)?;
    blocks.add(END, 0, b"{}")?;
    recording.extend(blocks.bytes);
    Ok(recording)
}

/// The words for what is in a recording, block by block: what a fuzzer begins with.
pub fn words(recording: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (_, count) = beginning()?;
    let mut reader = Reader::open(recording)?;
    let (mut recorder, _) = Recorder::begin(&preamble());
    let mut sealed = Vec::new();
    let mut events = 0;
    while let Some(block) = reader.block()? {
        // What a damaged one has until then will do.
        let _ = block.events(&mut Losses::default(), |event: Event<'_>| {
            sealed.extend(recorder.push(&event));
            events += 1;
            if events % SEED_EVENTS == 0 {
                sealed.extend(recorder.cut());
            }
        });
    }
    sealed.extend(recorder.cut());
    let words = sealed.iter().map(|block| {
        let bytes = block.seal()?;
        let stored = bytes.get(HEAD..).context("a block has a head")?;
        words_of(&zstd::stream::decode_all(stored)?, count)
    });
    words.collect()
}

fn words_of(raw: &[u8], count: usize) -> Result<Vec<u8>> {
    let mut rest = raw;
    let lengths: Option<Vec<usize>> = (0..count).map(|_| take_varint(&mut rest)).collect();
    let mut words = Vec::new();
    for (number, length) in lengths
        .context("a block lists its columns")?
        .into_iter()
        .enumerate()
    {
        let (column, after) = rest.split_at_checked(length).context("a block has its columns")?;
        rest = after;
        for piece in column.chunks(usize::from(u8::MAX)) {
            words.push(u8::try_from(number)?);
            words.push(u8::try_from(piece.len())?);
            words.extend(piece);
        }
    }
    Ok(words)
}

fn put_varint(bytes: &mut Vec<u8>, mut figure: usize) {
    while figure >= 0x80 {
        bytes.push(figure.to_le_bytes()[0] | 0x80);
        figure >>= 7;
    }
    bytes.push(figure.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut figure = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        figure |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(figure);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURE: &[u8] = include_bytes!("../../memtrace/src/record/tests/fixtures/v1.mtr");

    fn events(recording: &[u8]) -> Vec<String> {
        let mut reader = Reader::open(recording).unwrap();
        let mut events = Vec::new();
        while let Some(block) = reader.block().unwrap() {
            block
                .events(&mut Losses::default(), |event| events.push(format!("{event:?}")))
                .unwrap();
        }
        assert!(reader.damage().is_none(), "{:?}", reader.damage());
        events
    }

    /// By docs/RECORDING.md alone: columns, blocks, heads and checksums.
    #[test]
    fn what_is_written_here_is_read_there() {
        let words = words(FIXTURE).unwrap();
        let (_, count) = beginning().unwrap();
        let close = u8::try_from(count).unwrap();
        let all: Vec<u8> = words.join(&close);
        assert_eq!(events(&recording(&all).unwrap()), events(FIXTURE));
        assert_eq!(events(&recording(&[]).unwrap()), [""; 0]);
    }

    #[test]
    fn every_word_means_something() {
        let (_, count) = beginning().unwrap();
        assert!(count < 200, "there is no room for words behind {count} columns");
        let of = |byte: usize| Word::of(u8::try_from(byte).unwrap(), count);
        assert_eq!(of(0), Word::Column(0));
        assert_eq!(of(count - 1), Word::Column(count - 1));
        assert_eq!(of(count), Word::Close);
        assert_eq!(of(count + 3), Word::Row(0));
        // All of them in a row are a recording, too.
        for byte in 0..=u8::MAX {
            crate::replay::replay(&recording(&[byte; 300]).unwrap());
        }
    }
}
