//! The bytes of a read or a write, out of user memory: whole while the budget lasts, then each buffer's ends.
//!
//! Owns the capture and its bounds. Runs when the call returns: the buffers are resident then.

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_probe_read_user as probe_read_user};
use memtrace_common::{
    map::Family,
    wire::{
        HEAD_MAX, IO_PAYLOAD, IO_RSS_HOLDS, Io, KIND_IO, OP_RECV_FD, PAYLOAD_MAX, Rss, SEGMENTS_MAX,
        SHORT_HEAD, SHORT_TAIL, Segment, Segments,
    },
};

use super::rss::{self, Beside};
use crate::{SCRATCH, emit, target::Target};

/// A record while it is put together, and how far it is.
///
/// The progress is kept here and not in registers: what the verifier reads from a map it knows nothing of, so that
/// every turn of the loop looks the same to it and is walked once.
#[repr(C)]
pub(crate) struct Scratch {
    /// Goes before the record where the connection is a client's, see `rss`.
    pub(super) rss: Rss,
    pub(super) io: Io,
    segments: Segments,
    /// As far as the verifier can tell, the last read may begin at `PAYLOAD_MAX` and be `HEAD_MAX` long.
    bytes: [u8; PAYLOAD_MAX + HEAD_MAX],
    progress: Progress,
    /// Of the call that is looked into.
    iovecs: [Iovec; SEGMENTS_MAX],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Progress {
    /// Bytes captured.
    used: u64,
    /// Bytes of the call that no buffer has accounted for yet.
    left: u64,
    /// What may still be captured whole.
    full: u64,
}

/// Where the bytes of a call are.
#[derive(Clone, Copy)]
pub(crate) enum Buffers {
    /// One buffer's address; the call's result is its length.
    One(u64),
    /// The address of an array of `struct iovec`, and its length.
    Many(u64, u64),
    /// As `Many`, for the first `len` bytes; where the others are is not looked up.
    First { iov: u64, iov_len: u64, len: u64 },
    /// They were in nobody's memory.
    Nowhere,
}

/// `struct iovec`
#[derive(Clone, Copy)]
#[repr(C)]
struct Iovec {
    base: u64,
    len: u64,
}

/// `struct user_msghdr`, `include/linux/socket.h`
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Msghdr {
    name: u64,
    name_len: u64,
    pub(crate) iov: u64,
    pub(crate) iov_len: u64,
    pub(crate) control: u64,
    pub(crate) control_len: u64,
    flags: u64,
}

/// `struct mmsghdr`
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Mmsghdr {
    pub(crate) header: Msghdr,
    pub(crate) len: u64,
}

/// `struct cmsghdr`
#[derive(Clone, Copy)]
#[repr(C)]
struct Cmsghdr {
    len: u64,
    level: u32,
    kind: u32,
}

/// Sends the numbers of the descriptors that came beside a message's bytes, and hands each to `each`.
#[inline(always)]
pub(crate) fn send_descriptors(me: Target, fd: i32, message: &Msghdr, mut each: impl FnMut(i32)) {
    /// `SCM_MAX_FD`, `include/net/scm.h`
    const DESCRIPTORS_MAX: usize = 253;
    const SIZE: usize = size_of::<i32>();
    let Some((address, len)) = rights(message) else {
        return;
    };
    let Some(scratch) = scratch() else { return };
    let len = min(len, (DESCRIPTORS_MAX * SIZE) as u64);
    begin(scratch, me, OP_RECV_FD, fd, len as i64);
    if !emit::probing(|| append(scratch, address, len)) {
        return;
    }
    // As with progress: from here on the verifier sees one case.
    let len = load(scratch).used;
    scratch.segments[0] = Segment {
        len: len as u32,
        head: len as u16,
        tail: 0,
    };
    for i in 0..DESCRIPTORS_MAX {
        if (i * SIZE) as u64 >= len {
            break;
        }
        let number = scratch.bytes.as_ptr().wrapping_add(i * SIZE).cast::<i32>();
        // SAFETY: within `bytes`, whose beginning is aligned. Volatile, because a helper wrote it.
        each(unsafe { number.read_volatile() });
    }
    submit(scratch, false);
}

/// Where the numbers are that the `SCM_RIGHTS` part of a message holds, and their length in bytes.
#[inline(always)]
fn rights(message: &Msghdr) -> Option<(u64, u64)> {
    const HEADER: u64 = size_of::<Cmsghdr>() as u64;
    const SOL_SOCKET: u32 = 1;
    const SCM_RIGHTS: u32 = 1;
    /// Credentials, a security label and a pidfd may come first.
    const CMSGS_MAX: usize = 4;
    let (mut at, mut left) = (message.control, message.control_len);
    for _ in 0..CMSGS_MAX {
        if left < HEADER {
            return None;
        }
        let found = read_user::<Cmsghdr>(at)?;
        if found.len < HEADER || found.len > left {
            return None;
        }
        if found.level == SOL_SOCKET && found.kind == SCM_RIGHTS {
            return Some((at + HEADER, found.len - HEADER));
        }
        let aligned = (found.len + 7) & !7;
        at += aligned;
        left = left.saturating_sub(aligned);
    }
    None
}

/// Sends what `ret` bytes through `fd` looked like, with the process's resident memory, and takes what was captured whole
/// off the budget.
#[inline(always)]
pub(crate) fn send(me: Target, op: u8, fd: i32, ret: i64, buffers: Buffers, budget: &mut u32) {
    let Some(scratch) = scratch() else { return };
    begin(scratch, me, op, fd, ret);
    store(
        scratch,
        Progress {
            used: 0,
            left: match buffers {
                Buffers::First { len, .. } => min(len, ret as u64),
                Buffers::One(_) | Buffers::Many(..) | Buffers::Nowhere => ret as u64,
            },
            full: u64::from(*budget),
        },
    );
    emit::probing(|| capture(scratch, buffers));
    *budget = load(scratch).full as u32;
    match rss::beside(me, &scratch.io.header) {
        Beside::Reading => {
            if !submit(scratch, true) {
                rss::lost(me);
            }
            return;
        }
        Beside::Same => scratch.io.header.flags |= IO_RSS_HOLDS,
        Beside::Nothing => {}
    }
    submit(scratch, false);
}

#[inline(always)]
pub(super) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: this CPU's own element; only `sys_exit` uses it, and that does not preempt itself.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// A record with nothing captured yet.
#[inline(always)]
fn begin(scratch: &mut Scratch, me: Target, op: u8, fd: i32, ret: i64) {
    let mut header = emit::header(me, KIND_IO);
    header.flags = IO_PAYLOAD;
    header.op = op;
    header.fd = fd;
    scratch.io = Io {
        header,
        ret,
        other: 0,
    };
    clear(&mut scratch.segments);
    store(
        scratch,
        Progress {
            used: 0,
            left: 0,
            full: 0,
        },
    );
}

/// Word by word: what the compiler makes of it otherwise is a loop over bytes.
#[inline(always)]
fn clear(segments: &mut Segments) {
    const {
        assert!(size_of::<Segment>() == size_of::<u64>());
        assert!(core::mem::offset_of!(Scratch, segments) % align_of::<u64>() == 0);
    }
    let words = segments.as_mut_ptr().cast::<u64>();
    for i in 0..SEGMENTS_MAX {
        // SAFETY: within the array, and aligned in `Scratch`, by the assertions.
        unsafe { words.wrapping_add(i).write_volatile(0) };
    }
}

/// Sends the record, and resident memory before it where it lies there. Returns whether there was room.
#[inline(always)]
fn submit(scratch: &mut Scratch, with_rss: bool) -> bool {
    let used = load(scratch).used;
    if used > PAYLOAD_MAX as u64 {
        return false;
    }
    let time_ns = scratch.io.header.time_ns;
    let len = (size_of::<Io>() + size_of::<Segments>()) as u64 + used;
    if with_rss {
        let len = size_of::<Rss>() as u64 + len;
        let families = [Family::Frame, Family::Io];
        emit::send_bytes(families, time_ns, (&raw mut scratch.rss).cast(), len)
    } else {
        emit::send_bytes([Family::Io], time_ns, (&raw mut scratch.io).cast(), len)
    }
}

/// Copies what is wanted of up to eight buffers.
#[inline(always)]
fn capture(scratch: &mut Scratch, buffers: Buffers) {
    let count = match buffers {
        Buffers::One(base) => {
            let len = load(scratch).left;
            scratch.iovecs[0] = Iovec { base, len };
            1
        }
        Buffers::Many(address, count)
        | Buffers::First {
            iov: address,
            iov_len: count,
            ..
        } => read_iovecs(scratch, address, count),
        Buffers::Nowhere => 0,
    };
    for i in 0..SEGMENTS_MAX {
        if i as u64 >= count {
            break;
        }
        // SAFETY: a reference. Volatile, as a helper wrote it.
        let buffer = unsafe { (&raw const scratch.iovecs[i]).read_volatile() };
        let Progress { left, full, .. } = load(scratch);
        let len = min(buffer.len, left);
        let head = min(len, max(full, SHORT_HEAD as u64));
        let tail = min(len - head, SHORT_TAIL as u64);
        if !append(scratch, buffer.base, head) || !append(scratch, buffer.base + (len - tail), tail) {
            break;
        }
        scratch.segments[i] = Segment {
            len: len as u32,
            head: head as u16,
            tail: tail as u16,
        };
        let used = load(scratch).used;
        let left = left - len;
        store(
            scratch,
            Progress {
                used,
                left,
                full: full - min(full, head),
            },
        );
        if left == 0 {
            break;
        }
    }
}

/// As many as are looked into, at once; how many that are.
#[inline(always)]
fn read_iovecs(scratch: &mut Scratch, address: u64, count: u64) -> u64 {
    let count = core::hint::black_box(min(count, SEGMENTS_MAX as u64));
    if count == 0 || count > SEGMENTS_MAX as u64 {
        return 0;
    }
    // SAFETY: `count` is within `iovecs` by the test above; the helper checks the source.
    let failed = unsafe {
        probe_read_user(
            scratch.iovecs.as_mut_ptr().cast(),
            count as u32 * size_of::<Iovec>() as u32,
            address as *const _,
        )
    };
    if failed == 0 { count } else { 0 }
}

#[inline(always)]
fn load(scratch: &Scratch) -> Progress {
    // SAFETY: a reference. Volatile, so that the compiler keeps the progress in the map.
    unsafe { (&raw const scratch.progress).read_volatile() }
}

#[inline(always)]
fn store(scratch: &mut Scratch, progress: Progress) {
    // SAFETY: as above.
    unsafe { (&raw mut scratch.progress).write_volatile(progress) };
}

/// Reads user memory behind what is captured already; false where it cannot be read or there is no room.
#[inline(always)]
fn append(scratch: &mut Scratch, from: u64, len: u64) -> bool {
    let progress = load(scratch);
    if len == 0 {
        return true;
    }
    // The compiler may not leave out a test that the verifier wants to see.
    let len = core::hint::black_box(len);
    let at = progress.used;
    if at > PAYLOAD_MAX as u64 || len > HEAD_MAX as u64 {
        return false;
    }
    // SAFETY: `at + len` is within `bytes` by the test above; the helper checks the source.
    let failed = unsafe {
        probe_read_user(
            scratch.bytes.as_mut_ptr().wrapping_add(at as usize).cast(),
            len as u32,
            from as *const _,
        )
    };
    store(
        scratch,
        Progress {
            used: at + len,
            ..progress
        },
    );
    failed == 0
}

/// Reads a struct of integers.
#[inline(always)]
pub(crate) fn read_user<T: Copy>(address: u64) -> Option<T> {
    emit::probing(|| read_user_raw(address))
}

#[inline(always)]
fn read_user_raw<T: Copy>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address; every bit pattern is a valid `T`.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

#[inline(always)]
fn min(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

#[inline(always)]
fn max(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}
