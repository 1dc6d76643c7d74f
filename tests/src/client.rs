//! A blocking HTTP/1.1 client that says exactly which bytes go out in which write.
//!
//! Owns one connection. Must not know who serves it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::process::PATIENCE;

/// A connection that is kept alive until it is dropped.
pub struct Client {
    stream: TcpStream,
    /// What has been received beyond the last response.
    ahead: Vec<u8>,
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Client {
    /// Connects to a port on this host.
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            ahead: Vec::new(),
        })
    }

    /// `GET`, and its response.
    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send(get(target).as_bytes())?;
        self.receive()
    }

    /// `POST` of a JSON body, and its response.
    pub fn post(&mut self, target: &str, json: &str) -> io::Result<Response> {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{json}",
            json.len()
        );
        self.send(request.as_bytes())?;
        self.receive()
    }

    /// All requests in one write, then all responses.
    pub fn pipeline(&mut self, targets: &[impl AsRef<str>]) -> io::Result<Vec<Response>> {
        let requests: String = targets.iter().map(|target| get(target.as_ref())).collect();
        self.send(requests.as_bytes())?;
        targets.iter().map(|_| self.receive()).collect()
    }

    /// One request in two writes, cut after `at` bytes, with a pause that makes two reads of them.
    pub fn split(&mut self, target: &str, at: usize, pause: Duration) -> io::Result<Response> {
        let request = get(target);
        let (first, second) = request.as_bytes().split_at(at.min(request.len()));
        self.send(first)?;
        std::thread::sleep(pause);
        self.send(second)?;
        self.receive()
    }

    /// These bytes in one write.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next response. Its length must be given, by `Content-Length` or chunk by chunk.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((response, length)) = response(&self.ahead)? {
                self.ahead.drain(..length);
                return Ok(response);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                bytes => self.ahead.extend_from_slice(&chunk[..bytes]),
            }
        }
    }
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The response that these bytes begin with, and how many of them it is, once it is whole.
fn response(bytes: &[u8]) -> io::Result<Option<(Response, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head
        .parse(bytes)
        .map_err(|error| invalid(format!("no HTTP response: {error}")))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let value = |name| {
        let header = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let rest = &bytes[length..];
    let body = match (value("transfer-encoding"), value("content-length")) {
        (Some("chunked"), _) => chunks(rest)?,
        (_, Some(text)) => {
            let body = text
                .parse()
                .map_err(|error| invalid(format!("Content-Length: {error}")))?;
            rest.get(..body).map(|bytes| (bytes.to_vec(), body))
        }
        _ => return Err(invalid("a response that does not say how long it is".into())),
    };
    let status = head.code.unwrap_or(0);
    Ok(body.map(|(body, taken)| (Response { status, body }, length + taken)))
}

/// A chunked body and how many bytes it is on the wire (RFC 9112, section 7.1), once it is whole. Trailers are none
/// that a test's server sends.
fn chunks(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let size = httparse::parse_chunk_size(&bytes[at..]).map_err(|_| invalid("no chunk's size".into()))?;
        let httparse::Status::Complete((line, size)) = size else {
            return Ok(None);
        };
        let begins = at + line;
        let ends = begins + usize::try_from(size).map_err(|error| invalid(error.to_string()))?;
        // An empty line ends each chunk.
        let Some(data) = bytes.get(begins..ends).filter(|_| bytes.len() >= ends + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(data);
        at = ends + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Option<(Response, usize)> {
        response(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_response_is_taken_once_it_is_whole() {
        for (text, body) in [
            ("HTTP/1.1 201 A\r\nContent-Length: 4\r\n\r\nbody", "body"),
            ("HTTP/1.1 201 A\r\ncontent-length: 0\r\n\r\n", ""),
            (
                "HTTP/1.1 201 A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n1;x=y\r\ny\r\n0\r\n\r\n",
                "body",
            ),
        ] {
            let expected = Response {
                status: 201,
                body: body.into(),
            };
            assert_eq!(whole(text), Some((expected.clone(), text.len())));
            assert_eq!(whole(&format!("{text}HTTP")), Some((expected, text.len())));
            for cut in 0..text.len() {
                assert_eq!(whole(&text[..cut]), None, "{}", &text[..cut]);
            }
        }
        for text in [
            "HTTP/1.1 200 A\r\n\r\n",
            "HTTP/1.1 200 A\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            "no HTTP",
        ] {
            assert!(response(text.as_bytes()).is_err(), "{text}");
        }
    }
}
