//! Two looks at an address space, and what happened between them.
//!
//! Owns what is told of both together. Must not know who looked, or how.

use memtrace_common::Nanos;

use super::{Changes, Map, json, table};
use crate::{
    ledger::entry::Request,
    report::{form::Form, table::TableOptions},
};

/// How long a look took: what happened meanwhile may be in it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// From when on.
    pub began: Nanos,
    /// Until when.
    pub ended: Nanos,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Around<'m> {
    /// What changed.
    pub changes: Changes<'m>,
    /// As it is at the second look.
    pub map: &'m Map,
    /// The request between the looks; `None` where they are about a time.
    pub request: Option<&'m Request>,
    /// When they were.
    pub looks: [Moment; 2],
    /// No event between them was lost.
    pub is_whole: bool,
}

impl Around<'_> {
    /// Appends it.
    pub fn write(&self, form: Form, options: &TableOptions, out: &mut Vec<u8>) {
        match form {
            Form::Table => table::write_around(self, options, out),
            Form::Json => json::write_around(self, out),
        }
    }

    /// How long before the request began the first look was over, and how long after its answer the second began,
    /// nanoseconds. Negative where it was on its way.
    pub fn margins(&self) -> Option<[i64; 2]> {
        let request = self.request?;
        let end = request.start_ns.saturating_add(request.duration_ns);
        let [before, after] = self.looks;
        let between = |from: u64, to: u64| to.cast_signed().saturating_sub(from.cast_signed());
        Some([
            between(before.ended.0, request.start_ns),
            between(end, after.began.0),
        ])
    }
}
