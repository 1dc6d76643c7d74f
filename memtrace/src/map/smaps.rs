//! The text of `/proc/PID/smaps`: each mapping, and what the kernel counts of its pages.
//!
//! Owns its form, as `show_smap` writes it in
//! <https://elixir.bootlin.com/linux/v6.12/source/fs/proc/task_mmu.c>. Must not know what a mapping is for, nor who
//! read the text.

use std::ops::AddAssign;

use crate::model::maps::{MapsError, MapsLine, parse_line};

/// A mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    /// Its first line, as `/proc/PID/maps` has it.
    pub line: MapsLine<'a>,
    /// What is counted of its pages.
    pub pages: Pages,
    /// What of `VmFlags` matters here.
    pub flags: Flags,
}

/// What the kernel counts of a mapping's pages, in bytes. What a kernel does not write is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// `Rss`: in memory and mapped. The page of zeros is not among them, nor are pages of hugetlbfs.
    pub resident: u64,
    /// `Pss`: of each of them, the part that is this process's if all that map it share it out.
    pub proportional: u64,
    /// `Shared_Clean` and `Shared_Dirty`: of them, those that are mapped more than once.
    pub shared: u64,
    /// `Shared_Dirty` and `Private_Dirty`: of them, those that were written since they last were on a disk.
    pub dirty: u64,
    /// `Anonymous`: of them, those that are of no file, copies of a file's pages included.
    pub anonymous: u64,
    /// `Swap`
    pub swapped: u64,
    /// `AnonHugePages`, `ShmemPmdMapped` and `FilePmdMapped`: of those in memory, by huge pages.
    pub huge: u64,
    /// `Shared_Hugetlb` and `Private_Hugetlb`: pages of hugetlbfs.
    pub hugetlb: u64,
}

impl AddAssign for Pages {
    fn add_assign(&mut self, other: Self) {
        self.resident += other.resident;
        self.proportional += other.proportional;
        self.shared += other.shared;
        self.dirty += other.dirty;
        self.anonymous += other.anonymous;
        self.swapped += other.swapped;
        self.huge += other.huge;
        self.hugetlb += other.hugetlb;
    }
}

/// Flags of a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `ac`: private memory that may be, or once might be, written.
    pub accountable: bool,
    /// `nh`: no huge pages. Since Linux 6.7 every mapping with `MAP_STACK` has it.
    pub no_huge_pages: bool,
}

/// A text that is not one of `/proc/PID/smaps`: where it stops making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmapsError {
    /// Where a mapping should begin.
    #[error("line {line}: {error}")]
    Mapping {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        error: MapsError,
    },
    /// Where something should be said of a mapping.
    #[error("line {line}: no `NAME: VALUE kB`")]
    Field {
        /// From 1.
        line: usize,
    },
    /// A mapping without the size of what is in memory.
    #[error("line {line}: a mapping without `Rss`")]
    Unmeasured {
        /// Where it begins, from 1.
        line: usize,
    },
}

/// All mappings, in the order of their addresses.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Mapping<'_>>, SmapsError> {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    // Where the last mapping begins, and whether anything was said of what is in memory.
    let mut last = (0, true);
    for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let error = |error| SmapsError::Mapping { line: number, error };
        let line = line.strip_suffix(b"\n").ok_or(error(MapsError::Cut))?;
        // Addresses are in small letters, fields begin with a capital.
        if !line.first().is_some_and(u8::is_ascii_uppercase) {
            if !last.1 {
                return Err(SmapsError::Unmeasured { line: last.0 });
            }
            last = (number, false);
            mappings.push(Mapping {
                line: parse_line(line).map_err(error)?,
                pages: Pages::default(),
                flags: Flags::default(),
            });
            continue;
        }
        let mapping = mappings.last_mut().ok_or(error(MapsError::Range))?;
        let field = SmapsError::Field { line: number };
        let colon = line.iter().position(|&byte| byte == b':').ok_or(field)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name == b"VmFlags" {
            mapping.flags = flags(value);
        } else if let Some(to) = counts(name, &mut mapping.pages) {
            let bytes = kilobytes(value).ok_or(field)?;
            to.into_iter().flatten().for_each(|count| *count += bytes);
            last.1 |= name == b"Rss";
        }
    }
    if !last.1 {
        return Err(SmapsError::Unmeasured { line: last.0 });
    }
    Ok(mappings)
}

/// Where a field counts.
fn counts<'p>(name: &[u8], pages: &'p mut Pages) -> Option<[Option<&'p mut u64>; 2]> {
    Some(match name {
        b"Rss" => [Some(&mut pages.resident), None],
        b"Pss" => [Some(&mut pages.proportional), None],
        b"Shared_Clean" => [Some(&mut pages.shared), None],
        b"Shared_Dirty" => [Some(&mut pages.shared), Some(&mut pages.dirty)],
        b"Private_Dirty" => [Some(&mut pages.dirty), None],
        b"Anonymous" => [Some(&mut pages.anonymous), None],
        b"Swap" => [Some(&mut pages.swapped), None],
        b"AnonHugePages" | b"ShmemPmdMapped" | b"FilePmdMapped" => [Some(&mut pages.huge), None],
        b"Shared_Hugetlb" | b"Private_Hugetlb" => [Some(&mut pages.hugetlb), None],
        // Sizes of pages, what the sum of others is, and what later kernels may add.
        _ => return None,
    })
}

/// `   1234 kB`, where a kB has 1,024 bytes. No more than an address space holds, so that sums fit.
fn kilobytes(value: &[u8]) -> Option<u64> {
    const MOST: u64 = 1 << 57;
    let digits = value.trim_ascii().strip_suffix(b" kB")?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    number.checked_mul(1024).filter(|&bytes| bytes <= MOST)
}

fn flags(value: &[u8]) -> Flags {
    let mut flags = Flags::default();
    for flag in value.split(|&byte| byte == b' ') {
        match flag {
            b"ac" => flags.accountable = true,
            b"nh" => flags.no_huge_pages = true,
            _ => {}
        }
    }
    flags
}
