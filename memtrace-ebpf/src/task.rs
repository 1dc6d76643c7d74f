//! `struct task_struct` and what it points to: the few members that the probes read, at offsets from BTF.
//!
//! Owns those reads. Must not know why anybody wants them.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use memtrace_common::FaultCount;

use crate::{
    PID_LEVEL, PID_NUMBERS, PIDNS_INUM, TASK_MAJ_FLT, TASK_MIN_FLT, TASK_MM, TASK_PID, TASK_STACK, TASK_TGID,
    TASK_THREAD_PID, arch, entry,
};

/// A `struct task_struct *`.
#[derive(Clone, Copy)]
pub(crate) struct Task(pub(crate) *const u8);

/// `struct upid`, `include/linux/pid.h`: what a thread is called in one namespace.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Upid {
    number: u32,
    pad: u32,
    namespace: u64,
}

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

    /// Its number in the pid namespace of this inode, or zero where it has none, because it is in one further down.
    #[inline(always)]
    pub(crate) fn number_in(self, inode: u64) -> u32 {
        let pid = Self(self.read::<u64>(TASK_THREAD_PID.load()) as *const u8);
        let level: u32 = pid.read(PID_LEVEL.load());
        let upid: Upid = pid.read(PID_NUMBERS.load() + u64::from(level) * size_of::<Upid>() as u64);
        let inum: u32 = Self(upid.namespace as *const u8).read(PIDNS_INUM.load());
        if u64::from(inum) == inode { upid.number } else { 0 }
    }

    /// The lowest address of its kernel stack.
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        self.read(TASK_STACK.load())
    }

    /// Where its stack in user space is, as it will return there; nonsense as long as no target has entered the kernel.
    #[inline(always)]
    pub(crate) fn user_stack_pointer(self) -> u64 {
        let registers = Self((self.stack() + entry::registers()) as *const u8);
        registers.read(arch::SP as u64)
    }

    /// Its `struct mm_struct *`.
    #[inline(always)]
    pub(crate) fn mm(self) -> Self {
        self.follow(TASK_MM.load())
    }

    /// What a pointer in it points to.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u64) -> Self {
        Self(self.read::<u64>(offset) as *const u8)
    }

    #[inline(always)]
    pub(crate) fn read<T: Default>(self, offset: u64) -> T {
        // SAFETY: `bpf_probe_read_kernel` checks the address itself; every bit pattern is a valid `T` here.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset as usize).cast::<T>()) }.unwrap_or_default()
    }
}

/// A pointer's number. The verifier does not let most pointers be calculated with, but it lets them be copied.
#[inline(always)]
pub(crate) fn number(pointer: *const u8) -> u64 {
    let cell = pointer;
    // SAFETY: reads the local variable above.
    unsafe { bpf_probe_read_kernel((&raw const cell).cast::<u64>()) }.unwrap_or(0)
}
