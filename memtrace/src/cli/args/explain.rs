//! What `memtrace explain` takes.

use std::path::PathBuf;

use clap::Args;

use super::{RunArgs, TRACED, Voice};
use crate::report::view::Only;

/// `memtrace explain F.mtr | [TARGET]`
#[derive(Args, Debug)]
pub(in crate::cli) struct ExplainArgs {
    /// The recording of the run; without it, a TARGET is traced here and now.
    #[arg(value_name = "RECORDING", conflicts_with_all = TRACED)]
    pub recording: Option<PathBuf>,
    /// What is traced, if it is no recording.
    #[command(flatten)]
    pub run: RunArgs,
    /// The request of this number, as `id` has it in JSON.
    #[arg(long, value_name = "ID", conflicts_with_all = ["slowest", "most_faults"])]
    pub request: Option<u64>,
    /// The one that took longest.
    #[arg(long, conflicts_with = "most_faults")]
    pub slowest: bool,
    /// The one with the most faults: the default.
    #[arg(long)]
    pub most_faults: bool,
    /// One of these, e.g. `'POST /saju'`, `'* /users/{id}'`; repeatable.
    #[arg(long, value_name = "METHOD PATTERN")]
    pub only: Vec<Only>,
    /// Write it to this file; it appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}
