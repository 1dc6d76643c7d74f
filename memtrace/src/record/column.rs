//! One column of one block.
//!
//! Owns how a figure becomes bytes: as little of them as the figure has that its predecessor did not say. Must not know
//! what it means.

use prost::encoding::{decode_varint, encode_varint};
use serde::{Deserialize, Serialize};

/// How a column's figures are written. A varint is 7 bits a byte, the low ones first; zigzag makes small negative
/// numbers small (0, -1, 1, -2, … are 0, 1, 2, 3, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Codec {
    /// A varint.
    Plain,
    /// A zigzag varint.
    Signed,
    /// A zigzag varint of the difference from the column's figure before.
    Delta,
    /// The same, from the figure before in a row of the same thread.
    Thread,
    /// A varint of the length, and so many bytes.
    Bytes,
}

/// A column that is being filled.
#[derive(Debug)]
pub(super) struct Column {
    codec: Codec,
    bytes: Vec<u8>,
    last: Last,
}

/// The figures before.
#[derive(Debug, Default)]
struct Last {
    one: u64,
    by_thread: Vec<u64>,
}

impl Last {
    /// The figure before one with this codec.
    #[inline]
    fn of(&mut self, codec: Codec, thread: usize) -> &mut u64 {
        if codec == Codec::Thread {
            if thread >= self.by_thread.len() {
                self.by_thread.resize(thread + 1, 0);
            }
            // It has just been made long enough.
            if let Some(last) = self.by_thread.get_mut(thread) {
                return last;
            }
        }
        &mut self.one
    }
}

impl Column {
    pub(super) fn new(codec: Codec) -> Self {
        Self {
            codec,
            bytes: Vec::new(),
            last: Last::default(),
        }
    }

    /// Adds a figure to a row of the thread of this number.
    #[inline]
    pub(super) fn put(&mut self, figure: u64, thread: usize) {
        let written = match self.codec {
            Codec::Plain | Codec::Bytes => figure,
            Codec::Signed => zigzag(figure),
            Codec::Delta | Codec::Thread => {
                let last = self.last.of(self.codec, thread);
                let written = zigzag(figure.wrapping_sub(*last));
                *last = figure;
                written
            }
        };
        put_varint(&mut self.bytes, written);
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        put_varint(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A column that is being read.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    codec: Codec,
    rest: &'a [u8],
    last: Last,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(codec: Codec, bytes: &'a [u8]) -> Self {
        Self {
            codec,
            rest: bytes,
            last: Last::default(),
        }
    }

    /// The next figure, of a row of the thread of this number; `None` where there is none, or it is no varint.
    #[inline]
    pub(super) fn take(&mut self, thread: usize) -> Option<u64> {
        let read = take_varint(&mut self.rest)?;
        Some(match self.codec {
            Codec::Plain | Codec::Bytes => read,
            Codec::Signed => unzigzag(read),
            Codec::Delta | Codec::Thread => {
                let last = self.last.of(self.codec, thread);
                *last = last.wrapping_add(unzigzag(read));
                *last
            }
        })
    }

    pub(super) fn take_bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(take_varint(&mut self.rest)?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}

fn zigzag(figure: u64) -> u64 {
    figure << 1 ^ (figure.cast_signed() >> 63).cast_unsigned()
}

fn unzigzag(written: u64) -> u64 {
    written >> 1 ^ (written & 1).wrapping_neg()
}

#[inline]
pub(super) fn put_varint(bytes: &mut Vec<u8>, figure: u64) {
    encode_varint(figure, bytes);
}

/// `None` where the bytes end before it does, or it has more than 64 bits.
#[inline]
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    decode_varint(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_difference_is_one_byte() {
        let mut column = Column::new(Codec::Thread);
        for (figure, thread) in [(1_000_000, 0), (7, 1), (1_000_001, 0), (6, 1), (1_000_000, 0)] {
            column.put(figure, thread);
        }
        assert_eq!(column.bytes().len(), 3 + 1 + 1 + 1 + 1);
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_no_varint() {
        for bad in [
            &[][..],
            &[0x80],
            &[0xff; 9],
            &[0xff; 11],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2],
        ] {
            assert_eq!(take_varint(&mut &bad[..]), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn figures_come_back(
            codec in prop::sample::select(vec![Codec::Plain, Codec::Signed, Codec::Delta, Codec::Thread]),
            figures in proptest::collection::vec((any::<u64>(), 0_usize..5), 0..50),
        ) {
            let mut column = Column::new(codec);
            for &(figure, thread) in &figures {
                column.put(figure, thread);
            }
            let mut cursor = Cursor::new(codec, column.bytes());
            for &(figure, thread) in &figures {
                prop_assert_eq!(cursor.take(thread), Some(figure));
            }
            prop_assert_eq!(cursor.take(0), None);
        }

        #[test]
        fn bytes_come_back(texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..9)) {
            let mut column = Column::new(Codec::Bytes);
            for text in &texts {
                column.put_bytes(text);
            }
            let mut cursor = Cursor::new(Codec::Bytes, column.bytes());
            for text in &texts {
                prop_assert_eq!(cursor.take_bytes(), Some(&text[..]));
            }
            prop_assert_eq!(cursor.take_bytes(), None);
        }
    }
}
