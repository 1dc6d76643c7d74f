//! All regions of one process, as its calls leave them.
//!
//! Owns the semantics of mmap, munmap, mremap, mprotect and brk. Must not know where the calls come from.
//!
//! A process is traced while it runs, so the calls of the time when `/proc/PID/maps` was read are in that text
//! or not, nobody can say which. They are all replayed on it, from any call before the reading on. That converges:
//! mmap, munmap and mprotect say what each page is afterwards, whatever it was. mremap does not, see there.

use std::ops::Range;

use super::{
    Backing, Files, PAGE, Prot, Vma, is_stack_name,
    regions::{Regions, continues},
};
use crate::model::maps;

/// Regions that are kept of one process, at most: four times what `vm.max_map_count` allows unless it is raised.
pub const REGIONS_MAX: usize = 262_144;

/// `mmap`: the bits that say whether a mapping is shared, private, or (3) shared with its flags checked.
pub const MAP_SHARED: u64 = 0x01;
/// `mmap`: of no file.
pub const MAP_ANONYMOUS: u64 = 0x20;
/// `mmap`: grows like a stack.
const MAP_GROWSDOWN: u64 = 0x100;
/// `mmap`: will be a thread's stack. glibc sets it; the kernel hardly cares.
const MAP_STACK: u64 = 0x2_0000;
/// `mmap`: in huge pages.
const MAP_HUGETLB: u64 = 0x4_0000;
/// `mmap`: where in the flags the size of the huge pages is, as a power of two in six bits; 0 is the default size.
const MAP_HUGE_SHIFT: u64 = 26;
/// The default of x86-64 as a power of two, unless the kernel's command line says otherwise.
const HUGE_DEFAULT: u64 = 21;
/// `mremap`: where the caller says, over whatever is there.
const MREMAP_FIXED: u64 = 2;
/// `mremap`: leave the old range mapped, and empty.
const MREMAP_DONTUNMAP: u64 = 4;
/// `mprotect`: from the beginning of a region that grows down.
const PROT_GROWSDOWN: u64 = 0x0100_0000;

/// The regions of a process. `Clone` is what `fork` does.
#[derive(Clone, Debug)]
pub struct AddressSpace {
    regions: Regions,
    /// What was seeded, as long as calls may follow that it contains.
    seed: Option<Regions>,
    /// What `brk` returned last.
    brk: Option<u64>,
}

/// What came of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Lines that became regions.
    pub lines: u64,
    /// Lines that made no sense.
    pub malformed: u64,
}

impl Default for AddressSpace {
    fn default() -> Self {
        Self::with_max(REGIONS_MAX)
    }
}

impl AddressSpace {
    /// Nothing is mapped. At most this many regions will be kept.
    pub fn with_max(max: usize) -> Self {
        Self {
            regions: Regions::new(max),
            seed: None,
            brk: None,
        }
    }

    /// Begins anew from the text of `/proc/PID/maps`. Until [`settle`](Self::settle), calls may follow that the text
    /// already contains.
    ///
    /// The kernel writes heap and the memory behind it as one line where they are alike, so `brk` is better where
    /// it is known; else the end of the last line of heap is taken for it. A break that calls have told already
    /// stays: the calls that follow begin from it. After a loss of calls, seed a new space instead.
    pub fn seed(&mut self, text: &[u8], files: &mut Files, brk: Option<u64>) -> Seeded {
        self.regions = self.regions.emptied();
        let mut seeded = Seeded::default();
        let mut heap_end = None;
        for line in maps::parse(text) {
            let Ok(line) = line else {
                seeded.malformed += 1;
                continue;
            };
            seeded.lines += 1;
            let backing = Backing::of_line(&line, files);
            let mut vma = Vma::new(line.prot, line.shared, backing, line.offset);
            vma.grows_down = line.name == b"[stack]";
            let mut range = line.range;
            if backing == Backing::Heap {
                heap_end = Some(range.end);
                let end = brk.map_or(range.end, round_up).clamp(range.start, range.end);
                self.regions.put(end..range.end, vma.moved());
                range.end = end;
            }
            self.regions.put(range, vma);
        }
        self.brk = self.brk.or(brk).or(heap_end);
        self.seed = Some(self.regions.clone());
        seeded
    }

    /// From here on every call happened after what [`seed`](Self::seed) was given.
    pub fn settle(&mut self) {
        self.seed = None;
    }

    /// Another program: its regions are not this one's. What the kernel maps for it, only a new seed can tell.
    pub fn exec(&mut self) {
        *self = Self {
            regions: self.regions.emptied(),
            seed: None,
            brk: None,
        };
    }

