//! Completed faults, each with its time, where faults are timed.
//!
//! Owns the pairing: what became of a fault is known from its thread's next record, how long it took from the next one
//! that can say so, and whose it is when its token is resolved. Must not know what is made of any. Holds one fault a
//! thread, and those that wait for tokens.

use memtrace_common::{Nanos, Tgid, Tid, decode::Record};
use rustc_hash::FxHashMap;

use crate::{
    event::{Event, Notice},
    ledger::{Taken, journal::Posting},
    model::{
        cause::Cause,
        counting::Outcome,
        vma::{Files, Region},
    },
    waiting::Waiting,
    window::{Owner, Reason, TokenId, Whose},
};

/// A fault that has completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Its process.
    pub tgid: Tgid,
    /// When, where and how it was taken.
    pub taken: Taken,
    /// Minor or major.
    pub outcome: Outcome,
    /// Whom it is for.
    pub owner: Owner,
    /// The file that it fell in, if in one.
    pub file: Option<String>,
    /// How long it took, nanoseconds; `None` where that is not known.
    pub took: Option<u32>,
}

impl Completed {
    /// What it was for.
    pub fn cause(&self) -> Cause {
        self.taken.place.cause(self.outcome).unwrap_or(Cause::Other)
    }

    /// What it fell in.
    pub fn region(&self) -> Region {
        self.taken.place.region()
    }

    /// `minor` or `major`.
    pub fn kind(&self) -> &'static str {
        match self.outcome {
            Outcome::Major => "major",
            Outcome::Minor | Outcome::Failed => "minor",
        }
    }

    /// The mode that it was taken in: `user` or `kernel`.
    pub fn mode(&self) -> &'static str {
        if self.taken.kernel_mode { "kernel" } else { "user" }
    }

    /// The request that it is on, or why it is on none.
    pub fn whose(&self) -> Result<u64, &'static str> {
        match self.owner {
            Owner::Request(id, _) => Ok(id.0),
            Owner::Nobody(reason) => Err(reason.name()),
            // Its thread has not done anything yet that tells; if it never does, that is the reason.
            Owner::Token(..) | Owner::Unproven => Err(Reason::BackgroundThread.name()),
        }
    }
}

/// Pairs faults with their times.
#[derive(Debug, Default)]
pub struct Timed {
    times_faults: bool,
    /// When each thread's last attempt began.
    last: FxHashMap<Tid, Nanos>,
    /// Faults that have completed, and whose time is to come.
    waiting: FxHashMap<Tid, Completed>,
    /// Times that came before their faults had completed.
    early: FxHashMap<Tid, (Nanos, u32)>,
    /// Faults with their times, until it is known whose they are.
    unresolved: Waiting<Completed>,
    /// A thread that is gone with the last event, which may have confirmed its last fault.
    gone: Option<Tid>,
}

impl Timed {
    /// Of a run whose faults are timed, or not: then each is handed on when it has completed.
    pub fn new(times_faults: bool) -> Self {
        Self {
            times_faults,
            ..Self::default()
        }
    }

    /// The next event, before the pipeline has it.
    #[inline]
    pub fn event(&mut self, event: &Event<'_>, out: impl FnMut(Completed)) {
        if self.times_faults {
            self.times(event, out);
        }
    }

    fn times(&mut self, event: &Event<'_>, mut out: impl FnMut(Completed)) {
        if let Some(tid) = self.gone.take() {
            self.leaves(tid, &mut out);
        }
        match event {
            Event::Record(record) => {
                let ended = record.ended_fault();
                if let Some((tid, ns)) = ended {
                    self.took(tid, Some(ns), &mut out);
                }
                let header = record.header();
                let (tid, at) = (Tid(header.tid), Nanos(header.time_ns));
                match record {
                    Record::Fault(_) => {
                        if ended.is_none() {
                            // The last one's would have been said by now.
                            self.took(tid, None, &mut out);
                        }
                        self.last.insert(tid, at);
                    }
                    Record::Exec(exec) if exec.old_tid != header.tid => {
                        self.gone = Some(Tid(exec.old_tid));
                    }
                    Record::Free(_) => self.gone = Some(tid),
                    _ => {}
                }
            }
            Event::Notice(Notice::Untold { tid, work }) if work.last_fault_ns > 0 => {
                let ns = u32::try_from(work.last_fault_ns).unwrap_or(u32::MAX);
                self.took(*tid, Some(ns), out);
            }
            Event::Notice(_) => {}
        }
    }

    /// The thread's last fault took so long, or nobody knows.
    fn took(&mut self, tid: Tid, ns: Option<u32>, out: impl FnMut(Completed)) {
        let last = self.last.get(&tid).copied();
        if let Some(mut fault) = self.waiting.remove(&tid) {
            if last == Some(fault.taken.at) {
                fault.took = ns;
            }
            self.hand_on(fault, out);
        } else if let (Some(last), Some(ns)) = (last, ns) {
            self.early.insert(tid, (last, ns));
        }
    }

    /// What the ledger posted because of the event.
    pub fn posting(&mut self, posting: &Posting, files: &Files, out: impl FnMut(Completed)) {
        let (tgid, taken, outcome, owner) = match *posting {
            Posting::Fault {
                tgid,
                taken,
                outcome,
                owner,
            } => (tgid, taken, outcome, owner),
            Posting::Resolved { token, whose } => return self.resolved(token, whose, out),
            _ => return,
        };
        let mut fault = Completed {
            tgid,
            taken,
            outcome,
            owner,
            file: taken.place.file().and_then(|file| files.printable(file)),
            took: None,
        };
        if !self.times_faults {
            self.hand_on(fault, out);
            return;
        }
        match self.early.remove(&taken.tid) {
            Some((at, ns)) if at == taken.at => {
                fault.took = Some(ns);
                self.hand_on(fault, out);
            }
            _ => {
                if let Some(before) = self.waiting.insert(taken.tid, fault) {
                    self.hand_on(before, out);
                }
            }
        }
    }

    /// Its time is known if it ever will be.
    fn hand_on(&mut self, fault: Completed, mut out: impl FnMut(Completed)) {
        if let Some(fault) = self.unresolved.keep(fault.owner, fault) {
            out(fault);
        }
    }

    fn resolved(&mut self, token: TokenId, whose: Whose, mut out: impl FnMut(Completed)) {
        for fault in self.waiting.values_mut() {
            if matches!(fault.owner, Owner::Token(of, _) if of == token) {
                fault.owner = fault.owner.resolved(whose);
            }
        }
        for fault in self.unresolved.resolved(token) {
            let owner = fault.owner.resolved(whose);
            out(Completed { owner, ..fault });
        }
    }

    /// The thread is gone: nothing says any more how long its last fault took.
    fn leaves(&mut self, tid: Tid, out: impl FnMut(Completed)) {
        self.last.remove(&tid);
        self.early.remove(&tid);
        if let Some(fault) = self.waiting.remove(&tid) {
            self.hand_on(fault, out);
        }
    }

    /// The run is over.
    pub fn finish(&mut self, mut out: impl FnMut(Completed)) {
        let mut left: Vec<_> = std::mem::take(&mut self.waiting).into_values().collect();
        left.sort_unstable_by_key(|fault| (fault.taken.at.0, fault.taken.tid.0));
        for fault in left {
            out(fault);
        }
    }
}
