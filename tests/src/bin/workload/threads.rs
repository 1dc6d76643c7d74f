//! A thread a connection: every system call blocks.
//!
//! Owns the threads and their blocking. Must not know routes or how work is done.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::connection::{Connection, Next};
use crate::memory::settle_thread;
use crate::perform::Ground;
use crate::route::Work;

/// Enough for what `settle_thread` touches and what `/stack` asks for; what nobody touches costs nothing.
const STACK: usize = 8 << 20;

/// Serves until the process is killed.
pub(crate) fn serve(listener: &TcpListener, ground: &Arc<Ground>) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let ground = Arc::clone(ground);
        thread::Builder::new()
            .name("connection".into())
            .stack_size(STACK)
            .spawn(move || {
                // A client that leaves in the middle is no fault of the server's.
                let _ = serve_one(stream, &ground);
            })?;
    }
}

fn serve_one(mut stream: TcpStream, ground: &Ground) -> io::Result<()> {
    stream.set_nodelay(true)?;
    settle_thread();
    let mut connection = Connection::new();
    loop {
        match connection.next() {
            Next::Read => match stream.read(connection.room())? {
                0 => return Ok(()),
                bytes => {
                    connection.received(bytes);
                    continue;
                }
            },
            Next::Perform(work) => {
                if let Work::Sleep { wait, .. } = work {
                    thread::sleep(wait);
                }
                connection.answer(&ground.perform(work));
            }
            Next::Refused => {}
        }
        stream.write_all(connection.outgoing())?;
        connection.wrote(connection.outgoing().len());
        if connection.closing() {
            return Ok(());
        }
    }
}
