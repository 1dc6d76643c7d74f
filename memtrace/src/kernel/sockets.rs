//! Sockets that records tell of and that only `/proc` can complete: a listener's port, the nature of descriptors that
//! were passed on.
//!
//! Owns what has been looked up, and how often that is done. Must not know what it is wanted for.

use std::collections::HashSet;

use memtrace_common::{
    Fd, Nanos, Tgid,
    decode::Record,
    wire::{OP_ACCEPT, OP_CLOSE, OP_LISTEN, OP_RECV_FD, OP_SOCKET},
};

use super::{
    live::now,
    procfs::{self, Namespaces},
};
use crate::event::Socket;

/// What is known so far.
#[derive(Default)]
pub(super) struct Sockets {
    /// Listening sockets whose port has been looked up.
    listeners: HashSet<(Tgid, Fd)>,
    /// For descriptors that were passed on. Where there are thousands of sockets, reading them for each would take longer
    /// than the next one takes to come.
    passed: Namespaces,
    /// What was passed before is among them.
    since: Nanos,
}

impl Sockets {
    /// This one listens, and on which port is known.
    pub(super) fn listens(&mut self, tgid: Tgid, fd: Fd) {
        self.listeners.insert((tgid, fd));
    }

    /// Looks up those that a record tells of.
    pub(super) fn told_by(&mut self, record: &Record<'_>) -> Vec<(Tgid, Fd, Socket)> {
        let Record::Io(io, payload) = record else {
            return Vec::new();
        };
        let tgid = Tgid(io.header.tgid);
        let fd = Fd(io.header.fd);
        match io.header.op {
            OP_ACCEPT | OP_LISTEN if self.listeners.insert((tgid, fd)) => procfs::socket(tgid, fd)
                .filter(|socket| matches!(socket, Socket::Listener { .. }))
                .map(|socket| (tgid, fd, socket))
                .into_iter()
                .collect(),
            OP_RECV_FD => {
                let passed = self.passed_by(Nanos(io.header.time_ns));
                payload
                    .descriptors()
                    .filter_map(|fd| Some((tgid, fd, passed.socket(tgid, fd)?)))
                    .collect()
            }
            OP_SOCKET | OP_CLOSE => {
                self.listeners.remove(&(tgid, fd));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// All that were there at this time.
    fn passed_by(&mut self, time: Nanos) -> &mut Namespaces {
        if time >= self.since {
            self.since = now();
            self.passed = Namespaces::default();
        }
        &mut self.passed
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    #[test]
    fn sockets_are_read_once_for_all_that_were_passed_before() {
        let me = Tgid(std::process::id());
        let mut sockets = Sockets::default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let before = now();
        let listens = Some(Socket::Listener { port: Some(port) });
        let fd = Fd(listener.as_raw_fd());
        assert_eq!(sockets.passed_by(before).socket(me, fd), listens);
        let connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let new = Fd(connection.as_raw_fd());
        // Not read again for what is older, and for what is not.
        assert_eq!(sockets.passed_by(before).socket(me, new), None);
        assert_eq!(sockets.passed_by(now()).socket(me, new), Some(Socket::Outbound));
        assert_eq!(sockets.passed_by(before).socket(me, fd), listens);
    }
}
