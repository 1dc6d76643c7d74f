//! What tracing costs a server that has a CPU to itself and the same load all the time: its own CPU time a request.
//!
//! Owns the load, the CPUs and the turns. At the most that a server can do, which `cost` has too, memtrace and the clients
//! take their part of the same CPUs, and a server that waits for them does less at each turn of its loop: that tells of the
//! machine as much as of the probes. Must not know what the probes do.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    Watcher, Way,
    cost::{Idle, cpu_ns, micros, share_of_probes},
    has_perf, median,
    served::{NODE, Running},
    switch::{Others, Switch},
    table, watch, ways,
};
use crate::command;

/// The server's; all else is on the others.
const CPU: &str = "0";
/// Connections, each of which asks so many milliseconds after its last answer: about 8,000 requests a second.
const CONNECTIONS: &str = "-c48";
const EVERY: &str = "function delay() return 5 end\n";
/// What is compiled at the first requests is not the turn's.
const WARM_UP: Duration = Duration::from_secs(2);
/// Of one turn, and before it counts: requests that are under way when tracing is switched.
const TURN: Duration = Duration::from_millis(80);
const SETTLES: Duration = Duration::from_millis(20);
/// Of a round: turns with tracing, and as many without.
const PAIRS: u32 = 100;
/// That samples are taken for.
const SAMPLED: Duration = Duration::from_secs(5);

const WAYS: [&str; 2] = ["beside a process traced by memtrace", "traced by memtrace"];

/// The figures of all turns.
pub(super) struct Steady {
    node: Running,
    others: String,
    script: TempDir,
    /// Microseconds of the server's CPU a request.
    cpu: [Way; 2],
    /// Of samples of its CPU time, percent.
    shares: [Way; 2],
}

/// Clients, stopped on drop.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Steady {
    /// `None` where there is one CPU only.
    pub(super) fn start() -> Result<Option<Self>> {
        let cpus = thread::available_parallelism()?.get();
        if cpus < 2 {
            return Ok(None);
        }
        let mut pinned = on(CPU, "node");
        let steady = Self {
            node: Running::start(pinned.args(["-e", NODE]), "/")?,
            others: format!("1-{}", cpus - 1),
            script: tempfile::tempdir().context("cannot make a temporary folder")?,
            cpu: ways(WAYS),
            shares: ways(WAYS),
        };
        fs::write(steady.script.path().join("delay.lua"), EVERY).context("cannot write wrk's script")?;
        Ok(Some(steady))
    }

    pub(super) fn round(&mut self, memtrace: &Path) -> Result<()> {
        let _load = self.load()?;
        thread::sleep(WARM_UP);
        self.switch(memtrace)?;
        if has_perf() {
            let other = Idle::begin()?;
            for (which, pid) in [other.0.id(), self.node.process.id()].into_iter().enumerate() {
                if let Some(share) = self.share(memtrace, pid)? {
                    self.shares[which].add(share);
                }
            }
        }
        Ok(())
    }

    pub(super) fn print(&self) {
        println!(
            "\nthe same handler on a CPU of its own, at 8,000 requests a second, microseconds of its CPU time a request:"
        );
        print!("{}", table(&self.cpu));
        let [beside, traced] = &self.cpu;
        let ratios: Vec<f64> = std::iter::zip(&beside.figures, &traced.figures)
            .map(|(beside, traced)| traced / beside)
            .collect();
        let (low, high) = interval(&ratios);
        println!(
            "  of {} pairs of turns the median x{:.3} (with 95 % between {low:.3} and {high:.3})",
            ratios.len(),
            median(&ratios),
        );
        if self.shares.iter().all(|share| !share.figures.is_empty()) {
            println!("\nof that CPU time, in the probes and on the way to them, percent:");
            print!("{}", table(&self.shares));
        }
    }

    /// Pairs of turns: in one the process is traced, in the other it might as well be somebody else.
    fn switch(&mut self, memtrace: &Path) -> Result<()> {
        let others = Others::find();
        let mut watcher = self.memtrace_on(memtrace, self.node.process.id())?;
        let mut switch = Switch::of(&self.node.process, &others)?;
        for pair in 0..PAIRS {
            // The machine's drift meets either as often first.
            let turns = if pair % 2 == 0 {
                [false, true]
            } else {
                [true, false]
            };
            for is_traced in turns {
                switch.set(is_traced)?;
                thread::sleep(SETTLES);
                let before = Did::read(&self.node.process)?;
                thread::sleep(TURN);
                let after = Did::read(&self.node.process)?;
                self.cpu[usize::from(is_traced)].add(after.micros_since(before));
            }
        }
        watcher.stop()
    }

    /// Sampled on the server's CPU, which hardly anybody else is on.
    fn share(&self, memtrace: &Path, traced: u32) -> Result<Option<f64>> {
        let samples = self.script.path().join("perf.data");
        let server = self.node.process.id().to_string();
        let mut watcher = self.memtrace_on(memtrace, traced)?;
        let mut perf = on(&self.others, "perf");
        perf.args(["record", "--quiet", "-g", "-e", "cpu-clock", "-F", "5000"])
            .args(["-p", &server, "-o"])
            .arg(&samples);
        let mut sampler = Watcher(perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        thread::sleep(SAMPLED);
        sampler.stop()?;
        watcher.stop()?;
        let mut script = Command::new("perf");
        let stacks = command::read(script.args(["script", "-F", "ip,sym", "-i"]).arg(&samples))?;
        Ok(share_of_probes(&stacks))
    }

    fn load(&self) -> Result<Load> {
        let mut wrk = on(&self.others, "wrk");
        wrk.args(["-t1", CONNECTIONS, "-d", "1h", "-s"])
            .arg(self.script.path().join("delay.lua"))
            .arg(&self.node.url);
        let child = wrk.stdout(Stdio::null()).spawn().context("cannot run wrk")?;
        Ok(Load(child))
    }

    fn memtrace_on(&self, memtrace: &Path, pid: u32) -> Result<Watcher> {
        let mut command = on(&self.others, memtrace);
        watch(command.args(["--pid", &pid.to_string(), "--format", "table"]))
    }
}

/// What a server has done so far.
#[derive(Clone, Copy)]
struct Did {
    cpu_ns: u64,
    /// One for each request, as Node does it.
    reads: u64,
}

impl Did {
    fn read(process: &Child) -> Result<Self> {
        let io = format!("/proc/{}/io", process.id());
        let text = fs::read_to_string(&io).with_context(|| format!("cannot read {io}"))?;
        let reads = text.lines().find_map(|line| line.strip_prefix("syscr: "));
        Ok(Self {
            cpu_ns: cpu_ns(process)?,
            reads: reads.with_context(|| format!("{io} counts no reads"))?.parse()?,
        })
    }

    fn micros_since(self, before: Self) -> f64 {
        let reads = self.reads.saturating_sub(before.reads);
        micros(before.cpu_ns, self.cpu_ns, reads as f64)
    }
}

/// Where the median is of what these are a sample of, 19 times in 20: between these two of them, whatever they are like.
fn interval(figures: &[f64]) -> (f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (half, spread) = (sorted.len() / 2, sorted.len().isqrt());
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    (at(half.saturating_sub(spread)), at(half + spread))
}

/// A program, kept to these CPUs.
fn on(cpus: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpus]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_around_the_median() {
        let figures: Vec<f64> = (0..100).rev().map(f64::from).collect();
        assert_eq!(interval(&figures), (40.0, 60.0));
        assert!(interval(&[]).0.is_nan());
    }
}
