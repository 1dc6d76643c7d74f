//! The command line, as CONTRACT has it.
//!
//! Owns names, defaults and what goes with what. Must not know how anything is done.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use memtrace_common::Tgid;

use crate::{
    diff,
    ledger::{SETTLE, route::Pattern},
    record::Asked,
    report::{
        Format,
        table::TableOptions,
        view::{Only, SortBy, View},
    },
    run::Look,
    timeline::Detail,
};

/// The ring's size where none is asked for, bytes.
const BUFFER: u32 = 16 << 20;

/// What did the operating system do with memory for this one HTTP request?
///
/// Traces a running server, with no change to it: page faults, page by page, on the request that they were taken
/// for, and books that add up to the kernel's own counters.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    /// Something other than tracing live.
    #[command(subcommand)]
    pub command: Option<Verb>,
    /// Tracing live.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// What to do other than tracing live.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Start a built-in web app, send it requests, trace it, and explain one of them; needs nothing installed.
    Demo(DemoArgs),
    /// The demo's web app.
    #[command(hide = true)]
    DemoApp(DemoAppArgs),
    /// Trace live, and keep every event in a recording (`-o FILE`) beside the report on standard output.
    Record(Box<LiveArgs>),
    /// The report of a recording: what the live run printed.
    Report(ReplayArgs),
    /// A recording in the formats of other programs.
    Export(ExportArgs),
    /// Two recordings side by side, route by route: what moved, and in which causes, regions and files.
    Diff(DiffArgs),
    /// A recording held to a baseline, route by route: has anything come to take more than it did?
    Check(CheckArgs),
    /// What this kernel and this user can do, line by line, with a remedy for each `no`.
    Doctor(DoctorArgs),
    /// Holds a command until it is told to run it.
    #[command(hide = true)]
    Hold(HoldArgs),
}

/// `memtrace [TARGET] [OPTIONS]`
#[derive(Args, Debug)]
pub(super) struct LiveArgs {
    /// Whom to trace.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Stop after this long, e.g. `10s`, `500ms`, `2m`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after so many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// How the report looks and where it goes.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Size of the ring buffer between kernel and memtrace, e.g. `64M`; rounded up to a power of two.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = size)]
    pub buffer: u32,
    /// Time every fault; costs more.
    #[arg(long)]
    pub fault_time: bool,
    /// How long a request that has been answered waits, before it is listed, for work that may still be its.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = offset)]
    pub settle: Duration,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

impl LiveArgs {
    /// What shapes the report of the run, and of a recording of it.
    pub(super) fn asked(&self) -> Asked {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        Asked {
            port: self.target.port,
            fault_time: self.fault_time,
            requests: self.requests,
            route: texts(&self.report.route),
            only: self.report.only.iter().map(ToString::to_string).collect(),
            query: self.report.query,
            settle: u64::try_from(self.settle.as_nanos()).ok(),
        }
    }

