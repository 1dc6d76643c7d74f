//! Message bodies over a byte stream with holes.
//!
//! Owns how long a body is (RFC 9112 sections 6 and 7), and how the end of one is recognised whose framing was lost.
//! Keeps no body bytes but the last seven. Must not know heads or which direction it frames.

use memtrace_common::decode::Piece;

use super::Blanked;

/// A body that is being read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All that comes before the connection closes.
    UntilClose,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed<'a> {
    /// All of it is body, and more is to come.
    All,
    /// The body is over; the rest is not part of it.
    Over(Option<Piece<'a>>),
    /// Where the body ends can no longer be counted; its end, or what follows it, is somewhere in the rest or later,
    /// and looks like this.
    Lost(Option<Piece<'a>>, Sign),
}

impl Body {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Size { value: 0, digits: 0 })
    }

    /// No byte of it is to come.
    pub(super) fn is_over(&self) -> bool {
        *self == Self::Length(0)
    }

    /// Takes a piece; what of it is body goes to `blanked` too.
    pub(super) fn feed_into<'a>(&mut self, piece: Piece<'a>, blanked: Option<&mut Blanked>) -> Fed<'a> {
        if let (Self::Chunked(chunked), Some(blanked), Piece::Seen(bytes)) = (&*self, blanked, piece) {
            blanked.chunks(chunked.clone(), bytes);
        }
        self.feed(piece)
    }

    fn feed<'a>(&mut self, piece: Piece<'a>) -> Fed<'a> {
        match self {
            Self::UntilClose => Fed::All,
            Self::Length(left) => {
                let rest = skip(piece, left);
                if *left == 0 { Fed::Over(rest) } else { Fed::All }
            }
            Self::Chunked(chunked) => chunked.feed(piece),
        }
    }
}

/// Where in a chunked body (RFC 9112 section 7.1) the stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// In the size, or at its beginning.
    Size { value: u64, digits: u8 },
    /// Behind the size: white space, extensions, the line's end.
    AfterSize(u64),
    /// In the data, with so many bytes to come.
    Data(u64),
    /// Behind the data: CR LF.
    DataEnd,
    /// Behind the CR of that.
    DataLf,
    /// At the beginning of a trailer line.
    Trailer,
    /// In a trailer line.
    TrailerLine,
    /// Behind a CR where a trailer line could begin.
    LastLf,
    /// Behind the last byte.
    Over,
}

impl Chunked {
    fn feed<'a>(&mut self, piece: Piece<'a>) -> Fed<'a> {
        let mut rest = match piece {
            Piece::Unseen(0) | Piece::Seen(&[]) => None,
            piece => Some(piece),
        };
        while let Some(piece) = rest.take() {
            if let Self::Data(left) = self {
                rest = skip(piece, left);
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            let next = match piece {
                Piece::Seen(bytes) => bytes.first().and_then(|&b| self.step(b)),
                Piece::Unseen(_) => self.step_unseen(),
            };
            let Some(next) = next else {
                return Fed::Lost(Some(piece), self.sign());
            };
            *self = next;
            rest = skip(piece, &mut 1);
            if *self == Self::Over {
                return Fed::Over(rest);
            }
        }
        Fed::All
    }

    /// Behind a byte that is no data; `None` where the byte cannot be there.
    pub(super) fn step(&self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (&Self::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < 16 => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (&(Self::Size { value, digits: 1.. } | Self::AfterSize(value)), b'\n') => {
                if value == 0 {
                    Self::Trailer
                } else {
                    Self::Data(value)
                }
            }
            (&Self::Size { value, digits: 1.. }, b';' | b' ' | b'\t' | b'\r')
            | (&Self::AfterSize(value), _) => Self::AfterSize(value),
            (Self::DataEnd, b'\r') => Self::DataLf,
            (Self::DataEnd | Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::Trailer, b'\r') => Self::LastLf,
            (Self::Trailer | Self::LastLf, b'\n') => Self::Over,
            (Self::TrailerLine, b'\n') => Self::Trailer,
            (Self::Trailer | Self::TrailerLine, _) => Self::TrailerLine,
            _ => return None,
        })
    }

    /// What an unseen byte can only have been.
    fn step_unseen(&self) -> Option<Self> {
        match self {
            Self::DataEnd => self.step(b'\r'),
            Self::DataLf | Self::LastLf => self.step(b'\n'),
            _ => None,
        }
    }

    /// How the end looks, if it can no longer be counted from here on.
    fn sign(&self) -> Sign {
        match self {
            Self::Trailer | Self::TrailerLine | Self::LastLf => Sign::EmptyLine,
            _ => Sign::LastChunk,
        }
    }
}

