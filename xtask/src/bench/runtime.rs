//! What Node's own view of its memory costs a request: a handler that does nothing, with `node/memtrace.mjs` and without.
//!
//! Owns the turns. One client asks, so a request's time is what it takes from one to the next.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    JSON, machine, median, memtrace_on,
    served::{NODE, Running, asked},
    table, ways,
};
use crate::workspace;

pub(super) fn run(memtrace: &Path, rounds: u32) -> Result<()> {
    let preload = workspace::root().join("node/memtrace.mjs");
    let plain = Running::start(Command::new("node").args(["-e", NODE]), "/")?;
    let told = Running::start(
        Command::new("node")
            .arg("--import")
            .arg(preload)
            .args(["-e", NODE]),
        "/",
    )?;
    let mut ways = ways([
        "without",
        "with it, nobody traces",
        "traced, without",
        "traced, with it",
    ]);
    for _ in 0..rounds {
        ways[0].add(request(&plain)?);
        ways[1].add(request(&told)?);
        for (way, server) in [(2, &plain), (3, &told)] {
            let mut watcher = memtrace_on(memtrace, server.process.id(), JSON)?;
            ways[way].add(request(server)?);
            watcher.stop()?;
        }
    }
    println!("{}", machine());
    println!("a handler in Node that does nothing, one client, microseconds a request:");
    print!("{}", table(&ways));
    let more = |with: usize, without: usize| {
        let pairs = ways[with].figures.iter().zip(&ways[without].figures);
        median(&pairs.map(|(with, without)| with - without).collect::<Vec<_>>())
    };
    println!("more with it: {:.1}, traced {:.1}", more(1, 0), more(3, 2));
    Ok(())
}

fn request(server: &Running) -> Result<f64> {
    let said = asked(Command::new("wrk").args(["-t1", "-c1", "-d", "1s", &server.url]))
        .context("wrk is needed: install the Debian package wrk")?;
    Ok(1e6 / said.a_second)
}
