//! The kernel side of memtrace: maps, read-only constants, and one entry point for each tracepoint.
//!
//! The kernel observes, userspace decides: nothing here knows what a request is. Programs filter by target, copy
//! facts into the ring, and count what did not fit.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "BPF helpers and map pointers are raw; each block says why it holds"
)]
#![expect(
    clippy::inline_always,
    reason = "one function a program: calls cost, and the verifier of 5.10 walks each callee anew"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are 64 bits wide and hold what the kernel defines narrower; there is no cheap way to fail"
)]
#![expect(
    clippy::cast_ptr_alignment,
    reason = "only helpers read through these pointers, and they take any address"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the entry points' signatures are aya's"
)]

mod arch;
mod current;
mod descriptor;
mod emit;
mod entry;
mod ids;
mod probes;
mod tally;
mod target;
mod task;
mod thread;

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::{btf_tracepoint, map, perf_event, raw_tracepoint},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
    programs::{BtfTracePointContext, PerfEventContext, RawTracePointContext},
};
use memtrace_common::map::{
    self, Counters, Entry, FILE_STEPS, FdKey, FdState, Gap, Parent, RSS_CPUS_MAX, Running,
    TARGETS_PER_ELEMENT, TGID_LIMIT,
};

/// All records. Userspace sets the size before it loads.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// A byte for every possible tgid: the first test of every probe is one load, with no hashing, however many
/// processes are traced. Userspace writes it through `mmap`, so neither side overwrites the other's bytes.
#[map]
static TARGETS: Array<[u8; TARGETS_PER_ELEMENT as usize]> =
    Array::with_max_entries(TGID_LIMIT / TARGETS_PER_ELEMENT, BPF_F_MMAPABLE);

/// The same for every possible thread, which userspace has no business with.
#[map]
static THREADS: Array<[u8; TARGETS_PER_ELEMENT as usize]> =
    Array::with_max_entries(TGID_LIMIT / TARGETS_PER_ELEMENT, 0);

/// The parent of each process that was forked while traced, for the descriptors that it inherited. Userspace takes
/// out those that are gone, here and in `FDS`, when nobody can inherit from them any more.
#[map]
static PARENTS: HashMap<u32, Parent> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// The descriptors that matter, of processes that have a row and that it has room for.
#[map]
static ROWS: Array<FdState> = Array::with_max_entries(map::ROWS * map::ROW_LEN, BPF_F_MMAPABLE);

/// By row: the process that has it, or zero. Userspace alone writes it.
#[map]
static ROW_OWNERS: Array<u32> = Array::with_max_entries(map::ROWS, 0);

/// All other descriptors that matter.
#[map]
static FDS: HashMap<FdKey, FdState> = HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

/// By the kernel's number of a thread, that of memtrace's own pid namespace. Empty on the host itself.
#[map]
static IDS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(16_384, 0);

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

#[map]
static GAP: Array<Gap> = Array::with_max_entries(1, 0);

/// By thread: of those that were handed work (by a client, another process or thread) or have changed their address
/// space, and of all targets' where faults are timed.
/// Allocated at once (5 MB): before 6.1 programs on perf events may have no other.
#[map]
static TALLIES: HashMap<u32, Running> = HashMap::with_max_entries(32_768, 0);

#[map]
static ENTRY: Array<Entry> = Array::with_max_entries(1, 0);

/// What has to be added to a per-CPU pointer to reach each CPU's own; zero where nobody has asked yet.
#[map]
static CPU_OFFSETS: Array<u64> = Array::with_max_entries(RSS_CPUS_MAX as u32, 0);

/// By row, whether or not the process has that.
#[map]
static RSS_TOLD: Array<probes::rss::Told> = Array::with_max_entries(map::ROWS, 0);

/// Where one descriptor record is put together, payload and all.
#[map]
static SCRATCH: PerCpuArray<probes::payload::Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The kernel types the running thread for its programs.
#[unsafe(no_mangle)]
static TYPED: Global<u8> = Global::new(0);

