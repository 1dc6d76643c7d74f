//! Rows of descriptors, shared with the probes: for some processes, what is known of their first descriptors.
//!
//! Owns which process has which row, and how a slot is written while probes look at it. Must not know what a descriptor
//! is; the rest of them is in `FDS`.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use memtrace_common::{
    Fd, Nanos, Tgid,
    map::{self, FdState, ROLE_IGNORED, ROW_LEN, ROWS},
};

use super::mapped::Mapped;

/// A slot, as words.
const WORDS: usize = size_of::<FdState>() / size_of::<u64>();
/// The last of them has role and process, and says whether there is anything in the others.
const MEANING: usize = WORDS - 1;

/// The mapped rows, and whose they are.
#[derive(Debug)]
pub(super) struct Rows {
    table: Mapped<AtomicU64>,
    owners: [Option<Tgid>; ROWS as usize],
}

impl Rows {
    /// Maps the `ROWS` array map, of which no process has any yet.
    pub(super) fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::over(Mapped::map(fd, (ROWS * ROW_LEN) as usize * WORDS)?))
    }

    fn over(table: Mapped<AtomicU64>) -> Self {
        let owners = [None; ROWS as usize];
        Self { table, owners }
    }

    /// The row that the process has from now on, if nobody has it yet. The probes have to be told.
    pub(super) fn give(&mut self, tgid: Tgid) -> Option<u32> {
        let row = map::row(tgid.0);
        let owner = &mut self.owners[row as usize];
        if owner.is_some() {
            return None;
        }
        *owner = Some(tgid);
        Some(row)
    }

    /// The row that the process has no longer. The probes have to be told first.
    pub(super) fn row_of(&self, tgid: Tgid) -> Option<u32> {
        let row = map::row(tgid.0);
        (self.owners[row as usize] == Some(tgid)).then_some(row)
    }

    /// Takes it, with all that is in it.
    pub(super) fn take_back(&mut self, tgid: Tgid) {
        let Some(row) = self.row_of(tgid) else { return };
        for fd in 0..ROW_LEN.cast_signed() {
            if let Some(slot) = self.slot(tgid, Fd(fd)) {
                slot[MEANING].store(0, Ordering::Release);
            }
        }
        self.owners[row as usize] = None;
    }

    /// Says what a descriptor is. False where it has no slot.
    pub(super) fn set(&self, tgid: Tgid, fd: Fd, state: FdState) -> bool {
        let Some(slot) = self.slot(tgid, fd) else {
            return false;
        };
        let state = FdState {
            tgid: tgid.0,
            ..state
        };
        let words: [u64; WORDS] = zerocopy::transmute!(state);
        for (at, word) in slot.into_iter().zip(words) {
            at.store(word, Ordering::Release);
        }
        true
    }

    /// Says that nothing is wanted of what a descriptor was at that time. False where no slot has anything of it.
    pub(super) fn ignore(&self, tgid: Tgid, fd: Fd, as_of: Nanos) -> bool {
        let Some(slot) = self.slot(tgid, fd) else {
            return false;
        };
        let words = slot.map(|word| word.load(Ordering::Acquire));
        let state: FdState = zerocopy::transmute!(words);
        if state.tgid != tgid.0 {
            return false;
        }
        if state.opened_ns <= as_of.0 {
            let ignored = FdState {
                role: ROLE_IGNORED,
                ..state
            };
            let ignored: [u64; WORDS] = zerocopy::transmute!(ignored);
            slot[MEANING].store(ignored[MEANING], Ordering::Release);
        }
        true
    }

    fn slot(&self, tgid: Tgid, fd: Fd) -> Option<[&AtomicU64; WORDS]> {
        self.row_of(tgid)?;
        let first = map::slot(tgid.0, fd.0)? as usize * WORDS;
        let [opened, closed, budgets, meaning] = [0, 1, 2, MEANING].map(|i| self.table.get(first + i));
        Some([opened?, closed?, budgets?, meaning?])
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::map::ROLE_INBOUND;

    use super::*;

    const A: Tgid = Tgid(1000);
    /// Its row would be the same.
    const B: Tgid = Tgid(1000 + ROWS);
    const FD: Fd = Fd(7);

    fn rows() -> Rows {
        Rows::over(Mapped::alone((ROWS * ROW_LEN) as usize * WORDS).expect("memory"))
    }

    fn opened_at(opened_ns: u64) -> FdState {
        FdState {
            opened_ns,
            closed_ns: 0,
            read_budget: 1,
            write_budget: 2,
            role: ROLE_INBOUND,
            tgid: 0,
        }
    }

    fn meaning(rows: &Rows, tgid: Tgid, fd: Fd) -> Option<(u32, u32)> {
        let slot = rows.slot(tgid, fd)?.map(|word| word.load(Ordering::Acquire));
        let FdState { role, tgid, .. } = zerocopy::transmute!(slot);
        Some((role, tgid))
    }

    #[test]
    fn a_row_is_one_process_s_until_it_is_taken_back() {
        let mut rows = rows();
        assert!(!rows.set(A, FD, opened_at(1)), "it has none yet");
        let row = rows.give(A).expect("a row");
        assert_eq!(rows.give(B), None);
        assert_eq!((rows.row_of(A), rows.row_of(B)), (Some(row), None));
        assert!(rows.set(A, FD, opened_at(1)) && !rows.set(B, FD, opened_at(1)));
        assert_eq!(meaning(&rows, A, FD), Some((ROLE_INBOUND, A.0)));
        rows.take_back(B);
        assert_eq!(meaning(&rows, A, FD), Some((ROLE_INBOUND, A.0)), "it was not B's");
        rows.take_back(A);
        assert_eq!(rows.give(B), Some(row));
        assert_eq!(meaning(&rows, B, FD), Some((0, 0)), "nothing of A's is left");
    }

    #[test]
    fn a_row_has_room_for_its_own_descriptors_alone() {
        let mut rows = rows();
        rows.give(A).expect("a row");
        let last = Fd(ROW_LEN.cast_signed() - 1);
        assert!(rows.set(A, Fd(0), opened_at(1)) && rows.set(A, last, opened_at(1)));
        for past in [ROW_LEN.cast_signed(), i32::MAX, -1, i32::MIN] {
            assert!(!rows.set(A, Fd(past), opened_at(1)), "{past}");
        }
    }

    #[test]
    fn what_a_number_means_since_is_not_ignored_with_what_it_was() {
        let mut rows = rows();
        rows.give(A).expect("a row");
        assert!(!rows.ignore(A, FD, Nanos(9)), "nothing is known of it");
        rows.set(A, FD, opened_at(10));
        assert!(rows.ignore(A, FD, Nanos(9)));
        assert_eq!(meaning(&rows, A, FD), Some((ROLE_INBOUND, A.0)));
        assert!(rows.ignore(A, FD, Nanos(10)));
        assert_eq!(meaning(&rows, A, FD), Some((ROLE_IGNORED, A.0)));
    }
}
