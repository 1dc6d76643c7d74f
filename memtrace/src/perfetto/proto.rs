//! The messages of Perfetto's trace format that memtrace writes, as `prost` has them.
//!
//! Owns field numbers and types, message by message with the `.proto` file each is from, below `protos/perfetto/` in
//! Perfetto's sources. Must not know when they are written. Fields that memtrace never sets are left out: readers take
//! them as unset, and `prost` skips what it does not know.

use prost::{Enumeration, Message, Oneof};

/// A trace file: packets, one after the other, so that two files in a row are a file. `trace/trace.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct Trace {
    /// The packets.
    #[prost(message, repeated, tag = "1")]
    pub packet: Vec<TracePacket>,
}

/// One packet. `trace/trace_packet.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct TracePacket {
    /// In the clock of the sequence's defaults.
    #[prost(uint64, optional, tag = "8")]
    pub timestamp: Option<u64>,
    /// The sequence that it belongs to: defaults and interned strings hold within one.
    #[prost(uint32, optional, tag = "10")]
    pub trusted_packet_sequence_id: Option<u32>,
    /// Strings that this sequence refers to by number from here on.
    #[prost(message, optional, tag = "12")]
    pub interned_data: Option<InternedData>,
    /// Of [`SequenceFlags`].
    #[prost(uint32, optional, tag = "13")]
    pub sequence_flags: Option<u32>,
    /// What holds for this sequence's packets from here on.
    #[prost(message, optional, tag = "59")]
    pub trace_packet_defaults: Option<TracePacketDefaults>,
    /// What it carries.
    #[prost(oneof = "Data", tags = "6, 11, 50, 60")]
    pub data: Option<Data>,
}

/// `TracePacket.data` in `trace/trace_packet.proto`.
#[derive(Clone, PartialEq, Oneof)]
pub enum Data {
    /// What several clocks say at one moment.
    #[prost(message, tag = "6")]
    ClockSnapshot(ClockSnapshot),
    /// Something that happened.
    #[prost(message, tag = "11")]
    TrackEvent(TrackEvent),
    /// Packets as of a [`Trace`], in zlib's format.
    #[prost(bytes, tag = "50")]
    CompressedPackets(Vec<u8>),
    /// What a track is.
    #[prost(message, tag = "60")]
    TrackDescriptor(TrackDescriptor),
}

/// `TracePacket.SequenceFlags` in `trace/trace_packet.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SequenceFlags {
    /// Nothing is said.
    Unspecified = 0,
    /// What was interned before holds no more.
    IncrementalStateCleared = 1,
    /// It cannot be read without what was interned before.
    NeedsIncrementalState = 2,
}

/// `trace/trace_packet_defaults.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct TracePacketDefaults {
    /// Of [`BuiltinClock`].
    #[prost(uint32, optional, tag = "58")]
    pub timestamp_clock_id: Option<u32>,
}

/// `trace/clock_snapshot.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ClockSnapshot {
    /// The clocks.
    #[prost(message, repeated, tag = "1")]
    pub clocks: Vec<Clock>,
    /// The clock that all timestamps are shown in.
    #[prost(enumeration = "BuiltinClock", optional, tag = "2")]
    pub primary_trace_clock: Option<i32>,
}

/// `ClockSnapshot.Clock` in `trace/clock_snapshot.proto`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Clock {
    /// Of [`BuiltinClock`].
    #[prost(uint32, optional, tag = "1")]
    pub clock_id: Option<u32>,
    /// Nanoseconds.
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
}

/// `common/builtin_clock.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum BuiltinClock {
    /// None of them.
    Unknown = 0,
    /// Since 1970.
    Realtime = 1,
    /// Since boot, without the time that the machine slept.
    Monotonic = 3,
    /// Since boot.
    Boottime = 6,
}

/// `trace/track_event/track_descriptor.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct TrackDescriptor {
    /// The number by which events and children name it.
    #[prost(uint64, optional, tag = "1")]
    pub uuid: Option<u64>,
    /// What is written beside it.
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    /// It is a process's.
    #[prost(message, optional, tag = "3")]
    pub process: Option<ProcessDescriptor>,
    /// It is a thread's.
    #[prost(message, optional, tag = "4")]
    pub thread: Option<ThreadDescriptor>,
    /// The track that it is below.
    #[prost(uint64, optional, tag = "5")]
    pub parent_uuid: Option<u64>,
    /// It is a counter.
    #[prost(message, optional, tag = "8")]
    pub counter: Option<CounterDescriptor>,
    /// The order of its children.
    #[prost(enumeration = "ChildTracksOrdering", optional, tag = "11")]
    pub child_ordering: Option<i32>,
    /// Its place where its parent's children have explicit order.
    #[prost(int32, optional, tag = "12")]
    pub sibling_order_rank: Option<i32>,
    /// What it is, in words.
    #[prost(string, optional, tag = "14")]
    pub description: Option<String>,
    /// What becomes of siblings of its name.
    #[prost(enumeration = "SiblingMergeBehavior", optional, tag = "15")]
    pub sibling_merge_behavior: Option<i32>,
}

/// `TrackDescriptor.ChildTracksOrdering` in `trace/track_event/track_descriptor.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ChildTracksOrdering {
    /// Nothing is said.
    Unknown = 0,
    /// By name.
    Lexicographic = 1,
    /// By first event.
    Chronological = 2,
    /// By rank.
    Explicit = 3,
}

