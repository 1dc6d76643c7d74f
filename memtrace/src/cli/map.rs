//! `memtrace map`: a process's memory, region by region.
//!
//! Owns what is said where it cannot be read. Must not know what a region is, nor how it reads.

use std::process::ExitCode;

use memtrace_common::Tgid;

use super::{args::MapArgs, failure::Failure, made::Made, target, terminal};
use crate::{
    kernel::smaps::{ReadingError, reading},
    map::Map,
    record::Clocks,
};

/// Runs `memtrace map`.
pub(super) fn map(args: &MapArgs) -> Result<ExitCode, Failure> {
    target::check(args.pid)?;
    let mut made = Made::open("the map", args.output.as_deref())?;
    let map = read(args.pid)?;
    let options = terminal::table_options(args.output.is_some(), Clocks::default());
    let mut bytes = Vec::new();
    map.write(args.format, args.summary, &options, &mut bytes);
    made.write(&mut bytes)?;
    made.complete()?;
    Ok(ExitCode::SUCCESS)
}

fn read(tgid: Tgid) -> Result<Map, Failure> {
    let what = format!("cannot read the memory of process {}", tgid.0);
    let reading = reading(tgid).map_err(|why| {
        let hint = match why {
            ReadingError::Ended => target::FIND_HINT,
            ReadingError::Denied => {
                "run it with sudo, or as the user whose process it is; CAP_SYS_PTRACE is what it takes"
            }
            ReadingError::NoSmaps => "use a kernel that has it, as those of all distributions do",
            ReadingError::Changing => "try again, or name the process that it becomes",
            ReadingError::Io(_) => "`memtrace doctor --pid PID` says what this user can see of it",
        };
        Failure::new(what.clone(), why, hint)
    })?;
    Map::of(&reading).map_err(|why| {
        Failure::new(
            what,
            format!("/proc/{}/smaps: {why}", tgid.0),
            "please report this, with that file and `memtrace doctor`'s output",
        )
    })
}
