//! The exchanges of one connection that have begun and not ended.
//!
//! Owns their numbers, their order, their bound, and that each is told of at most once. Must not know bytes.

use std::collections::VecDeque;

use super::{Exchange, HttpEvent, framing::Asked, head::RequestHead};

/// How many exchanges of one connection can be open at a time. Further pipelined requests are framed and paired, but
/// not told of; [`Connection::unlisted`](super::Connection::unlisted) counts them. The captured 8 KiB of a turn hold
/// at most 455 requests.
pub const QUEUE_MAX: usize = 512;

#[derive(Clone, Debug)]
struct Open {
    exchange: Exchange,
    asked: Asked,
    /// Its `RequestHead` is out.
    told: bool,
}

/// Which exchange a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Listed(Exchange),
    Unlisted,
}

/// Oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    open: VecDeque<Open>,
    /// Open too, behind all of `open`.
    unlisted_open: u64,
    unlisted: u64,
    next: u64,
}

impl Queue {
    /// How many requests have no response yet, or not the whole of it.
    pub(super) fn waiting(&self) -> u64 {
        self.unlisted_open.saturating_add(self.open.len() as u64)
    }

    pub(super) fn listed(&self) -> usize {
        self.open.len()
    }

    /// How many were not listed, over all the connection's time.
    pub(super) fn unlisted(&self) -> u64 {
        self.unlisted
    }

    pub(super) fn oldest(&self) -> Option<Exchange> {
        self.open.front().map(|open| open.exchange)
    }

    /// What decides how the next response is framed.
    pub(super) fn asked(&self) -> Asked {
        self.open.front().map_or(Asked::Other, |open| open.asked)
    }

    pub(super) fn begin(&mut self, out: &mut Vec<HttpEvent>) -> Slot {
        // Behind an unlisted one all are unlisted, or responses would be paired wrongly.
        if self.unlisted_open > 0 || self.open.len() >= QUEUE_MAX {
            self.unlisted_open += 1;
            self.unlisted += 1;
            return Slot::Unlisted;
        }
        let exchange = Exchange(self.next);
        self.next += 1;
        self.open.push_back(Open {
            exchange,
            asked: Asked::Unseen,
            told: false,
        });
        out.push(HttpEvent::RequestStarted { exchange });
        Slot::Listed(exchange)
    }

    /// Tells of a request's head, once.
    pub(super) fn tell(&mut self, slot: Slot, head: RequestHead, out: &mut Vec<HttpEvent>) {
        let Slot::Listed(exchange) = slot else { return };
        // Newest first: it is nearly always that one.
        let open = self.open.iter_mut().rev().find(|open| open.exchange == exchange);
        if let Some(open) = open.filter(|open| !open.told) {
            open.told = true;
            open.asked = head.asked();
            out.push(HttpEvent::RequestHead {
                exchange,
                method: head.method,
                target: head.target,
                trace_id: head.trace_id,
                head_truncated: head.truncated,
            });
        }
    }

    /// Takes back the newest exchange, unless its head is out.
    pub(super) fn withdraw(&mut self, slot: Slot, out: &mut Vec<HttpEvent>) {
        match slot {
            Slot::Unlisted => {
                self.unlisted_open = self.unlisted_open.saturating_sub(1);
                self.unlisted = self.unlisted.saturating_sub(1);
            }
            Slot::Listed(exchange) => {
                if self
                    .open
                    .pop_back_if(|open| open.exchange == exchange && !open.told)
                    .is_some()
                {
                    out.push(HttpEvent::RequestWithdrawn { exchange });
                }
            }
        }
    }

    /// Ends the oldest exchange; one that was never told of is taken back.
    pub(super) fn end(&mut self, complete: bool, inferred: bool, out: &mut Vec<HttpEvent>) {
        match self.open.pop_front() {
            None => self.unlisted_open = self.unlisted_open.saturating_sub(1),
            Some(Open {
                exchange,
                told: false,
                ..
            }) => out.push(HttpEvent::RequestWithdrawn { exchange }),
            Some(Open { exchange, .. }) => out.push(HttpEvent::ResponseEnded {
                exchange,
                complete,
                inferred,
            }),
        }
    }

    /// Forgets the unlisted ones that are open, once all others have ended.
    pub(super) fn end_unlisted(&mut self) {
        self.unlisted_open = 0;
    }
}
