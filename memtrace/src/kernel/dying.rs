//! Threads that have begun to exit and have not said their last word (`sched_process_free`) yet.
//!
//! Owns whom a run has to wait for at its end: such a thread is not in `/proc` any more, and what it faulted last is
//! known to nobody else. Must not know how long anybody waits.

use std::collections::HashMap;

use memtrace_common::{Nanos, Tgid, Tid, decode::Record};

/// One that is exiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exit {
    tgid: Tgid,
    at: Nanos,
}

/// All that are exiting.
#[derive(Debug, Default)]
pub(super) struct Dying(HashMap<Tid, Exit>);

impl Dying {
    /// What a record says of them.
    pub(super) fn observe(&mut self, record: &Record<'_>) {
        let header = record.header();
        let (tgid, tid) = (Tgid(header.tgid), Tid(header.tid));
        let leader = Tid(header.tgid);
        match record {
            Record::Exit(_) => {
                let at = Nanos(header.time_ns);
                self.0.insert(tid, Exit { tgid, at });
            }
            // One that did not begin to exit under this id is a first thread, which another that is about to run a
            // new program took the process's id from.
            Record::Free(_) => {
                let exited = self.0.remove(&tid).is_some();
                if !exited {
                    self.0.remove(&leader);
                }
            }
            // The first thread is left with the id of the one that called.
            Record::Exec(exec) if exec.old_tid != header.tid => {
                if let Some(exit) = self.0.remove(&leader) {
                    self.0.insert(Tid(exec.old_tid), exit);
                }
            }
            // The id is given out anew: the last word was lost.
            Record::Fork(fork) => {
                self.0.remove(&Tid(fork.child_tid));
            }
            _ => {}
        }
    }

    /// Those that began to exit from `from` to `to`.
    pub(super) fn between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = (Tgid, Tid)> {
        self.0
            .iter()
            .filter(move |(_, exit)| (from..=to).contains(&exit.at))
            .map(|(&tid, exit)| (exit.tgid, tid))
    }

    /// Nobody needs to wait for this one.
    pub(super) fn let_go(&mut self, tid: Tid) {
        self.0.remove(&tid);
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::wire::{Exec, Fork, Header};

    use super::*;

    fn header(tid: u32) -> Header {
        Header {
            time_ns: 10,
            tgid: 1,
            tid,
            ..Header::default()
        }
    }

    fn exec(old_tid: u32) -> Record<'static> {
        Record::Exec(Exec {
            header: header(1),
            old_tid,
            pad: 0,
            comm: [0; 16],
        })
    }

    fn after(records: &[Record<'_>]) -> Vec<u32> {
        let mut dying = Dying::default();
        for record in records {
            dying.observe(record);
        }
        let mut tids: Vec<u32> = dying
            .between(Nanos(10), Nanos(10))
            .map(|(_, tid)| tid.0)
            .collect();
        tids.sort_unstable();
        assert!(dying.between(Nanos(0), Nanos(9)).next().is_none());
        assert!(dying.between(Nanos(11), Nanos(99)).next().is_none());
        tids
    }

    #[test]
    fn a_thread_is_waited_for_from_its_exit_to_its_last_word() {
        let (exit, free) = (|tid| Record::Exit(header(tid)), |tid| Record::Free(header(tid)));
        assert_eq!(after(&[exit(2), exit(3)]), [2, 3]);
        assert_eq!(after(&[exit(2), exit(3), free(2)]), [3]);
    }

    #[test]
    fn a_first_thread_is_waited_for_under_the_id_that_exec_left_it() {
        let (exit, free) = (|tid| Record::Exit(header(tid)), |tid| Record::Free(header(tid)));
        assert_eq!(after(&[exit(1), exec(7)]), [7]);
        assert_eq!(after(&[exit(1), exec(7), free(7)]), [0_u32; 0]);
        assert_eq!(after(&[exit(1), free(7), exec(7)]), [0_u32; 0]);
    }

    #[test]
    fn an_id_that_is_given_out_anew_is_somebody_else() {
        let fork = Record::Fork(Fork {
            header: header(1),
            child_tgid: 1,
            child_tid: 2,
            child_sp: 0,
        });
        assert_eq!(after(&[Record::Exit(header(2)), fork]), [0_u32; 0]);
    }
}
