//! Does this begin an HTTP/1.x request?
//!
//! Owns the request line's grammar (RFC 9112 section 3), a byte at a time, strict enough that other protocols drop
//! out within their first bytes. Must not know where the bytes come from or what follows the line.

use super::LooksLike;

/// The longest method that is believed.
const METHOD_MAX: u16 = 32;
/// What follows the target's space, up to the minor version.
const VERSION: &[u8] = b"HTTP/1.";
/// The first bytes of an HTTP/2 client's preface, as far as they tell it from a request line.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";
/// The content type of a TLS handshake record, with which a TLS client begins.
const TLS_HANDSHAKE: u8 = 0x16;
/// The content type of a TLS record of data.
const TLS_DATA: u8 = 0x17;
/// The beginning of a TLS record with a byte of data.
pub(super) const TLS_DATA_HEADER: [u8; 5] = [TLS_DATA, 3, 3, 0, 1];

/// How sure it is that a request begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It does not.
    Foreign,
    /// Nothing speaks for it yet.
    Open,
    /// So far it could be one.
    Possible,
    /// A method and the beginning of a target of the usual forms.
    Likely,
    /// The line is whole, and ends in an HTTP/1.x version.
    Sure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Method,
    Target,
    /// So many bytes of [`VERSION`] were there.
    Version(usize),
    Minor,
    Cr,
    Lf,
    Done,
    Record,
    Foreign,
}

/// A request line as it comes in. The bytes themselves are kept by whoever feeds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    at: At,
    method: u16,
    target: u16,
}

impl RequestLine {
    pub(super) const fn new() -> Self {
        Self {
            at: At::Method,
            method: 0,
            target: 0,
        }
    }

    /// Takes the line's next byte; what follows the line is ignored. `false` once this is no request line.
    pub(super) fn step(&mut self, byte: u8) -> bool {
        self.at = match (self.at, byte) {
            (At::Method, b' ') if self.method > 0 => At::Target,
            (At::Method, TLS_HANDSHAKE) if self.method == 0 => At::Record,
            (At::Method, _) if is_tchar(byte) && self.method < METHOD_MAX => {
                self.method += 1;
                At::Method
            }
            (At::Target, b' ') if self.target > 0 => At::Version(0),
            (At::Target, 0x21..=0x7e | 0x80..) => {
                // A line is fed at most as many bytes as a head may have, far below 2^16.
                self.target = self.target.saturating_add(1);
                At::Target
            }
            (At::Version(n), _) if VERSION.get(n) == Some(&byte) => {
                if n + 1 == VERSION.len() {
                    At::Minor
                } else {
                    At::Version(n + 1)
                }
            }
            (At::Minor, b'0' | b'1') => At::Cr,
            (At::Cr, b'\r') => At::Lf,
            // RFC 9112 section 2.2: a recipient may take a bare LF for the line's end.
            (At::Cr | At::Lf, b'\n') | (At::Done, _) => At::Done,
            _ => At::Foreign,
        };
        self.at != At::Foreign
    }

    /// It was seen to its end.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::Done
    }

    pub(super) fn verdict(&self, line: &[u8]) -> Verdict {
        match self.at {
            At::Foreign => Verdict::Foreign,
            At::Record => Verdict::Open,
            At::Method if self.method == 0 => Verdict::Open,
            At::Method => Verdict::Possible,
            At::Done => Verdict::Sure,
            _ if self.has_usual_target(line) => Verdict::Likely,
            _ => Verdict::Possible,
        }
    }

    /// The method, where it was seen to its end.
    pub(super) fn method<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match self.at {
            At::Method | At::Record | At::Foreign => &[],
            _ => line.get(..usize::from(self.method)).unwrap_or_default(),
        }
    }

    /// The target, as far as it was seen.
    pub(super) fn target<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.method) + 1;
        line.get(start..start + usize::from(self.target))
            .unwrap_or_default()
    }

    /// The forms of RFC 9112 section 3.2, as far as their beginnings tell.
    fn has_usual_target(&self, line: &[u8]) -> bool {
        let target = self.target(line);
        let scheme = |s: &[u8]| target.get(..s.len()).is_some_and(|t| t.eq_ignore_ascii_case(s));
        target.first() == Some(&b'/')
            || target == b"*"
            || scheme(b"http://")
            || scheme(b"https://")
            || (self.method(line) == b"CONNECT" && !target.is_empty())
    }
}

