//! The client: so many connections that ask for the same few things in turns.
//!
//! Owns the requests. Must not know who watches the server; memtrace says by `MEMTRACE_PORT` where that is.

use std::{
    io::Write as _,
    net::{Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::bench::answers::receive;

/// A server that listens may have things to do before it is asked.
const BREATH: Duration = Duration::from_millis(400);
/// No server takes longer for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is asked for, and how often.
#[derive(Args)]
pub(crate) struct Plan {
    /// Connections at a time.
    #[arg(long)]
    clients: u16,
    /// How often each asks for all of it.
    #[arg(long)]
    rounds: u32,
    /// `METHOD TARGET [BODY]`
    #[arg(required = true)]
    requests: Vec<String>,
}

impl Plan {
    /// Asks, until all is answered.
    pub(crate) fn carry_out(&self) -> Result<()> {
        let port = std::env::var("MEMTRACE_PORT").context("MEMTRACE_PORT is not set: memtrace sets it")?;
        let port = port.parse().context("MEMTRACE_PORT is no port")?;
        let requests: Vec<String> = self.requests.iter().map(|text| bytes(text)).collect();
        thread::sleep(BREATH);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|_| scope.spawn(|| self.ask(port, &requests)))
                .collect();
            clients.into_iter().try_for_each(|client| {
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }

    fn ask(&self, port: u16, requests: &[String]) -> Result<()> {
        let mut kept = None;
        for request in (0..self.rounds).flat_map(|_| requests) {
            let mut stream = match kept.take() {
                Some(stream) => stream,
                None => connect(port)?,
            };
            stream.write_all(request.as_bytes()).context("cannot ask")?;
            let answer = receive(&mut stream).with_context(|| request.clone())?;
            kept = answer.goes_on.then_some(stream);
        }
        Ok(())
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A request's bytes.
fn bytes(text: &str) -> String {
    let mut words = text.splitn(3, ' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or("/");
    let body = words.next().unwrap_or_default();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line() {
        let expected = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length:";
        assert_eq!(
            bytes("GET /a?b=1"),
            format!("GET /a?b=1 HTTP/1.1\r\n{expected} 0\r\n\r\n")
        );
        let body = r#"{"name": "Mina"}"#;
        assert_eq!(
            bytes(&format!("POST /saju {body}")),
            format!("POST /saju HTTP/1.1\r\n{expected} 16\r\n\r\n{body}")
        );
    }
}
