//! One connection's bytes: requests out of what was read, answers into a fixed buffer.
//!
//! Owns both buffers and HTTP/1 framing as far as this server needs it: keep-alive, pipelining, a body of known
//! length that is skipped. Must not know sockets, or how work is done. It allocates nothing, so that serving a
//! request costs no fault of its own.

use std::io::{Cursor, ErrorKind, Write};

use crate::memory::Counted;
use crate::route::{Refusal, Work};

/// Room for a head and a body, and for requests that were sent ahead.
const INBOX: usize = 16 * 1024;
/// Room for one answer.
const OUTBOX: usize = 512;

/// The buffers of a connection.
pub(crate) struct Connection {
    inbox: [u8; INBOX],
    /// What has been read and not yet served: `inbox[start..end]`.
    start: usize,
    end: usize,
    outbox: [u8; OUTBOX],
    /// What has been answered and not yet written: `outbox[sent..filled]`.
    sent: usize,
    filled: usize,
    /// The client wants, or the last answer said, that nothing follows.
    closing: bool,
}

/// What is to be done next with a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// No whole request is there: read on.
    Read,
    /// Do this, then call [`Connection::answer`].
    Perform(Work),
    /// A refusal is in the outbox already.
    Refused,
}

impl Connection {
    /// Empty buffers, every page of them written to.
    pub(crate) fn new() -> Connection {
        // Zeroed memory may be untouched memory: ones are written for sure.
        let mut connection = Connection {
            inbox: [1; INBOX],
            start: 0,
            end: 0,
            outbox: [1; OUTBOX],
            sent: 0,
            filled: 0,
            closing: false,
        };
        std::hint::black_box(&mut connection);
        connection
    }

    /// Makes it new for another client.
    pub(crate) fn reset(&mut self) {
        (self.start, self.end, self.sent, self.filled, self.closing) = (0, 0, 0, 0, false);
    }

