//! Pages that are shared with a forked child, and nothing else that still is.
//!
//! Owns the fork and what it leaves behind. Must not know who writes to the pages then.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::process::{Pid, Signal, WaitOptions};

use super::Mapping;

/// A forked child that does nothing but share this process's memory; ended on drop.
pub(crate) struct Sharer(Pid);

impl Sharer {
    /// Forks, and then has every page of this process copied that it shares with the child by that, but for `pages`.
    ///
    /// Without the latter, whoever next writes to its stack, its heap or the like would pay for it. Only the thread
    /// that calls this does. A thread that runs meanwhile may pay for some too.
    pub(crate) fn fork(pages: &Mapping) -> io::Result<Sharer> {
        // SAFETY: the child calls nothing but what is async-signal-safe, and never returns.
        let child = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => wait_to_be_killed(),
            child => Sharer(Pid::from_raw(child).ok_or(io::ErrorKind::InvalidData)?),
        };
        copy_all_but(pages)?;
        Ok(child)
    }
}

impl Drop for Sharer {
    fn drop(&mut self) {
        // Neither fails: it has not been waited for.
        let _ = rustix::process::kill_process(self.0, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.0), WaitOptions::empty());
    }
}

fn wait_to_be_killed() -> ! {
    // SAFETY: a plain system call. The child does not outlive the thread that forked it.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    loop {
        // SAFETY: a plain system call.
        unsafe { libc::pause() };
    }
}

/// Writes to each page that is resident, private, anonymous and writable, what is in it already.
fn copy_all_but(pages: &Mapping) -> io::Result<()> {
    /// Of an entry in `/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst): it is there; it is a file's.
    const PRESENT: u64 = 1 << 63;
    const OF_A_FILE: u64 = 1 << 61;
    const ENTRY: usize = size_of::<u64>();
    let page = rustix::param::page_size();
    let except = pages.range();
    let pagemap = File::open("/proc/self/pagemap")?;
    for line in BufReader::new(File::open("/proc/self/maps")?).lines() {
        let line = line?;
        let Some((start, end)) = writable_and_private(&line) else {
            continue;
        };
        let mut entries = vec![0; (end - start) / page * ENTRY];
        pagemap.read_exact_at(&mut entries, (start / page * ENTRY) as u64)?;
        for (address, entry) in (start..end).step_by(page).zip(entries.as_chunks().0) {
            let is_shared = u64::from_ne_bytes(*entry) & (PRESENT | OF_A_FILE) == PRESENT;
            if is_shared && !except.contains(&address) {
                let byte = std::ptr::with_exposed_provenance_mut::<u8>(address);
                // SAFETY: mapped and writable; only a thread that runs meanwhile could unmap it. Atomic, so that what
                // others write to it is not lost.
                let byte = unsafe { AtomicU8::from_ptr(byte) };
                // The compiler may not learn that this changes nothing: it would only read then.
                byte.fetch_or(std::hint::black_box(0), Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// The range of a line of `/proc/self/maps`, if it is one of memory that a fork shares until it is written to.
fn writable_and_private(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split(' ');
    let (start, end) = words.next()?.split_once('-')?;
    let allowed = words.next()?.as_bytes();
    if allowed.get(1) != Some(&b'w') || allowed.get(3) != Some(&b'p') {
        return None;
    }
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}
