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

use super::btf::{BtfError, member_offset, struct_size};

/// How many pages a thread may keep to itself, of one kind on average: it adds them to its process's after
/// `TASK_RSS_EVENTS_THRESH` (mm/memory.c) faults and one or two, each of which is of one anonymous page or, of a file or
/// of shared memory, of `fault_around_bytes`.
const THREAD_BATCH: u64 = {
    const FAULTS: u64 = 64 + 2;
    const FAULT_AROUND_PAGES: u64 = 16;
    FAULTS * (1 + 2 * FAULT_AROUND_PAGES) / 3
};

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
        // Kernels for fewer than four CPUs have this struct, and nothing in their threads: unknown.
        let found = if struct_size(btf, "mm_rss_stat").is_ok() {
            Self::by_thread(btf)
        } else {
            Self::by_cpu(btf)
        };
        found.unwrap_or_default()
    }

    fn by_cpu(btf: &Btf) -> Result<Self, BtfError> {
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

/// How many CPUs may keep something to themselves: all that can be plugged in where the probes look at so many, else
/// those that run.
fn cpu_count() -> u32 {
    let list = |which: &str| {
        let list = std::fs::read_to_string(format!("/sys/devices/system/cpu/{which}"));
        list.ok().and_then(|list| end_of(&list))
    };
    list("possible")
        .filter(|&cpus| cpus as usize <= RSS_CPUS_MAX)
        .or_else(|| list("online"))
        .unwrap_or(1)
}

/// One more than the last CPU of a list such as `0-3,5`.
fn end_of(list: &str) -> Option<u32> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<u32>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpu_of_a_list() {
        let cases = [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,7\n", Some(8)),
            ("0-1,4-5", Some(6)),
            ("", None),
        ];
        for (list, cpus) in cases {
            assert_eq!(end_of(list), cpus, "{list:?}");
        }
    }
}
