//! The address spaces of all targets, kept by their calls.
//!
//! Owns which call changes which space, and when a text of `/proc/PID/maps` is asked for. Must not know what a region
//! means for a fault.

use memtrace_common::{
    Nanos, Tgid,
    wire::{self, Fault, Mm},
};
use rustc_hash::FxHashMap;

use super::calls;
use crate::{
    ledger::Place,
    model::{
        cause::Access,
        vma::{AddressSpace, Backing, FileId, Files, MAP_ANONYMOUS},
    },
};

/// A record that is this much later than a text was read is of a call that the text does not have.
const IN_TEXT: Nanos = Nanos(10_000_000);
/// A text is asked for again after this at the earliest.
const ASK_AGAIN: Nanos = Nanos(1_000_000_000);
/// A thread's stack is not longer than this, in bytes. glibc's are 8 MiB unless a program asks for more.
const STACK_MAX: u64 = 64 << 20;

const ENOMEM: i64 = 12;

/// All address spaces, and the files that are mapped in them.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    by_process: FxHashMap<Tgid, Space>,
    files: Files,
    /// What the next `mmap` at this address maps.
    next: Option<(Tgid, u64, Backing)>,
}

#[derive(Clone, Debug, Default)]
struct Space {
    regions: AddressSpace,
    /// When the text was read that it began from.
    read: Option<Nanos>,
    asked: Option<Nanos>,
}

impl Spaces {
    /// `/proc/PID/maps`, as read at this time.
    pub(super) fn seed(&mut self, tgid: Tgid, text: &[u8], brk: Option<u64>, read: Nanos) {
        let space = self.by_process.entry(tgid).or_default();
        space.regions.seed(text, &mut self.files, brk);
        space.read = Some(read);
    }

    /// Calls were lost, nobody knows of which processes: begins anew. Returns whose texts are wanted.
    pub(super) fn lose_calls(&mut self) -> impl Iterator<Item = Tgid> {
        for space in self.by_process.values_mut() {
            *space = Space::default();
        }
        self.by_process.keys().copied()
    }

    /// What the `mmap` maps whose record comes next.
    pub(super) fn maps(
        &mut self,
        tgid: Tgid,
        start: u64,
        path: Option<&[u8]>,
        shared: bool,
        in_memory: bool,
    ) {
        // Devices lie on a tmpfs, too.
        let in_memory = in_memory && path.is_none_or(|path| !path.starts_with(b"/dev/"));
        let backing = match path.map(|path| Backing::of_path(path, shared, &mut self.files)) {
            Some(Backing::File(id)) if in_memory => Backing::Shmem(Some(id)),
            None if in_memory => Backing::Shmem(Some(FileId::UNKNOWN)),
            Some(backing) => backing,
            None => Backing::File(FileId::UNKNOWN),
        };
        self.next = Some((tgid, start, backing));
    }

    /// A name was given to memory.
    pub(super) fn named(&mut self, tgid: Tgid, start: u64, len: u64, name: &[u8]) {
        if let Some(space) = self.by_process.get_mut(&tgid) {
            space.regions.name(start, len, name);
        }
    }

    /// An address-space call.
    pub(super) fn call(&mut self, mm: &Mm) {
        let tgid = Tgid(mm.header.tgid);
        let next = self.next.take();
        let [first, len, third, flags, _, offset] = mm.args;
        let result = mm.ret.cast_unsigned();
        let space = self.by_process.entry(tgid).or_default();
        space.settle(Nanos(mm.header.time_ns));
        let regions = &mut space.regions;
        match mm.header.op {
            wire::MM_MPROTECT if mm.ret == -ENOMEM => regions.mprotect_to_hole(first, len, third),
            _ if calls::failed(mm) => {}
            wire::MM_MMAP => {
                let backing = match next {
                    _ if flags & MAP_ANONYMOUS != 0 => Backing::Anon,
                    Some((of, at, backing)) if (of, at) == (tgid, result) => backing,
                    _ => Backing::File(FileId::UNKNOWN),
                };
                regions.mmap(result, len, third, flags, backing, offset);
            }
            wire::MM_MUNMAP => regions.munmap(first, len),
            wire::MM_MREMAP => regions.mremap(first, len, third, flags, result),
            wire::MM_BRK => regions.brk(result),
            wire::MM_MPROTECT => regions.mprotect(first, len, third),
            _ => {}
        }
    }

    /// A thread's stack pointer is here.
    pub(super) fn stack(&mut self, tgid: Tgid, sp: u64) {
        if let Some(space) = self.by_process.get_mut(&tgid) {
            space.regions.mark_stack(sp, STACK_MAX);
        }
    }

    /// What a fault is in that is taken now, and whether the text should be read again: nothing is known there.
    pub(super) fn place(&mut self, fault: &Fault) -> (Place, bool) {
        let header = &fault.header;
        let now = Nanos(header.time_ns);
        let space = self.by_process.entry(Tgid(header.tgid)).or_default();
        space.settle(now);
        let has = |flag| header.flags & flag != 0;
        let access = Access {
            write: has(wire::FAULT_WRITE),
            exec: has(wire::FAULT_EXEC),
        };
        let vma = space.regions.find_or_grow(fault.address, STACK_MAX);
        let place = Place::of(access, has(wire::FAULT_PROTECTION), vma);
        let asks = place.is_unmapped() && space.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN);
        if asks {
            space.asked = Some(now);
        }
        (place, asks)
    }

    /// The child has a copy.
    pub(super) fn forked(&mut self, parent: Tgid, child: Tgid) {
        if let Some(space) = self.by_process.get(&parent).cloned() {
            self.by_process.insert(child, space);
        }
    }

    /// The process is gone, or runs another program, whose text comes.
    pub(super) fn remove_process(&mut self, tgid: Tgid) {
        self.by_process.remove(&tgid);
    }

    /// What a process has mapped by now.
    pub(super) fn regions(&self, tgid: Tgid) -> Option<&AddressSpace> {
        self.by_process.get(&tgid).map(|space| &space.regions)
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// What the reader should know.
    pub(super) fn notes(&self) -> Option<String> {
        let lost: u64 = self.by_process.values().map(|space| space.regions.lost()).sum();
        (lost > 0).then(|| {
            format!("{lost} regions found no room in memtrace's tables: faults in them are `unmapped`")
        })
    }
}

impl Space {
    fn settle(&mut self, now: Nanos) {
        if self.read.is_some_and(|read| now.since(read) > IN_TEXT) {
            self.read = None;
            self.regions.settle();
        }
    }
}
