//! What the eBPF programs and the daemon say to each other: wire records, map keys and values, loss counters.
//!
//! Owns the one definition of every byte that crosses the ring buffer or a BPF map, and their safe decoding.
//! Must not know aya, the standard library, or what a request is.
#![no_std]

pub mod decode;
pub mod map;
pub mod wire;

/// A process, as the kernel numbers it: the thread group's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tgid(pub u32);

/// A thread, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u32);

/// A file descriptor's number in some process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fd(pub i32);

/// Nanoseconds, on `CLOCK_MONOTONIC` where it is a point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The time from `earlier` to `self`, or zero where clocks of two CPUs disagree by a few nanoseconds.
    #[must_use]
    pub fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A thread's fault counters, `task_struct.min_flt` and `.maj_flt`, at one moment.
///
/// The kernel adds one when a fault **completes** (`mm_account_fault` in
/// <https://elixir.bootlin.com/linux/v6.12/source/mm/memory.c>), so a probe at a fault's entry reads the count
/// of all faults before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCount {
    /// Faults that needed no I/O.
    pub minor: u64,
    /// Faults that the kernel counts as major.
    pub major: u64,
}

impl FaultCount {
    /// Minor and major together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.minor.saturating_add(self.major)
    }
}
