//! How much of the CPUs memtrace's own threads claim beside others.
//!
//! Owns the system calls. Must not know when it should be less.

use rustix::process::{Pid, getpriority_process, setpriority_process};

use super::features::{CAP_SYS_NICE, has};

/// A thread that others compete with gets a tenth of what one of theirs gets (`sched_prio_to_weight`,
/// kernel/sched/core.c).
const BACK: i32 = 10;

/// What memtrace was started with, to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nice {
    own: i32,
}

impl Nice {
    /// `None` where there would be no way back, which takes `CAP_SYS_NICE`, or no way to go.
    pub fn of_this_process() -> Option<Self> {
        let own = getpriority_process(None).ok()?;
        (own < BACK && has(CAP_SYS_NICE)?).then_some(Self { own })
    }

    /// Leaves the CPUs to others as far as they want them.
    pub fn stand_back(self) {
        set(BACK);
    }

    /// Claims what it was started with.
    pub fn come_forward(self) {
        set(self.own);
    }
}

/// Of all threads that there are; those to come begin with their parent's.
fn set(nice: i32) {
    let threads = procfs::process::Process::myself().and_then(|me| me.tasks());
    for thread in threads.into_iter().flatten().flatten() {
        // One that is gone needs nothing, and one that stays as it is does no harm.
        if let Err(error) = setpriority_process(Pid::from_raw(thread.tid), nice) {
            tracing::debug!(%error, tid = thread.tid, nice, "cannot change a thread's nice value");
        }
    }
}
