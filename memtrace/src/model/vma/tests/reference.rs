//! What a kernel does to a few pages, page by page, with no cleverness at all.
//!
//! Owns the truth that the model is held against: which calls succeed, and what each page is afterwards. Must not
//! use the model's own code.

use std::collections::BTreeMap;

use super::*;

/// Pages that there are, at `0..PAGES`. The heap begins at [`HEAP`].
pub(super) const PAGES: u64 = 40;
/// The page of the first break.
pub(super) const HEAP: u64 = 6;

/// A call that succeeded, as a probe would record it: addresses and lengths in pages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Mmap {
        addr: u64,
        len: u64,
        prot: u64,
        flags: u64,
        backing: Backing,
        offset: u64,
    },
    Munmap {
        addr: u64,
        len: u64,
    },
    Mprotect {
        addr: u64,
        len: u64,
        prot: u64,
    },
    Mremap {
        old: u64,
        old_len: u64,
        new_len: u64,
        flags: u64,
        new: u64,
    },
    Brk {
        new: u64,
    },
}

impl Call {
    /// Tells the model.
    pub(super) fn replay(self, space: &mut AddressSpace) {
        match self {
            Self::Mmap {
                addr,
                len,
                prot,
                flags,
                backing,
                offset,
            } => space.mmap(addr * PAGE, len * PAGE, prot, flags, backing, offset * PAGE),
            Self::Munmap { addr, len } => space.munmap(addr * PAGE, len * PAGE),
            Self::Mprotect { addr, len, prot } => space.mprotect(addr * PAGE, len * PAGE, prot),
            Self::Mremap {
                old,
                old_len,
                new_len,
                flags,
                new,
            } => space.mremap(old * PAGE, old_len * PAGE, new_len * PAGE, flags, new * PAGE),
            Self::Brk { new } => space.brk(new * PAGE),
        }
    }
}

/// What the program would like: any numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) call: u8,
    pub(super) addr: u64,
    pub(super) len: u64,
    pub(super) new: u64,
    pub(super) new_len: u64,
    pub(super) prot: u64,
    pub(super) flags: u64,
    pub(super) backing: u8,
    pub(super) offset: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Each with the offset of this very page.
    pub(super) pages: BTreeMap<u64, Vma>,
    pub(super) brk: u64,
    pub(super) backings: [Backing; 3],
}

impl Kernel {
    pub(super) fn new(files: &mut Files) -> Self {
        Self {
            pages: BTreeMap::new(),
            brk: HEAP,
            backings: [
                Backing::Anon,
                Backing::File(files.intern(b"/a")),
                Backing::Shmem(Some(files.intern(b"/memfd:b (deleted)"))),
            ],
        }
    }

    /// Grants a wish, if a kernel would.
    pub(super) fn perform(&mut self, wish: &Wish) -> Option<Call> {
        let Wish {
            addr,
            len,
            prot,
            offset,
            ..
        } = *wish;
        if addr + len > PAGES {
            return None;
        }
        match wish.call {
            0 => {
                let backing = self.backings[usize::from(wish.backing)];
                let flags = if wish.flags & 1 == 0 { PRIVATE } else { SHARED };
                self.map(addr, len, prot, flags == SHARED, backing, offset);
                Some(Call::Mmap {
                    addr,
                    len,
                    prot,
                    flags,
                    backing,
                    offset,
                })
            }
            1 => {
                self.unmap(addr..addr + len);
                Some(Call::Munmap { addr, len })
            }
            2 => {
                if !(addr..addr + len).all(|page| self.pages.contains_key(&page)) {
                    return None;
                }
                for page in addr..addr + len {
                    let vma = self.pages.get_mut(&page)?;
                    vma.prot = Prot::of_argument(prot);
                    vma.ever_exec |= vma.backing.is_anon() && prot & EXEC != 0;
                }
                Some(Call::Mprotect { addr, len, prot })
            }
            3 => self.remap(wish),
            _ => self.set_break(HEAP + wish.len),
        }
    }

    fn map(&mut self, addr: u64, len: u64, prot: u64, shared: bool, backing: Backing, offset: u64) {
        for n in 0..len {
            let (backing, offset) = match backing {
                Backing::Anon if shared => (Backing::Shmem(None), n * PAGE),
                Backing::Anon => (Backing::Anon, 0),
                other => (other, (offset + n) * PAGE),
            };
            let vma = Vma {
                prot: Prot::of_argument(prot),
                shared,
                backing,
                ever_exec: backing == Backing::Anon && prot & EXEC != 0,
                grows_down: false,
                offset,
            };
            self.pages.insert(addr + n, vma);
        }
    }

    fn unmap(&mut self, range: Range<u64>) {
        self.pages.retain(|page, _| !range.contains(page));
    }

    fn is_free(&self, range: Range<u64>) -> bool {
        self.pages.range(range).next().is_none()
    }

