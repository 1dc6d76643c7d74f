//! Per-request totals and the books.
//!
//! Owns addition: what settles is booked once, on a request or on a reason, at the latest when it is known for whom it
//! was. Must not know where events come from, why a fault is on a request, or how figures are shown.
//!
//! - `entry`: the objects of a report
//! - `kinds`: faults by cause, region and file
//! - `memory`: page frames, resident memory, time in faults
//! - `journal`: what is booked, posting by posting
//! - `attempt`: a fault on its way
//! - `account`: what work came to, until it is known for whom
//! - `open`: a request on its way
//! - `sides`: the two sides of the books
//! - `activity`: what goes on in one process, for figures that span requests

mod account;
mod activity;
mod attempt;
pub mod entry;
pub mod journal;
mod kinds;
mod memory;
mod open;
pub mod route;
mod sides;
pub mod spread;

use std::collections::{BTreeMap, BTreeSet};

use memtrace_common::{FaultCount, Nanos, Tgid, Tid, wire::Mm};
use rustc_hash::FxHashMap;

use self::{
    account::{Account, Sums},
    activity::Activity,
    entry::{Books, Lost, Request, Space},
    journal::{Journal, Posting},
    kinds::Kinds,
    open::{Ended, Open},
    sides::Sides,
};
use crate::{
    marker::End,
    model::{counting::Outcome, vma::Files},
    window::{Effect, Owner, Reason, RequestId, TokenId, Whose},
};
pub use attempt::{Attempt, Taken};
pub use kinds::Place;
#[cfg(test)]
pub(crate) use kinds::{causes_of, regions_of};
pub use memory::{Resident, Work};

/// How long a request that has ended waits for what may still turn out to be its, in the run's own time, unless that is
/// asked for otherwise.
pub const SETTLE: Nanos = Nanos(250_000_000);

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
    /// What waits for tokens.
    accounts: FxHashMap<TokenId, Account>,
    /// Those that have ended and wait, by when.
    closing: BTreeSet<(Nanos, RequestId)>,
    /// Those of which something has come that they may have waited for.
    ready: Vec<RequestId>,
    settle: Nanos,
    processes: FxHashMap<Tgid, Activity>,
    /// Reported but for the names of files.
    done: Vec<(Request, Kinds)>,
    /// Of all completed faults that were seen.
    kinds: Kinds,
    next: u64,
    journal: Journal,
    /// Faults are timed.
    times_faults: bool,
    listed: u64,
    others: u64,
    sides: Sides,
}

impl Ledger {
    /// An empty ledger, of a run whose faults are timed or not. A request that has ended waits for `settle` at most.
    pub fn new(times_faults: bool, settle: Nanos) -> Self {
        Self {
            settle,
            times_faults,
            ..Self::default()
        }
    }

    /// Keeps what is booked, posting by posting.
    pub fn keep_journal(&mut self) {
        self.journal.keep();
    }

    /// A thread works for this one from now on.
    pub fn turned(&mut self, tgid: Tgid, tid: Tid, at: Nanos, to: Owner) {
        self.journal.post(|| Posting::Turned { tgid, tid, at, to });
    }

    /// An address-space call, which a request's space has where it moved anything.
    pub fn called(&mut self, call: &Mm, moved: Option<u64>, of: Owner) {
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

    /// The method and the path of a request that has not been taken yet.
    pub fn asks_for(&self, id: RequestId) -> Option<(&str, &str)> {
        if let Some(Open { head, .. }) = self.requests.get(&id) {
            return Some((&head.method, &head.path));
        }
        let (request, _) = self.done.iter().find(|(request, _)| request.id == id.0)?;
        Some((&request.method, &request.path))
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
            self.explain(Reason::Idle, request.sums.faults());
        }
    }

    /// Its response is over, or never will be. It is reported when nothing of it is to come.
    pub fn end(&mut self, id: RequestId, at: Nanos, complete: bool) {
        let Some(request) = self.requests.get(&id).filter(|r| r.ended.is_none()) else {
            return;
        };
        self.journal.post(|| Posting::Ended { id, at });
        let (in_window, open_max) = self.close_window(id, request.tgid);
        if let Some(request) = self.requests.get_mut(&id) {
            request.ended = Some(Ended {
                at,
                complete,
                in_window,
                open_max,
            });
            self.closing.insert((at, id));
            self.ready.push(id);
        }
    }

