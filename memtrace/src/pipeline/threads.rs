//! Threads: for each its counters, its last attempt, and what it works on.
//!
//! Owns births and deaths, and the books' view of them: a thread's part is over when the kernel has said its last
//! word on its counters (`sched_process_free`), when the run ends, or when its process is gone. Must not know what
//! moves a thread from request to request: `window` does.

use std::mem;

use memtrace_common::{FaultCount, Nanos, Tgid, Tid};
use rustc_hash::FxHashMap;

use super::stages::Stages;
use crate::{
    ledger::{Attempt, Ledger, Resident, Taken},
    model::counting::{Counting, Settled},
    window::{Owner, Reason},
};

#[derive(Debug)]
struct Thread {
    tgid: Tgid,
    counting: Counting<Attempt>,
    /// Completed faults whose reason is known once the thread does something telling.
    unproven: u64,
    /// Its process's resident memory, as of its next record of bytes.
    resident: Option<Resident>,
    /// It was born under our eyes or has left a record since: it had not begun to exit when it was found.
    acts: bool,
    /// Whom it was last told to work for.
    told: Owner,
    /// `sched_process_exit` has come by; `sched_process_free` will.
    exited: bool,
    /// Attempts under its id since then, in order: see [`Threads::hold`].
    held: Vec<Held>,
}

/// An attempt that may be another thread's.
#[derive(Clone, Copy, Debug)]
struct Held {
    count: FaultCount,
    taken: Taken,
}

/// Attempts of one thread that are held. A thread that exits and one that execs take a handful.
const HELD_MAX: usize = 256;

/// All threads of all targets.
#[derive(Debug, Default)]
pub(super) struct Threads {
    by_tid: FxHashMap<Tid, Thread>,
    /// Counters at the end, for threads whose birth is still in the ring.
    horizons: FxHashMap<Tid, FaultCount>,
    /// The horizons have been told, and the first was read after this time: a thread that has none was born too late
    /// to count, or, if it was born before, is gone and its last word is on its way.
    ended: Option<Nanos>,
}

impl Threads {
    /// A thread that was there when tracing began.
    pub(super) fn found(&mut self, tgid: Tgid, tid: Tid, count: FaultCount, stages: &mut Stages) {
        self.insert(tid, Thread::new(tgid, Counting::from(count)), stages);
        stages.contexts.begin(tid.into(), true);
    }

    /// A thread that was just born: its counters are zero (`copy_mm` in kernel/fork.c). One that was also found in
    /// `/proc` keeps that baseline.
    pub(super) fn born(&mut self, tgid: Tgid, tid: Tid, at: Nanos, stages: &mut Stages) {
        if self.by_tid.get(&tid).is_some_and(|t| t.tgid == tgid && !t.exited) {
            return;
        }
        self.add(tgid, tid, FaultCount::default(), at, stages);
    }

    /// One whose last word never came may have had this id before.
    fn insert(&mut self, tid: Tid, thread: Thread, stages: &mut Stages) {
        if let Some(before) = self.by_tid.insert(tid, thread) {
            before.close(tid, stages);
        }
    }

    fn add(&mut self, tgid: Tgid, tid: Tid, base: FaultCount, at: Nanos, stages: &mut Stages) {
        let mut counting = Counting::from(base);
        if let Some(ended) = self.ended {
            // One that was born too late ends where it begins.
            let too_late = (at > ended).then_some(base);
            if let Some(horizon) = self.horizons.get(&tid).copied().or(too_late) {
                // Nothing is pending yet.
                let _ = counting.end_at(horizon);
            }
        }
        let thread = Thread {
            acts: true,
            ..Thread::new(tgid, counting)
        };
        self.insert(tid, thread, stages);
        stages.contexts.begin(tid.into(), false);
    }

    /// Reads the counters of a record of this thread. One that nobody told of counts from here.
    pub(super) fn observe(
        &mut self,
        tgid: Tgid,
        tid: Tid,
        count: FaultCount,
        at: Nanos,
        stages: &mut Stages,
    ) {
        match self.by_tid.get_mut(&tid) {
            Some(thread) => {
                thread.acts = true;
                let settled = thread.counting.observe(count);
                thread.book(&settled, &mut stages.ledger);
            }
            None => self.add(tgid, tid, count, at, stages),
        }
    }

    /// A fault's attempt. `reason` may know better whose it is.
    pub(super) fn attempt(
        &mut self,
        count: FaultCount,
        taken: Taken,
        stages: &mut Stages,
        reason: impl FnOnce(Owner) -> Owner,
    ) {
        if let Some(thread) = self.by_tid.get_mut(&taken.tid) {
            thread.attempt(count, taken, stages, reason);
        }
    }

