//! How this kernel counts a process's resident memory.
//!
//! Owns which of the two ways it is, and where the numbers lie; `memtrace-ebpf/src/probes/rss.rs` reads them. Must not
//! know what they are read for.
//!
//! - up to 6.1 each thread keeps up to 64 faults to itself (`SPLIT_RSS_COUNTING`,
//!   <https://elixir.bootlin.com/linux/v6.1/source/mm/memory.c>)
//! - from 6.2 on each CPU keeps up to a batch to itself (`percpu_counter_batch`,
//!   <https://elixir.bootlin.com/linux/v6.2/source/lib/percpu_counter.c>)

use btf_rs::Btf;
use memtrace_common::map::{RSS_BY_CPU, RSS_BY_THREAD, RSS_CPUS_MAX, RSS_UNKNOWN};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::btf::{BtfError, member_offset, struct_size};

/// `TASK_RSS_EVENTS_THRESH`, mm/memory.c
const THREAD_BATCH: u64 = 64;

/// What the probes have to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RssLayout {
    /// An `RSS_` constant.
    pub kept: u8,
    /// `rss_stat` in `mm_struct`.
    pub in_mm: u64,
    /// `rss_stat.count` in `task_struct`, up to 6.1.
    pub in_task: u64,
    /// `signal` in `task_struct`, up to 6.1.
    pub signal: u64,
    /// `nr_threads` in `signal_struct`, up to 6.1.
    pub signal_threads: u64,
    /// The size of a `percpu_counter`, from 6.2 on; its `count`, its `counters`.
    pub counter_size: u64,
    /// `count` in it.
    pub counter_count: u64,
    /// `counters` in it.
    pub counter_cpus: u64,
    /// `pptrs` in `bpf_array`: how the probes find out where each CPU's own memory is.
    pub array_pptrs: u64,
    /// CPUs that may keep something to themselves.
    pub cpus: u32,
    /// How many pages a thread or a CPU may keep to itself.
    pub batch: u64,
}

impl RssLayout {
    /// Of this kernel; unknown where it has neither way.
    pub(super) fn read(btf: &Btf) -> Self {
        Self::by_cpu(btf)
            .or_else(|_| Self::by_thread(btf))
            .unwrap_or_default()
    }

    fn by_cpu(btf: &Btf) -> Result<Self, BtfError> {
        if member_offset(btf, "task_struct", "rss_stat").is_ok() {
            return Self::by_thread(btf);
        }
        let cpus = u64::from(cpu_count());
        Ok(Self {
            kept: RSS_BY_CPU,
            in_mm: member_offset(btf, "mm_struct", "rss_stat")?,
            counter_size: struct_size(btf, "percpu_counter")?,
            counter_count: member_offset(btf, "percpu_counter", "count")?,
            counter_cpus: member_offset(btf, "percpu_counter", "counters")?,
            array_pptrs: member_offset(btf, "bpf_array", "pptrs")?,
            cpus: cpu_count(),
            // compute_batch_value in lib/percpu_counter.c
            batch: (2 * cpus).max(32),
            ..Self::default()
        })
    }

    fn by_thread(btf: &Btf) -> Result<Self, BtfError> {
        Ok(Self {
            kept: RSS_BY_THREAD,
            in_mm: member_offset(btf, "mm_struct", "rss_stat")? + member_offset(btf, "mm_rss_stat", "count")?,
            in_task: member_offset(btf, "task_struct", "rss_stat")?
                + member_offset(btf, "task_rss_stat", "count")?,
            signal: member_offset(btf, "task_struct", "signal")?,
            signal_threads: member_offset(btf, "signal_struct", "nr_threads")?,
            batch: THREAD_BATCH,
            ..Self::default()
        })
    }

    /// Whether the probes can read it.
    pub fn is_known(&self) -> bool {
        self.kept != RSS_UNKNOWN
    }
}

/// CPUs that run, or might: one that does not has nothing to itself, but its number counts.
fn cpu_count() -> u32 {
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    // `0-3,5`: the last number is the highest.
    let last = online.trim().rsplit([',', '-']).next();
    last.and_then(|cpu| cpu.parse::<u32>().ok())
        .map_or(1, |cpu| cpu + 1)
}

/// Has a thread be made on each CPU, which the probe on `sched_process_fork` takes as its occasion to see where that
/// CPU's own memory is. A CPU that this process may not run on stays unknown.
pub(super) fn visit_cpus(layout: &RssLayout) {
    if layout.kept != RSS_BY_CPU || layout.cpus as usize > RSS_CPUS_MAX {
        return;
    }
    let cpus = layout.cpus as usize;
    // In a thread of its own, which takes its affinity with it when it ends.
    let visitor = std::thread::spawn(move || {
        for cpu in 0..cpus {
            let mut only = CpuSet::new();
            only.set(cpu);
            if sched_setaffinity(None, &only).is_ok() {
                let _ = std::thread::spawn(|| ()).join();
            } else {
                tracing::debug!(cpu, "cannot run on this CPU, or it is offline");
            }
        }
    });
    let _ = visitor.join();
}
