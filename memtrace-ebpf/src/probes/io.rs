//! Calls on descriptors: which are connections, and what went through them.
//!
//! Owns the table of descriptors that matter. Must not know HTTP; `payload` has the capture of bytes.

use aya_log_ebpf::warn;
use memtrace_common::{
    map::{Family, FdKey, FdState, ROLE_IGNORED, ROLE_INBOUND, ROLE_OUTBOUND},
    wire::{
        HEAD_MAX, IO_CLOEXEC, IO_OUTBOUND, Io, KIND_IO, OP_ACCEPT, OP_CLOSE, OP_CLOSE_RANGE, OP_CONNECT,
        OP_DUP, OP_LISTEN, OP_READ, OP_RECV_FD, OP_SOCKET, OP_WRITE,
    },
};

use super::{
    payload::{self, Buffers, Mmsghdr, Msghdr, Rights, read_user},
    syscall::Registers,
};
use crate::{FDS, PARENTS, arch::Call, emit, target::Target};

const EINPROGRESS: i64 = 115;
const F_DUPFD: u64 = 0;
const F_DUPFD_CLOEXEC: u64 = 1030;
const MSG_PEEK: u64 = 2;
const CLOSE_RANGE_CLOEXEC: u64 = 4;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
/// Messages of one `recvmmsg` or `sendmmsg` whose lengths are added up. On streams nobody sends more at once.
const MESSAGES_MAX: i64 = 8;

#[inline(always)]
pub(crate) fn returned(me: Target, call: u8, regs: Registers, ret: i64) {
    let fd = regs.argument(0) as i32;
    if call == Call::Accept as u8 {
        if ret >= 0 {
            remember(me, ret as i32, ROLE_INBOUND);
            plain(me, OP_ACCEPT, 0, fd, ret, 0);
        }
    } else if call == Call::Listen as u8 {
        if ret == 0 {
            plain(me, OP_LISTEN, 0, fd, ret, 0);
        }
    } else if call == Call::Socket as u8 {
        if ret >= 0 {
            forget(me, ret as i32);
            plain(me, OP_SOCKET, 0, ret as i32, ret, i64::from(fd));
        }
    } else if call == Call::Connect as u8 {
        if ret == 0 || ret == -EINPROGRESS {
            remember(me, fd, ROLE_OUTBOUND);
            let family = read_user::<u16>(regs.argument(1)).unwrap_or(0);
            plain(me, OP_CONNECT, IO_OUTBOUND, fd, ret, i64::from(family));
        }
    } else if call == Call::Dup as u8 {
        if ret >= 0 {
            duplicated(me, fd, ret);
        }
    } else if call == Call::Fcntl as u8 {
        let command = regs.argument(1);
        if ret >= 0 && (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
            duplicated(me, fd, ret);
        }
    } else if ret >= 0 {
        moved(me, call, regs, fd, ret);
    }
}

/// At entry: when the call returns the number may be somebody else's already.
#[inline(always)]
pub(crate) fn close(me: Target, regs: Registers) {
    let fd = regs.argument(0) as i32;
    if state(me, fd).is_some() {
        forget(me, fd);
        plain(me, OP_CLOSE, 0, fd, 0, 0);
    }
}

/// Userspace knows which descriptors lie in the range.
#[inline(always)]
pub(crate) fn close_range(me: Target, regs: Registers) {
    let flags = if regs.argument(2) & CLOSE_RANGE_CLOEXEC == 0 {
        0
    } else {
        IO_CLOEXEC
    };
    let last = i64::from(regs.argument(1) as u32);
    plain(me, OP_CLOSE_RANGE, flags, regs.argument(0) as i32, 0, last);
}

/// Bytes went through a descriptor, or a read found the end.
#[inline(always)]
fn moved(me: Target, call: u8, regs: Registers, fd: i32, ret: i64) {
    if call == Call::Splice as u8 {
        unseen(me, OP_READ, fd, ret);
        unseen(me, OP_WRITE, regs.argument(2) as i32, ret);
    } else if call == Call::Sendfile as u8 {
        unseen(me, OP_WRITE, fd, ret);
    } else if call == Call::Recvmmsg as u8 {
        if regs.argument(3) & MSG_PEEK == 0 && state(me, fd).is_some() {
            unseen(me, OP_READ, fd, message_bytes(regs.argument(1), ret));
        }
    } else if call == Call::Sendmmsg as u8 {
        if state(me, fd).is_some() {
            unseen(me, OP_WRITE, fd, message_bytes(regs.argument(1), ret));
        }
    } else {
        let (op, buffers) = if call == Call::Read as u8 {
            (OP_READ, Buffers::One(regs.argument(1)))
        } else if call == Call::Write as u8 {
            (OP_WRITE, Buffers::One(regs.argument(1)))
        } else if call == Call::Recvfrom as u8 {
            if regs.argument(3) & MSG_PEEK != 0 {
                return;
            }
            (OP_READ, Buffers::One(regs.argument(1)))
        } else if call == Call::Readv as u8 {
            (OP_READ, Buffers::Many(regs.argument(1), regs.argument(2)))
        } else if call == Call::Writev as u8 {
            (OP_WRITE, Buffers::Many(regs.argument(1), regs.argument(2)))
        } else {
            let read = call == Call::Recvmsg as u8;
            if read && regs.argument(2) & MSG_PEEK != 0 {
                return;
            }
            let Some(message) = read_user::<Msghdr>(regs.argument(1)) else {
                return;
            };
            if read {
                received_descriptor(me, fd, &message);
            }
            (
                if read { OP_READ } else { OP_WRITE },
                Buffers::Many(message.iov, message.iov_len),
            )
        };
        seen(me, op, fd, ret, buffers);
    }
}

