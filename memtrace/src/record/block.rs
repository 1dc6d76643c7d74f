//! A block: a stretch of events, compressed, that can be read without the others.
//!
//! Owns its head, its checksums and its compression. The head says how many records of each family all blocks before it
//! had, so that a reader that finds one missing knows what is lost. Must not know what is in the columns.

use std::io::{self, Read as _};

use xxhash_rust::xxh3::xxh3_64;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U32, U64},
};

/// What a block begins with.
pub(super) const MAGIC: [u8; 8] = *b"\xf0mtblock";
/// A head's length, bytes.
pub(super) const HEAD: usize = size_of::<Head>();
/// No block is longer than this, compressed or not, bytes: what a reader may have to keep at a time. All but those with
/// the map of a process with very many regions are a hundred times shorter.
pub(super) const BLOCK_MAX: u32 = 1 << 27;
/// The compression level: the lowest, which is five times as fast as the default and nearly as small here.
const LEVEL: i32 = 1;

/// How far back compressed bytes may refer, as a power of two: 8 MiB, what zstd's levels up to 19 need.
const WINDOW_LOG_MAX: u32 = 23;

/// The families of records that a head counts: those of [`Lost`](crate::ledger::entry::Lost), and notices.
pub(super) const FAMILIES: usize = 6;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Events.
    Events = 1,
    /// The end of the run: the last block of a whole recording.
    End = 2,
}

/// Before a block's bytes. Little-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    magic: [u8; 8],
    holds: U32,
    events: U32,
    number: U64,
    raw_len: U32,
    stored_len: U32,
    first_ns: U64,
    last_ns: U64,
    before: [U64; FAMILIES],
    within: [U64; FAMILIES],
    /// Of the compressed bytes.
    checksum: U64,
    /// Of all above.
    own_checksum: U64,
}

const CHECKED: usize = HEAD - size_of::<U64>();

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) holds: Holds,
    /// Blocks are numbered from 0.
    pub(super) number: u64,
    pub(super) events: u32,
    /// The times of the first and the last event, as far as they have one.
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    /// Events of each family in all blocks before,
    pub(super) before: [u64; FAMILIES],
    /// and in this one.
    pub(super) within: [u64; FAMILIES],
}

/// A block that is filled and waits to be compressed.
#[derive(Debug)]
pub struct Filled {
    pub(super) about: About,
    pub(super) raw: Vec<u8>,
}

impl Filled {
    /// Its bytes in the file. Takes its time: this is where the compression is.
    pub fn seal(&self) -> io::Result<Vec<u8>> {
        let stored = zstd::bulk::compress(&self.raw, LEVEL)?;
        let len = |bytes: &[u8]| {
            let len = u32::try_from(bytes.len()).ok().filter(|&len| len <= BLOCK_MAX);
            len.map(U32::new)
                .ok_or_else(|| io::Error::other("a block of a recording is longer than 128 MiB"))
        };
        let about = self.about;
        let mut head = Head {
            magic: MAGIC,
            holds: U32::new(about.holds as u32),
            events: U32::new(about.events),
            number: U64::new(about.number),
            raw_len: len(&self.raw)?,
            stored_len: len(&stored)?,
            first_ns: U64::new(about.first_ns),
            last_ns: U64::new(about.last_ns),
            before: about.before.map(U64::new),
            within: about.within.map(U64::new),
            checksum: U64::new(xxh3_64(&stored)),
            own_checksum: U64::new(0),
        };
        let checked = head.as_bytes().get(..CHECKED).unwrap_or_default();
        head.own_checksum = U64::new(xxh3_64(checked));
        Ok([head.as_bytes(), &stored].concat())
    }
}

/// A head that is whole, and how long what follows it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) about: About,
    pub(super) stored_len: usize,
    raw_len: usize,
    checksum: u64,
}

impl Announced {
    /// What a head says; `None` where these bytes are none, or are damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (head, _) = Head::read_from_prefix(bytes).ok()?;
        let checked = bytes.get(..CHECKED)?;
        if head.magic != MAGIC || xxh3_64(checked) != head.own_checksum.get() {
            return None;
        }
        let holds = match head.holds.get() {
            1 => Holds::Events,
            2 => Holds::End,
            _ => return None,
        };
        let len = |len: U32| {
            let len = Some(len.get()).filter(|&len| len <= BLOCK_MAX)?;
            usize::try_from(len).ok()
        };
        Some(Self {
            about: About {
                holds,
                number: head.number.get(),
                events: head.events.get(),
                first_ns: head.first_ns.get(),
                last_ns: head.last_ns.get(),
                before: head.before.map(U64::get),
                within: head.within.map(U64::get),
            },
            stored_len: len(head.stored_len)?,
            raw_len: len(head.raw_len)?,
            checksum: head.checksum.get(),
        })
    }

    /// The block's own bytes, out of those that are stored; `None` where they are damaged.
    pub(super) fn open(&self, stored: &[u8]) -> Option<Vec<u8>> {
        if xxh3_64(stored) != self.checksum {
            return None;
        }
        // Grows with what really comes: the announced length may be anything.
        let mut raw = Vec::new();
        let limit = self.raw_len as u64 + 1;
        let mut decoder = zstd::stream::read::Decoder::with_buffer(stored).ok()?;
        decoder.window_log_max(WINDOW_LOG_MAX).ok()?;
        decoder.take(limit).read_to_end(&mut raw).ok()?;
        (raw.len() == self.raw_len).then_some(raw)
    }
}
