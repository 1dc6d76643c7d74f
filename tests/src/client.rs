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

    /// The next response. Its length must be given by `Content-Length`.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((status, length, body)) = frame(&self.ahead)?
                && self.ahead.len() >= length + body
            {
                let rest = self.ahead.split_off(length + body);
                let body = self.ahead.split_off(length);
                self.ahead = rest;
                return Ok(Response { status, body });
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

/// Status, head length and body length, once the head is whole.
fn frame(bytes: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let invalid = |what: String| io::Error::new(ErrorKind::InvalidData, what);
    let parsed = head
        .parse(bytes)
        .map_err(|error| invalid(format!("no HTTP response: {error}")))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let body = head
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or_else(|| invalid("a response without Content-Length".into()))?;
    Ok(Some((head.code.unwrap_or(0), length, body)))
}
