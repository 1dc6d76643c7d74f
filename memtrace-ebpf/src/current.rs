//! The running thread's members and registers, at the least cost.
//!
//! Owns the two ways to them. From 5.15 on (`TYPED`) the verifier knows what the pointers point to and the members are
//! loaded; before, a helper copies each, which takes longer than all that is made of them. Must not know why anybody
//! wants them.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use memtrace_common::FaultCount;

use crate::{TASK_MAJ_FLT, TASK_MIN_FLT, TASK_MM, TYPED, task::Task};

/// A pointer that the verifier has a type for, or null.
#[derive(Clone, Copy)]
pub(crate) struct Typed(*const u8);

impl Typed {
    /// A member of the type's, in the verifier's eyes.
    #[inline(always)]
    pub(crate) fn load<T: Copy>(self, offset: u64) -> T {
        // SAFETY: the verifier checks place and size, and the kernel makes of a load that faults a zero.
        unsafe { self.0.wrapping_add(offset as usize).cast::<T>().read_volatile() }
    }
}

/// Whether members are loaded.
#[inline(always)]
fn typed() -> Option<Typed> {
    // SAFETY: the helper takes nothing, and this kernel has it.
    (TYPED.load() != 0).then(|| Typed(unsafe { bpf_get_current_task_btf() }.cast_const().cast()))
}

/// `min_flt` and `maj_flt`.
#[inline(always)]
pub(crate) fn fault_count() -> FaultCount {
    match typed() {
        Some(task) => FaultCount {
            minor: task.load(TASK_MIN_FLT.load()),
            major: task.load(TASK_MAJ_FLT.load()),
        },
        None => Task::current().fault_count(),
    }
}

/// Its `struct mm_struct`, typed; `None` where nothing is.
#[inline(always)]
pub(crate) fn mm() -> Option<Typed> {
    let mm: *const u8 = typed()?.load(TASK_MM.load());
    (!mm.is_null()).then_some(Typed(mm))
}

/// The registers that it saved when it entered the kernel (`task_pt_regs`); `None` where nothing is typed.
#[inline(always)]
pub(crate) fn registers() -> Option<Typed> {
    let Typed(task) = typed()?;
    // SAFETY: the kernel has this helper where it has the other.
    Some(Typed(
        unsafe { bpf_task_pt_regs(task.cast_mut().cast()) } as *const u8
    ))
}
