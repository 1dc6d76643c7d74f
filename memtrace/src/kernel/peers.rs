//! Which Unix socket is connected to which: `/proc` does not say, `NETLINK_SOCK_DIAG` does (`man 7 sock_diag`).
//!
//! Owns the question, for memtrace's own network namespace. Must not know whose sockets these are.

use std::{collections::HashMap, io};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    unix::{ShowFlags, StateFlags, UnixRequest},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

/// As much as the kernel puts into one answer (`netlink_dump` in `net/netlink/af_netlink.c`).
const ANSWER: usize = 32 * 1024;
/// `NLMSG_ALIGNTO`
const ALIGNMENT: usize = 4;

/// By a socket's inode, that of its peer.
pub(super) fn peers() -> io::Result<HashMap<u64, u64>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.send(&question(), 0)?;
    let mut peers = HashMap::new();
    loop {
        let mut answer = Vec::with_capacity(ANSWER);
        if socket.recv(&mut answer, 0)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = answer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::UnixResponse(unix)) => {
                    if let Some(peer) = unix.peer() {
                        peers.insert(unix.header.inode.into(), peer.into());
                    }
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(peers),
                _ => {}
            }
            // It has a whole head at least.
            let length = message.header.length as usize;
            rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        }
    }
}

/// All that are connected.
fn question() -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = UnixRequest {
        state_flags: StateFlags::ESTABLISHED,
        inode: 0,
        show_flags: ShowFlags::PEER,
        cookie: [0xff; 8],
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::UnixRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::{
        os::{fd::AsRawFd as _, unix::net::UnixStream},
        path::Path,
    };

    use super::*;

    #[test]
    fn the_ends_of_a_pair_are_each_others_peers() {
        let inode = |end: &UnixStream| -> u64 {
            let link = Path::new("/proc/self/fd").join(end.as_raw_fd().to_string());
            let target = std::fs::read_link(link).unwrap();
            let name = target.to_str().unwrap();
            let number = name.strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap();
            number.parse().unwrap()
        };
        let (a, b) = UnixStream::pair().unwrap();
        let (c, d) = UnixStream::pair().unwrap();
        let peers = match peers() {
            Ok(peers) => peers,
            // Not every kernel has been built with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => panic!("{error}"),
        };
        for (end, other) in [(&a, &b), (&b, &a), (&c, &d), (&d, &c)] {
            assert_eq!(peers.get(&inode(end)), Some(&inode(other)));
        }
    }
}
