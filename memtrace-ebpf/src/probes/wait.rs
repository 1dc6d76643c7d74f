//! Calls that wait for events: when they begin, and when they return because time has run out.
//!
//! Owns where each of them has how long it would wait. Must not know what is waited for.

use memtrace_common::{
    map::Family,
    wire::{KIND_WAIT, WAIT_ASKS, WAIT_TIMED_OUT},
};

use super::{payload::read_user, syscall::Registers};
use crate::{arch::Call, emit, tally, target::Target, thread};

/// Whether a call waits for events.
#[inline(always)]
pub(crate) fn is_wait(call: u8) -> bool {
    const {
        assert!(Call::EpollWait as u8 + 1 == Call::EpollPwait2 as u8);
        assert!(Call::EpollPwait2 as u8 + 1 == Call::Poll as u8);
        assert!(Call::Poll as u8 + 1 == Call::Ppoll as u8);
        assert!(Call::Ppoll as u8 + 1 == Call::Select as u8);
    }
    (Call::EpollWait as u8..=Call::Select as u8).contains(&call)
}

#[inline(always)]
pub(crate) fn begins(me: Target, call: u8, regs: &Registers) {
    let asks = asks(call, regs);
    thread::waits(me.tid, asks);
    tell(me, if asks { WAIT_ASKS } else { 0 });
}

/// Nothing came in the time that there was. Without a time these calls do not return 0.
#[inline(always)]
pub(crate) fn returned(me: Target, ret: i64) {
    if ret == 0 && !thread::asked(me.tid) {
        tell(me, WAIT_TIMED_OUT);
    }
}

#[inline(always)]
fn tell(me: Target, flags: u8) {
    tally::flush(me);
    let mut header = emit::header(me, KIND_WAIT);
    header.flags = flags;
    emit::send(Family::Io, header.time_ns, header);
}

/// Whether it returns at once, with or without events. This is for its entry: `select` and its like write the time that
/// is left to where the time was.
#[inline(always)]
fn asks(call: u8, regs: &Registers) -> bool {
    if call == Call::EpollWait as u8 {
        regs.argument(3) as i32 == 0
    } else if call == Call::Poll as u8 {
        regs.argument(2) as i32 == 0
    } else if call == Call::EpollPwait2 as u8 {
        is_no_time(regs.argument(3))
    } else if call == Call::Ppoll as u8 {
        is_no_time(regs.argument(2))
    } else {
        is_no_time(regs.argument(4))
    }
}

/// Of a `struct timespec` or `timeval`, which both are two words. Null is for ever.
#[inline(always)]
fn is_no_time(address: u64) -> bool {
    address != 0 && read_user::<[u64; 2]>(address) == Some([0; 2])
}