/// How the end of something looks whose framing was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The last chunk of a chunked body without trailers.
    LastChunk,
    /// An empty line: the end of a head or of trailers.
    EmptyLine,
    /// Nothing tells it.
    Nothing,
}

/// The last chunk and the empty trailer section, behind the end of the chunk before.
const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";

/// As many of the last bytes of a stream can tell its end.
pub(super) const TAIL_MAX: usize = LAST_CHUNK.len();

/// The last bytes of a stream, since its last hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    bytes: [u8; TAIL_MAX],
    len: usize,
}

impl Tail {
    /// Takes a piece of a stream whose end is to look like `sign`.
    pub(super) fn push_into(&mut self, piece: Piece<'_>, sign: Sign, blanked: Option<&mut Blanked>) {
        if let (Some(blanked), Piece::Seen(bytes)) = (blanked, piece) {
            blanked.lost(bytes, sign);
        }
        self.push(piece);
    }

    pub(super) fn push(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Unseen(0) => {}
            Piece::Unseen(_) => self.len = 0,
            Piece::Seen(bytes) => {
                let skipped = bytes.len().saturating_sub(self.bytes.len());
                for &b in bytes.iter().skip(skipped) {
                    if self.len == self.bytes.len() {
                        self.bytes.rotate_left(1);
                        self.len -= 1;
                    }
                    if let Some(slot) = self.bytes.get_mut(self.len) {
                        *slot = b;
                    }
                    self.len += 1;
                }
            }
        }
    }

    /// Does what was seen last look like that end? A hole may hide the end of the chunk before the last one.
    pub(super) fn is(&self, sign: Sign) -> bool {
        let seen = self.bytes.get(..self.len).unwrap_or_default();
        match sign {
            Sign::LastChunk => seen.len() >= 5 && LAST_CHUNK.ends_with(seen),
            Sign::EmptyLine => seen.ends_with(b"\n\r\n") || seen.ends_with(b"\n\n"),
            Sign::Nothing => false,
        }
    }
}

