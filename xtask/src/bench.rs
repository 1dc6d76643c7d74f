//! What tracing costs: the same work untraced, traced, and beside a traced neighbour, in turns, in one run.
//!
//! Owns the measuring and its arithmetic. Prints ratios of medians and their spread; never passes or fails.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::{command, workspace};

mod answers;
mod attribution;
mod check;
mod cost;
mod map;
mod markers;
mod page;
mod replay;
mod runtime;
mod served;
mod steady;
mod switch;

use served::Served;

/// System calls of one turn.
const CALLS: u32 = 1_000_000;

/// The report is one document.
const JSON: &[&str] = &["--format", "json"];

/// A part that can be measured without the others.
#[derive(Subcommand)]
pub(crate) enum Only {
    /// Where the cost of tracing a small request goes.
    Cost(Turns),
    /// How many slices a second become a Perfetto trace.
    Perfetto,
    /// How long `memtrace map` takes of a process with many regions.
    Map(Turns),
    /// What Node's own view of its memory costs a request.
    Runtime(Turns),
    /// How long a recording is, and how fast it is read.
    Replay(Turns),
    /// Whose memtrace says that faults are, held to what servers say themselves.
    Attribution(attribution::Asked),
    /// How often `memtrace check` is wrong, of runs that are known to have changed or not.
    Check(check::Asked),
    /// The client of that.
    #[command(hide = true)]
    Drive(check::client::Plan),
}

/// How much is measured.
#[derive(Args)]
pub(crate) struct Turns {
    /// How often each kind of run takes its turn.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Page faults of one storm; 300,000, or 5,000,000 of one that is recorded.
    #[arg(long)]
    faults: Option<u64>,
}

/// What the storm says of itself.
#[derive(Deserialize)]
struct Storm {
    ns_per_fault: f64,
}

/// Somebody who watches a process.
struct Watcher(Child);

/// One way to run the work.
struct Way {
    name: &'static str,
    figures: Vec<f64>,
}

/// Measures one part, or what tracing costs.
pub(crate) fn run(only: Option<Only>, turns: &Turns) -> Result<()> {
    match only {
        None => {
            let (memtrace, workload) = build()?;
            tracing(
                &memtrace,
                &workload,
                turns.rounds,
                turns.faults.unwrap_or(300_000),
            )
        }
        Some(Only::Replay(turns)) => {
            let (memtrace, workload) = build()?;
            replay::run(
                &memtrace,
                &workload,
                turns.rounds,
                turns.faults.unwrap_or(5_000_000),
            )
        }
        Some(Only::Map(turns)) => {
            let (memtrace, workload) = build()?;
            map::run(&memtrace, &workload, turns.rounds)
        }
        Some(Only::Runtime(turns)) => runtime::run(&build()?.0, turns.rounds),
        Some(Only::Cost(turns)) => cost::run(&build()?.0, turns.rounds),
        Some(Only::Perfetto) => perfetto(),
        Some(Only::Attribution(asked)) => attribution::run(&asked),
        Some(Only::Check(asked)) => {
            let (memtrace, workload) = build()?;
            check::run(&asked, &memtrace, &workload)
        }
        Some(Only::Drive(plan)) => plan.carry_out(),
    }
}

/// memtrace, and the workload that it is measured with.
fn build() -> Result<(PathBuf, PathBuf)> {
    command::stream(command::cargo().args(["build", "--release", "-p", "memtrace", "-p", "memtrace-tests"]))?;
    let bin = workspace::target_dir().join("release");
    Ok((bin.join("memtrace"), bin.join("memtrace-workload")))
}

/// How many slices a second become a Perfetto trace.
fn perfetto() -> Result<()> {
    println!("{}", machine());
    let run = ["run", "--quiet", "--release", "-p", "memtrace"];
    command::stream(command::cargo().args(run).args(["--example", "perfetto_speed"]))
}

fn has_perf() -> bool {
    let version = Command::new("perf").arg("--version").output();
    version.is_ok_and(|o| o.status.success())
}

