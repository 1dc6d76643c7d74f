//! Clients that ask a server without a pause, each request with a number of its own.
//!
//! Owns the connections and the numbers. Must not know who watches the server.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// No server takes longer for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// The next request is sent on it.
    KeptAlive,
    /// It is closed, as its client asked.
    Closed,
}

/// So many clients, for so long.
pub(super) struct Load<'a> {
    pub(super) port: u16,
    /// The first segment of the path; the number is the second.
    pub(super) shape: &'a str,
    pub(super) clients: usize,
    pub(super) connection: Connection,
    pub(super) time: Duration,
}

impl Load<'_> {
    /// Runs all clients. How many requests were answered.
    pub(super) fn run(&self, numbers: &AtomicU64) -> Result<u64> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| scope.spawn(|| self.ask(numbers)))
                .collect();
            clients
                .into_iter()
                .map(|client| {
                    client
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .sum()
        })
    }

    /// One client. How many requests were answered.
    fn ask(&self, numbers: &AtomicU64) -> Result<u64> {
        let end = Instant::now() + self.time;
        let mut kept = None;
        let mut answered = 0;
        while Instant::now() < end {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => self.connect()?,
            };
            let head = self.head(number);
            let goes_on = stream
                .write_all(head.as_bytes())
                .context("cannot ask")
                .and_then(|()| receive(&mut stream))
                .with_context(|| format!("request {number}"))?;
            answered += 1;
            if goes_on && self.connection == Connection::KeptAlive {
                kept = Some(stream);
            }
        }
        Ok(answered)
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn head(&self, number: u64) -> String {
        let close = match self.connection {
            Connection::KeptAlive => "",
            Connection::Closed => "Connection: close\r\n",
        };
        format!(
            "GET /{}/{number} HTTP/1.1\r\nHost: localhost\r\n{close}\r\n",
            self.shape
        )
    }
}

/// Takes an answer to its end. Whether the server goes on with the connection.
fn receive(stream: &mut TcpStream) -> Result<bool> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let bytes = stream.read(&mut chunk).context("cannot read the answer")?;
        if bytes == 0 {
            bail!("the answer is cut off: {:?}", String::from_utf8_lossy(&received));
        }
        received.extend_from_slice(&chunk[..bytes]);
        if let Some(goes_on) = whole(&received)? {
            return Ok(goes_on);
        }
    }
}

/// Once an answer is whole: whether the server goes on with the connection.
fn whole(received: &[u8]) -> Result<Option<bool>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(received).context("no answer")? else {
        return Ok(None);
    };
    let value = |name| {
        let header = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    if head.code != Some(200) {
        bail!("the server says {}", String::from_utf8_lossy(received));
    }
    let body: usize = value("content-length")
        .and_then(|length| length.parse().ok())
        .context("an answer that does not say how long it is")?;
    let goes_on = !value("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
    Ok((received.len() >= length + body).then_some(goes_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_last_byte() {
        for (text, goes_on) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            (
                "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 0\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(whole(text.as_bytes()).expect("an answer"), Some(goes_on));
            for cut in 0..text.len() {
                assert_eq!(whole(&text.as_bytes()[..cut]).expect("a beginning"), None);
            }
        }
        for text in [
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "no HTTP",
        ] {
            assert!(whole(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_head_has_shape_and_number() {
        let mut load = Load {
            port: 1,
            shape: "sync",
            clients: 1,
            connection: Connection::KeptAlive,
            time: Duration::ZERO,
        };
        assert_eq!(load.head(7), "GET /sync/7 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        load.connection = Connection::Closed;
        assert_eq!(
            load.head(8),
            "GET /sync/8 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
    }
}
