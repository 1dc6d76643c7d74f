//! The descriptors that matter: which are connections, which are channels.
//!
//! Owns the two tables, and whose entry counts where a process was forked. What every call on a connection needs lies in
//! the one without hashing, `ROWS`: a look-up in the other touches three lines of memory that are in no cache by then.
//! Where neither has room it is said. Must not know what goes through a descriptor.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_log_ebpf::warn;
use memtrace_common::{
    map::{self, Family, FdKey, FdState, ROLE_IGNORED},
    wire::HEAD_MAX,
};

use crate::{FDS, PARENTS, ROW_OWNERS, ROWS, emit, target::Target};

/// How far up a descriptor may have been inherited from.
const GENERATIONS_MAX: usize = 4;

/// What is known of a descriptor that is a connection or a channel.
#[inline(always)]
pub(crate) fn of_interest(me: Target, fd: i32) -> Option<&'static mut FdState> {
    state(me, fd).filter(|state| state.role != ROLE_IGNORED)
}

/// What is known of a descriptor that is open: its own entry, or one that was inherited, copied.
#[inline(always)]
pub(crate) fn state(me: Target, fd: i32) -> Option<&'static mut FdState> {
    if let Some(own) = find(me.tgid, fd) {
        return (own.closed_ns == 0).then_some(own);
    }
    if !me.forked() || inherit(me.tgid, fd) == 0 {
        return None;
    }
    find(me.tgid, fd)
}

/// The descriptor is this now.
#[inline(always)]
pub(crate) fn remember(me: Target, fd: i32, role: u32) {
    if put_new(me.tgid, fd, role, now()) == 0 {
        warn!(
            &(),
            "the table of descriptors is full: process {}, descriptor {}", me.tgid, fd
        );
        emit::lost(Family::Io);
    }
}

/// Several descriptors are this now.
pub(crate) struct New {
    tgid: u32,
    role: u32,
    opened_ns: u64,
}

impl New {
    #[inline(always)]
    pub(crate) fn now(me: Target, role: u32) -> Self {
        Self {
            tgid: me.tgid,
            role,
            opened_ns: now(),
        }
    }

    /// One of them. No room is not worth a branch in a loop that the verifier walks turn by turn: such a table is full
    /// for `accept` too, which says so.
    #[inline(always)]
    pub(crate) fn note(&self, fd: i32) {
        let _ = put_new(self.tgid, fd, self.role, self.opened_ns);
    }
}

/// The number means nothing to this process any more. A child that was forked before may still have what it meant.
#[inline(always)]
pub(crate) fn forget(me: Target, fd: i32) {
    if !me.has_kin() {
        take_out(me.tgid, fd);
    } else if let Some(own) = find(me.tgid, fd) {
        own.closed_ns = now();
    } else if me.forked() {
        // Hides what the parent has under this number.
        remember(me, fd, ROLE_IGNORED);
    }
}

/// What a process has under this number, open or not.
#[inline(always)]
fn find(tgid: u32, fd: i32) -> Option<&'static mut FdState> {
    if let Some(slot) = slot(tgid, fd)
        && slot.tgid == tgid
    {
        return Some(slot);
    }
    // SAFETY: a live map element; userspace replaces elements whole.
    FDS.get_ptr_mut(FdKey { tgid, fd })
        .map(|state| unsafe { &mut *state })
}

/// Where it would be in the row that may be the process's.
#[inline(always)]
fn slot(tgid: u32, fd: i32) -> Option<&'static mut FdState> {
    // SAFETY: a live map element, of integers.
    ROWS.get_ptr_mut(map::slot(tgid, fd)?)
        .map(|slot| unsafe { &mut *slot })
}

/// Whether the process has a row.
#[inline(always)]
fn has_row(tgid: u32) -> bool {
    // SAFETY: copied at once.
    ROW_OWNERS.get(map::row(tgid)).is_some_and(|&owner| owner == tgid)
}

/// Puts a copy of what an ancestor had under this number, when the line to this process branched off, in its own
/// table. What was not inherited is noted too, so that the next call on it finds that out at once. Zero where there is
/// no room.
#[inline(never)]
extern "C" fn inherit(tgid: u32, fd: i32) -> u32 {
    put(tgid, fd, inherited(tgid, fd).unwrap_or(IGNORED))
}

#[inline(always)]
fn inherited(mut tgid: u32, fd: i32) -> Option<FdState> {
    for _ in 0..GENERATIONS_MAX {
        // SAFETY: copied at once.
        let parent = *unsafe { PARENTS.get(tgid) }?;
        tgid = parent.tgid;
        if let Some(&mut state) = find(tgid, fd) {
            // A number that has been given out anew since the fork is taken for what it is now: a server that forks
            // for each connection uses the same number over and over.
            let was_open = state.closed_ns == 0 || state.closed_ns > parent.born_ns;
            return was_open.then_some(FdState {
                closed_ns: 0,
                ..state
            });
        }
    }
    None
}

/// A function of its own, as in `tally`: numbers go in, and zero comes out where there is no room.
#[inline(never)]
extern "C" fn put_new(tgid: u32, fd: i32, role: u32, opened_ns: u64) -> u32 {
    put(
        tgid,
        fd,
        FdState {
            opened_ns,
            read_budget: HEAD_MAX as u32,
            write_budget: HEAD_MAX as u32,
            role,
            ..IGNORED
        },
    )
}

#[inline(always)]
fn put(tgid: u32, fd: i32, state: FdState) -> u32 {
    let state = FdState { tgid, ..state };
    if has_row(tgid)
        && let Some(slot) = slot(tgid, fd)
    {
        // What was there before the process had a row would be found again when the slot is free.
        let _ = FDS.remove(FdKey { tgid, fd });
        let FdState { role, tgid, .. } = state;
        *slot = FdState {
            role: slot.role,
            tgid: slot.tgid,
            ..state
        };
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        set_meaning(slot, role, tgid);
        return 1;
    }
    u32::from(FDS.insert(FdKey { tgid, fd }, state, 0).is_ok())
}

#[inline(never)]
extern "C" fn take_out(tgid: u32, fd: i32) -> u32 {
    if let Some(slot) = slot(tgid, fd)
        && slot.tgid == tgid
    {
        set_meaning(slot, ROLE_IGNORED, 0);
    }
    // Most descriptors were never in the table.
    u32::from(FDS.remove(FdKey { tgid, fd }).is_ok())
}

/// In one store, so that nobody sees a half.
#[inline(always)]
fn set_meaning(slot: &mut FdState, role: u32, tgid: u32) {
    const AT: usize = core::mem::offset_of!(FdState, role) / size_of::<u64>();
    const {
        assert!(core::mem::offset_of!(FdState, role) % align_of::<u64>() == 0);
        assert!(
            core::mem::offset_of!(FdState, tgid) == core::mem::offset_of!(FdState, role) + size_of::<u32>()
        );
    }
    let meaning = core::ptr::from_mut(slot).cast::<u64>().wrapping_add(AT);
    // SAFETY: two members side by side, aligned by the assertions.
    unsafe { meaning.write_volatile(u64::from(tgid) << 32 | u64::from(role)) };
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_ktime_get_ns() }
}

/// Neither a connection nor anything that an ancestor has.
const IGNORED: FdState = FdState {
    opened_ns: 0,
    closed_ns: 0,
    read_budget: 0,
    write_budget: 0,
    role: ROLE_IGNORED,
    tgid: 0,
};
