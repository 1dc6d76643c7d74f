//! Clients that ask a server without a pause, each request with a number of its own.
//!
//! Owns the connections and the numbers. Must not know who watches the server.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::bench::answers::receive;

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
            let answer = stream
                .write_all(head.as_bytes())
                .context("cannot ask")
                .and_then(|()| receive(&mut stream))
                .with_context(|| format!("request {number}"))?;
            if answer.status != 200 {
                bail!("request {number}: the server says {}", answer.status);
            }
            answered += 1;
            if answer.goes_on && self.connection == Connection::KeptAlive {
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

#[cfg(test)]
mod tests {
    use super::*;

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
