//! What follows a head.
//!
//! Owns the rules of RFC 9112 section 6.3: from a method, a status and header fields to the body behind them. Must not
//! know how heads are gathered, or how a body's bytes are counted.

use httparse::Header;

use super::body::Body;

/// What of a request's method decides how its response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Unseen,
    Head,
    Connect,
    Other,
}

/// What follows a response's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// The response was an interim one (RFC 9110 section 15.2): another head.
    Head,
    /// No body.
    Nothing,
    /// This body.
    Body(Body),
    /// Another protocol.
    Tunnel,
    /// It cannot be told.
    Unknown,
}

impl Follows {
    /// RFC 9112 section 6.3, rules 1 and 2; `Unknown` where the headers decide.
    pub(super) fn of(status: u16, to: Asked) -> Self {
        match (status, to) {
            (101, _) | (200..=299, Asked::Connect) => Self::Tunnel,
            (100..=199, _) => Self::Head,
            (204 | 304, _) | (_, Asked::Head) => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

/// What the headers say of a body (RFC 9112 section 6.3, rules 3 to 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
    /// A transfer coding that does not delimit the body.
    OtherCoding,
    /// Lengths that contradict each other, or are none.
    Conflict,
}

impl Declared {
    pub(super) fn of(headers: &[Header<'_>]) -> Self {
        let coding = values(headers, "transfer-encoding")
            .filter(|coding| !coding.is_empty())
            .last();
        if let Some(coding) = coding {
            // A Content-Length beside it is overridden.
            return if coding.eq_ignore_ascii_case(b"chunked") {
                Self::Chunked
            } else {
                Self::OtherCoding
            };
        }
        let mut declared = Self::Nothing;
        for value in values(headers, "content-length") {
            declared = match (declared, length(value)) {
                (Self::Nothing, Some(n)) => Self::Length(n),
                (Self::Length(m), Some(n)) if m == n => declared,
                _ => return Self::Conflict,
            };
        }
        declared
    }

    pub(super) fn request_body(self) -> Option<Body> {
        match self {
            Self::Nothing => Some(Body::Length(0)),
            Self::Length(n) => Some(Body::Length(n)),
            Self::Chunked => Some(Body::chunked()),
            Self::OtherCoding | Self::Conflict => None,
        }
    }

    pub(super) fn response_body(self) -> Option<Body> {
        match self {
            Self::Nothing | Self::OtherCoding => Some(Body::UntilClose),
            Self::Length(n) => Some(Body::Length(n)),
            Self::Chunked => Some(Body::chunked()),
            Self::Conflict => None,
        }
    }
}

/// All elements of a list header, over all its lines.
fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |h| h.name.eq_ignore_ascii_case(name))
        .flat_map(|h| h.value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().all(u8::is_ascii_digit);
    digits.then(|| str::from_utf8(value).ok()?.parse().ok()).flatten()
}
