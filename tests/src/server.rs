//! Servers other than the workload: scripts under `tests/apps/`, and programs that a distribution has.
//!
//! Owns finding them and learning where they listen. Must not know memtrace.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::process::{PATIENCE, Running, Stream, built};

/// A running server; killed on drop.
pub struct Server {
    /// The process itself.
    pub running: Running,
    /// Where it listens.
    pub port: u16,
}

impl Server {
    /// Starts a program that prints `listening on PORT` once it does.
    #[track_caller]
    pub fn start(command: &mut Command) -> Server {
        let running = Running::start(command);
        let line = running.wait_for_line(Stream::Stdout, "listening on ");
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
        Server {
            port: port.unwrap_or_else(|| panic!("no port in {line:?}")),
            running,
        }
    }

    /// Starts a program that was told where to listen, and waits until it does.
    #[track_caller]
    pub fn start_on(port: u16, command: &mut Command) -> Server {
        let mut running = Running::start(command);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = running.has_ended();
            assert!(
                !ended && Instant::now() < deadline,
                "nobody listens on port {port}\n{running}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Server { running, port }
    }

    /// `tests/apps/shapes/server.py` with these arguments.
    #[track_caller]
    pub fn shapes(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Server {
        Server::start(
            installed("python3", "python3")
                .arg(app("shapes/server.py"))
                .args(arguments),
        )
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// A new connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port).unwrap_or_else(|error| panic!("no connection: {error}\n{}", self.running))
    }
}

/// The command for a program of a distribution. Where it is missing the test fails, and says which Debian package
/// has it.
#[track_caller]
pub fn installed(program: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian has servers; a user's own PATH may lack it.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    Command::new(
        found.unwrap_or_else(|| panic!("this test needs {program}: install the Debian package {package}")),
    )
}

/// A file under `tests/apps/`.
pub fn app(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "apps", name].iter().collect()
}

/// The workload's program, for tests that run it by another name or another way. `MEMTRACE_WORKLOAD_BIN` overrides
/// which it is.
#[track_caller]
pub fn workload() -> PathBuf {
    built("memtrace-workload", "MEMTRACE_WORKLOAD_BIN")
}

/// A port on which nobody listens.
#[track_caller]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its number").port()
}
