//! The records of the ring buffer, byte by byte.
//!
//! Owns layout: each record is a [`Header`] and, by its `kind`, a fixed body; [`Io`] may carry payload behind it.
//! Must not know who writes or reads them. Native endian: both ends are one machine.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The longest request or response head that is captured, in bytes.
pub const HEAD_MAX: usize = 8192;
/// Buffers of one `readv`, `writev`, `recvmsg` or `sendmsg` that are looked into.
pub const SEGMENTS_MAX: usize = 8;
/// Past a head, this much of each buffer's beginning is captured,
pub const SHORT_HEAD: usize = 32;
/// and this much of its end.
pub const SHORT_TAIL: usize = 16;
/// The most payload bytes one [`Io`] record can carry: a head, or eight short captures on top of its last bytes.
pub const PAYLOAD_MAX: usize = HEAD_MAX + SEGMENTS_MAX * (SHORT_HEAD + SHORT_TAIL);

/// `Header::kind`: a page fault's entry, [`Fault`].
pub const KIND_FAULT: u8 = 1;
/// `Header::kind`: a new thread or process, [`Fork`].
pub const KIND_FORK: u8 = 2;
/// `Header::kind`: a new program image, [`Exec`].
pub const KIND_EXEC: u8 = 3;
/// `Header::kind`: a thread begins to exit; the header alone.
pub const KIND_EXIT: u8 = 4;
/// `Header::kind`: a thread is gone for good; the header alone, with the thread's very last counters.
pub const KIND_FREE: u8 = 5;
/// `Header::kind`: an address-space call returned, [`Mm`].
pub const KIND_MM: u8 = 6;
/// `Header::kind`: a call on a descriptor, [`Io`].
pub const KIND_IO: u8 = 7;
/// `Header::kind`: the thread goes to wait for events (epoll, poll, select), or has waited in vain
/// ([`WAIT_TIMED_OUT`]); the header alone.
pub const KIND_WAIT: u8 = 8;
/// `Header::kind`: the process set up an `io_uring`; the header alone.
pub const KIND_URING: u8 = 9;
/// `Header::kind`: the process makes system calls as a 32-bit program; the header alone, once.
pub const KIND_FOREIGN: u8 = 10;

/// `Header::kind`: what the thread's work took since its last one, [`Tally`].
pub const KIND_TALLY: u8 = 11;
/// `Header::kind`: the process's resident memory, [`Rss`]. The [`Io`] that it is for follows in the same entry of the ring.
/// Where it holds still, there is none, but [`IO_RSS_HOLDS`].
pub const KIND_RSS: u8 = 12;
/// `Header::kind`: a `munmap` returned, [`Unmapped`].
pub const KIND_UNMAPPED: u8 = 13;
/// `Header::kind`: the thread woke another of its process, [`Wake`].
pub const KIND_WAKE: u8 = 14;

/// Begins every record.
///
/// `min_flt` and `maj_flt` are the thread's own counters at this moment: with those of its next record they tell
/// whether the last fault's attempt completed, and how.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The thread's process.
    pub tgid: u32,
    /// The thread.
    pub tid: u32,
    /// `task_struct.min_flt`.
    pub min_flt: u64,
    /// `task_struct.maj_flt`.
    pub maj_flt: u64,
    /// One of the `KIND_` constants.
    pub kind: u8,
    /// [`Fault`]: `FAULT_` bits. [`Io`]: `IO_` bits. [`KIND_WAIT`]: `WAIT_` bits.
    pub flags: u8,
    /// [`Mm`], [`Unmapped`]: an `MM_` constant. [`Io`]: an `OP_` constant.
    pub op: u8,
    /// Zero.
    pub pad: u8,
    /// [`Io`]: the descriptor. [`Fault`], [`Tally`], [`Exec`]: what [`Header::last_fault_ns`] reads. Else zero.
    pub fd: i32,
}

impl Header {
    /// The time in the thread's last fault that completed since its last record that could say so, in nanoseconds;
    /// `None` where there is none, or faults are not timed. [`Fault`], [`Tally`] and [`Exec`] can say so.
    ///
    /// The fault is the one of the thread's most recent [`Fault`] record before this record: attempts that fail take
    /// no time here. A fault that is given up and taken again (a signal came while it waited) is two attempts, and its
    /// time begins with the second. [`Exec`] speaks of the thread as it was called until then, `old_tid`.
    ///
    /// At least 1, and `u32::MAX` for all that took longer. But for that, those of a thread add up to what its
    /// [`Tally`] records say, as long as nothing is lost. What a [`Fault`] record that is lost would have said comes
    /// with the next, and its own time is never said: no other fault gets it.
    pub const fn last_fault_ns(&self) -> Option<u32> {
        match (self.kind, self.fd.cast_unsigned()) {
            (_, 0) => None,
            (KIND_FAULT | KIND_TALLY | KIND_EXEC, ns) => Some(ns),
            _ => None,
        }
    }

    /// The same header with that time, for a record that can say so; zero for none.
    #[must_use]
    pub const fn with_last_fault_ns(self, ns: u32) -> Self {
        Self {
            fd: ns.cast_signed(),
            ..self
        }
    }
}

