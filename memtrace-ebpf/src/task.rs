//! `struct task_struct`: the few members that the probes read, at offsets from BTF.
//!
//! Owns those reads. Must not know why anybody wants them.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use memtrace_common::FaultCount;

use crate::{TASK_MAJ_FLT, TASK_MIN_FLT, TASK_PID, TASK_TGID};

/// A `struct task_struct *`.
#[derive(Clone, Copy)]
pub(crate) struct Task(pub(crate) *const u8);

impl Task {
    /// The running thread.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper takes nothing and returns the running task.
        Self(unsafe { bpf_get_current_task() } as *const u8)
    }

    /// `min_flt` and `maj_flt`. They lie side by side but on kernels with a randomised layout: one read is
    /// enough, and the verifier drops the branch that this kernel doesn't need.
    #[inline(always)]
    pub(crate) fn fault_count(self) -> FaultCount {
        let (min, maj) = (TASK_MIN_FLT.load(), TASK_MAJ_FLT.load());
        if maj == min + 8 {
            let [minor, major] = self.read::<[u64; 2]>(min);
            FaultCount { minor, major }
        } else {
            FaultCount {
                minor: self.read(min),
                major: self.read(maj),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn pid(self) -> u32 {
        self.read(TASK_PID.load())
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        self.read(TASK_TGID.load())
    }

    #[inline(always)]
    fn read<T: Default>(self, offset: u64) -> T {
        // SAFETY: `bpf_probe_read_kernel` checks the address itself; every bit pattern is a valid `T` here.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset as usize).cast::<T>()) }.unwrap_or_default()
    }
}