/// A move whose bytes were in nobody's memory, or are not looked at.
#[inline(always)]
fn unseen(me: Target, op: u8, fd: i32, ret: i64) {
    if let Some(state) = state(me, fd)
        && turn(me, op, fd, ret, state).is_some()
    {
        plain(me, op, 0, fd, ret, 0);
    }
}

#[inline(always)]
fn seen(me: Target, op: u8, fd: i32, ret: i64, buffers: Buffers) {
    if let Some(state) = state(me, fd)
        && let Some(budget) = turn(me, op, fd, ret, state)
    {
        payload::send(me, op, fd, ret, buffers, budget);
    }
}

/// Notes the stream's direction; the budget for capture where there are bytes of a client's connection.
#[inline(always)]
fn turn(me: Target, op: u8, fd: i32, ret: i64, state: &'static mut FdState) -> Option<&'static mut u32> {
    if state.role == ROLE_OUTBOUND {
        if ret > 0 {
            plain(me, op, IO_OUTBOUND, fd, ret, 0);
        }
        return None;
    }
    if state.role != ROLE_INBOUND {
        return None;
    }
    if ret == 0 {
        // The end of what the client sends. A write of nothing says nothing.
        if op == OP_READ {
            plain(me, op, 0, fd, 0, 0);
        }
        return None;
    }
    if op == OP_READ {
        state.write_budget = HEAD_MAX as u32;
        Some(&mut state.read_budget)
    } else {
        state.read_budget = HEAD_MAX as u32;
        Some(&mut state.write_budget)
    }
}

/// The sum of `msg_len` over the first messages.
#[inline(always)]
fn message_bytes(address: u64, messages: i64) -> i64 {
    let mut sum = 0_i64;
    for i in 0..MESSAGES_MAX {
        if i >= messages {
            break;
        }
        let at = address + i as u64 * size_of::<Mmsghdr>() as u64;
        let Some(message) = read_user::<Mmsghdr>(at) else {
            break;
        };
        sum += i64::from(message.len as u32);
    }
    sum
}

/// A descriptor that another process passed on (Node's cluster does): it may be a connection.
#[inline(always)]
fn received_descriptor(me: Target, fd: i32, message: &Msghdr) {
    /// `CMSG_LEN(sizeof(int))`
    const ONE_FD: u64 = 20;
    if message.control_len < ONE_FD {
        return;
    }
    let Some(rights) = read_user::<Rights>(message.control) else {
        return;
    };
    if rights.level == SOL_SOCKET && rights.kind == SCM_RIGHTS && rights.len >= ONE_FD {
        remember(me, rights.fd, ROLE_INBOUND);
        plain(me, OP_RECV_FD, 0, fd, 0, i64::from(rights.fd));
    }
}

#[inline(always)]
fn duplicated(me: Target, fd: i32, copy: i64) {
    match state(me, fd) {
        Some(&mut FdState { role, .. }) => remember(me, copy as i32, role),
        None => forget(me, copy as i32),
    }
    plain(me, OP_DUP, 0, fd, copy, 0);
}

/// A record without payload.
#[inline(always)]
fn plain(me: Target, op: u8, flags: u8, fd: i32, ret: i64, other: i64) {
    let mut header = emit::header(me, KIND_IO);
    header.flags = flags;
    header.op = op;
    header.fd = fd;
    emit::send(Family::Io, header.time_ns, Io { header, ret, other });
}

/// What is known of a descriptor: its own entry, or for one that was inherited, its parent's, copied.
#[inline(always)]
fn state(me: Target, fd: i32) -> Option<&'static mut FdState> {
    let own = FdKey { tgid: me.tgid, fd };
    if let Some(state) = FDS.get_ptr_mut(own) {
        // SAFETY: a live map element; userspace replaces elements whole.
        return Some(unsafe { &mut *state });
    }
    if !me.forked() {
        return None;
    }
    // SAFETY: copied at once.
    let parent = *unsafe { PARENTS.get(me.tgid) }?;
    // SAFETY: copied at once.
    let inherited = *unsafe { FDS.get(FdKey { tgid: parent, fd }) }?;
    FDS.insert(own, inherited, 0).ok()?;
    // SAFETY: as above.
    FDS.get_ptr_mut(own).map(|state| unsafe { &mut *state })
}

#[inline(always)]
fn remember(me: Target, fd: i32, role: u32) {
    let state = FdState {
        role,
        read_budget: HEAD_MAX as u32,
        write_budget: HEAD_MAX as u32,
    };
    if FDS.insert(FdKey { tgid: me.tgid, fd }, state, 0).is_err() {
        warn!(
            &(),
            "the table of descriptors is full: process {}, descriptor {}", me.tgid, fd
        );
        emit::lost(Family::Io);
    }
}

#[inline(always)]
fn forget(me: Target, fd: i32) {
    if me.forked() {
        // Hides what the parent has under this number.
        remember(me, fd, ROLE_IGNORED);
    } else {
        // Most descriptors were never in the table.
        let _ = FDS.remove(FdKey { tgid: me.tgid, fd });
    }
}
