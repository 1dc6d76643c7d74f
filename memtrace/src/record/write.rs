//! A recording, from its first byte to its last.
//!
//! Owns when a block is full. Must not know where the bytes go.

use super::{
    block::{About, FAMILIES, Filled, Holds},
    preamble::{End, Preamble},
    rows::Rows,
};
use crate::event::Event;

/// A block is closed when its columns have about so many bytes.
const FULL: usize = 1 << 20;

/// Takes the events of a run and gives blocks.
#[derive(Debug)]
pub struct Recorder {
    rows: Rows,
    number: u64,
    before: [u64; FAMILIES],
    last_ns: u64,
}

impl Recorder {
    /// A recording that begins, with the bytes that it begins with.
    pub fn begin(preamble: &Preamble) -> (Self, Vec<u8>) {
        let recorder = Self {
            rows: Rows::new(),
            number: 0,
            before: [0; FAMILIES],
            last_ns: preamble.began().0,
        };
        (recorder, preamble.bytes())
    }

    /// The next event. Returns a block where one is full.
    pub fn push(&mut self, event: &Event<'_>) -> Option<Filled> {
        self.rows.push(event);
        (self.rows.size >= FULL).then(|| self.cut()).flatten()
    }

    /// Closes the block that is being filled, if there is anything in it: so much can be lost at most, if the rest is
    /// never written.
    pub fn cut(&mut self) -> Option<Filled> {
        if self.rows.events == 0 {
            return None;
        }
        let rows = std::mem::replace(&mut self.rows, Rows::new());
        let about = About {
            events: rows.events,
            first_ns: rows.first_ns.unwrap_or(self.last_ns),
            last_ns: rows.last_ns.max(self.last_ns),
            within: rows.families,
            ..self.about(Holds::Events)
        };
        self.number += 1;
        self.last_ns = about.last_ns;
        for (before, within) in self.before.iter_mut().zip(about.within) {
            *before += within;
        }
        Some(Filled {
            about,
            raw: rows.bytes(),
        })
    }

    /// The run is over: its last blocks.
    pub fn end(mut self, end: &End) -> impl Iterator<Item = Filled> {
        let events = self.cut();
        // Numbers: nothing that JSON could not hold.
        let raw = serde_json::to_vec(end).unwrap_or_default();
        let about = self.about(Holds::End);
        events.into_iter().chain([Filled { about, raw }])
    }

    fn about(&self, holds: Holds) -> About {
        About {
            holds,
            number: self.number,
            events: 0,
            first_ns: self.last_ns,
            last_ns: self.last_ns,
            before: self.before,
            within: [0; FAMILIES],
        }
    }
}