    /// `mmap` returned `addr`. Whatever was there is gone, as `MAP_FIXED` has it.
    pub fn mmap(&mut self, addr: u64, len: u64, prot: u64, flags: u64, backing: Backing, offset: u64) {
        let shared = flags & MAP_SHARED != 0;
        let backing = match backing {
            Backing::Anon if shared => Backing::Shmem(None),
            Backing::Anon if flags & (MAP_STACK | MAP_GROWSDOWN) != 0 => Backing::Stack,
            other => other,
        };
        // <https://elixir.bootlin.com/linux/v6.12/source/mm/mmap.c>: `do_mmap` ignores the offset of memory without
        // a file, `ksys_mmap_pgoff` rounds up to huge pages.
        let offset = if backing == Backing::Shmem(None) {
            0
        } else {
            offset
        };
        let len = if flags & MAP_HUGETLB == 0 {
            len
        } else {
            let shift = match flags >> MAP_HUGE_SHIFT & 0x3f {
                0 => HUGE_DEFAULT,
                shift => shift,
            };
            len.checked_next_multiple_of(1 << shift).unwrap_or(len)
        };
        let mut vma = Vma::new(Prot::of_argument(prot), shared, backing, offset);
        vma.grows_down = flags & MAP_GROWSDOWN != 0 && backing.is_anon();
        self.regions.put(range(addr, len), vma);
    }

    /// `munmap` succeeded.
    pub fn munmap(&mut self, addr: u64, len: u64) {
        self.regions.clear(range(addr, len));
    }

    /// `mprotect` succeeded.
    pub fn mprotect(&mut self, addr: u64, len: u64, prot: u64) {
        let mut range = range(addr, len);
        if prot & PROT_GROWSDOWN != 0
            && let Some((start, entry)) = self.regions.at(addr)
            && entry.vma.grows_down
        {
            range.start = start;
        }
        self.regions.protect(range, Prot::of_argument(prot));
    }

    /// `mprotect` returned `ENOMEM`: what lies before the first hole is changed nevertheless (`do_mprotect_pkey` in
    /// <https://elixir.bootlin.com/linux/v6.12/source/mm/mprotect.c>). Where the hole was when a seed was not yet read
    /// cannot be known: this does not converge, leave it out before [`settle`](Self::settle).
    pub fn mprotect_to_hole(&mut self, addr: u64, len: u64, prot: u64) {
        let mut range = range(addr, len);
        let mut at = range.start;
        while at < range.end {
            let Some((_, entry)) = self.regions.at(at) else {
                break;
            };
            at = entry.end;
        }
        range.end = range.end.min(at);
        self.regions.protect(range, Prot::of_argument(prot));
    }

    /// `mremap(old, old_len, new_len, flags)` returned `new`.
    ///
    /// What comes to be at `new` is known only from what is at `old`, so a call that the seed may already contain
    /// is taken with care until [`settle`](Self::settle). Where nothing is at `old`, it is contained, and what the seed
    /// says of `new` holds. Where the kernel chose `new`, it was free, so what is there came by this call or later,
    /// and stays. Where something is at `old` and `new` was cleared by a call before this one or is `MREMAP_FIXED`,
    /// it is taken as not contained, which is wrong only where `old` was mapped again between call and seed.
    pub fn mremap(&mut self, old: u64, old_len: u64, new_len: u64, flags: u64, new: u64) {
        let (from, to) = (range(old, old_len), range(new, new_len));
        let (old_len, new_len) = (from.end - from.start, to.end - to.start);
        let stays = from.start == to.start && old_len > 0;
        if stays && new_len <= old_len {
            self.regions.clear(to.end..from.end);
            return;
        }
        let pieces = self.remapped(&from, new_len);
        if !stays && flags & MREMAP_DONTUNMAP == 0 {
            self.regions.clear(from);
        }
        // What stays where it is needs nothing but what is new.
        let mut known = if stays { old_len } else { 0 };
        let mut unknown = Vec::new();
        for (behind, bytes, _) in &pieces {
            unknown.push(to.start + known..to.start + behind.max(&known));
            known = known.max(behind + bytes);
        }
        unknown.push(to.start + known..to.end);
        unknown.retain(|range| !range.is_empty());
        let certain = self.seed.is_none() || self.lost() > 0;
        for range in unknown {
            match &self.seed {
                Some(seed) if !certain && pieces.is_empty() => {
                    for (piece, vma) in seed.pieces(range) {
                        self.regions.put(piece, vma);
                    }
                }
                // From 6.17 on several regions move at once, and what their holes come to lie on stays: `remap_move` in
                // <https://elixir.bootlin.com/linux/v6.17/source/mm/mremap.c>.
                _ if self.lost() == 0 && !pieces.is_empty() => {}
                _ => self.regions.lose(range),
            }
        }
        let overwrite = certain || flags & MREMAP_FIXED != 0;
        if let Some(seed) = &self.seed
            && !overwrite
        {
            // What is there came later than the calls before this one, which may have changed it.
            let fresh = if stays { old_len } else { 0 };
            for (there, _) in self.regions.pieces(to.start + fresh..to.end) {
                for (piece, vma) in seed.pieces(there) {
                    self.regions.put(piece, vma);
                }
            }
        }
        for (behind, bytes, vma) in pieces {
            let at = to.start + behind;
            if !stays || behind >= old_len {
                self.regions
                    .bring(at..at + bytes, if stays { vma } else { vma.moved() }, overwrite);
            }
        }
    }

