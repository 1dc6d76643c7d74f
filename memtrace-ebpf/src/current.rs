//! The running thread: its numbers and members, at the least cost.
//!
//! Owns the two ways to them. From 5.11 on (`TYPED`) the verifier knows what the pointers point to, and members are
//! loaded; before, a helper copies each. A helper costs more than most of what is done with its answer, above all where
//! the kernel guards every return (`spec_rstack_overflow`), so one call for the thread has to do. Must not know why
//! anybody wants what it reads.

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use memtrace_common::FaultCount;

use crate::{TASK_MAJ_FLT, TASK_MIN_FLT, TASK_MM, TASK_PID, TASK_TGID, TYPED, task::Task};

/// The running thread's `struct task_struct`.
#[derive(Clone, Copy)]
pub(crate) struct Current(*const u8);

/// A pointer that the verifier has a type for.
#[derive(Clone, Copy)]
pub(crate) struct Typed(pub(crate) *const u8);

impl Typed {
    /// A member of the type's, in the verifier's eyes.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the verifier checks place and size, and the kernel makes of a load that faults a zero.
        unsafe { self.0.wrapping_add(offset as usize).cast::<T>().read_volatile() }
    }
}

impl Current {
    #[inline(always)]
    pub(crate) fn get() -> Self {
        if TYPED.load() == 0 {
            return Self(Task::current().0);
        }
        // SAFETY: the helper takes nothing, and this kernel has it.
        Self(unsafe { bpf_get_current_task_btf() }.cast_const().cast())
    }

    #[inline(always)]
    fn typed(self) -> Option<Typed> {
        (TYPED.load() != 0).then_some(Typed(self.0))
    }

    /// As any other thread.
    #[inline(always)]
    pub(crate) fn task(self) -> Task {
        Task(self.0)
    }

    /// `tgid` and `pid`, where they are loaded.
    #[inline(always)]
    pub(crate) fn numbers(self) -> Option<(u32, u32)> {
        let task = self.typed()?;
        Some((task.load(TASK_TGID.load()), task.load(TASK_PID.load())))
    }

    /// `min_flt` and `maj_flt`.
    #[inline(always)]
    pub(crate) fn fault_count(self) -> FaultCount {
        match self.typed() {
            Some(task) => FaultCount {
                minor: task.load(TASK_MIN_FLT.load()),
                major: task.load(TASK_MAJ_FLT.load()),
            },
            None => self.task().fault_count(),
        }
    }

    /// Its `struct mm_struct`; `None` where nothing is typed.
    #[inline(always)]
    pub(crate) fn mm(self) -> Option<Typed> {
        let mm: *const u8 = self.typed()?.load(TASK_MM.load());
        (!mm.is_null()).then_some(Typed(mm))
    }
}
