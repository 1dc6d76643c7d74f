//! What is known once a run is over.
//!
//! Owns what is asked of which stage then, and in which order. Must not know how it is reported.

use memtrace_common::Nanos;

use super::Pipeline;
use crate::ledger::entry::{Books, Lost, Request};

/// What is known once the run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that ended the run with it.
    pub requests: Vec<Request>,
    /// Requests reported in all.
    pub listed: u64,
    /// Requests that were not asked for.
    pub others: u64,
    /// From begin to end.
    pub elapsed: Nanos,
    /// The books.
    pub books: Books,
    /// Faults on no request, by reason.
    pub unattributed: std::collections::BTreeMap<String, u64>,
    /// All that were observed, by cause.
    pub cause: std::collections::BTreeMap<&'static str, u64>,
    /// And by region.
    pub region: std::collections::BTreeMap<&'static str, u64>,
    /// What was lost.
    pub lost: Lost,
    /// The processes that were found first.
    pub pids: Vec<u32>,
    /// The `comm` of the first.
    pub comm: String,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Pipeline {
    /// No event comes any more: settles what is open.
    pub fn settle(&mut self) {
        let end = self.ended.unwrap_or(self.now);
        if self.keeps_journal {
            self.threads.tell_end(self.now, &mut self.stages);
        }
        self.threads.finish(&mut self.stages);
        self.connections.finish(end, &mut self.stages);
        self.stages.finish(end);
    }

    /// The run is over.
    pub fn finish(mut self) -> Outcome {
        self.settle();
        let end = self.ended.unwrap_or(self.now);
        let (listed, others) = self.stages.ledger.request_counts();
        let mut notes: Vec<String> = self.notes.into_iter().collect();
        notes.extend(self.stages.ledger.notes());
        let books = self.stages.ledger.books(&self.lost);
        if books.untraced > books.observed {
            notes.push(
                "most faults fired no probe, so nothing is known of them but their number: memory that the kernel \
                 populates by itself (MAP_POPULATE, mlock) is such a case"
                    .to_owned(),
            );
        }
        notes.extend(self.connections.notes(listed + others));
        notes.extend(self.marks.notes());
        notes.extend(self.spaces.notes());
        let (cause, region) = self.stages.ledger.kinds();
        Outcome {
            requests: self.stages.ledger.take_done(self.spaces.files()),
            listed,
            others,
            elapsed: end.since(self.began.unwrap_or(end)),
            books,
            unattributed: self.stages.ledger.unattributed(),
            cause,
            region,
            lost: self.lost,
            pids: self.found.iter().map(|tgid| tgid.0).collect(),
            comm: self.comm.unwrap_or_default(),
            notes,
        }
    }
}
