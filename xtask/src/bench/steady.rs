//! What tracing costs a server that has a CPU to itself and the same load all the time: its own CPU time a request.
//!
//! Owns the load and the CPUs. At the most that a server can do, which `cost` has too, memtrace and the clients take
//! their part of the same CPUs, and a server that waits for them does less at each turn of its loop: that tells of the
//! machine as much as of the probes. Must not know what the probes do.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    Watcher, Way,
    cost::{Idle, cpu_ns, micros, share_of_probes},
    has_perf, median,
    served::{Asked, NODE, Running, asked},
    table, watch, ways,
};
use crate::command;

/// The server's; all else is on the others.
const CPU: &str = "0";
/// Connections, each of which asks so many milliseconds after its last answer: about 8,000 requests a second.
const CONNECTIONS: &str = "-c48";
const EVERY: &str = "function delay() return 5 end\n";
const SECONDS: &str = "1s";
/// Of each way in a round, one after the other: what the machine does meanwhile meets all of them.
const TURNS: u32 = 5;

/// The figures of all turns.
pub(super) struct Steady {
    node: Running,
    others: String,
    script: TempDir,
    /// Microseconds of the server's CPU a request.
    cpu: [Way; 3],
    /// Of untraced, which went before: beside a traced process, and traced.
    ratios: [Vec<f64>; 2],
    /// Of its CPU time, in percent.
    shares: Vec<f64>,
}

impl Steady {
    /// `None` where there is one CPU only.
    pub(super) fn start() -> Result<Option<Self>> {
        let cpus = std::thread::available_parallelism()?.get();
        if cpus < 2 {
            return Ok(None);
        }
        let mut pinned = on(CPU, "node");
        let steady = Self {
            node: Running::start(pinned.args(["-e", NODE]), "/")?,
            others: format!("1-{}", cpus - 1),
            script: tempfile::tempdir().context("cannot make a temporary folder")?,
            cpu: ways([
                "untraced",
                "beside a process traced by memtrace",
                "traced by memtrace",
            ]),
            ratios: [Vec::new(), Vec::new()],
            shares: Vec::new(),
        };
        fs::write(steady.script.path().join("delay.lua"), EVERY).context("cannot write wrk's script")?;
        // What is compiled at the first requests is not the turn's.
        steady.ask()?;
        Ok(Some(steady))
    }

    pub(super) fn round(&mut self, memtrace: &Path) -> Result<()> {
        for _ in 0..TURNS {
            let untraced = self.cpu_of_a_turn()?;
            let other = Idle::begin()?;
            let beside = self.traced(memtrace, other.0.id())?;
            let traced = self.traced(memtrace, self.node.process.id())?;
            // Before and after, for the machine changes its mind in between.
            let untraced = f64::midpoint(untraced, self.cpu_of_a_turn()?);
            for (way, figure) in self.cpu.iter_mut().zip([untraced, beside, traced]) {
                way.add(figure);
            }
            for (ratios, figure) in self.ratios.iter_mut().zip([beside, traced]) {
                ratios.push(figure / untraced);
            }
        }
        if has_perf() {
            self.share(memtrace)?;
        }
        Ok(())
    }

    pub(super) fn print(&self) {
        println!(
            "\nthe same handler on a CPU of its own, at 8,000 requests a second, microseconds of its CPU time a request:"
        );
        print!("{}", table(&self.cpu));
        for (ratios, way) in self.ratios.iter().zip(&self.cpu[1..]) {
            let mut sorted = ratios.clone();
            sorted.sort_by(f64::total_cmp);
            let quartile = |part: usize| sorted.get(sorted.len() * part / 4).copied().unwrap_or(f64::NAN);
            println!(
                "  {:<36} turn by turn x{:.3} (half of them {:.3} to {:.3})",
                way.name,
                median(ratios),
                quartile(1),
                quartile(3)
            );
        }
        if !self.shares.is_empty() {
            let name = "percent of it, with the kernel's own";
            let figures = self.shares.clone();
            println!("\nof that CPU time, in the probes and on the way to them:");
            print!("{}", table(&[Way { name, figures }]));
        }
    }

    fn traced(&self, memtrace: &Path, pid: u32) -> Result<f64> {
        let mut watcher = self.memtrace_on(memtrace, pid)?;
        let figure = self.cpu_of_a_turn();
        watcher.stop()?;
        figure
    }

    fn cpu_of_a_turn(&self) -> Result<f64> {
        let before = cpu_ns(&self.node.process)?;
        let Asked { requests, .. } = self.ask()?;
        Ok(micros(before, cpu_ns(&self.node.process)?, requests))
    }

    /// Sampled on the server's CPU, which hardly anybody else is on.
    fn share(&mut self, memtrace: &Path) -> Result<()> {
        let samples = self.script.path().join("perf.data");
        let pid = self.node.process.id().to_string();
        let mut watcher = self.memtrace_on(memtrace, self.node.process.id())?;
        let mut perf = on(&self.others, "perf");
        perf.args([
            "record",
            "--quiet",
            "-g",
            "-e",
            "cpu-clock",
            "-F",
            "5000",
            "-p",
            &pid,
            "-o",
        ])
        .arg(&samples);
        let mut sampler = Watcher(perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        for _ in 0..TURNS {
            self.ask()?;
        }
        sampler.stop()?;
        watcher.stop()?;
        let mut script = Command::new("perf");
        let stacks = command::read(script.args(["script", "-F", "ip,sym", "-i"]).arg(&samples))?;
        self.shares.extend(share_of_probes(&stacks));
        Ok(())
    }

    fn ask(&self) -> Result<Asked> {
        let script = self.script.path().join("delay.lua");
        asked(
            on(&self.others, "wrk")
                .args(["-t1", CONNECTIONS, "-d", SECONDS, "-s"])
                .arg(script)
                .arg(&self.node.url),
        )
    }

    fn memtrace_on(&self, memtrace: &Path, pid: u32) -> Result<Watcher> {
        let mut command = on(&self.others, memtrace);
        watch(command.args(["--pid", &pid.to_string(), "--format", "table"]))
    }
}

/// A program, kept to these CPUs.
fn on(cpus: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpus]).arg(program);
    command
}
