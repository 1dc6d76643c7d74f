//! The response direction of a connection.
//!
//! Owns where each response begins and ends among the bytes written, and what its head says. Must not know how the next
//! request is found.

use std::mem;

use memtrace_common::decode::Piece;

use super::{Connection, Inbound};
use crate::http::{
    Blanked, HttpEvent, LooksLike, Protocol,
    body::{Body, Fed, Sign, Tail},
    framing::Follows,
    head::{Fill, Gather},
};

/// Where the response direction is. It is always about the oldest open exchange.
#[derive(Clone, Debug)]
pub(super) enum Outbound {
    /// Before a response, or in its head.
    Head(Gather),
    Body(Body),
    /// Where this response ends cannot be counted.
    Lost {
        tail: Tail,
        sign: Sign,
    },
}

impl Outbound {
    pub(super) const fn between() -> Self {
        Self::Head(Gather::response())
    }

    pub(super) fn lost(sign: Sign) -> Self {
        Self::Lost {
            tail: Tail::default(),
            sign,
        }
    }
}

impl Connection {
    pub(super) fn write_piece<'a>(
        &mut self,
        piece: Piece<'a>,
        blanked: Option<&mut Blanked>,
        out: &mut Vec<HttpEvent>,
    ) -> Option<Piece<'a>> {
        if self.is_idle() {
            // Nobody asked: what is left of a response from before, or garbage.
            return None;
        }
        match &mut self.outbound {
            Outbound::Head(head) => match piece {
                Piece::Seen(bytes) => {
                    let (taken, fill) = head.push_into(bytes, blanked);
                    match fill {
                        Fill::More => {}
                        Fill::Whole => self.response_head(true, out),
                        Fill::Full => self.response_head(false, out),
                        Fill::Foreign => self.response_foreign(out),
                    }
                    bytes.get(taken..).filter(|b| !b.is_empty()).map(Piece::Seen)
                }
                Piece::Unseen(_) => {
                    self.response_head(false, out);
                    Some(piece)
                }
            },
            Outbound::Body(body) => match body.feed_into(piece, blanked) {
                Fed::All => None,
                Fed::Over(rest) => {
                    self.end_response(true, false, out);
                    rest
                }
                Fed::Lost(rest, sign) => {
                    self.outbound = Outbound::lost(sign);
                    rest
                }
            },
            Outbound::Lost { tail, sign } => {
                tail.push_into(piece, *sign, blanked);
                None
            }
        }
    }

    fn response_head(&mut self, whole: bool, out: &mut Vec<HttpEvent>) {
        let Outbound::Head(head) = mem::replace(&mut self.outbound, Outbound::between()) else {
            return;
        };
        if head.status().is_some() {
            self.protocol = Protocol::Http;
            self.tell_oldest(out);
        }
        let Some(response) = head.as_response(whole, self.queue.asked()) else {
            self.outbound = Outbound::lost(Sign::LastChunk);
            return;
        };
        if let Some(exchange) = self.queue.oldest()
            && response.follows != Follows::Head
        {
            out.push(HttpEvent::ResponseStatus {
                exchange,
                status: response.status,
            });
        }
        self.outbound = match response.follows {
            Follows::Tunnel => {
                self.end_response(true, false, out);
                self.protocol = Protocol::Upgraded;
                self.end_all(false, out);
                self.stop();
                return;
            }
            Follows::Head if whole => return,
            Follows::Nothing if whole => {
                self.end_response(true, false, out);
                return;
            }
            Follows::Body(body) if body.is_over() => {
                self.end_response(true, false, out);
                return;
            }
            Follows::Body(body) => Outbound::Body(body),
            Follows::Nothing => Outbound::Lost {
                tail: tail_of(head.bytes()),
                sign: Sign::EmptyLine,
            },
            Follows::Unknown | Follows::Head => Outbound::lost(Sign::LastChunk),
        };
    }

    fn response_foreign(&mut self, out: &mut Vec<HttpEvent>) {
        self.outbound = Outbound::lost(Sign::Nothing);
        if self.protocol == Protocol::Undecided {
            // Whatever its beginning looked like.
            self.inbound = Inbound::lost(Sign::Nothing);
            self.end_all(false, out);
            self.deny(LooksLike::Unknown, out);
        }
    }
}

fn tail_of(bytes: &[u8]) -> Tail {
    let mut tail = Tail::default();
    tail.push(Piece::Seen(bytes));
    tail
}
