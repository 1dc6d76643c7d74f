//! Calls on descriptors: which are connections, and what went through them.
//!
//! Owns what each call means for a descriptor. Must not know HTTP; `payload` has the capture of bytes, `descriptor` the
//! tables.

use memtrace_common::{
    map::{Family, FdState, ROLE_CHANNEL, ROLE_INBOUND, ROLE_OUTBOUND},
    wire::{
        HEAD_MAX, IO_CHANNEL, IO_CLOEXEC, IO_OUTBOUND, Io, KIND_IO, MARK, MARK_MAX, OP_ACCEPT, OP_CHANNEL,
        OP_CLOSE, OP_CLOSE_RANGE, OP_CONNECT, OP_DUP, OP_LISTEN, OP_MARK, OP_READ, OP_SOCKET, OP_WRITE,
    },
};

use super::{
    payload::{self, Buffers, Mmsghdr, Msghdr, read_user},
    syscall::Registers,
};
use crate::{
    arch::Call,
    descriptor::{self, of_interest},
    emit, tally,
    target::Target,
    thread,
};

const EINPROGRESS: i64 = 115;
const F_DUPFD: u64 = 0;
const F_DUPFD_CLOEXEC: u64 = 1030;
const MSG_PEEK: u64 = 2;
const CLOSE_RANGE_CLOEXEC: u64 = 4;
/// Messages of one `recvmmsg` or `sendmmsg` whose lengths are added up. On streams nobody sends more at once.
const MESSAGES_MAX: i64 = 8;