/// Taken in kernel mode (`page_fault_kernel`): a system call touched the page.
pub const FAULT_KERNEL: u8 = 1;
/// The access was a write.
pub const FAULT_WRITE: u8 = 2;
/// The access fetched an instruction.
pub const FAULT_EXEC: u8 = 4;
/// The page was there but its protection forbade the access; else it was not present.
pub const FAULT_PROTECTION: u8 = 8;

/// The record of a wait for events comes as it **returns**, because the time that the thread would wait has run out:
/// what the thread does next is a timer's work. One that only asked, and would not have waited, has no such record.
pub const WAIT_TIMED_OUT: u8 = 1;
/// The call does not wait: it only asks what has come, because its thread has more to do.
pub const WAIT_ASKS: u8 = 2;

/// A page fault's entry: an attempt, which the thread's next record confirms.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fault {
    /// Who and when.
    pub header: Header,
    /// The address that was touched.
    pub address: u64,
    /// The instruction that touched it, in user or kernel mode.
    pub ip: u64,
}

/// A thread or process was made by the header's thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fork {
    /// The parent.
    pub header: Header,
    /// The child's process: the parent's own for a thread. Zero for one in a pid namespace below memtrace's, whose
    /// records have no number to go under.
    pub child_tgid: u32,
    /// The child.
    pub child_tid: u32,
    /// The child's stack pointer: where its stack is.
    pub child_sp: u64,
}

/// The header's process runs another program. All its other threads have exited by now.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    /// The thread that called `execve`, under the id that it has from now on: the process's.
    pub header: Header,
    /// The id that this thread had when it called.
    pub old_tid: u32,
    /// Zero.
    pub pad: u32,
    /// The new `comm`, zero-padded.
    pub comm: [u8; 16],
}

/// `mmap`
pub const MM_MMAP: u8 = 1;
/// `munmap`, at its **entry**: another thread can be given the addresses before the call returns. [`Unmapped`] says
/// when it has.
pub const MM_MUNMAP: u8 = 2;
/// `mremap`
pub const MM_MREMAP: u8 = 3;
/// `brk`
pub const MM_BRK: u8 = 4;
/// `mprotect`
pub const MM_MPROTECT: u8 = 5;
/// `madvise`
pub const MM_MADVISE: u8 = 6;

/// `prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, …)`: a name for memory, which `/proc/PID/maps` shows.
pub const MM_NAME: u8 = 7;

/// An address-space call.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mm {
    /// Who, when, which call.
    pub header: Header,
    /// When it began, on the header's clock. The same as the header's time for `munmap`, and where its entry was not
    /// seen: it was before the process was a target, or a filter of system calls answered in the kernel's place.
    pub began_ns: u64,
    /// What it returned: an address, zero, or a negative errno. Zero where it is told at its entry.
    pub ret: i64,
    /// Its arguments, in the call's own order.
    pub args: [u64; 6],
    /// `mmap` of a descriptor: the inode's number. Zero where there is none, or the descriptor is closed again.
    pub inode: u64,
    /// The file system's device (`MKDEV`).
    pub device: u32,
    /// The file system's magic number (`include/uapi/linux/magic.h`).
    pub magic: u32,
}

/// The `munmap` that the thread's last [`Mm`] record was of has returned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Unmapped {
    /// Who and when; [`MM_MUNMAP`].
    pub header: Header,
    /// When it began: the time of that record.
    pub began_ns: u64,
    /// What it returned: zero, or a negative errno.
    pub ret: i64,
}

/// The header's thread woke another of the same process that waited for a futex, by a call that does so
/// (`FUTEX_WAKE` and its kin).
///
/// Only where one of the two may have work for a request, as far as the probes can tell. What a lock's waiters do that
/// `FUTEX_REQUEUE` moved to another word is not told.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Wake {
    /// Who woke it, and when.
    pub header: Header,
    /// The thread that was woken.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
    /// The address of the word that it waited for.
    pub word: u64,
}

/// Page frames, counted in base pages.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FrameCount {
    /// Handed out for the program's memory and the page cache.
    pub user: u64,
    /// Handed out, zeroed and charged: page tables.
    pub page_table: u64,
    /// Handed out for anything else.
    pub kernel: u64,
    /// Taken back.
    pub freed: u64,
    /// Allocations of a whole huge page (each is 512 of the others).
    pub huge: u64,
}

/// What a thread's own work took since its last tally: interrupts on its time are left out.
///
/// Sent before the record of whatever may change for whom the thread works.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tally {
    /// Who and when.
    pub header: Header,
    /// Page frames.
    pub frames: FrameCount,
    /// Faults that were timed.
    pub timed_faults: u64,
    /// From their entry to their end, in all.
    pub fault_ns: u64,
}

/// Kinds of resident memory, in the kernel's order (`MM_FILEPAGES`, …, `include/linux/mm_types_task.h`).
pub const RSS_KINDS: usize = 4;

