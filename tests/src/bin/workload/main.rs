//! `memtrace-workload`: a server, and a storm, whose faults are known in advance.
//!
//! Owns the command line, and the order in which things are set up so that a request costs no fault but those that
//! it asks for: no huge pages, malloc settled, every route's code run once before the port is announced.

mod connection;
mod descriptors;
mod event_loop;
mod files;
mod kind;
mod memory;
mod perform;
mod route;
mod stage;
mod storm;
mod threads;
mod wait;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};

/// A server whose requests take a known number of page faults.
#[derive(Debug, Parser)]
#[command(name = "memtrace-workload", version)]
struct Args {
    /// Port on 127.0.0.1; 0 picks one. `listening on PORT` goes to standard output when requests may come.
    #[arg(long, default_value_t = 0, conflicts_with = "storm")]
    port: u16,
    /// How connections are served.
    #[arg(long, value_enum, default_value_t = Mode::Threads, conflicts_with = "storm")]
    mode: Mode,
    /// How many clients an event loop serves at once.
    #[arg(long, value_name = "N", default_value_t = 128, conflicts_with = "storm")]
    slots: usize,
    /// Open so many descriptors before any request.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "storm")]
    descriptors: usize,
    /// No server: touch N fresh pages, print what that took, and exit.
    #[arg(long, value_name = "N")]
    storm: Option<u64>,
    /// Print `ready PID`; wait for a byte on standard input before the storm, and for another before exiting.
    #[arg(long, requires = "storm")]
    gate: bool,
}

/// How connections are served.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// A thread a connection, blocking.
    Threads,
    /// One thread with epoll.
    Loop,
    /// A few threads that all accept, one connection at a time each.
    Few,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Where transparent huge pages are `always`, one fault would map 512 pages at once.
    rustix::thread::disable_transparent_huge_pages(true).context("PR_SET_THP_DISABLE")?;
    if let Some(faults) = args.storm {
        return storm::run(faults, args.gate);
    }
    memory::keep_malloc_off_the_break();
    let ground = Arc::new(perform::Ground::prepare().context("setting up files and the forbidden page")?);
    ground
        .descriptors()
        .open(args.descriptors)
        .context("opening descriptors")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .with_context(|| format!("cannot listen on port {}", args.port))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        // Without an announcement nobody sends a request: whoever waits for it sees the message and the end.
        if let Err(error) = rehearse(address).and_then(|()| announce(address)) {
            let _ = writeln!(io::stderr(), "memtrace-workload: rehearsal: {error}");
            std::process::exit(1);
        }
    });
    match args.mode {
        Mode::Threads => threads::serve(&listener, &ground)?,
        Mode::Loop => event_loop::serve(&listener, &ground, args.slots)?,
        Mode::Few => threads::serve_by_few(&listener, &ground)?,
    }
    Ok(())
}

/// Calls every route twice, as a client, so that the code and data that they need are mapped by the first request.
fn rehearse(address: SocketAddr) -> io::Result<()> {
    const TARGETS: [&str; 35] = [
        "/none",
        "/touch?pages=2",
        "/kernel?pages=2",
        "/brk?pages=2",
        "/pwrite?pages=2",
        "/futex?pages=2",
        "/segv?n=2",
        "/populate?pages=2",
        "/sleep?ms=1&pages=2",
        "/space?n=2",
        "/wait/epoll_wait?pages=2",
        "/wait/epoll_pwait?pages=2",
        "/wait/epoll_pwait2?pages=2",
        "/wait/poll?pages=2",
        "/wait/ppoll?pages=2",
        "/wait/select?pages=2",
        "/wait/pselect6?pages=2",
        "/keep?pages=2",
        "/unmap?pages=2",
        "/scatter?pages=2",
        "/unmap?pages=2",
        "/cow?pages=2",
        "/filemap?pages=2",
        "/filecow?pages=2",
        "/filewrite?pages=2",
        "/major?pages=2",
        "/stack?pages=2",
        "/jit?pages=2",
        "/shm?pages=2",
        "/thp?huge=1",
        "/zero-read?pages=2",
        "/swap?pages=2",
        "/mremap?pages=2",
        "/mprotect?pages=2",
        "/nowhere",
    ];
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address)?;
        for target in TARGETS {
            write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        }
        stream.write_all(b"GET /none HTTP/1.1\r\nConnection: close\r\n\r\n")?;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers)?;
        // Also counts refusals: what an architecture does not have must not keep the rest from being served.
        let answered = answers.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
        if answered != TARGETS.len() + 1 {
            let answers = String::from_utf8_lossy(&answers).into_owned();
            return Err(io::Error::other(answers));
        }
    }
    Ok(())
}

fn announce(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "listening on {}", address.port())?;
    out.flush()
}
