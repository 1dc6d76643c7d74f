//! One request of a process, watched for somebody who looks at its memory before and after.
//!
//! Owns which request that is, when it is over, and which faults were for it. Must not know what is looked at, nor how.

use std::collections::BTreeSet;

use memtrace_common::{Nanos, Tgid};

use crate::{
    ledger::{entry::Request, journal::Posting},
    report::view::Only,
    timed::Completed,
    window::{Owner, RequestId},
};

/// Faults that are kept; further ones are counted.
const FAULTS_MAX: usize = 4 << 20;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: Nanos,
    /// Where.
    pub address: u64,
    /// The request that it was for.
    pub request: Option<RequestId>,
}

/// What is seen of one process.
#[derive(Clone, Debug)]
pub struct Watch {
    tgid: Tgid,
    /// The requests that one is waited for of: any, where there is none. `None` where none is waited for.
    only: Option<Vec<Only>>,
    open: BTreeSet<RequestId>,
    /// The request, once it has been answered.
    ended: Option<RequestId>,
    others: u64,
    faults: Vec<Fault>,
    lost: u64,
}

impl Watch {
    /// For the next request of this process that one of `only` fits, or any if that is empty; or for none.
    pub fn new(tgid: Tgid, only: Option<Vec<Only>>) -> Self {
        Self {
            tgid,
            only,
            open: BTreeSet::new(),
            ended: None,
            others: 0,
            faults: Vec::new(),
            lost: 0,
        }
    }

    /// Something was booked. Returns a request of this process that has been answered: [`Watch::answered`] is to be told
    /// what it was.
    pub fn posting(&mut self, posting: &Posting) -> Option<RequestId> {
        match *posting {
            Posting::Opened { id, tgid, .. } if tgid == self.tgid => {
                self.open.insert(id);
                None
            }
            Posting::Withdrawn { id } => {
                self.open.remove(&id);
                None
            }
            Posting::Ended { id, .. } => self.open.remove(&id).then_some(id),
            _ => None,
        }
    }

    /// This request has been answered.
    pub fn answered(&mut self, id: RequestId, method: &str, path: &str) {
        let fits = |only: &Vec<Only>| only.is_empty() || only.iter().any(|only| only.fits(method, path));
        let is_one = self.only.as_ref().is_some_and(fits);
        if self.ended.is_none() && is_one {
            self.ended = Some(id);
        } else {
            self.others += 1;
        }
    }

    /// A fault has completed, and it is known for whom.
    pub fn fault(&mut self, fault: &Completed) {
        if fault.tgid != self.tgid {
            return;
        }
        if self.faults.len() >= FAULTS_MAX {
            self.lost += 1;
            return;
        }
        let request = match fault.owner {
            Owner::Request(id, _) => Some(id),
            Owner::Nobody(_) | Owner::Token(..) | Owner::Unproven => None,
        };
        self.faults.push(Fault {
            at: fault.taken.at,
            address: fault.taken.address,
            request,
        });
    }

    /// The request has been answered.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Others have been answered since this was last asked, and no request is on its way: a look that was taken earlier
    /// would show their work too.
    pub fn is_to_begin_anew(&mut self) -> bool {
        let is_so = self.others > 0 && self.open.is_empty() && self.ended.is_none();
        if is_so {
            self.others = 0;
        }
        is_so
    }

    /// The request was this one.
    pub fn is_it(&self, request: &Request) -> bool {
        self.ended.is_some_and(|id| id.0 == request.id)
    }

    /// Faults that were taken after the first moment and not after the second: where, and whether they were for the
    /// request. Where there is none, all are.
    pub fn faults_between(&self, first: Nanos, second: Nanos) -> impl Iterator<Item = (u64, bool)> {
        let between = move |fault: &&Fault| first < fault.at && fault.at <= second;
        let faults = self.faults.iter().filter(between);
        faults.map(|fault| (fault.address, self.ended.is_none() || fault.request == self.ended))
    }

    /// Faults that were too many to be kept.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::Tid;

