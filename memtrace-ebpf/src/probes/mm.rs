//! mmap, mremap, brk, mprotect, madvise, when they return, and munmap, when it begins and when it returns.
//!
//! Owns the copy of arguments and result, and when a call began. Must not know what a VMA is.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use memtrace_common::{
    map::Family,
    wire::{Header, KIND_MM, KIND_UNMAPPED, MM_MMAP, MM_MUNMAP, MM_NAME, Mm, Unmapped},
};

use super::{rss, syscall::Registers};
use crate::{FILE_PATH, emit, tally, target::Target, task::Task};

const MAP_ANONYMOUS: u64 = 0x20;

/// One that is told of when it returns.
#[inline(always)]
pub(crate) fn begins(me: Target) {
    if let Some(running) = tally::notes(me) {
        // SAFETY: the helper takes nothing.
        running.call_since_ns = unsafe { bpf_ktime_get_ns() };
    }
}

/// `prctl`, as it begins.
#[inline(always)]
pub(crate) fn naming(me: Target, regs: &Registers) {
    if is_naming(regs) {
        begins(me);
    }
}

/// `prctl`, when it returns.
#[inline(always)]
pub(crate) fn named(me: Target, regs: &Registers, ret: i64) {
    if !is_naming(regs) {
        return;
    }
    if ret == 0 {
        returned(me, MM_NAME, regs, ret);
    } else {
        let _ = take_beginning(me);
    }
}

/// Whether `prctl` is about memory, as its first two arguments say.
#[inline(always)]
fn is_naming(regs: &Registers) -> bool {
    const PR_SET_VMA: u64 = 0x53_56_4d_41;
    const PR_SET_VMA_ANON_NAME: u64 = 0;
    regs.argument(0) == PR_SET_VMA && regs.argument(1) == PR_SET_VMA_ANON_NAME
}

/// One that is bound to fail (`EINVAL`, `__do_munmap` in mm/mmap.c) is left out.
#[inline(always)]
pub(crate) fn unmapping(me: Target, regs: &Registers) {
    const PAGE: u64 = 4096;
    if !regs.argument(0).is_multiple_of(PAGE) || regs.argument(1) == 0 {
        return;
    }
    let header = header(me, MM_MUNMAP);
    if tell(header, header.time_ns, regs, 0)
        && let Some(running) = tally::notes(me)
    {
        running.call_since_ns = header.time_ns;
    }
}

/// Of one that was left out, or whose beginning found the ring full, nobody wants to know.
#[inline(always)]
pub(crate) fn unmapped(me: Target, ret: i64) {
    let mut header = emit::header(me, KIND_UNMAPPED);
    rss::changed(me, header.time_ns);
    let Some(began_ns) = take_beginning(me) else {
        return;
    };
    header.op = MM_MUNMAP;
    emit::send(
        Family::Mm,
        header.time_ns,
        Unmapped {
            header,
            began_ns,
            ret,
        },
    );
}

#[inline(always)]
pub(crate) fn returned(me: Target, op: u8, regs: &Registers, ret: i64) {
    let header = header(me, op);
    rss::changed(me, header.time_ns);
    let began_ns = take_beginning(me).unwrap_or(header.time_ns);
    tell(header, began_ns, regs, ret);
}

/// When the call began that the running thread returns from, where that was seen.
#[inline(always)]
fn take_beginning(me: Target) -> Option<u64> {
    let running = tally::of(me.tid)?;
    let since_ns = running.call_since_ns;
    running.call_since_ns = 0;
    (since_ns != 0).then_some(since_ns)
}

#[inline(always)]
fn header(me: Target, op: u8) -> Header {
    let mut header = emit::header(me, KIND_MM);
    header.op = op;
    header
}

#[inline(always)]
fn tell(header: Header, began_ns: u64, regs: &Registers, ret: i64) -> bool {
    let args = regs.arguments();
    let file = if header.op == MM_MMAP && args[3] & MAP_ANONYMOUS == 0 {
        File::of(args[4])
    } else {
        File::default()
    };
    emit::send(
        Family::Mm,
        header.time_ns,
        Mm {
            header,
            began_ns,
            ret,
            args,
            inode: file.inode,
            device: file.device,
            magic: file.magic,
        },
    )
}

/// Which file a descriptor of the running process is of.
#[derive(Default)]
struct File {
    inode: u64,
    device: u32,
    magic: u32,
}

impl File {
    /// All zero where the descriptor is closed.
    #[inline(always)]
    fn of(fd: u64) -> Self {
        let [files, fdt, max_fds, fds, inode, number, superblock, device, magic] = FILE_PATH.load();
        let table = Task::current().follow(files).follow(fdt);
        // A descriptor is an `int`.
        let fd = fd & 0x7fff_ffff;
        let open: u32 = table.read(max_fds);
        if fd >= u64::from(open) {
            return Self::default();
        }
        let inode = table.follow(fds).follow(fd * 8).follow(inode);
        let superblock = inode.follow(superblock);
        Self {
            inode: inode.read(number),
            device: superblock.read(device),
            magic: superblock.read::<u64>(magic) as u32,
        }
    }
}