/// `TrackDescriptor.SiblingMergeBehavior` in `trace/track_event/track_descriptor.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SiblingMergeBehavior {
    /// Nothing is said: by name.
    Unspecified = 0,
    /// Siblings of one name are shown as one.
    ByTrackName = 1,
    /// Each is shown.
    None = 2,
}

/// `trace/track_event/process_descriptor.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ProcessDescriptor {
    /// Its number.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its name.
    #[prost(string, optional, tag = "6")]
    pub process_name: Option<String>,
}

/// `trace/track_event/thread_descriptor.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct ThreadDescriptor {
    /// Its process's number.
    #[prost(int32, optional, tag = "1")]
    pub pid: Option<i32>,
    /// Its own.
    #[prost(int64, optional, tag = "2")]
    pub tid: Option<i64>,
    /// Its name.
    #[prost(string, optional, tag = "5")]
    pub thread_name: Option<String>,
}

/// `trace/track_event/counter_descriptor.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct CounterDescriptor {
    /// What it counts, where that is one of these.
    #[prost(enumeration = "CounterUnit", optional, tag = "3")]
    pub unit: Option<i32>,
    /// What it counts otherwise.
    #[prost(string, optional, tag = "6")]
    pub unit_name: Option<String>,
    /// Counters of one parent with one key have one scale.
    #[prost(string, optional, tag = "7")]
    pub y_axis_share_key: Option<String>,
}

/// `CounterDescriptor.Unit` in `trace/track_event/counter_descriptor.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CounterUnit {
    /// Nothing is said.
    Unspecified = 0,
    /// Nanoseconds.
    TimeNs = 1,
    /// Things.
    Count = 2,
    /// Bytes.
    SizeBytes = 3,
}

/// `trace/track_event/track_event.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct TrackEvent {
    /// Interned in `event_categories`.
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub category_iids: Vec<u64>,
    /// Its arguments.
    #[prost(message, repeated, tag = "4")]
    pub debug_annotations: Vec<DebugAnnotation>,
    /// What it is.
    #[prost(enumeration = "EventType", optional, tag = "9")]
    pub r#type: Option<i32>,
    /// Interned in `event_names`.
    #[prost(uint64, optional, tag = "10")]
    pub name_iid: Option<u64>,
    /// The track that it is on.
    #[prost(uint64, optional, tag = "11")]
    pub track_uuid: Option<u64>,
    /// What a counter is at from here on.
    #[prost(int64, optional, tag = "30")]
    pub counter_value: Option<i64>,
    /// Flows that start here or pass.
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub flow_ids: Vec<u64>,
    /// Flows that end here.
    #[prost(fixed64, repeated, packed = "false", tag = "48")]
    pub terminating_flow_ids: Vec<u64>,
}

/// `TrackEvent.Type` in `trace/track_event/track_event.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum EventType {
    /// Nothing is said.
    Unspecified = 0,
    /// A slice begins.
    SliceBegin = 1,
    /// The innermost slice of the track ends.
    SliceEnd = 2,
    /// A moment.
    Instant = 3,
    /// A counter's new value.
    Counter = 4,
}

/// An argument. `trace/track_event/debug_annotation.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct DebugAnnotation {
    /// Interned in `debug_annotation_names`; none in an array.
    #[prost(uint64, optional, tag = "1")]
    pub name_iid: Option<u64>,
    /// Its value, unless it is a dict or an array.
    #[prost(oneof = "AnnotationValue", tags = "2, 3, 4, 5, 7, 17")]
    pub value: Option<AnnotationValue>,
    /// Named values.
    #[prost(message, repeated, tag = "11")]
    pub dict_entries: Vec<DebugAnnotation>,
    /// Values in a row.
    #[prost(message, repeated, tag = "12")]
    pub array_values: Vec<DebugAnnotation>,
}

/// `DebugAnnotation.value` in `trace/track_event/debug_annotation.proto`.
#[derive(Clone, Copy, PartialEq, Oneof)]
pub enum AnnotationValue {
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A count.
    #[prost(uint64, tag = "3")]
    Uint(u64),
    /// A difference.
    #[prost(int64, tag = "4")]
    Int(i64),
    /// A ratio.
    #[prost(double, tag = "5")]
    Double(f64),
    /// An address.
    #[prost(uint64, tag = "7")]
    Pointer(u64),
    /// A string of `debug_annotation_string_values`.
    #[prost(uint64, tag = "17")]
    StringIid(u64),
}

/// `trace/interned_data/interned_data.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct InternedData {
    /// Categories.
    #[prost(message, repeated, tag = "1")]
    pub event_categories: Vec<Interned>,
    /// Names of events.
    #[prost(message, repeated, tag = "2")]
    pub event_names: Vec<Interned>,
    /// Names of arguments.
    #[prost(message, repeated, tag = "3")]
    pub debug_annotation_names: Vec<Interned>,
    /// Arguments' strings.
    #[prost(message, repeated, tag = "29")]
    pub debug_annotation_string_values: Vec<Interned>,
}

/// A string and its number. `EventCategory` and `EventName` in `trace/track_event/track_event.proto`,
/// `DebugAnnotationName` in `trace/track_event/debug_annotation.proto` and `InternedString` in
/// `trace/profiling/profile_common.proto` (whose bytes are not said to be UTF-8; these are) are the same on the wire.
#[derive(Clone, PartialEq, Message)]
pub struct Interned {
    /// From 1 on.
    #[prost(uint64, optional, tag = "1")]
    pub iid: Option<u64>,
    /// The string.
    #[prost(string, optional, tag = "2")]
    pub text: Option<String>,
}
