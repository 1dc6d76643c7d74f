//! Descriptors that are there and that nobody uses, and such as are used once: of every kind that memtrace tells apart.
//!
//! Owns opening and closing them. Must not know connections of clients.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{EventfdFlags, eventfd};

/// Discard (RFC 863): nobody listens.
const NOBODY: u16 = 9;

/// Whatever has been opened, in that order.
#[derive(Default)]
pub(crate) struct Descriptors {
    kept: Vec<OwnedFd>,
    /// Of which kind the next is: a number that is used again has another then.
    turn: usize,
}

impl Descriptors {
    /// So many more.
    pub(crate) fn open(&mut self, count: usize) -> io::Result<()> {
        let enough = self.kept.len() + count;
        self.kept.reserve(count + 1);
        while self.kept.len() < enough {
            self.turn += 1;
            self.kept.extend(opened(self.turn)?.into_iter().flatten());
        }
        // The last may have been two.
        self.kept.truncate(enough);
        Ok(())
    }

    /// So many fewer.
    pub(crate) fn close(&mut self, count: usize) -> io::Result<()> {
        let left = self
            .kept
            .len()
            .checked_sub(count)
            .ok_or(io::ErrorKind::NotFound)?;
        while self.kept.len() > left {
            self.kept.pop();
        }
        Ok(())
    }
}

/// One or two, of one kind after the other.
fn opened(turn: usize) -> io::Result<[Option<OwnedFd>; 2]> {
    Ok(match turn % 4 {
        0 => [Some(eventfd(0, EventfdFlags::CLOEXEC)?), None],
        1 => [Some(File::open("/dev/null")?.into()), None],
        2 => {
            let (reads, writes) = io::pipe()?;
            [Some(reads.into()), Some(writes.into())]
        }
        _ => {
            let (one, other) = UnixStream::pair()?;
            [Some(one.into()), Some(other.into())]
        }
    })
}

/// Opens something, of one kind after the other, writes to it and reads from it where it can be, and closes it.
pub(crate) fn use_once(turn: usize) -> io::Result<()> {
    let mut word = 1_u64.to_ne_bytes();
    match turn % 5 {
        0 => {
            let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
            rustix::io::write(&eventfd, &word)?;
            rustix::io::read(&eventfd, &mut word)?;
        }
        1 => {
            File::open("/dev/zero")?.read_exact(&mut word)?;
        }
        2 => {
            let (mut reads, mut writes) = io::pipe()?;
            writes.write_all(&word)?;
            reads.read_exact(&mut word)?;
        }
        3 => {
            let (mut one, mut other) = UnixStream::pair()?;
            one.write_all(&word)?;
            other.read_exact(&mut word)?;
        }
        _ => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect((Ipv4Addr::LOCALHOST, NOBODY))?;
            socket.send(&word)?;
        }
    }
    Ok(())
}
