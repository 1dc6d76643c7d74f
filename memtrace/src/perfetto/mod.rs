//! Perfetto traces: from tracks, slices, instants and counters to the bytes of a `.pftrace` file.
//!
//! Owns the format, and nothing of what is put into it: must not know memtrace's events. Pure: what goes in comes out,
//! the same calls give the same bytes, and memory is bounded however long a run is.
//!
//! Native protobuf, the messages of [`proto`] alone. Two packet sequences: one describes tracks, the other carries
//! events and the strings that they refer to by number. Both are put together in batches that are sorted and deflated
//! ([`Writer`] says what that is good for).

mod batch;
mod event;
mod intern;
mod packet;
pub mod proto;
mod track;
mod wire;
mod writer;

pub use event::{Arg, Event, FlowId, Value};
pub use intern::STRING_BYTES;
pub use track::{Merge, Order, Track, TrackId, Unit};
pub use writer::{BATCH_BYTES, Clocks, INTERNED_BYTES, Writer};
