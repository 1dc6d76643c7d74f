//! The client of a run: a command that drives the server while that is traced.
//!
//! Owns when it starts, and that it is gone when memtrace is. Must not know the probes, or what is made of the run.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{failure::Failure, target::Target};

/// How often it is looked whether the server listens.
const LOOK: Duration = Duration::from_millis(50);
/// An answer is in the client's hands before the server's thread has returned from the write that sent it, which is the
/// request's end. So long it may take.
pub(super) const LAST_WRITE: Duration = Duration::from_millis(100);
/// In the client's environment: where the server listens.
const PORT: &str = "MEMTRACE_PORT";

/// What is to be run, and when.
#[derive(Clone, Copy)]
pub(super) struct Drive<'a> {
    /// For `sh -c`.
    pub client: &'a OsStr,
    /// The port that it is for, if one was named.
    pub port: Option<u16>,
    /// So long a server that memtrace starts may take until it listens.
    pub patience: Duration,
}

impl Drive<'_> {
    /// Runs the client, once the target listens where memtrace has started that. Its status.
    pub(super) async fn run(self, target: &Target) -> Result<i32, Failure> {
        let port = if target.is_own_child() {
            let waited = tokio::time::timeout(self.patience, self.listening(target)).await;
            waited.map(Some).map_err(|_| self.does_not_listen())?
        } else {
            self.port.or_else(|| target.ports().first().copied())
        };
        let mut client = Client::start(self.client, port)?;
        let ended = client.0.wait().await.map_err(|why| cannot_run(&why))?;
        tokio::time::sleep(LAST_WRITE).await;
        Ok(status(ended))
    }

    /// Until the target listens, and where.
    async fn listening(self, target: &Target) -> u16 {
        let wanted = |ports: BTreeSet<u16>| match self.port {
            Some(port) => ports.contains(&port).then_some(port),
            None => ports.first().copied(),
        };
        loop {
            match wanted(target.ports()) {
                Some(port) => return port,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn does_not_listen(self) -> Failure {
        let on = self
            .port
            .map_or("any TCP port".to_owned(), |port| format!("TCP port {port}"));
        Failure::inconclusive(
            "--drive",
            format!(
                "the server does not listen on {on} after {} s",
                self.patience.as_secs_f64()
            ),
            "see what it says on its own; --patience TIME gives it longer, and --port says where it will listen",
        )
    }
}

/// The client's process, and those that it starts: a group of its own, which ends with this.
struct Client(Child);

impl Client {
    fn start(client: &OsStr, port: Option<u16>) -> Result<Self, Failure> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(client);
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        command.process_group(0);
        if let Some(port) = port {
            command.env(PORT, port.to_string());
        }
        command.spawn().map(Self).map_err(|why| cannot_run(&why))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // What has been waited for has no number any more.
        if let Some(group) = self.0.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended by itself.
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
    }
}

fn cannot_run(why: &std::io::Error) -> Failure {
    Failure::new(
        "cannot run the client",
        why,
        "see whether there is a `sh`, and whether this system can start more processes",
    )
}

/// 128 + N for signal N, as shells have it.
pub(super) fn status(ended: ExitStatus) -> i32 {
    let by_signal = || ended.signal().map(|n| 128 + n);
    ended
        .code()
        .or_else(by_signal)
        .unwrap_or(i32::from(super::failure::FAILED))
}
