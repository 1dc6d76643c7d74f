//! Per-request totals and the books.
//!
//! Owns addition: what settles is booked once, on a request or on a reason. Must not know where events come from,
//! why a fault is on a request, or how figures are shown.
//!
//! - `entry`: the objects of a report
//! - `kinds`: faults by cause, region and file
//! - `memory`: page frames, resident memory, time in faults
//! - `journal`: what is booked, posting by posting
//! - `attempt`: a fault on its way
//! - `open`: a request on its way
//! - `activity`: what goes on in one process, for figures that span requests

mod activity;
mod attempt;
pub mod entry;
pub mod journal;
mod kinds;
mod memory;
mod open;
pub mod route;
pub mod spread;

use std::collections::BTreeMap;

use memtrace_common::{FaultCount, Nanos, Tgid, Tid, wire::Mm};
use rustc_hash::FxHashMap;

use self::{
    activity::Activity,
    entry::{Books, Lost, Request, Space},
    journal::{Journal, Posting},
    kinds::Kinds,
    open::{Ended, Open},
};
use crate::{
    model::{counting::Outcome, vma::Files},
    window::{Owner, Reason, RequestId},
};
pub use attempt::{Attempt, Taken};
pub use kinds::Place;
pub use memory::{Resident, Work};

/// How long a request that has ended waits for the confirmation of its last faults, in the run's own time.
const SETTLE: Nanos = Nanos(250_000_000);

/// Values that one request can have.
const VALUES_MAX: usize = 64;

/// What a request asks for, as its head has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: String,
    /// The path to show.
    pub path: String,
    /// What it is grouped by.
    pub route: String,
    /// Out of `traceparent`.
    pub trace_id: Option<String>,
}

/// The ledger of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    requests: FxHashMap<RequestId, Open>,
    /// Those that have ended and wait, in order.
    closing: Vec<RequestId>,
    /// Of these, by the thread whose word they wait for.
    awaiting: FxHashMap<Tid, Vec<RequestId>>,
    processes: FxHashMap<Tgid, Activity>,
    /// Reported but for the names of files.
    done: Vec<(Request, Kinds)>,
    /// Of all completed faults that were seen.
    kinds: Kinds,
    next: u64,
    journal: Journal,
    /// Faults are timed.
    times_faults: bool,
    /// Faults whose end was seen as well.
    timed: u64,
    listed: u64,
    others: u64,
    kernel: FaultCount,
    direct: u64,
    unseen: u64,
    failed: u64,
    /// Attempts of which nothing says whether they completed.
    undecided: u64,
    unattributed: BTreeMap<Reason, u64>,
    contradicted: bool,
}

impl Ledger {
    /// An empty ledger, of a run whose faults are timed or not.
    pub fn timing_faults(times_faults: bool) -> Self {
        Self {
            times_faults,
            ..Self::default()
        }
    }

    /// Keeps what is booked, posting by posting.
    pub fn keep_journal(&mut self) {
        self.journal.keep();
    }

    /// A thread works for this request from now on, or for none.
    pub fn turned(&mut self, tgid: Tgid, tid: Tid, at: Nanos, to: Option<RequestId>) {
        self.journal.post(|| Posting::Turned { tgid, tid, at, to });
    }

    /// An address-space call, which a request's space has where it moved anything.
    pub fn called(&mut self, call: &Mm, moved: Option<u64>, of: Option<RequestId>) {
        self.journal.post(|| Posting::Call {
            call: *call,
            moved,
            of,
        });
    }

    /// What was booked since this was last asked, where it is kept.
    pub fn take_postings(&mut self) -> impl Iterator<Item = Posting> {
        self.journal.drain()
    }

