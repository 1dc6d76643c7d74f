//! Blanked payload: it frames as the captured bytes did, and nothing is in it that may not be kept.

mod heads;
mod secrets;

use memtrace_common::decode::Piece;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::properties::{Cuts, Flow, Side, Step, batches, calls, cuts, flows, step};
use crate::{
    http::{Blanked, Connection, HttpEvent, LooksLike, Protocol, Shut},
    ledger::route::Routing,
};

/// A connection, and the same one as it is told again with blanked bytes.
struct Twins {
    keeps_queries: bool,
    first: Connection,
    again: Connection,
    events: Vec<HttpEvent>,
}

impl Twins {
    fn new(connection: &Connection, keeps_queries: bool) -> Self {
        Self {
            keeps_queries,
            first: connection.clone(),
            again: connection.clone(),
            events: Vec::new(),
        }
    }

    fn accepted() -> Self {
        Self::new(&Connection::new(), false)
    }

    /// One call; what of it may be kept.
    #[track_caller]
    fn call(&mut self, side: Side, pieces: &[Piece<'_>]) -> Vec<u8> {
        let keeps_queries = self.keeps_queries;
        self.both(|connection, out, first| match first {
            None => feed(connection, side, pieces, keeps_queries, out),
            Some(first) => {
                let mut rest: &[u8] = first;
                let blanked: Vec<Piece<'_>> = pieces
                    .iter()
                    .map(|&piece| match piece {
                        Piece::Seen(bytes) => {
                            let (these, behind) = rest.split_at(bytes.len());
                            rest = behind;
                            Piece::Seen(these)
                        }
                        hole @ Piece::Unseen(_) => hole,
                    })
                    .collect();
                assert_eq!(rest, b"", "as many bytes as were captured");
                let twice = feed(connection, side, &blanked, keeps_queries, out);
                assert_eq!(
                    twice.escape_ascii().to_string(),
                    first.escape_ascii().to_string(),
                    "blanked bytes stay as they are"
                );
                twice
            }
        })
    }

    #[track_caller]
    fn read(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let kept = self.call(Side::Read, &[Piece::Seen(bytes.as_ref())]);
        kept.escape_ascii().to_string()
    }

    #[track_caller]
    fn write(&mut self, bytes: impl AsRef<[u8]>) -> String {
        let kept = self.call(Side::Write, &[Piece::Seen(bytes.as_ref())]);
        kept.escape_ascii().to_string()
    }

    #[track_caller]
    fn step(&mut self, step: &Step) {
        let mut calls = |pieces: &[(Option<u64>, Vec<u8>)], side| {
            let pieces: Vec<Piece<'_>> = pieces
                .iter()
                .map(|(hole, bytes)| hole.map_or(Piece::Seen(bytes), Piece::Unseen))
                .collect();
            self.call(side, &pieces);
        };
        match step {
            Step::Read(pieces) => calls(pieces, Side::Read),
            Step::Write(pieces) => calls(pieces, Side::Write),
            Step::Eof => self.tell(Connection::read_eof),
            Step::LosePlace => self.tell(Connection::lose_place),
            Step::Close => self.tell(|connection, out| connection.shut(Shut::Closed, out)),
        }
    }

    #[track_caller]
    fn tell(&mut self, what: impl Fn(&mut Connection, &mut Vec<HttpEvent>)) {
        self.both(|connection, out, _| {
            what(connection, out);
            Vec::new()
        });
    }

    /// Does it to both, and what comes of it is the same.
    #[track_caller]
    fn both(
        &mut self,
        mut what: impl FnMut(&mut Connection, &mut Vec<HttpEvent>, Option<&[u8]>) -> Vec<u8>,
    ) -> Vec<u8> {
        let (mut events, mut events_again) = (Vec::new(), Vec::new());
        let kept = what(&mut self.first, &mut events, None);
        what(&mut self.again, &mut events_again, Some(&kept));
        let routing = Routing::new(Vec::new(), self.keeps_queries);
        let reported = |events: &[HttpEvent]| -> Vec<HttpEvent> {
            let mut events = events.to_vec();
            for event in &mut events {
                if let HttpEvent::RequestHead { target, .. } = event {
                    *target = routing.path(target.as_bytes());
                }
            }
            events
        };
        assert_eq!(reported(&events), reported(&events_again));
        let state = |c: &Connection| (c.protocol(), c.serving(), c.open_exchanges(), c.unlisted());
        assert_eq!(state(&self.first), state(&self.again));
        self.events.extend(events);
        kept
    }
}

fn feed(
    connection: &mut Connection,
    side: Side,
    pieces: &[Piece<'_>],
    keeps_queries: bool,
    out: &mut Vec<HttpEvent>,
) -> Vec<u8> {
    let seen = |piece: &Piece<'_>| match piece {
        Piece::Seen(bytes) => bytes.len(),
        Piece::Unseen(_) => 0,
    };
    let mut blanked = Blanked::new(keeps_queries);
    blanked.begin(pieces.iter().map(seen).sum());
    match side {
        Side::Read => connection.read(pieces.iter().copied(), Some(&mut blanked), out),
        Side::Write => connection.write(pieces.iter().copied(), Some(&mut blanked), out),
    }
    blanked.bytes().to_vec()
}

#[test]
fn of_a_request_stay_its_first_line_and_the_values_that_are_read() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut twins = Twins::accepted();
    assert_eq!(
        twins.read(format!(
            "\r\nPOST /a/b?c=d&e HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5, 5\r\nCookie: a=b\r\n\
             traceparent: 00-{id}-00f067aa0ba902b7-01\r\nX\r\n\r\nhello"
        )),
        format!(
            "\\r\\nPOST /a/b?xxxxx HTTP/1.1\\r\\nxxxx:xxxxxxxxxxxx\\r\\nContent-Length: 5, 5\\r\\nCoxxxx:xxxx\\r\\n\
             traceparent: 00-{id}-00f067aa0ba902b7-01\\r\\nx\\r\\n\\r\\n\\x00\\x00\\x00\\x00\\x00"
        )
    );
    assert_eq!(
        twins.write("HTTP/1.1 200 O K\r\nTransfer-Encoding: gzip, Chunked\r\nSet-Cookie:a\r\n b\r\n\r\n"),
        r"HTTP/1.1 200 xxx\r\nTransfer-Encoding: xxxx, Chunked\r\nxxxxxxxxxx:x\r\n x\r\n\r\n"
    );
    assert_eq!(
        twins.write("5;a=\"b\"\r\nhello\r\n0 \r\nA: b\r\n\r\n"),
        r"5;xxxxx\r\n\x00\x00\x00\x00\x00\r\n0 \r\nxxxx\r\n\r\n"
    );
    // Nobody asked for this.
    assert_eq!(twins.write("HTTP/1.1"), r"\x00".repeat(8));
}

