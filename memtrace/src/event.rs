//! What the pipeline is fed: records of the ring, and notices of what `/proc` knew.
//!
//! Owns the vocabulary between whoever has the events (a live run now, a recording later) and the pure stages.
//! A run is nothing but its events: the same ones give the same report.

use memtrace_common::{FaultCount, Fd, Nanos, Tgid, Tid, decode::Record};

use crate::ledger::{Work, entry::Lost};

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A probe's record.
    Record(Record<'a>),
    /// What userspace learned.
    Notice(Notice),
}

/// What userspace learned, from `/proc` or of the run itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Tracing began.
    Begin {
        /// When.
        time: Nanos,
    },
    /// A process was found, already running.
    Process {
        /// Its id.
        tgid: Tgid,
        /// Its `comm`.
        comm: String,
        /// The end of its heap, where it has one.
        brk: Option<u64>,
        /// It has an `io_uring`.
        io_uring: bool,
    },
    /// One of its threads, with the thread's counters as `/proc` had them **after** the probes were told to trace
    /// it: its faults count from there.
    Thread {
        /// Its process.
        tgid: Tgid,
        /// Its id.
        tid: Tid,
        /// Its counters.
        count: FaultCount,
        /// Its stack pointer, where it rests.
        sp: Option<u64>,
        /// Its own `comm`; empty where it could not be read.
        comm: String,
    },
    /// `/proc/PID/maps` of a process.
    Maps {
        /// The process.
        tgid: Tgid,
        /// The text.
        text: Vec<u8>,
        /// When it had been read.
        time: Nanos,
    },
    /// What the `mmap` maps whose record comes next.
    Mapped {
        /// The process.
        tgid: Tgid,
        /// The first address.
        start: u64,
        /// The path, as `/proc/PID/maps` has it, where it could be found.
        path: Option<Vec<u8>>,
        /// With `MAP_SHARED`.
        shared: bool,
        /// It lies on a file system in memory (tmpfs).
        in_memory: bool,
    },
    /// A program gave a name to some of its memory.
    Named {
        /// The process.
        tgid: Tgid,
        /// The first address.
        start: u64,
        /// Bytes.
        len: u64,
        /// The name, as `/proc/PID/maps` has it.
        name: Vec<u8>,
    },
    /// All threads of a process have been told of: what it does from this time on is traced whole. A request that
    /// began earlier was in flight.
    Seeded {
        /// The process.
        tgid: Tgid,
        /// When.
        time: Nanos,
    },
    /// A descriptor was found to be a socket.
    Socket {
        /// Its process.
        tgid: Tgid,
        /// The descriptor.
        fd: Fd,
        /// What it is.
        socket: Socket,
    },
    /// A descriptor was found to be an end of a channel, by which threads of its process can hand work to each other:
    /// both its ends are there.
    Channel {
        /// Its process.
        tgid: Tgid,
        /// The descriptor.
        fd: Fd,
        /// The way out of which it is read: a number that is the same for the descriptors by which it is written to.
        reads: Option<u64>,
        /// The way into which it is written.
        writes: Option<u64>,
    },
    /// A process has been gone for a while, and no record has said so.
    Gone {
        /// The process.
        tgid: Tgid,
        /// When that was noticed.
        time: Nanos,
    },
    /// A thread's counters at the end, read **before** the probes were told to stop: what it does later is not of
    /// this run.
    Horizon {
        /// The thread.
        tid: Tid,
        /// Its counters.
        count: FaultCount,
    },
    /// All horizons have been told; records that follow were made before or after them.
    Ending {
        /// A time before the first of them was read: what a request does later may not be counted whole.
        time: Nanos,
    },
    /// What a thread's work took since it last told of it, at the end of the run. Its last fault is that of the
    /// thread's most recent [`Fault`](memtrace_common::wire::Fault) record.
    Untold {
        /// The thread.
        tid: Tid,
        /// What it took.
        work: Work,
    },
    /// What the probes could not deliver, in all.
    Lost {
        /// How much.
        lost: Lost,
        /// What came on top since it was last told was lost at this time or later,
        since: Nanos,
        /// and at this one at the latest. Both are zero where that is not known.
        until: Nanos,
    },
    /// Something that the reader of the report should know.
    Note(String),
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// It listens, on this TCP port if it is one.
    Listener {
        /// The port.
        port: Option<u16>,
    },
    /// A client's connection, which came in on this TCP port.
    Inbound {
        /// The port.
        port: Option<u16>,
    },
    /// The process opened it.
    Outbound,
}
