//! Whose memtrace says that faults are, held to what servers say themselves.
//!
//! Owns the rounds: a server, so many clients, a recording, its score. The servers say by markers for which request they
//! work, and whoever scores a recording keeps those from the rules. Must not know how either is done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::AtomicU64,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{
    load::{Connection, Load},
    programs::Ready,
    servers::{Running, SERVERS, Server},
    tables::{Row, Score},
};
use super::{machine, page::ATTRIBUTION, watch};
use crate::{command, privilege, workspace};

mod load;
mod programs;
mod servers;
mod tables;
mod upstream;

/// A server is warm after these requests: what it loads late is loaded by then.
const WARM: Duration = Duration::from_millis(300);

/// What is to be measured.
#[derive(Args)]
pub(crate) struct Asked {
    /// This server alone, or one shape of it, as `node` or `node/fetch`; repeatable.
    #[arg(long, value_name = "NAME", value_parser = known)]
    server: Vec<String>,
    /// So many clients at a time; repeatable.
    #[arg(long, value_name = "N", default_values_t = [4, 24, 64], value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Vec<u16>,
    /// How long each round is.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Write the table into docs/ATTRIBUTION.md, too. It has all servers.
    #[arg(long, conflicts_with_all = ["server", "clients"])]
    write: bool,
    /// Keep the recordings in this folder: `target/release/examples/attribution FILE` scores one again.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Checks a name that was asked for.
fn known(name: &str) -> Result<String, String> {
    let exists = SERVERS
        .iter()
        .any(|server| server.shapes.iter().any(|shape| is_asked(name, server, shape)));
    if exists {
        return Ok(name.to_owned());
    }
    let all: Vec<_> = SERVERS
        .iter()
        .map(|server| format!("{} ({})", server.name, server.shapes.join(", ")))
        .collect();
    Err(format!("there are {}", all.join("; ")))
}

fn is_asked(name: &str, server: &Server, shape: &str) -> bool {
    match name.split_once('/') {
        Some((of, only)) => of == server.name && only == shape,
        None => name == server.name,
    }
}

impl Asked {
    fn wants(&self, server: &Server, shape: &str) -> bool {
        self.server.is_empty() || self.server.iter().any(|name| is_asked(name, server, shape))
    }
}

/// What is needed to run a round.
struct Bench {
    memtrace: PathBuf,
    scorer: PathBuf,
    folder: tempfile::TempDir,
    keep: Option<PathBuf>,
    upstream: u16,
    /// Of the next request, whichever server it is for.
    numbers: AtomicU64,
}

/// Runs all rounds that were asked for, and prints what they come to.
pub(super) fn run(asked: &Asked) -> Result<()> {
    if let Err(why) = privilege::root_with_bpf() {
        bail!("{why}");
    }
    let bench = Bench::set_up(asked.keep.clone())?;
    let (mut rows, mut versions, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for server in &SERVERS {
        let shapes: Vec<_> = server
            .shapes
            .iter()
            .filter(|shape| asked.wants(server, shape))
            .collect();
        if shapes.is_empty() {
            continue;
        }
        match server.program.set_up() {
            Ok(ready) => {
                for shape in shapes {
                    rows.extend(bench.shape(server, &ready, shape, asked)?);
                }
                versions.push(ready.version);
            }
            Err(why) => {
                let why = format!("{}: {why:#}", server.name);
                eprintln!("missing: {why}");
                missing.push(why);
            }
        }
    }
    let mut about = vec![format!(
        "{}; {}; {} s a round.",
        machine(),
        versions.join(", "),
        asked.seconds
    )];
    about.extend(missing.iter().map(|why| format!("Missing: {why}.")));
    about.extend(tables::notes(&rows));
    println!("{}\n\n{}", about.join("\n"), tables::full(&rows));
    if asked.write {
        ATTRIBUTION.write(&about, &tables::compact(&rows).to_string())?;
    }
    Ok(())
}

impl Bench {
    fn set_up(keep: Option<PathBuf>) -> Result<Self> {
        let build = [
            "build",
            "--release",
            "-p",
            "memtrace",
            "--bins",
            "--example",
            "attribution",
        ];
        command::stream(command::cargo().args(build))?;
        if let Some(keep) = &keep {
            fs::create_dir_all(keep).with_context(|| format!("cannot make {}", keep.display()))?;
        }
        let release = workspace::target_dir().join("release");
        Ok(Self {
            memtrace: release.join("memtrace"),
            scorer: release.join("examples/attribution"),
            folder: tempfile::tempdir().context("cannot make a temporary folder")?,
            keep,
            upstream: upstream::start().context("cannot serve")?,
            numbers: AtomicU64::new(1),
        })
    }

    /// All rounds of one shape of a server, which is started anew.
    fn shape(&self, server: &Server, ready: &Ready, shape: &'static str, asked: &Asked) -> Result<Vec<Row>> {
        let what = || format!("{}/{shape}", server.name);
        let running = Running::start(ready, self.upstream).with_context(what)?;
        let mut load = Load {
            port: running.port,
            shape,
            clients: 4,
            connection: Connection::KeptAlive,
            time: WARM,
        };
        load.run(&self.numbers).with_context(what)?;
        load.time = Duration::from_secs(asked.seconds);
        let mut rows = Vec::new();
        for connection in [Connection::KeptAlive, Connection::Closed] {
            for &clients in &asked.clients {
                load.clients = clients.into();
                load.connection = connection;
                let round = self.round(&load, server.name);
                let score = round.with_context(|| format!("{}, {clients} clients", what()))?;
                let row = Row {
                    server: server.name,
                    shape,
                    clients,
                    connection,
                    score,
                };
                eprintln!("{row}");
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Records the server under a load, and scores the recording.
    fn round(&self, load: &Load<'_>, server: &str) -> Result<Score> {
        let recording = self.recording(load, server);
        // The ring is large, so that nothing is lost however busy the machine is.
        let mut record = Command::new(&self.memtrace);
        record.args([
            "record",
            "--buffer",
            "256M",
            "--port",
            &load.port.to_string(),
            "-o",
        ]);
        let mut watcher = watch(record.arg(&recording))?;
        let answered = load.run(&self.numbers);
        watcher.stop()?;
        answered?;
        self.score(&recording)
    }

    fn recording(&self, load: &Load<'_>, server: &str) -> PathBuf {
        let Some(keep) = &self.keep else {
            return self.folder.path().join("round.mtr");
        };
        let Load {
            shape,
            clients,
            connection,
            ..
        } = load;
        let name = format!("{server}-{shape}-{clients}-{connection}.mtr");
        keep.join(name.replace(' ', "-"))
    }

    fn score(&self, recording: &Path) -> Result<Score> {
        let score = command::read(Command::new(&self.scorer).arg(recording))?;
        serde_json::from_str(&score).with_context(|| format!("not a score: {score}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        asked: Asked,
    }

    fn parse(arguments: &[&str]) -> Result<Asked, clap::Error> {
        let all = ["attribution"].iter().chain(arguments);
        Cli::try_parse_from(all).map(|cli| cli.asked)
    }

    fn wanted(asked: &Asked) -> Vec<String> {
        let all = SERVERS
            .iter()
            .flat_map(|server| server.shapes.iter().map(move |shape| (server, shape)));
        all.filter(|(server, shape)| asked.wants(server, shape))
            .map(|(server, shape)| format!("{}/{shape}", server.name))
            .collect()
    }

    #[test]
    fn all_is_measured_unless_something_is_asked_for() {
        let all = parse(&[]).expect("nothing is asked for");
        assert_eq!((&*all.clients, all.seconds), (&[4, 24, 64][..], 2));
        let shapes: usize = SERVERS.iter().map(|server| server.shapes.len()).sum();
        assert_eq!(wanted(&all).len(), shapes);
        let asked = parse(&[
            "--server",
            "node/fetch",
            "--server",
            "node/sync",
            "--clients",
            "8",
            "--seconds",
            "1",
        ]);
        let asked = asked.expect("there are these");
        assert_eq!(wanted(&asked), ["node/sync", "node/fetch"]);
        assert_eq!((&*asked.clients, asked.seconds), (&[8][..], 1));
        let whole = parse(&["--server", "node"]).expect("there is Node");
        assert_eq!(wanted(&whole).len(), SERVERS[0].shapes.len());
    }

    #[test]
    fn what_there_is_not_is_refused() {
        for arguments in [
            ["--server", "nod"],
            ["--server", "node/"],
            ["--server", "node/none"],
            ["--clients", "0"],
            ["--seconds", "0"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
        assert!(parse(&["--write"]).is_ok_and(|asked| asked.write));
        // The page has the whole table or none.
        assert!(parse(&["--write", "--server", "node"]).is_err());
        assert!(parse(&["--write", "--clients", "4"]).is_err());
    }
}
