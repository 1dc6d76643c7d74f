//! Why the kernel had to be asked: the cause of a completed fault.
//!
//! Owns the rule, which docs/LEDGER.md has in prose. Must not know threads, requests, or how regions are kept.
//!
//! Three things are observed: what the access was, whether a page was there, and minor or major. The region is
//! known as well as the calls that made it. What the kernel then did follows from its own dispatch, `handle_pte_fault`
//! in <https://elixir.bootlin.com/linux/v6.12/source/mm/memory.c>, where all functions named below are.

#[cfg(test)]
mod tests;

use super::vma::{Backing, Vma};

/// What the program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// It wrote; else it read.
    pub write: bool,
    /// It fetched an instruction.
    pub exec: bool,
}

/// What a completed fault was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// New memory, filled with zeros.
    ZeroFill,
    /// New memory was read before it was written: the page of zeros that all processes share.
    ZeroPageRead,
    /// A page that others may see too was copied before it was written.
    Cow,
    /// A page of a file that was in memory already.
    FileMap,
    /// A page of a file that was not.
    FileRead,
    /// Memory that had been swapped out.
    SwapIn,
    /// A page that was there and shared was written for the first time since it was clean.
    WriteProtect,
    /// None of these, or not known.
    Other,
}

impl Cause {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::ZeroFill,
        Self::ZeroPageRead,
        Self::Cow,
        Self::FileMap,
        Self::FileRead,
        Self::SwapIn,
        Self::WriteProtect,
        Self::Other,
    ];

    /// Its key in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroFill => "zero_fill",
            Self::ZeroPageRead => "zero_page_read",
            Self::Cow => "cow",
            Self::FileMap => "file_map",
            Self::FileRead => "file_read",
            Self::SwapIn => "swap_in",
            Self::WriteProtect => "write_protect",
            Self::Other => "other",
        }
    }

    /// The cause of a fault that completed. `protection`: a page was there that forbade the access. `region`: what
    /// was there when it was taken, where that is known.
    ///
    /// A page that is there and is read or executed can only have been seen through a stale translation: another
    /// thread was faster, and nothing was done. That is other.
    pub fn of(access: Access, protection: bool, region: Option<&Vma>, major: bool) -> Self {
        let Some(vma) = region else {
            return Self::Other;
        };
        match (vma.backing, protection) {
            // `special_mapping_fault` in mm/mmap.c hands out the kernel's own pages.
            (Backing::Vdso | Backing::Special, _) => Self::Other,
            (_, true) if access.write => Self::of_forbidden_write(vma),
            (_, true) => Self::Other,
            (Backing::Anon | Backing::Heap | Backing::Stack, false) => Self::of_absent_anon(access, major),
            (Backing::File(_), false) => Self::of_absent_file(access, vma.shared, major),
            (Backing::Shmem(_), false) => Self::of_absent_shmem(access, vma.shared, major),
        }
    }

    /// `do_wp_page`. Observed: a page that was there was written. Private: `wp_page_copy`, or where nobody else
    /// has the page any more `wp_page_reuse`, which copies nothing; they cannot be told apart. Among these are pages
    /// shared by fork, clean pages of files, and the page of zeros. Shared: `wp_page_shared` tells the file system.
    /// That a major fault can be this is a retry's doing.
    fn of_forbidden_write(vma: &Vma) -> Self {
        if vma.shared { Self::WriteProtect } else { Self::Cow }
    }

    /// `do_anonymous_page`: a write gets a page of its own, a read (fetching an instruction is one) the page of
    /// zeros. Observed, but for pages that are not in the page table although there are such: swapped out, being moved,
    /// or marked for NUMA balancing. Major: `do_swap_page` read the page, inferred from that nothing else in anonymous
    /// memory is major by itself.
    fn of_absent_anon(access: Access, major: bool) -> Self {
        match (major, access.write) {
            (true, _) => Self::SwapIn,
            (false, true) => Self::ZeroFill,
            (false, false) => Self::ZeroPageRead,
        }
    }

    /// Major: `__do_fault` waited for the disk, whatever was done with the page; inferred, because a retry is
    /// major too, and because a private page that was written and then swapped out looks the same. Minor: a write to
    /// a private mapping copies (`do_cow_fault`), everything else maps the page (`do_read_fault`, and
    /// `do_shared_fault` for writes). The dispatch is observed, what the page was is inferred.
    fn of_absent_file(access: Access, shared: bool, major: bool) -> Self {
        match (major, access.write && !shared) {
            (true, _) => Self::FileRead,
            (false, true) => Self::Cow,
            (false, false) => Self::FileMap,
        }
    }

    /// `shmem_fault` in <https://elixir.bootlin.com/linux/v6.12/source/mm/shmem.c>: major where it read from swap.
    /// Minor in a shared mapping: it made the page, for a read too; inferred, because another process may have made
    /// it, and then it was only mapped. A private mapping is of an object that has contents already: it is like a
    /// file's in memory.
    fn of_absent_shmem(access: Access, shared: bool, major: bool) -> Self {
        match (major, shared, access.write) {
            (true, ..) => Self::SwapIn,
            (false, true, _) => Self::ZeroFill,
            (false, false, true) => Self::Cow,
            (false, false, false) => Self::FileMap,
        }
    }
}