    /// Whether these pages are one region.
    fn is_one(&self, mut range: Range<u64>) -> bool {
        let Some(&first) = self.pages.get(&range.start) else {
            return false;
        };
        let start = range.start;
        range.all(|page| self.pages.get(&page) == Some(&shifted(first, page - start)))
    }

    fn set_break(&mut self, new: u64) -> Option<Call> {
        let old = self.brk;
        if new > old {
            if !self.is_free(old..new) {
                return Some(Call::Brk { new: old });
            }
            self.map(old, new - old, READ | WRITE, false, Backing::Anon, 0);
            for page in old..new {
                self.pages.get_mut(&page)?.backing = Backing::Heap;
            }
        } else {
            self.unmap(new..old);
        }
        self.brk = new;
        Some(Call::Brk { new })
    }

    fn remap(&mut self, wish: &Wish) -> Option<Call> {
        let Wish {
            addr: old,
            mut len,
            new,
            mut new_len,
            ..
        } = *wish;
        let (fixed, keeps) = (wish.flags & 2 != 0, wish.flags & 4 != 0);
        if wish.flags & 8 != 0 {
            len = 0;
        }
        if keeps {
            new_len = len;
        }
        if new_len == 0 || new + new_len > PAGES || !self.is_one(old..old + len.max(1)) {
            return None;
        }
        let first = *self.pages.get(&old)?;
        if len == 0 && !first.shared {
            return None;
        }
        let flags = 1 | if fixed { 2 } else { 0 } | if keeps { 4 } else { 0 };
        let call = |new| {
            Some(Call::Mremap {
                old,
                old_len: len,
                new_len,
                flags,
                new,
            })
        };
        let stays = !fixed && !keeps && len > 0;
        if stays && new_len <= len {
            self.unmap(old + new_len..old + len);
            return call(old);
        }
        if stays && old + new_len <= PAGES && wish.flags & 1 == 0 && self.is_free(old + len..old + new_len) {
            for page in len..new_len {
                self.pages.insert(old + page, shifted(first, page));
            }
            return call(old);
        }
        let overlaps = new < old + len.max(1) && old < new + new_len;
        if overlaps || !fixed && !self.is_free(new..new + new_len) {
            return None;
        }
        self.unmap(new..new + new_len);
        if !keeps {
            self.unmap(old..old + len);
        }
        for page in 0..new_len {
            let mut vma = shifted(first, page);
            if vma.backing == Backing::Heap {
                vma.backing = Backing::Anon;
            }
            self.pages.insert(new + page, vma);
        }
        call(new)
    }

    /// As the model's own iteration gives it.
    pub(super) fn regions(&self) -> Vec<(Range<u64>, Vma)> {
        let mut regions: Vec<(Range<u64>, Vma)> = Vec::new();
        for (&page, vma) in &self.pages {
            match regions.last_mut() {
                Some((range, first))
                    if range.end == page * PAGE && *vma == shifted(*first, page - range.start / PAGE) =>
                {
                    range.end += PAGE;
                }
                _ => regions.push((page * PAGE..(page + 1) * PAGE, *vma)),
            }
        }
        regions
    }

    /// As `/proc/PID/maps` gives it: regions that differ in nothing that the kernel keeps are one line, and what
    /// begins below the break and ends above the first one is heap.
    pub(super) fn maps(&self, files: &Files) -> Vec<u8> {
        let plain = Self {
            pages: self
                .pages
                .iter()
                .map(|(&page, vma)| {
                    let mut vma = *vma;
                    vma.ever_exec = false;
                    if vma.backing == Backing::Heap {
                        vma.backing = Backing::Anon;
                    }
                    (page, vma)
                })
                .collect(),
            ..self.clone()
        };
        let mut text = Vec::new();
        for (range, vma) in plain.regions() {
            let flag = |set, c| if set { c } else { '-' };
            text.extend(
                format!(
                    "{:08x}-{:08x} {}{}{}{} {:08x} 00:00 0    ",
                    range.start,
                    range.end,
                    flag(vma.prot.read(), 'r'),
                    flag(vma.prot.write(), 'w'),
                    flag(vma.prot.exec(), 'x'),
                    if vma.shared { 's' } else { 'p' },
                    vma.offset,
                )
                .into_bytes(),
            );
            let in_heap = range.start < self.brk * PAGE && range.end > HEAP * PAGE;
            text.extend(match vma.backing {
                Backing::Anon if in_heap => b"[heap]",
                Backing::File(id) | Backing::Shmem(Some(id)) => files.path(id).unwrap_or_default(),
                Backing::Shmem(None) => b"/dev/zero (deleted)",
                _ => b"",
            });
            text.push(b'\n');
        }
        text
    }
}

/// The page that is so many behind this one.
fn shifted(vma: Vma, pages: u64) -> Vma {
    let has_offset = matches!(vma.backing, Backing::File(_) | Backing::Shmem(_));
    Vma {
        offset: if has_offset { vma.offset + pages * PAGE } else { 0 },
        ..vma
    }
}
