//! Pages and the frames that they are in, as a textbook draws it.
//!
//! Owns what the kernel's bits mean
//! (<https://www.kernel.org/doc/html/v6.12/admin-guide/mm/pagemap.html>). Must not know where they were read.

use std::ops::Range;

use super::{Map, Region, Type, json, table};
use crate::{
    model::vma::PAGE,
    report::{form::Form, table::TableOptions},
};

/// Bits of an entry of `/proc/PID/pagemap`.
mod pagemap {
    pub(super) const FRAME: u64 = (1 << 55) - 1;
    pub(super) const EXCLUSIVE: u64 = 1 << 56;
    /// Since Linux 6.15.
    pub(super) const GUARD: u64 = 1 << 58;
    pub(super) const OF_FILE: u64 = 1 << 61;
    pub(super) const SWAPPED: u64 = 1 << 62;
    pub(super) const PRESENT: u64 = 1 << 63;
}

/// Bits of an entry of `/proc/kpageflags`
/// (<https://elixir.bootlin.com/linux/v6.12/source/include/uapi/linux/kernel-page-flags.h>).
mod flags {
    pub(super) const ANON: u64 = 1 << 12;
    pub(super) const SWAPBACKED: u64 = 1 << 14;
    pub(super) const COMPOUND_HEAD: u64 = 1 << 15;
    pub(super) const COMPOUND_TAIL: u64 = 1 << 16;
    pub(super) const HUGE: u64 = 1 << 17;
    pub(super) const KSM: u64 = 1 << 21;
    pub(super) const ZERO_PAGE: u64 = 1 << 24;
}

/// What was read of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its entry in `/proc/PID/pagemap`.
    pub pagemap: u64,
    /// What was read of its frame, if it is in one.
    pub frame: Option<Frame>,
}

/// What was read of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Its entry in `/proc/kpageflags`.
    pub flags: u64,
    /// Its entry in `/proc/kpagecount`.
    pub mappings: u64,
    /// The flags of the first frame of the 512 around it that a huge page would be in, and of the one in their middle.
    pub huge: [u64; 2],
}

/// The frame of a page that is in memory, by its entry in `/proc/PID/pagemap`: 0 where the kernel does not say.
pub fn frame_of(entry: u64) -> Option<u64> {
    (entry & pagemap::PRESENT != 0).then_some(entry & pagemap::FRAME)
}

/// Where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its address belongs to no region.
    Unmapped,
    /// Nowhere yet, or no more: promised, and not given.
    Absent,
    /// Nowhere, and a touch is an error: `MADV_GUARD_INSTALL`.
    Guard,
    /// In swap, or on its way from one place to another.
    Swapped,
    /// In memory.
    Present {
        /// The frame's number: its physical address without the last 12 bits.
        frame: u64,
        /// What it is a page of.
        of: Of,
        /// How often it is mapped, by whomever.
        mappings: u64,
        /// Nobody else maps it.
        exclusive: bool,
        /// It is part of a page of 2 MiB or more.
        huge: bool,
    },
}

impl State {
    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Absent => "absent",
            Self::Guard => "guard",
            Self::Swapped => "swapped",
            Self::Present { .. } => "present",
        }
    }
}

/// What a page is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Memory of no file.
    Anonymous,
    /// The same, and the kernel found pages of the same content and keeps one.
    Merged,
    /// The one page of zeros that everybody reads who has not written yet.
    Zero,
    /// A file.
    File,
    /// Shared memory.
    Shmem,
    /// hugetlbfs
    Hugetlb,
    /// None of these: the kernel's own, or a device's.
    Kernel,
}

impl Of {
    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Merged => "merged",
            Self::Zero => "zero",
            Self::File => "file",
            Self::Shmem => "shmem",
            Self::Hugetlb => "hugetlb",
            Self::Kernel => "kernel",
        }
    }
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its number: its address without the last 12 bits.
    pub number: u64,
    /// Which region it is in: its place in the map.
    pub region: Option<usize>,
    /// Where it is.
    pub state: State,
}

/// The pages of a range of addresses.
#[derive(Clone, Debug)]
pub struct Frames {
    /// The address space that they are in.
    pub map: Map,
    /// All pages, in the order of their addresses.
    pub pages: Vec<Page>,
}

impl Frames {
    /// The pages of `range`, which begins and ends with one, by what was read of each.
    pub fn of(map: Map, range: &Range<u64>, entries: &[Entry]) -> Self {
        let numbers = range.start / PAGE..range.end / PAGE;
        let mut index = map
            .regions
            .partition_point(|region| region.range.end <= range.start);
        let pages = numbers.zip(entries).map(|(number, entry)| {
            let address = number * PAGE;
            while map
                .regions
                .get(index)
                .is_some_and(|region| region.range.end <= address)
            {
                index += 1;
            }
            let region = map.regions.get(index);
            let region = region.filter(|region| region.range.contains(&address));
            Page {
                number,
                region: region.map(|_| index),
                state: state(*entry, region.map(|region| region.kind)),
            }
        });
        let pages = pages.collect();
        Self { map, pages }
    }

    /// The region that a page is in.
    pub fn region(&self, page: &Page) -> Option<&Region> {
        self.map.regions.get(page.region?)
    }

    /// Appends them.
    pub fn write(&self, form: Form, options: &TableOptions, out: &mut Vec<u8>) {
        match form {
            Form::Table => table::write_pages(self, options, out),
            Form::Json => json::write_pages(self, out),
        }
    }

    /// How many pages are in such a state.
    pub fn count(&self, is_so: impl Fn(State) -> bool) -> usize {
        self.pages.iter().filter(|page| is_so(page.state)).count()
    }
}

fn state(entry: Entry, region: Option<Type>) -> State {
    let is = |bit| entry.pagemap & bit != 0;
    match frame_of(entry.pagemap) {
        Some(number) => {
            let Frame {
                flags,
                mappings,
                huge,
            } = entry.frame.unwrap_or_default();
            State::Present {
                frame: number,
                of: of(flags, is(pagemap::OF_FILE) && region != Some(Type::Vdso)),
                mappings,
                exclusive: is(pagemap::EXCLUSIVE),
                // A larger page begins at a multiple of its size. So one whose middle is no beginning has 512 at least.
                huge: flags & flags::HUGE != 0
                    || (huge[0] & flags::COMPOUND_HEAD != 0 && huge[1] & flags::COMPOUND_TAIL != 0),
            }
        }
        // It is kept where what is in swap is kept, and has that bit too.
        None if is(pagemap::GUARD) => State::Guard,
        None if is(pagemap::SWAPPED) => State::Swapped,
        None if region.is_some() => State::Absent,
        None => State::Unmapped,
    }
}

fn of(flags: u64, is_of_file: bool) -> Of {
    let is = |bit| flags & bit != 0;
    match () {
        () if is(flags::ZERO_PAGE) => Of::Zero,
        () if is(flags::HUGE) => Of::Hugetlb,
        () if is(flags::KSM) => Of::Merged,
        () if is(flags::ANON) => Of::Anonymous,
        () if is_of_file && is(flags::SWAPBACKED) => Of::Shmem,
        () if is_of_file => Of::File,
        () => Of::Kernel,
    }
}
