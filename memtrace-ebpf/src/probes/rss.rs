//! A process's resident memory, at the moment when its thread reads from a client or writes to one.
//!
//! Owns how each kernel keeps these counters. Userspace says which kernel this is (`RSS_KEPT`) and where they lie:
//! - up to 6.1: `mm->rss_stat.count[]`, to which each thread adds its own `task->rss_stat.count[]` every 64 faults
//!   (`TASK_RSS_EVENTS_THRESH` in mm/memory.c)
//! - from 6.2 on: `mm->rss_stat[]`, a `percpu_counter` each, to which each CPU adds its part once that is a batch
//!   (`lib/percpu_counter.c`)

use aya_ebpf::helpers::generated::bpf_map_lookup_percpu_elem;
use memtrace_common::{
    map::{self, RSS_BY_CPU, RSS_BY_THREAD, RSS_CPUS_MAX, RSS_UNKNOWN},
    wire::{Header, KIND_RSS, RSS_HOLDS_NS, RSS_KINDS, Rss},
};

use super::payload;
use crate::{
    ARRAY_PPTRS, COUNTER_COUNT, COUNTER_CPUS, COUNTER_SIZE, COUNTERS, CPU_OFFSETS, CPUS, MM_RSS, RSS_BATCH,
    RSS_KEPT, RSS_TOLD, SIGNAL_THREADS, TASK_RSS, TASK_SIGNAL,
    current::Current,
    target::Target,
    task::{Task, number},
};

/// What was told last of a process.
#[repr(C)]
pub(crate) struct Told {
    time_ns: u64,
    /// The thread's, as it told.
    faults: u64,
    tgid: u32,
    tid: u32,
    /// When something last began that may change it.
    changed_ns: u64,
}

/// What goes with a record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// It is not known how this kernel counts.
    Nothing,
    /// What was told last holds.
    Same,
    /// It lies before the record.
    Reading,
}

/// What the running thread has to tell of its process, which is put before the record that is put together: both are told
/// in one entry of the ring.
#[inline(always)]
pub(crate) fn beside(me: Target, header: &Header) -> Beside {
    if RSS_KEPT.load() == RSS_UNKNOWN {
        return Beside::Nothing;
    }
    let faults = header.min_flt + header.maj_flt;
    if let Some(told) = told(me.tgid) {
        if told.is_by(me)
            && told.faults == faults
            && told.time_ns.saturating_sub(told.changed_ns) >= RSS_HOLDS_NS
            && header.time_ns.saturating_sub(told.time_ns) < RSS_HOLDS_NS
        {
            return Beside::Same;
        }
        told.time_ns = header.time_ns;
        told.faults = faults;
        told.tgid = me.tgid;
        told.tid = me.tid;
    }
    if fill() == 0 {
        Beside::Nothing
    } else {
        Beside::Reading
    }
}

/// The running thread takes a fault. Where it was itself that told, its count of faults says so as well.
#[inline(always)]
pub(crate) fn faults(me: Target, time_ns: u64) {
    if let Some(told) = told(me.tgid)
        && !told.is_by(me)
    {
        told.changed_ns = time_ns;
    }
}

/// It has changed the address space.
#[inline(always)]
pub(crate) fn changed(me: Target, time_ns: u64) {
    if let Some(told) = told(me.tgid) {
        told.changed_ns = time_ns;
    }
}

/// What it has to tell found the ring full.
#[inline(always)]
pub(crate) fn lost(me: Target) {
    if let Some(told) = told(me.tgid) {
        told.tgid = 0;
    }
}

impl Told {
    #[inline(always)]
    fn is_by(&self, me: Target) -> bool {
        self.tgid == me.tgid && self.tid == me.tid
    }
}

#[inline(always)]
fn told(tgid: u32) -> Option<&'static mut Told> {
    // SAFETY: a live map element, of integers. Where two threads tell at once it has some of each, all of this moment.
    RSS_TOLD
        .get_ptr_mut(map::row(tgid))
        .map(|told| unsafe { &mut *told })
}

/// A function of its own, as in `tally`. What it finds goes straight to its place: up to 6.12 a program and what it calls
/// have 512 bytes of stack between them.
#[inline(never)]
extern "C" fn fill() -> u32 {
    let Some(scratch) = payload::scratch() else {
        return 0;
    };
    let thread = Current::get();
    scratch.rss.header = Header {
        kind: KIND_RSS,
        flags: 0,
        op: 0,
        fd: 0,
        ..scratch.io.header
    };
    match RSS_KEPT.load() {
        RSS_BY_CPU => by_cpu(thread, &mut scratch.rss),
        RSS_BY_THREAD => by_thread(thread.task(), &mut scratch.rss),
        _ => return 0,
    }
    1
}

/// A CPU that is offline keeps nothing: it has added its part when it went (`percpu_counter_cpu_dead`).
#[inline(always)]
fn by_cpu(thread: Current, rss: &mut Rss) {
    let parts = [0, 1, 2, 3].map(|kind| {
        let (count, cpus) = counter(thread, kind);
        rss.pages[kind as usize] = count;
        cpus
    });
    let cpus = CPUS.load();
    if cpus as usize > RSS_CPUS_MAX {
        rss.error_pages = u64::from(cpus) * RSS_BATCH.load();
        return;
    }
    // As `percpu_counter_init_many` puts them, from 6.6 on.
    let side_by_side = parts[1].wrapping_sub(parts[0]) == 4
        && parts[2].wrapping_sub(parts[0]) == 8
        && parts[3].wrapping_sub(parts[0]) == 12;
    rss.error_pages = 0;
    for cpu in 0..RSS_CPUS_MAX as u32 {
        if cpu >= cpus {
            break;
        }
        let Some(offset) = offset_of(cpu) else {
            rss.error_pages += RSS_BATCH.load();
            continue;
        };
        let at = |part: u64| Task(part.wrapping_add(offset) as *const u8);
        let own: [i32; RSS_KINDS] = if side_by_side {
            at(parts[0]).read(0)
        } else {
            parts.map(|part| at(part).read(0))
        };
        for (pages, own) in rss.pages.iter_mut().zip(own) {
            *pages += i64::from(own);
        }
    }
}

/// A counter's common part, and where the CPUs' parts are.
#[inline(always)]
fn counter(thread: Current, kind: u64) -> (i64, u64) {
    let at = MM_RSS.load() + kind * COUNTER_SIZE.load();
    let (count, cpus) = (at + COUNTER_COUNT.load(), at + COUNTER_CPUS.load());
    if let Some(mm) = thread.mm() {
        return (mm.load(count), mm.load(cpus));
    }
    let mm = thread.task().mm();
    (mm.read(count), mm.read(cpus))
}

#[inline(always)]
fn by_thread(task: Task, rss: &mut Rss) {
    let own: [i32; RSS_KINDS] = task.read(TASK_RSS.load());
    let mm = task.mm();
    let common: [i64; RSS_KINDS] = mm.read(MM_RSS.load());
    for (pages, (common, own)) in rss.pages.iter_mut().zip(common.into_iter().zip(own)) {
        *pages = common + i64::from(own);
    }
    let threads: i32 = task.follow(TASK_SIGNAL.load()).read(SIGNAL_THREADS.load());
    let others = if threads > 1 { threads as u64 - 1 } else { 0 };
    rss.error_pages = others * RSS_BATCH.load();
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