/// A storm of `faults` page faults, a million system calls, markers, and servers.
fn tracing(memtrace: &Path, workload: &Path, rounds: u32, faults: u64) -> Result<()> {
    let perf = has_perf();
    let mut storms = ways([
        "untraced",
        "traced by memtrace",
        "traced, with --fault-time",
        "beside a process traced by memtrace",
        "perf record, every fault",
    ]);
    let mut calls = ways(["untraced", "beside a process traced by memtrace"]);
    let mut writes = ways([
        "plain, untraced",
        "a marker, untraced",
        "plain, traced by memtrace",
        "a marker, traced by memtrace",
    ]);
    let mut served = Served::start(workload)?;
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        storms[0].add(storm(workload, faults, |_| Ok(None))?);
        storms[1].add(storm(workload, faults, |pid| {
            memtrace_on(memtrace, pid, JSON).map(Some)
        })?);
        storms[2].add(storm(workload, faults, |pid| {
            memtrace_on(memtrace, pid, &["--format", "json", "--fault-time"]).map(Some)
        })?);
        let mut neighbour = Command::new("sleep")
            .arg("1000")
            .spawn()
            .context("cannot run `sleep`")?;
        let mut watcher = memtrace_on(memtrace, neighbour.id(), JSON)?;
        storms[3].add(storm(workload, faults, |_| Ok(None))?);
        calls[1].add(system_calls());
        watcher.stop()?;
        neighbour.kill()?;
        neighbour.wait()?;
        calls[0].add(system_calls());
        if perf {
            storms[4].add(storm(workload, faults, |pid| perf_on(pid).map(Some))?);
        }
        writes[0].add(markers::plain()?);
        writes[1].add(markers::marked()?);
        let mut watcher = memtrace_on(memtrace, std::process::id(), JSON)?;
        writes[2].add(markers::plain()?);
        writes[3].add(markers::marked()?);
        watcher.stop()?;
        served.turn(memtrace)?;
    }
    println!("\n{}", machine());
    println!("\na storm of {faults} page faults, nanoseconds a fault, {rounds} turns each:");
    print!("{}", table(&storms));
    println!("\n{CALLS} calls of getppid(2), nanoseconds a call, {rounds} turns each:");
    print!("{}", table(&calls));
    println!(
        "\n{} writes to /dev/null, nanoseconds a write, {rounds} turns each:",
        markers::WRITES
    );
    print!("{}", table(&writes));
    served.print();
    Ok(())
}

fn ways<const N: usize>(names: [&'static str; N]) -> [Way; N] {
    names.map(|name| Way {
        name,
        figures: Vec::new(),
    })
}

impl Way {
    fn add(&mut self, figure: f64) {
        self.figures.push(figure);
    }
}

/// One storm, with whoever `watch` puts beside it. Nanoseconds a fault.
fn storm(workload: &Path, faults: u64, watch: impl FnOnce(u32) -> Result<Option<Watcher>>) -> Result<f64> {
    let mut storm = Command::new(workload)
        .args(["--storm", &faults.to_string(), "--gate"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the workload")?;
    let mut gate = storm.stdin.take().context("the storm has no standard input")?;
    let mut said = BufReader::new(storm.stdout.take().context("the storm has no standard output")?).lines();
    said.next().context("the storm is not ready")??;
    let watcher = watch(storm.id())?;
    let go = |gate: &mut ChildStdin| gate.write_all(b"\n").and_then(|()| gate.flush());
    go(&mut gate)?;
    let line = said.next().context("the storm said nothing")??;
    let figures: Storm =
        serde_json::from_str(&line).with_context(|| format!("not a storm's report: {line}"))?;
    if let Some(mut watcher) = watcher {
        watcher.stop()?;
    }
    go(&mut gate)?;
    storm.wait()?;
    Ok(figures.ns_per_fault)
}

fn memtrace_on(memtrace: &Path, pid: u32, options: &[&str]) -> Result<Watcher> {
    watch(
        Command::new(memtrace)
            .args(["--pid", &pid.to_string()])
            .args(options),
    )
}

/// Starts memtrace, and returns once it traces.
fn watch(memtrace: &mut Command) -> Result<Watcher> {
    let mut child = memtrace
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run memtrace")?;
    let mut said = BufReader::new(child.stderr.take().context("memtrace has no standard error")?);
    let mut line = String::new();
    while !line.starts_with("memtrace: tracing") {
        line.clear();
        if said.read_line(&mut line)? == 0 {
            bail!("memtrace did not begin to trace: run this as root");
        }
    }
    // Whatever else it says must not block it.
    std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
    Ok(Watcher(child))
}

fn perf_on(pid: u32) -> Result<Watcher> {
    let child = Command::new("perf")
        .args([
            "record",
            "-q",
            "-e",
            "page-faults",
            "-c",
            "1",
            "-d",
            "-o",
            "/dev/null",
            "-p",
            &pid.to_string(),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run perf")?;
    // perf says nothing when it is ready.
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(Watcher(child))
}

impl Watcher {
    fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT)
            .context("cannot stop the watcher")?;
        self.0.wait()?;
        Ok(())
    }
}

/// Nanoseconds a call.
fn system_calls() -> f64 {
    let begin = Instant::now();
    for _ in 0..CALLS {
        std::hint::black_box(rustix::process::getppid());
    }
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// Medians, their ratios to the first way's, and the spread.
fn table(ways: &[Way]) -> String {
    let mut text = String::new();
    let base = ways.first().map_or(f64::NAN, |way| median(&way.figures));
    for Way { name, figures } in ways.iter().filter(|way| !way.figures.is_empty()) {
        let middle = median(figures);
        let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {name:<36} {middle:>8.1}  x{:.2}  ({low:.1} to {high:.1})",
            middle / base
        );
    }
    text
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// What the machine is, for whoever reads the figures.
fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cpus = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cpus} x {}, kernel {}",
        model.trim_start_matches([' ', '\t', ':']),
        release.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[1.0, 2.0, 3.0, 10.0]) - 2.5).abs() < f64::EPSILON);
        let ways = [
            ("plain", vec![100.0, 90.0, 110.0]),
            ("traced", vec![120.0]),
            ("not run", vec![]),
        ]
        .map(|(name, figures)| Way { name, figures });
        let text = table(&ways);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("x1.20"), "{text}");
        assert!(text.contains("(90.0 to 110.0)"), "{text}");
    }
}