    /// What tracing the demo's app is: all as by default.
    pub(super) fn for_demo(args: &DemoArgs) -> Self {
        Self {
            target: TargetArgs::default(),
            duration: None,
            requests: None,
            report: ReportArgs {
                perfetto: args.perfetto.clone(),
                ..ReportArgs::default()
            },
            buffer: BUFFER,
            fault_time: true,
            settle: Duration::from_nanos(SETTLE.0),
            voice: args.voice,
        }
    }
}

/// Whom to trace.
#[derive(Args, Debug, Default)]
pub(super) struct TargetArgs {
    /// This process; repeatable.
    #[arg(long, value_name = "PID", value_parser = tgid)]
    pub pid: Vec<Tgid>,
    /// Every process that listens on this TCP port; only requests that came in on it are listed.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Every process of this name (its `comm`, or its executable's base name), now or later.
    #[arg(long, value_name = "NAME")]
    pub comm: Option<String>,
    /// Every process in this cgroup v2 directory and below, now or later.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Run this command, held until the probes are attached; its end ends the run.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    /// Run COMMAND as this user.
    #[arg(long, value_name = "NAME", requires = "command")]
    pub user: Option<String>,
    /// Leave children alone.
    #[arg(long)]
    pub no_follow: bool,
}

/// How a report looks and where it goes.
#[derive(Args, Debug, Default)]
pub(super) struct ReportArgs {
    /// `table`, `ndjson` (an object a line, as requests end) or `json` (one document at the end).
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Write the report to this file; it appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Group paths by this pattern, e.g. `/users/{id}`; repeatable.
    #[arg(long, value_name = "PATTERN")]
    pub route: Vec<Pattern>,
    /// List only these, e.g. `'POST /saju'`, `'* /users/{id}'`; repeatable. The books still cover the process.
    #[arg(long, value_name = "METHOD PATTERN")]
    pub only: Vec<Only>,
    /// List only requests with at least so many faults.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_faults: u64,
    /// List all at the end, the worst by this field first: faults, major, duration, kernel, `in_window`.
    #[arg(long, value_name = "FIELD")]
    pub sort: Option<SortBy>,
    /// Keep query strings.
    #[arg(long)]
    pub query: bool,
    /// Also write a trace for the Perfetto UI (<https://ui.perfetto.dev>) to this file; it appears once it is whole.
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// How much of it: faults (each a slice), runs (a slice for those of one kind that follow each other) or requests.
    #[arg(long, value_name = "DETAIL", default_value = "faults")]
    pub perfetto_detail: Detail,
}

impl ReportArgs {
    /// What is made of a run.
    pub(super) fn look(&self, table: TableOptions) -> Look {
        Look {
            report: Some((self.format, table)),
            view: View {
                min_faults: self.min_faults,
                sort: self.sort,
                ..View::default()
            },
            timeline: self.perfetto.is_some().then_some(self.perfetto_detail),
            tables: false,
        }
    }
}

/// How much is said on standard error.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Voice {
    /// Less on standard error.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More on standard error; twice: the probes' own log too, where there are any.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `memtrace report F.mtr`
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// The recording.
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// How the report looks and where it goes.
    #[command(flatten)]
    pub report: ReportArgs,
    /// List only requests that began so long after tracing did, or later, e.g. `5s`.
    #[arg(long, value_name = "TIME", value_parser = offset)]
    pub since: Option<Duration>,
    /// List only requests that began less long after tracing did.
    #[arg(long, value_name = "TIME", value_parser = offset)]
    pub until: Option<Duration>,
    /// List only the request with this number, as `id` has it in JSON; repeatable.
    #[arg(long, value_name = "ID")]
    pub id: Vec<u64>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// `memtrace export F.mtr`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("to").required(true).multiple(true).args(["perfetto", "csv"]))]
pub(super) struct ExportArgs {
    /// The recording.
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// A trace for the Perfetto UI (<https://ui.perfetto.dev>).
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// How much of it: faults (each a slice), runs (a slice for those of one kind that follow each other) or requests.
    #[arg(long, value_name = "DETAIL", default_value = "faults")]
    pub perfetto_detail: Detail,
    /// requests.csv and faults.csv, in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub csv: Option<PathBuf>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// `memtrace diff A.mtr B.mtr`
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// The recording of before.
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The recording of after; both may be the same.
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// `table` or `json` (one object).
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: diff::Format,
    /// Write it to this file; it appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Group the paths of both by this pattern, e.g. `/users/{id}`; repeatable. Else each by its own run's.
    #[arg(long, value_name = "PATTERN")]
    pub route: Vec<Pattern>,
    /// Compare only these, e.g. `'POST /saju'`, `'* /users/{id}'`; repeatable. The books still cover the process.
    #[arg(long, value_name = "METHOD PATTERN")]
    pub only: Vec<Only>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// `memtrace check F.mtr --baseline FILE`
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The recording.
    #[arg(value_name = "RECORDING")]
    pub recording: PathBuf,
    /// What requests took when that was found to be right; `--update` writes it.
    #[arg(long, value_name = "FILE")]
    pub baseline: PathBuf,
    /// Write the baseline anew with what this run has, once it has been compared. Comments and limits stay.
    #[arg(long)]
    pub update: bool,
    /// So many of each route's first requests are its warm-up; else it is found from the figures.
    #[arg(long, value_name = "N")]
    pub warmup: Option<usize>,
    /// Group paths by this pattern, e.g. `/users/{id}`; repeatable. Else as they were when it was recorded.
    #[arg(long, value_name = "PATTERN")]
    pub route: Vec<Pattern>,
    /// Judge only these, e.g. `'POST /saju'`, `'* /users/{id}'`; repeatable. The books still cover the process.
    #[arg(long, value_name = "METHOD PATTERN")]
    pub only: Vec<Only>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// `memtrace doctor [--pid PID]`
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// What a run would see of this process, too.
    #[arg(long, value_name = "PID", value_parser = tgid)]
    pub(super) pid: Option<Tgid>,
}

/// `memtrace demo`
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Also write a trace for the Perfetto UI (<https://ui.perfetto.dev>) to this file.
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// The demo's web app.
#[derive(Args, Debug)]
pub(super) struct DemoAppArgs {
    /// Where the GPT API listens that it calls.
    #[arg(long)]
    pub api: SocketAddr,
}

/// The helper that a COMMAND begins as.
#[derive(Args, Debug)]
pub(super) struct HoldArgs {
    /// Run the command when a byte comes on this descriptor; exit when it closes.
    #[arg(long)]
    pub gate: i32,
    /// Say on this descriptor why the command could not be run.
    #[arg(long)]
    pub failure: i32,
    /// Run it as this user.
    #[arg(long)]
    pub user: Option<String>,
    /// Have it ignore the signal of this number.
    #[arg(long)]
    pub ignore: Vec<i32>,
    /// The command.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

fn tgid(text: &str) -> Result<Tgid, String> {
    match text.parse::<u32>() {
        Ok(0) | Err(_) => Err("a process id is a number above 0".to_owned()),
        Ok(pid) => Ok(Tgid(pid)),
    }
}

/// A number and a unit that is longer than nothing: how long to trace.
fn duration(text: &str) -> Result<Duration, String> {
    match offset(text) {
        Ok(duration) if duration.is_zero() => Err("the time to trace has to be longer than 0".to_owned()),
        other => other,
    }
}

/// A number and a unit: `ms`, `s` (the default), `m`, `h`.
fn offset(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is no unit of time; there are ms, s, m and h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

/// A number of bytes with an optional `K`, `M` or `G`; what the ring can have: a power of two, a page at least.
fn size(text: &str) -> Result<u32, String> {
    const LEAST: u64 = 4096;
    const MOST: u64 = 1 << 31;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches('B')
        .trim_end_matches('I')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(format!("'{unit}' is no unit of size; there are K, M and G")),
    };
    let number: u64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    let bytes = number
        .checked_mul(1 << shift)
        .filter(|&b| (1..=MOST).contains(&b));
    let bytes = bytes.ok_or_else(|| "the ring can have from 4K to 2G".to_owned())?;
    u32::try_from(bytes.max(LEAST).next_power_of_two()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("150ms"), Ok(Duration::from_millis(150)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["0", "0s", "", "s", "10 s", "1x", "-1s", "9999999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_what_a_ring_can_have() {
        assert_eq!(size("16M"), Ok(16 << 20));
        assert_eq!(size("100K"), Ok(128 << 10));
        assert_eq!(size("1"), Ok(4096));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        for bad in ["0", "", "3G", "12X", "K", "99999999999999999999"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_demo_is_traced_as_by_default() {
        let Cli { live, .. } = Cli::try_parse_from(["memtrace"]).unwrap();
        let Some(Verb::Demo(args)) = Cli::try_parse_from(["memtrace", "demo", "-v"]).unwrap().command else {
            panic!("not a demo");
        };
        let demo = LiveArgs::for_demo(&args);
        assert_eq!(
            (demo.buffer, demo.voice.verbose, demo.voice.quiet),
            (live.buffer, 1, false)
        );
    }

    #[test]
    fn a_command_is_what_follows_two_dashes() {
        let cli =
            Cli::try_parse_from(["memtrace", "--requests", "3", "--", "node", "--pid", "x.js"]).unwrap();
        assert_eq!(cli.live.target.command, ["node", "--pid", "x.js"]);
        assert!(cli.live.target.pid.is_empty());
    }
}
