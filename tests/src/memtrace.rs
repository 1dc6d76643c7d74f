//! The program under test, run as a user runs it.
//!
//! Owns its command line and its ready line. Must not know what it is pointed at.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Finished, Running, Stream, built};

/// A response is in the client's hands before the server's thread has returned from the write that sent it: so
/// long is waited before memtrace is told to stop, and that return is the request's end.
const LAST_WRITE: Duration = Duration::from_millis(100);

/// Memtrace while it traces; killed on drop.
pub struct Memtrace(Running);

/// The command with these arguments. `MEMTRACE_BIN` overrides which program it is.
#[track_caller]
pub fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(built("memtrace", "MEMTRACE_BIN"));
    command.args(arguments);
    command
}

/// Runs it to its own end.
#[track_caller]
pub fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Finished {
    Running::start(&mut command(arguments)).finish()
}

impl Memtrace {
    /// Starts it, and returns once it says that the target is ready to be measured.
    #[track_caller]
    pub fn attach(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Memtrace {
        let running = Running::start(&mut command(arguments));
        running.wait_for_line(Stream::Stderr, "memtrace: tracing");
        Memtrace(running)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// The most memory that it has had so far, in bytes (`VmHWM` in `man 5 proc_pid_status`).
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let kib = status.lines().find_map(|line| {
            let words = line.strip_prefix("VmHWM:")?;
            words.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kib.unwrap_or_else(|| panic!("no VmHWM in {status}")) * 1024
    }

    /// Has it ended of itself?
    #[track_caller]
    pub fn has_ended(&mut self) -> bool {
        self.0.has_ended()
    }

    /// Ctrl-C, after what was in flight has ended; returns all that it printed.
    #[track_caller]
    pub fn interrupt(self) -> Finished {
        std::thread::sleep(LAST_WRITE);
        self.0.signal(Signal::INT);
        self.0.finish()
    }

    /// Waits until it ends of itself.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.0.finish()
    }
}