    /// Its process has so much resident memory at the moment that its next record is about.
    pub(super) fn resides(&mut self, tid: Tid, resident: Resident) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.resident = Some(resident);
        }
    }

    /// What was said of that.
    pub(super) fn take_resident(&mut self, tid: Tid) -> Option<Resident> {
        self.by_tid.get_mut(&tid)?.resident.take()
    }

    /// Tells where the thread's work has turned since this was last asked.
    pub(super) fn tell_turn(&mut self, tid: Tid, at: Nanos, stages: &mut Stages) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            let now = stages.contexts.owner(tid.into());
            if now != thread.told {
                thread.told = now;
                stages.ledger.turned(thread.tgid, tid, at, now);
            }
        }
    }

    /// The run is over: tells that nobody works any more.
    pub(super) fn tell_end(&mut self, at: Nanos, stages: &mut Stages) {
        let mut all: Vec<_> = self.by_tid.iter_mut().collect();
        all.sort_unstable_by_key(|(tid, _)| tid.0);
        for (&tid, thread) in all {
            if mem::replace(&mut thread.told, Owner::Unproven) != Owner::Unproven {
                stages.ledger.turned(thread.tgid, tid, at, Owner::Unproven);
            }
        }
    }

    /// Whether the thread is known.
    pub(super) fn knows(&self, tid: Tid) -> bool {
        self.by_tid.contains_key(&tid)
    }

    /// Once the thread has done something telling, the faults before that have their reason.
    pub(super) fn explain_first_act(&mut self, tid: Tid, stages: &mut Stages) {
        if let Some(thread) = self.by_tid.get_mut(&tid)
            && thread.unproven > 0
            && stages.contexts.is_proven(tid.into())
        {
            let reason = stages.contexts.reason_before_first_act(tid.into());
            stages.ledger.explain(reason, mem::take(&mut thread.unproven));
        }
    }

    /// Keeps an attempt for later where the id does not say whose it is. Returns whether it did.
    ///
    /// A process's first thread can fault after it began to exit, and then another thread that calls `execve` takes
    /// its id over and faults under it, before `sched_process_exec` says so: the new program's stack and data are
    /// written to meanwhile.
    pub(super) fn hold(&mut self, tgid: Tgid, count: FaultCount, taken: Taken) -> bool {
        if tgid.0 != taken.tid.0 {
            return false;
        }
        match self.by_tid.get_mut(&taken.tid) {
            Some(leader) if leader.exited && leader.held.len() < HELD_MAX => {
                leader.held.push(Held { count, taken });
                true
            }
            _ => false,
        }
    }

    /// `execve`: the thread that called it takes over the process's id (`de_thread` in fs/exec.c), and whoever had
    /// that id is left with the caller's. `now` are the caller's counters.
    pub(super) fn take_over(&mut self, old: Tid, new: Tid, now: FaultCount, stages: &mut Stages) {
        if old == new || self.by_tid.get(&old).is_none_or(|t| t.exited) {
            // Nobody did, or it has been noticed already.
            return;
        }
        let mut caller = self.by_tid.remove(&old);
        let mut leader = self.by_tid.remove(&new);
        if let (Some(caller), Some(leader)) = (&mut caller, &mut leader) {
            let held = mem::take(&mut leader.held);
            let from = taken_over_at(&held, leader.counting.last(), caller.counting.last(), now);
            let (leaders, callers) = held.split_at(from);
            leader.replay(leaders, stages);
            stages.contexts.swap(old.into(), new.into());
            caller.replay(callers, stages);
        } else {
            stages.contexts.swap(old.into(), new.into());
        }
        self.by_tid.extend(caller.map(|t| (new, t)));
        self.by_tid.extend(leader.map(|t| (old, t)));
    }

    /// The thread runs another program from here on.
    pub(super) fn begin_anew(&mut self, tid: Tid, stages: &mut Stages) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            stages.contexts.begin(tid.into(), false);
            // What the old program's thread did to get here is part of the new one's start.
            stages
                .ledger
                .explain(Reason::Startup, mem::take(&mut thread.unproven));
        }
    }

    /// The thread begins to exit. It can still fault.
    pub(super) fn exit(&mut self, tid: Tid) {
        if let Some(thread) = self.by_tid.get_mut(&tid) {
            thread.exited = true;
        }
    }

    /// The thread is gone, and these were its last counters.
    pub(super) fn freed(&mut self, tgid: Tgid, tid: Tid, count: FaultCount, stages: &mut Stages) {
        let leader = Tid(tgid.0);
        if self.by_tid.get(&tid).is_some_and(|t| t.acts && !t.exited)
            && self.by_tid.get(&leader).is_some_and(|t| t.exited)
        {
            // It was the first thread, and has this id from one that is about to run another program.
            let all = FaultCount {
                minor: u64::MAX,
                major: u64::MAX,
            };
            self.take_over(tid, leader, all, stages);
        }
        if let Some(mut thread) = self.by_tid.remove(&tid) {
            let held = mem::take(&mut thread.held);
            thread.replay(&held, stages);
            let settled = thread.counting.observe(count);
            thread.book(&settled, &mut stages.ledger);
            thread.close(tid, stages);
        }
    }

    /// The process is gone, and so are its threads. The last words of those that began to exit may still come: RCU
    /// callbacks of different CPUs run in any order.
    pub(super) fn remove_process(&mut self, tgid: Tgid, stages: &mut Stages) {
        for (&tid, _) in self.by_tid.iter().filter(|(_, t)| t.tgid == tgid && t.exited) {
            stages.contexts.leave(tid.into());
        }
        let ended = self.by_tid.extract_if(|_, t| t.tgid == tgid && !t.exited);
        close_in_order(ended.collect(), stages);
    }

    /// A thread's counters at the end of the run.
    pub(super) fn horizon(&mut self, tid: Tid, count: FaultCount, stages: &mut Stages) {
        match self.by_tid.get_mut(&tid) {
            Some(thread) => {
                if let Some(attempt) = thread.counting.end_at(count) {
                    stages.ledger.forget_attempt(attempt);
                }
            }
            None => {
                self.horizons.insert(tid, count);
            }
        }
    }

    /// All horizons have been told, and were read after this time.
    pub(super) fn close_the_door(&mut self, ended: Nanos) {
        self.ended = Some(ended);
    }

    /// The run is over.
    pub(super) fn finish(&mut self, stages: &mut Stages) {
        close_in_order(self.by_tid.drain().collect(), stages);
    }
}

