//! `memtrace map`: a process's memory, region by region, or page by page.
//!
//! Owns what is said where it cannot be read. Must not know what a region is, nor how it reads.

use std::{ops::Range, process::ExitCode};

use memtrace_common::Tgid;

use super::{args::MapArgs, failure::Failure, made::Made, target, terminal};
use crate::{
    kernel::{
        pagemap::{PagemapError, entries},
        smaps::{ReadingError, reading},
    },
    map::{Frames, Map},
    record::Clocks,
};

const DENIED_HINT: &str =
    "run it with sudo, or as the user whose process it is; CAP_SYS_PTRACE is what it takes";
const KERNEL_HINT: &str = "use a kernel that has it, as those of all distributions do";

/// Runs `memtrace map`.
pub(super) fn map(args: &MapArgs) -> Result<ExitCode, Failure> {
    target::check(args.pid)?;
    let mut made = Made::open("the map", args.output.as_deref())?;
    let map = read(args.pid)?;
    let options = terminal::table_options(args.output.is_some(), Clocks::default());
    let mut bytes = Vec::new();
    match &args.frames {
        None => map.write(args.format, args.summary, &options, &mut bytes),
        Some(range) => frames(map, args.pid, range)?.write(args.format, &options, &mut bytes),
    }
    made.write(&mut bytes)?;
    made.complete()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn read(tgid: Tgid) -> Result<Map, Failure> {
    let what = format!("cannot read the memory of process {}", tgid.0);
    let reading = reading(tgid).map_err(|why| {
        let hint = match why {
            ReadingError::Ended => target::FIND_HINT,
            ReadingError::Denied => DENIED_HINT,
            ReadingError::NoSmaps => KERNEL_HINT,
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

fn frames(map: Map, tgid: Tgid, range: &Range<u64>) -> Result<Frames, Failure> {
    let what = format!("cannot tell the frames of process {}", tgid.0);
    let is_within =
        |region: &crate::map::Region| region.range.start < range.end && range.start < region.range.end;
    if !map.regions.iter().any(is_within) {
        let hint = format!("`memtrace map --pid {}` lists what is", tgid.0);
        return Err(Failure::new(what, "nothing is mapped at these addresses", hint));
    }
    let entries = entries(tgid, range).map_err(|why| {
        let hint = match why {
            PagemapError::Ended => target::FIND_HINT,
            PagemapError::Denied => DENIED_HINT,
            PagemapError::Hidden => {
                "run it with sudo, outside of containers: `memtrace map` without --frames needs no such right"
            }
            PagemapError::NoFile(_) => KERNEL_HINT,
            PagemapError::Io(..) => "please report this, with `memtrace doctor`'s output",
        };
        Failure::new(what, why, hint)
    })?;
    Ok(Frames::of(map, range, &entries))
}
