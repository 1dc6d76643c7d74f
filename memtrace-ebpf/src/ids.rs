//! The numbers of processes and threads, as memtrace's own pid namespace has them.
//!
//! Owns the difference between the host and a container: on the host these are the kernel's own numbers, and all but
//! a line of this compiles to nothing there, because the verifier knows the constants. Must not know who is traced.

use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_ns_current_pid_tgid},
};

use crate::{IDS, PIDNS_DEV, PIDNS_INODE, current::Current, task::Task};

/// A thread, and its process.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) tgid: u32,
    pub(crate) tid: u32,
}

impl Ids {
    /// Of the running thread. Zero for one that is not of this namespace: no process has that number.
    #[inline(always)]
    pub(crate) fn of_current(thread: Current) -> Self {
        if !in_container() {
            return match thread.numbers() {
                Some((tgid, tid)) => Self { tgid, tid },
                None => Self::global(),
            };
        }
        let mut info = bpf_pidns_info { pid: 0, tgid: 0 };
        // SAFETY: the helper writes this struct, zeroes where it fails.
        unsafe {
            bpf_get_ns_current_pid_tgid(
                PIDNS_DEV.load(),
                PIDNS_INODE.load(),
                &raw mut info,
                size_of::<bpf_pidns_info>() as u32,
            )
        };
        Self {
            tgid: info.tgid,
            tid: info.pid,
        }
    }

    /// Of a thread that the running one, whose numbers are `parent`, has just made.
    #[inline(always)]
    pub(crate) fn of_child(child: Task, parent: Self) -> Self {
        let (tgid, tid) = (child.tgid(), child.pid());
        if !in_container() {
            return Self { tgid, tid };
        }
        let own_tid = child.number_in(PIDNS_INODE.load());
        remember(tid, own_tid);
        let own_tgid = if tgid == Self::global().tgid {
            parent.tgid
        } else {
            own_tid
        };
        Self {
            tgid: own_tgid,
            tid: own_tid,
        }
    }

    /// The number of a thread, if it is of the running one's process, whose numbers are `own`.
    #[inline(always)]
    pub(crate) fn of_sibling(task: Task, own: Self) -> Option<u32> {
        if !in_container() {
            return (task.tgid() == own.tgid).then(|| task.pid());
        }
        (task.tgid() == Self::global().tgid).then(|| task.number_in(PIDNS_INODE.load()))
    }

    /// Of a thread that is gone, and has given its numbers back.
    #[inline(always)]
    pub(crate) fn of_freed(task: Task) -> Self {
        Self {
            tgid: from_global(task.tgid()),
            tid: from_global(task.pid()),
        }
    }

    #[inline(always)]
    fn global() -> Self {
        let id = bpf_get_current_pid_tgid();
        Self {
            tgid: (id >> 32) as u32,
            tid: id as u32,
        }
    }
}

/// The running thread is about to exit or exec: its numbers will be asked for when it has none any more.
#[inline(always)]
pub(crate) fn remember_current(own: Ids) {
    if in_container() {
        let global = Ids::global();
        remember(global.tid, own.tid);
        remember(global.tgid, own.tgid);
    }
}

/// What this namespace calls a thread, or did. Zero where that isn't known.
#[inline(always)]
pub(crate) fn from_global(tid: u32) -> u32 {
    if !in_container() {
        return tid;
    }
    // SAFETY: copied at once.
    unsafe { IDS.get(tid) }.copied().unwrap_or(0)
}

/// A number of the host's and one of the container's belong together as long as either is in use (`struct pid`).
#[inline(always)]
fn remember(global: u32, own: u32) {
    // The least recently used makes room.
    let _ = IDS.insert(global, own, 0);
}

#[inline(always)]
fn in_container() -> bool {
    PIDNS_INODE.load() != 0
}
