//! Heads of requests and responses.
//!
//! Owns a head's bytes while they come in (never more than [`HEAD_MAX`]), and what they say. Must not know of
//! exchanges, or of what comes before and behind a head.

use std::borrow::Cow;

use httparse::{EMPTY_HEADER, Header, ParserConfig, Status};
use memchr::{memchr, memrchr};
use memtrace_common::wire::HEAD_MAX;

use super::{
    Blanked, LooksLike, blank,
    body::Body,
    framing::{Asked, Declared, Follows},
    request_line::{self, RequestLine, Verdict},
    traceparent,
};

/// The most headers that are looked at.
const HEADERS_MAX: usize = 128;
/// How many bytes of a response, from its first, decide whether it is one.
const STATUS_END: usize = 12;
/// What every response begins with, up to the minor version.
const VERSION: &[u8] = b"HTTP/1.";

/// What a head's first line should be.
#[derive(Clone, Debug)]
enum FirstLine {
    Request(RequestLine),
    Status,
}

/// Where the current line stands, for finding the empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Begun,
    Empty,
    EmptyCr,
}

/// How far a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// More is to come.
    More,
    /// Its end is there.
    Whole,
    /// It is longer than what is kept.
    Full,
    /// It is no head of that kind.
    Foreign,
}

/// A head as it comes in.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    first: FirstLine,
    line: Line,
    /// As far as it was blanked.
    blank: blank::Head,
}

impl Gather {
    pub(super) const fn request() -> Self {
        Self {
            bytes: Vec::new(),
            first: FirstLine::Request(RequestLine::new()),
            line: Line::Begun,
            blank: blank::Head::request(),
        }
    }

