//! What goes on in one process, for the two figures of a request that are about others too: all faults of the
//! process in its window, and the most requests that were open meanwhile.
//!
//! Owns their arithmetic, in memory that is bounded by the number of open requests. Must not know what requests are.

use std::collections::{BTreeMap, VecDeque};

use crate::window::RequestId;

/// A process's attempts and open requests.
#[derive(Debug, Default)]
pub(super) struct Activity {
    attempts: u64,
    opened: u64,
    open: BTreeMap<RequestId, Window>,
    /// `(opened, open then)`, falling: the first entry from a moment on is the most that were open since.
    peaks: VecDeque<(u64, u64)>,
}

/// An open request: the process's figures when it began, and what has to be taken off since.
#[derive(Clone, Copy, Debug)]
struct Window {
    attempts: u64,
    opened: u64,
    failed: u64,
}

impl Activity {
    pub(super) fn open(&mut self, id: RequestId) {
        self.opened += 1;
        self.open.insert(
            id,
            Window {
                attempts: self.attempts,
                opened: self.opened,
                failed: 0,
            },
        );
        let now = self.open.len() as u64;
        while self.peaks.back().is_some_and(|&(_, peak)| peak <= now) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((self.opened, now));
    }

    /// Completed faults of the process since the request began, and the most requests that were open. An attempt
    /// that is not confirmed yet counts: nearly all complete.
    pub(super) fn close(&mut self, id: RequestId) -> (u64, u64) {
        let Some(window) = self.open.remove(&id) else {
            return (0, 1);
        };
        let at = self.peaks.partition_point(|&(opened, _)| opened < window.opened);
        let most = self.peaks.get(at).map_or(1, |&(_, peak)| peak);
        if self.open.is_empty() {
            self.peaks.clear();
        }
        (self.attempts - window.attempts - window.failed, most)
    }

    /// The number of an attempt that begins now.
    pub(super) fn attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// The attempt of this number failed: it counts in none of the windows that it was in and that are still open.
    pub(super) fn failed(&mut self, number: u64) {
        for window in self.open.values_mut().filter(|w| w.attempts < number) {
            window.failed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_overlap() {
        let mut process = Activity::default();
        process.attempt();
        process.open(RequestId(1));
        process.attempt();
        process.open(RequestId(2));
        process.open(RequestId(3));
        process.attempt();
        assert_eq!(process.close(RequestId(2)), (1, 3));
        assert_eq!(process.close(RequestId(3)), (1, 3));
        process.open(RequestId(4));
        process.attempt();
        assert_eq!(process.close(RequestId(4)), (1, 2));
        assert_eq!(process.close(RequestId(1)), (3, 3));
        process.open(RequestId(5));
        assert_eq!(
            process.close(RequestId(5)),
            (0, 1),
            "an earlier crowd is forgotten"
        );
    }

    #[test]
    fn a_failed_attempt_counts_in_no_window() {
        let mut process = Activity::default();
        process.open(RequestId(1));
        let attempt = process.attempt();
        process.open(RequestId(2));
        process.failed(attempt);
        assert_eq!(process.close(RequestId(1)), (0, 2));
        assert_eq!(
            process.close(RequestId(2)),
            (0, 2),
            "it was before this one began"
        );
    }
}
