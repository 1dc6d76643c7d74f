//! The table of targets, shared with the probes: a byte for every possible tgid.
//!
//! Owns the mapping, and the one place where userspace writes memory that the kernel reads. Must not know how
//! targets are chosen.

use std::{
    io,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::atomic::{AtomicU8, Ordering},
};

use memtrace_common::{
    Tgid,
    map::{TARGET_TRACED, TGID_LIMIT},
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Bytes of the table.
const LEN: usize = TGID_LIMIT as usize;

/// The mapped table.
#[derive(Debug)]
pub struct Targets {
    table: NonNull<AtomicU8>,
}

// SAFETY: the table is reached through atomics only, from any thread.
unsafe impl Send for Targets {}

impl Targets {
    /// Maps the `TARGETS` array map, which was made with `BPF_F_MMAPABLE`.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice; the map is `LEN` bytes long
        // (`array_map_mmap` in kernel/bpf/arraymap.c refuses anything longer).
        let table = unsafe {
            mmap(
                std::ptr::null_mut(),
                LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let table = NonNull::new(table.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Self { table })
    }

    /// From now on the probes send records of this process.
    pub fn add(&self, tgid: Tgid) {
        if let Some(slot) = self.slot(tgid) {
            slot.fetch_or(TARGET_TRACED, Ordering::SeqCst);
        }
    }

    /// From now on they don't.
    pub fn remove(&self, tgid: Tgid) {
        if let Some(slot) = self.slot(tgid) {
            slot.store(0, Ordering::SeqCst);
        }
    }

    /// Whether they do.
    pub fn contains(&self, tgid: Tgid) -> bool {
        self.slot(tgid)
            .is_some_and(|slot| slot.load(Ordering::SeqCst) != 0)
    }

    fn slot(&self, Tgid(tgid): Tgid) -> Option<&AtomicU8> {
        let index = usize::try_from(tgid).ok().filter(|&i| i < LEN)?;
        // SAFETY: within the mapping by the test above.
        let slot = unsafe { self.table.add(index) };
        // SAFETY: the mapping lives as long as `self`, and any byte is an `AtomicU8`.
        Some(unsafe { slot.as_ref() })
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference to it outlives `self`.
        if let Err(error) = unsafe { munmap(self.table.as_ptr().cast(), LEN) } {
            tracing::debug!(%error, "cannot unmap the table of targets");
        }
    }
}
