//! The known-truth workload as a child process.
//!
//! Owns its command line and what its answers mean. Must not know memtrace.

use std::process::Command;

use serde::Deserialize;

use crate::client::{Client, Response};
use crate::kernel_at_least;
use crate::process::{Finished, Running, Stream, built};

/// How the server serves its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A thread a connection.
    Threads,
    /// One event loop.
    Loop,
    /// A few threads that all accept. Whatever one closes, another has its number at once.
    Few,
}

impl Mode {
    /// Those that serve a client from its first request to its last beside others.
    pub const ALL: [Mode; 2] = [Mode::Threads, Mode::Loop];
}

/// A running server; killed on drop.
pub struct Workload {
    running: Running,
    /// Where it listens.
    pub port: u16,
}

impl Workload {
    /// Starts it; every route has run once when this returns.
    #[track_caller]
    pub fn start(mode: Mode) -> Workload {
        Workload::start_with(mode, &[])
    }

    /// The same, with these options beside.
    #[track_caller]
    pub fn start_with(mode: Mode, options: &[&str]) -> Workload {
        let mode = match mode {
            Mode::Threads => "threads",
            Mode::Loop => "loop",
            Mode::Few => "few",
        };
        let running = Running::start(program(["--port", "0", "--mode", mode]).args(options));
        let line = running.wait_for_line(Stream::Stdout, "listening on ");
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        Workload {
            port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
            running,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A new connection, already served once: in thread mode its thread is ready then.
    #[track_caller]
    pub fn client(&self) -> Client {
        let client = Client::connect(self.port).and_then(|mut client| client.get("/none").map(|_| client));
        client.unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.running))
    }
}

/// The routes that take the pages of other kinds of memory, as far as this machine can serve them: without `/swap`
/// where no swap is on. For one client at a time: `/cow` forks the server.
pub fn kinds_of_memory() -> Vec<&'static str> {
    const KINDS: [&str; 15] = [
        "/keep?pages=",
        "/unmap?pages=",
        "/cow?pages=",
        "/filemap?pages=",
        "/filecow?pages=",
        "/filewrite?pages=",
        "/major?pages=",
        "/stack?pages=",
        "/jit?pages=",
        "/shm?pages=",
        "/thp?huge=",
        "/zero-read?pages=",
        "/mremap?pages=",
        "/mprotect?pages=",
        "/swap?pages=",
    ];
    let served = KINDS.len() - usize::from(rustix::system::sysinfo().totalswap == 0);
    KINDS[..served].to_vec()
}

/// What the kernel counted for the serving thread while it did what a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Counted {
    /// `min_flt`.
    pub minflt: u64,
    /// `maj_flt`.
    pub majflt: u64,
}

impl Counted {
    /// Out of an answer, which must be 200.
    #[track_caller]
    pub fn of(response: &Response) -> Counted {
        let counted = serde_json::from_slice(&response.body)
            .ok()
            .filter(|_| response.status == 200);
        counted.unwrap_or_else(|| panic!("status {}: {}", response.status, response.text()))
    }

    /// Minor and major.
    pub fn total(self) -> u64 {
        self.minflt + self.majflt
    }
}

/// What one request makes the kernel do, by its target alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Faults in user mode that a probe sees and the kernel counts.
    pub user: u64,
    /// The same in kernel mode.
    pub kernel: u64,
    /// What the kernel counts with no probe fired.
    pub untraced: u64,
}

impl Truth {
    /// Of a target such as `/touch?pages=100`.
    #[track_caller]
    pub fn of(target: &str) -> Truth {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let n = query.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match path {
            "/none" | "/segv" | "/space" | "/unmap" | "/release" => Truth::default(),
            "/touch" | "/brk" | "/sleep" | "/hold" | "/keep" | "/scatter" | "/cow" | "/filemap"
            | "/filecow" | "/major" | "/stack" | "/jit" | "/shm" | "/thp" | "/zero-read" | "/swap" => Truth {
                user: n,
                ..Truth::default()
            },
            "/kernel" | "/pwrite" | "/futex" => Truth {
                kernel: n,
                ..Truth::default()
            },
            "/filewrite" | "/mremap" => Truth {
                user: 2 * n,
                ..Truth::default()
            },
            "/mprotect" => Truth {
                user: if kernel_at_least(6, 0) { n } else { 2 * n },
                ..Truth::default()
            },
            "/populate" => Truth {
                untraced: n,
                ..Truth::default()
            },
            other => panic!("no such route: {other:?}"),
        }
    }

    /// All that the kernel counts.
    pub fn counted(self) -> u64 {
        self.user + self.kernel + self.untraced
    }
}

/// A storm of faults that starts when it is told to; killed on drop.
pub struct Storm(Running);

/// What a storm was.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct StormEnd {
    /// Pages touched.
    pub faults: u64,
    /// What the kernel counted meanwhile, minor.
    pub minflt: u64,
    /// And major.
    pub majflt: u64,
    /// From the first `mmap` to the last `munmap`, nanoseconds.
    pub elapsed_ns: u64,
    /// Of it, in touching pages, nanoseconds.
    pub touch_ns: u64,
}

impl Storm {
    /// A process that waits before its storm of so many faults.
    #[track_caller]
    pub fn ready(faults: u64) -> Storm {
        let running = Running::start(&mut program(["--gate", "--storm", &faults.to_string()]));
        running.wait_for_line(Stream::Stdout, "ready ");
        Storm(running)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Lets it go and waits until it is over; the process lives on.
    #[track_caller]
    pub fn blow(&mut self) -> StormEnd {
        self.0.type_in(b"g");
        let line = self.0.wait_for_line(Stream::Stdout, "{");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Lets the process end.
    #[track_caller]
    pub fn end(mut self) -> Finished {
        self.0.type_in(b"g");
        self.0.finish()
    }
}

/// `MEMTRACE_WORKLOAD_BIN` overrides which program it is.
#[track_caller]
fn program<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN"));
    command.args(arguments);
    command
}
