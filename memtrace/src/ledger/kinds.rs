//! What faults were: by cause, by region, by file.
//!
//! Owns these sums, for a request and for the run. Must not know how a cause or a region is found.

use std::{collections::BTreeMap, sync::LazyLock};

use super::entry::{ByName, FileFaults, KINDS};
use crate::model::{
    cause::{Access, Cause},
    counting::Outcome,
    vma::{Backing, FileId, Files, Region, Vma},
};

/// Files that one request tells apart; the faults of any further ones are under [`OTHER_FILES`].
const FILES_MAX: usize = 64;
/// Stands for all beyond those.
const OTHER_FILES: &str = "(other files)";
/// Stands for a file whose path could not be found out.
const UNKNOWN_FILE: &str = "(unknown)";

/// Names in their order, and which number each has.
struct Sorted {
    names: [&'static str; KINDS],
    order: [usize; KINDS],
}

impl Sorted {
    fn of(names: [&'static str; KINDS]) -> Self {
        let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
        order.sort_unstable_by_key(|&at| names[at]);
        Self {
            names: order.map(|at| names[at]),
            order,
        }
    }
}

static CAUSES: LazyLock<Sorted> = LazyLock::new(|| Sorted::of(Cause::ALL.map(Cause::name)));
static REGIONS: LazyLock<Sorted> = LazyLock::new(|| Sorted::of(Region::ALL.map(Region::name)));

/// Sums of causes, and of regions, the others being none.
#[cfg(test)]
pub(crate) fn causes_of(sums: &[(&str, u64)]) -> ByName {
    some_of(&CAUSES, sums)
}

#[cfg(test)]
pub(crate) fn regions_of(sums: &[(&str, u64)]) -> ByName {
    some_of(&REGIONS, sums)
}

#[cfg(test)]
fn some_of(all: &'static Sorted, sums: &[(&str, u64)]) -> ByName {
    let sum = |wanted| {
        sums.iter()
            .find(|(name, _)| *name == wanted)
            .map_or(0, |&(_, n)| n)
    };
    ByName::new(&all.names, all.names.map(sum))
}

/// What a fault falls in, as of the moment when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    region: Region,
    file: Option<FileId>,
    /// Its cause if it turns out to be minor, and if it turns out to be major.
    minor: Cause,
    major: Cause,
}

impl Place {
    /// In this region, where one is known.
    pub fn of(access: Access, protection: bool, vma: Option<&Vma>) -> Self {
        let cause = |major| Cause::of(access, protection, vma, major);
        Self {
            region: Region::of(vma),
            file: vma.and_then(|vma| match vma.backing {
                Backing::File(file) | Backing::Shmem(Some(file)) => Some(file),
                _ => None,
            }),
            minor: cause(false),
            major: cause(true),
        }
    }

    /// What it falls in.
    pub fn region(&self) -> Region {
        self.region
    }

    /// The file, where it falls in one.
    pub fn file(&self) -> Option<FileId> {
        self.file
    }

    /// What it was for, given what became of it; `None` where it failed.
    pub fn cause(&self, outcome: Outcome) -> Option<Cause> {
        match outcome {
            Outcome::Failed => None,
            Outcome::Minor => Some(self.minor),
            Outcome::Major => Some(self.major),
        }
    }

    /// Nothing is known there.
    pub fn is_unmapped(&self) -> bool {
        self.region == Region::Unmapped
    }
}

/// Sums of completed faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    causes: [u64; Cause::ALL.len()],
    regions: [u64; Region::ALL.len()],
    files: Vec<(FileId, u64)>,
    other_files: u64,
}

impl Kinds {
    /// One more; one that failed is none.
    pub(super) fn add(&mut self, place: Place, outcome: Outcome) {
        let Some(cause) = place.cause(outcome) else { return };
        self.causes[cause as usize] += 1;
        self.regions[place.region as usize] += 1;
        if let Some(file) = place.file {
            self.add_in_file(file, 1);
        }
    }

