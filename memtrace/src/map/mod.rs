//! A process's address space, region by region: what `vmmap` is elsewhere.
//!
//! Owns what is said of a region and of a page, and the sums. Pure: it is given the text of `/proc/PID/smaps`, what is known
//! of the threads, and the kernel's entries for pages and frames. Must not know a file or a terminal.
//!
//! - `smaps`: the text, read
//! - `kind`: what each region is for
//! - `change`, `around`: what differs between two looks, and what happened between them
//! - `frames`: the frames of memory that its pages are in
//! - `table`, `json`: how all that is written

mod around;
mod change;
mod frames;
mod json;
mod kind;
mod smaps;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::{
    around::{Around, Moment},
    change::{Change, Changes, Fault, Taken, What},
    frames::{Entry, Frame, Frames, Of, Page, State, frame_of},
    kind::Type,
    smaps::{Pages, SmapsError},
};
use crate::{
    model::vma::Prot,
    report::{form::Form, table::TableOptions},
};

/// What was read of a process, at about the same time.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub comm: String,
    /// `/proc/PID/smaps`
    pub smaps: Vec<u8>,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// The soft limit of its stacks' size, bytes; `None` where there is none.
    pub stack_limit: Option<u64>,
    /// Its executable was written in Go.
    pub is_go: bool,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Where its stack is, if it rested in a system call.
    pub stack_pointer: Option<u64>,
}

/// How a region's memory is shared: the words of `vmmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Private, and a write makes a copy: pages of a file, or pages that a process forked from it has too.
    Cow,
    /// Private memory of its own.
    Prv,
    /// Private memory of no file, none of which is there yet: it will be filled with zeros when it is touched.
    Zer,
    /// `MAP_SHARED`: a write is seen by whoever maps the same.
    Shm,
    /// Addresses without memory: nothing is there, and nothing may be.
    Nul,
}

impl Share {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Prv, Self::Cow, Self::Zer, Self::Shm, Self::Nul];

    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cow => "COW",
            Self::Prv => "PRV",
            Self::Zer => "ZER",
            Self::Shm => "SHM",
            Self::Nul => "NUL",
        }
    }
}

/// A region: one mapping of `/proc/PID/smaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its addresses.
    pub range: Range<u64>,
    /// What an access may do.
    pub prot: Prot,
    /// How it is shared.
    pub share: Share,
    /// What it is for.
    pub kind: Type,
    /// The path of what is mapped, for people.
    pub path: Option<String>,
    /// What else it is called: by its program, or the thread whose stack it is.
    pub name: Option<String>,
    /// The thread whose stack it is.
    pub tid: Option<u32>,
    /// What the kernel counts of its pages.
    pub pages: Pages,
}

impl Region {
    /// In bytes.
    pub fn size(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// An address space.
#[derive(Clone, Debug)]
pub struct Map {
    /// The process.
    pub tgid: u32,
    /// Its name.
    pub comm: String,
    /// All regions, in the order of their addresses.
    pub regions: Vec<Region>,
}

/// Several regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many they are.
    pub regions: u64,
    /// How many bytes of addresses.
    pub size: u64,
    /// What the kernel counts of their pages.
    pub pages: Pages,
}

impl Map {
    /// Makes sense of what was read.
    pub fn of(reading: &Reading) -> Result<Self, SmapsError> {
        let mappings = smaps::parse(&reading.smaps)?;
        let known = kind::Known {
            tgid: reading.tgid,
            threads: &reading.threads,
            stack_size: reading.stack_limit,
            is_go: reading.is_go,
        };
        let uses = kind::uses(&mappings, known);
        let regions = mappings.iter().zip(uses).map(|(mapping, used)| Region {
            range: mapping.line.range.clone(),
            prot: mapping.line.prot,
            share: share(mapping, used.kind),
            kind: used.kind,
            path: used.path,
            name: used.name,
            tid: used.tid,
            pages: mapping.pages,
        });
        Ok(Self {
            tgid: reading.tgid,
            comm: reading.comm.clone(),
            regions: regions.collect(),
        })
    }

    /// The sum of those regions for which `is_in` holds.
    pub fn sum(&self, is_in: impl Fn(&Region) -> bool) -> Sum {
        let mut sum = Sum::default();
        for region in self.regions.iter().filter(|region| is_in(region)) {
            sum.regions += 1;
            sum.size += region.size();
            sum.pages += region.pages;
        }
        sum
    }

    /// The types that there are, with their sums, the most resident first.
    pub fn types(&self) -> Vec<(Type, Sum)> {
        let sums = Type::ALL.map(|kind| (kind, self.sum(|region| region.kind == kind)));
        let mut sums: Vec<_> = sums.into_iter().filter(|(_, sum)| sum.regions > 0).collect();
        sums.sort_by_key(|(kind, sum)| (std::cmp::Reverse((sum.pages.resident, sum.size)), *kind));
        sums
    }

    /// What may be written.
    pub fn writable(&self) -> Sum {
        self.sum(|region| region.prot.write())
    }

    /// Appends it, with every region or with the sums alone.
    pub fn write(&self, form: Form, is_summary: bool, options: &TableOptions, out: &mut Vec<u8>) {
        match form {
            Form::Table => table::write(self, is_summary, options, out),
            Form::Json => json::write(self, is_summary, out),
        }
    }
}

fn share(mapping: &smaps::Mapping<'_>, kind: Type) -> Share {
    let (line, pages) = (&mapping.line, &mapping.pages);
    let is_empty = pages.resident + pages.swapped + pages.hugetlb == 0;
    // The pages are those of a file, or the kernel's.
    let is_of_others = matches!(
        kind,
        Type::Text | Type::Data | Type::File | Type::Vdso | Type::Shmem
    );
    match () {
        () if line.shared => Share::Shm,
        () if is_empty && line.prot == Prot::NONE => Share::Nul,
        () if is_of_others || pages.shared > 0 => Share::Cow,
        () if is_empty => Share::Zer,
        () => Share::Prv,
    }
}
