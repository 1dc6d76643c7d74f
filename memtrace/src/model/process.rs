//! Processes and what their descriptors are.
//!
//! Owns which number means which connection in which process, through accept, dup, fork and close. A connection
//! lives as long as a descriptor somewhere refers to it. Must not know what goes through it.

use std::collections::hash_map::Entry;

use memtrace_common::{Fd, Tgid};
use rustc_hash::FxHashMap;

/// A connection, numbered in the order in which they were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// A listening socket, on this port if it is a TCP one.
    Listener {
        /// The port.
        port: Option<u16>,
    },
    /// A client's connection.
    Inbound(ConnectionId),
    /// A connection that the process opened.
    Outbound(ConnectionId),
    /// An end of an eventfd, a pipe or a pair of sockets: the way out of which it is read, and the way into which it is
    /// written.
    Channel {
        /// Out of it.
        reads: Option<ConnectionId>,
        /// Into it.
        writes: Option<ConnectionId>,
    },
}

impl Descriptor {
    fn connections(self) -> impl Iterator<Item = ConnectionId> {
        let both = match self {
            Self::Inbound(id) | Self::Outbound(id) => [Some(id), None],
            Self::Channel { reads, writes } => [reads, writes],
            Self::Listener { .. } => [None, None],
        };
        both.into_iter().flatten()
    }
}

/// The descriptors of all processes.
#[derive(Debug, Default)]
pub struct Descriptors {
    by_process: FxHashMap<Tgid, FxHashMap<Fd, Descriptor>>,
    /// Descriptors that refer to each connection.
    references: FxHashMap<ConnectionId, u32>,
    next: u64,
}

impl Descriptors {
    /// What a descriptor is, if it is known.
    pub fn get(&self, tgid: Tgid, fd: Fd) -> Option<Descriptor> {
        self.by_process.get(&tgid)?.get(&fd).copied()
    }

    /// A number for a connection that is seen for the first time.
    pub fn new_connection(&mut self) -> ConnectionId {
        let id = ConnectionId(self.next);
        self.next += 1;
        id
    }

    /// From now on this number means this. Returns the connections that it was the last to refer to.
    pub fn set(&mut self, tgid: Tgid, fd: Fd, descriptor: Descriptor) -> Vec<ConnectionId> {
        for id in descriptor.connections() {
            *self.references.entry(id).or_default() += 1;
        }
        let old = self.by_process.entry(tgid).or_default().insert(fd, descriptor);
        self.release(old)
    }

    /// This number means nothing any more. Returns the connections that it was the last to refer to.
    pub fn close(&mut self, tgid: Tgid, fd: Fd) -> Vec<ConnectionId> {
        let process = self.by_process.get_mut(&tgid);
        let old = process.and_then(|process| process.remove(&fd));
        self.release(old)
    }

    /// `dup`: the copy means what the original does. Returns the connections that `copy` was the last to refer to.
    pub fn duplicate(&mut self, tgid: Tgid, fd: Fd, copy: Fd) -> Vec<ConnectionId> {
        if fd == copy {
            return Vec::new();
        }
        match self.get(tgid, fd) {
            Some(descriptor) => self.set(tgid, copy, descriptor),
            None => self.close(tgid, copy),
        }
    }

    /// `close_range(first, last)`. Returns the connections that nothing refers to any more.
    pub fn close_range(&mut self, tgid: Tgid, first: u32, last: u32) -> Vec<ConnectionId> {
        let Some(process) = self.by_process.get(&tgid) else {
            return Vec::new();
        };
        let range = first..=last;
        let mut hit: Vec<Fd> = process
            .keys()
            .copied()
            .filter(|fd| u32::try_from(fd.0).is_ok_and(|n| range.contains(&n)))
            .collect();
        hit.sort_unstable();
        hit.into_iter().flat_map(|fd| self.close(tgid, fd)).collect()
    }

    /// `fork`: the child has all that the parent has.
    pub fn inherit(&mut self, parent: Tgid, child: Tgid) {
        let Some(table) = self.by_process.get(&parent).cloned() else {
            return;
        };
        for id in table.values().flat_map(|d| d.connections()) {
            *self.references.entry(id).or_default() += 1;
        }
        self.by_process.insert(child, table);
    }

    /// The process is gone. Returns the connections that nothing refers to any more, oldest first.
    pub fn remove_process(&mut self, tgid: Tgid) -> Vec<ConnectionId> {
        let Some(table) = self.by_process.remove(&tgid) else {
            return Vec::new();
        };
        let mut gone: Vec<_> = table.into_values().flat_map(|d| self.release(d)).collect();
        gone.sort_unstable();
        gone
    }

    fn release(&mut self, old: impl Into<Option<Descriptor>>) -> Vec<ConnectionId> {
        let mut gone = Vec::new();
        for id in old.into().into_iter().flat_map(Descriptor::connections) {
            let Entry::Occupied(mut references) = self.references.entry(id) else {
                continue;
            };
            *references.get_mut() -= 1;
            if *references.get() == 0 {
                references.remove();
                gone.push(id);
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Tgid = Tgid(1);
    const C: Tgid = Tgid(2);

    fn connection(d: &mut Descriptors, tgid: Tgid, fd: i32) -> ConnectionId {
        let id = d.new_connection();
        assert_eq!(d.set(tgid, Fd(fd), Descriptor::Inbound(id)), []);
        id
    }

    #[test]
    fn a_connection_lives_as_long_as_a_descriptor_refers_to_it() {
        let mut d = Descriptors::default();
        let id = connection(&mut d, P, 5);
        assert_eq!(d.duplicate(P, Fd(5), Fd(9)), []);
        d.inherit(P, C);
        assert_eq!(d.close(P, Fd(5)), []);
        assert_eq!(d.get(P, Fd(9)), Some(Descriptor::Inbound(id)));
        assert_eq!(d.close(P, Fd(9)), []);
        assert_eq!(d.get(C, Fd(5)), Some(Descriptor::Inbound(id)));
        assert_eq!(d.remove_process(C), vec![id]);
        assert!(d.references.is_empty());
    }

    #[test]
    fn a_number_that_is_used_again_lets_go_of_the_old_connection() {
        let mut d = Descriptors::default();
        let old = connection(&mut d, P, 5);
        let new = d.new_connection();
        assert_eq!(d.set(P, Fd(5), Descriptor::Inbound(new)), [old]);
        assert_eq!(d.duplicate(P, Fd(5), Fd(5)), []);
        assert_eq!(d.get(P, Fd(5)), Some(Descriptor::Inbound(new)));
    }

    #[test]
    fn dup_over_a_connection_closes_it_even_where_the_original_is_unknown() {
        let mut d = Descriptors::default();
        let id = connection(&mut d, P, 5);
        assert_eq!(d.duplicate(P, Fd(1), Fd(5)), [id]);
        assert_eq!(d.get(P, Fd(5)), None);
    }

    #[test]
    fn close_range_closes_what_lies_in_it() {
        let mut d = Descriptors::default();
        let (_, b, c) = (
            connection(&mut d, P, 3),
            connection(&mut d, P, 4),
            connection(&mut d, P, 7),
        );
        assert_eq!(d.close_range(P, 4, u32::MAX), vec![b, c]);
        assert!(d.get(P, Fd(3)).is_some());
    }
}
