//! A thread a connection, or a few threads that each serve one connection after another: every system call blocks.
//!
//! Owns the threads and their blocking. Must not know routes or how work is done.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::connection::{Connection, Next};
use crate::descriptors::use_once;
use crate::memory::settle_thread;
use crate::perform::Ground;
use crate::route::Work;

/// Enough for what `settle_thread` touches and what `/stack` asks for; what nobody touches costs nothing.
const STACK: usize = 8 << 20;
/// Threads that share the connections, where there are only a few.
const FEW: usize = 4;

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

/// Serves by a few threads that all accept, until the process is killed. Each opens something else as soon as it has
/// closed a connection: whoever is first has its number.
pub(crate) fn serve_by_few(listener: &TcpListener, ground: &Ground) -> io::Result<()> {
    thread::scope(|scope| {
        for _ in 1..FEW {
            scope.spawn(|| {
                if let Err(error) = accept_on_and_on(listener, ground) {
                    let _ = writeln!(io::stderr(), "memtrace-workload: {error}");
                    std::process::exit(1);
                }
            });
        }
        accept_on_and_on(listener, ground)?;
        Ok(())
    })
}

fn accept_on_and_on(listener: &TcpListener, ground: &Ground) -> io::Result<()> {
    settle_thread();
    let mut connection = Connection::new();
    for turn in 0_usize.. {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        connection.reset();
        // As above.
        let _ = converse(stream, &mut connection, ground);
        use_once(turn)?;
    }
    Ok(())
}

fn serve_one(stream: TcpStream, ground: &Ground) -> io::Result<()> {
    settle_thread();
    converse(stream, &mut Connection::new(), ground)
}

fn converse(mut stream: TcpStream, connection: &mut Connection, ground: &Ground) -> io::Result<()> {
    stream.set_nodelay(true)?;
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
                let done = match work {
                    Work::Hold(_) => Err(io::Error::new(ErrorKind::Unsupported, "no event loop")),
                    _ => ground.perform(work),
                };
                connection.answer(&done);
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
