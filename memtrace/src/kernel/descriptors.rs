//! What descriptors of a process already are when memtrace comes to see it: sockets, and channels between its threads.
//!
//! Owns which channels count: those that the process has both ends of. A pipe to somebody else hands no work around
//! here. Must not know why anybody asks.

use std::collections::HashSet;

use memtrace_common::{
    Fd, Tgid,
    map::{ROLE_CHANNEL, ROLE_INBOUND, ROLE_OUTBOUND},
};

use super::procfs;
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
    let sockets = procfs::sockets(tgid).into_iter();
    let channels = whole(procfs::channel_ends(tgid)).into_iter();
    sockets
        .map(|(fd, socket)| (fd, Held::Socket(socket)))
        .chain(channels.map(|(fd, end)| (fd, Held::Channel(end))))
        .collect()
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
}
