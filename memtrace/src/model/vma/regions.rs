//! Ranges of addresses and what is in them.
//!
//! Owns that ranges never overlap, that neighbours which could be one are one, and that there are never too many.
//! Must not know which call does what.

use std::{
    collections::BTreeMap,
    ops::{
        Bound::{Excluded, Included},
        Range,
    },
};

use super::{PAGE, Prot, Vma};

/// By address: each call looks up a few and visits those that it changes.
#[derive(Clone, Debug)]
pub(super) struct Regions {
    by_start: BTreeMap<u64, Entry>,
    max: usize,
    lost: u64,
}

/// A region without its first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Behind its last.
    pub(super) end: u64,
    /// What it is.
    pub(super) vma: Vma,
}

impl Regions {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            by_start: BTreeMap::new(),
            max,
            lost: 0,
        }
    }

    /// None, and as much room.
    pub(super) fn emptied(&self) -> Self {
        Self::new(self.max)
    }

    /// How often one found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Something was there that nobody knows.
    pub(super) fn lose(&mut self, range: Range<u64>) {
        self.clear(range);
        self.lost += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.by_start.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, &Vma)> {
        self.by_start
            .iter()
            .map(|(&start, entry)| (start..entry.end, &entry.vma))
    }

    pub(super) fn find(&self, addr: u64) -> Option<&Vma> {
        let (_, entry) = self.by_start.range(..=addr).next_back()?;
        (addr < entry.end).then_some(&entry.vma)
    }

    /// A region at or above an address that grows down to it, if that makes it no longer than `limit` bytes.
    pub(super) fn grow_down(&mut self, addr: u64, limit: u64) {
        let Some((&start, &entry)) = self.by_start.range(addr..).next() else {
            return;
        };
        let page = addr - addr % PAGE;
        if entry.vma.grows_down && entry.end - page <= limit {
            self.by_start.remove(&start);
            self.by_start.insert(page, entry);
            self.merge(page..entry.end);
        }
    }

    /// Says otherwise of a region that begins here.
    pub(super) fn rewrite(&mut self, start: u64, vma: Vma) {
        if let Some(entry) = self.by_start.get_mut(&start) {
            entry.vma = vma;
            let end = entry.end;
            self.merge(start..end);
        }
    }

    /// The region at an address: where it begins, and itself.
    pub(super) fn at(&self, addr: u64) -> Option<(u64, Entry)> {
        let (&start, &entry) = self.by_start.range(..=addr).next_back()?;
        (addr < entry.end).then_some((start, entry))
    }

    /// What is in a range, cut to it.
    pub(super) fn pieces(&self, range: Range<u64>) -> Vec<(Range<u64>, Vma)> {
        if range.is_empty() {
            return Vec::new();
        }
        let first = self.at(range.start).map_or(range.start, |(start, _)| start);
        self.by_start
            .range(first..range.end)
            .map(|(&start, entry)| {
                let from = start.max(range.start);
                (from..entry.end.min(range.end), entry.vma.from(from - start))
            })
            .collect()
    }

    /// Puts a region where something may be, or only where nothing is.
    pub(super) fn bring(&mut self, range: Range<u64>, vma: Vma, overwrite: bool) {
        if overwrite {
            self.put(range, vma);
            return;
        }
        let mut at = range.start;
        let mut holes = Vec::new();
        for (piece, _) in self.pieces(range.clone()) {
            holes.push(at..piece.start);
            at = piece.end;
        }
        holes.push(at..range.end);
        for hole in holes {
            let part = vma.from(hole.start - range.start);
            self.put(hole, part);
        }
    }

    /// Puts a region where something may be.
    pub(super) fn put(&mut self, range: Range<u64>, vma: Vma) {
        if range.is_empty() {
            return;
        }
        self.take_out(range.clone());
        self.by_start.insert(range.start, Entry { end: range.end, vma });
        self.merge(range);
    }

    /// Nothing is there afterwards.
    pub(super) fn clear(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.take_out(range.clone());
        self.merge(range);
    }

    fn take_out(&mut self, range: Range<u64>) {
        self.cut(range.start);
        self.cut(range.end);
        while let Some((&start, _)) = self.by_start.range(range.clone()).next() {
            self.by_start.remove(&start);
        }
    }

    /// Sets what accesses may do, wherever something is.
    pub(super) fn protect(&mut self, range: Range<u64>, prot: Prot) {
        if range.is_empty() {
            return;
        }
        self.cut(range.start);
        self.cut(range.end);
        for (_, entry) in self.by_start.range_mut(range.clone()) {
            entry.vma.protect(prot);
        }
        self.merge(range);
    }

    /// No region reaches over `at` afterwards.
    fn cut(&mut self, at: u64) {
        let Some((&start, entry)) = self.by_start.range_mut(..at).next_back() else {
            return;
        };
        if entry.end <= at {
            return;
        }
        let right = Entry {
            end: entry.end,
            vma: entry.vma.from(at - start),
        };
        entry.end = at;
        self.by_start.insert(at, right);
    }

    /// Makes one of neighbours that could be, from the one before the range to the one after it; and if there are
    /// too many regions all the same, forgets what is there.
    fn merge(&mut self, range: Range<u64>) {
        let before = self.by_start.range(..range.start).next_back();
        let mut at = before.map_or(range.start, |(&start, _)| start);
        while let Some((&next, &after)) = self
            .by_start
            .range((Excluded(at), Included(range.end.max(at))))
            .next()
        {
            match self.by_start.get_mut(&at) {
                Some(entry) if continues(&(at..entry.end), &entry.vma, next, &after.vma) => {
                    entry.end = after.end;
                    self.by_start.remove(&next);
                }
                _ => at = next,
            }
        }
        while self.by_start.len() > self.max {
            let behind = self.by_start.range(range.start..).next();
            let nearest = behind.or_else(|| self.by_start.range(..range.start).next_back());
            let Some((&start, _)) = nearest else {
                return;
            };
            self.by_start.remove(&start);
            self.lost += 1;
        }
    }
}

/// Whether what begins at `start` is more of the same.
pub(super) fn continues(before: &Range<u64>, vma: &Vma, start: u64, after: &Vma) -> bool {
    before.end == start && vma.from(before.end - before.start) == *after
}
