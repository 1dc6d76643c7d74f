//! A process's resident memory, at the moment when its thread reads from a client or writes to one.
//!
//! Owns how each kernel keeps these counters. Userspace says which kernel this is (`RSS_KEPT`) and where they lie:
//! - up to 6.1: `mm->rss_stat.count[]`, to which each thread adds its own `task->rss_stat.count[]` every 64 faults
//!   (`TASK_RSS_EVENTS_THRESH` in mm/memory.c)
//! - from 6.2 on: `mm->rss_stat[]`, a `percpu_counter` each, to which each CPU adds its part once that is a batch
//!   (lib/percpu_counter.c)

use aya_ebpf::helpers::bpf_get_smp_processor_id;
use memtrace_common::{
    map::{Family, RSS_BY_CPU, RSS_BY_THREAD, RSS_CPUS_MAX},
    wire::{KIND_RSS, RSS_KINDS, Rss},
};

use crate::{
    ARRAY_PPTRS, COUNTER_COUNT, COUNTER_CPUS, COUNTER_SIZE, COUNTERS, CPU_OFFSETS, CPUS, MM_RSS, RSS_BATCH,
    RSS_KEPT, SIGNAL_THREADS, TASK_RSS, TASK_SIGNAL, emit,
    target::Target,
    task::{Task, number},
};

/// Sends the running thread's process's.
#[inline(always)]
pub(crate) fn send(me: Target) {
    let task = Task::current();
    let (pages, error_pages) = match RSS_KEPT.load() {
        RSS_BY_CPU => by_cpu(task.mm()),
        RSS_BY_THREAD => by_thread(task),
        _ => return,
    };
    let header = emit::header(me, KIND_RSS);
    emit::send(
        Family::Frame,
        header.time_ns,
        Rss {
            header,
            pages,
            error_pages,
        },
    );
}

#[inline(always)]
fn by_cpu(mm: Task) -> ([i64; RSS_KINDS], u64) {
    let mut pages = [0; RSS_KINDS];
    let mut parts = [0; RSS_KINDS];
    for kind in 0..RSS_KINDS {
        let counter = MM_RSS.load() + kind as u64 * COUNTER_SIZE.load();
        pages[kind] = mm.read::<i64>(counter + COUNTER_COUNT.load());
        parts[kind] = mm.read::<u64>(counter + COUNTER_CPUS.load());
    }
    let cpus = CPUS.load();
    if cpus as usize > RSS_CPUS_MAX {
        return (pages, u64::from(cpus) * RSS_BATCH.load());
    }
    let mut error_pages = 0;
    for cpu in 0..RSS_CPUS_MAX as u32 {
        if cpu >= cpus {
            break;
        }
        match CPU_OFFSETS.get(cpu) {
            Some(&offset) if offset != 0 => {
                for kind in 0..RSS_KINDS {
                    let part = Task(parts[kind].wrapping_add(offset) as *const u8);
                    pages[kind] += i64::from(part.read::<i32>(0));
                }
            }
            _ => error_pages += RSS_BATCH.load(),
        }
    }
    (pages, error_pages)
}

#[inline(always)]
fn by_thread(task: Task) -> ([i64; RSS_KINDS], u64) {
    let mm = task.mm();
    let mut pages = [0; RSS_KINDS];
    for kind in 0..RSS_KINDS as u64 {
        let own: i32 = task.read(TASK_RSS.load() + kind * size_of::<i32>() as u64);
        let all: i64 = mm.read(MM_RSS.load() + kind * size_of::<i64>() as u64);
        pages[kind as usize] = all + i64::from(own);
    }
    let threads: i32 = task.follow(TASK_SIGNAL.load()).read(SIGNAL_THREADS.load());
    let others = if threads > 1 { threads as u64 - 1 } else { 0 };
    (pages, others * RSS_BATCH.load())
}

/// Notes how far this CPU's own part of any per-CPU memory is from the pointer to all parts. An element of a per-CPU
/// array says so: the map has the pointer, and a look-up gives this CPU's part.
#[inline(always)]
pub(crate) fn note_cpu() {
    if RSS_KEPT.load() != RSS_BY_CPU {
        return;
    }
    // SAFETY: the helper takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(offset) = CPU_OFFSETS.get_ptr_mut(cpu) else {
        return;
    };
    // SAFETY: a live map element that only this CPU writes.
    if unsafe { *offset } != 0 {
        return;
    }
    let Some(own) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    let map = Task(number((&raw const COUNTERS).cast()) as *const u8);
    let all: u64 = map.read(ARRAY_PPTRS.load());
    if all != 0 {
        // SAFETY: as above.
        unsafe { *offset = number(own.cast_const().cast()).wrapping_sub(all) };
    }
}
