//! What changed between two looks at an address space.
//!
//! Owns which region of one is which of the other, and what is said of each that changed. Must not know when anybody looked.

use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use super::{Map, Region};

/// What became of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is new.
    Born,
    /// It is larger.
    Grown,
    /// It is smaller.
    Shrunk,
    /// It is no more.
    Gone,
    /// It was part of a region, and is one of its own.
    Split,
    /// It has become part of another.
    Joined,
    /// It is where it was; what of it is in memory is not, or faults were taken in it.
    Touched,
}

impl What {
    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Born => "born",
            Self::Grown => "grown",
            Self::Shrunk => "shrunk",
            Self::Gone => "gone",
            Self::Split => "split",
            Self::Joined => "joined",
            Self::Touched => "touched",
        }
    }
}

/// Page faults, by whom they were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// For the request, or for whomever where it is about none.
    pub own: u64,
    /// For other requests and for none.
    pub others: u64,
}

/// A region that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'m> {
    /// What became of it.
    pub what: What,
    /// It as it is now, or as it was last.
    pub region: &'m Region,
    /// It at the first look.
    pub before: Option<&'m Region>,
    /// It at the second.
    pub after: Option<&'m Region>,
    /// Faults that were taken in it meanwhile.
    pub faults: Taken,
}

impl Change<'_> {
    /// By how much a figure of it has changed.
    pub fn delta(&self, of: impl Fn(&Region) -> u64) -> i64 {
        let of = |region: Option<&Region>| region.map_or(0, &of).cast_signed();
        of(self.after) - of(self.before)
    }
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub address: u64,
    /// It was for the request that this is about.
    pub is_own: bool,
}

/// All that changed.
#[derive(Clone, Debug, Default)]
pub struct Changes<'m> {
    /// In the order of addresses.
    pub regions: Vec<Change<'m>>,
    /// Faults in what was there at neither look.
    pub between: Taken,
    /// All faults.
    pub all: Taken,
}

impl<'m> Changes<'m> {
    /// Compares two looks, between which these faults were taken.
    pub fn between(before: &'m Map, after: &'m Map, faults: &[Fault]) -> Self {
        let (before, after) = (before.regions.as_slice(), after.regions.as_slice());
        let pairs = pairs(before, after);
        let mut changes = Self::default();
        let mut taken: BTreeMap<(bool, usize), Taken> = BTreeMap::new();
        for fault in faults {
            let add = |taken: &mut Taken| {
                if fault.is_own {
                    taken.own += 1;
                } else {
                    taken.others += 1;
                }
            };
            add(&mut changes.all);
            // Where it is now, it was taken: what was there before may have become something else.
            let place = within(after, fault.address).map(|index| (true, index));
            let place = place.or_else(|| within(before, fault.address).map(|index| (false, index)));
            match place {
                Some(place) => add(taken.entry(place).or_default()),
                None => add(&mut changes.between),
            }
        }
        let faults = |is_after, index| taken.get(&(is_after, index)).copied().unwrap_or_default();
        let mut kept = vec![false; before.len()];
        for (index, region) in after.iter().enumerate() {
            let old = pairs.get(index).copied().flatten();
            let was = old.and_then(|old| before.get(old));
            if let Some(kept) = old.and_then(|old| kept.get_mut(old)) {
                *kept = true;
            }
            let mut faults = faults(true, index);
            if let Some(old) = old {
                let earlier = taken.get(&(false, old)).copied().unwrap_or_default();
                faults.own += earlier.own;
                faults.others += earlier.others;
            }
            let what = match was {
                None if is_covered(before, &region.range) => What::Split,
                None => What::Born,
                Some(was) if region.size() > was.size() => What::Grown,
                Some(was) if region.size() < was.size() => What::Shrunk,
                Some(was) if told(was) != told(region) || faults != Taken::default() => What::Touched,
                Some(_) => continue,
            };
            changes.regions.push(Change {
                what,
                region,
                before: was,
                after: Some(region),
                faults,
            });
        }
        for (index, region) in before.iter().enumerate().filter(|(index, _)| !kept[*index]) {
            let what = if is_covered(after, &region.range) {
                What::Joined
            } else {
                What::Gone
            };
            let faults = faults(false, index);
            changes.regions.push(Change {
                what,
                region,
                before: Some(region),
                after: None,
                faults,
            });
        }
        changes.regions.sort_by_key(|change| change.region.range.start);
        changes
    }

    /// By how much a figure of all has changed.
    pub fn delta(&self, of: impl Fn(&Region) -> u64 + Copy) -> i64 {
        self.regions.iter().map(|change| change.delta(of)).sum()
    }
}

/// For each region of after, which it was before: of those of its kind that it overlaps, the one with the most in common.
fn pairs(before: &[Region], after: &[Region]) -> Vec<Option<usize>> {
    let mut candidates: Vec<(u64, usize, usize)> = Vec::new();
    let mut first = 0;
    for (index, region) in after.iter().enumerate() {
        while before
            .get(first)
            .is_some_and(|old| old.range.end <= region.range.start)
        {
            first += 1;
        }
        let overlapping = before.iter().enumerate().skip(first);
        for (old_index, old) in overlapping.take_while(|(_, old)| old.range.start < region.range.end) {
            let common = old.range.end.min(region.range.end) - old.range.start.max(region.range.start);
            if is_of_one_kind(old, region) {
                candidates.push((common, index, old_index));
            }
        }
    }
    candidates.sort_by_key(|&(common, index, old)| (Reverse(common), index, old));
    let mut pairs = vec![None; after.len()];
    let mut taken = vec![false; before.len()];
    for (_, index, old) in candidates {
        if pairs[index].is_none() && !taken[old] {
            pairs[index] = Some(old);
            taken[old] = true;
        }
    }
    pairs
}

/// What is told of a region. How many others map its pages too is not: that is their doing.
fn told(region: &Region) -> (&Range<u64>, [u64; 3]) {
    let pages = &region.pages;
    (&region.range, [pages.resident, pages.dirty, pages.swapped])
}

/// What a region is for is drawn from more than itself, and may be another though the region is the same.
fn is_of_one_kind(old: &Region, new: &Region) -> bool {
    (old.prot, &old.path) == (new.prot, &new.path)
}

/// The region that an address is in.
fn within(regions: &[Region], address: u64) -> Option<usize> {
    let index = regions.partition_point(|region| region.range.end <= address);
    regions
        .get(index)
        .is_some_and(|region| region.range.contains(&address))
        .then_some(index)
}

/// Whether all of a range belongs to regions.
fn is_covered(regions: &[Region], range: &Range<u64>) -> bool {
    let mut at = range.start;
    let first = regions.partition_point(|region| region.range.end <= range.start);
    for region in regions.iter().skip(first) {
        if region.range.start > at {
            return false;
        }
        at = region.range.end;
        if at >= range.end {
            return true;
        }
    }
    false
}