    /// What `mremap` makes of a range: how far behind its beginning, how long, what.
    fn remapped(&self, from: &Range<u64>, new_len: u64) -> Vec<(u64, u64, Vma)> {
        let old_len = from.end - from.start;
        if old_len == 0 {
            // All of the new range is a second view of what is here.
            let here = self.regions.at(from.start);
            return here
                .map(|(start, entry)| (0, new_len, entry.vma.from(from.start - start)))
                .into_iter()
                .collect();
        }
        let mut pieces: Vec<(u64, u64, Vma)> = self
            .regions
            .pieces(from.start..from.start + old_len.min(new_len))
            .into_iter()
            .map(|(piece, vma)| (piece.start - from.start, piece.end - piece.start, vma))
            .collect();
        if new_len > old_len
            && let Some((start, entry)) = self.regions.at(from.end - 1)
        {
            pieces.push((old_len, new_len - old_len, entry.vma.from(from.end - start)));
        }
        pieces
    }

    /// `brk` returned `new`: the break of now, whether it was moved or not.
    pub fn brk(&mut self, new: u64) {
        let old = self.brk.replace(new).map(round_up);
        let new = round_up(new);
        let Some(old) = old else {
            return;
        };
        if new > old {
            // `do_brk_flags` finds nothing there. Executable heaps (READ_IMPLIES_EXEC) are not told apart.
            let vma = Vma::new(Prot::new(true, true, false), false, Backing::Heap, 0);
            self.regions.put(old..new, vma);
        } else {
            self.regions.clear(new..old);
        }
    }

    /// `prctl(PR_SET_VMA_ANON_NAME)` succeeded, and `/proc/PID/maps` shows this name there now.
    pub fn name(&mut self, addr: u64, len: u64, name: &[u8]) {
        if !is_stack_name(name) {
            return;
        }
        for (piece, vma) in self.regions.pieces(range(addr, len)) {
            if vma.backing == Backing::Anon {
                let backing = Backing::Stack;
                self.regions.put(piece, Vma { backing, ..vma });
            }
        }
    }

    /// A thread's stack pointer is here: the anonymous region around it is its stack, if it is not longer than
    /// `longest` bytes. Some programs keep stacks in the midst of their heap. Returns whether it is a stack.
    pub fn mark_stack(&mut self, sp: u64, longest: u64) -> bool {
        let Some((start, entry)) = self.regions.at(sp) else {
            return false;
        };
        match entry.vma.backing {
            Backing::Stack => true,
            Backing::Anon if entry.end - start <= longest => {
                let backing = Backing::Stack;
                self.regions.rewrite(start, Vma { backing, ..entry.vma });
                true
            }
            _ => false,
        }
    }

    /// What is at an address. `None` where nothing is, or, if anything was [`lost`](Self::lost), nothing is known.
    pub fn find(&self, addr: u64) -> Option<&Vma> {
        self.regions.find(addr)
    }

    /// What a fault that completed was in. A region that grows down, and that is right above, has grown to there if
    /// it is now no longer than `limit` bytes, which is `RLIMIT_STACK` (`expand_stack` in
    /// <https://elixir.bootlin.com/linux/v6.12/source/mm/mmap.c>).
    pub fn find_or_grow(&mut self, addr: u64, limit: u64) -> Option<&Vma> {
        if self.find(addr).is_none() {
            self.regions.grow_down(addr, limit);
        }
        self.find(addr)
    }

    /// How often a region found no room. What was there instead is forgotten too: from then on, where nothing is
    /// found nothing is known, and what is found is right.
    pub fn lost(&self) -> u64 {
        self.regions.lost()
    }

    /// Regions that are kept.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.regions.len() == 0
    }

    /// All regions, by address. Neighbours that are alike in everything are one.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, &Vma)> {
        self.regions.iter()
    }

    /// All regions as far as `/proc/PID/maps` tells about them, to be compared with another space's: uses of
    /// anonymous memory are not told apart.
    pub fn listing(&self) -> Vec<(Range<u64>, Vma)> {
        let mut listing: Vec<(Range<u64>, Vma)> = Vec::new();
        for (range, vma) in self.iter() {
            let vma = vma.plain();
            match listing.last_mut() {
                Some((last, before)) if continues(last, before, range.start, &vma) => last.end = range.end,
                _ => listing.push((range, vma)),
            }
        }
        listing
    }
}

/// The pages that an address and a length stand for.
fn range(addr: u64, len: u64) -> Range<u64> {
    let start = addr - addr % PAGE;
    start..start.saturating_add(round_up(len))
}

/// To whole pages; what is beyond them all, to the last.
fn round_up(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(PAGE)
        .unwrap_or(u64::MAX - (PAGE - 1))
}