/// The resident memory of the header's process, at the time of the [`Io`] that follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rss {
    /// Who and when.
    pub header: Header,
    /// Pages of files, of anonymous memory, swapped out, of shared memory.
    pub pages: [i64; RSS_KINDS],
    /// How far each of these may be off, in pages: what other threads or CPUs keep to themselves.
    pub error_pages: u64,
}

/// `accept`, `accept4`: `fd` listens, `ret` is the connection, `other` its address family.
pub const OP_ACCEPT: u8 = 1;
/// `listen`
pub const OP_LISTEN: u8 = 2;
/// `socket`: `ret` is the descriptor, `other` the address family.
pub const OP_SOCKET: u8 = 3;
/// `connect`, begun or done: `other` is the address family.
pub const OP_CONNECT: u8 = 4;
/// `close`, at its **entry**: the number can be in use again before the call returns.
pub const OP_CLOSE: u8 = 5;
/// `close_range`, at its entry: `fd` is the first, `other` the last, [`IO_CLOEXEC`] marks instead of closing.
pub const OP_CLOSE_RANGE: u8 = 6;
/// `dup`, `dup2`, `dup3`, `fcntl(F_DUPFD…)`: `ret` is the copy.
pub const OP_DUP: u8 = 7;
/// Bytes came in: `ret` is how many, with payload.
pub const OP_READ: u8 = 8;
/// Bytes went out: `ret` is how many, with payload.
pub const OP_WRITE: u8 = 9;
/// `recvmsg` brought descriptors (`SCM_RIGHTS`): the payload is their numbers, four bytes each.
pub const OP_RECV_FD: u8 = 10;

/// `write` of a text that begins with [`MARK`], to no connection: `ret` is its length, with payload.
pub const OP_MARK: u8 = 11;
/// How a marker begins.
pub const MARK: [u8; 9] = *b"memtrace:";
/// `eventfd`, `eventfd2`, `pipe`, `pipe2`, `socketpair`: a channel, by which threads can hand work to each other. What is
/// read from `fd` is what was written to `ret`; the same descriptor for an eventfd. `other` is 1 where it goes the other
/// way, too (`socketpair`).
pub const OP_CHANNEL: u8 = 12;
/// As much of a marker is read, in bytes.
pub const MARK_MAX: usize = 256;

/// [`Io`] carries payload: `SEGMENTS_MAX` [`Segment`]s and then their bytes follow the record.
pub const IO_PAYLOAD: u8 = 1;
/// The descriptor is a connection that the process itself opened.
pub const IO_OUTBOUND: u8 = 2;
/// `close_range` with `CLOSE_RANGE_CLOEXEC`.
pub const IO_CLOEXEC: u8 = 4;
/// The descriptor is a channel's, see [`OP_CHANNEL`]; no payload. Its other end may be another process's.
pub const IO_CHANNEL: u8 = 8;
/// The process's resident memory is what it was when it was told last: less than [`RSS_HOLDS_NS`] ago by this thread,
/// which has taken no fault since, while from as long before on no other has begun one or changed the address space.
pub const IO_RSS_HOLDS: u8 = 16;
/// How long a reading of resident memory may stand for another: reclaim takes pages from the process with no word to the
/// probes.
pub const RSS_HOLDS_NS: u64 = 1_000_000;

/// A call on a descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Io {
    /// Who, when, which call, on which descriptor.
    pub header: Header,
    /// What it returned.
    pub ret: i64,
    /// By `op`: see the `OP_` constants.
    pub other: i64,
}

/// One buffer of a read or a write: its length, and how much of its beginning and end was captured.
///
/// The captured bytes follow the table of segments, head and then tail, segment after segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Segment {
    /// Bytes that the call moved through this buffer.
    pub len: u32,
    /// Captured from its beginning.
    pub head: u16,
    /// Captured from its end; never overlaps the head.
    pub tail: u16,
}

/// The table of segments behind an [`Io`] with [`IO_PAYLOAD`].
pub type Segments = [Segment; SEGMENTS_MAX];

/// The longest record, in bytes.
pub const RECORD_MAX: usize = size_of::<Io>() + size_of::<Segments>() + PAYLOAD_MAX;

const _: () = {
    assert!(size_of::<Header>() == 40);
    assert!(size_of::<Fault>() == 56);
    assert!(size_of::<Fork>() == 56);
    assert!(size_of::<Exec>() == 64);
    assert!(size_of::<Mm>() == 120);
    assert!(size_of::<Unmapped>() == 56);
    assert!(size_of::<Wake>() == 56);
    assert!(size_of::<Io>() == 56);
    assert!(size_of::<Tally>() == 96);
    assert!(size_of::<Rss>() == 80);
    assert!(size_of::<Segments>() == 64);
    assert!(core::mem::offset_of!(Header, kind) == 32);
    assert!(core::mem::offset_of!(Header, fd) == 36);
    assert!(core::mem::offset_of!(Fault, address) == 40);
    assert!(core::mem::offset_of!(Fault, ip) == 48);
    assert!(core::mem::offset_of!(Io, ret) == 40);
    assert!(core::mem::offset_of!(Io, other) == 48);
};
