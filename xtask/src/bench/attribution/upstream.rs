//! The server that the servers ask: it answers late.
//!
//! Owns its threads, one a connection. Nobody traces it. Must not know who asks, or why.

use std::{
    io::{Read as _, Result, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// How late: these take turns, so that answers come in another order than questions.
const LATE: [Duration; 4] = [
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(3),
    Duration::from_millis(4),
];
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nlate\n";

/// Serves until this process ends. Its port.
pub(super) fn start() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for (stream, turn) in listener.incoming().zip(0..) {
            // One that has gone already wants nothing.
            if let Ok(stream) = stream {
                thread::spawn(move || serve(stream, turn));
            }
        }
    });
    Ok(port)
}

/// Answers each question, which has no body, until there are no more.
fn serve(mut stream: TcpStream, first: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut asked = Vec::new();
    let mut chunk = [0; 4096];
    for turn in first.. {
        while !asked.ends_with(b"\r\n\r\n") {
            let bytes = stream.read(&mut chunk)?;
            if bytes == 0 {
                return Ok(());
            }
            asked.extend_from_slice(&chunk[..bytes]);
        }
        asked.clear();
        thread::sleep(LATE[turn % LATE.len()]);
        stream.write_all(ANSWER)?;
    }
    Ok(())
}
