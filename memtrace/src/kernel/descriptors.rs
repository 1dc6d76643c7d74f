//! What descriptors of a process already are when memtrace comes to see it: sockets, and channels between its threads.
//!
//! Owns which channels count: those that the process has both ends of. A pipe to somebody else hands no work around
//! here. Must not know why anybody asks.

use std::collections::{HashMap, HashSet};

use memtrace_common::{
    Fd, Tgid,
    map::{ROLE_CHANNEL, ROLE_INBOUND, ROLE_OUTBOUND},
};

use super::{
    peers::peers,
    procfs::{self, OpenSocket},
};
use crate::event::{Notice, Socket};

/// An end of a channel, or both. A number is the same for what goes in and for what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The way out of which it is read.
    pub reads: Option<u64>,
    /// The way into which it is written.
    pub writes: Option<u64>,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Socket(Socket),
    Channel(End),
}

impl Held {
    /// What the probes should take it for; nothing is wanted of a listener.
    pub(super) fn role(self) -> Option<u32> {
        match self {
            Self::Socket(Socket::Listener { .. }) => None,
            Self::Socket(Socket::Inbound { .. }) => Some(ROLE_INBOUND),
            Self::Socket(Socket::Outbound) => Some(ROLE_OUTBOUND),
            Self::Channel(_) => Some(ROLE_CHANNEL),
        }
    }

    pub(super) fn notice(self, tgid: Tgid, fd: Fd) -> Notice {
        match self {
            Self::Socket(socket) => Notice::Socket { tgid, fd, socket },
            Self::Channel(End { reads, writes }) => Notice::Channel {
                tgid,
                fd,
                reads,
                writes,
            },
        }
    }
}

/// All that matter.
pub(super) fn held(tgid: Tgid) -> Vec<(Fd, Held)> {
    let sockets = procfs::sockets(tgid);
    let channels = whole(procfs::channel_ends(tgid)).into_iter();
    // What is neither bound nor listens is taken for a connection that the process opened; two of them can be a pair.
    let is_candidate = |open: &&OpenSocket| open.socket == Socket::Outbound;
    let peers = if sockets.iter().filter(is_candidate).count() < 2 {
        HashMap::new()
    } else {
        peers().unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot tell which sockets are pairs");
            HashMap::new()
        })
    };
    paired(&sockets, &peers)
        .chain(channels.map(|(fd, end)| (fd, Held::Channel(end))))
        .collect()
}

/// Sockets, of which such as are each other's peers are a channel. The way that one of them reads has its number.
fn paired(sockets: &[OpenSocket], peers: &HashMap<u64, u64>) -> impl Iterator<Item = (Fd, Held)> {
    let opened: HashSet<u64> = sockets
        .iter()
        .filter(|open| open.socket == Socket::Outbound)
        .map(|open| open.inode)
        .collect();
    sockets.iter().map(move |&OpenSocket { fd, inode, socket }| {
        let held = match peers.get(&inode) {
            Some(peer) if opened.contains(&inode) && opened.contains(peer) => Held::Channel(End {
                reads: Some(inode),
                writes: Some(*peer),
            }),
            _ => Held::Socket(socket),
        };
        (fd, held)
    })
}

/// Leaves out those whose other end is elsewhere.
fn whole(mut ends: Vec<(Fd, End)>) -> Vec<(Fd, End)> {
    let ways = |side: fn(&End) -> Option<u64>| -> HashSet<u64> {
        ends.iter().filter_map(|(_, end)| side(end)).collect()
    };
    let (read, written) = (ways(|end| end.reads), ways(|end| end.writes));
    ends.retain(|(_, end)| {
        end.reads.is_some_and(|way| written.contains(&way))
            || end.writes.is_some_and(|way| read.contains(&way))
    });
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_counts_where_both_its_ends_are() {
        let end = |fd, way, reads: bool, writes: bool| {
            let end = End {
                reads: reads.then_some(way),
                writes: writes.then_some(way),
            };
            (Fd(fd), end)
        };
        let standard_output = end(1, 10, false, true);
        let copy = end(2, 10, false, true);
        let input = end(0, 11, true, false);
        let (reads, writes, eventfd) = (
            end(3, 12, true, false),
            end(4, 12, false, true),
            end(5, 13, true, true),
        );
        let ends = vec![input, standard_output, copy, reads, writes, eventfd];
        assert_eq!(whole(ends), [reads, writes, eventfd]);
    }

    #[test]
    fn a_pair_of_sockets_is_two_ways() {
        let open = |fd, inode, socket| OpenSocket {
            fd: Fd(fd),
            inode,
            socket,
        };
        let client = Socket::Inbound { port: None };
        let sockets = [
            open(3, 30, Socket::Outbound),
            open(4, 40, Socket::Outbound),
            // A copy.
            open(5, 40, Socket::Outbound),
            // Two that are connected to each other by way of a listener, and one to another process.
            open(6, 60, client),
            open(7, 70, Socket::Outbound),
            open(8, 80, Socket::Outbound),
        ];
        let peers = HashMap::from([(30, 40), (40, 30), (60, 70), (70, 60), (80, 90)]);
        let way = |reads, writes| {
            Held::Channel(End {
                reads: Some(reads),
                writes: Some(writes),
            })
        };
        let outbound = Held::Socket(Socket::Outbound);
        let expected = [
            (Fd(3), way(30, 40)),
            (Fd(4), way(40, 30)),
            (Fd(5), way(40, 30)),
            (Fd(6), Held::Socket(client)),
            (Fd(7), outbound),
            (Fd(8), outbound),
        ];
        assert_eq!(paired(&sockets, &peers).collect::<Vec<_>>(), expected);
    }
}
