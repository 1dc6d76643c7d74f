//! What the reader should know of a run beyond its figures, in words.
//!
//! Owns the sentences about connections. Must not know where they are shown, nor how anything was counted.

use crate::http::LooksLike;

/// Connections that were noticed and left alone.
pub(super) fn foreign(looks_like: LooksLike, connections: u64) -> String {
    let (one, many) = match looks_like {
        LooksLike::Tls => (
            "speaks TLS: what is in it is not seen",
            "speak TLS: what is in them is not seen",
        ),
        LooksLike::Http2 => (
            "speaks HTTP/2, which is not read yet",
            "speak HTTP/2, which is not read yet",
        ),
        LooksLike::Unknown => (
            "speaks something other than HTTP/1.x, and was left alone",
            "speak something other than HTTP/1.x, and were left alone",
        ),
    };
    match connections {
        1 => format!("1 connection {one}"),
        n => format!("{n} connections {many}"),
    }
}

/// Requests behind others on their connections.
pub(super) fn unlisted(requests: u64) -> String {
    let why = "went unlisted: too many were open on one connection";
    match requests {
        1 => format!("1 pipelined request {why}"),
        n => format!("{n} pipelined requests {why}"),
    }
}

/// Why there can have been no request.
pub(super) fn no_request(accepted: u64, reads: u64) -> String {
    if accepted == 0 && reads == 0 {
        return "no connection was accepted, and none that was open was read from: no traffic came to this process, or \
                it came by a way that is not seen (io_uring, shared memory)"
            .to_owned();
    }
    let accepted = match accepted {
        1 => "1 connection was accepted".to_owned(),
        n => format!("{n} connections were accepted"),
    };
    if reads == 0 {
        return format!(
            "{accepted} and nothing was read: no bytes came, or other processes read them, which are not traced (the workers \
             of Node's cluster): name those with --pid, or start the server under memtrace, which follows them all"
        );
    }
    let reads = match reads {
        1 => "1 read was seen".to_owned(),
        n => format!("{n} reads were seen"),
    };
    format!("{accepted} and {reads}, but no HTTP/1.x request in them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!(
            foreign(LooksLike::Tls, 1),
            "1 connection speaks TLS: what is in it is not seen"
        );
        assert_eq!(
            foreign(LooksLike::Http2, 2),
            "2 connections speak HTTP/2, which is not read yet"
        );
        assert!(unlisted(1).starts_with("1 pipelined request went"));
        assert!(unlisted(2).starts_with("2 pipelined requests went"));
        assert!(no_request(0, 0).starts_with("no connection was accepted"));
        assert!(no_request(1, 0).starts_with("1 connection was accepted and nothing was read: "));
        assert!(no_request(2, 1).starts_with("2 connections were accepted and 1 read was seen, "));
    }
}
