//! What `memtrace map` takes.

use std::{ops::Range, path::PathBuf, time::Duration};

use clap::Args;
use memtrace_common::Tgid;

use super::{
    Voice,
    quantity::{duration, span, tgid},
};
use crate::report::{form::Form, view::Only};

/// `memtrace map --pid PID`
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct MapArgs {
    /// Whose memory.
    #[arg(long, value_name = "PID", value_parser = tgid)]
    pub pid: Tgid,
    /// Only the sums, by what the regions are for.
    #[arg(long)]
    pub summary: bool,
    /// Instead of regions, the pages of these addresses and the frames of memory that they are in, e.g.
    /// `0x7f3cac000000+64K`. Takes `CAP_SYS_ADMIN`.
    #[arg(long, value_name = "ADDR+LEN", value_parser = span, conflicts_with = "summary")]
    pub frames: Option<Range<u64>>,
    /// Instead of all regions, those that change around the next request, with the page faults in each.
    #[arg(long, conflicts_with_all = ["summary", "frames"])]
    pub diff: bool,
    /// Around the next of these, e.g. `'POST /saju'`, `'* /users/{id}'`; repeatable.
    #[arg(long, value_name = "METHOD PATTERN", requires = "diff")]
    pub request: Vec<Only>,
    /// How long to wait until the request has been answered.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, requires = "diff")]
    pub timeout: Duration,
    /// Around no request, but for so long, e.g. `5s`.
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "diff", conflicts_with_all = ["request", "timeout"])]
    pub duration: Option<Duration>,
    /// `table` or `json` (one object).
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: Form,
    /// Write it to this file; it appears once it is whole.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How much is said beside it.
    #[command(flatten)]
    pub voice: Voice,
}
