//! What descriptors of a process already are when memtrace comes to see it: sockets, and channels between its threads.
//!
//! Owns which channels count: those that the process has both ends of. A pipe to somebody else hands no work around
//! here. Must not know why anybody asks.

use std::collections::HashMap;

use memtrace_common::{
    Fd, Tgid,
    map::{ROLE_CHANNEL, ROLE_INBOUND, ROLE_OUTBOUND},
};

use super::procfs;
use crate::event::{Notice, Socket};

/// An end of a channel, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which channel: the same for both ends, and for copies.
    pub channel: u64,
    /// Something can be read from it.
    pub reads: bool,
    /// Something can be written to it.
    pub writes: bool,
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
            Self::Channel(End {
                channel,
                reads,
                writes,
            }) => Notice::Channel {
                tgid,
                fd,
                channel,
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
    let mut known: HashMap<u64, (bool, bool)> = HashMap::new();
    for (_, end) in &ends {
        let (reads, writes) = known.entry(end.channel).or_default();
        *reads |= end.reads;
        *writes |= end.writes;
    }
    ends.retain(|(_, end)| known.get(&end.channel) == Some(&(true, true)));
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_counts_where_both_its_ends_are() {
        let end = |fd, channel, reads, writes| {
            let end = End {
                channel,
                reads,
                writes,
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
