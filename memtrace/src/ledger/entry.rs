//! The objects of a report, as CONTRACT's JSON has them.
//!
//! Owns their fields and units, and nothing of how they are computed or rendered.
//! A value that is not known is `None` (`null` in JSON), never 0.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// One HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Counts up in the order in which requests began.
    pub id: u64,
    /// The process that served it.
    pub pid: u32,
    /// The thread that read its first byte.
    pub tid: u32,
    /// `GET`, `POST`, …; empty where the head was never seen whole enough to say.
    pub method: String,
    /// The path, with the query only where it was asked for.
    pub path: String,
    /// The path with its variable segments replaced: what requests are grouped by.
    pub route: String,
    /// The response's status; `None` where none was seen.
    pub status: Option<u16>,
    /// The trace id out of a `traceparent` header.
    pub trace_id: Option<String>,
    /// When its first byte was read, on `CLOCK_MONOTONIC`, nanoseconds.
    pub start_ns: u64,
    /// From its first byte read to its response's last byte written, nanoseconds.
    pub duration_ns: u64,
    /// The response was seen to its end.
    pub complete: bool,
    /// Page faults.
    pub faults: Faults,
    /// Page frames.
    pub frames: Option<Frames>,
    /// Address-space calls.
    pub space: Space,
    /// Resident memory of the process.
    pub rss: Option<Rss>,
    /// What the program itself reported, by name; of the same name the last.
    pub values: Option<BTreeMap<String, i64>>,
    /// What the program's runtime says of its own memory, by its own names.
    pub runtime: Option<BTreeMap<String, RuntimeSize>>,
}

/// A size at both ends of a request, bytes; `None` at an end where the runtime said nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuntimeSize {
    /// When the request had been read.
    pub start: Option<u64>,
    /// Before its answer was whole.
    pub end: Option<u64>,
}

impl RuntimeSize {
    /// By how much it has changed.
    pub fn delta(self) -> Option<i64> {
        Some(self.end?.cast_signed().saturating_sub(self.start?.cast_signed()))
    }
}

impl Serialize for RuntimeSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut size = serializer.serialize_struct("RuntimeSize", 3)?;
        size.serialize_field("start", &self.start)?;
        size.serialize_field("end", &self.end)?;
        size.serialize_field("delta", &self.delta())?;
        size.end()
    }
}

/// Completed page faults of one request.
///
/// `total = minor + major = user_mode + kernel_mode = direct + causal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// All that were taken for this request.
    pub total: u64,
    /// Those that the kernel counted in `min_flt`.
    pub minor: u64,
    /// Those that it counted in `maj_flt`.
    pub major: u64,
    /// Taken by the program's own instructions.
    pub user_mode: u64,
    /// Taken inside a system call.
    pub kernel_mode: u64,
    /// By what the kernel had to do.
    pub cause: Option<ByName>,
    /// By what the address belongs to.
    pub region: Option<ByName>,
    /// By mapped file.
    pub files: Option<Vec<FileFaults>>,
    /// How they were found to be this request's.
    pub attribution: Attribution,
    /// All completed faults of the process while the request was open: an upper bound.
    pub in_window: u64,
    /// The most requests that were open in the process at one time meanwhile, this one included.
    pub open_requests_max: u64,
    /// Time inside the faults, nanoseconds.
    pub time_ns: Option<u64>,
}

/// Sums by name, in the names' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByName {
    names: &'static [&'static str; KINDS],
    sums: [u64; KINDS],
}

/// How many causes there are, and how many regions.
pub const KINDS: usize = 8;

impl ByName {
    /// Of names in their order.
    pub fn new(names: &'static [&'static str; KINDS], sums: [u64; KINDS]) -> Self {
        debug_assert!(names.is_sorted(), "{names:?}");
        Self { names, sums }
    }

    /// Each name with its sum.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&'static str, u64)> {
        std::iter::zip(self.names.iter().copied(), self.sums)
    }
}

impl Serialize for ByName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Faults in one mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileFaults {
    /// Its path.
    pub path: String,
    /// How many.
    pub faults: u64,
}

/// How faults were found to be a request's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Attribution {
    /// On the thread that last read this request's bytes.
    pub direct: u64,
    /// Through a chain of descriptors and wake-ups.
    pub causal: Option<u64>,
}

/// Page frames that the kernel handed out and took back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// Handed out, in base pages.
    pub allocated: u64,
    /// Taken back, in base pages.
    pub freed: u64,
    /// For the program's own memory.
    pub user: u64,
    /// For page tables.
    pub page_table: u64,
    /// For the kernel's own use.
    pub kernel: u64,
    /// Allocations of 2 MiB.
    pub huge: u64,
}

/// Address-space calls that succeeded, and the bytes they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// `mmap` calls.
    pub mmap_calls: u64,
    /// Bytes they mapped.
    pub mmap_bytes: u64,
    /// `munmap` calls.
    pub munmap_calls: u64,
    /// Bytes they unmapped.
    pub munmap_bytes: u64,
    /// `brk` calls that moved the break.
    pub brk_calls: u64,
    /// Bytes that the break moved up by in all; a shrinking heap counts nothing.
    pub brk_bytes: u64,
    /// `mremap` calls.
    pub mremap_calls: u64,
    /// `madvise` calls.
    pub madvise_calls: u64,
    /// `mprotect` calls.
    pub mprotect_calls: u64,
}

