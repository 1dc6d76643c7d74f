//! `cargo xtask perfetto`: Perfetto's own trace processor and user interface, on a trace.
//!
//! Owns finding them, what is run on Node, and its command line. Must not know memtrace's traces, nor which registry a
//! package is from.
//!
//! Both are WebAssembly and run on plain Node, so that nothing has to be compiled or trusted with this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde::Deserialize;

use crate::steps::Outcome;
use crate::{apt, command, workspace};

mod packages;

use packages::{PACKAGES, Package};

/// The name by which root tests say that they need it.
pub(crate) const NEED: &str = "trace_processor";

/// A directory with another build of it, in place of those that are fetched.
const VARIABLE: &str = "MEMTRACE_TRACE_PROCESSOR";

/// The oldest Node that the scripts run on.
const NODE_MAJOR: u32 = 18;

/// What to do with it.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// Fetch trace processor, in each version that tests use, and the user interface into target/perfetto.
    Fetch,
    /// Print what trace processor answers, one table a query.
    Query {
        /// The trace.
        trace: PathBuf,
        /// Queries.
        #[arg(required = true)]
        sql: Vec<String>,
        /// In this version, such as v52.0, and not in the newest.
        #[arg(long)]
        version: Option<String>,
    },
    /// Take a picture of a trace in the user interface, as a PNG file.
    Shot {
        /// The trace.
        trace: PathBuf,
        /// The picture.
        out: PathBuf,
        /// How high it is, in pixels.
        #[arg(long, default_value_t = 1000)]
        height: u32,
        /// The user interface's start-up commands, as JSON; the default unfolds every track, `[]` is as it opens.
        #[arg(
            long,
            default_value = r#"[{"id":"dev.perfetto.ExpandTracksByRegex","args":[".*"]}]"#
        )]
        commands: String,
    },
}

/// A table that a query gave.
#[derive(Deserialize)]
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Does it, fetching first what is missing.
pub(crate) fn run(action: Action) -> Result<()> {
    match action {
        Action::Fetch => {
            for package in &PACKAGES {
                let had = package.fetch().with_context(|| format!("no {package}"))?;
                println!("{package}: {}", workspace::shown(&had));
            }
            Ok(())
        }
        Action::Query { trace, sql, version } => query(&trace, &sql, version.as_deref()),
        Action::Shot {
            trace,
            out,
            height,
            commands,
        } => shot(&trace, &out, height, &commands),
    }
}

/// Fetches what is missing, for tests: passes with the versions that are here, and says why another is not.
pub(crate) fn set_up() -> Outcome {
    if let Err(error) = node() {
        return Outcome::Skipped(format!("{error:#}"));
    }
    if let Some(directory) = env::var_os(VARIABLE) {
        return Outcome::Passed(format!("{VARIABLE} is {}", directory.display()));
    }
    let (mut had, mut refused) = (Vec::new(), Vec::new());
    for package in &PACKAGES {
        match package.fetch() {
            Ok(_) => had.push(package.version),
            Err(error) => refused.push(format!("no {package}: {error:#}")),
        }
    }
    let said = [vec![had.join(", ")], refused].concat().join("; ");
    if had.len() == PACKAGES.len() {
        Outcome::Passed(said)
    } else {
        Outcome::Skipped(said)
    }
}

/// Whether tests that need it can be run.
pub(crate) fn is_here() -> bool {
    node().is_ok()
        && (env::var_os(VARIABLE).is_some() || PACKAGES.iter().any(|package| package.engine().is_dir()))
}

/// The program, where it is new enough.
fn node() -> Result<PathBuf> {
    let node = which::which("node").ok().context("no node")?;
    let version = command::read(Command::new(&node).arg("--version"))?;
    let major = version
        .trim()
        .strip_prefix('v')
        .and_then(|numbers| numbers.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(NODE_MAJOR..) => Ok(node),
        _ => bail!("node is {}, and {NODE_MAJOR} or later is needed", version.trim()),
    }
}

/// A script that is beside this file, on Node.
fn script(name: &str) -> Result<Command> {
    let mut command = Command::new(node()?);
    command.arg(workspace::root().join("xtask/src/perfetto").join(name));
    Ok(command)
}

fn engine(version: Option<&str>) -> Result<PathBuf> {
    if let (Some(directory), None) = (env::var_os(VARIABLE), version) {
        return Ok(directory.into());
    }
    let package = match version {
        Some(version) => PACKAGES
            .iter()
            .find(|package| package.version == version)
            .with_context(|| {
                format!(
                    "there is no {version}, only {}",
                    PACKAGES.each_ref().map(|p| p.version).join(", ")
                )
            })?,
        None => PACKAGES.last().context("no package")?,
    };
    package.fetch()
}

fn query(trace: &Path, sql: &[String], version: Option<&str>) -> Result<()> {
    let answer = command::read(
        script("trace_processor.mjs")?
            .arg(engine(version)?)
            .arg(trace)
            .args(sql),
    )?;
    for line in answer.lines() {
        let table: Table = serde_json::from_str(line).context("not a table")?;
        println!("{}", table.columns.join("\t"));
        for row in table.rows {
            println!("{}", row.join("\t"));
        }
        println!();
    }
    Ok(())
}

fn shot(trace: &Path, out: &Path, height: u32, commands: &str) -> Result<()> {
    fs::metadata(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    let ui = PACKAGES
        .iter()
        .find_map(Package::ui)
        .context("no package has the user interface")??;
    let chromium = chromium()?;
    command::stream(
        script("screenshot.mjs")?
            .arg(ui)
            .arg(chromium)
            .args([trace, out])
            .arg(height.to_string())
            .arg(commands),
    )
}

fn chromium() -> Result<PathBuf> {
    let find = || {
        ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(|name| which::which(name).ok())
    };
    if find().is_none() {
        println!("installing a browser: apt-get install chromium");
        apt::install(&["chromium"]).context("no chromium")?;
    }
    find().context("no chromium")
}
