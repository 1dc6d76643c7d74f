//! Keys and values of the BPF maps.
//!
//! Owns their layout and meaning. Must not know how either side reaches a map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::wire::FrameCount;

/// One more than the largest tgid Linux hands out (`PID_MAX_LIMIT`, `include/linux/threads.h`).
pub const TGID_LIMIT: u32 = 4 * 1024 * 1024;
/// `TARGETS` holds a byte for every possible tgid, eight to an element, because elements are eight bytes at least.
pub const TARGETS_PER_ELEMENT: u32 = 8;

/// `TARGETS` byte: this process is traced.
pub const TARGET_TRACED: u8 = 1;
/// `TARGETS` byte: it was forked while traced, so its descriptors may be known under its parent's tgid.
pub const TARGET_FORKED: u8 = 2;
/// `TARGETS` byte: it has forked while traced, so what it closes is kept for the child to find.
pub const TARGET_PARENT: u8 = 4;

/// Families of records, for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Family {
    /// Page faults.
    Fault = 0,
    /// Address-space calls.
    Mm = 1,
    /// Descriptor calls and waits.
    Io = 2,
    /// Page frames.
    Frame = 3,
    /// Threads and processes.
    Task = 4,
}

/// How many families there are.
pub const FAMILIES: usize = 5;

/// One CPU's counters, indexed by [`Family`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// Records handed to the ring.
    pub emitted: [u64; FAMILIES],
    /// Records that found it full.
    pub dropped: [u64; FAMILIES],
    /// Above zero while a probe reads user memory: a fault then is the probe's own.
    pub probing: u64,
}

/// The time that the ring was full, over all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Gap {
    /// When the gap that is still open began, or zero.
    pub since_ns: u64,
    /// The length of all gaps that have ended.
    pub closed_ns: u64,
}

/// A descriptor of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FdKey {
    /// The process.
    pub tgid: u32,
    /// The descriptor.
    pub fd: i32,
}

/// `TARGETS` byte: it has made system calls as a 32-bit program, and userspace has been told.
pub const TARGET_FOREIGN: u8 = 8;

/// Whose descriptors a process began with, in `PARENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Parent {
    /// When it was forked: what the parent closes later is the child's still.
    pub born_ns: u64,
    /// The process that forked it.
    pub tgid: u32,
    /// Zero.
    pub pad: u32,
}

/// [`FdState::role`]: of no interest; hides the parent's descriptor of the same number.
pub const ROLE_IGNORED: u32 = 0;
/// [`FdState::role`]: a connection that a client opened: its bytes are captured.
pub const ROLE_INBOUND: u32 = 1;
/// [`FdState::role`]: a connection that the process opened: only lengths are sent.
pub const ROLE_OUTBOUND: u32 = 2;
/// [`FdState::role`]: an end of a channel between threads (an eventfd, a pipe, a pair of sockets): only lengths are sent.
pub const ROLE_CHANNEL: u32 = 3;

/// What the kernel side knows of a descriptor.
///
/// A budget is what may still be captured in full before captures are short. It is renewed when the stream turns
/// round (bytes in after bytes out, and the other way), so that every head finds it whole, with no word from
/// userspace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FdState {
    /// Since when the number means this; zero where it did before the process was a target.
    pub opened_ns: u64,
    /// When the process closed it; zero while it is open.
    pub closed_ns: u64,
    /// For reads, in bytes.
    pub read_budget: u32,
    /// For writes, in bytes.
    pub write_budget: u32,
    /// One of the `ROLE_` constants.
    pub role: u32,
    /// The process; zero in a slot of `ROWS` that is free. Written together with the role, and last.
    pub tgid: u32,
}

/// Rows in `ROWS`: tables of a process's first descriptors, without hashing and side by side, for some processes. The
/// process's number says which row would be its own, and `ROW_OWNERS` whether it is. Userspace gives them out.
pub const ROWS: u32 = 64;
/// Descriptors of a row.
pub const ROW_LEN: u32 = 1024;

/// The row that a process has, if any.
#[must_use]
pub const fn row(tgid: u32) -> u32 {
    tgid % ROWS
}

/// Where in `ROWS` a descriptor is that a process's row has room for. For any other it is in `FDS`.
#[must_use]
pub const fn slot(tgid: u32, fd: i32) -> Option<u32> {
    // A negative one is past the end, too.
    let fd = fd.cast_unsigned();
    if fd < ROW_LEN {
        Some(row(tgid) * ROW_LEN + fd)
    } else {
        None
    }
}

/// What a thread's work has taken since it was last told, in `TALLIES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Running {
    /// Page frames.
    pub frames: FrameCount,
    /// Faults that were timed.
    pub timed_faults: u64,
    /// The time in them.
    pub fault_ns: u64,
    /// When the fault that the thread is in began; zero outside.
    pub fault_since_ns: u64,
    /// The time in its last fault that no record has said yet; zero for none.
    pub last_fault_ns: u32,
    /// Not zero where the record of the fault that it is in was lost: nobody can say which fault its time is of.
    pub fault_is_lost: u32,
    /// When the address-space call that it is in began; zero outside.
    pub call_since_ns: u64,
    /// The lowest address of its kernel stack; zero where its work is not added up.
    pub stack: u64,
    /// Where a pointer becomes a number that the verifier lets be calculated with.
    pub cell: u64,
    /// Not zero once the thread has begun to exit.
    pub exiting: u64,
}

/// How a thread comes from user space into this kernel, in `ENTRY`: learned at the first entry of each kind, zero
/// until then.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Entry {
    /// How far above the lowest address of a kernel stack the user's registers are saved. The stack that the kernel
    /// works on begins below them.
    pub registers: u64,
    /// What lies right below them in a system call: where in the kernel's entry code it returns to.
    pub system_call: u64,
    /// In a page fault.
    pub fault: u64,
}

/// Members between a task and the file system of one of its descriptors.
pub const FILE_STEPS: usize = 9;

/// `RSS_KEPT`: this kernel's way to count resident memory is not known.
pub const RSS_UNKNOWN: u8 = 0;
/// `RSS_KEPT`: a number in `mm_struct`, and what each thread has not added to it yet (up to 6.1).
pub const RSS_BY_THREAD: u8 = 1;
/// `RSS_KEPT`: a `percpu_counter` (from 6.2 on).
pub const RSS_BY_CPU: u8 = 2;
/// Where there are more CPUs than this, what each keeps to itself is not summed up.
pub const RSS_CPUS_MAX: usize = 16;

const _: () = {
    assert!(size_of::<Running>() == 104);
    assert!(size_of::<Entry>() == 24);
    assert!(size_of::<Counters>() == 88);
    assert!(size_of::<Parent>() == 16);
    assert!(size_of::<FdKey>() == 8);
    assert!(size_of::<FdState>() == 32);
};
