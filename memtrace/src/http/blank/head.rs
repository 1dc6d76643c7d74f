//! What is kept of a head.
//!
//! Owns which bytes of a head the framing reads (the first line, and the values of three headers) and what the others
//! become: of their class, so that a head is as whole, as valid and as long as it was. Must not know what a head says.
//!
//! The classes are those that httparse tells apart. In a value that is not read they are CR, LF, NUL, other control
//! characters, and the rest; white space counts only at the beginning of a line, where it folds.

use crate::http::request_line::is_tchar;

/// The headers whose values are read, and what of a value is.
const READ: [(&[u8], Value); 3] = [
    (b"content-length", Value::Length),
    (b"transfer-encoding", Value::Coding(0)),
    (b"traceparent", Value::Trace),
];
/// The only coding that is told from others.
const CHUNKED: &[u8] = b"chunked";
/// So long are the version and the status that begin a status line: `is_status_line` has looked at each byte.
const STATUS_END: u8 = 12;

/// What is kept of the value that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Nothing,
    /// Digits, commas, white space.
    Length,
    /// Of each element, what [`CHUNKED`] begins with too: so many bytes of it so far.
    Coding(u8),
    /// Hex digits, dashes, white space.
    Trace,
}

/// Where in a request's target the head is (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Begin,
    Scheme,
    Colon,
    Slash,
    /// Not reported: it may have a user's name and password.
    Authority,
    Path,
    Query,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Method,
    Target(Target),
    Version,
    /// Behind so many bytes of a status line.
    Status(u8),
    Reason,
    Line,
    /// Behind so many bytes of a name, which can be that of the headers of [`READ`] whose bits are set.
    Name {
        len: u8,
        may: u8,
    },
    /// In the white space behind a name.
    NameEnd,
    Value,
    /// In a line that is no header.
    Junk,
}

/// A head as it is blanked.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Head {
    at: At,
    value: Value,
    /// How many bytes there were.
    len: usize,
}

impl Head {
    pub(in crate::http) const fn request() -> Self {
        Self::at(At::Method)
    }

    pub(in crate::http) const fn response() -> Self {
        Self::at(At::Status(0))
    }

    const fn at(at: At) -> Self {
        Self {
            at,
            value: Value::Nothing,
            len: 0,
        }
    }

    /// How many bytes of the head it has had.
    pub(in crate::http) fn len(&self) -> usize {
        self.len
    }

    /// What the head's next byte becomes. The head is none that turned out to be something else.
    pub(in crate::http) fn step(&mut self, byte: u8, keeps_queries: bool) -> u8 {
        self.len += 1;
        let (at, becomes) = match (self.at, byte) {
            (_, b'\n') => (At::Line, byte),
            (At::Method, b' ') => (At::Target(Target::Begin), byte),
            (At::Target(_), b' ') => (At::Version, byte),
            (At::Target(target), _) => {
                let (target, is_kept) = target.step(byte, keeps_queries);
                (At::Target(target), if is_kept { byte } else { b'x' })
            }
            // `RequestLine` has looked at each byte.
            (At::Method | At::Version, _) => (self.at, byte),
            (At::Status(STATUS_END), b' ' | b'\r') => (At::Reason, byte),
            (At::Status(STATUS_END) | At::Reason, _) => (At::Reason, blank(byte)),
            (At::Status(n), _) => (At::Status(n + 1), byte),
            (At::Line, b' ' | b'\t') => {
                if let Value::Coding(matched) = &mut self.value {
                    *matched = 0;
                }
                (At::Value, byte)
            }
            (At::Line, _) if is_tchar(byte) => {
                self.value = Value::Nothing;
                name(0, u8::MAX, byte)
            }
            (At::Name { len, may }, _) if is_tchar(byte) => name(len, may, byte),
            (At::Name { len, may }, b':' | b' ' | b'\t') => {
                self.value = named(len, may);
                (if byte == b':' { At::Value } else { At::NameEnd }, byte)
            }
            (At::NameEnd, b':') => (At::Value, byte),
            (At::NameEnd, b' ' | b'\t') => (At::NameEnd, byte),
            (At::Value, _) => (At::Value, self.value.step(byte)),
            (At::Line | At::Name { .. } | At::NameEnd | At::Junk, _) => {
                self.value = Value::Nothing;
                // With no colon, it is none whatever comes.
                (At::Junk, blank(byte))
            }
        };
        self.at = at;
        becomes
    }
}

impl Target {
    /// Where the target is behind this byte, and whether that is kept.
    fn step(self, byte: u8, keeps_queries: bool) -> (Self, bool) {
        match (self, byte) {
            (Self::Query, _) => (Self::Query, keeps_queries),
            (_, b'?') => (Self::Query, true),
            (Self::Begin, b'A'..=b'Z' | b'a'..=b'z') => (Self::Scheme, true),
            // RFC 3986 section 3.1.
            (Self::Scheme, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.') => {
                (Self::Scheme, true)
            }
            (Self::Scheme, b':') => (Self::Colon, true),
            (Self::Colon, b'/') => (Self::Slash, true),
            (Self::Slash, b'/') => (Self::Authority, true),
            (Self::Authority, b'/') => (Self::Path, true),
            (Self::Authority, _) => (Self::Authority, false),
            _ => (Self::Path, true),
        }
    }
}

impl Value {
    fn step(&mut self, byte: u8) -> u8 {
        let is_kept = match (&mut *self, byte) {
            (Self::Coding(matched), b',' | b' ' | b'\t') => {
                *matched = 0;
                true
            }
            (Self::Length, b',' | b' ' | b'\t' | b'0'..=b'9')
            | (Self::Trace, b'-' | b' ' | b'\t' | b'0'..=b'9' | b'a'..=b'f') => true,
            (Self::Coding(matched), _) => {
                let goes_on = CHUNKED
                    .get(usize::from(*matched))
                    .is_some_and(|b| b.eq_ignore_ascii_case(&byte));
                *matched = if goes_on { *matched + 1 } else { u8::MAX };
                goes_on
            }
            (Self::Nothing | Self::Length | Self::Trace, _) => false,
        };
        if is_kept { byte } else { blank(byte) }
    }
}

/// A name's next byte. It is kept as long as the name can be one of [`READ`]: a line that is no header may begin with
/// anything.
fn name(len: u8, may: u8, byte: u8) -> (At, u8) {
    let goes_on = |name: &[u8]| {
        name.get(usize::from(len))
            .is_some_and(|b| b.eq_ignore_ascii_case(&byte))
    };
    let may = READ
        .iter()
        .enumerate()
        .filter(|(_, (name, _))| goes_on(name))
        .fold(0, |bits, (i, _)| bits | (may & 1 << i));
    let at = At::Name {
        len: len.saturating_add(1),
        may,
    };
    (at, if may == 0 { b'x' } else { byte })
}

/// What is kept of the value behind a name.
fn named(len: u8, may: u8) -> Value {
    READ.iter()
        .enumerate()
        .find(|(i, (name, _))| may & 1 << i != 0 && name.len() == usize::from(len))
        .map_or(Value::Nothing, |(_, &(_, value))| value)
}

/// Another byte that httparse treats alike in a value.
fn blank(byte: u8) -> u8 {
    match byte {
        b'\r' | b'\n' | b'\0' => byte,
        0x01..=0x08 | 0x0b..=0x1f | 0x7f => 0x01,
        _ => b'x',
    }
}
