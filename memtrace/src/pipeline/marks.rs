//! Windows that programs open and close themselves, by markers.
//!
//! Owns which window an ID means in which process, and the bounds on how many may be open. Must not know how a
//! marker is written, or what a window's faults are.

use std::collections::HashMap;

use memtrace_common::{Fd, Nanos, Tgid, Tid};

use super::stages::Stages;
use crate::{
    ledger::{Head, Resident},
    marker::{self, Malformed, Marker},
    window::RequestId,
};

/// The method of a request that is a window.
const METHOD: &str = "MARK";
/// Windows that are open in one process, at most.
const OPEN_MAX: usize = 10_000;

/// All windows that are open.
#[derive(Debug, Default)]
pub(super) struct Marks {
    open: HashMap<Tgid, HashMap<String, RequestId>>,
    malformed: u64,
    cut_off: u64,
    too_many: u64,
    /// An end whose ID is of no open window.
    unknown: u64,
    /// A value outside any window and request.
    homeless: u64,
    /// A runtime's word on a connection that has no request.
    idle: u64,
}

/// Who wrote a marker, when, and what was resident then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer {
    pub(super) tgid: Tgid,
    pub(super) tid: Tid,
    pub(super) now: Nanos,
    pub(super) resident: Option<Resident>,
}

impl Marks {
    /// One write, of `len` bytes, of which `text` are the first.
    ///
    /// `on` knows which request a connection of the writer's process is about.
    pub(super) fn wrote(
        &mut self,
        text: &[u8],
        len: u64,
        writer: Writer,
        on: impl Fn(Fd) -> Option<RequestId>,
        stages: &mut Stages,
    ) {
        for marker in marker::parse(text, len) {
            match marker {
                Ok(Marker::Begin { name, id }) => self.begin(name, id, writer, stages),
                Ok(Marker::End { id }) => self.end(id, writer, stages),
                Ok(Marker::Value { name, number }) => {
                    let to = stages.contexts.prospect(writer.tid.into());
                    if !to.is_some_and(|to| stages.ledger.value(to, name, number)) {
                        self.homeless += 1;
                    }
                }
                Ok(Marker::Runtime { at, fd, sizes }) => {
                    let is_taken = |id| stages.ledger.runtime(id, at, &sizes);
                    if !on(Fd(fd)).is_some_and(is_taken) {
                        self.idle += 1;
                    }
                }
                Err(Malformed::Words) => self.malformed += 1,
                Err(Malformed::CutOff) => self.cut_off += 1,
            }
        }
    }

    fn begin(&mut self, name: &str, id: &str, writer: Writer, stages: &mut Stages) {
        let open = self.open.entry(writer.tgid).or_default();
        // An ID that is used again ends what it meant.
        if let Some(before) = open.remove(id) {
            stages.end(before, writer.now, false);
        }
        if open.len() >= OPEN_MAX {
            self.too_many += 1;
            return;
        }
        let window = stages.open(writer.tgid, writer.tid, writer.now, true, writer.resident);
        let head = Head {
            method: METHOD.to_owned(),
            path: name.to_owned(),
            route: name.to_owned(),
            trace_id: None,
        };
        stages.ledger.head(window, head);
        open.insert(id.to_owned(), window);
        stages
            .contexts
            .enters_window(writer.tid.into(), window, writer.now);
    }

    fn end(&mut self, id: &str, writer: Writer, stages: &mut Stages) {
        let Some(window) = self.open.get_mut(&writer.tgid).and_then(|open| open.remove(id)) else {
            self.unknown += 1;
            return;
        };
        if let Some(resident) = writer.resident {
            stages.ledger.wrote(window, resident);
        }
        stages.end(window, writer.now, true);
    }

    /// The process is gone, or runs another program: nobody will close these.
    pub(super) fn remove_process(&mut self, tgid: Tgid, now: Nanos, stages: &mut Stages) {
        let mut left: Vec<RequestId> = self
            .open
            .remove(&tgid)
            .unwrap_or_default()
            .into_values()
            .collect();
        left.sort_unstable();
        for window in left {
            stages.end(window, now, false);
        }
    }

    /// What the reader should know of them.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        [
            (
                self.malformed,
                "markers were not understood: docs/MARKERS.md has their words".to_owned(),
            ),
            (
                self.cut_off,
                format!(
                    "markers were cut off: of one write no more than {} bytes are read",
                    memtrace_common::wire::MARK_MAX
                ),
            ),
            (
                self.too_many,
                format!("windows were not opened: {OPEN_MAX} were open in the process"),
            ),
            (
                self.unknown,
                "markers ended a window that was not open".to_owned(),
            ),
            (
                self.homeless,
                "values were left out: no window or request was open on their thread, or it had too many"
                    .to_owned(),
            ),
            (
                self.idle,
                "words of a runtime were left out: no request was open on the connection, or they were too many"
                    .to_owned(),
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
    }
}
