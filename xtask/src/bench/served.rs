//! Requests a second of servers that do next to nothing, asked by `wrk`: what tracing costs a request.
//!
//! Owns the servers, the end of them, and how they are asked. Leaves out what is not installed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{JSON, Way, memtrace_on, table, ways};

/// Of one turn.
const SECONDS: &str = "2s";
/// Prints its port, as the workload does.
pub(super) const NODE: &str = "const s = require('http').createServer((_, r) => r.end('ok')); \
    s.listen(0, '127.0.0.1', () => console.log('listening on ' + s.address().port))";

/// The servers that there are.
pub(super) struct Served(Vec<Server>);

struct Server {
    name: &'static str,
    running: Running,
    ways: [Way; 2],
}

/// A server, killed on drop.
pub(super) struct Running {
    pub(super) process: Child,
    pub(super) url: String,
}

/// What `wrk` says.
pub(super) struct Asked {
    pub(super) requests: f64,
    pub(super) a_second: f64,
}

impl Served {
    pub(super) fn start(workload: &Path) -> Result<Self> {
        if which::which("wrk").is_err() {
            return Ok(Self(Vec::new()));
        }
        let mut workload = Command::new(workload);
        let mut servers = vec![Server::new(
            "GET /none of the workload server",
            Running::start(workload.args(["--mode", "loop"]), "/none")?,
        )];
        if which::which("node").is_ok() {
            servers.push(Server::new("a handler in Node", node()?));
        }
        Ok(Self(servers))
    }

    /// Asks each, untraced and traced.
    pub(super) fn turn(&mut self, memtrace: &Path) -> Result<()> {
        for Server { running, ways, .. } in &mut self.0 {
            ways[0].add(ask(running)?.a_second);
            let mut watcher = memtrace_on(memtrace, running.process.id(), JSON)?;
            ways[1].add(ask(running)?.a_second);
            watcher.stop()?;
        }
        Ok(())
    }

    pub(super) fn print(&self) {
        for Server { name, ways, .. } in &self.0 {
            println!("\n{name} under wrk, requests a second:");
            print!("{}", table(ways));
        }
    }
}

impl Server {
    fn new(name: &'static str, running: Running) -> Self {
        Self {
            name,
            running,
            ways: ways(["untraced", "traced by memtrace"]),
        }
    }
}

/// A handler in Node that does nothing.
pub(super) fn node() -> Result<Running> {
    Running::start(Command::new("node").args(["-e", NODE]), "/")
}

impl Running {
    pub(super) fn start(command: &mut Command, path: &str) -> Result<Self> {
        let mut server = Self {
            process: command
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {}", command.get_program().display()))?,
            url: String::new(),
        };
        let port = port(&mut server.process)
            .with_context(|| format!("{} does not listen", command.get_program().display()))?;
        server.url = format!("http://127.0.0.1:{port}{path}");
        Ok(server)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port that a server says in its first line, `listening on PORT`.
pub(super) fn port(server: &mut Child) -> Result<u16> {
    let said = server.stdout.take().context("it has no standard output")?;
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    line.trim()
        .rsplit(' ')
        .next()
        .and_then(|port| port.parse().ok())
        .with_context(|| format!("it said no port: {line:?}"))
}

/// Asks it for a turn's time.
pub(super) fn ask(Running { url, .. }: &Running) -> Result<Asked> {
    asked(Command::new("wrk").args(["-t1", "-c16", "-d", SECONDS, url]))
}

/// Runs a `wrk`.
pub(super) fn asked(wrk: &mut Command) -> Result<Asked> {
    let run = wrk.output().context("cannot run wrk")?;
    let said = String::from_utf8_lossy(&run.stdout);
    let figure = |found: fn(&str) -> Option<&str>| {
        said.lines()
            .find_map(|line| found(line.trim())?.trim().parse().ok())
            .with_context(|| format!("wrk said no figure: {said}"))
    };
    Ok(Asked {
        requests: figure(|line| Some(line.split_once(" requests in ")?.0))?,
        a_second: figure(|line| line.strip_prefix("Requests/sec:"))?,
    })
}
