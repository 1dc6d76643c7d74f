//! Which frame of memory each page is in: `/proc/PID/pagemap`, `/proc/kpageflags` and `/proc/kpagecount`.
//!
//! Owns the reading, and what can be in its way. Must not know what the bits mean, but for those that lead from one file
//! to the next. <https://www.kernel.org/doc/html/v6.12/admin-guide/mm/pagemap.html>

use std::{collections::BTreeMap, fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use memtrace_common::Tgid;

use super::procfs as processes;
use crate::{
    map::{Entry, Frame, frame_of},
    model::vma::PAGE,
};

/// All three files have so many bytes for each page or frame.
const ENTRY: u64 = 8;
/// Entries that are read at once.
const CHUNK: u64 = 64 << 10;
/// Frames of a huge page: a page that is in one can be told by its first frame, and by the one in its middle.
const HUGE_FRAMES: u64 = 512;

/// Why frames cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PagemapError {
    /// The process has ended.
    #[error("it has ended")]
    Ended,
    /// It is another user's.
    #[error("this user may not look into it")]
    Denied,
    /// The kernel shows frames to whoever may administer the system, and to nobody else.
    #[error("the kernel tells frames to nobody without CAP_SYS_ADMIN")]
    Hidden,
    /// The kernel has no such file.
    #[error("this kernel has no {0} (it was built without CONFIG_PROC_PAGE_MONITOR)")]
    NoFile(&'static str),
    /// Something else.
    #[error("{0}: {1}")]
    Io(&'static str, io::Error),
}

const PAGEMAP: &str = "/proc/PID/pagemap";
const FLAGS: &str = "/proc/kpageflags";
const COUNT: &str = "/proc/kpagecount";

/// The entries of all pages of a range of addresses, which begins and ends with a page.
pub fn entries(tgid: Tgid, range: &Range<u64>) -> Result<Vec<Entry>, PagemapError> {
    let process = processes::open_living(tgid).ok_or(PagemapError::Ended)?;
    let fail = |error: io::Error| reason(PAGEMAP, error, process.is_alive());
    let pagemap = File::open(format!("/proc/{}/pagemap", process.pid)).map_err(fail)?;
    let pages = range.start / PAGE..range.end / PAGE;
    let raw = read(&pagemap, &pages).map_err(fail)?;
    let mut frames = raw.iter().filter_map(|&raw| frame_of(raw)).peekable();
    if frames.peek().is_some() && frames.clone().all(|frame| frame == 0) {
        return Err(PagemapError::Hidden);
    }
    let known = of_frames(frames)?;
    let of_page = |raw: u64| Entry {
        pagemap: raw,
        frame: frame_of(raw).and_then(|frame| known.get(&frame).copied()),
    };
    Ok(raw.into_iter().map(of_page).collect())
}

/// What the kernel says of frames.
fn of_frames(frames: impl Iterator<Item = u64>) -> Result<BTreeMap<u64, Frame>, PagemapError> {
    let mut known: BTreeMap<u64, Frame> = frames.map(|frame| (frame, Frame::default())).collect();
    if known.is_empty() {
        return Ok(known);
    }
    let open = |path| File::open(path).map_err(|error| reason(path, error, true));
    let (flags, counts) = (open(FLAGS)?, open(COUNT)?);
    for run in runs(known.keys().copied()) {
        let of = |file, path| read(file, &run).map_err(|error| reason(path, error, true));
        let said = of(&flags, FLAGS)?.into_iter().zip(of(&counts, COUNT)?);
        for (frame, (flags, mappings)) in run.clone().zip(said) {
            known.insert(
                frame,
                Frame {
                    flags,
                    mappings,
                    ..Frame::default()
                },
            );
        }
    }
    // One look at each huge page that any of them may be in.
    let flags_of = |frame| {
        let read = read(&flags, &(frame..frame + 1)).map_err(|error| reason(FLAGS, error, true))?;
        Ok(read.first().copied().unwrap_or(0))
    };
    let mut last = None;
    for (&number, frame) in &mut known {
        let first = number - number % HUGE_FRAMES;
        let looks = match last {
            Some((of, looks)) if of == first => looks,
            _ => [flags_of(first)?, flags_of(first + HUGE_FRAMES / 2)?],
        };
        last = Some((first, looks));
        frame.huge = looks;
    }
    Ok(known)
}

/// Frames that follow each other, together.
fn runs(frames: impl Iterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for frame in frames {
        match runs.last_mut() {
            Some(run) if run.end == frame => run.end += 1,
            _ => runs.push(frame..frame + 1),
        }
    }
    runs
}

/// So many entries; those behind the file's end are 0.
fn read(file: &File, entries: &Range<u64>) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    let mut at = entries.start;
    while at < entries.end {
        let count = (entries.end - at).min(CHUNK);
        let mut bytes = vec![0; usize::try_from(count * ENTRY).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], at * ENTRY + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let (numbers, _) = bytes.as_chunks();
        all.extend(numbers.iter().map(|&bytes| u64::from_ne_bytes(bytes)));
        at += count;
    }
    Ok(all)
}

fn reason(path: &'static str, error: io::Error, is_alive: bool) -> PagemapError {
    match error.kind() {
        io::ErrorKind::PermissionDenied if path == PAGEMAP => PagemapError::Denied,
        io::ErrorKind::PermissionDenied => PagemapError::Hidden,
        io::ErrorKind::NotFound if is_alive => PagemapError::NoFile(path),
        io::ErrorKind::NotFound => PagemapError::Ended,
        _ if error.raw_os_error() == Some(libc::ESRCH) => PagemapError::Ended,
        _ => PagemapError::Io(path, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_follow_each_other_are_read_at_once() {
        assert_eq!(runs([1, 2, 3, 7, 9, 10].into_iter()), [1..4, 7..8, 9..11]);
        assert!(runs(std::iter::empty()).is_empty());
    }

    #[test]
    fn why_frames_cannot_be_told_is_told_apart() {
        let why = |path, errno, is_alive| reason(path, io::Error::from_raw_os_error(errno), is_alive);
        assert!(matches!(why(PAGEMAP, libc::EACCES, true), PagemapError::Denied));
        assert!(matches!(why(FLAGS, libc::EACCES, true), PagemapError::Hidden));
        assert!(matches!(
            why(PAGEMAP, libc::ENOENT, true),
            PagemapError::NoFile(PAGEMAP)
        ));
        assert!(matches!(
            why(COUNT, libc::ENOENT, true),
            PagemapError::NoFile(COUNT)
        ));
        assert!(matches!(why(PAGEMAP, libc::ENOENT, false), PagemapError::Ended));
        assert!(matches!(why(PAGEMAP, libc::ESRCH, true), PagemapError::Ended));
        assert!(matches!(why(COUNT, libc::EIO, true), PagemapError::Io(COUNT, _)));
    }

    #[test]
    fn behind_the_end_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entries");
        std::fs::write(&path, [7_u64.to_ne_bytes(), 8_u64.to_ne_bytes()].concat()).unwrap();
        let file = File::open(path).unwrap();
        assert_eq!(read(&file, &(1..4)).unwrap(), [8, 0, 0]);
    }
}