impl Space {
    /// More calls.
    pub fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.mmap_calls, more.mmap_calls),
            (&mut self.mmap_bytes, more.mmap_bytes),
            (&mut self.munmap_calls, more.munmap_calls),
            (&mut self.munmap_bytes, more.munmap_bytes),
            (&mut self.brk_calls, more.brk_calls),
            (&mut self.brk_bytes, more.brk_bytes),
            (&mut self.mremap_calls, more.mremap_calls),
            (&mut self.madvise_calls, more.madvise_calls),
            (&mut self.mprotect_calls, more.mprotect_calls),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// Resident memory, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rss {
    /// At the first byte read.
    pub start: u64,
    /// At the last byte written.
    pub end: u64,
    /// `end - start`.
    pub delta: i64,
    /// Of anonymous memory.
    pub anon_delta: i64,
    /// Of mapped files.
    pub file_delta: i64,
    /// Of shared memory.
    pub shmem_delta: i64,
    /// Of swap entries.
    pub swap_delta: i64,
    /// How far the kernel's per-CPU counters may be off.
    pub error_max: u64,
}

/// The spread of one figure over the requests of a route.
///
/// `T` is `u64` for counts and times, `i64` for what can also shrink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread<T = u64> {
    /// The least.
    pub min: T,
    /// The median: half of the requests have no more than this.
    pub p50: T,
    /// Nine in ten have no more.
    pub p90: T,
    /// 99 in a hundred have no more.
    pub p99: T,
    /// The most.
    pub max: T,
    /// Of all requests together.
    pub sum: T,
}

/// All requests of one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The pattern that grouped them.
    pub route: String,
    /// The method.
    pub method: String,
    /// How many.
    pub requests: u64,
    /// Their faults.
    pub faults: RouteFaults,
    /// Their page frames.
    pub frames: Option<RouteFrames>,
    /// How RSS moved.
    pub rss_delta: Option<Spread<i64>>,
    /// How long they took, nanoseconds.
    pub duration_ns: Spread,
    /// The time in their faults, nanoseconds.
    pub fault_time_ns: Option<Spread>,
}

/// The faults of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteFaults {
    /// All.
    pub total: Spread,
    /// Minor ones.
    pub minor: Spread,
    /// Major ones.
    pub major: Spread,
    /// All of the process in each request's window: an upper bound.
    pub in_window: Spread,
    /// Those in kernel mode.
    pub kernel_mode: Spread,
    /// Those that were not attributed directly; `None` until anything else is.
    pub causal: Option<Spread>,
}

/// The page frames of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RouteFrames {
    /// Handed out.
    pub allocated: Spread,
}

/// Do the figures add up to the kernel's own?
///
/// `kernel_min_flt + kernel_maj_flt = observed + dropped + untraced`, and `observed = direct + causal + unattributed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// What `min_flt` grew by, over all threads, while they were traced.
    pub kernel_min_flt: u64,
    /// What `maj_flt` grew by.
    pub kernel_maj_flt: u64,
    /// Completed faults that a probe saw.
    pub observed: u64,
    /// Of these: on requests, by the thread that read them.
    pub direct: u64,
    /// Of these: on requests, through a chain.
    pub causal: Option<u64>,
    /// Of these: on no request.
    pub unattributed: u64,
    /// Faults whose record did not reach userspace.
    pub dropped: u64,
    /// Counted by the kernel with no probe fired.
    pub untraced: u64,
    /// Attempts that the kernel did not count.
    pub failed: u64,
    /// Faults whose end was seen as well, by another event than their beginning; `None` where faults are not timed.
    pub timed: Option<u64>,
    /// The two sides are equal.
    pub balanced: bool,
}

/// Records that did not reach userspace, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Page faults.
    pub fault: u64,
    /// Address-space calls.
    pub mm: u64,
    /// Descriptor calls.
    pub io: u64,
    /// Page frames.
    pub frame: u64,
    /// Threads and processes.
    pub task: u64,
    /// How long the ring was full, nanoseconds.
    pub ns: u64,
}

impl Lost {
    /// Records of all families.
    pub fn records(&self) -> u64 {
        [self.mm, self.io, self.frame, self.task]
            .into_iter()
            .fold(self.fault, u64::saturating_add)
    }
}

/// What was traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The processes that were there at the start, or that were found first.
    pub pids: Vec<u32>,
    /// The `comm` of the first.
    pub comm: String,
}

/// The run as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Requests that were listed.
    pub requests: u64,
    /// Requests that came in on a port that was not asked for.
    pub other_requests: u64,
    /// From the first moment that counts to the last, nanoseconds.
    pub elapsed_ns: u64,
    /// The books.
    pub books: Books,
    /// Faults on no request, by reason.
    pub unattributed: BTreeMap<String, u64>,
    /// `books.observed`, by what the kernel had to do.
    pub cause: BTreeMap<&'static str, u64>,
    /// `books.observed`, by what the address belongs to.
    pub region: BTreeMap<&'static str, u64>,
    /// Records that were lost.
    pub lost: Lost,
    /// What was traced.
    pub target: Target,
    /// COMMAND's exit status: 128 + N where signal N ended it.
    pub command_status: Option<i32>,
    /// What the reader should know about this run, a sentence each.
    pub notes: Vec<String>,
    /// The kernel's release.
    pub kernel: String,
    /// Memtrace's own version.
    pub version: String,
}