    use super::*;
    use crate::{
        ledger::{Place, Taken},
        model::{cause::Access, counting::Outcome},
        window::{Label, Reason},
    };

    const OURS: Tgid = Tgid(7);

    fn opened(id: u64, tgid: Tgid) -> Posting {
        Posting::Opened {
            id: RequestId(id),
            tgid,
            tid: Tid(tgid.0),
            at: Nanos(id),
            is_listed: true,
        }
    }

    /// A request begins and is answered.
    fn answer(watch: &mut Watch, id: u64, tgid: Tgid, method: &str, path: &str) {
        assert_eq!(watch.posting(&opened(id, tgid)), None);
        let ended = Posting::Ended {
            id: RequestId(id),
            at: Nanos(id + 1),
        };
        if let Some(id) = watch.posting(&ended) {
            watch.answered(id, method, path);
        }
    }

    fn fault(at: u64, owner: Owner) -> Completed {
        Completed {
            tgid: OURS,
            taken: Taken {
                tid: Tid(7),
                at: Nanos(at),
                address: at << 12,
                ip: 0,
                kernel_mode: false,
                place: Place::of(
                    Access {
                        write: true,
                        exec: false,
                    },
                    false,
                    None,
                ),
            },
            outcome: Outcome::Minor,
            owner,
            file: None,
            took: None,
        }
    }

    fn wanted(text: &str) -> Vec<Only> {
        vec![text.parse().unwrap()]
    }

    #[test]
    fn the_first_that_fits_is_the_one() {
        let mut watch = Watch::new(OURS, Some(wanted("POST /saju")));
        answer(&mut watch, 1, OURS, "GET", "/saju");
        answer(&mut watch, 2, Tgid(8), "POST", "/saju");
        assert!(!watch.is_over());
        answer(&mut watch, 3, OURS, "POST", "/saju?x=1");
        answer(&mut watch, 4, OURS, "POST", "/saju");
        assert!(watch.is_over());
        let own = Owner::Request(RequestId(3), Label::Direct);
        let other = Owner::Request(RequestId(4), Label::Direct);
        for (at, owner) in [
            (10, own),
            (11, own),
            (12, other),
            (13, Owner::Nobody(Reason::Idle)),
            (14, own),
        ] {
            watch.fault(&fault(at, owner));
        }
        watch.fault(&Completed {
            tgid: Tgid(8),
            ..fault(12, own)
        });
        let between: Vec<_> = watch.faults_between(Nanos(10), Nanos(13)).collect();
        assert_eq!(between, [(11 << 12, true), (12 << 12, false), (13 << 12, false)]);
    }

    #[test]
    fn one_begins_anew_when_others_are_done_and_nobody_is_on_its_way() {
        let mut watch = Watch::new(OURS, Some(wanted("POST /saju")));
        assert!(!watch.is_to_begin_anew(), "nothing has happened");
        answer(&mut watch, 1, OURS, "GET", "/");
        watch.posting(&opened(2, OURS));
        assert!(!watch.is_to_begin_anew(), "one is on its way");
        watch.posting(&Posting::Withdrawn { id: RequestId(2) });
        assert!(watch.is_to_begin_anew());
        assert!(!watch.is_to_begin_anew(), "once is enough");
        answer(&mut watch, 3, OURS, "POST", "/saju");
        answer(&mut watch, 4, OURS, "GET", "/");
        assert!(!watch.is_to_begin_anew(), "it is over");
    }

    #[test]
    fn of_a_time_all_faults_are_its_own() {
        let mut watch = Watch::new(OURS, None);
        answer(&mut watch, 1, OURS, "GET", "/");
        watch.fault(&fault(5, Owner::Request(RequestId(1), Label::Direct)));
        watch.fault(&fault(6, Owner::Nobody(Reason::Idle)));
        assert!(!watch.is_over());
        assert!(watch.faults_between(Nanos(0), Nanos(9)).all(|(_, is_own)| is_own));
    }
}
