//! The demo's clients: browsers, two at a time, that open the page, fetch its picture and press its button.
//!
//! Owns who asks for what, and in which order. Must not know how it is answered.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{BUTTON, message::Connection};

/// Clients at a time.
const CLIENTS: usize = 2;
/// Visits that each pays, one after the other.
const VISITS: usize = 6;
/// A visit: the page, its picture, its button; with what the answer has to contain.
const VISIT: [(&str, &str, &str, &str); 3] = [
    ("GET", "/", "", "<h1>Saju</h1>"),
    ("GET", "/sky.svg", "", "</svg>"),
    (BUTTON.0, BUTTON.1, "birthday=1999-03-07", "In December"),
];

/// How many requests a whole drive is.
pub const REQUESTS: usize = CLIENTS * VISITS * VISIT.len();

/// Sends the app all requests, [`CLIENTS`] at a time, until `stop` says otherwise. Returns how many were answered
/// as they should be; the first that was not is an error.
pub fn drive(app: SocketAddr, stop: &AtomicBool) -> io::Result<usize> {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| visit(app, stop))).collect();
        clients
            .into_iter()
            .map(|client| {
                client
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
            })
            .sum()
    })
}

/// One client.
fn visit(app: SocketAddr, stop: &AtomicBool) -> io::Result<usize> {
    let mut answered = 0;
    // A browser keeps its connection when it has what it wants.
    let mut connections = Vec::with_capacity(VISITS);
    for _ in 0..VISITS {
        connections.push(Connection::open(app)?);
        let Some(connection) = connections.last_mut() else {
            break;
        };
        for (method, path, body, expected) in VISIT {
            if stop.load(Ordering::Relaxed) {
                return Ok(answered);
            }
            connection.send(
                &format!("{method} {path} HTTP/1.1\r\nHost: {app}"),
                body.as_bytes(),
            )?;
            let answer = connection.response()?;
            let is_as_expected = answer
                .body
                .windows(expected.len())
                .any(|w| w == expected.as_bytes());
            if answer.status != 200 || !is_as_expected {
                return Err(io::Error::other(format!(
                    "{method} {path} was answered with {}",
                    answer.status
                )));
            }
            answered += 1;
        }
    }
    Ok(answered)
}
