//! What can be done with memory by the page, each kind by its route.
//!
//! Owns their names and bounds. Must not know how any of them is done.

use crate::route::PAGES_MAX;

/// The most pages of a file that is in the page cache.
pub(crate) const CACHED_MAX: usize = 1024;
/// The most pages that are read from a disk.
pub(crate) const MAJOR_MAX: usize = 1024;
/// The most pages of a stack: a process's first thread has 8 MiB.
pub(crate) const STACK_MAX: usize = 1024;
/// The most huge pages: 1 GiB.
const HUGE_MAX: usize = 512;
/// The most pages that are shared with a child, or swapped out.
const PREPARED_MAX: usize = 65_536;
/// The most regions: a process may have 65,530, unless somebody has set `vm.max_map_count`.
const SCATTERED_MAX: usize = 65_000;

/// What is done with N pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Fresh anonymous pages are written to, and stay mapped. N in user mode.
    Keep,
    /// As `Keep`, and each page is a region of its own. N in user mode.
    Scatter,
    /// What the last `Keep` of N pages mapped is unmapped. None.
    Unmap,
    /// Pages that a forked child has too are written to. N in user mode.
    Cow,
    /// Pages of a private mapping of a file are read, none of which the kernel may map beside another. N in user mode.
    FileMap,
    /// Pages of a private mapping of a file are written to. N in user mode.
    FileCow,
    /// As `FileMap` of a shared mapping, and then each of these pages is written to. 2 N in user mode.
    FileWrite,
    /// Pages of a file that is on the disk alone are read, none ahead of its time. N in user mode, major.
    Major,
    /// Fresh pages of the thread's stack are written to. N in user mode.
    Stack,
    /// Fresh anonymous pages that may be executed are written to. N in user mode.
    Jit,
    /// Fresh pages of a shared anonymous mapping are written to. N in user mode.
    Shm,
    /// Fresh huge pages are written to, and stay mapped until the next request of this kind. N in user mode.
    Thp,
    /// Fresh anonymous pages are read. N in user mode.
    ZeroRead,
    /// Pages that are swapped out are read. N in user mode. Refused where nothing can be swapped out.
    Swap,
    /// N fresh pages are written to; the kernel moves them and makes room for N more; those are written to. 2 N in
    /// user mode.
    Mremap,
    /// Fresh pages are written to, made read-only, made writable again, and written to once more. N in user mode;
    /// 2 N on kernels before 6.0, where `mprotect` leaves it to a fault to find that a page may be written to
    /// (`can_change_pte_writable` in mm/mprotect.c).
    Mprotect,
}

/// Each with its path, its parameter, and the most that one request may ask for.
const KINDS: [(&str, Kind, &str, usize); 16] = [
    ("/keep", Kind::Keep, "pages", PAGES_MAX),
    ("/scatter", Kind::Scatter, "pages", SCATTERED_MAX),
    ("/unmap", Kind::Unmap, "pages", PAGES_MAX),
    ("/cow", Kind::Cow, "pages", PREPARED_MAX),
    ("/filemap", Kind::FileMap, "pages", CACHED_MAX),
    ("/filecow", Kind::FileCow, "pages", CACHED_MAX),
    ("/filewrite", Kind::FileWrite, "pages", CACHED_MAX),
    ("/major", Kind::Major, "pages", MAJOR_MAX),
    ("/stack", Kind::Stack, "pages", STACK_MAX),
    ("/jit", Kind::Jit, "pages", PAGES_MAX),
    ("/shm", Kind::Shm, "pages", PAGES_MAX),
    ("/thp", Kind::Thp, "huge", HUGE_MAX),
    ("/zero-read", Kind::ZeroRead, "pages", PAGES_MAX),
    ("/swap", Kind::Swap, "pages", PREPARED_MAX),
    ("/mremap", Kind::Mremap, "pages", PAGES_MAX),
    ("/mprotect", Kind::Mprotect, "pages", PAGES_MAX),
];

impl Kind {
    /// The kind of a path, what its parameter is called, and how large that may be.
    pub(crate) fn named(path: &str) -> Option<(Kind, &'static str, usize)> {
        let (_, kind, parameter, max) = KINDS.iter().find(|(name, ..)| *name == path)?;
        Some((*kind, parameter, *max))
    }
}
