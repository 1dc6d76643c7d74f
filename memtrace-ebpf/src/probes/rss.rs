//! A process's resident memory, at the moment when its thread reads from a client or writes to one.
//!
//! Owns how each kernel keeps these counters. Userspace says which kernel this is (`RSS_KEPT`) and where they lie:
//! - up to 6.1: `mm->rss_stat.count[]`, to which each thread adds its own `task->rss_stat.count[]` every 64 faults
//!   (`TASK_RSS_EVENTS_THRESH` in mm/memory.c)
//! - from 6.2 on: `mm->rss_stat[]`, a `percpu_counter` each, to which each CPU adds its part once that is a batch
//!   (`lib/percpu_counter.c`)

use aya_ebpf::helpers::generated::bpf_map_lookup_percpu_elem;
use memtrace_common::{
    map::{RSS_BY_CPU, RSS_BY_THREAD, RSS_CPUS_MAX, RSS_UNKNOWN},
    wire::{Header, KIND_RSS, RSS_KINDS, Rss},
};

use super::payload;
use crate::{
    ARRAY_PPTRS, COUNTER_COUNT, COUNTER_CPUS, COUNTER_SIZE, COUNTERS, CPU_OFFSETS, CPUS, MM_RSS, RSS_BATCH,
    RSS_KEPT, SIGNAL_THREADS, TASK_RSS, TASK_SIGNAL,
    current::Current,
    task::{Task, number},
};

/// `struct percpu_counter` of a kernel without lock debugging and with CPUs that can be taken out.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Counter {
    lock: u64,
    count: i64,
    list: [u64; 2],
    cpus: u64,
}

/// Puts the running thread's process's before the record that is put together: they are told in one entry of the ring.
/// Returns whether it is known.
#[inline(always)]
pub(crate) fn before() -> bool {
    RSS_KEPT.load() != RSS_UNKNOWN && fill() != 0
}

/// A function of its own, as in `tally`.
#[inline(never)]
extern "C" fn fill() -> u32 {
    let Some(scratch) = payload::scratch() else {
        return 0;
    };
    let thread = Current::get();
    let (pages, error_pages) = match RSS_KEPT.load() {
        RSS_BY_CPU => by_cpu(counters(thread)),
        RSS_BY_THREAD => by_thread(thread.task()),
        _ => return 0,
    };
    scratch.rss = Rss {
        header: Header {
            kind: KIND_RSS,
            flags: 0,
            op: 0,
            fd: 0,
            ..scratch.io.header
        },
        pages,
        error_pages,
    };
    1
}

/// A CPU that is offline keeps nothing: it has added its part when it went (`percpu_counter_cpu_dead`).
#[inline(always)]
fn by_cpu(counters: [(i64, u64); RSS_KINDS]) -> ([i64; RSS_KINDS], u64) {
    let mut pages = counters.map(|(count, _)| count);
    let cpus = CPUS.load();
    if cpus as usize > RSS_CPUS_MAX {
        return (pages, u64::from(cpus) * RSS_BATCH.load());
    }
    let parts = counters.map(|(_, cpus)| cpus);
    // As `percpu_counter_init_many` puts them, from 6.6 on.
    let side_by_side = parts[1].wrapping_sub(parts[0]) == 4
        && parts[2].wrapping_sub(parts[0]) == 8
        && parts[3].wrapping_sub(parts[0]) == 12;
    let mut error_pages = 0;
    for cpu in 0..RSS_CPUS_MAX as u32 {
        if cpu >= cpus {
            break;
        }
        let Some(offset) = offset_of(cpu) else {
            error_pages += RSS_BATCH.load();
            continue;
        };
        let at = |part: u64| Task(part.wrapping_add(offset) as *const u8);
        let own: [i32; RSS_KINDS] = if side_by_side {
            at(parts[0]).read(0)
        } else {
            parts.map(|part| at(part).read(0))
        };
        for kind in 0..RSS_KINDS {
            pages[kind] += i64::from(own[kind]);
        }
    }
    (pages, error_pages)
}

/// Each counter's common part, and where the CPUs' parts are. They lie side by side: one read is enough where the
/// layout is the usual one, and the verifier drops the branch that this kernel does not need.
#[inline(always)]
fn counters(thread: Current) -> [(i64, u64); RSS_KINDS] {
    let (size, count, cpus) = (COUNTER_SIZE.load(), COUNTER_COUNT.load(), COUNTER_CPUS.load());
    if let Some(mm) = thread.mm() {
        return [0, 1, 2, 3].map(|kind| {
            let at = MM_RSS.load() + kind * size;
            (mm.load(at + count), mm.load(at + cpus))
        });
    }
    let mm = thread.task().mm();
    if size == size_of::<Counter>() as u64
        && count == core::mem::offset_of!(Counter, count) as u64
        && cpus == core::mem::offset_of!(Counter, cpus) as u64
    {
        let all: [Counter; RSS_KINDS] = mm.read(MM_RSS.load());
        return all.map(|counter| (counter.count, counter.cpus));
    }
    [0, 1, 2, 3].map(|kind| {
        let at = MM_RSS.load() + kind * size;
        (mm.read(at + count), mm.read(at + cpus))
    })
}

#[inline(always)]
fn by_thread(task: Task) -> ([i64; RSS_KINDS], u64) {
    let own: [i32; RSS_KINDS] = task.read(TASK_RSS.load());
    let mut pages: [i64; RSS_KINDS] = task.mm().read(MM_RSS.load());
    for kind in 0..RSS_KINDS {
        pages[kind] += i64::from(own[kind]);
    }
    let threads: i32 = task.follow(TASK_SIGNAL.load()).read(SIGNAL_THREADS.load());
    let others = if threads > 1 { threads as u64 - 1 } else { 0 };
    (pages, others * RSS_BATCH.load())
}

/// How far a CPU's own part of any per-CPU memory is from the pointer to all parts. An element of a per-CPU array
/// says so: the map has the pointer, and the helper gives the part. Kernels that count by CPU have it (5.19).
#[inline(always)]
fn offset_of(cpu: u32) -> Option<u64> {
    let slot = CPU_OFFSETS.get_ptr_mut(cpu)?;
    // SAFETY: a live map element; whoever writes it writes the same.
    let known = unsafe { slot.read() };
    if known != 0 {
        return Some(known);
    }
    let (map, key) = ((&raw const COUNTERS).cast_mut(), 0_u32);
    // SAFETY: the map is a per-CPU one, and the key of its size.
    let own = unsafe { bpf_map_lookup_percpu_elem(map.cast(), (&raw const key).cast(), cpu) };
    if own.is_null() {
        return None;
    }
    let all: u64 = Task(number(map.cast_const().cast()) as *const u8).read(ARRAY_PPTRS.load());
    if all == 0 {
        return None;
    }
    let offset = number(own.cast_const().cast()).wrapping_sub(all);
    // SAFETY: as above.
    unsafe { slot.write(offset) };
    Some(offset)
}
