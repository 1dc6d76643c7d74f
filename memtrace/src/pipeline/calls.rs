//! Address-space calls: whether one succeeded, and what it adds to a request's.
//!
//! Owns these two. Arguments are whatever a program passed, sense or nonsense. Must not know regions.

use memtrace_common::wire::{self, Mm};

use crate::{ledger::entry::Space, model::vma::PAGE};

/// Addresses from here on are negative error numbers (`include/linux/err.h`).
const MAX_ERRNO: i64 = 4095;
/// Where user space ends with four levels of page tables, and with five (`TASK_SIZE_MAX`).
const ENDS: [u64; 2] = [1 << 47, 1 << 56];

/// Whether a call did nothing. `munmap` is told at its entry: it fails where its range is not all user space (`EINVAL`,
/// `do_vmi_munmap` in mm/vma.c).
pub(super) fn failed(mm: &Mm) -> bool {
    if mm.header.op != wire::MM_MUNMAP {
        return (-MAX_ERRNO..0).contains(&mm.ret);
    }
    let [start, len, ..] = mm.args;
    let end = start.checked_add(bytes(len));
    !ENDS
        .iter()
        .any(|&limit| start < limit && end.is_some_and(|end| end <= limit))
        || (start < ENDS[0] && end.is_some_and(|end| end > ENDS[0]))
}

/// The bytes that a call is about: that `mmap` mapped, that `brk` moved the break up by, and so on. `None` where it did
/// nothing.
pub(super) fn moved(mm: &Mm, old_brk: Option<u64>) -> Option<u64> {
    if failed(mm) {
        return None;
    }
    match mm.header.op {
        wire::MM_MMAP | wire::MM_MUNMAP | wire::MM_MPROTECT | wire::MM_MADVISE => Some(bytes(mm.args[1])),
        wire::MM_MREMAP => Some(bytes(mm.args[2])),
        wire::MM_BRK => {
            // brk(2) fails by returning the old break. Where that isn't known, a call that got what it asked for
            // moved the break, nobody knows by how much.
            let new = mm.ret.cast_unsigned();
            let moves = new == mm.args[0] && old_brk != Some(new);
            moves.then(|| old_brk.map_or(0, |old| new.saturating_sub(old)))
        }
        _ => None,
    }
}

/// Adds one call that [`moved`] so many bytes.
pub(super) fn count(space: &mut Space, op: u8, moved: u64) {
    match op {
        wire::MM_MMAP => {
            space.mmap_calls += 1;
            space.mmap_bytes = space.mmap_bytes.saturating_add(moved);
        }
        wire::MM_MUNMAP => {
            space.munmap_calls += 1;
            space.munmap_bytes = space.munmap_bytes.saturating_add(moved);
        }
        wire::MM_MREMAP => space.mremap_calls += 1,
        wire::MM_BRK => {
            space.brk_calls += 1;
            space.brk_bytes = space.brk_bytes.saturating_add(moved);
        }
        wire::MM_MPROTECT => space.mprotect_calls += 1,
        wire::MM_MADVISE => space.madvise_calls += 1,
        _ => {}
    }
}

/// A length in whole pages, as the kernel rounds it.
fn bytes(length: u64) -> u64 {
    length.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use memtrace_common::wire::Header;

    use super::*;

    fn call(op: u8, ret: i64, start: u64, len: u64) -> Mm {
        Mm {
            header: Header {
                op,
                ..Header::default()
            },
            began_ns: 0,
            ret,
            args: [start, len, 0, 0, 0, 0],
            inode: 0,
            device: 0,
            magic: 0,
        }
    }

    #[test]
    fn a_munmap_beyond_user_space_did_nothing() {
        let fails = |start, len| failed(&call(wire::MM_MUNMAP, 0, start, len));
        assert!(!fails(0x1000, 1));
        assert!(!fails((1 << 47) - PAGE, PAGE));
        assert!(!fails(1 << 47, 1 << 40), "with five levels");
        for (start, len) in [
            (0, u64::MAX),
            (0, 1 << 50),
            (u64::MAX - 4095, PAGE),
            (1 << 56, 1),
            ((1 << 47) - PAGE, PAGE + 1),
        ] {
            assert!(fails(start, len), "{start:#x} {len:#x}");
        }
    }

    #[test]
    fn nonsense_does_no_harm() {
        let mut space = Space::default();
        for op in 0..=u8::MAX {
            for (call, old_brk) in [
                (call(op, i64::MAX, u64::MAX, u64::MAX), Some(0)),
                (call(op, -1, 0, u64::MAX), None),
            ] {
                if let Some(moved) = moved(&call, old_brk) {
                    count(&mut space, op, moved);
                }
            }
        }
        assert_eq!((space.munmap_calls, space.mmap_calls), (0, 1));
    }
}
