//! Where the cost of tracing goes, for a server that does next to nothing and so shows it most: a handler in Node.
//!
//! Owns the turns and what each is for: figures that a busy machine moves little (nanoseconds a request in each probe,
//! CPU time, counts) beside the one that counts in the end, requests a second. Must not know how a server is started.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    Watcher, Way, machine, median, memtrace_on,
    served::{Running, ask, node},
    steady::Steady,
    table, watch, ways,
};
use crate::command;

/// `kernel.bpf_stats_enabled`
const BPF_STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// memtrace looks at its ring as often.
const AS_OFTEN: Duration = Duration::from_millis(5);
/// Until memtrace has taken what is left in the ring.
const DRAINED: Duration = Duration::from_millis(200);

/// The kernel keeps the time in each program while this lives. That takes time itself, so it is for turns of their own.
struct Timed(String);

impl Timed {
    fn begin() -> Result<Self> {
        let before = fs::read_to_string(BPF_STATS).with_context(|| format!("cannot read {BPF_STATS}"))?;
        fs::write(BPF_STATS, "1").with_context(|| format!("cannot write {BPF_STATS}"))?;
        Ok(Self(before))
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        // The next boot is as good.
        let _ = fs::write(BPF_STATS, self.0.trim());
    }
}

/// A process that does nothing, ended on drop.
pub(super) struct Idle(pub(super) Child);

impl Idle {
    pub(super) fn begin() -> Result<Self> {
        let sleep = Command::new("sleep").arg("infinity").spawn();
        Ok(Self(sleep.context("cannot run sleep")?))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program took so far.
#[derive(Clone, Copy, Default)]
struct Program {
    ns: u64,
    runs: u64,
}

/// By program, nanoseconds and runs of each turn's average request.
type Probes = BTreeMap<String, (Vec<f64>, Vec<f64>)>;

/// The figures of all turns.
struct Cost {
    rates: [Way; 4],
    /// Of the server and of memtrace, microseconds of CPU a request.
    cpu: [Way; 3],
    probes: Probes,
}

/// Measures in `rounds` turns.
pub(super) fn run(memtrace: &Path, rounds: u32) -> Result<()> {
    if which::which("wrk").is_err() || which::which("node").is_err() {
        bail!("this needs `wrk` and `node`");
    }
    let node = node()?;
    let mut cost = Cost {
        rates: ways([
            "untraced",
            "traced by memtrace",
            "beside a loop that takes as much CPU",
            "beside a process traced by memtrace",
        ]),
        cpu: ways(["the server, untraced", "the server, traced", "memtrace"]),
        probes: Probes::new(),
    };
    let mut steady = Steady::start()?;
    // What is compiled at the first requests is not the turn's.
    ask(&node)?;
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        cost.untraced(&node)?;
        let part = cost.traced(memtrace, &node)?;
        cost.beside_a_loop(part, &node)?;
        cost.beside_a_traced_process(memtrace, &node)?;
        cost.probes(memtrace, &node)?;
        if let Some(steady) = &mut steady {
            steady.round(memtrace)?;
        }
    }
    println!("\n{}", machine());
    cost.print();
    if let Some(steady) = &steady {
        steady.print();
    }
    print!("{}", records(memtrace, &node)?);
    Ok(())
}

impl Cost {
    fn untraced(&mut self, node: &Running) -> Result<()> {
        let before = cpu_ns(&node.process)?;
        let asked = ask(node)?;
        self.rates[0].add(asked.a_second);
        self.cpu[0].add(micros(before, cpu_ns(&node.process)?, asked.requests));
        Ok(())
    }

    /// Returns which part of a CPU memtrace took.
    fn traced(&mut self, memtrace: &Path, node: &Running) -> Result<f64> {
        let mut watcher = memtrace_beside(memtrace, node)?;
        let before = (cpu_ns(&node.process)?, cpu_ns(&watcher.0)?);
        let began = Instant::now();
        let asked = ask(node)?;
        let took = began.elapsed();
        let server = cpu_ns(&node.process)?;
        std::thread::sleep(DRAINED);
        self.rates[1].add(asked.a_second);
        self.cpu[1].add(micros(before.0, server, asked.requests));
        let memtrace = cpu_ns(&watcher.0)?;
        self.cpu[2].add(micros(before.1, memtrace, asked.requests));
        watcher.stop()?;
        Ok((memtrace - before.1) as f64 / took.as_nanos() as f64)
    }

    /// What anybody costs a server whose machine has no CPU to spare: a loop that runs for this part of the time.
    fn beside_a_loop(&mut self, part: f64, node: &Running) -> Result<()> {
        let is_over = AtomicBool::new(false);
        let asked = std::thread::scope(|scope| {
            scope.spawn(|| {
                let runs = AS_OFTEN.mul_f64(part.min(1.0));
                while !is_over.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    while began.elapsed() < runs {
                        std::hint::spin_loop();
                    }
                    std::thread::sleep(AS_OFTEN.saturating_sub(runs));
                }
            });
            let asked = ask(node);
            is_over.store(true, Ordering::Relaxed);
            asked
        })?;
        self.rates[2].add(asked.a_second);
        Ok(())
    }