/// Offsets in `struct task_struct`, from this kernel's BTF, as are those that follow.
#[unsafe(no_mangle)]
static TASK_MIN_FLT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_MAJ_FLT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_PID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_TGID: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_THREAD_PID: Global<u64> = Global::new(0);
/// In `struct pid`.
#[unsafe(no_mangle)]
static PID_LEVEL: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static PID_NUMBERS: Global<u64> = Global::new(0);
/// Of the inode's number in `struct pid_namespace`.
#[unsafe(no_mangle)]
static PIDNS_INUM: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
static TASK_STACK: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_MM: Global<u64> = Global::new(0);
/// Of `count` in the threads' own part of their process's resident memory, up to 6.1.
#[unsafe(no_mangle)]
static TASK_RSS: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static TASK_SIGNAL: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SIGNAL_THREADS: Global<u64> = Global::new(0);
/// The way from a descriptor to its file system: `files`, `fdt`, `max_fds`, `fd`, `f_inode`, `i_ino`, `i_sb`, `s_dev`,
/// `s_magic`, each in the struct that the one before leads to.
#[unsafe(no_mangle)]
static FILE_PATH: Global<[u64; FILE_STEPS]> = Global::new([0; FILE_STEPS]);

/// In `struct mm_struct`.
#[unsafe(no_mangle)]
static MM_RSS: Global<u64> = Global::new(0);
/// The size of `struct percpu_counter`, and two of its members.
#[unsafe(no_mangle)]
static COUNTER_SIZE: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static COUNTER_COUNT: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static COUNTER_CPUS: Global<u64> = Global::new(0);
/// In `struct bpf_array`.
#[unsafe(no_mangle)]
static ARRAY_PPTRS: Global<u64> = Global::new(0);

/// How this kernel counts resident memory: an `RSS_` constant.
#[unsafe(no_mangle)]
static RSS_KEPT: Global<u8> = Global::new(0);
/// How many CPUs keep a part of it to themselves.
#[unsafe(no_mangle)]
static CPUS: Global<u32> = Global::new(0);
/// As many pages one of them may keep, or one thread.
#[unsafe(no_mangle)]
static RSS_BATCH: Global<u64> = Global::new(0);
/// Faults are timed.
#[unsafe(no_mangle)]
static FAULT_TIME: Global<u8> = Global::new(0);
/// Of a huge page.
#[unsafe(no_mangle)]
static HUGE_ORDER: Global<u32> = Global::new(9);

/// The pid namespace whose numbers are told, by device and inode of its file; zero for the host's.
#[unsafe(no_mangle)]
static PIDNS_DEV: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static PIDNS_INODE: Global<u64> = Global::new(0);

/// memtrace itself, which makes a system call for `entry` as soon as it is attached.
#[unsafe(no_mangle)]
static OWN_TGID: Global<u32> = Global::new(0);

/// Whether children of a target are targets.
#[unsafe(no_mangle)]
static FOLLOW: Global<u8> = Global::new(1);
/// A process that execs a program of this name becomes a target; all zero for none.
#[unsafe(no_mangle)]
static COMM: Global<[u64; 2]> = Global::new([0; 2]);
/// A process that execs in this cgroup v2 directory or below becomes a target; zero for none.
#[unsafe(no_mangle)]
static CGROUP_ID: Global<u64> = Global::new(0);
/// The depth of that directory below the hierarchy's root.
#[unsafe(no_mangle)]
static CGROUP_LEVEL: Global<u32> = Global::new(0);

#[raw_tracepoint(tracepoint = "page_fault_user")]
fn page_fault_user(ctx: RawTracePointContext) -> i32 {
    probes::fault::user(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "page_fault_kernel")]
fn page_fault_kernel(ctx: RawTracePointContext) -> i32 {
    probes::fault::kernel(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    probes::task::fork(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    probes::task::exec(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    probes::task::exit();
    0
}

#[raw_tracepoint(tracepoint = "sched_process_free")]
fn sched_process_free(ctx: RawTracePointContext) -> i32 {
    probes::task::free(&ctx);
    0
}

#[btf_tracepoint(function = "sys_enter")]
fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    probes::syscall::enter(&ctx);
    0
}

#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    probes::syscall::exit(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sched_waking")]
fn sched_waking(ctx: RawTracePointContext) -> i32 {
    probes::wake::waking(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "mm_page_alloc")]
fn mm_page_alloc(ctx: RawTracePointContext) -> i32 {
    probes::frame::allocated(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "mm_page_free")]
fn mm_page_free(ctx: RawTracePointContext) -> i32 {
    probes::frame::freed(&ctx);
    0
}

/// On the software events `PAGE_FAULTS_MIN` and `PAGE_FAULTS_MAJ` of each target.
#[perf_event]
fn page_fault_end(_ctx: PerfEventContext) -> u32 {
    probes::fault::ended();
    0
}

/// `bpf_probe_read_kernel` and others are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
