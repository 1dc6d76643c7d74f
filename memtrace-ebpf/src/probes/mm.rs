//! mmap, mremap, brk, mprotect, madvise, when they return, and munmap, when it begins.
//!
//! Owns the copy of arguments and result. Must not know what a VMA is.

use memtrace_common::{
    map::Family,
    wire::{KIND_MM, MM_MMAP, MM_MUNMAP, MM_NAME, Mm},
};

use crate::{FILE_PATH, emit, probes::syscall::Registers, target::Target, task::Task};

const MAP_ANONYMOUS: u64 = 0x20;

/// `prctl`, which is about memory if its first two arguments say so.
#[inline(always)]
pub(crate) fn named(me: Target, regs: Registers, ret: i64) {
    const PR_SET_VMA: u64 = 0x53_56_4d_41;
    const PR_SET_VMA_ANON_NAME: u64 = 0;
    if ret == 0 && regs.argument(0) == PR_SET_VMA && regs.argument(1) == PR_SET_VMA_ANON_NAME {
        returned(me, MM_NAME, regs, ret);
    }
}

/// One that is bound to fail (`EINVAL`, `__do_munmap` in mm/mmap.c) is left out.
#[inline(always)]
pub(crate) fn unmapping(me: Target, regs: Registers) {
    const PAGE: u64 = 4096;
    if regs.argument(0).is_multiple_of(PAGE) && regs.argument(1) != 0 {
        returned(me, MM_MUNMAP, regs, 0);
    }
}

#[inline(always)]
pub(crate) fn returned(me: Target, op: u8, regs: Registers, ret: i64) {
    let mut header = emit::header(me, KIND_MM);
    header.op = op;
    let args = regs.arguments();
    let file = if op == MM_MMAP && args[3] & MAP_ANONYMOUS == 0 {
        File::of(args[4])
    } else {
        File::default()
    };
    emit::send(
        Family::Mm,
        header.time_ns,
        Mm {
            header,
            ret,
            args,
            inode: file.inode,
            device: file.device,
            magic: file.magic,
        },
    );
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
