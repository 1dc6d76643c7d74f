//! Ctrl-C and SIGTERM.
//!
//! Owns how they are caught, and what became of them before. Must not know what a run does about them.

use std::time::Duration;

use procfs::process::Process;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// The signals that end a run.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    ignored: Vec<i32>,
}

impl Signals {
    /// From here on they are caught.
    pub(super) fn new() -> Result<Self, Failure> {
        let ignored = ignored(&[SignalKind::interrupt(), SignalKind::terminate()]);
        let on = |kind| {
            signal(kind).map_err(|why| Failure::new("cannot catch signals", why, "please report this"))
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            ignored,
        })
    }

    /// The numbers of those that memtrace was started to ignore, as a shell starts jobs in the background. It catches
    /// them all the same, but a COMMAND has to find them as they were.
    pub(super) fn ignored(&self) -> &[i32] {
        &self.ignored
    }

    /// Whether one has come and was not waited for.
    pub(super) async fn came(&mut self) -> bool {
        // The runtime may not have looked yet.
        const LOOK: Duration = Duration::from_millis(20);
        tokio::time::timeout(LOOK, self.any()).await.is_ok()
    }

    /// Until one comes.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Which of these this process ignores.
fn ignored(of: &[SignalKind]) -> Vec<i32> {
    let Ok(status) = Process::myself().and_then(|me| me.status()) else {
        return Vec::new();
    };
    of.iter()
        .map(SignalKind::as_raw_value)
        .filter(|n| status.sigign >> (n - 1) & 1 == 1)
        .collect()
}
