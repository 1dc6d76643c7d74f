//! Threads that wake others from a futex wait, and such as wait or wake in vain.
//!
//! Owns the count: nobody is woken who does not sleep yet. One that has just begun to wait can find that it need not
//! sleep any more, and then the kernel has nobody to wake. The standard library's own locks are kept out of it.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, WakeOp, WakeOpCmp};
use rustix::thread::{Pid, gettid};

pub(crate) const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// A wait that ends by itself ends after this.
const SOON: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000,
};

/// By which operation of `futex(2)` a thread is woken.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum By {
    Wake,
    WakeBitset,
    /// As the second of the two words that it is about.
    WakeOp,
    Requeue,
    CmpRequeue,
    UnlockPi,
}

/// Who has waited for events before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Busy {
    Waker,
    Woken,
    Nobody,
}

/// What it waits for stays 0.
static WORD: AtomicU32 = AtomicU32::new(0);
static OTHER: AtomicU32 = AtomicU32::new(0);
/// Which turn it is, for what no wake says.
static TURN: AtomicU32 = AtomicU32::new(0);
static TID: AtomicU32 = AtomicU32::new(0);

/// Wakes another thread so many times. Says who woke whom, and where the word is.
pub(crate) fn wakes(by: By, count: u32, busy: Busy) -> anyhow::Result<String> {
    if busy == Busy::Waker {
        poll(&mut [], Some(&NOW))?;
    }
    let woken = thread::spawn(move || -> anyhow::Result<()> {
        if busy == Busy::Woken {
            poll(&mut [], Some(&NOW))?;
        }
        here_i_am();
        match by {
            By::UnlockPi => (1..=count).try_for_each(take_turn),
            _ => (0..count).try_for_each(|_| wait()),
        }
    });
    match by {
        By::UnlockPi => (1..=count).try_for_each(give_turn)?,
        _ => (0..count).try_for_each(|_| wake_the_other(by))?,
    }
    ensure!(matches!(woken.join(), Ok(Ok(()))), "it was not woken as often");
    Ok(format!(
        r#"{{"waker":{},"other":{},"word":{}}}"#,
        number(gettid()),
        who_is_there(),
        std::ptr::from_ref(&WORD).addr()
    ))
}

/// So many wakes when nobody waits; then another thread waits as often, each time until the time is up, while this one
/// wakes nobody.
pub(crate) fn vain(count: u32) -> anyhow::Result<String> {
    static IS_DONE: AtomicBool = AtomicBool::new(false);
    poll(&mut [], Some(&NOW))?;
    for _ in 0..count {
        ensure!(futex::wake(&WORD, Flags::PRIVATE, 1)? == 0, "somebody was there");
    }
    let waits = thread::spawn(move || -> anyhow::Result<()> {
        for _ in 0..count {
            let end = futex::wait(&WORD, Flags::PRIVATE, 0, Some(&SOON));
            ensure!(end == Err(Errno::TIMEDOUT), "it was woken: {end:?}");
        }
        IS_DONE.store(true, Ordering::Release);
        Ok(())
    });
    while !IS_DONE.load(Ordering::Acquire) && !waits.is_finished() {
        ensure!(futex::wake(&OTHER, Flags::PRIVATE, 1)? == 0, "somebody was there");
    }
    ensure!(matches!(waits.join(), Ok(Ok(()))), "a wait did not time out");
    Ok("{}".to_owned())
}

/// The calling thread is the one that will be woken.
pub(crate) fn here_i_am() {
    TID.store(number(gettid()), Ordering::Release);
}

/// Its number; 0 before it has said so.
pub(crate) fn who_is_there() -> u32 {
    TID.load(Ordering::Acquire)
}

/// Until it is woken.
pub(crate) fn wait() -> anyhow::Result<()> {
    Ok(futex::wait(&WORD, Flags::PRIVATE, 0, None)?)
}

/// Once, when it sleeps; on its way to do so it may sleep for something else.
pub(crate) fn wake_the_other(by: By) -> anyhow::Result<()> {
    loop {
        wait_until_it_sleeps()?;
        match wake_one(by)? {
            0 => {}
            1 => return Ok(()),
            more => anyhow::bail!("{more} threads were there"),
        }
    }
}

fn wake_one(by: By) -> rustix::io::Result<usize> {
    const ANY: NonZeroU32 = NonZeroU32::MAX;
    const FLAGS: Flags = Flags::PRIVATE;
    match by {
        By::WakeBitset => futex::wake_bitset(&WORD, FLAGS, 1, ANY),
        By::WakeOp => futex::wake_op(&OTHER, FLAGS, 1, 1, &WORD, WakeOp::Or, WakeOpCmp::Eq, 0, 0),
        By::Requeue => futex::requeue(&WORD, FLAGS, 1, 0, &OTHER),
        By::CmpRequeue => futex::cmp_requeue(&WORD, FLAGS, 1, 0, &OTHER, 0),
        By::Wake | By::UnlockPi => futex::wake(&WORD, FLAGS, 1),
    }
}

/// In a futex call: the kernel says so of a thread that is off its CPU.
fn wait_until_it_sleeps() -> anyhow::Result<()> {
    let futex = format!("{} ", libc::SYS_futex);
    loop {
        let tid = who_is_there();
        if tid != 0 {
            let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
            if call.context("the other thread")?.starts_with(&futex) {
                return Ok(());
            }
        }
        thread::yield_now();
    }
}

/// Lets the other thread wait for a lock that this one has, and gives it free.
fn give_turn(turn: u32) -> anyhow::Result<()> {
    /// `FUTEX_WAITERS`, which the kernel sets.
    const WAITERS: u32 = 1 << 31;
    futex::lock_pi(&WORD, Flags::PRIVATE, None)?;
    TURN.store(2 * turn - 1, Ordering::Release);
    while WORD.load(Ordering::Acquire) & WAITERS == 0 {
        thread::yield_now();
    }
    wait_until_it_sleeps()?;
    futex::unlock_pi(&WORD, Flags::PRIVATE)?;
    while TURN.load(Ordering::Acquire) != 2 * turn {
        thread::yield_now();
    }
    Ok(())
}

/// Waits for the lock, and gives it free when nobody waits.
fn take_turn(turn: u32) -> anyhow::Result<()> {
    while TURN.load(Ordering::Acquire) != 2 * turn - 1 {
        thread::yield_now();
    }
    futex::lock_pi(&WORD, Flags::PRIVATE, None)?;
    futex::unlock_pi(&WORD, Flags::PRIVATE)?;
    TURN.store(2 * turn, Ordering::Release);
    Ok(())
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
