//! Requests a second of servers that do next to nothing, asked by `wrk`: what tracing costs a request.
//!
//! Owns the servers, and the end of them. Leaves out what is not installed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

use super::{Way, memtrace_on, table, ways};

/// Of one turn.
const SECONDS: &str = "2s";
/// Prints its port, as the workload does.
const NODE: &str = "const s = require('http').createServer((_, r) => r.end('ok')); \
    s.listen(0, '127.0.0.1', () => console.log('listening on ' + s.address().port))";

/// The servers that there are.
pub(super) struct Served(Vec<Server>);

/// Killed on drop.
struct Server {
    name: &'static str,
    url: String,
    process: Child,
    ways: [Way; 2],
}

impl Served {
    pub(super) fn start(workload: &Path) -> Result<Self> {
        if which::which("wrk").is_err() {
            return Ok(Self(Vec::new()));
        }
        let mut servers = vec![Server::start(
            "GET /none of the workload server",
            Command::new(workload).args(["--mode", "loop"]),
            "/none",
        )?];
        if which::which("node").is_ok() {
            let mut node = Command::new("node");
            servers.push(Server::start("a handler in Node", node.args(["-e", NODE]), "/")?);
        }
        Ok(Self(servers))
    }

    /// Asks each, untraced and traced.
    pub(super) fn turn(&mut self, memtrace: &Path) -> Result<()> {
        for server in &mut self.0 {
            server.ways[0].add(wrk(&server.url)?);
            let mut watcher = memtrace_on(memtrace, server.process.id(), &[])?;
            server.ways[1].add(wrk(&server.url)?);
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
    fn start(name: &'static str, command: &mut Command, path: &str) -> Result<Self> {
        let mut server = Self {
            name,
            url: String::new(),
            process: command
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {name}"))?,
            ways: ways(["untraced", "traced by memtrace"]),
        };
        let port = port(&mut server.process).with_context(|| format!("{name} does not listen"))?;
        server.url = format!("http://127.0.0.1:{port}{path}");
        Ok(server)
    }
}

impl Drop for Server {
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

fn wrk(url: &str) -> Result<f64> {
    let run = Command::new("wrk")
        .args(["-t1", "-c8", "-d", SECONDS, url])
        .output()
        .context("cannot run wrk")?;
    let said = String::from_utf8_lossy(&run.stdout);
    said.lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:")?.trim().parse().ok())
        .with_context(|| format!("wrk said no figure: {said}"))
}