#[test]
fn of_lines_that_are_only_like_those_that_are_read_stays_nothing() {
    for (lines, kept) in [
        ("content-lengt: 12", "content-lengt:xxx"),
        ("content-length2: 12", "content-lengthx:xxx"),
        (
            "content-length: 12\nno header\n 34",
            r"content-length: 12\nxx xxxxxx\n xx",
        ),
        ("content-length: 12\nnone\n 34", r"content-length: 12\nxxxx\n xx"),
        ("traceparent: 12\n(\n 34", r"traceparent: 12\nx\n xx"),
        (
            "transfer-encoding: chunk, xchunked",
            "transfer-encoding: chunk, xxxxxxxx",
        ),
        (
            "transfer-encoding: a,\r\n chunked",
            r"transfer-encoding: x,\r\n chunked",
        ),
    ] {
        let mut twins = Twins::accepted();
        assert_eq!(
            twins.read(format!("GET / HTTP/1.1\n{lines}\n\n")),
            format!("GET / HTTP/1.1\\n{kept}\\n\\n")
        );
    }
}

#[test]
fn of_a_target_stays_what_can_be_reported() {
    for (target, kept, kept_with_query) in [
        ("/a?b#c?d", "/a?xxxxx", "/a?b#c?d"),
        ("/?http://a/b", "/?xxxxxxxxxx", "/?http://a/b"),
        ("*", "*", "*"),
        ("a:80", "a:80", "a:80"),
        (
            "http://me:word@a:80/b?c",
            "http://xxxxxxxxxxxx/b?x",
            "http://xxxxxxxxxxxx/b?c",
        ),
        ("https://a?b", "https://x?x", "https://x?b"),
        ("http://", "http://", "http://"),
        ("/http://a/b", "/http://a/b", "/http://a/b"),
        ("http:/a/b", "http:/a/b", "http:/a/b"),
    ] {
        for (keeps_queries, kept) in [(false, kept), (true, kept_with_query)] {
            let mut twins = Twins::new(&Connection::new(), keeps_queries);
            assert_eq!(
                twins.read(format!("GET {target} HTTP/1.1\r\n\r\n")),
                format!("GET {kept} HTTP/1.1\\r\\n\\r\\n")
            );
        }
    }
}

#[test]
fn of_other_protocols_stays_what_tells_them() {
    for (bytes, kept, looks_like) in [
        (
            &b"\x16\x03\x01\x02\x00abc"[..],
            r"\x16\x03\x00\x00\x00\x00\x00\x00",
            LooksLike::Tls,
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM",
            r"PRI * HTTP/2\x00\x00\x00\x00\x00\x00\x00\x00",
            LooksLike::Http2,
        ),
        (b"AUTH me\r\n", &r"\x00".repeat(9), LooksLike::Unknown),
        (b"\r\nabc\x01", &r"\x00".repeat(6), LooksLike::Unknown),
    ] {
        let mut twins = Twins::accepted();
        assert_eq!(twins.read(bytes), kept);
        assert_eq!(twins.again.protocol(), Protocol::NotHttp(looks_like));
        assert_eq!(twins.read("GET /"), r"\x00".repeat(5));
    }
    // A byte at a time.
    let mut twins = Twins::accepted();
    assert_eq!(
        (twins.read("\x16"), twins.read("\x03ab")),
        (r"\x16".into(), r"\x03\x00\x00".into())
    );
    assert_eq!(twins.again.protocol(), Protocol::NotHttp(LooksLike::Tls));
    let mut twins = Twins::new(&Connection::mid_stream(), false);
    assert_eq!(
        twins.read(b"\x17\x03\x03\x01\x23abc"),
        r"\x17\x03\x03\x00\x01\x00\x00\x00"
    );
    assert_eq!(twins.again.protocol(), Protocol::NotHttp(LooksLike::Tls));
}

