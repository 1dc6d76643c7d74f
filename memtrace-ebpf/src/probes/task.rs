//! `sched_process_fork`, `_exec`, `_exit`, `_free`: threads and processes come and go.
//!
//! Owns who becomes a target by descent, name or cgroup. Must not know what userspace keeps of a thread.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, generated::bpf_get_current_ancestor_cgroup_id},
    programs::RawTracePointContext,
};
use aya_log_ebpf::warn;
use memtrace_common::{
    map::{Family, Parent, TARGET_FORKED, TARGET_PARENT, TARGET_TRACED},
    wire::{Exec, Fork, KIND_EXEC, KIND_EXIT, KIND_FORK, KIND_FREE},
};

use crate::{
    CGROUP_ID, CGROUP_LEVEL, COMM, FOLLOW, PARENTS,
    current::Current,
    emit,
    ids::{self, Ids},
    tally,
    target::{self, Target},
    task::Task,
    thread,
};

/// `(struct task_struct *parent, struct task_struct *child)`. The child has not run yet.
#[inline(always)]
pub(crate) fn fork(ctx: &RawTracePointContext) {
    let child = Task(ctx.arg(1));
    let Some(me) = Target::current() else {
        // The number may have been a target's: that one's mark has to outlive it, see `free`.
        let child_tgid = Ids::of_child(child, Ids { tgid: 0, tid: 0 }).tgid;
        if target::flags(child_tgid) != 0 {
            target::set_flags(child_tgid, 0);
        }
        return;
    };
    let Ids {
        tgid: child_tgid,
        tid: child_tid,
    } = Ids::of_child(child, me.ids());
    // A fault after the exit probe may have left something under this number.
    tally::forget(child_tid);
    thread::is_born(child_tid, me.tid);
    let header = emit::header(me, KIND_FORK);
    if child_tgid != me.tgid {
        if FOLLOW.load() == 0 && !has_target_comm() {
            return;
        }
        // One that has no number here is in a pid namespace of its own, and cannot be followed: userspace is told.
        if child_tgid != 0 {
            adopt(me, child_tgid, header.time_ns);
        }
    }
    if thread::works(child_tid) {
        tally::begin_other(child_tid, child);
    }
    emit::send(
        Family::Task,
        header.time_ns,
        Fork {
            header,
            child_tgid,
            child_tid,
            child_sp: child.user_stack_pointer(),
        },
    );
}

/// The child is a target from its first moment on.
#[inline(always)]
fn adopt(me: Target, child_tgid: u32, born_ns: u64) {
    me.mark(TARGET_PARENT);
    target::set_flags(child_tgid, TARGET_TRACED | TARGET_FORKED);
    let parent = Parent {
        born_ns,
        tgid: me.tgid,
        pad: 0,
    };
    if PARENTS.insert(child_tgid, parent, 0).is_err() {
        warn!(&(), "the table of parents is full: process {}", child_tgid);
        emit::lost(Family::Task);
    }
}

/// `(struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)`
#[inline(always)]
pub(crate) fn exec(ctx: &RawTracePointContext) {
    let tgid = Ids::of_current(Current::get()).tgid;
    if target::flags(tgid) == 0 {
        if !has_target_comm() && !is_in_target_cgroup() {
            return;
        }
        target::set_flags(tgid, TARGET_TRACED);
    }
    let Some(me) = Target::current() else { return };
    let old_tid = ids::from_global(ctx.arg(1));
    let header = emit::header(me, KIND_EXEC).with_last_fault_ns(tally::take_last_fault(old_tid));
    let comm = bpf_get_current_comm().unwrap_or_default();
    emit::send(
        Family::Task,
        header.time_ns,
        Exec {
            header,
            old_tid,
            pad: 0,
            comm,
        },
    );
    if old_tid != me.tid {
        // It has the first thread's number now, from the record above on.
        tally::renumbered(me, old_tid);
    }
}

/// The thread begins to exit. It can fault after this: from 6.16 on the tracepoint comes before the thread lets go
/// of its memory (and of its robust futexes and `clear_child_tid`, which are written to).
#[inline(always)]
pub(crate) fn exit() {
    if let Some(me) = Target::current() {
        ids::remember_current(me.ids());
        tally::exits(me);
        let header = emit::header(me, KIND_EXIT);
        emit::send(Family::Task, header.time_ns, header);
    }
}

/// `(struct task_struct *task)`, on any CPU, some time after the thread is gone: its last word on its counters.
#[inline(always)]
pub(crate) fn free(ctx: &RawTracePointContext) {
    let task = Task(ctx.arg(0));
    let Ids { tgid, tid } = Ids::of_freed(task);
    if target::flags(tgid) == 0 {
        return;
    }
    tally::gone(tid);
    let header = emit::header_of(tgid, tid, task.fault_count(), KIND_FREE);
    emit::send(Family::Task, header.time_ns, header);
    // The process stays marked: its threads are freed in any order, and each has a last word. Whoever gets its number
    // next is looked at in `fork`.
}

#[inline(always)]
fn has_target_comm() -> bool {
    let wanted = COMM.load();
    if wanted == [0; 2] {
        return false;
    }
    let Ok(comm) = bpf_get_current_comm() else {
        return false;
    };
    let (first, second) = comm.split_at(8);
    wanted == [word(first), word(second)]
}

#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[inline(always)]
fn is_in_target_cgroup() -> bool {
    let wanted = CGROUP_ID.load();
    // SAFETY: the helper takes a number.
    wanted != 0 && unsafe { bpf_get_current_ancestor_cgroup_id(CGROUP_LEVEL.load() as i32) } == wanted
}