    pub(super) const fn response() -> Self {
        Self {
            bytes: Vec::new(),
            first: FirstLine::Status,
            line: Line::Begun,
            blank: blank::Head::response(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes bytes until the head is whole, full, or turns out to be something else; how many were taken.
    ///
    /// Empty lines before the head are skipped (RFC 9112 section 2.2).
    pub(super) fn push(&mut self, bytes: &[u8]) -> (usize, Fill) {
        let skipped = if self.bytes.is_empty() {
            bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
        } else {
            0
        };
        let mut rest = bytes.get(skipped..).unwrap_or_default();
        self.bytes
            .reserve_exact(rest.len().min(HEAD_MAX - self.bytes.len()));
        while !rest.is_empty() {
            let room = HEAD_MAX - self.bytes.len();
            if room == 0 {
                return (bytes.len() - rest.len(), Fill::Full);
            }
            // The first line is judged byte by byte, of others only the ends matter.
            let taken = if self.is_first_judged() {
                let within = rest.get(..room).unwrap_or(rest);
                memchr(b'\n', within).map_or(within.len(), |at| at + 1)
            } else {
                1
            };
            let (part, behind) = rest.split_at_checked(taken).unwrap_or((rest, &[]));
            rest = behind;
            let at = self.bytes.len();
            self.bytes.extend_from_slice(part);
            let plausible = match (&mut self.first, part) {
                (FirstLine::Request(line), &[b]) => line.step(b),
                (FirstLine::Status, &[b]) => is_status_line(at, b),
                _ => true,
            };
            if !plausible {
                return (bytes.len() - rest.len(), Fill::Foreign);
            }
            self.line = match (self.line, part) {
                (Line::Empty, b"\n" | b"\r\n") | (Line::EmptyCr, b"\n") => {
                    return (bytes.len() - rest.len(), Fill::Whole);
                }
                (_, [.., b'\n']) => Line::Empty,
                (Line::Empty, b"\r") => Line::EmptyCr,
                _ => Line::Begun,
            };
        }
        (bytes.len(), Fill::More)
    }

    /// Whether what comes next cannot make it something else.
    fn is_first_judged(&self) -> bool {
        match &self.first {
            FirstLine::Request(line) => line.is_over(),
            FirstLine::Status => self.bytes.len() >= STATUS_END,
        }
    }

    /// [`Gather::push`]; what was taken goes to `blanked` too.
    pub(super) fn push_into(&mut self, bytes: &[u8], blanked: Option<&mut Blanked>) -> (usize, Fill) {
        let before = self.bytes.len();
        let (taken, fill) = self.push(bytes);
        let Some(blanked) = blanked else {
            return (taken, fill);
        };
        let taken_bytes = bytes.get(..taken).unwrap_or_default();
        if fill == Fill::Foreign {
            // Zeros are as foreign, as long as they need not tell what it is instead.
            if request_line::looks_like(&self.bytes) != LooksLike::Unknown {
                blanked.put(taken_bytes);
            }
            return (taken, fill);
        }
        let (had, new) = self.bytes.split_at_checked(before).unwrap_or_default();
        let keeps_queries = blanked.keeps_queries();
        for &b in had.get(self.blank.len()..).unwrap_or_default() {
            self.blank.step(b, keeps_queries);
        }
        // The empty lines before the head, and what is new of it.
        let skipped = taken_bytes.len().saturating_sub(new.len());
        let blank = &mut self.blank;
        blanked.put_each(
            taken_bytes
                .iter()
                .take(skipped)
                .copied()
                .chain(new.iter().map(|&b| blank.step(b, keeps_queries))),
        );
        (taken, fill)
    }

    /// How sure it is that this is a request.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.first {
            FirstLine::Request(line) => line.verdict(&self.bytes),
            FirstLine::Status => Verdict::Foreign,
        }
    }

    /// What the request asks for, as far as it is there.
    pub(super) fn as_request(&self, whole: bool) -> RequestHead {
        let FirstLine::Request(line) = &self.first else {
            return RequestHead::unseen();
        };
        let mut head = RequestHead {
            method: text(line.method(&self.bytes)),
            target: text(line.target(&self.bytes)),
            ..RequestHead::unseen()
        };
        if line.verdict(&self.bytes) != Verdict::Sure {
            return head;
        }
        // The line was checked byte by byte; what is left are the headers, as far as their lines are whole.
        let begin = memchr(b'\n', &self.bytes).map_or(0, |at| at + 1);
        let end = memrchr(b'\n', &self.bytes).map_or(0, |at| at + 1);
        let mut lines = Cow::Borrowed(self.bytes.get(begin..end).unwrap_or_default());
        if !whole {
            lines.to_mut().extend_from_slice(b"\r\n");
        }
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        // Not lenient: a header that the server may have understood otherwise must not be passed over in silence.
        if let Ok(Status::Complete((_, headers))) = httparse::parse_headers(&lines, &mut headers) {
            head.trace_id = only(headers, "traceparent").and_then(traceparent::trace_id);
            if whole {
                head.truncated = false;
                head.body = Declared::of(headers).request_body();
            }
        }
        head
    }

    /// The response's status, as soon as it is there.
    pub(super) fn status(&self) -> Option<u16> {
        str::from_utf8(self.bytes.get(9..12)?).ok()?.parse().ok()
    }

    /// The response's status, and the body that follows if its head ends here.
    pub(super) fn as_response(&self, whole: bool, to: Asked) -> Option<ResponseHead> {
        let status = self.status()?;
        let mut head = ResponseHead {
            status,
            follows: Follows::of(status, to),
        };
        if head.follows != Follows::Unknown || !whole {
            return Some(head);
        }
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        // As lenient as clients are, for it is the client that decides where the response ends.
        let parsed = ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_multiple_spaces_in_response_status_delimiters(true)
            .ignore_invalid_headers_in_responses(true)
            .parse_response(&mut response, &self.bytes);
        if let Ok(Status::Complete(_)) = parsed {
            head.follows = match Declared::of(response.headers).response_body() {
                // Was it a HEAD? Then this says nothing of a body.
                Some(_) if to == Asked::Unseen => Follows::Unknown,
                Some(body) => Follows::Body(body),
                None => Follows::Unknown,
            };
        }
        Some(head)
    }
}

/// What a request's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) trace_id: Option<String>,
    pub(super) truncated: bool,
    /// `None` where it is not known.
    pub(super) body: Option<Body>,
}

