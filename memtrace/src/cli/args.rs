//! The command line, as CONTRACT has it.
//!
//! Owns names, defaults and what goes with what. Must not know how anything is done.

mod check;
mod explain;
mod map;
mod quantity;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use memtrace_common::Tgid;

use self::quantity::{duration, offset, size, tgid};
pub(super) use self::{check::CheckArgs, explain::ExplainArgs, map::MapArgs};
use crate::{
    ledger::{SETTLE, route::Pattern},
    record::Asked,
    report::{
        Format,
        form::Form,
        table::TableOptions,
        view::{Only, SortBy, View},
    },
    run::Look,
    timeline::Detail,
};

/// What goes with a run that is traced now, and not with a recording.
const TRACED: [&str; 6] = [
    "TargetArgs",
    "duration",
    "requests",
    "buffer",
    "fault_time",
    "settle",
];
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
    /// A run held to a baseline, route by route: has anything come to take more than it did? Of a recording, or traced now.
    Check(Box<CheckArgs>),
    /// One request told in plain words, the worst of a recording or of a run that is traced now.
    Explain(Box<ExplainArgs>),
    /// A process's memory, region by region: what each part of it is for, and how much of it is really there.
    Map(MapArgs),
    /// What this kernel and this user can do, line by line, with a remedy for each `no`.
    Doctor(DoctorArgs),
    /// Holds a command until it is told to run it.
    #[command(hide = true)]
    Hold(HoldArgs),
}

/// `memtrace [TARGET] [OPTIONS]`
#[derive(Args, Debug)]
pub(super) struct LiveArgs {
    /// What is traced.
    #[command(flatten)]
    pub run: RunArgs,
    /// How the report looks and where it goes.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}

/// What is traced, how long, and how.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    /// Whom to trace.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Stop after this long, e.g. `10s`, `500ms`, `2m`.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Stop after so many requests.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Size of the ring buffer between kernel and memtrace, e.g. `64M`; rounded up to a power of two.
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = size)]
    pub buffer: u32,
    /// Time every fault; costs more.
    #[arg(long)]
    pub fault_time: bool,
    /// How long a request that has been answered waits, before it is listed, for work that may still be its.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = offset)]
    pub settle: Duration,
}

impl LiveArgs {
    /// What shapes the report of the run, and of a recording of it.
    pub(super) fn asked(&self) -> Asked {
        let texts = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
        Asked {
            port: self.run.target.port,
            fault_time: self.run.fault_time,
            requests: self.run.requests,
            route: texts(&self.report.route),
            only: self.report.only.iter().map(ToString::to_string).collect(),
            query: self.report.query,
            settle: u64::try_from(self.run.settle.as_nanos()).ok(),
        }
    }

    /// What tracing the demo's app is: all as by default.
    pub(super) fn for_demo(args: &DemoArgs) -> Self {
        Self {
            run: RunArgs {
                target: TargetArgs::default(),
                duration: None,
                requests: None,
                buffer: BUFFER,
                fault_time: true,
                settle: Duration::from_nanos(SETTLE.0),
            },
            report: ReportArgs {
                perfetto: args.perfetto.clone(),
                ..ReportArgs::default()
            },
            voice: args.voice,
        }
    }

    /// The run of which one request is told: there is no report of it.
    pub(super) fn for_explain(args: &ExplainArgs) -> Self {
        Self {
            run: args.run.clone(),
            report: ReportArgs {
                is_left_out: true,
                only: args.only.clone(),
                ..ReportArgs::default()
            },
            voice: args.voice,
        }
    }

    /// The run that looks at a process's memory before and after a request, or for so long.
    pub(super) fn for_map(args: &MapArgs) -> Self {
        Self {
            run: RunArgs {
                target: TargetArgs {
                    pid: vec![args.pid],
                    no_follow: true,
                    ..TargetArgs::default()
                },
                duration: args.duration,
                requests: None,
                buffer: BUFFER,
                fault_time: false,
                settle: Duration::from_nanos(SETTLE.0),
            },
            report: ReportArgs {
                is_left_out: true,
                only: args.request.clone(),
                ..ReportArgs::default()
            },
            voice: args.voice,
        }
    }

    /// The run that a check judges: there is no report of it.
    pub(super) fn for_check(args: &CheckArgs) -> Self {
        Self {
            run: args.run.clone(),
            report: ReportArgs {
                is_left_out: true,
                route: args.route.clone(),
                only: args.only.clone(),
                ..ReportArgs::default()
            },
            voice: args.voice,
        }
    }
}

/// Whom to trace.
#[derive(Args, Clone, Debug, Default)]
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

impl TargetArgs {
    /// Somebody is named.
    pub(super) fn is_named(&self) -> bool {
        let named = [
            !self.pid.is_empty(),
            self.port.is_some(),
            self.comm.is_some(),
            self.cgroup.is_some(),
            !self.command.is_empty(),
        ];
        named.contains(&true)
    }
}

/// How a report looks and where it goes.
#[derive(Args, Debug, Default)]
pub(super) struct ReportArgs {
    /// There is to be none.
    #[arg(skip)]
    pub is_left_out: bool,
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
            report: (!self.is_left_out).then_some((self.format, table)),
            view: View {
                min_faults: self.min_faults,
                sort: self.sort,
                ..View::default()
            },
            timeline: self.perfetto.is_some().then_some(self.perfetto_detail),
            ..Look::default()
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
    pub format: Form,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_demo_is_traced_as_by_default() {
        let Cli { live, .. } = Cli::try_parse_from(["memtrace"]).unwrap();
        let Some(Verb::Demo(args)) = Cli::try_parse_from(["memtrace", "demo", "-v"]).unwrap().command else {
            panic!("not a demo");
        };
        let demo = LiveArgs::for_demo(&args);
        assert_eq!(
            (demo.run.buffer, demo.voice.verbose, demo.voice.quiet),
            (live.run.buffer, 1, false)
        );
    }

    #[test]
    fn a_command_is_what_follows_two_dashes() {
        let cli =
            Cli::try_parse_from(["memtrace", "--requests", "3", "--", "node", "--pid", "x.js"]).unwrap();
        assert_eq!(cli.live.run.target.command, ["node", "--pid", "x.js"]);
        assert!(cli.live.run.target.pid.is_empty());
    }
}
