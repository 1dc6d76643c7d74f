//! The request direction of a connection.
//!
//! Owns where each request begins and ends among the bytes read, and how the place is found again after a hole. Must
//! not know how a response is read: it only asks whether one is open.

use std::mem;

use memtrace_common::decode::Piece;

use super::{Connection, Outbound};
use crate::http::{
    Blanked, HttpEvent, LooksLike, Protocol,
    body::{Body, Fed, Sign, Tail},
    head::{Fill, Gather},
    queue::Slot,
    request_line::{self, Verdict, begins},
};

/// Fewer bytes than `GET / HTTP/1.0` and an empty line cannot hide a request.
const REQUEST_MIN: u64 = 16;

/// Where the request direction is.
#[derive(Clone, Debug)]
pub(super) enum Inbound {
    /// Between requests, or in a head. The slot is there once the request is told of.
    Head {
        head: Gather,
        slot: Option<Slot>,
    },
    Body(Body),
    /// Where the next request begins is not known.
    Lost {
        tail: Tail,
        sign: Sign,
    },
}

impl Inbound {
    pub(super) const fn between() -> Self {
        Self::Head {
            head: Gather::request(),
            slot: None,
        }
    }

    pub(super) fn lost(sign: Sign) -> Self {
        Self::Lost {
            tail: Tail::default(),
            sign,
        }
    }
}

impl Connection {
    /// Finds the way back at the beginning of a read, where it was lost.
    pub(super) fn begin_read(
        &mut self,
        piece: Piece<'_>,
        turned: bool,
        blanked: Option<&mut Blanked>,
        out: &mut Vec<HttpEvent>,
    ) {
        // A client that goes on after a response whose end could not be counted takes it for over.
        let response_lost = turned && matches!(self.outbound, Outbound::Lost { .. });
        match &self.inbound {
            Inbound::Head { head, .. } if head.is_empty() && response_lost => self.end_all(true, out),
            Inbound::Lost { .. } => {
                let Piece::Seen(bytes) = piece else { return };
                let idle = self.is_idle();
                let enough = match begins(bytes) {
                    Verdict::Sure | Verdict::Likely => idle || response_lost,
                    // A read may bring a single byte, but not just any byte in the midst of a stream is a beginning.
                    Verdict::Possible => idle && turned,
                    Verdict::Open | Verdict::Foreign => false,
                };
                if enough {
                    self.end_all(true, out);
                    self.inbound = Inbound::between();
                } else if self.protocol == Protocol::Undecided && request_line::is_tls_data(bytes) {
                    self.not_http(LooksLike::Tls, out);
                    if let Some(blanked) = blanked {
                        blanked.tls_data();
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn read_piece<'a>(
        &mut self,
        piece: Piece<'a>,
        blanked: Option<&mut Blanked>,
        out: &mut Vec<HttpEvent>,
    ) -> Option<Piece<'a>> {
        match &mut self.inbound {
            Inbound::Head { head, slot } => match piece {
                Piece::Seen(bytes) => {
                    let (taken, fill) = head.push_into(bytes, blanked);
                    match fill {
                        Fill::More => {}
                        Fill::Whole => self.request_whole(out),
                        Fill::Full => self.request_cut(out),
                        Fill::Foreign => self.request_foreign(out),
                    }
                    bytes.get(taken..).filter(|b| !b.is_empty()).map(Piece::Seen)
                }
                Piece::Unseen(n) if head.is_empty() && slot.is_none() && n < REQUEST_MIN => {
                    self.inbound = Inbound::lost(Sign::Nothing);
                    None
                }
                Piece::Unseen(_) => {
                    self.request_cut(out);
                    None
                }
            },
            Inbound::Body(body) => match body.feed_into(piece, blanked) {
                Fed::All => None,
                Fed::Over(rest) => {
                    self.inbound = Inbound::between();
                    rest
                }
                Fed::Lost(rest, sign) => {
                    self.inbound = Inbound::lost(sign);
                    rest
                }
            },
            Inbound::Lost { tail, sign } => {
                tail.push_into(piece, *sign, blanked);
                None
            }
        }
    }

    pub(super) fn end_read(&mut self, out: &mut Vec<HttpEvent>) {
        match &self.inbound {
            Inbound::Head { head, slot: None } if head.verdict() >= Verdict::Possible => {
                self.start(out);
            }
            Inbound::Lost { tail, sign } if tail.is(*sign) => self.inbound = Inbound::between(),
            _ => {}
        }
    }

    /// Begins the exchange of the head that is being read, where it has not begun.
    fn start(&mut self, out: &mut Vec<HttpEvent>) -> Slot {
        if let Inbound::Head { slot: Some(slot), .. } = &self.inbound {
            return *slot;
        }
        let started = self.queue.begin(out);
        if let Inbound::Head { slot, .. } = &mut self.inbound {
            *slot = Some(started);
        }
        started
    }

    fn request_whole(&mut self, out: &mut Vec<HttpEvent>) {
        let slot = self.start(out);
        let Inbound::Head { head, .. } = mem::replace(&mut self.inbound, Inbound::between()) else {
            return;
        };
        let mut head = head.as_request(true);
        let body = head.body.take();
        self.protocol = Protocol::Http;
        self.queue.tell(slot, head, out);
        self.inbound = match body {
            Some(body) if body.is_over() => Inbound::between(),
            Some(body) => Inbound::Body(body),
            None => Inbound::lost(Sign::Nothing),
        };
    }

    /// The rest of the head will not be seen, or none of it was.
    fn request_cut(&mut self, out: &mut Vec<HttpEvent>) {
        let slot = self.start(out);
        let lost = Inbound::lost(Sign::Nothing);
        let Inbound::Head { head, .. } = mem::replace(&mut self.inbound, lost) else {
            return;
        };
        if head.verdict() >= Verdict::Likely {
            self.protocol = Protocol::Http;
        }
        // Otherwise the response will say whether it was HTTP.
        if self.protocol == Protocol::Http {
            self.queue.tell(slot, head.as_request(false), out);
        }
    }

    fn request_foreign(&mut self, out: &mut Vec<HttpEvent>) {
        let lost = Inbound::lost(Sign::Nothing);
        let Inbound::Head { head, slot } = mem::replace(&mut self.inbound, lost) else {
            return;
        };
        if let Some(slot) = slot {
            self.withdraw(slot, out);
        }
        self.deny(request_line::looks_like(head.bytes()), out);
    }
}
