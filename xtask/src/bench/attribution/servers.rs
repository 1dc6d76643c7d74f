//! The servers that say themselves for which request they work, and their start and end.
//!
//! Owns which there are, and in which shapes. Must not know what becomes of their requests.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::programs::{Program, Ready};
use crate::bench::served;

/// How long a server may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server, and the ways in which it answers: the first segment of the path.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) program: Program,
    pub(super) shapes: &'static [&'static str],
}

/// All of them.
pub(super) const SERVERS: [Server; 6] = [
    Server {
        name: "node",
        program: Program::Node,
        shapes: &[
            "sync",
            "fetch",
            "fetches",
            "agent",
            "timer",
            "timers",
            "immediate",
            "readfile",
            "pbkdf2",
            "gzip",
        ],
    },
    Server {
        name: "python",
        program: Program::Python,
        shapes: &["sync", "executor", "upstream"],
    },
    Server {
        name: "gunicorn",
        program: Program::Gunicorn,
        shapes: &["sync", "executor"],
    },
    Server {
        name: "aiohttp",
        program: Program::Aiohttp,
        shapes: &["sync", "upstream", "sleep", "executor"],
    },
    Server {
        name: "axum",
        program: Program::Axum,
        shapes: &["sync", "upstream", "spawn", "spawn_yielding", "spawn_blocking"],
    },
    Server {
        name: "go",
        program: Program::Go,
        shapes: &["sync", "upstream", "sleep"],
    },
];

/// A server that runs. Ended on drop.
pub(super) struct Running {
    process: Child,
    pub(super) port: u16,
}

impl Running {
    /// Starts it; it may ask the server on port `upstream`.
    pub(super) fn start(ready: &Ready, upstream: u16) -> Result<Self> {
        let process = ready
            .command()?
            .env("UPSTREAM", upstream.to_string())
            // Or glibc hands out the same pages again and again, which fault once; as low as this, pieces that lie side
            // by side and are freed together do not make room for a section.
            .env("MALLOC_MMAP_THRESHOLD_", "16384")
            // Or Python leaves its own files among the sources.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run it")?;
        // From here on it is ended whatever happens.
        let mut running = Self { process, port: 0 };
        running.port = served::port(&mut running.process)?;
        Ok(running)
    }

    fn has_ended(&mut self) -> bool {
        // One that cannot be waited for is gone.
        !self.process.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first: one with workers ends them.
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let end = Instant::now() + PATIENCE;
            while !self.has_ended() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // One that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
