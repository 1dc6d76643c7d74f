//! What `memtrace check` takes.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::{RunArgs, TRACED, Voice, quantity::duration};
use crate::{
    ledger::route::Pattern,
    report::{form::Form, view::Only},
};

/// What goes with a run that `check` drives itself.
const DRIVEN: [&str; 3] = ["drive", "patience", "keep"];

/// `memtrace check F.mtr | [TARGET] --baseline FILE`
#[derive(Args, Debug)]
pub(in crate::cli) struct CheckArgs {
    /// The recording of the run; without it, a TARGET is traced here and now.
    #[arg(value_name = "RECORDING", conflicts_with_all = TRACED, conflicts_with_all = DRIVEN)]
    pub recording: Option<PathBuf>,
    /// Recordings of several runs of the same, which are judged, or make a baseline, as one.
    #[arg(long, value_name = "RECORDING", num_args = 1.., conflicts_with_all = TRACED, conflicts_with_all = DRIVEN, conflicts_with_all = ["recording", "perfetto"])]
    pub runs: Vec<PathBuf>,
    /// What is traced, if it is no recording.
    #[command(flatten)]
    pub run: RunArgs,
    /// Run this while the target is traced, by `sh -c`: its end ends the run. With `-- COMMAND` it waits until that
    /// listens on a TCP port (on --port, where that is given), and finds the port in `MEMTRACE_PORT`.
    #[arg(long, value_name = "CLIENT")]
    pub drive: Option<OsString>,
    /// How long a COMMAND that is to be driven may take until it listens.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, requires = "drive")]
    pub patience: Duration,
    /// Keep the recording of what is traced in this file.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Also write a trace for the Perfetto UI (<https://ui.perfetto.dev>) to this file; it appears once it is whole.
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,
    /// What requests took when that was found to be right; `--update` writes it.
    #[arg(long, value_name = "FILE")]
    pub baseline: PathBuf,
    /// Write the baseline anew with what this run has, once it has been compared. Comments and limits stay.
    #[arg(long)]
    pub update: bool,
    /// `table` or `json` (one object).
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Form,
    /// Write the verdict to this file; it appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Also write it as a comment for a pull request.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Also write it as XML for any CI, as `JUnit` does: a test for each figure of each route.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
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