    /// Those of another, too.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (sum, more) in self.causes.iter_mut().zip(other.causes) {
            *sum += more;
        }
        for (sum, more) in self.regions.iter_mut().zip(other.regions) {
            *sum += more;
        }
        for &(file, faults) in &other.files {
            self.add_in_file(file, faults);
        }
        self.other_files += other.other_files;
    }

    fn add_in_file(&mut self, file: FileId, faults: u64) {
        if let Some((_, sum)) = self.files.iter_mut().find(|(known, _)| *known == file) {
            *sum += faults;
        } else if self.files.len() < FILES_MAX {
            self.files.push((file, faults));
        } else {
            self.other_files += faults;
        }
    }

    pub(super) fn causes(&self) -> ByName {
        ByName::new(&CAUSES.names, CAUSES.order.map(|at| self.causes[at]))
    }

    pub(super) fn regions(&self) -> ByName {
        ByName::new(&REGIONS.names, REGIONS.order.map(|at| self.regions[at]))
    }

    /// The most first.
    pub(super) fn files(&self, names: &Files) -> Vec<FileFaults> {
        if self.files.is_empty() && self.other_files == 0 {
            return Vec::new();
        }
        // Different numbers can have the same name for people.
        let mut by_path: BTreeMap<String, u64> = BTreeMap::new();
        for &(file, faults) in &self.files {
            let path = names.printable(file).unwrap_or_else(|| UNKNOWN_FILE.to_owned());
            *by_path.entry(path).or_default() += faults;
        }
        if self.other_files > 0 {
            by_path.insert(OTHER_FILES.to_owned(), self.other_files);
        }
        let mut files: Vec<FileFaults> = by_path
            .into_iter()
            .map(|(path, faults)| FileFaults { path, faults })
            .collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.faults));
        files
    }

    /// The sum over causes, and over regions.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.causes.iter().sum(), self.regions.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::vma::Prot;

    const WRITE: Access = Access {
        write: true,
        exec: false,
    };

    fn vma(backing: Backing) -> Vma {
        Vma::new(Prot::new(true, true, false), false, backing, 0)
    }

    #[test]
    fn an_outcome_decides_the_cause() {
        let mut kinds = Kinds::default();
        let place = Place::of(WRITE, false, Some(&vma(Backing::Anon)));
        for outcome in [Outcome::Minor, Outcome::Minor, Outcome::Major, Outcome::Failed] {
            kinds.add(place, outcome);
        }
        let nonzero = |sums: ByName| sums.iter().filter(|(_, n)| *n > 0).collect::<Vec<_>>();
        assert_eq!(nonzero(kinds.causes()), [("swap_in", 1), ("zero_fill", 2)]);
        assert_eq!(nonzero(kinds.regions()), [("anon", 3)]);
        assert_eq!(kinds.totals(), (3, 3));
    }

    #[test]
    fn a_number_in_an_array_is_a_number_in_the_order_of_reports() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
        for (number, region) in Region::ALL.into_iter().enumerate() {
            assert_eq!(region as usize, number);
        }
    }

    #[test]
    fn the_file_with_the_most_comes_first_and_the_list_is_bounded() {
        let mut names = Files::default();
        let mut kinds = Kinds::default();
        let mut fault = |file: FileId, times: usize| {
            let place = Place::of(WRITE, false, Some(&vma(Backing::File(file))));
            for _ in 0..times {
                kinds.add(place, Outcome::Minor);
            }
        };
        fault(names.intern(b"/few"), 1);
        fault(names.intern(b"/many\xff"), 5);
        fault(FileId::UNKNOWN, 2);
        for number in 0..FILES_MAX {
            fault(names.intern(format!("/lib/{number}").as_bytes()), 1);
        }
        let files = kinds.files(&names);
        assert_eq!(files.len(), FILES_MAX + 1);
        assert_eq!(files[0].faults, 5);
        assert!(files[0].path.starts_with("/many"), "{files:?}");
        assert!(files.iter().any(|f| f.path == OTHER_FILES && f.faults == 3));
        assert!(files.iter().any(|f| f.path == UNKNOWN_FILE && f.faults == 2));
    }
}
