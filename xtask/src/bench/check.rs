//! How often `memtrace check` is wrong, of runs that are known to have changed or not.
//!
//! Owns the runs and the counts: each run is a server started, driven, checked and stopped by memtrace, as a CI does it.
//! Must not know how a run is judged.

use std::{
    collections::BTreeMap,
    fmt,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Deserialize;

use self::servers::{Commands, Knob, ROUTES, Server};
use super::{machine, page::CHECK};
use crate::privilege;

pub(super) mod client;
mod servers;

/// A change is of as many faults, or of so many in a hundred where that is more.
const MORE_FAULTS: u64 = 10;
const MORE_PERCENT: u64 = 5;

/// What is to be measured.
#[derive(Args)]
pub(crate) struct Asked {
    /// This server alone: rust or node; repeatable.
    #[arg(long, value_name = "NAME", value_parser = known)]
    server: Vec<Server>,
    /// Recorded runs that make the baseline.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    before: u32,
    /// Runs of the same.
    #[arg(long, default_value_t = 200)]
    unchanged: u32,
    /// Runs of which one route takes more, each route in its turn.
    #[arg(long, default_value_t = 100)]
    changed: u32,
    /// Write the table into docs/CHECK.md, too. It has both servers.
    #[arg(long, conflicts_with = "server")]
    write: bool,
}

fn known(name: &str) -> Result<Server, String> {
    let known = Server::ALL.into_iter().find(|server| server.name() == name);
    known.ok_or_else(|| "there are rust and node".to_owned())
}

/// What memtrace says of a run.
#[derive(Debug, Deserialize)]
struct Said {
    verdict: String,
    figures: Vec<Found>,
    doubts: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Found {
    route: String,
    figure: Option<String>,
    at: Option<String>,
    baseline: Option<i64>,
    now: Option<i64>,
    verdict: String,
}

impl Found {
    fn is_more(&self) -> bool {
        self.verdict == "more"
    }

    /// All of a request's, or those in one kind of memory.
    fn is_of_faults(&self) -> bool {
        let figure = self.figure.as_deref().unwrap_or_default();
        figure == "faults" || figure.starts_with("region_")
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let number = |number: Option<i64>| number.map_or("-".to_owned(), |n| n.to_string());
        write!(
            f,
            "{} {} {}: {} -> {} ({})",
            self.route,
            text(&self.figure),
            text(&self.at),
            number(self.baseline),
            number(self.now),
            self.verdict
        )
    }
}

/// What came of all runs of a server.
#[derive(Debug, Default)]
struct Counts {
    unchanged: u32,
    failed: u32,
    inconclusive: u32,
    changed: u32,
    caught: u32,
    /// Those in which another route was found to take more, caught or not.
    beside: u32,
}

/// Runs all that was asked for, and prints what it comes to.
pub(super) fn run(asked: &Asked, memtrace: &Path, workload: &Path) -> Result<()> {
    if let Err(why) = privilege::root_with_bpf() {
        bail!("{why}");
    }
    let mut rows = Vec::new();
    for server in Server::ALL {
        if !asked.server.is_empty() && !asked.server.contains(&server) {
            continue;
        }
        server.set_up().with_context(|| server.name())?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let bench = Bench {
            memtrace,
            workload,
            server,
            baseline: folder.path().join("memtrace.toml"),
            own: std::env::current_exe().context("cannot find this program")?,
        };
        rows.push((server, bench.counts(asked, folder.path())?));
    }
    let about = vec![format!(
        "{}; a baseline of {} runs; a change of {MORE_FAULTS} faults a request, or of {MORE_PERCENT} % where that is more.",
        machine(),
        asked.before
    )];
    let table = table(&rows).to_string();
    println!("{}\n\n{table}", about.join("\n"));
    if asked.write {
        CHECK.write(&about, &table)?;
    }
    Ok(())
}

/// What is needed for a run of a server.
struct Bench<'a> {
    memtrace: &'a Path,
    workload: &'a Path,
    server: Server,
    baseline: PathBuf,
    /// This program, which is the client, too.
    own: PathBuf,
}

impl Bench<'_> {
    fn counts(&self, asked: &Asked, folder: &Path) -> Result<Counts> {
        self.make_baseline(asked.before, folder)?;
        let mut counts = Counts::default();
        for number in 1..=asked.unchanged {
            let said = self.run(None)?;
            counts.unchanged += 1;
            counts.failed += u32::from(said.verdict == "regression");
            counts.inconclusive += u32::from(said.verdict == "inconclusive");
            self.tell(number, "unchanged", said.verdict == "within", &said);
        }
        let faults = self.usual()?;
        for number in 0..asked.changed {
            let route = usize::try_from(number)? % ROUTES;
            let more = MORE_FAULTS.max(faults[route] * MORE_PERCENT / 100);
            let name = self.server.routes()[route];
            let said = self.run(Some(Knob { route, faults: more }))?;
            let (own, others): (Vec<_>, Vec<_>) = said
                .figures
                .iter()
                .filter(|figure| figure.is_more())
                .partition(|figure| figure.route == name);
            // The knob maps memory, too: that more is mapped is none of its faults.
            let own: Vec<_> = own.into_iter().filter(|figure| figure.is_of_faults()).collect();
            counts.changed += 1;
            counts.caught += u32::from(!own.is_empty());
            counts.beside += u32::from(!others.is_empty());
            self.tell(number + 1, name, !own.is_empty() && others.is_empty(), &said);
        }
        Ok(counts)
    }

    /// Records so many runs, and makes one baseline of them.
    fn make_baseline(&self, runs: u32, folder: &Path) -> Result<()> {
        let mut recordings = Vec::new();
        for number in 0..runs {
            let recording = folder.join(format!("{number}.mtr"));
            let scratch = folder.join("scratch.toml");
            let mut check = self.command(&scratch);
            check.args(["--update", "--keep"]).arg(&recording);
            self.finish(check, None)?;
            recordings.push(recording);
        }
        let mut pool = Command::new(self.memtrace);
        pool.args(["check", "-q", "--update", "--baseline"])
            .arg(&self.baseline);
        pool.arg("--runs").args(&recordings);
        let done = pool.output().context("cannot run memtrace")?;
        if !done.status.success() {
            bail!("there is no baseline: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    fn run(&self, knob: Option<Knob>) -> Result<Said> {
        let mut check = self.command(&self.baseline);
        check.args(["--format", "json"]);
        let said = self.finish(check, knob)?;
        serde_json::from_str(&said).with_context(|| format!("not a verdict: {said}"))
    }

    /// A check of a run, up to what follows `--`.
    fn command(&self, baseline: &Path) -> Command {
        let mut check = Command::new(self.memtrace);
        check
            .args(["check", "-q", "--buffer", "64M", "--baseline"])
            .arg(baseline);
        check
    }

    /// Runs it with its server and its client. What it says on standard output.
    fn finish(&self, mut check: Command, knob: Option<Knob>) -> Result<String> {
        let Commands {
            server,
            environment,
            options,
            clients,
            rounds,
            requests,
        } = self.server.commands(self.workload, free_port()?, knob);
        let plan = format!("bench drive --clients {clients} --rounds {rounds}");
        let quoted: Vec<String> = requests.iter().map(|request| format!("'{request}'")).collect();
        let client = format!("'{}' {plan} {}", self.own.display(), quoted.join(" "));
        check.args(options).arg("--drive").arg(client);
        check.arg("--").args(server).envs(environment);
        let done = check
            .stdin(Stdio::null())
            .output()
            .context("cannot run memtrace")?;
        match done.status.code() {
            Some(0 | 1 | 3) if !done.stdout.is_empty() => {
                String::from_utf8(done.stdout).context("it says what is no text")
            }
            _ => bail!("memtrace failed: {}", String::from_utf8_lossy(&done.stderr)),
        }
    }

    /// What half of each route's requests took in the baseline.
    fn usual(&self) -> Result<[u64; ROUTES]> {
        #[derive(Deserialize)]
        struct Baseline {
            routes: BTreeMap<String, Route>,
        }
        #[derive(Deserialize)]
        struct Route {
            faults: Option<Quantiles>,
        }
        #[derive(Deserialize)]
        struct Quantiles {
            p50: u64,
        }
        let text = std::fs::read_to_string(&self.baseline).context("cannot read the baseline")?;
        let baseline: Baseline = toml::from_str(&text).context("not a baseline")?;
        let half = |name| {
            let faults = baseline.routes.get(name).and_then(|route| route.faults.as_ref());
            faults.map_or(0, |faults| faults.p50)
        };
        Ok(self.server.routes().map(half))
    }

    /// A line for each run; and why, where it is not as it should be.
    fn tell(&self, number: u32, what: &str, is_right: bool, said: &Said) {
        eprintln!("{} {what} {number}: {}", self.server.name(), said.verdict);
        if !is_right {
            let moved = said.figures.iter().filter(|figure| figure.verdict != "same");
            moved.for_each(|figure| eprintln!("    {figure}"));
            said.doubts.iter().for_each(|doubt| eprintln!("    {doubt}"));
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

fn table(rows: &[(Server, Counts)]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "server",
        "runs unchanged",
        "failed",
        "inconclusive",
        "runs with one route changed",
        "caught",
        "with another route",
    ]);
    for (server, counts) in rows {
        table.add_row([
            server.name().to_owned(),
            counts.unchanged.to_string(),
            counts.failed.to_string(),
            counts.inconclusive.to_string(),
            counts.changed.to_string(),
            counts.caught.to_string(),
            counts.beside.to_string(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read() {
        let said: Said = serde_json::from_str(
            r#"{"type":"check","verdict":"regression","status":1,"doubts":[],"figures":[
                {"route":"GET /","figure":"faults","at":"p50","baseline":1,"now":12,"change":11,"noise":2,"verdict":"more"},
                {"route":"GET /a","figure":null,"at":null,"baseline":null,"now":null,"verdict":"new"}]}"#,
        )
        .expect("a verdict");
        let more: Vec<String> = said
            .figures
            .iter()
            .filter(|f| f.is_more())
            .map(ToString::to_string)
            .collect();
        assert_eq!(more, ["GET / faults p50: 1 -> 12 (more)"]);
    }
}