#[test]
fn where_the_place_is_lost_stays_what_can_tell_an_end() {
    let mut twins = Twins::accepted();
    twins.read("GET / HTTP/1.1\r\n\r\n");
    twins.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    twins.call(Side::Write, &[Piece::Unseen(5000)]);
    assert_eq!(
        twins.write("0\r\n0 words\r1\n0\r\n\r\n"),
        format!(r"{}\n0\r\n\r\n", r"\x00".repeat(12))
    );
    assert!(twins.again.serving().is_some());
    assert_eq!(
        twins.write("0\r\n0 words1\r\n0\r\n\r\n"),
        format!(r"{}\r\n0\r\n\r\n", r"\x00".repeat(11))
    );
    assert_eq!(twins.again.serving(), None, "the end was seen");

    // Nothing tells the end of this.
    let mut twins = Twins::accepted();
    twins.read("POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n");
    assert_eq!(twins.read("0\r\n\r\n"), r"\x00".repeat(5));
}

#[test]
fn blanking_may_begin_within_a_head() {
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    let begun = [Piece::Seen(&b"GET /a?b HTTP/1.1\r\nCookie: se"[..])];
    connection.read(begun, None, &mut out);
    let mut twins = Twins::new(&connection, false);
    assert_eq!(twins.read("cret\r\nA: b\r\n\r\n"), r"xxxx\r\nx:xx\r\n\r\n");
}

#[test]
fn a_call_that_was_longer_than_it_was_said_to_be_is_cut() {
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    let mut blanked = Blanked::new(false);
    blanked.begin(3);
    let pieces = [Piece::Seen(&b"GET / HT"[..]), Piece::Seen(b"TP/1.1\r\n")];
    connection.read(pieces, Some(&mut blanked), &mut out);
    assert_eq!(blanked.bytes(), b"GET");
    blanked.begin(1);
    assert_eq!(blanked.bytes(), b"\0");
}

fn exchange(flows: &[Flow], cuts: &[Cuts], holes: &[Vec<(Index, usize)>], twins: &mut Twins) -> Vec<u8> {
    let mut kept = Vec::new();
    for (i, (flow, cuts)) in flows.iter().zip(cuts).enumerate() {
        let mut unseen = vec![false; flow.bytes.len()];
        for (at, len) in holes.get(i).into_iter().flatten() {
            let at = at.index(unseen.len());
            let end = unseen.len().min(at + len);
            unseen[at..end].fill(true);
        }
        for call in calls(flow, cuts, &unseen) {
            kept.extend(twins.call(flow.side, &call));
        }
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn blanked_exchanges_are_the_same_exchanges(
        batches in batches(),
        cuts in vec(cuts(), 6),
        mid_stream in any::<bool>(),
        keeps_queries in any::<bool>(),
    ) {
        let connection = if mid_stream { Connection::mid_stream() } else { Connection::new() };
        let mut twins = Twins::new(&connection, keeps_queries);
        let kept = exchange(&flows(&batches), &cuts, &[], &mut twins);
        prop_assert_eq!(twins.again.serving(), None);
        let heads = twins.events.iter().filter(|event| matches!(event, HttpEvent::RequestHead { .. })).count();
        prop_assert_eq!(heads, batches.iter().map(Vec::len).sum::<usize>());
        for gone in ["example", "Reason", "some words", ";x=y", "X: y", "Server"] {
            prop_assert!(!kept.windows(gone.len()).any(|w| w == gone.as_bytes()), "{gone}");
        }
    }

    #[test]
    fn blanked_exchanges_with_holes_are_the_same_exchanges(
        batches in batches(),
        cuts in vec(cuts(), 6),
        holes in vec(vec((any::<Index>(), 0_usize..60), 0..4), 6),
        mid_stream in any::<bool>(),
    ) {
        let connection = if mid_stream { Connection::mid_stream() } else { Connection::new() };
        let mut twins = Twins::new(&connection, false);
        exchange(&flows(&batches), &cuts, &holes, &mut twins);
        twins.read("GET /next HTTP/1.1\r\n\r\n");
        twins.write("HTTP/1.1 204 x\r\n\r\n");
        twins.step(&Step::Close);
    }

    #[test]
    fn blanked_garbage_is_the_same_garbage(
        steps in vec(step(), 0..24),
        mid_stream in any::<bool>(),
        keeps_queries in any::<bool>(),
    ) {
        let connection = if mid_stream { Connection::mid_stream() } else { Connection::new() };
        let mut twins = Twins::new(&connection, keeps_queries);
        for step in &steps {
            twins.step(step);
        }
    }
}
