//! HTTP/1.0 and 1.1 framing: the bytes of a connection, both directions, into exchanges.
//!
//! Owns where a request begins, what it asks for, and where its response ends (RFC 9112), for a byte stream that
//! has holes: the kernel side captures the first 8 KiB after each turn of the stream and only the edges of what
//! follows. Must not know descriptors, threads, time, or what a request costs: whoever feeds the bytes stamps the
//! events.
//!
//! - `request_line`: does this begin a request?
//! - `head`: heads, gathered over reads and parsed
//! - `traceparent`: the one header whose value is kept
//! - `framing`: which body a head announces
//! - `body`: bodies, over pieces with holes
//! - `queue`: the exchanges that are open
//! - `blank`: what of the bytes may be kept
//! - `connection`: the two directions, paired

mod blank;
mod body;
mod connection;
mod framing;
mod head;
mod queue;
mod request_line;
mod traceparent;

#[cfg(test)]
mod tests;

pub use blank::Blanked;
pub use connection::Connection;
pub use queue::QUEUE_MAX;

/// A request and its response, counted from 0 within one connection in the order in which requests began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Exchange(pub u64);

/// What happened on a connection.
///
/// The events of one exchange come in this order: `RequestStarted`, `RequestHead`, perhaps `ResponseStatus`, and once
/// `ResponseEnded`; or else `RequestStarted` and `RequestWithdrawn`, and nothing more of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpEvent {
    /// The first byte of a new request was read.
    RequestStarted {
        /// The new exchange.
        exchange: Exchange,
    },
    /// What began was no request after all, or ended before anything told that it was one: forget the exchange.
    RequestWithdrawn {
        /// The exchange that never was.
        exchange: Exchange,
    },
    /// The request's head is as known as it will be.
    RequestHead {
        /// Whose.
        exchange: Exchange,
        /// `GET`, `POST`, …; empty where it was never seen.
        method: String,
        /// The request target as sent, query included; bytes that are no UTF-8 are replaced. Empty where it was
        /// never seen, cut where it runs past what was captured.
        target: String,
        /// The trace id of a valid W3C `traceparent`.
        trace_id: Option<String>,
        /// The head was not seen whole, or could not be parsed: over 8 KiB, a hole, answered or given up before its
        /// end. Where its body ends is then not known.
        head_truncated: bool,
    },
    /// The status of the final response; interim ones (1xx other than 101) are passed over.
    ResponseStatus {
        /// Whose.
        exchange: Exchange,
        /// 101, or 200 to 999.
        status: u16,
    },
    /// The response is over.
    ResponseEnded {
        /// Whose.
        exchange: Exchange,
        /// It was seen to its end. `false`: client or server closed early, the connection was cut, or its framing
        /// was lost.
        complete: bool,
        /// The end was not counted but recognised: by the last bytes of a chunked body, or of a head without
        /// one, behind a hole (`complete`); or by the next request (not `complete`).
        inferred: bool,
    },
    /// The connection's first bytes are no HTTP/1.x; it says nothing more.
    NotHttp {
        /// What they look like.
        looks_like: LooksLike,
    },
}

/// What a connection speaks that is not HTTP/1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LooksLike {
    /// TLS records (RFC 8446 section 5.1).
    Tls,
    /// HTTP/2 with prior knowledge (RFC 9113 section 3.4).
    Http2,
    /// Anything else.
    Unknown,
}

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Not enough was seen to say.
    Undecided,
    /// HTTP/1.0 or 1.1.
    Http,
    /// HTTP/1.1 until a 101, or a 2xx to CONNECT, made it something else.
    Upgraded,
    /// It never was HTTP/1.x.
    NotHttp(LooksLike),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shut {
    /// The server closed it. That is how a response with neither length nor chunks ends (RFC 9112 section 6.3).
    Closed,
    /// It was cut: reset, or the process died.
    Cut,
}
