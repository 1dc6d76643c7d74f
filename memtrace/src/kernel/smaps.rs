//! What `/proc` knows of a process's memory: its regions, and where its threads' stacks are.
//!
//! Owns the reading, and what can be in its way. Must not know what a region is for.

use std::{
    fs::File,
    io::{self, Read as _},
};

use memtrace_common::Tgid;
use object::{Object as _, ReadCache};
use procfs::process::{LimitValue, Process};

use super::procfs as processes;
use crate::map::{Reading, Thread};

/// A program that starts another while it is read is read again, so often at most.
const TRIES: usize = 3;
/// What most texts need at least.
const TEXT: usize = 128 << 10;

/// Why a process's memory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// It has ended, perhaps while it was read.
    #[error("it has ended")]
    Ended,
    /// It is another user's.
    #[error("this user may not look into it")]
    Denied,
    /// The kernel has no such file.
    #[error("this kernel has no /proc/PID/smaps (it was built without CONFIG_PROC_PAGE_MONITOR)")]
    NoSmaps,
    /// It does not stay the same program for as long as that takes.
    #[error("it starts one program after another")]
    Changing,
    /// Something else.
    #[error(transparent)]
    Io(io::Error),
}

/// Reads all that [`Map`](crate::map::Map) is made of.
pub fn reading(tgid: Tgid) -> Result<Reading, ReadingError> {
    for _ in 0..TRIES {
        let process = processes::open_living(tgid).ok_or(ReadingError::Ended)?;
        let before = life(&process).ok_or(ReadingError::Ended)?;
        let smaps = text(&process)?;
        let threads = threads(tgid);
        let reading = Reading {
            tgid: tgid.0,
            comm: processes::comm(tgid, memtrace_common::Tid(tgid.0)).unwrap_or_default(),
            smaps,
            threads,
            stack_limit: stack_limit(&process),
            is_go: is_go(&process),
        };
        // Where it ended meanwhile, the text does too, and looks as if it were whole.
        let after = processes::open_living(tgid).and_then(|process| life(&process));
        match after {
            Some(after) if after == before && !reading.smaps.is_empty() => return Ok(reading),
            Some(_) => {}
            None => return Err(ReadingError::Ended),
        }
    }
    Err(ReadingError::Changing)
}

/// What changes where a process's number is another's, or it runs another program: the stack begins elsewhere.
fn life(process: &Process) -> Option<(u64, u64)> {
    let stat = process.stat().ok()?;
    Some((stat.starttime, stat.startstack))
}

fn text(process: &Process) -> Result<Vec<u8>, ReadingError> {
    let mut text = Vec::with_capacity(TEXT);
    File::open(format!("/proc/{}/smaps", process.pid))
        .and_then(|mut smaps| smaps.read_to_end(&mut text))
        .map_err(|error| reason(error, process))?;
    Ok(text)
}

fn reason(error: io::Error, process: &Process) -> ReadingError {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ReadingError::Denied,
        io::ErrorKind::NotFound if process.is_alive() => ReadingError::NoSmaps,
        io::ErrorKind::NotFound => ReadingError::Ended,
        _ if error.raw_os_error() == Some(libc::ESRCH) => ReadingError::Ended,
        _ => ReadingError::Io(error),
    }
}

fn threads(tgid: Tgid) -> Vec<Thread> {
    let threads = processes::threads(tgid).into_iter();
    let mut threads: Vec<Thread> = threads
        .map(|(tid, _)| Thread {
            tid: tid.0,
            comm: processes::comm(tgid, tid).unwrap_or_default(),
            stack_pointer: processes::stack_pointer(tgid, tid),
        })
        .collect();
    threads.sort_by_key(|thread| thread.tid);
    threads
}

fn stack_limit(process: &Process) -> Option<u64> {
    match process.limits().ok()?.max_stack_size.soft_limit {
        LimitValue::Value(bytes) => Some(bytes),
        LimitValue::Unlimited => None,
    }
}

/// Whether its executable was written in Go: only Go's linker makes this section.
fn is_go(process: &Process) -> bool {
    let Ok(exe) = File::open(format!("/proc/{}/exe", process.pid)) else {
        return false;
    };
    let cache = ReadCache::new(exe);
    object::File::parse(&cache).is_ok_and(|file| file.section_by_name(".go.buildinfo").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Map, Type};

    #[test]
    fn this_tests_memory_can_be_read() {
        let reading = reading(Tgid(std::process::id())).unwrap();
        let map = Map::of(&reading).unwrap();
        for kind in [Type::Text, Type::Data, Type::Stack, Type::Vdso] {
            assert!(map.sum(|region| region.kind == kind).regions > 0, "{kind:?}");
        }
        let main = map
            .regions
            .iter()
            .find(|region| region.tid == Some(reading.tgid))
            .unwrap();
        assert_eq!(main.kind, Type::Stack);
    }

    #[test]
    fn why_it_cannot_be_read_is_told_apart() {
        let ours = Process::myself().unwrap();
        let why = |errno| reason(io::Error::from_raw_os_error(errno), &ours);
        assert!(matches!(why(libc::EACCES), ReadingError::Denied));
        assert!(matches!(why(libc::EPERM), ReadingError::Denied));
        assert!(matches!(why(libc::ENOENT), ReadingError::NoSmaps));
        assert!(matches!(why(libc::ESRCH), ReadingError::Ended));
        assert!(matches!(why(libc::EIO), ReadingError::Io(_)));
    }

    #[test]
    fn one_that_is_gone_has_ended() {
        assert!(matches!(reading(Tgid(u32::MAX)), Err(ReadingError::Ended)));
    }
}
