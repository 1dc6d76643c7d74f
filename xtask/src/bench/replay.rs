//! What a recording costs: its length, and the time and the memory that its report and its traces take.
//!
//! Owns making recordings, of a storm and of a Node app, and reading how many events they have by their blocks' heads.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Watcher, machine, median, storm, watch};
use crate::workspace;

/// Requests that the Node app is recorded with.
const REQUESTS: usize = 40;

/// How often it is looked how much memory a report takes.
const LOOK: Duration = Duration::from_millis(2);

/// Bytes of a block's head, and where in it are its magic bytes, the number of its events and of the bytes behind it:
/// docs/RECORDING.md.
const HEAD: usize = 160;
const MAGIC: &[u8; 8] = b"\xf0mtblock";
const EVENTS: usize = 12;
const STORED: usize = 28;

/// Records a storm of `faults` and makes its report `rounds` times; records the Node app where there is Node.
pub(super) fn run(memtrace: &Path, workload: &Path, rounds: u32, faults: u64) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let recording = folder.path().join("storm.mtr");
    println!("recording a storm of {faults} page faults");
    record(memtrace, workload, faults, &recording)?;
    let (events, bytes) = length(&recording)?;
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        let (took, peak) = report(memtrace, &recording)?;
        rates.push(events as f64 / took.as_secs_f64() / 1e6);
        peaks.push(peak as f64 / 1024.0);
    }
    let least = |figures: &[f64]| figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
    println!("\n{}", machine());
    println!("\nthe recording of a storm of {faults} page faults, and {rounds} reports of it:");
    println!("  events                      {events:>10}");
    println!("  bytes                       {bytes:>10}");
    println!(
        "  bytes an event              {:>10.2}",
        bytes as f64 / events as f64
    );
    println!(
        "  million events a second     {:>10.2}  ({:.2} to {:.2})",
        median(&rates),
        least(&rates),
        most(&rates)
    );
    println!("  peak memory, MiB            {:>10.1}", most(&peaks));
    println!("\nits traces for Perfetto:");
    for detail in ["faults", "runs", "requests"] {
        let trace = folder.path().join("storm.pftrace");
        let mut export = Command::new(memtrace);
        export.arg("export").arg(&recording).arg("--perfetto").arg(&trace);
        let (took, peak) = timed(export.args(["--perfetto-detail", detail]))?;
        println!(
            "  {detail:<10} {:>8.2} million events a second, {:>12} bytes, peak memory {:.1} MiB",
            events as f64 / took.as_secs_f64() / 1e6,
            fs::metadata(&trace)?.len(),
            peak as f64 / 1024.0
        );
    }
    if which::which("node").is_ok() {
        record_node(memtrace, &recording)?;
        let (events, bytes) = length(&recording)?;
        println!("\nthe recording of a Node app while it answers {REQUESTS} requests:");
        println!("  events                      {events:>10}");
        println!(
            "  bytes an event              {:>10.2}",
            bytes as f64 / events as f64
        );
    }
    Ok(())
}

fn record(memtrace: &Path, workload: &Path, faults: u64, to: &Path) -> Result<()> {
    storm(workload, faults, |pid| recorder(memtrace, pid, to).map(Some))?;
    Ok(())
}

/// Records a process. The ring is large, so that nothing is lost however busy the machine is.
fn recorder(memtrace: &Path, pid: u32, to: &Path) -> Result<Watcher> {
    let mut record = Command::new(memtrace);
    record.args(["record", "--buffer", "256M", "--pid", &pid.to_string(), "-o"]);
    watch(record.arg(to))
}

/// Records the app in tests/apps/saju, asked one request at a time.
fn record_node(memtrace: &Path, to: &Path) -> Result<()> {
    let mut node = Command::new("node")
        .arg(workspace::root().join("tests/apps/saju/server.js"))
        .envs([("PORT", "0"), ("MOCK_PORT", "0"), ("MOCK_DELAY_MS", "5-20")])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run node")?;
    let done = ask_node(memtrace, &mut node, to);
    node.kill()?;
    node.wait()?;
    done
}

fn ask_node(memtrace: &Path, node: &mut Child, to: &Path) -> Result<()> {
    const BIRTH: &str = r#"{"name":"Mina","birthDate":"2001-05-17","birthTime":"06:30"}"#;
    let said = node.stdout.take().context("node has no standard output")?;
    // Open until the end: it may say more.
    let mut said = BufReader::new(said).lines();
    let port = said.find_map(|line| {
        let line = line.ok()?;
        line.strip_prefix("saju on ")?
            .rsplit(':')
            .next()?
            .parse::<u16>()
            .ok()
    });
    let port = port.context("the Node app says no port")?;
    let mut watcher = recorder(memtrace, node.id(), to)?;
    for _ in 0..REQUESTS {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let length = BIRTH.len();
        write!(
            stream,
            "POST /saju HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{BIRTH}"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            bail!("the Node app does not answer");
        }
    }
    watcher.stop()
}

/// How many events a recording has, and how many bytes.
fn length(recording: &Path) -> Result<(u64, u64)> {
    Ok((events(recording)?, fs::metadata(recording)?.len()))
}

/// How many events the blocks' heads count.
fn events(recording: &Path) -> Result<u64> {
    let mut file = BufReader::new(File::open(recording)?);
    let word = |bytes: &[u8], at: usize| -> Result<u32> {
        let bytes = bytes.get(at..at + 4).context("a word has four bytes")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    let mut beginning = [0; 16];
    file.read_exact(&mut beginning)?;
    file.seek(SeekFrom::Current(i64::from(word(&beginning, 12)?) + 8))?;
    let mut events = 0;
    let mut head = [0; HEAD];
    while !file.fill_buf()?.is_empty() {
        file.read_exact(&mut head)?;
        if !head.starts_with(MAGIC) {
            bail!("{} is damaged", recording.display());
        }
        events += u64::from(word(&head, EVENTS)?);
        file.seek(SeekFrom::Current(word(&head, STORED)?.into()))?;
    }
    Ok(events)
}

/// How long a report takes, and its `VmHWM` in KiB.
fn report(memtrace: &Path, recording: &Path) -> Result<(Duration, u64)> {
    let mut report = Command::new(memtrace);
    timed(report.arg("report").arg(recording).args(["--format", "json"]))
}

/// How long a command takes, and its `VmHWM` in KiB.
fn timed(command: &mut Command) -> Result<(Duration, u64)> {
    let begin = Instant::now();
    let mut child = command
        .stdout(Stdio::null())
        .spawn()
        .context("cannot run memtrace")?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(now.unwrap_or(0));
        std::thread::sleep(LOOK);
    };
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok((begin.elapsed(), peak))
}
