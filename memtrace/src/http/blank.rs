//! Payload that may be kept: the captured bytes, blanked.
//!
//! Owns what a captured byte becomes, by what the framing took it for: itself, or another that the framing cannot tell
//! from it. So the blanked bytes give the events that the captured ones gave. docs/PRIVACY.md has the rules. Must not
//! know connections, or who keeps the bytes.
//!
//! - `head`: heads, a byte at a time

mod head;

pub(super) use head::Head;

use super::{
    body::{Chunked, Sign, TAIL_MAX},
    request_line::TLS_DATA_HEADER,
};

/// The captured bytes of one call, as they may be kept. What the framing looks at is put in; all else is zero.
#[derive(Clone, Debug)]
pub struct Blanked {
    bytes: Vec<u8>,
    /// Where the bytes begin that the framing looks at next.
    at: usize,
    keeps_queries: bool,
}

impl Blanked {
    /// Of no call yet. Query strings read as x's unless they are kept.
    pub fn new(keeps_queries: bool) -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            keeps_queries,
        }
    }

    /// Begins with a call of which `len` bytes were captured.
    pub fn begin(&mut self, len: usize) {
        self.bytes.clear();
        self.bytes.resize(len, 0);
        self.at = 0;
    }

    /// The next captured bytes are these, and they are kept as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.put_each(bytes.iter().copied());
    }

    /// As many as were captured, in stream order.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn keeps_queries(&self) -> bool {
        self.keeps_queries
    }

    /// So many bytes are dealt with.
    pub(super) fn advance(&mut self, n: usize) {
        self.at += n;
    }

    /// What the next bytes are; those behind them stay zero.
    pub(super) fn put_each(&mut self, bytes: impl IntoIterator<Item = u8>) {
        let free = self.bytes.get_mut(self.at..).unwrap_or_default();
        for (slot, byte) in free.iter_mut().zip(bytes) {
            *slot = byte;
        }
    }

    /// Bytes of a chunked body that was there before them; where the body ends or is lost, so do they.
    ///
    /// Sizes and line ends are kept, data is zero.
    pub(super) fn chunks(&mut self, mut body: Chunked, bytes: &[u8]) {
        self.put_each(bytes.iter().map_while(|&byte| {
            let (next, becomes) = match body {
                Chunked::Data(0 | 1) => (Chunked::DataEnd, 0),
                Chunked::Data(left) => (Chunked::Data(left - 1), 0),
                Chunked::AfterSize(_) | Chunked::Trailer | Chunked::TrailerLine
                    if !matches!(byte, b'\r' | b'\n') =>
                {
                    (body.step(byte)?, b'x')
                }
                _ => (body.step(byte)?, byte),
            };
            body = next;
            Some(becomes)
        }));
    }

    /// Bytes of a stream whose place was lost, and whose end looks like this.
    ///
    /// No request began with them where one was looked for, and none begins with zeros. Of the last bytes, those stay
    /// that an end is made of.
    pub(super) fn lost(&mut self, bytes: &[u8], sign: Sign) {
        let first = bytes.len().saturating_sub(TAIL_MAX);
        self.put_each(bytes.iter().enumerate().map(|(at, &byte)| match (sign, byte) {
            _ if at < first => 0,
            (Sign::LastChunk, b'\r' | b'\n' | b'0') | (Sign::EmptyLine, b'\r' | b'\n') => byte,
            _ => 0,
        }));
    }

    /// The beginning of a TLS record of data.
    pub(super) fn tls_data(&mut self) {
        self.put(&TLS_DATA_HEADER);
    }
}