    /// Where to read to. Never empty after [`Next::Read`].
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.inbox.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.inbox[self.end..]
    }

    /// So many bytes were read into [`Connection::room`].
    pub(crate) fn received(&mut self, bytes: usize) {
        self.end = (self.end + bytes).min(INBOX);
    }

    /// Takes the next whole request.
    pub(crate) fn next(&mut self) -> Next {
        let unread = &self.inbox[self.start..self.end];
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(unread) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if unread.len() < INBOX => return Next::Read,
            Ok(httparse::Status::Partial) => return self.refuse("431 Request Header Fields Too Large"),
            Err(_) => return self.refuse("400 Bad Request"),
        };
        let mut body = 0;
        let mut closing = head.version == Some(0);
        for header in head.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                match std::str::from_utf8(header.value)
                    .ok()
                    .and_then(|value| value.parse::<usize>().ok())
                {
                    Some(bytes) => body = bytes,
                    None => return self.refuse("400 Bad Request"),
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                return self.refuse("411 Length Required");
            } else if header.name.eq_ignore_ascii_case("connection") {
                closing = if header.value.eq_ignore_ascii_case(b"close") {
                    true
                } else {
                    closing && !header.value.eq_ignore_ascii_case(b"keep-alive")
                };
            }
        }
        if body > INBOX - length {
            return self.refuse("413 Content Too Large");
        }
        if unread.len() < length + body {
            return Next::Read;
        }
        let work = Work::parse(head.path.unwrap_or_default());
        self.start += length + body;
        self.closing = closing;
        match work {
            Ok(work) => Next::Perform(work),
            Err(refusal) => {
                let (status, text) = match refusal {
                    Refusal::NoSuchRoute => ("404 Not Found", r#"{"error":"no such route"}"#),
                    Refusal::BadParameter => ("400 Bad Request", r#"{"error":"bad parameter"}"#),
                };
                self.fill(status, format_args!("{text}"));
                Next::Refused
            }
        }
    }

    /// Puts the answer to the last request in the outbox.
    pub(crate) fn answer(&mut self, done: &std::io::Result<Counted>) {
        match done {
            Ok(counted) => {
                let Counted { minor, major } = counted;
                self.fill("200 OK", format_args!(r#"{{"minflt":{minor},"majflt":{major}}}"#));
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.fill("501 Not Implemented", format_args!(r#"{{"error":"{error}"}}"#));
            }
            Err(error) => {
                let code = error.raw_os_error().unwrap_or(0);
                self.fill(
                    "500 Internal Server Error",
                    format_args!(r#"{{"error":"errno {code}"}}"#),
                );
            }
        }
    }

    /// What is to be written.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outbox[self.sent..self.filled]
    }

    /// So many bytes of [`Connection::outgoing`] were written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.sent = (self.sent + bytes).min(self.filled);
    }

    /// Nothing follows once the outbox is empty.
    pub(crate) fn closing(&self) -> bool {
        self.closing
    }

    /// Answers what cannot be framed; the rest of the stream means nothing then.
    fn refuse(&mut self, status: &str) -> Next {
        self.closing = true;
        self.start = self.end;
        self.fill(status, format_args!("{{}}"));
        Next::Refused
    }

    fn fill(&mut self, status: &str, body: std::fmt::Arguments<'_>) {
        let mut text = [0_u8; 128];
        let mut cursor = Cursor::new(&mut text[..]);
        // Neither buffer can be too small: statuses and bodies are the ones above.
        let _ = cursor.write_fmt(body);
        let length = usize::try_from(cursor.position()).unwrap_or(0);
        let connection = if self.closing { "close" } else { "keep-alive" };
        let mut cursor = Cursor::new(&mut self.outbox[..]);
        let _ = write!(
            cursor,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: {connection}\r\n\r\n"
        );
        let _ = cursor.write_all(&text[..length]);
        self.filled = usize::try_from(cursor.position()).unwrap_or(0);
        self.sent = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(connection: &mut Connection, bytes: &[u8]) {
        connection.room()[..bytes.len()].copy_from_slice(bytes);
        connection.received(bytes.len());
    }

    fn text(connection: &Connection) -> &str {
        std::str::from_utf8(connection.outgoing()).unwrap()
    }

    #[test]
    fn three_requests_of_one_read_come_out_in_order() {
        let mut connection = Connection::new();
        put(
            &mut connection,
            b"GET /touch?pages=1 HTTP/1.1\r\n\r\nPOST /none HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET \
              GET /segv?n=3 HTTP/1.1\r\n\r\nGET /no",
        );
        assert_eq!(connection.next(), Next::Perform(Work::Touch(1)));
        assert_eq!(connection.next(), Next::Perform(Work::None));
        assert_eq!(connection.next(), Next::Perform(Work::Segv(3)));
        assert_eq!(connection.next(), Next::Read);
        put(&mut connection, b"ne HTTP/1.1\r\n\r\n");
        assert_eq!(connection.next(), Next::Perform(Work::None));
        assert_eq!(connection.next(), Next::Read);
        assert!(!connection.closing());
    }

    #[test]
    fn a_request_split_anywhere_is_the_same_request() {
        let request = b"POST /kernel?pages=9 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
        for split in 1..request.len() {
            let mut connection = Connection::new();
            put(&mut connection, &request[..split]);
            assert_eq!(connection.next(), Next::Read, "split at {split}");
            put(&mut connection, &request[split..]);
            assert_eq!(
                connection.next(),
                Next::Perform(Work::Kernel(9)),
                "split at {split}"
            );
        }
    }

    #[test]
    fn the_version_and_the_connection_header_say_when_to_close() {
        for (head, closing) in [
            ("GET /none HTTP/1.1\r\n\r\n", false),
            ("GET /none HTTP/1.0\r\n\r\n", true),
            ("GET /none HTTP/1.1\r\nConnection: Close\r\n\r\n", true),
            ("GET /none HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            let mut connection = Connection::new();
            put(&mut connection, head.as_bytes());
            assert_eq!(connection.next(), Next::Perform(Work::None));
            assert_eq!(connection.closing(), closing, "{head}");
        }
    }

    #[test]
    fn what_cannot_be_framed_is_refused_and_closes() {
        let mut long = b"GET /none HTTP/1.1\r\nX: ".to_vec();
        long.resize(INBOX, b'x');
        for (request, status) in [
            (&b"\x00\x01\x02\r\n\r\n"[..], "400"),
            (b"GET /none HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"),
            (b"GET /none HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
            (b"GET /none HTTP/1.1\r\nContent-Length: 16384\r\n\r\n", "413"),
            (&long[..], "431"),
        ] {
            let mut connection = Connection::new();
            put(&mut connection, request);
            assert_eq!(connection.next(), Next::Refused);
            assert!(
                text(&connection).starts_with(&format!("HTTP/1.1 {status} ")),
                "{}",
                text(&connection)
            );
            assert!(connection.closing());
        }
    }

    #[test]
    fn a_bad_target_is_answered_and_the_connection_lives() {
        let mut connection = Connection::new();
        put(
            &mut connection,
            b"GET /nowhere HTTP/1.1\r\n\r\nGET /touch HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\n\r\n",
        );
        assert_eq!(connection.next(), Next::Refused);
        assert!(text(&connection).starts_with("HTTP/1.1 404 "));
        assert_eq!(connection.next(), Next::Refused);
        assert!(text(&connection).starts_with("HTTP/1.1 400 "));
        assert_eq!(connection.next(), Next::Perform(Work::None));
    }

    #[test]
    fn the_answer_carries_the_counts_and_its_own_length() {
        let mut connection = Connection::new();
        connection.answer(&Ok(Counted {
            minor: u64::MAX,
            major: 1,
        }));
        let (head, body) = text(&connection).split_once("\r\n\r\n").unwrap();
        assert_eq!(body, r#"{"minflt":18446744073709551615,"majflt":1}"#);
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len())),
            "{head}"
        );
        let all = connection.outgoing().len();
        connection.wrote(10);
        assert_eq!(connection.outgoing().len(), all - 10);
    }
}
