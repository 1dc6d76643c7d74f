//! Bytes of the ring buffer into records.
//!
//! Owns the check of every length. Never panics, whatever the bytes; must not know what records mean.

use core::fmt;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::{
    Fd, Tid,
    wire::{self, Exec, Fault, Fork, Header, Io, Mm, Rss, Segment, Segments, Tally, Unmapped, Wake},
};

/// One record, its payload still in the buffer that it was read from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// See [`Fault`].
    Fault(Fault),
    /// See [`Fork`].
    Fork(Fork),
    /// See [`Exec`].
    Exec(Exec),
    /// The thread begins to exit.
    Exit(Header),
    /// The thread is gone; these are its last counters.
    Free(Header),
    /// See [`Mm`].
    Mm(Mm),
    /// See [`Unmapped`].
    Unmapped(Unmapped),
    /// See [`Io`].
    Io(Io, Payload<'a>),
    /// The thread goes to wait for events, or has waited in vain: [`wire::WAIT_TIMED_OUT`].
    Wait(Header),
    /// See [`Wake`].
    Wake(Wake),
    /// The process set up an `io_uring`.
    Uring(Header),
    /// The process makes system calls as a 32-bit program.
    Foreign(Header),
    /// See [`Tally`].
    Tally(Tally),
    /// See [`Rss`].
    Rss(Rss),
}

/// Why some bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They end before the record does.
    Short {
        /// The record's kind, or 0 where not even the header is whole.
        kind: u8,
        /// How many bytes there were.
        len: usize,
    },
    /// No record has this kind.
    Kind(u8),
    /// The segments claim more bytes than there are.
    Payload,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { kind, len } => write!(f, "a record of kind {kind} is cut off after {len} bytes"),
            Self::Kind(kind) => write!(f, "no record has kind {kind}"),
            Self::Payload => f.write_str("a record's segments claim more bytes than it has"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A stretch of a connection's byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Seen(&'a [u8]),
    /// So many bytes that were not captured.
    Unseen(u64),
}

/// What a read or a write moved: captured bytes, and the lengths of what was not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Payload<'a> {
    total: u64,
    segments: Segments,
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    /// A payload of which only the length is known.
    #[must_use]
    pub fn unseen(total: u64) -> Self {
        Self {
            total,
            segments: Segments::default(),
            bytes: &[],
        }
    }

    /// `total` bytes, moved through these buffers; `bytes` begin with what was captured of them, in stream order.
    ///
    /// # Errors
    /// [`DecodeError::Payload`] where the buffers contradict themselves, `total` or `bytes`.
    pub fn new(total: u64, segments: Segments, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut captured = 0_usize;
        let mut moved = 0_u64;
        for s in &segments {
            let seen = u32::from(s.head) + u32::from(s.tail);
            if seen > s.len {
                return Err(DecodeError::Payload);
            }
            captured += usize::from(s.head) + usize::from(s.tail);
            moved += u64::from(s.len);
        }
        match bytes.get(..captured) {
            Some(bytes) if moved <= total => Ok(Self {
                total,
                segments,
                bytes,
            }),
            _ => Err(DecodeError::Payload),
        }
    }

    /// The same payload with these bytes for the captured ones; `None` where they are not as many.
    #[must_use]
    pub fn with_captured<'b>(&self, bytes: &'b [u8]) -> Option<Payload<'b>> {
        (bytes.len() == self.bytes.len()).then_some(Payload {
            total: self.total,
            segments: self.segments,
            bytes,
        })
    }

    /// How many bytes the call moved.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The buffers that they went through; all zero where only the length is known.
    #[must_use]
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The bytes that were captured of them, in stream order.
    #[must_use]
    pub fn captured(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it says where it is an array of descriptors, as that of `OP_RECV_FD`.
    pub fn descriptors(&self) -> impl Iterator<Item = Fd> + use<'a> {
        let (numbers, _) = self.bytes.as_chunks::<4>();
        numbers.iter().map(|&number| Fd(i32::from_ne_bytes(number)))
    }

    /// Its first bytes, where it is one buffer whose beginning was captured.
    pub fn beginning(&self) -> &'a [u8] {
        let head = usize::from(self.segments[0].head);
        self.bytes.get(..head).unwrap_or_default()
    }

    /// The stretches in stream order; their lengths add up to what the call returned.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        let mut bytes = self.bytes;
        let mut left = self.total;
        let mut take = move |n: u16| {
            // `Payload::new` has checked that the segments' bytes are all there.
            let (taken, rest) = bytes.split_at_checked(usize::from(n)).unwrap_or((bytes, &[]));
            bytes = rest;
            taken
        };
        let known: u64 = self.segments.iter().map(|s| u64::from(s.len)).sum();
        left = left.saturating_sub(known);
        self.segments
            .into_iter()
            .flat_map(move |Segment { len, head, tail }| {
                let gap = u64::from(len).saturating_sub(u64::from(head) + u64::from(tail));
                [
                    Piece::Seen(take(head)),
                    Piece::Unseen(gap),
                    Piece::Seen(take(tail)),
                ]
            })
            .chain([Piece::Unseen(left)])
            .filter(|piece| !matches!(*piece, Piece::Seen(&[]) | Piece::Unseen(0)))
    }
}

