//! A batch of packets: kept until it is worth deflating, sorted, and then one packet of the trace.
//!
//! Owns the order within a batch, and its end. Must not know what packets say.
//!
//! Trace processor sorts a whole trace by time and leaves packets of one time as they are in the file. For those on one
//! track the order decides what is nested in what, and calls come in another: a slice is written when it ends, after
//! what was in it. So packets of one time are put in order here.

use std::io::{self, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::wire;

/// `Trace.packet`.
pub(super) const PACKET: u32 = 1;
/// `TracePacket.compressed_packets`.
const COMPRESSED_PACKETS: u32 = 50;

/// Where a packet belongs among those of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64);

impl Turn {
    /// First what ends, and what has no part in nesting.
    pub(super) const FIRST: Turn = Turn(0);
    /// Last what takes no time: it is in all that begins then.
    pub(super) const LAST: Turn = Turn(u64::MAX);

    /// In between what begins, the outer before the inner: which ends later, or never.
    pub(super) fn beginning(end_ns: Option<u64>) -> Turn {
        Turn(end_ns.map_or(1, |end| (u64::MAX - end).max(1)))
    }
}

/// What is pending.
#[derive(Default)]
pub(super) struct Batch {
    /// What comes before all events of the batch, in the order of its coming.
    front: Vec<u8>,
    events: Vec<u8>,
    places: Vec<Place>,
    /// Empty between batches; kept for its room.
    sorted: Vec<u8>,
}

struct Place {
    at_ns: u64,
    turn: Turn,
    bytes: Range<usize>,
}

impl Batch {
    /// Where packets that come before all events of the batch are appended.
    pub(super) fn front(&mut self) -> &mut Vec<u8> {
        &mut self.front
    }

    /// Takes the packets that `fill` appends, which stay together.
    pub(super) fn event(&mut self, at_ns: u64, turn: Turn, fill: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.events.len();
        fill(&mut self.events);
        self.places.push(Place {
            at_ns,
            turn,
            bytes: begin..self.events.len(),
        });
    }

    /// How many bytes of packets there are.
    pub(super) fn bytes(&self) -> usize {
        self.front.len() + self.events.len()
    }

    /// What it holds in memory, in bytes.
    pub(super) fn held(&self) -> usize {
        self.front.capacity()
            + self.events.capacity()
            + self.sorted.capacity()
            + self.places.capacity() * size_of::<Place>()
    }

    /// Appends all of it to `out`, as one packet, and is empty then.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.bytes() == 0 {
            return;
        }
        self.places.sort_by_key(|place| (place.at_ns, place.turn));
        self.sorted.append(&mut self.front);
        for Place { bytes, .. } in &self.places {
            self.sorted.extend_from_slice(&self.events[bytes.clone()]);
        }
        match deflated(&self.sorted) {
            Ok(deflated) => wire::message(out, PACKET, |packet| {
                wire::bytes(packet, COMPRESSED_PACKETS, &deflated);
            }),
            // Writing to memory does not fail; packets are a trace as they are, too.
            Err(_) => out.extend_from_slice(&self.sorted),
        }
        self.sorted.clear();
        self.events.clear();
        self.places.clear();
    }
}

fn deflated(packets: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(packets.len() / 4), Compression::fast());
    encoder.write_all(packets)?;
    encoder.finish()
}