/// Requests that end by it do so in the same order whenever the same events are told.
fn close_in_order(mut threads: Vec<(Tid, Thread)>, stages: &mut Stages) {
    threads.sort_unstable_by_key(|(tid, _)| tid.0);
    for (tid, thread) in threads {
        thread.close(tid, stages);
    }
}

impl Thread {
    fn new(tgid: Tgid, counting: Counting<Attempt>) -> Self {
        Self {
            tgid,
            counting,
            unproven: 0,
            resident: None,
            acts: false,
            told: Owner::Unproven,
            exited: false,
            held: Vec::new(),
        }
    }

    fn book(&mut self, settled: &Settled<Attempt>, ledger: &mut Ledger) {
        ledger.unseen(settled.unseen);
        if let Some((attempt, outcome)) = settled.attempt
            && ledger.settle(self.tgid, attempt, outcome)
        {
            self.unproven += 1;
        }
    }

    fn attempt(
        &mut self,
        count: FaultCount,
        taken: Taken,
        stages: &mut Stages,
        reason: impl FnOnce(Owner) -> Owner,
    ) {
        if !self.counting.counts(count) {
            return;
        }
        let owner = reason(stages.contexts.owner(taken.tid.into()));
        if let Owner::Token(token, _) = owner {
            stages.contexts.awaits(token);
        }
        let attempt = stages.ledger.attempt(self.tgid, owner, taken);
        self.counting.attempt(count, attempt);
    }

    /// Books attempts that have been held.
    fn replay(&mut self, held: &[Held], stages: &mut Stages) {
        for &Held { count, taken } in held {
            let settled = self.counting.observe(count);
            self.book(&settled, &mut stages.ledger);
            self.attempt(count, taken, stages, |owner| owner);
        }
    }

    fn close(mut self, tid: Tid, stages: &mut Stages) {
        let held = mem::take(&mut self.held);
        self.replay(&held, stages);
        stages.contexts.leave(tid.into());
        let ledger = &mut stages.ledger;
        let (settled, left_out) = self.counting.finish();
        self.book(&settled, ledger);
        if let Some(attempt) = left_out {
            ledger.leave_undecided(attempt);
        }
        ledger.explain(Reason::BackgroundThread, mem::take(&mut self.unproven));
        ledger.kernel_counted(self.counting.kernel_count(), self.counting.is_contradicted());
    }
}

/// Which of these attempts is the first of the thread that takes over: its counters and the first thread's go on
/// from where each was, and neither ever goes back.
fn taken_over_at(held: &[Held], leader: FaultCount, caller: FaultCount, now: FaultCount) -> usize {
    let goes_on = |from: FaultCount, held: &[Held]| {
        held.iter().map(|h| h.count).try_fold(from, |last, next| {
            (last.minor <= next.minor && last.major <= next.major).then_some(next)
        })
    };
    (0..=held.len())
        .find(|&at| {
            let (leaders, callers) = held.split_at(at);
            goes_on(leader, leaders).is_some()
                && goes_on(caller, callers)
                    .is_some_and(|last| last.minor <= now.minor && last.major <= now.major)
        })
        .unwrap_or(0)
}