#[inline(always)]
pub(crate) fn returned(me: Target, call: u8, regs: &Registers, ret: i64) {
    let fd = regs.argument(0) as i32;
    if call == Call::Accept as u8 {
        if ret >= 0 {
            tally::flush(me);
            thread::rests(me.tid);
            descriptor::remember(me, ret as i32, ROLE_INBOUND);
            plain(me, OP_ACCEPT, 0, fd, ret, 0);
        }
    } else if call == Call::Listen as u8 {
        if ret == 0 {
            plain(me, OP_LISTEN, 0, fd, ret, 0);
        }
    } else if call == Call::Socket as u8 {
        if ret >= 0 {
            descriptor::forget(me, ret as i32);
            plain(me, OP_SOCKET, 0, ret as i32, ret, i64::from(fd));
        }
    } else if call == Call::Connect as u8 {
        if ret == 0 || ret == -EINPROGRESS {
            descriptor::remember(me, fd, ROLE_OUTBOUND);
            let family = read_user::<u16>(regs.argument(1)).unwrap_or(0);
            plain(me, OP_CONNECT, IO_OUTBOUND, fd, ret, i64::from(family));
        }
    } else if call == Call::Eventfd as u8 {
        if ret >= 0 {
            channel(me, [ret as i32; 2], false);
        }
    } else if call == Call::Pipe as u8 {
        if ret == 0
            && let Some(ends) = read_user::<[i32; 2]>(regs.argument(0))
        {
            channel(me, ends, false);
        }
    } else if call == Call::Socketpair as u8 {
        if ret == 0
            && let Some(ends) = read_user::<[i32; 2]>(regs.argument(3))
        {
            channel(me, ends, true);
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
    }
}

/// Whether a call moves bytes through descriptors.
#[inline(always)]
pub(crate) fn is_move(call: u8) -> bool {
    const FIRST: u8 = Call::Read as u8;
    const LAST: u8 = Call::Splice as u8;
    (FIRST..=LAST).contains(&call)
}

/// At entry: when the call returns the number may be somebody else's already.
#[inline(always)]
pub(crate) fn close(me: Target, regs: &Registers) {
    let fd = regs.argument(0) as i32;
    if of_interest(me, fd).is_some() {
        descriptor::forget(me, fd);
        plain(me, OP_CLOSE, 0, fd, 0, 0);
    }
}

/// What is read from the one end of it is what was written to the other, and the other way, too, where it `turns`.
#[inline(always)]
fn channel(me: Target, [reads, writes]: [i32; 2], turns: bool) {
    descriptor::remember(me, reads, ROLE_CHANNEL);
    if writes != reads {
        descriptor::remember(me, writes, ROLE_CHANNEL);
    }
    plain(me, OP_CHANNEL, 0, reads, i64::from(writes), i64::from(turns));
}

/// Userspace knows which descriptors lie in the range.
#[inline(always)]
pub(crate) fn close_range(me: Target, regs: &Registers) {
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
pub(crate) fn moved(me: Target, call: u8, regs: &Registers, ret: i64) {
    if ret < 0 || peeks(call, regs) {
        return;
    }
    let mut fd = regs.argument(0) as i32;
    if call == Call::Recvmsg as u8 || call == Call::Recvmmsg as u8 {
        // A `struct mmsghdr` begins with its `struct msghdr`.
        received_descriptors(me, fd, regs.argument(1));
    }
    let Some((op, len, buffers)) = stretch(call, regs, ret) else {
        return;
    };
    if call == Call::Splice as u8 {
        // Bytes that were in nobody's memory came out of one descriptor, and went into another.
        if let Some(state) = of_interest(me, fd)
            && turn(me, OP_READ, fd, ret, state).is_some()
        {
            plain(me, OP_READ, 0, fd, ret, 0);
        }
        fd = regs.argument(2) as i32;
    }
    // One place for all calls: what is behind this is most of the program, and is to stay in the caches.
    if let Some(state) = of_interest(me, fd) {
        if let Some(budget) = turn(me, op, fd, len, state) {
            payload::send(me, op, fd, len, buffers, budget);
        }
    } else if call == Call::Write as u8 {
        mark(me, fd, ret, regs.argument(1));
    }
}

/// Which way a call's bytes went, how many they were, and where they are.
#[inline(always)]
fn stretch(call: u8, regs: &Registers, ret: i64) -> Option<(u8, i64, Buffers)> {
    let address = regs.argument(1);
    Some(if call == Call::Read as u8 || call == Call::Recvfrom as u8 {
        (OP_READ, ret, Buffers::One(address))
    } else if call == Call::Write as u8 {
        (OP_WRITE, ret, Buffers::One(address))
    } else if call == Call::Readv as u8 {
        (OP_READ, ret, Buffers::Many(address, regs.argument(2)))
    } else if call == Call::Writev as u8 {
        (OP_WRITE, ret, Buffers::Many(address, regs.argument(2)))
    } else if call == Call::Recvmsg as u8 || call == Call::Sendmsg as u8 {
        let message = read_user::<Msghdr>(address)?;
        let op = if call == Call::Recvmsg as u8 {
            OP_READ
        } else {
            OP_WRITE
        };
        (op, ret, Buffers::Many(message.iov, message.iov_len))
    } else if call == Call::Recvmmsg as u8 || call == Call::Sendmmsg as u8 {
        let (len, buffers) = messages(address, ret)?;
        let op = if call == Call::Recvmmsg as u8 {
            OP_READ
        } else {
            OP_WRITE
        };
        (op, len, buffers)
    } else {
        (OP_WRITE, ret, Buffers::Nowhere)
    })
}

/// A program says something to memtrace, whatever the descriptor is: `docs/MARKERS.md` has `/dev/null`.
#[inline(always)]
fn mark(me: Target, fd: i32, ret: i64, address: u64) {
    // One more than `MARK` itself, at least; most writes are no longer looked at than this.
    if ret <= MARK.len() as i64 || read_user::<[u8; MARK.len()]>(address) != Some(MARK) {
        return;
    }
    tally::flush(me);
    tally::begin(me);
    thread::gets_work(me.tid);
    payload::send(
        me,
        OP_MARK,
        fd,
        ret,
        Buffers::One(address),
        &mut (MARK_MAX as u32),
    );
}

/// The bytes stay where they are, and will be read again.
#[inline(always)]
fn peeks(call: u8, regs: &Registers) -> bool {
    let flags = if call == Call::Recvmsg as u8 {
        regs.argument(2)
    } else if call == Call::Recvfrom as u8 || call == Call::Recvmmsg as u8 {
        regs.argument(3)
    } else {
        return false;
    };
    flags & MSG_PEEK != 0
}

/// Notes the stream's direction; the budget for capture where there are bytes of a client's connection.
#[inline(always)]
fn turn(me: Target, op: u8, fd: i32, ret: i64, state: &'static mut FdState) -> Option<&'static mut u32> {
    if state.role == ROLE_OUTBOUND || state.role == ROLE_CHANNEL {
        if ret > 0 {
            let flags = if state.role == ROLE_OUTBOUND {
                IO_OUTBOUND
            } else {
                IO_CHANNEL
            };
            tally::flush(me);
            if flags == IO_OUTBOUND || op == OP_READ {
                thread::gets_work(me.tid);
                tally::begin(me);
            }
            plain(me, op, flags, fd, ret, 0);
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
    if !thread::is_ready_for_more(me.tid) {
        tally::flush(me);
        thread::gets_work(me.tid);
        if op == OP_READ {
            tally::begin(me);
        }
    }
    if op == OP_READ {
        state.write_budget = HEAD_MAX as u32;
        Some(&mut state.read_budget)
    } else {
        state.read_budget = HEAD_MAX as u32;
        Some(&mut state.write_budget)
    }
}

/// Several messages, which on a stream is one stretch of it: the first is looked into, of the others the lengths are
/// added up.
#[inline(always)]
fn messages(address: u64, count: i64) -> Option<(i64, Buffers)> {
    let first = read_user::<Mmsghdr>(address)?;
    let mut sum = i64::from(first.len as u32);
    for i in 1..MESSAGES_MAX {
        if i >= count {
            break;
        }
        let at = address + i as u64 * size_of::<Mmsghdr>() as u64;
        let Some(message) = read_user::<Mmsghdr>(at) else {
            break;
        };
        sum += i64::from(message.len as u32);
    }
    let Msghdr { iov, iov_len, .. } = first.header;
    let len = u64::from(first.len as u32);
    Some((sum, Buffers::First { iov, iov_len, len }))
}

/// Descriptors that another process passed on (Node's cluster does): they may be connections.
#[inline(always)]
fn received_descriptors(me: Target, fd: i32, message: u64) {
    let Some(message) = read_user::<Msghdr>(message) else {
        return;
    };
    let new = descriptor::New::now(me, ROLE_INBOUND);
    payload::send_descriptors(me, fd, &message, |received| new.note(received));
}

#[inline(always)]
fn duplicated(me: Target, fd: i32, copy: i64) {
    match descriptor::state(me, fd) {
        Some(&mut FdState { role, .. }) => descriptor::remember(me, copy as i32, role),
        None => descriptor::forget(me, copy as i32),
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
