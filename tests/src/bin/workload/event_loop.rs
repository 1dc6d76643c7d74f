//! One thread for all connections, on epoll: nothing blocks but the wait itself, and a sleep is a timer.
//!
//! Owns readiness and timers. Must not know routes or how work is done.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::connection::{Connection, Next};
use crate::memory::settle_thread;
use crate::perform::Ground;
use crate::route::Work;

/// How long after the request that releases others these go on: the loop waits in between.
const RELEASE: Duration = Duration::from_millis(1);
/// The listener's mark in epoll: the slots' are their indexes.
const LISTENER: u64 = u64::MAX;

/// One client's place. Its buffers outlive the client, so that no later one costs a fault.
struct Slot {
    stream: Option<TcpStream>,
    connection: Box<Connection>,
    /// What is done later, and when; `None` where another request says when. Nothing else happens on this connection
    /// until then.
    timer: Option<(Option<Instant>, Work)>,
    /// What epoll was last asked to report.
    interest: epoll::EventFlags,
}

struct EventLoop<'g> {
    epoll: OwnedFd,
    slots: Vec<Slot>,
    ground: &'g Ground,
    /// When so many are held, they are let go.
    releases: Option<usize>,
}

/// Serves so many clients at once, until the process is killed; more are turned away.
pub(crate) fn serve(listener: &TcpListener, ground: &Ground, slots: usize) -> io::Result<()> {
    settle_thread();
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    let mut events = Vec::with_capacity(slots + 1);
    let slots = std::iter::repeat_with(|| Slot {
        stream: None,
        connection: Box::new(Connection::new()),
        timer: None,
        interest: epoll::EventFlags::empty(),
    })
    .take(slots)
    .collect();
    let mut this = EventLoop {
        epoll,
        slots,
        ground,
        releases: None,
    };
    loop {
        events.clear();
        let timeout = this.time_to_next_timer();
        match epoll::wait(
            &this.epoll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let mark = event.data.u64();
            if mark == LISTENER {
                this.accept(listener)?;
            } else if let Ok(index) = usize::try_from(mark) {
                this.advance(index, event.flags);
            }
        }
        this.ring_timers();
        this.release();
    }
}

impl EventLoop<'_> {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let Some(index) = self.slots.iter().position(|slot| slot.stream.is_none()) else {
                continue;
            };
            let slot = &mut self.slots[index];
            slot.connection.reset();
            slot.timer = None;
            slot.interest = epoll::EventFlags::IN;
            epoll::add(
                &self.epoll,
                &stream,
                epoll::EventData::new_u64(index as u64),
                slot.interest,
            )?;
            slot.stream = Some(stream);
        }
    }

    /// Goes on with one connection, as far as it goes.
    fn advance(&mut self, index: usize, ready: epoll::EventFlags) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let gone = ready.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
        // Dropping the stream closes it, which takes it out of epoll as well.
        if gone || slot.go_on(self.ground, &mut self.releases).is_err() {
            slot.stream = None;
            slot.timer = None;
            return;
        }
        let Some(stream) = &slot.stream else { return };
        let interest = if slot.timer.is_some() {
            epoll::EventFlags::empty()
        } else if slot.connection.outgoing().is_empty() {
            epoll::EventFlags::IN
        } else {
            epoll::EventFlags::OUT
        };
        if interest != slot.interest {
            slot.interest = interest;
            let mark = epoll::EventData::new_u64(index as u64);
            if epoll::modify(&self.epoll, stream, mark, interest).is_err() {
                slot.stream = None;
            }
        }
    }

    fn time_to_next_timer(&self) -> Option<Timespec> {
        let next = self.slots.iter().filter_map(|slot| slot.timer?.0).min()?;
        // Whole milliseconds, rounded up: plain epoll_wait takes no less, and an early wake-up would spin. And never none,
        // however late it is: a loop that only asks has not waited, and who it works for then is not as clear.
        let left = next
            .saturating_duration_since(Instant::now())
            .as_micros()
            .div_ceil(1000)
            .max(1);
        let left = Duration::from_millis(u64::try_from(left).unwrap_or(u64::MAX));
        Some(Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    fn ring_timers(&mut self) {
        let now = Instant::now();
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            if let Some((_, work)) = slot
                .timer
                .take_if(|(when, _)| when.is_some_and(|when| when <= now))
            {
                slot.connection.answer(&self.ground.perform(work));
                self.advance(index, epoll::EventFlags::empty());
            }
        }
    }

    /// Those that are held go on soon, if they are as many as somebody waits for.
    fn release(&mut self) {
        let Some(count) = self.releases else { return };
        let timers = || self.slots.iter().filter_map(|slot| slot.timer);
        if timers().filter(|(when, _)| when.is_none()).count() < count {
            return;
        }
        self.releases = None;
        let soon = Instant::now() + RELEASE;
        for (when, _) in self.slots.iter_mut().filter_map(|slot| slot.timer.as_mut()) {
            when.get_or_insert(soon);
        }
    }
}

impl Slot {
    /// Writes, serves and reads until one of them would block. An error means that the client is done with.
    fn go_on(&mut self, ground: &Ground, releases: &mut Option<usize>) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.timer.is_none() {
            if !self.connection.outgoing().is_empty() {
                match stream.write(self.connection.outgoing()) {
                    Ok(bytes) => self.connection.wrote(bytes),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
                continue;
            }
            if self.connection.closing() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            match self.connection.next() {
                Next::Perform(work @ Work::Sleep { wait, .. }) => {
                    self.timer = Some((Some(Instant::now() + wait), work));
                }
                Next::Perform(work @ Work::Hold(_)) => self.timer = Some((None, work)),
                Next::Perform(work @ Work::Release(count)) => {
                    *releases = Some(count);
                    self.connection.answer(&ground.perform(work));
                }
                Next::Perform(work) => self.connection.answer(&ground.perform(work)),
                Next::Refused => {}
                Next::Read => match stream.read(self.connection.room()) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(bytes) => self.connection.received(bytes),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(())
    }
}