    /// A request begins, with its process's resident memory of that moment. One that is not `listed` is counted, and
    /// its faults are booked, but it is not reported.
    pub fn open(
        &mut self,
        tgid: Tgid,
        tid: Tid,
        start: Nanos,
        listed: bool,
        resident: Option<Resident>,
    ) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        self.processes.entry(tgid).or_default().open(id);
        self.journal.post(|| Posting::Opened {
            id,
            tgid,
            tid,
            at: start,
            is_listed: listed,
        });
        self.requests
            .insert(id, Open::at(tgid, tid, start, listed, resident));
        id
    }

    /// Whether a request is still unanswered.
    pub fn is_open(&self, id: RequestId) -> bool {
        self.requests.get(&id).is_some_and(|r| r.ended.is_none())
    }

    /// Its head is known.
    pub fn head(&mut self, id: RequestId, head: Head) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.head = head;
        }
    }

    /// Its response's status is known.
    pub fn status(&mut self, id: RequestId, status: u16) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.status = Some(status);
        }
    }

    /// It never was a request: what was booked on it is nobody's.
    pub fn withdraw(&mut self, id: RequestId) {
        if let Some(request) = self.requests.remove(&id) {
            self.journal.post(|| Posting::Withdrawn { id });
            self.close_window(id, request.tgid);
            *self.unattributed.entry(Reason::Idle).or_default() += request.minor + request.major;
        }
    }

    /// Its response is over, or never will be. `by` is the thread that ended it.
    pub fn end(&mut self, id: RequestId, at: Nanos, complete: bool, by: Option<Tid>) {
        let Some(request) = self.requests.get(&id).filter(|r| r.ended.is_none()) else {
            return;
        };
        self.journal.post(|| Posting::Ended { id, at });
        let reader = request.tid;
        let awaits = by.is_some_and(|by| by != reader).then_some(reader);
        let (in_window, open_max) = self.close_window(id, request.tgid);
        let ended = Ended {
            awaits,
            at,
            complete,
            in_window,
            open_max,
        };
        match self.requests.get_mut(&id) {
            Some(request) if request.pending > 0 || awaits.is_some() => {
                request.ended = Some(ended);
                self.closing.push(id);
                if let Some(reader) = awaits {
                    self.awaiting.entry(reader).or_default().push(id);
                }
            }
            Some(_) => self.report(id, ended),
            None => {}
        }
    }

    /// A fault's attempt begins in this process.
    pub fn attempt(&mut self, tgid: Tgid, owner: Owner, taken: Taken) -> Attempt {
        let number = self.processes.entry(tgid).or_default().attempt();
        if let Owner::Request(id) = owner
            && let Some(request) = self.requests.get_mut(&id)
        {
            request.pending += 1;
        }
        Attempt { owner, taken, number }
    }

    /// What became of it. Returns true where it completed and its owner is unproven: the caller keeps those until
    /// their reason is known, and then calls [`Ledger::explain`].
    #[must_use]
    pub fn settle(&mut self, tgid: Tgid, attempt: Attempt, outcome: Outcome) -> bool {
        if outcome == Outcome::Failed {
            self.failed += 1;
            if let Some(process) = self.processes.get_mut(&tgid) {
                process.failed(attempt.number);
            }
        }
        let completed = outcome != Outcome::Failed;
        self.kinds.add(attempt.taken.place, outcome);
        if completed {
            self.journal.post(|| Posting::Fault {
                tgid,
                taken: attempt.taken,
                outcome,
                owner: attempt.owner,
            });
        }
        match attempt.owner {
            Owner::Request(id) => self.settle_on(id, attempt, outcome),
            Owner::Nobody(reason) if completed => self.explain(reason, 1),
            Owner::Nobody(_) => {}
            Owner::Unproven => return completed,
        }
        false
    }

    /// Its thread is gone, and the kernel has not said what became of it.
    pub fn leave_undecided(&mut self, attempt: Attempt) {
        self.undecided += 1;
        self.forget_attempt(attempt);
    }

    /// Whatever becomes of it is after the end of the run.
    pub fn forget_attempt(&mut self, attempt: Attempt) {
        if let Owner::Request(id) = attempt.owner {
            self.settle_on(id, attempt, Outcome::Failed);
        }
    }

    fn settle_on(&mut self, id: RequestId, attempt: Attempt, outcome: Outcome) {
        let Some(request) = self.requests.get_mut(&id) else {
            if outcome != Outcome::Failed {
                self.explain(Reason::Evicted, 1);
            }
            return;
        };
        request.pending = request.pending.saturating_sub(1);
        request.kinds.add(attempt.taken.place, outcome);
        match outcome {
            Outcome::Failed => {}
            Outcome::Minor => request.minor += 1,
            Outcome::Major => request.major += 1,
        }
        if outcome != Outcome::Failed {
            *(if attempt.taken.kernel_mode {
                &mut request.kernel_mode
            } else {
                &mut request.user_mode
            }) += 1;
        }
        if let (0, Some(ended @ Ended { awaits: None, .. })) = (request.pending, request.ended) {
            self.closing.retain(|&closing| closing != id);
            self.report(id, ended);
        }
    }

    /// So many completed faults are on no request, for this reason.
    pub fn explain(&mut self, reason: Reason, faults: u64) {
        if faults > 0 {
            let sum = self.unattributed.entry(reason).or_default();
            *sum = sum.saturating_add(faults);
        }
    }

    /// So many faults were counted by the kernel and no record accounts for them.
    pub fn unseen(&mut self, faults: u64) {
        self.unseen = self.unseen.saturating_add(faults);
    }

    /// A thread's part of the run is over: what the kernel counted for it.
    pub fn kernel_counted(&mut self, count: FaultCount, contradicted: bool) {
        self.kernel.minor = self.kernel.minor.saturating_add(count.minor);
        self.kernel.major = self.kernel.major.saturating_add(count.major);
        self.contradicted |= contradicted;
    }

    /// A request's address-space calls, to add to.
    pub fn space_of(&mut self, id: RequestId) -> Option<&mut Space> {
        self.requests.get_mut(&id).map(|r| &mut r.space)
    }

    /// What a thread's work took, which was for this request if for any.
    pub fn work(&mut self, id: Option<RequestId>, work: &Work) {
        self.timed = self.timed.saturating_add(work.timed_faults);
        if let Some(request) = id.and_then(|id| self.requests.get_mut(&id)) {
            request.memory.add(work);
        }
    }

    /// Whether what a thread's work takes can be this request's: it is open, or another thread has ended it since the
    /// thread last told what its work took.
    pub fn takes_work(&self, id: RequestId, tid: Tid) -> bool {
        let awaits = |request: &Open| request.ended.is_none_or(|ended| ended.awaits == Some(tid));
        self.requests.get(&id).is_some_and(awaits)
    }

    /// The thread has told what its work took: nothing more of that is due to requests that others have ended.
    pub fn has_told(&mut self, tid: Tid) {
        for id in self.awaiting.remove(&tid).unwrap_or_default() {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            let Some(ended) = &mut request.ended else { continue };
            ended.awaits = None;
            let (ended, pending) = (*ended, request.pending);
            if pending == 0 {
                self.closing.retain(|&closing| closing != id);
                self.report(id, ended);
            }
        }
    }

    /// A part of a request's answer was written, with its process's resident memory of that moment.
    pub fn wrote(&mut self, id: RequestId, resident: Resident) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.memory.wrote_at(resident);
        }
    }

    /// The program reports a value for a request. Returns whether there was room.
    pub fn value(&mut self, id: RequestId, name: &str, number: i64) -> bool {
        let Some(request) = self.requests.get_mut(&id) else {
            return false;
        };
        let has_room = request.values.len() < VALUES_MAX || request.values.contains_key(name);
        if has_room {
            request.values.insert(name.to_owned(), number);
        }
        has_room
    }

    /// The process is gone: nothing more can happen in it.
    pub fn forget_process(&mut self, tgid: Tgid) {
        self.processes.remove(&tgid);
    }

    /// Time has come to this: requests that have waited long enough are reported as they are.
    #[inline]
    pub fn advance(&mut self, now: Nanos) {
        while let Some(&id) = self.closing.first()
            && let Some(Open {
                ended: Some(ended), ..
            }) = self.requests.get(&id)
            && now.since(ended.at) >= SETTLE
        {
            let ended = *ended;
            self.closing.remove(0);
            if let Some(reader) = ended.awaits {
                self.awaiting.remove(&reader);
            }
            self.report(id, ended);
        }
    }

    /// Requests that can be reported, in the order in which they became so.
    pub fn take_done(&mut self, names: &Files) -> Vec<Request> {
        let done = std::mem::take(&mut self.done).into_iter();
        done.map(|(mut request, kinds)| {
            request.faults.files = Some(kinds.files(names));
            request
        })
        .collect()
    }

    /// All completed faults that were seen, by cause and by region.
    pub fn kinds(&self) -> (BTreeMap<&'static str, u64>, BTreeMap<&'static str, u64>) {
        (self.kinds.causes(), self.kinds.regions())
    }

    /// The run is over: what is open ends here, unfinished.
    pub fn finish(&mut self, at: Nanos) {
        let mut open: Vec<_> = self.requests.keys().copied().collect();
        open.sort_unstable();
        for id in open {
            if let Some(ended) = self.requests.get(&id).and_then(|r| r.ended) {
                self.report(id, ended);
            } else {
                if let Some(request) = self.requests.get_mut(&id) {
                    // Whoever could confirm it has been asked.
                    request.pending = 0;
                }
                self.end(id, at, false, None);
            }
        }
        self.closing.clear();
    }

    /// Requests reported, and requests that were not asked for.
    pub fn request_counts(&self) -> (u64, u64) {
        (self.listed, self.others)
    }

    /// The books, once all threads have finished.
    ///
    /// Of the faults that no record accounts for, as many are `dropped` as fault records are known to have been;
    /// the rest fired no probe. Dropped records beyond that were attempts that did not complete.
    pub fn books(&self, lost: &Lost) -> Books {
        let unattributed = self.unattributed.values().copied().fold(0, u64::saturating_add);
        let observed = self.direct.saturating_add(unattributed);
        let dropped = lost.fault.min(self.unseen);
        let untraced = self.unseen - dropped;
        Books {
            kernel_min_flt: self.kernel.minor,
            kernel_maj_flt: self.kernel.major,
            observed,
            direct: self.direct,
            causal: None,
            unattributed,
            dropped,
            untraced,
            failed: self.failed.saturating_add(lost.fault - dropped),
            timed: self.times_faults.then_some(self.timed),
            balanced: !self.contradicted && self.kernel.total() == observed.saturating_add(self.unseen),
        }
    }

    /// Faults on no request, by reason.
    pub fn unattributed(&self) -> BTreeMap<String, u64> {
        self.unattributed
            .iter()
            .map(|(reason, &faults)| (reason.name().to_owned(), faults))
            .collect()
    }

    /// What the books cannot say in figures.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.undecided > 0 {
            notes.push(format!(
                "{} of threads that have ended stand on neither side of the books: the kernel has not said whether \
                 they completed",
                match self.undecided {
                    1 => "1 attempt at a fault".to_owned(),
                    n => format!("{n} attempts at faults"),
                }
            ));
        }
        notes
    }

    fn close_window(&mut self, id: RequestId, tgid: Tgid) -> (u64, u64) {
        self.processes
            .get_mut(&tgid)
            .map_or((0, 1), |process| process.close(id))
    }

    fn report(&mut self, id: RequestId, ended: Ended) {
        let Some(open) = self.requests.remove(&id) else {
            return;
        };
        let total = open.minor + open.major;
        debug_assert_eq!(total, open.user_mode + open.kernel_mode, "a fault is in one mode");
        debug_assert_eq!(
            (total, total),
            open.kinds.totals(),
            "and of one cause, in one region"
        );
        self.direct += total;
        if !open.listed {
            self.others += 1;
            self.journal.post(|| Posting::Unlisted { id });
            return;
        }
        self.listed += 1;
        self.done.push(open.told(id, ended, self.times_faults));
    }
}