impl RequestHead {
    /// Nothing was seen of it.
    pub(super) const fn unseen() -> Self {
        Self {
            method: String::new(),
            target: String::new(),
            trace_id: None,
            truncated: true,
            body: None,
        }
    }

    pub(super) fn asked(&self) -> Asked {
        match self.method.as_str() {
            "" => Asked::Unseen,
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ => Asked::Other,
        }
    }
}

/// What a response's head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) follows: Follows,
}

/// A header that may be there once.
fn only<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let mut found = headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
    let value = found.next()?.value;
    found.next().is_none().then_some(value)
}

/// Can a status line (RFC 9112 section 4) have this byte there?
fn is_status_line(at: usize, byte: u8) -> bool {
    match at {
        0..7 => VERSION.get(at) == Some(&byte),
        8 => byte == b' ',
        9 => matches!(byte, b'1'..=b'9'),
        7 | 10 | 11 => byte.is_ascii_digit(),
        _ => true,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: &[u8]) -> RequestHead {
        let mut gather = Gather::request();
        assert_eq!(
            gather.push(bytes),
            (bytes.len(), Fill::Whole),
            "{}",
            bytes.escape_ascii()
        );
        gather.as_request(true)
    }

    fn body_of(headers: &str) -> Option<Body> {
        request(format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes()).body
    }

    fn follows(status: &str, headers: &str, to: Asked) -> Follows {
        let bytes = format!("HTTP/1.1 {status}\r\n{headers}\r\n");
        let mut gather = Gather::response();
        assert_eq!(
            gather.push(bytes.as_bytes()),
            (bytes.len(), Fill::Whole),
            "{bytes}"
        );
        gather.as_response(true, to).unwrap().follows
    }

    #[test]
    fn a_request_head_is_read() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let head =
            format!("\r\nGET /a?b HTTP/1.1\r\nhost: x\r\nTraceParent: 00-{id}-00f067aa0ba902b7-01\r\n\r\n");
        let head = request(head.as_bytes());
        assert_eq!((head.method.as_str(), head.target.as_str()), ("GET", "/a?b"));
        assert_eq!(head.trace_id.as_deref(), Some(id));
        assert_eq!(head.body, Some(Body::Length(0)));
        assert!(!head.truncated);
    }

    #[test]
    fn bare_line_feeds_end_lines() {
        let head = request(b"GET / HTTP/1.0\nContent-Length: 3\n\n");
        assert_eq!(head.body, Some(Body::Length(3)));
        assert_eq!(request(b"GET / HTTP/1.0\n\r\n").body, Some(Body::Length(0)));
    }

    #[test]
    fn a_target_that_is_no_utf8_is_kept_as_far_as_it_goes() {
        let head = request(b"GET /\xff\xc3\xa9 HTTP/1.1\r\nContent-Length: 1\r\n\r\n");
        assert_eq!(head.target, "/\u{fffd}é");
        assert_eq!(head.body, Some(Body::Length(1)));
    }

    #[test]
    fn a_request_has_the_body_that_its_headers_declare() {
        assert_eq!(body_of(""), Some(Body::Length(0)));
        assert_eq!(body_of("Content-Length: 5\r\n"), Some(Body::Length(5)));
        assert_eq!(
            body_of("content-length: 5, 5\r\nCONTENT-LENGTH:5\r\n"),
            Some(Body::Length(5))
        );
        assert_eq!(body_of("Content-Length: 5\r\nContent-Length: 6\r\n"), None);
        assert_eq!(body_of("Content-Length: 5, 6\r\n"), None);
        assert_eq!(body_of("Content-Length: +5\r\n"), None);
        assert_eq!(body_of("Content-Length:\r\n"), None);
        assert_eq!(body_of("Content-Length: 99999999999999999999\r\n"), None);
        assert_eq!(body_of("Transfer-Encoding: chunked\r\n"), Some(Body::chunked()));
        assert_eq!(
            body_of("Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n"),
            Some(Body::chunked())
        );
        assert_eq!(
            body_of("Transfer-Encoding: gzip\r\nTransfer-Encoding: x, chunked\r\n"),
            Some(Body::chunked())
        );
        assert_eq!(body_of("Transfer-Encoding: chunked, gzip\r\n"), None);
        assert_eq!(
            body_of("Content-Length : 5\r\n"),
            None,
            "servers differ on white space there"
        );
        assert_eq!(body_of(&"a:\r\n".repeat(HEADERS_MAX)), Some(Body::Length(0)));
        assert_eq!(body_of(&"a:\r\n".repeat(HEADERS_MAX + 1)), None);
    }

    #[test]
    fn a_response_has_the_body_that_its_status_and_headers_give_it() {
        let other = Asked::Other;
        let length = Follows::Body(Body::Length(5));
        assert_eq!(follows("200 OK", "Content-Length: 5\r\n", other), length);
        assert_eq!(follows("404", "Content-Length: 5\r\n", other), length);
        assert_eq!(follows("200 ", "Content-Length : 5\r\n", other), length);
        assert_eq!(
            follows("200 OK", "!\x01: \x02\r\nContent-Length: 5\r\n", other),
            length
        );
        assert_eq!(follows("200 OK", "", other), Follows::Body(Body::UntilClose));
        assert_eq!(
            follows(
                "200 OK",
                "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
                other
            ),
            Follows::Body(Body::UntilClose)
        );
        assert_eq!(
            follows("200 OK", "Transfer-Encoding: chunked\r\n", other),
            Follows::Body(Body::chunked())
        );
        assert_eq!(
            follows("200 OK", "Content-Length: 5\r\nContent-Length: 6\r\n", other),
            Follows::Unknown
        );
        assert_eq!(
            follows("200 OK", "Content-Length: 5\r\n", Asked::Head),
            Follows::Nothing
        );
        assert_eq!(
            follows("200 OK", "Content-Length: 5\r\n", Asked::Unseen),
            Follows::Unknown
        );
        assert_eq!(
            follows("304 Not Modified", "Content-Length: 5\r\n", other),
            Follows::Nothing
        );
        assert_eq!(
            follows("204 No Content", "Transfer-Encoding: chunked\r\n", other),
            Follows::Nothing
        );
        assert_eq!(
            follows("103 Early Hints", "Link: x\r\n", Asked::Head),
            Follows::Head
        );
        assert_eq!(follows("101 Switching Protocols", "", other), Follows::Tunnel);
        assert_eq!(
            follows("200 OK", "Content-Length: 5\r\n", Asked::Connect),
            Follows::Tunnel
        );
        assert_eq!(follows("407 No", "Content-Length: 5\r\n", Asked::Connect), length);
    }

    #[test]
    fn what_is_no_status_line_is_no_response() {
        for bad in [
            &b"HTTP/2 200\r\n"[..],
            b"ICY 200 OK\r\n",
            b"HTTP/1.1 OK\r\n",
            b"-ERR\r\n",
            b"HTTP/1.1 099\r\n",
        ] {
            let mut gather = Gather::response();
            assert_eq!(gather.push(bad).1, Fill::Foreign, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_head_may_have_8_kib_and_no_more() {
        let pad = HEAD_MAX - b"GET / HTTP/1.1\r\na: \r\n\r\n".len();
        let head = |pad| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(pad));
        assert!(!request(head(pad).as_bytes()).truncated);
        let mut gather = Gather::request();
        assert_eq!(gather.push(head(pad + 1).as_bytes()), (HEAD_MAX, Fill::Full));
        assert_eq!(gather.bytes().len(), HEAD_MAX);
        assert_eq!(gather.as_request(false).target, "/");
    }

    #[test]
    fn a_head_cut_off_keeps_what_its_whole_lines_say() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut gather = Gather::request();
        let cut =
            format!("POST /x HTTP/1.1\r\ntraceparent: 00-{id}-00f067aa0ba902b7-01\r\nContent-Length: 1");
        assert_eq!(gather.push(cut.as_bytes()).1, Fill::More);
        let head = gather.as_request(false);
        assert_eq!(
            (head.method.as_str(), head.trace_id.as_deref()),
            ("POST", Some(id))
        );
        assert!(head.truncated && head.body.is_none());
    }
}