    /// What the probes cost everybody, and so the least that they can cost anybody.
    fn beside_a_traced_process(&mut self, memtrace: &Path, node: &Running) -> Result<()> {
        let other = Idle::begin()?;
        let mut watcher = memtrace_on(memtrace, other.0.id(), &["--format", "table"])?;
        let asked = ask(node);
        watcher.stop()?;
        self.rates[3].add(asked?.a_second);
        Ok(())
    }

    fn probes(&mut self, memtrace: &Path, node: &Running) -> Result<()> {
        let _timed = Timed::begin()?;
        let mut watcher = memtrace_beside(memtrace, node)?;
        let before = programs(&watcher.0)?;
        let asked = ask(node)?;
        for (name, after) in programs(&watcher.0)? {
            let before = before.get(&name).copied().unwrap_or_default();
            let (ns, runs) = self.probes.entry(name).or_default();
            ns.push((after.ns - before.ns) as f64 / asked.requests);
            runs.push((after.runs - before.runs) as f64 / asked.requests);
        }
        watcher.stop()
    }

    fn print(&self) {
        println!("\na handler in Node under wrk, requests a second:");
        print!("{}", table(&self.rates));
        let ratios: Vec<f64> = std::iter::zip(&self.rates[1].figures, &self.rates[0].figures)
            .map(|(traced, untraced)| traced / untraced)
            .collect();
        let spread = ratios
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), &ratio| {
                (low.min(ratio), high.max(ratio))
            });
        println!(
            "  of what it is untraced, turn by turn       x{:.2}  ({:.2} to {:.2})",
            median(&ratios),
            spread.0,
            spread.1
        );
        println!("\nCPU time a request, microseconds:");
        print!("{}", table(&self.cpu));
        println!("\nin the probes, a request (wrk's own calls are on the same machine, and pass them too):");
        for (name, (ns, runs)) in &self.probes {
            println!("  {name:<24} {:>8.1} ns {:>8.2} runs", median(ns), median(runs));
        }
    }
}

/// The share, in percent, of `perf script`'s stacks that go through a program on a tracepoint, or are on the way that
/// system calls take for it; `None` where there are no stacks.
pub(super) fn share_of_probes(stacks: &str) -> Option<f64> {
    let stacks = stacks.split("\n\n").filter(|stack| !stack.trim().is_empty());
    let (mut all, mut within) = (0_u32, 0_u32);
    for stack in stacks {
        all += 1;
        let ways = ["bpf_trace_run", "syscall_trace_enter", "syscall_exit_work"];
        within += u32::from(ways.iter().any(|way| stack.contains(way)));
    }
    (all > 0).then(|| f64::from(within) / f64::from(all) * 100.0)
}

/// What goes through the ring for a request, by kind.
fn records(memtrace: &Path, node: &Running) -> Result<String> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let recording = folder.path().join("node.mtr");
    let pid = node.process.id().to_string();
    let mut record = Command::new(memtrace);
    record.args(["record", "--buffer", "256M", "--pid", &pid, "-o"]);
    let mut watcher = watch(record.arg(&recording))?;
    let asked = ask(node)?;
    watcher.stop()?;
    let run = [
        "run",
        "--quiet",
        "--release",
        "-p",
        "memtrace",
        "--example",
        "records",
        "--",
    ];
    let requests = format!("{:.0}", asked.requests);
    command::read(command::cargo().args(run).arg(&recording).arg(requests))
}

/// As a person begins with it.
fn memtrace_beside(memtrace: &Path, node: &Running) -> Result<Watcher> {
    memtrace_on(memtrace, node.process.id(), &["--format", "table"])
}

/// CPU time of all its threads.
pub(super) fn cpu_ns(process: &Child) -> Result<u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id()))?;
    let one = |task: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    Ok(tasks.flatten().filter_map(one).sum())
}

pub(super) fn micros(before: u64, after: u64, requests: f64) -> f64 {
    after.saturating_sub(before) as f64 / 1e3 / requests
}

/// What memtrace's programs took so far, by the name of their tracepoint: its descriptors tell.
fn programs(memtrace: &Child) -> Result<BTreeMap<String, Program>> {
    let mut by_id = BTreeMap::new();
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", memtrace.id()))?.flatten() {
        // One that it has closed since is none of its programs.
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        let field = |name: &str| {
            let value = |line: &str| {
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(|v| v.trim().to_owned())
            };
            text.lines().find_map(value)
        };
        let number = |name| field(name).and_then(|value| value.parse::<u64>().ok());
        let Some(id) = number("prog_id") else { continue };
        if let (Some(ns), Some(runs)) = (number("run_time_ns"), number("run_cnt")) {
            by_id.insert(id, Program { ns, runs });
        } else if let Some(name) = field("tp_name") {
            names.insert(id, name);
        }
    }
    if by_id.is_empty() {
        bail!("the kernel does not tell of memtrace's programs");
    }
    let named = |(id, program)| {
        (
            names.remove(&id).unwrap_or_else(|| format!("program {id}")),
            program,
        )
    };
    Ok(by_id.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_share_is_of_all_stacks() {
        let stacks =
            "\n 1 f\n 2 bpf_trace_run2\n 3 syscall\n\n 4 main\n\n 5 syscall_exit_work\n\n 6 main\n\n";
        assert_eq!(share_of_probes(stacks), Some(50.0));
        assert_eq!(share_of_probes(""), None);
    }
}
