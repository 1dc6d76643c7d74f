//! x86-64: numbers from `arch/x86/entry/syscalls/syscall_64.tbl`, registers from `arch/x86/include/asm/ptrace.h`.
//!
//! Owns nothing but these facts.

use super::{Call, Table, table};

/// Looked at when they return.
pub(crate) static AT_EXIT: Table = table(&[
    (0, Call::Read),
    (1, Call::Write),
    (7, Call::Poll),
    (9, Call::Mmap),
    (10, Call::Mprotect),
    (11, Call::Munmap),
    (12, Call::Brk),
    (17, Call::Read),  // pread64
    (18, Call::Write), // pwrite64
    (19, Call::Readv),
    (20, Call::Writev),
    (22, Call::Pipe),
    (23, Call::Select),
    (25, Call::Mremap),
    (28, Call::Madvise),
    (32, Call::Dup),
    (33, Call::Dup), // dup2
    (40, Call::Sendfile),
    (41, Call::Socket),
    (42, Call::Connect),
    (43, Call::Accept),
    (44, Call::Write), // sendto
    (45, Call::Recvfrom),
    (46, Call::Sendmsg),
    (47, Call::Recvmsg),
    (50, Call::Listen),
    (53, Call::Socketpair),
    (72, Call::Fcntl),
    (157, Call::Name), // prctl
    (232, Call::EpollWait),
    (270, Call::Select), // pselect6
    (271, Call::Ppoll),
    (275, Call::Splice),
    (281, Call::EpollWait), // epoll_pwait
    (284, Call::Eventfd),
    (288, Call::Accept),  // accept4
    (290, Call::Eventfd), // eventfd2
    (292, Call::Dup),     // dup3
    (293, Call::Pipe),    // pipe2
    (295, Call::Readv),   // preadv
    (296, Call::Writev),  // pwritev
    (299, Call::Recvmmsg),
    (307, Call::Sendmmsg),
    (327, Call::Readv),    // preadv2
    (328, Call::Writev),   // pwritev2
    (329, Call::Mprotect), // pkey_mprotect
    (425, Call::IoUringSetup),
    (441, Call::EpollPwait2),
]);

/// Looked at when they begin.
pub(crate) static AT_ENTRY: Table = table(&[
    (3, Call::Close),
    (7, Call::Poll),
    (9, Call::Mmap),
    (10, Call::Mprotect),
    (11, Call::Munmap),
    (12, Call::Brk),
    (23, Call::Select),
    (25, Call::Mremap),
    (28, Call::Madvise),
    (59, Call::Exec),
    (157, Call::Name), // prctl
    (232, Call::EpollWait),
    (270, Call::Select), // pselect6
    (271, Call::Ppoll),
    (281, Call::EpollWait), // epoll_pwait
    (322, Call::Exec),      // execveat
    (329, Call::Mprotect),  // pkey_mprotect
    (436, Call::CloseRange),
    (441, Call::EpollPwait2),
]);

/// Byte offsets in `struct pt_regs` of a system call's six arguments.
pub(crate) const ARGUMENTS: [usize; 6] = [112, 104, 96, 56, 72, 64];
/// Of the system call's number (`orig_ax`); the arguments' registers are untouched when it returns.
pub(crate) const NUMBER: usize = 120;
/// Of the code segment's selector.
pub(crate) const CS: usize = 136;
/// What is read of a system call: from its fourth argument to the code segment, in words.
pub(crate) const CALL: usize = 56;
pub(crate) const CALL_WORDS: usize = (CS - CALL) / size_of::<u64>() + 1;

/// `futex`, and its later parts that have a call of their own.
pub(crate) const FUTEX: u64 = 202;
pub(crate) const FUTEX_WAKE: u64 = 454;
pub(crate) const FUTEX_WAIT: u64 = 455;

/// Of the instruction pointer.
pub(crate) const IP: usize = 128;

/// Of the stack pointer.
pub(crate) const SP: usize = 152;
/// The selector of 32-bit code (`__USER32_CS`, `arch/x86/include/asm/segment.h`), whose system calls have other numbers.
pub(crate) const CS_32_BIT: u64 = 0x23;

/// `error_code` of a page fault: `enum x86_pf_error_code` in `arch/x86/include/asm/trap_pf.h`.
pub(crate) const PF_PROT: u64 = 1;
pub(crate) const PF_WRITE: u64 = 1 << 1;
pub(crate) const PF_INSTR: u64 = 1 << 4;

/// User space is the lower half (`TASK_SIZE_MAX`), with four or five levels of page tables alike.
#[inline(always)]
pub(crate) const fn is_user_address(address: u64) -> bool {
    address >> 63 == 0
}
