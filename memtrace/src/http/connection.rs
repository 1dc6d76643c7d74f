//! One connection: its two directions, paired.
//!
//! Owns which bytes belong to which exchange, from the first byte of a request read to the last of its response
//! written, and how to find the way back after a hole. Must not know how heads and bodies are framed, nor who reads
//! and writes.
//!
//! - `inbound`: the request direction
//! - `outbound`: the response direction

mod inbound;
mod outbound;

use std::mem;

use memtrace_common::decode::Piece;

use self::{inbound::Inbound, outbound::Outbound};
use super::{
    Blanked, Exchange, HttpEvent, LooksLike, Protocol, Shut,
    body::{Body, Sign},
    head::{Gather, RequestHead},
    queue::{Queue, Slot},
    request_line::Verdict,
};

/// Turns what is read from and written to one inbound connection into events.
///
/// Holds at most 8 KiB in each direction, and only while a head is open.
#[derive(Clone, Debug)]
pub struct Connection {
    protocol: Protocol,
    /// There is no more to say: not HTTP (any more), or shut.
    done: bool,
    /// The connection was seen from its first byte, and nothing of it was lost since.
    from_start: bool,
    inbound: Inbound,
    outbound: Outbound,
    queue: Queue,
    /// Something was written since the last read.
    turned: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Self::new()
    }
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new() -> Self {
        Self {
            protocol: Protocol::Undecided,
            done: false,
            from_start: true,
            inbound: Inbound::between(),
            outbound: Outbound::between(),
            queue: Queue::default(),
            turned: false,
        }
    }

    /// A connection of which some bytes went unseen, nobody knows how many: it was open before tracing began.
    ///
    /// The first read that begins like a request begins the first exchange; writes before that are ignored.
    pub fn mid_stream() -> Self {
        Self {
            from_start: false,
            inbound: Inbound::lost(Sign::Nothing),
            // A connection that is found open is most often idle, so that what comes first is a beginning. Bytes
            // that turn out to be none are withdrawn.
            turned: true,
            ..Self::new()
        }
    }

    /// The server read these bytes, with one call. What of them may be kept goes to `blanked`, if anybody asks.
    #[expect(single_use_lifetimes, reason = "inside `impl Trait` it cannot be elided yet")]
    pub fn read<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = Piece<'a>>,
        mut blanked: Option<&mut Blanked>,
        out: &mut Vec<HttpEvent>,
    ) {
        let mut at_start = true;
        for piece in pieces.into_iter().filter(|&p| !is_empty(p)) {
            if self.done {
                return;
            }
            if mem::take(&mut at_start) {
                let turned = mem::take(&mut self.turned);
                self.begin_read(piece, turned, blanked.as_deref_mut(), out);
            }
            let mut rest = Some(piece);
            while let Some(piece) = rest.filter(|_| !self.done) {
                rest = self.read_piece(piece, blanked.as_deref_mut(), out);
                passed(piece, rest, blanked.as_deref_mut());
            }
        }
        if !self.done && !at_start {
            self.end_read(out);
        }
    }

    /// The server wrote these bytes, with one call. What of them may be kept goes to `blanked`, if anybody asks.
    #[expect(single_use_lifetimes, reason = "inside `impl Trait` it cannot be elided yet")]
    pub fn write<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = Piece<'a>>,
        mut blanked: Option<&mut Blanked>,
        out: &mut Vec<HttpEvent>,
    ) {
        for piece in pieces.into_iter().filter(|&p| !is_empty(p)) {
            if self.done {
                return;
            }
            self.turned = true;
            let mut rest = Some(piece);
            while let Some(piece) = rest.filter(|_| !self.done) {
                rest = self.write_piece(piece, blanked.as_deref_mut(), out);
                passed(piece, rest, blanked.as_deref_mut());
            }
        }
        // Behind a lost place, another response can have begun and ended; then this end may not be the oldest's.
        if let Outbound::Lost { tail, sign, .. } = &self.outbound
            && tail.is(*sign)
            && self.queue.waiting() == 1
        {
            self.end_response(true, true, out);
        }
    }

    /// A read of the server returned 0: the client sends no more. The response may still follow, so this ends no
    /// exchange; only a head that is not whole will never be.
    pub fn read_eof(&mut self, out: &mut Vec<HttpEvent>) {
        if let Inbound::Head { head, slot } = &self.inbound
            && let Some(slot) = *slot
        {
            if head.verdict() >= Verdict::Likely {
                let head = head.as_request(false);
                self.queue.tell(slot, head, out);
            } else {
                self.withdraw(slot, out);
                self.inbound = Inbound::between();
            }
        }
    }

    /// The connection is over: ends what is open. All that comes later is ignored.
    pub fn shut(&mut self, how: Shut, out: &mut Vec<HttpEvent>) {
        let by_close = matches!(self.outbound, Outbound::Body(Body::UntilClose)) && how == Shut::Closed;
        if by_close {
            self.end_response(true, false, out);
        }
        self.end_all(false, out);
        self.stop();
    }

    /// Some bytes of this connection were lost, nobody knows how many: ends what is open as not complete, and waits
    /// for the next request as [`Connection::mid_stream`] does.
    pub fn lose_place(&mut self, out: &mut Vec<HttpEvent>) {
        if self.done {
            return;
        }
        self.end_all(false, out);
        self.from_start = false;
        self.inbound = Inbound::lost(Sign::Nothing);
        self.turned = false;
    }

    /// The oldest exchange that has begun and not ended: what a thread that touches this connection works for.
    pub fn serving(&self) -> Option<Exchange> {
        self.queue.oldest()
    }

    /// How many listed exchanges have begun and not ended.
    pub fn open_exchanges(&self) -> usize {
        self.queue.listed()
    }

    /// What it speaks, as far as that is known.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// It speaks HTTP/1.x now.
    pub fn is_http(&self) -> bool {
        self.protocol == Protocol::Http
    }

    /// Requests that were not told of, because [`QUEUE_MAX`] others were open.
    pub fn unlisted(&self) -> u64 {
        self.queue.unlisted()
    }

    // Exchanges.

    fn is_idle(&self) -> bool {
        self.queue.waiting() == 0
    }

    /// Tells of the oldest exchange's head what is known by now.
    fn tell_oldest(&mut self, out: &mut Vec<HttpEvent>) {
        let Some(exchange) = self.queue.oldest() else {
            return;
        };
        let head = match self.head_of(exchange) {
            Some(head) => head.as_request(false),
            None => RequestHead::unseen(),
        };
        self.queue.tell(Slot::Listed(exchange), head, out);
    }

    /// The head of this exchange, where it is being read.
    fn head_of(&self, exchange: Exchange) -> Option<&Gather> {
        match &self.inbound {
            Inbound::Head { head, slot } if *slot == Some(Slot::Listed(exchange)) => Some(head),
            _ => None,
        }
    }

    /// Takes back the exchange of the head that was being read.
    fn withdraw(&mut self, slot: Slot, out: &mut Vec<HttpEvent>) {
        self.queue.withdraw(slot, out);
        if self.is_idle() {
            self.outbound = Outbound::between();
        }
    }

    /// Ends the oldest exchange.
    fn end_response(&mut self, complete: bool, inferred: bool, out: &mut Vec<HttpEvent>) {
        self.outbound = Outbound::between();
        if let Some(exchange) = self.queue.oldest() {
            // What was begun on a byte or on a hole, and never answered, may have been no request.
            let believed = match self.head_of(exchange) {
                Some(head) => head.verdict() >= Verdict::Likely,
                None => self.protocol == Protocol::Http,
            };
            if believed {
                self.tell_oldest(out);
            }
        }
        self.queue.end(complete, inferred, out);
    }

    /// Ends all open exchanges without their responses.
    fn end_all(&mut self, inferred: bool, out: &mut Vec<HttpEvent>) {
        while self.queue.oldest().is_some() {
            self.end_response(false, inferred, out);
        }
        self.queue.end_unlisted();
        self.outbound = Outbound::between();
    }

    // The protocol.

    /// The bytes are not what was expected: on a new connection, it is no HTTP; otherwise the place is lost.
    fn deny(&mut self, looks_like: LooksLike, out: &mut Vec<HttpEvent>) {
        if self.protocol == Protocol::Undecided && self.from_start {
            self.not_http(looks_like, out);
        }
    }

    fn not_http(&mut self, looks_like: LooksLike, out: &mut Vec<HttpEvent>) {
        self.end_all(false, out);
        self.protocol = Protocol::NotHttp(looks_like);
        out.push(HttpEvent::NotHttp { looks_like });
        self.stop();
    }

    fn stop(&mut self) {
        self.done = true;
        self.inbound = Inbound::between();
        self.outbound = Outbound::between();
    }
}

/// Of the piece, this is left.
fn passed(piece: Piece<'_>, rest: Option<Piece<'_>>, blanked: Option<&mut Blanked>) {
    let seen = |piece| match piece {
        Piece::Seen(bytes) => bytes.len(),
        Piece::Unseen(_) => 0,
    };
    if let Some(blanked) = blanked {
        blanked.advance(seen(piece).saturating_sub(rest.map_or(0, seen)));
    }
}

fn is_empty(piece: Piece<'_>) -> bool {
    matches!(piece, Piece::Seen(&[]) | Piece::Unseen(0))
}
