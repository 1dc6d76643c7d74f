//! The writer: calls become packets, and batches of packets become the bytes of a trace.
//!
//! Owns the two packet sequences, their state, and when a batch ends. Must not know where the bytes go.

use prost::Message as _;

use super::batch::{Batch, PACKET, Turn};
use super::event::Event;
use super::intern::Strings;
use super::packet;
use super::proto::{BuiltinClock, Clock, ClockSnapshot, Data, EventType, SequenceFlags, TracePacket};
use super::track::{Track, TrackId};
use super::wire;

/// A batch ends at so many bytes of packets.
pub const BATCH_BYTES: usize = 256 << 10;

/// Interned strings are forgotten, and begun again, when they take more than this.
pub const INTERNED_BYTES: usize = 1 << 20;

/// The sequence that describes tracks. A system trace, which ours may be put in front of, counts its own from one up.
const TRACKS: u32 = packet::SEQUENCE + 1;

/// 2^64 over the golden ratio. Multiplying by it maps no two numbers to one, and neighbours far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What three clocks said at one moment. Events' times are in `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// `CLOCK_BOOTTIME`, which Perfetto's own traces are in, and which this one is shown in.
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME`. It also makes this trace's numbers for tracks and flows unlike another's.
    pub realtime_ns: u64,
}

impl Clocks {
    /// `number`, as this trace has it and no other, as far as can be told.
    fn unlike_others(self, number: u64) -> u64 {
        self.realtime_ns.wrapping_add(number).wrapping_mul(SPREAD)
    }
}

/// Writes a trace while a run goes on. Bytes are complete packets at any time: take them with [`take`](Self::take), and
/// the rest with [`finish`](Self::finish).
///
/// # Order
///
/// Times may come in any order. On one track, slices nest or are apart. Where they touch (one begins at the nanosecond
/// at which another begins or ends) and are written within one batch, they are put in order: what ends, then what
/// begins, the longer before the shorter, then instants and slices of no length, which are so in what begins. Across
/// batches the order of the calls counts: where two begin at one nanosecond, the outer has to be written first.
///
/// # Two traces in one file
///
/// `cat ours.pftrace system.pftrace` opens as one trace, and so do two of ours. A system trace that was written while it
/// was recorded has to come last: it is read in windows of time.
pub struct Writer {
    clocks: Clocks,
    tracks: u64,
    batch: Batch,
    strings: Strings,
    /// The events' sequence has to be begun before its next packet.
    begins: bool,
    done: Vec<u8>,
}

impl Writer {
    /// A trace with these clocks, and nothing in it yet.
    pub fn new(clocks: Clocks) -> Self {
        let mut writer = Self {
            clocks,
            tracks: 0,
            batch: Batch::default(),
            strings: Strings::default(),
            begins: true,
            done: Vec::new(),
        };
        let clock = |clock: BuiltinClock, ns| Clock {
            clock_id: u32::try_from(i32::from(clock)).ok(),
            timestamp: Some(ns),
        };
        writer.in_front(&TracePacket {
            trusted_packet_sequence_id: Some(TRACKS),
            sequence_flags: Some(SequenceFlags::IncrementalStateCleared as u32),
            data: Some(Data::ClockSnapshot(ClockSnapshot {
                clocks: vec![
                    clock(BuiltinClock::Boottime, clocks.boottime_ns),
                    clock(BuiltinClock::Monotonic, clocks.monotonic_ns),
                    clock(BuiltinClock::Realtime, clocks.realtime_ns),
                ],
                primary_trace_clock: Some(BuiltinClock::Boottime.into()),
            })),
            ..TracePacket::default()
        });
        writer
    }

    /// Describes a track, before anything is on it or below it. Two that are described alike are two tracks.
    pub fn track(&mut self, track: &Track<'_>) -> TrackId {
        self.tracks += 1;
        let id = TrackId(self.clocks.unlike_others(self.tracks));
        self.describe(id, track);
        id
    }

    /// Describes a track again, with another name. What else is said of it has to be as before.
    pub fn describe(&mut self, id: TrackId, track: &Track<'_>) {
        let descriptor = track.descriptor(id, |text| self.strings.fitted(text));
        self.in_front(&TracePacket {
            trusted_packet_sequence_id: Some(TRACKS),
            sequence_flags: Some(SequenceFlags::NeedsIncrementalState as u32),
            data: Some(Data::TrackDescriptor(descriptor)),
            ..TracePacket::default()
        });
        self.end_full_batch();
    }

    /// Something on `track` that took `duration_ns`.
    pub fn slice(&mut self, track: TrackId, start_ns: u64, duration_ns: u64, event: &Event<'_>) {
        let end_ns = start_ns.saturating_add(duration_ns);
        let end = |out: &mut Vec<u8>| packet::event(out, end_ns, EventType::SliceEnd, track, |_| ());
        if end_ns > start_ns {
            let turn = Turn::beginning(Some(end_ns));
            self.event(track, start_ns, turn, EventType::SliceBegin, event, |_| ());
            self.batch.event(end_ns, Turn::FIRST, end);
        } else {
            self.event(track, start_ns, Turn::LAST, EventType::SliceBegin, event, end);
        }
        self.end_full_batch();
    }

    /// Something on `track` that had not ended when the trace did. What begins on that track later is inside it.
    pub fn unfinished(&mut self, track: TrackId, start_ns: u64, event: &Event<'_>) {
        let turn = Turn::beginning(None);
        self.event(track, start_ns, turn, EventType::SliceBegin, event, |_| ());
        self.end_full_batch();
    }

    /// Something on `track` that took no time.
    pub fn instant(&mut self, track: TrackId, at_ns: u64, event: &Event<'_>) {
        self.event(track, at_ns, Turn::LAST, EventType::Instant, event, |_| ());
        self.end_full_batch();
    }

    /// What the counter `track` is at from `at_ns` on.
    pub fn count(&mut self, track: TrackId, at_ns: u64, value: i64) {
        self.batch.event(at_ns, Turn::FIRST, |out| {
            packet::event(out, at_ns, EventType::Counter, track, |event| {
                packet::count(event, value);
            });
        });
        self.end_full_batch();
    }

    /// Ends the batch, so that [`take`](Self::take) gives all that was written.
    pub fn end_batch(&mut self) {
        if self.batch.bytes() == 0 {
            return;
        }
        let begins = std::mem::take(&mut self.begins);
        if begins || !self.strings.untold().is_empty() {
            packet::strings(self.batch.front(), self.strings.untold(), begins);
            self.strings.told();
        }
        self.batch.finish(&mut self.done);
    }

    /// The packets of all batches that have ended and were not taken yet.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.done)
    }

    /// All that was not taken yet.
    pub fn finish(mut self) -> Vec<u8> {
        self.end_batch();
        self.done
    }

    /// What is held in memory, in bytes, about: bounded but for what is ready and not taken.
    pub fn held(&self) -> usize {
        self.batch.held() + self.strings.bytes() + self.done.capacity()
    }

    /// How many bytes [`take`](Self::take) would give.
    pub fn ready(&self) -> usize {
        self.done.len()
    }

    /// How many strings were longer than [`STRING_BYTES`], and were cut.
    pub fn cut_strings(&self) -> u64 {
        self.strings.cut()
    }

    fn in_front(&mut self, packet: &TracePacket) {
        wire::bytes(self.batch.front(), PACKET, &packet.encode_to_vec());
    }

    /// Puts an event into the batch, together with what `then` appends.
    fn event(
        &mut self,
        track: TrackId,
        at_ns: u64,
        turn: Turn,
        r#type: EventType,
        event: &Event<'_>,
        then: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.strings.bytes() > INTERNED_BYTES {
            // Events that wait refer to strings by the old numbers.
            self.end_batch();
            self.strings.forget();
            self.begins = true;
        }
        let (strings, clocks) = (&mut self.strings, self.clocks);
        self.batch.event(at_ns, turn, |out| {
            packet::event(out, at_ns, r#type, track, |out| {
                packet::said(out, event, strings, |flow| clocks.unlike_others(flow));
            });
            then(out);
        });
    }

    fn end_full_batch(&mut self) {
        if self.batch.bytes() >= BATCH_BYTES {
            self.end_batch();
        }
    }
}
