//! HTTP/1.1 messages (RFC 9112), as far as the demo's own three parties speak it: bodies have a `Content-Length`.
//!
//! Owns framing, deadlines, and how large a head or body may be. Must not know what a message is about.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A head that is longer is refused.
const HEAD_MAX: u64 = 8 * 1024;
/// A body that is longer is refused.
const BODY_MAX: usize = 8 << 20;
/// Header fields that a head may have.
const FIELDS_MAX: usize = 32;
/// How long a peer may keep its other end waiting.
const DEADLINE: Duration = Duration::from_secs(5);

/// A request, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// Another request may follow on this connection.
    pub(super) keep_alive: bool,
}

/// A response, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Takes a connection that is there, and gives it deadlines.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        // A head and its body are two writes: the second must not wait until the first is acknowledged.
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Makes a new one. On the loopback interface the kernel itself answers, at once, so this needs no deadline; and
    /// one would make the thread poll, as an event loop does that turns to other work.
    pub(super) fn open(to: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(to)?)
    }

    /// The next request; `None` where the client has left between two of them. A malformed one is `InvalidData`.
    pub(super) fn request(&mut self) -> io::Result<Option<Request>> {
        read_request(&mut self.0)
    }

    /// The next response. A malformed one is `InvalidData`.
    pub(super) fn response(&mut self) -> io::Result<Response> {
        read_response(&mut self.0)
    }

    /// Sends a message: its first line and fields, without the one for the length, and its body.
    pub(super) fn send(&mut self, head: &str, body: &[u8]) -> io::Result<()> {
        let head = format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }
}

fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(head) = read_head(from)? else {
        return Ok(None);
    };
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    if parsed.parse(&head).map_err(malformed)?.is_partial() {
        return Err(malformed("an empty line inside of a head"));
    }
    let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(malformed("no request line"));
    };
    let keep_alive = version == 1 && !has_token(parsed.headers, "connection", "close");
    let (method, path) = (method.to_owned(), path.to_owned());
    let body = read_body(from, parsed.headers)?;
    Ok(Some(Request {
        method,
        path,
        body,
        keep_alive,
    }))
}

fn read_response(from: &mut impl BufRead) -> io::Result<Response> {
    let head = read_head(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    if parsed.parse(&head).map_err(malformed)?.is_partial() {
        return Err(malformed("an empty line inside of a head"));
    }
    let status = parsed.code.ok_or_else(|| malformed("no status line"))?;
    let body = read_body(from, parsed.headers)?;
    Ok(Response { status, body })
}

/// Bytes up to an empty line and with it; `None` where there are none at all.
fn read_head(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    let mut from = from.take(HEAD_MAX);
    loop {
        let line = from.read_until(b'\n', &mut head)?;
        let is_blank = matches!(&head[head.len() - line..], b"\r\n" | b"\n");
        match (line, head.len()) {
            (0, 0) => return Ok(None),
            (0, _) if from.limit() == 0 => return Err(malformed("the head is too long")),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Empty lines before the first one are passed over (RFC 9112, section 2.2).
            (_, length) if is_blank && length == line => head.clear(),
            _ if is_blank => return Ok(Some(head)),
            _ => {}
        }
    }
}

/// As many bytes as the head announces, in a buffer that nobody has touched before.
fn read_body(from: &mut impl BufRead, fields: &[httparse::Header<'_>]) -> io::Result<Vec<u8>> {
    if fields
        .iter()
        .any(|field| field.name.eq_ignore_ascii_case("transfer-encoding"))
    {
        return Err(malformed("a body without a length"));
    }
    let mut lengths = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = lengths.next() else {
        return Ok(Vec::new());
    };
    if lengths.next().is_some() {
        return Err(malformed("two lengths"));
    }
    let digits = std::str::from_utf8(length.value)
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    let length = digits
        .and_then(|v| v.parse().ok())
        .filter(|&length: &usize| length <= BODY_MAX);
    let length = length.ok_or_else(|| malformed("a length that is none or too large"))?;
    let mut body = Vec::with_capacity(length);
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() == length {
        Ok(body)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Whether a field that is a list has this member.
fn has_token(fields: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name))
        .flat_map(|field| field.value.split(|&b| b == b','))
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn malformed(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn request(bytes: &[u8]) -> io::Result<Option<Request>> {
        read_request(&mut Cursor::new(bytes))
    }

    fn kind(bytes: &[u8]) -> io::ErrorKind {
        request(bytes).unwrap_err().kind()
    }

    #[test]
    fn requests_follow_one_another() {
        let bytes = b"POST /saju HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\na=b\r\n\
            \r\nGET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n";
        let mut from = Cursor::new(bytes);
        let first = read_request(&mut from).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/saju"));
        assert_eq!(
            (first.body.as_slice(), first.keep_alive),
            (b"a=b\r\n".as_slice(), true)
        );
        let second = read_request(&mut from).unwrap().unwrap();
        assert_eq!((second.method.as_str(), second.path.as_str()), ("GET", "/"));
        assert_eq!(
            (second.body.as_slice(), second.keep_alive),
            (b"".as_slice(), false)
        );
        assert_eq!(read_request(&mut from).unwrap(), None, "the client has left");
    }

    #[test]
    fn what_is_cut_off_is_not_taken_for_whole() {
        let whole = b"POST /saju HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        assert!(request(whole).unwrap().is_some());
        for end in 1..whole.len() {
            assert_eq!(
                kind(&whole[..end]),
                io::ErrorKind::UnexpectedEof,
                "after {end} bytes"
            );
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in [
            "\u{16}\u{3}\u{1}\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: \r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 8388609\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            assert_eq!(kind(bad.as_bytes()), io::ErrorKind::InvalidData, "{bad:?}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(8 * 1024));
        assert_eq!(
            kind(long.as_bytes()),
            io::ErrorKind::InvalidData,
            "too long a head"
        );
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(33));
        assert_eq!(
            kind(many.as_bytes()),
            io::ErrorKind::InvalidData,
            "too many fields"
        );
    }

    #[test]
    fn an_older_client_gets_one_answer() {
        assert!(!request(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().keep_alive);
        assert!(
            request(b"\r\n\r\nGET / HTTP/1.1\n\n")
                .unwrap()
                .unwrap()
                .keep_alive,
            "bare line feeds"
        );
    }

    #[test]
    fn a_response_has_a_status_and_a_body() {
        let bytes = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nnoHTTP";
        let response = read_response(&mut Cursor::new(bytes)).unwrap();
        assert_eq!(
            response,
            Response {
                status: 502,
                body: b"no".to_vec()
            }
        );
        let nothing = read_response(&mut Cursor::new(b"")).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = request(&bytes);
            let _ = read_response(&mut Cursor::new(&bytes));
        }

        #[test]
        fn small_pieces_make_the_same_message(body in "[a-z\r\n]{0,40}", piece in 1..9_usize) {
            let bytes = format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let mut pieces = BufReader::with_capacity(piece, Cursor::new(&bytes));
            let read = read_request(&mut pieces).unwrap().unwrap();
            prop_assert_eq!(read.body, body.as_bytes());
        }
    }
}
