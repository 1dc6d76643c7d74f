//! The table of targets, shared with the probes: a byte for every possible tgid.
//!
//! Owns what userspace writes there. Must not know how targets are chosen.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU8, Ordering},
};

use memtrace_common::{
    Tgid,
    map::{TARGET_TRACED, TGID_LIMIT},
};

use super::mapped::Mapped;

/// The mapped table.
#[derive(Debug)]
pub struct Targets {
    table: Mapped<AtomicU8>,
}

impl Targets {
    /// Maps the `TARGETS` array map.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let table = Mapped::map(fd, TGID_LIMIT as usize)?;
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
        self.table.get(usize::try_from(tgid).ok()?)
    }
}
