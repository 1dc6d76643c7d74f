//! Packets that come by the million, and the strings that they refer to, encoded by hand: in a fraction of the time
//! that it takes to build a message first.
//!
//! Owns their layout, whose messages are in `proto.rs`: tests decode by those what this writes. Must not know when a
//! packet is written.

use prost::Message as _;

use super::batch::PACKET;
use super::event::{Arg, Event, FlowId, Value};
use super::intern::{Kind, Strings};
use super::proto::{BuiltinClock, EventType, SequenceFlags, TracePacketDefaults};
use super::track::TrackId;
use super::wire;

/// The sequence of all these packets.
pub(super) const SEQUENCE: u32 = 0x6d74_0001;

/// Fields of `TracePacket`.
mod trace_packet {
    pub(super) const TIMESTAMP: u32 = 8;
    pub(super) const SEQUENCE_ID: u32 = 10;
    pub(super) const TRACK_EVENT: u32 = 11;
    pub(super) const INTERNED_DATA: u32 = 12;
    pub(super) const SEQUENCE_FLAGS: u32 = 13;
    pub(super) const DEFAULTS: u32 = 59;
}

/// Fields of `TrackEvent`.
mod track_event {
    pub(super) const CATEGORY_IIDS: u32 = 3;
    pub(super) const DEBUG_ANNOTATIONS: u32 = 4;
    pub(super) const TYPE: u32 = 9;
    pub(super) const NAME_IID: u32 = 10;
    pub(super) const TRACK_UUID: u32 = 11;
    pub(super) const COUNTER_VALUE: u32 = 30;
    pub(super) const FLOW_IDS: u32 = 47;
    pub(super) const TERMINATING_FLOW_IDS: u32 = 48;
}

/// Fields of `DebugAnnotation`.
mod debug_annotation {
    pub(super) const NAME_IID: u32 = 1;
    pub(super) const BOOL: u32 = 2;
    pub(super) const UINT: u32 = 3;
    pub(super) const INT: u32 = 4;
    pub(super) const DOUBLE: u32 = 5;
    pub(super) const POINTER: u32 = 7;
    pub(super) const DICT_ENTRIES: u32 = 11;
    pub(super) const ARRAY_VALUES: u32 = 12;
    pub(super) const STRING_IID: u32 = 17;
}

/// Appends an event, with what `fill` appends to its `TrackEvent`.
pub(super) fn event(
    out: &mut Vec<u8>,
    at_ns: u64,
    r#type: EventType,
    track: TrackId,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    wire::message(out, PACKET, |packet| {
        wire::integer(packet, trace_packet::TIMESTAMP, at_ns);
        wire::integer(packet, trace_packet::SEQUENCE_ID, SEQUENCE.into());
        let flags = SequenceFlags::NeedsIncrementalState as u64;
        wire::integer(packet, trace_packet::SEQUENCE_FLAGS, flags);
        wire::message(packet, trace_packet::TRACK_EVENT, |event| {
            wire::integer(event, track_event::TYPE, r#type as u64);
            wire::integer(event, track_event::TRACK_UUID, track.0);
            fill(event);
        });
    });
}

/// Appends a counter's value to its `TrackEvent`.
pub(super) fn count(out: &mut Vec<u8>, value: i64) {
    wire::integer(out, track_event::COUNTER_VALUE, value.cast_unsigned());
}

/// Appends what an event says of itself to its `TrackEvent`, flows with the numbers that `flow` gives them.
pub(super) fn said(out: &mut Vec<u8>, event: &Event<'_>, strings: &mut Strings, flow: impl Fn(u64) -> u64) {
    if !event.category.is_empty() {
        let number = strings.number(Kind::Category, event.category);
        wire::integer(out, track_event::CATEGORY_IIDS, number);
    }
    if !event.name.is_empty() {
        let number = strings.number(Kind::Event, event.name);
        wire::integer(out, track_event::NAME_IID, number);
    }
    for arg in event.args {
        argument(out, track_event::DEBUG_ANNOTATIONS, arg, strings);
    }
    for &FlowId(id) in event.flows {
        wire::fixed64(out, track_event::FLOW_IDS, flow(id));
    }
    for &FlowId(id) in event.flows_end {
        wire::fixed64(out, track_event::TERMINATING_FLOW_IDS, flow(id));
    }
}

fn argument(out: &mut Vec<u8>, field: u32, arg: &Arg<'_>, strings: &mut Strings) {
    wire::message(out, field, |out| {
        let number = strings.number(Kind::Argument, arg.name);
        wire::integer(out, debug_annotation::NAME_IID, number);
        value(out, arg.value, strings);
    });
}

fn value(out: &mut Vec<u8>, value: Value<'_>, strings: &mut Strings) {
    match value {
        Value::Uint(n) => wire::integer(out, debug_annotation::UINT, n),
        Value::Int(n) => wire::integer(out, debug_annotation::INT, n.cast_unsigned()),
        Value::Double(x) => wire::fixed64(out, debug_annotation::DOUBLE, x.to_bits()),
        Value::Bool(yes) => wire::integer(out, debug_annotation::BOOL, yes.into()),
        Value::Pointer(address) => wire::integer(out, debug_annotation::POINTER, address),
        Value::Str(text) => {
            let number = strings.number(Kind::Value, text);
            wire::integer(out, debug_annotation::STRING_IID, number);
        }
        Value::Dict(args) => {
            for arg in args {
                argument(out, debug_annotation::DICT_ENTRIES, arg, strings);
            }
        }
        Value::List(values) => {
            for &element in values {
                wire::message(out, debug_annotation::ARRAY_VALUES, |out| {
                    self::value(out, element, strings);
                });
            }
        }
    }
}

/// Appends the packet that tells the trace of new strings, `InternedData` as it is encoded. With `begins` it also
/// begins the sequence: what was told before holds no more.
pub(super) fn strings(out: &mut Vec<u8>, interned: &[u8], begins: bool) {
    wire::message(out, PACKET, |packet| {
        wire::integer(packet, trace_packet::SEQUENCE_ID, SEQUENCE.into());
        wire::bytes(packet, trace_packet::INTERNED_DATA, interned);
        let flags = if begins {
            SequenceFlags::IncrementalStateCleared
        } else {
            SequenceFlags::NeedsIncrementalState
        };
        wire::integer(packet, trace_packet::SEQUENCE_FLAGS, flags as u64);
        if begins {
            let defaults = TracePacketDefaults {
                timestamp_clock_id: Some(BuiltinClock::Monotonic as u32),
            };
            wire::bytes(packet, trace_packet::DEFAULTS, &defaults.encode_to_vec());
        }
    });
}