/// The records of one entry of the ring: one, or resident memory and the call that it is told with.
pub fn entry(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, DecodeError>> {
    let mut left = Some(bytes);
    core::iter::from_fn(move || {
        let bytes = left.take()?;
        let record = Record::decode(bytes);
        if let Ok(Record::Rss(_)) = record {
            left = bytes.get(size_of::<Rss>()..).filter(|rest| !rest.is_empty());
        }
        Some(record)
    })
}

impl<'a> Record<'a> {
    /// Reads one record, at the beginning of these bytes.
    ///
    /// # Errors
    /// [`DecodeError`] where the bytes are cut off, of unknown kind, or contradict themselves.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let header: Header = prefix(bytes, 0)?.0;
        let kind = header.kind;
        Ok(match kind {
            wire::KIND_FAULT => Self::Fault(prefix(bytes, kind)?.0),
            wire::KIND_FORK => Self::Fork(prefix(bytes, kind)?.0),
            wire::KIND_EXEC => Self::Exec(prefix(bytes, kind)?.0),
            wire::KIND_EXIT => Self::Exit(header),
            wire::KIND_FREE => Self::Free(header),
            wire::KIND_MM => Self::Mm(prefix(bytes, kind)?.0),
            wire::KIND_IO => {
                let (io, rest): (Io, _) = prefix(bytes, kind)?;
                Self::Io(io, payload(&io, rest)?)
            }
            wire::KIND_WAIT => Self::Wait(header),
            wire::KIND_URING => Self::Uring(header),
            wire::KIND_FOREIGN => Self::Foreign(header),
            wire::KIND_TALLY => Self::Tally(prefix(bytes, kind)?.0),
            wire::KIND_RSS => Self::Rss(prefix(bytes, kind)?.0),
            wire::KIND_UNMAPPED => Self::Unmapped(prefix(bytes, kind)?.0),
            wire::KIND_WAKE => Self::Wake(prefix(bytes, kind)?.0),
            other => return Err(DecodeError::Kind(other)),
        })
    }

    /// Who and when, of any record.
    #[must_use]
    pub fn header(&self) -> &Header {
        match self {
            Self::Fault(r) => &r.header,
            Self::Fork(r) => &r.header,
            Self::Exec(r) => &r.header,
            Self::Mm(r) => &r.header,
            Self::Unmapped(r) => &r.header,
            Self::Tally(r) => &r.header,
            Self::Rss(r) => &r.header,
            Self::Wake(r) => &r.header,
            Self::Io(r, _) => &r.header,
            Self::Exit(h) | Self::Free(h) | Self::Wait(h) | Self::Uring(h) | Self::Foreign(h) => h,
        }
    }

    /// A fault that is over, as this record tells: under which thread's number its own record came, and how long it
    /// took, in nanoseconds. It is the fault of that number's most recent [`Fault`] record before this one. See
    /// [`Header::last_fault_ns`].
    #[must_use]
    pub fn ended_fault(&self) -> Option<(Tid, u32)> {
        let header = self.header();
        let tid = match self {
            Self::Exec(exec) => exec.old_tid,
            _ => header.tid,
        };
        Some((Tid(tid), header.last_fault_ns()?))
    }
}

fn prefix<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8], kind: u8) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes).map_err(|_| DecodeError::Short {
        kind,
        len: bytes.len(),
    })
}