/// Skips up to `n` bytes of a piece and takes them off `n`; what is left of the piece.
fn skip<'a>(piece: Piece<'a>, n: &mut u64) -> Option<Piece<'a>> {
    let len = match piece {
        Piece::Seen(bytes) => bytes.len() as u64,
        Piece::Unseen(len) => len,
    };
    let taken = len.min(*n);
    *n -= taken;
    match piece {
        _ if taken == len => None,
        Piece::Unseen(_) => Some(Piece::Unseen(len - taken)),
        // `taken` is less than the slice's length.
        Piece::Seen(bytes) => usize::try_from(taken)
            .ok()
            .and_then(|taken| bytes.get(taken..))
            .map(Piece::Seen),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed_all<'a>(body: &mut Body, pieces: &[Piece<'a>]) -> Vec<Fed<'a>> {
        pieces.iter().map(|&p| body.feed(p)).collect()
    }

    #[test]
    fn a_length_is_counted_through_holes() {
        let mut body = Body::Length(100);
        assert_eq!(body.feed(Piece::Seen(b"0123456789")), Fed::All);
        assert_eq!(body.feed(Piece::Unseen(80)), Fed::All);
        assert_eq!(
            body.feed(Piece::Seen(b"0123456789GET")),
            Fed::Over(Some(Piece::Seen(b"GET")))
        );
        let mut body = Body::Length(u64::MAX);
        assert_eq!(body.feed(Piece::Unseen(u64::MAX)), Fed::Over(None));
    }

    #[test]
    fn chunks_may_have_extensions_and_trailers() {
        let wire = b"5;a=b;c=\"d\"\r\nhello\r\nA \r\n0123456789\r\n000;x\r\nX: y\r\nZ: \r\n\r\nnext";
        let mut body = Body::chunked();
        assert_eq!(
            body.feed(Piece::Seen(wire)),
            Fed::Over(Some(Piece::Seen(b"next")))
        );
        let mut body = Body::chunked();
        for (i, b) in wire.iter().enumerate() {
            let fed = body.feed(Piece::Seen(std::slice::from_ref(b)));
            if i + b"next".len() + 1 == wire.len() {
                assert_eq!(fed, Fed::Over(None));
                break;
            }
            assert_eq!(fed, Fed::All, "byte {i}");
        }
    }

    #[test]
    fn a_hole_inside_a_chunk_loses_nothing() {
        let mut body = Body::chunked();
        let fed = feed_all(
            &mut body,
            &[
                Piece::Seen(b"ffff\r\n"),
                Piece::Unseen(0xffff),
                Piece::Seen(b"\r\n10\r\nab"),
                // The rest of the data and its CR LF, which an unseen byte there can only have been.
                Piece::Unseen(16),
                Piece::Seen(b"0\r\n\r\n"),
            ],
        );
        assert_eq!(fed, [Fed::All, Fed::All, Fed::All, Fed::All, Fed::Over(None)]);
    }

    #[test]
    fn a_hole_over_a_chunk_size_loses_the_framing() {
        let mut body = Body::chunked();
        assert_eq!(body.feed(Piece::Seen(b"4\r\nab")), Fed::All);
        assert_eq!(
            body.feed(Piece::Unseen(7)),
            Fed::Lost(Some(Piece::Unseen(3)), Sign::LastChunk)
        );
        let mut body = Body::chunked();
        assert_eq!(body.feed(Piece::Seen(b"0\r\nX: y")), Fed::All);
        assert_eq!(
            body.feed(Piece::Unseen(7)),
            Fed::Lost(Some(Piece::Unseen(7)), Sign::EmptyLine)
        );
    }

    #[test]
    fn what_is_no_chunk_size_loses_the_framing() {
        for bad in [&b"x"[..], b"\r\n", b";", b"11111111111111111", b"1\r\nab"] {
            let mut body = Body::chunked();
            assert!(
                matches!(body.feed(Piece::Seen(bad)), Fed::Lost(..)),
                "{}",
                bad.escape_ascii()
            );
        }
    }

    #[test]
    fn the_last_chunk_is_recognised_by_its_bytes() {
        let is = |pieces: &[Piece<'_>]| {
            let mut tail = Tail::default();
            for &p in pieces {
                tail.push(p);
            }
            tail.is(Sign::LastChunk)
        };
        assert!(is(&[Piece::Unseen(9), Piece::Seen(b"some data\r\n0\r\n\r\n")]));
        assert!(is(&[Piece::Unseen(9), Piece::Seen(b"0\r\n\r\n")]));
        assert!(is(&[
            Piece::Seen(b"data\r\n0"),
            Piece::Seen(b"\r\n"),
            Piece::Seen(b"\r\n")
        ]));
        assert!(!is(&[Piece::Unseen(9), Piece::Seen(b"data 100\r\n\r\n")]));
        assert!(!is(&[Piece::Unseen(9), Piece::Seen(b"10\r\n\r\n")]));
        assert!(!is(&[Piece::Unseen(9), Piece::Seen(b"\r\n\r\n")]));
        assert!(!is(&[Piece::Seen(b"\r\n0\r\n\r"), Piece::Unseen(1)]));
        assert!(!is(&[]));
    }

    proptest! {
        #[test]
        fn any_pieces_are_taken(
            chunked in any::<bool>(),
            length in any::<u64>(),
            pieces in proptest::collection::vec((any::<Option<u64>>(), "[0-9a-f;\r\n]{0,12}"), 0..12),
        ) {
            let mut body = if chunked { Body::chunked() } else { Body::Length(length) };
            let mut tail = Tail::default();
            for (hole, bytes) in &pieces {
                let piece = hole.map_or(Piece::Seen(bytes.as_bytes()), Piece::Unseen);
                tail.push(piece);
                if body.feed(piece) != Fed::All {
                    break;
                }
            }
            let _ = tail.is(Sign::LastChunk);
        }
    }
}