/// How sure it is that a request begins with these bytes.
pub(super) fn begins(bytes: &[u8]) -> Verdict {
    let start = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let bytes = bytes.get(start..).unwrap_or_default();
    let mut line = RequestLine::new();
    for &b in bytes {
        if !line.step(b) || line.at == At::Done {
            break;
        }
    }
    line.verdict(bytes)
}

/// What a connection speaks whose first bytes are no request.
pub(super) fn looks_like(bytes: &[u8]) -> LooksLike {
    if bytes.starts_with(&[TLS_HANDSHAKE, 3]) {
        LooksLike::Tls
    } else if bytes.starts_with(HTTP2_PREFACE) {
        LooksLike::Http2
    } else {
        LooksLike::Unknown
    }
}

/// Do these bytes begin a TLS record of data? Its five bytes of header are the same in TLS 1.2 and 1.3
/// (RFC 8446 section 5.2), the length at most 2^14 + 2048 (RFC 5246 section 6.2.3).
pub(super) fn is_tls_data(bytes: &[u8]) -> bool {
    match bytes {
        [TLS_DATA, 3, 3, high, low, ..] => matches!(u16::from_be_bytes([*high, *low]), 1..=18432),
        _ => false,
    }
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_judged_as_it_grows() {
        for (bytes, verdict) in [
            (&b""[..], Verdict::Open),
            (b"G", Verdict::Possible),
            (b"GET", Verdict::Possible),
            (b"GET ", Verdict::Possible),
            (b"GET x", Verdict::Possible),
            (b"GET /", Verdict::Likely),
            (b"GET / HTTP/1.1\r", Verdict::Likely),
            (b"GET / HTTP/1.1\r\n", Verdict::Sure),
            (b"GET / HTTP/1.0\n", Verdict::Sure),
            (b"\r\n\nGET / HTTP/1.0\n", Verdict::Sure),
            (b"PURGE-all! x HTTP/1.1\r\n", Verdict::Sure),
            (b"OPTIONS *", Verdict::Likely),
            (b"GET HTTP://a", Verdict::Likely),
            (b"CONNECT a", Verdict::Likely),
            (b"GET / HTTP/1.2", Verdict::Foreign),
            (b"GET / HTTP/1.1 ", Verdict::Foreign),
            (b"GET /\r\n", Verdict::Foreign),
            (b"GET  /", Verdict::Foreign),
            (b" GET", Verdict::Foreign),
            (b"GET / x", Verdict::Foreign),
            (b"*1\r\n$4\r\nPING\r\n", Verdict::Foreign),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Verdict::Foreign),
            (b"SSH-2.0-OpenSSH_9.9\r\n", Verdict::Foreign),
            (b"{\"a\":1}", Verdict::Foreign),
        ] {
            assert_eq!(begins(bytes), verdict, "{}", bytes.escape_ascii());
        }
        assert_eq!(begins(&[b'A'; 32]), Verdict::Possible);
        assert_eq!(begins(&[b'A'; 33]), Verdict::Foreign);
    }

    #[test]
    fn other_protocols_are_told_apart() {
        assert_eq!(looks_like(&[0x16, 3]), LooksLike::Tls);
        assert_eq!(looks_like(b"PRI * HTTP/2"), LooksLike::Http2);
        assert_eq!(looks_like(b"PRI"), LooksLike::Unknown);
        assert!(is_tls_data(&[0x17, 3, 3, 0, 40, 9]));
        assert!(!is_tls_data(&[0x17, 3, 3, 0, 0]));
        assert!(!is_tls_data(&[0x17, 3, 3, 0xff, 0]));
    }
}