fn payload<'a>(io: &Io, rest: &'a [u8]) -> Result<Payload<'a>, DecodeError> {
    let total = u64::try_from(io.ret).unwrap_or(0);
    if io.header.flags & wire::IO_PAYLOAD == 0 {
        return Ok(Payload::unseen(total));
    }
    let (segments, bytes): (Segments, _) = prefix(rest, wire::KIND_IO)?;
    Payload::new(total, segments, bytes)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use proptest::prelude::*;
    use std::{vec, vec::Vec};
    use zerocopy::IntoBytes;

    use super::*;

    fn read(ret: i64, segments: &[Segment], bytes: &[u8]) -> Vec<u8> {
        let header = Header {
            kind: wire::KIND_IO,
            flags: wire::IO_PAYLOAD,
            op: wire::OP_READ,
            fd: 3,
            ..Header::default()
        };
        let mut table = Segments::default();
        table[..segments.len()].copy_from_slice(segments);
        [
            Io {
                header,
                ret,
                other: 0,
            }
            .as_bytes(),
            table.as_bytes(),
            bytes,
        ]
        .concat()
    }

    #[test]
    fn payload_keeps_stream_order_and_length() {
        let segments = [
            Segment {
                len: 5,
                head: 5,
                tail: 0,
            },
            Segment {
                len: 100,
                head: 3,
                tail: 2,
            },
        ];
        let record = read(120, &segments, b"helloabcyz");
        let Ok(Record::Io(_, payload)) = Record::decode(&record) else {
            panic!("no Io record")
        };
        assert_eq!(
            payload.pieces().collect::<Vec<_>>(),
            vec![
                Piece::Seen(b"hello"),
                Piece::Seen(b"abc"),
                Piece::Unseen(95),
                Piece::Seen(b"yz"),
                Piece::Unseen(15),
            ]
        );
    }

    #[test]
    fn segments_that_claim_more_than_there_is_are_refused() {
        let over = [Segment {
            len: 8,
            head: 8,
            tail: 0,
        }];
        assert_eq!(
            Record::decode(&read(8, &over, b"1234567")),
            Err(DecodeError::Payload)
        );
        assert_eq!(
            Record::decode(&read(7, &over, b"12345678")),
            Err(DecodeError::Payload)
        );
        let overlap = [Segment {
            len: 8,
            head: 8,
            tail: 1,
        }];
        assert_eq!(
            Record::decode(&read(8, &overlap, b"123456789")),
            Err(DecodeError::Payload)
        );
    }

    #[test]
    fn a_payload_can_be_told_again_with_other_bytes() {
        let mut segments = Segments::default();
        segments[0] = Segment {
            len: 9,
            head: 3,
            tail: 2,
        };
        // What is behind the captured bytes is not the payload's.
        let payload = Payload::new(10, segments, b"abcyz...").unwrap();
        assert_eq!(payload.captured(), b"abcyz");
        assert_eq!(payload.segments(), &segments);
        assert_eq!(payload.total(), 10);
        assert_eq!(Payload::new(10, segments, payload.captured()), Ok(payload));
        assert_eq!(Payload::new(8, segments, b"abcyz"), Err(DecodeError::Payload));
        assert_eq!(Payload::new(10, segments, b"abcy"), Err(DecodeError::Payload));

        let other = payload.with_captured(b"xxx\0\0").unwrap();
        assert_eq!(
            other.pieces().collect::<Vec<_>>(),
            [
                Piece::Seen(b"xxx"),
                Piece::Unseen(4),
                Piece::Seen(b"\0\0"),
                Piece::Unseen(1)
            ]
        );
        assert_eq!(payload.with_captured(b"xxxx"), None);
        assert_eq!(payload.with_captured(b"xxxxxx"), None);
        let unseen = Payload::unseen(7);
        assert_eq!(Payload::new(7, *unseen.segments(), unseen.captured()), Ok(unseen));
    }

    #[test]
    fn an_entry_is_a_record_or_resident_memory_and_a_call() {
        let rss = Rss {
            header: Header {
                kind: wire::KIND_RSS,
                ..Header::default()
            },
            pages: [1, 2, 3, 4],
            error_pages: 5,
        };
        let segment = Segment {
            len: 2,
            head: 2,
            tail: 0,
        };
        let io = read(2, &[segment], b"hi");
        let both = [rss.as_bytes(), &io].concat();
        let told: Vec<_> = entry(&both).collect();
        assert_eq!(told, [Ok(Record::Rss(rss)), Record::decode(&io)]);
        assert!(matches!(told[1], Ok(Record::Io(..))));

        let alone: Vec<_> = entry(rss.as_bytes()).collect();
        assert_eq!(alone, [Ok(Record::Rss(rss))]);
        let call: Vec<_> = entry(&io).collect();
        assert_eq!(call, [Record::decode(&io)]);
        let cut: Vec<_> = entry(&both[..100]).collect();
        assert_eq!(
            cut,
            [Ok(Record::Rss(rss)), Err(DecodeError::Short { kind: 0, len: 20 })]
        );
        assert_eq!(entry(&[]).count(), 1, "an empty entry is not read");
    }

    #[test]
    fn descriptors_are_numbers_of_four_bytes() {
        let bytes = [7_i32.to_ne_bytes(), (-1_i32).to_ne_bytes()].concat();
        let whole = [Segment {
            len: 8,
            head: 8,
            tail: 0,
        }];
        let record = read(8, &whole, &bytes);
        let Ok(Record::Io(_, payload)) = Record::decode(&record) else {
            panic!("no Io record")
        };
        assert_eq!(payload.descriptors().collect::<Vec<_>>(), [Fd(7), Fd(-1)]);
    }

    #[test]
    fn a_faults_time_is_told_by_what_can_tell_under_the_number_that_took_it() {
        let told = |kind, ns, body: &[u64]| {
            let header = Header {
                tid: 7,
                kind,
                ..Header::default()
            };
            let header = header.with_last_fault_ns(ns);
            let bytes = [header.as_bytes(), body.as_bytes()].concat();
            Record::decode(&bytes).unwrap().ended_fault()
        };
        assert_eq!(told(wire::KIND_FAULT, 5, &[0; 2]), Some((Tid(7), 5)));
        assert_eq!(told(wire::KIND_FAULT, 0, &[0; 2]), None, "nothing has ended");
        assert_eq!(
            told(wire::KIND_TALLY, u32::MAX, &[0; 7]),
            Some((Tid(7), u32::MAX))
        );
        assert_eq!(
            told(wire::KIND_EXEC, 5, &[9, 0, 0]),
            Some((Tid(9), 5)),
            "the old number"
        );
        assert_eq!(told(wire::KIND_IO, 5, &[0; 2]), None, "a descriptor is no time");
        assert_eq!(told(wire::KIND_WAIT, 5, &[]), None);
    }

    #[test]
    fn what_munmap_returned_is_read() {
        let unmapped = Unmapped {
            header: Header {
                kind: wire::KIND_UNMAPPED,
                op: wire::MM_MUNMAP,
                ..Header::default()
            },
            began_ns: 3,
            ret: -22,
        };
        let bytes = unmapped.as_bytes();
        assert_eq!(Record::decode(bytes), Ok(Record::Unmapped(unmapped)));
        assert_eq!(
            Record::decode(&bytes[..55]),
            Err(DecodeError::Short {
                kind: wire::KIND_UNMAPPED,
                len: 55
            })
        );
    }

    #[test]
    fn a_wake_names_both_threads() {
        let wake = Wake {
            header: Header {
                tid: 7,
                kind: wire::KIND_WAKE,
                ..Header::default()
            },
            tid: 8,
            pad: 0,
            word: 0x7000,
        };
        let bytes = wake.as_bytes();
        assert_eq!(Record::decode(bytes), Ok(Record::Wake(wake)));
        assert_eq!(Record::Wake(wake).header().tid, 7);
        assert_eq!(
            Record::decode(&bytes[..55]),
            Err(DecodeError::Short {
                kind: wire::KIND_WAKE,
                len: 55
            })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u8..16) {
            let mut bytes = bytes;
            if let Some(b) = bytes.get_mut(32) { *b = kind; }
            if let Ok(Record::Io(io, payload)) = Record::decode(&bytes) {
                let moved: u64 = payload.pieces().map(|p| match p {
                    Piece::Seen(b) => b.len() as u64,
                    Piece::Unseen(n) => n,
                }).sum();
                prop_assert_eq!(moved, u64::try_from(io.ret).unwrap_or(0));
            }
        }
    }
}