    /// A fault's attempt begins in this process.
    pub fn attempt(&mut self, tgid: Tgid, owner: Owner, taken: Taken) -> Attempt {
        let number = self.processes.entry(tgid).or_default().attempt();
        match owner {
            Owner::Request(id, _) => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.pending += 1;
                }
            }
            Owner::Token(token, _) => self.accounts.entry(token).or_default().pending += 1,
            Owner::Nobody(_) | Owner::Unproven => {}
        }
        Attempt { owner, taken, number }
    }

    /// What became of it. Returns true where it completed and its owner is unproven: the caller keeps those until
    /// their reason is known, and then calls [`Ledger::explain`].
    #[must_use]
    pub fn settle(&mut self, tgid: Tgid, attempt: Attempt, outcome: Outcome) -> bool {
        if outcome == Outcome::Failed {
            self.sides.failed();
            if let Some(process) = self.processes.get_mut(&tgid) {
                process.failed(attempt.number);
            }
        }
        let completed = outcome != Outcome::Failed;
        self.kinds.add(attempt.taken.place, outcome);
        let owner = self.as_known(attempt.owner);
        if completed {
            self.journal.post(|| Posting::Fault {
                tgid,
                taken: attempt.taken,
                outcome,
                owner,
            });
        }
        self.settle_on(owner, &attempt.taken, outcome);
        if let Owner::Token(token, _) = attempt.owner {
            self.settle_account(token);
        }
        completed && owner == Owner::Unproven
    }

    /// Whom an attempt is for, as far as it is known by now.
    fn as_known(&self, owner: Owner) -> Owner {
        let Owner::Token(token, _) = owner else {
            return owner;
        };
        let whose = self.accounts.get(&token).and_then(|account| account.whose);
        whose.map_or(owner, |whose| owner.resolved(whose))
    }

    /// One attempt less is to be confirmed in an account.
    fn settle_account(&mut self, token: TokenId) {
        if let Some(account) = self.accounts.get_mut(&token) {
            account.pending = account.pending.saturating_sub(1);
            if account.pending == 0 && account.whose.is_some() {
                self.accounts.remove(&token);
            }
        }
    }

    /// Its thread is gone, and the kernel has not said what became of it.
    pub fn leave_undecided(&mut self, attempt: Attempt) {
        self.sides.undecided();
        self.forget_attempt(attempt);
    }

    /// Whatever becomes of it is after the end of the run.
    pub fn forget_attempt(&mut self, attempt: Attempt) {
        let owner = self.as_known(attempt.owner);
        self.settle_on(owner, &attempt.taken, Outcome::Failed);
        if let Owner::Token(token, _) = attempt.owner {
            self.settle_account(token);
        }
    }

    fn settle_on(&mut self, owner: Owner, taken: &Taken, outcome: Outcome) {
        let faults = u64::from(outcome != Outcome::Failed);
        match owner {
            Owner::Request(id, label) => {
                let Some(request) = self.requests.get_mut(&id) else {
                    self.explain(Reason::Evicted, faults);
                    return;
                };
                request.pending = request.pending.saturating_sub(1);
                request.sums.add(taken, outcome, label);
                if request.pending == 0 && request.ended.is_some() {
                    self.ready.push(id);
                }
            }
            Owner::Token(token, label) => {
                let account = self.accounts.entry(token).or_default();
                account.sums.add(taken, outcome, label);
            }
            Owner::Nobody(reason) => self.explain(reason, faults),
            Owner::Unproven => {}
        }
    }

    /// What has been found out of whom work was for.
    pub fn learn(&mut self, effect: Effect) {
        match effect {
            Effect::Resolved(token, whose) => self.resolve(token, whose),
            Effect::LetGo(id) => self.ready.push(id),
        }
    }

    fn resolve(&mut self, token: TokenId, whose: Whose) {
        let whose = match whose {
            Whose::Request(id) if !self.requests.contains_key(&id) => Whose::Nobody(Reason::Evicted),
            known => known,
        };
        self.journal.post(|| Posting::Resolved { token, whose });
        let Some(account) = self.accounts.get_mut(&token) else {
            return;
        };
        account.whose = Some(whose);
        let (sums, pending) = (std::mem::take(&mut account.sums), account.pending);
        if pending == 0 {
            self.accounts.remove(&token);
        }
        match whose {
            Whose::Request(id) => {
                if let Some(request) = self.requests.get_mut(&id) {
                    request.sums.absorb(&sums);
                    request.pending += pending;
                }
            }
            Whose::Nobody(reason) => self.explain(reason, sums.faults()),
        }
    }

    /// So many completed faults are on no request, for this reason.
    pub fn explain(&mut self, reason: Reason, faults: u64) {
        self.sides.explain(reason, faults);
    }

    /// So many faults were counted by the kernel and no record accounts for them.
    pub fn unseen(&mut self, faults: u64) {
        self.sides.unseen(faults);
    }

    /// A thread's part of the run is over: what the kernel counted for it.
    pub fn kernel_counted(&mut self, count: FaultCount, contradicted: bool) {
        self.sides.kernel_counted(count, contradicted);
    }

    /// The address-space calls of whomever work is for, to add to.
    pub fn space_of(&mut self, owner: Owner) -> Option<&mut Space> {
        self.sums_of(owner).map(|sums| &mut sums.space)
    }

    /// What a thread's work took, and whom it was for.
    pub fn work(&mut self, owner: Owner, work: &Work) {
        self.sides.timed(work.timed_faults);
        if let Some(sums) = self.sums_of(owner) {
            sums.work.add(work);
        }
    }

    fn sums_of(&mut self, owner: Owner) -> Option<&mut Sums> {
        match owner {
            Owner::Request(id, _) => self.requests.get_mut(&id).map(|request| &mut request.sums),
            Owner::Token(token, _) => Some(&mut self.accounts.entry(token).or_default().sums),
            Owner::Nobody(_) | Owner::Unproven => None,
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
        self.requests
            .get_mut(&id)
            .is_some_and(|request| request.value(name, number))
    }

    /// The program's runtime says what it has, at one end of a request. Returns whether there was room.
    pub fn runtime(&mut self, id: RequestId, at: End, sizes: &[(&str, u64)]) -> bool {
        self.requests
            .get_mut(&id)
            .is_some_and(|request| request.runtime(at, sizes))
    }

    /// The process is gone: nothing more can happen in it.
    pub fn forget_process(&mut self, tgid: Tgid) {
        self.processes.remove(&tgid);
    }

    /// Reports requests of which nothing is to come any more: `is_held` says whether somebody may still work for one. Time
    /// has come to this: those that have waited long enough are reported as they are.
    #[inline]
    pub fn advance(&mut self, now: Nanos, is_held: impl Fn(RequestId) -> bool) {
        for id in std::mem::take(&mut self.ready) {
            if let Some(request) = self.requests.get(&id)
                && let (0, Some(ended)) = (request.pending, request.ended)
                && !is_held(id)
            {
                self.report(id, ended);
            }
        }
        while let Some(&(at, id)) = self.closing.first()
            && now.since(at) >= self.settle
        {
            match self.requests.get(&id).and_then(|request| request.ended) {
                Some(ended) => self.report(id, ended),
                None => _ = self.closing.pop_first(),
            }
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
        let [causes, regions] = [self.kinds.causes(), self.kinds.regions()].map(|sums| sums.iter().collect());
        (causes, regions)
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
                self.end(id, at, false);
                if let Some(ended) = self.requests.get(&id).and_then(|r| r.ended) {
                    self.report(id, ended);
                }
            }
        }
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
        self.sides.books(lost, self.times_faults)
    }

    /// Faults on no request, by reason.
    pub fn unattributed(&self) -> BTreeMap<String, u64> {
        self.sides.unattributed()
    }

    /// What the books cannot say in figures.
    pub fn notes(&self) -> Vec<String> {
        self.sides.notes()
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
        self.closing.remove(&(ended.at, id));
        let sums = &open.sums;
        let total = sums.faults();
        debug_assert_eq!(total, sums.user_mode + sums.kernel_mode, "a fault is in one mode");
        debug_assert_eq!(
            (total, total),
            sums.kinds.totals(),
            "and of one cause, in one region"
        );
        self.sides.on_request(total - sums.causal, sums.causal);
        if !open.listed {
            self.others += 1;
            self.journal.post(|| Posting::Unlisted { id });
            return;
        }
        self.listed += 1;
        self.done.push(open.told(id, ended, self.times_faults));
    }
}
