//! Recordings: every event of a run as bytes, and back.
//!
//! Owns the format, which docs/RECORDING.md describes. Must not know files, what events mean, or what is made of them:
//! bytes come from a [`std::io::Read`] and go where the caller writes them. No byte of a recording makes this panic.
//!
//! - `preamble`: what the recording is of, and how its tables are laid out
//! - `layout`: the tables of this version
//! - `column`: one column of one block
//! - `rows`: events into rows of tables, and back
//! - `block`: a stretch of events: columns, compressed, with a checksum
//! - `write`, `read`: a recording from its first byte to its last
//! - `migrate`: how older versions differ

mod block;
mod column;
mod layout;
mod migrate;
mod preamble;
pub mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

pub use block::Filled;
pub use preamble::{Asked, Clocks, End, Origin, Preamble, Program};
pub use write::Recorder;

/// The version that is written. Older ones are read, see `migrate`; newer ones are refused.
pub const VERSION: u32 = 3;

/// What a recording begins with.
pub const MAGIC: [u8; 8] = *b"memtrace";
