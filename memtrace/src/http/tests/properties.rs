//! What holds for any stream: generated exchanges, split and holed at will, and plain garbage.

use std::{collections::BTreeMap, ops::Range};

use memtrace_common::decode::Piece;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{Wire, line};
use crate::http::{Exchange, HttpEvent};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Side {
    Read,
    Write,
}

/// Bytes that go one way, and where in them body data lies of which framing needs to see nothing.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) side: Side,
    pub(super) bytes: Vec<u8>,
    data: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
enum BodyKind {
    None,
    Length,
    Chunked,
    Trailers,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    method: &'static str,
    path: String,
    request: (BodyKind, Vec<u8>),
    interim: bool,
    status: u16,
    response: (BodyKind, Vec<u8>),
}

fn message() -> impl Strategy<Value = Message> {
    let kind = || {
        prop_oneof![
            Just(BodyKind::None),
            Just(BodyKind::Length),
            Just(BodyKind::Chunked),
            Just(BodyKind::Trailers)
        ]
    };
    // Data that looks like framing.
    let data = || {
        let lure = prop_oneof![
            Just("GET / HTTP/1.1\r\n\r\n"),
            Just("HTTP/1.1 200 OK\r\n\r\n"),
            Just("0\r\n\r\n"),
            Just("5\r\n"),
            Just("some words "),
        ];
        vec(lure, 0..8).prop_map(|parts| parts.concat().into_bytes())
    };
    (
        prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("PURGE")],
        "/[a-z/?=%]{0,40}",
        (kind(), data()),
        any::<bool>(),
        prop_oneof![Just(200_u16), Just(204), Just(304), Just(404), Just(500)],
        (kind(), data()),
    )
        .prop_map(|(method, path, request, interim, status, response)| Message {
            method,
            path,
            request,
            interim,
            status,
            response,
        })
}

impl Flow {
    fn new(side: Side) -> Self {
        Self {
            side,
            bytes: Vec::new(),
            data: Vec::new(),
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn data(&mut self, data: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.data.push(start..self.bytes.len());
    }

    /// The header fields for a body, the end of the head, and the body where it is sent.
    fn body(&mut self, kind: BodyKind, data: &[u8], sent: bool) {
        match kind {
            BodyKind::None => self.text("Content-Length: 0\r\n\r\n"),
            BodyKind::Length => {
                self.text(&format!("Content-Length: {}\r\n\r\n", data.len()));
                if sent {
                    self.data(data);
                }
            }
            BodyKind::Chunked | BodyKind::Trailers => {
                self.text("Transfer-Encoding: chunked\r\n\r\n");
                if sent {
                    for chunk in data.chunks(20) {
                        self.text(&format!("{:X};x=y\r\n", chunk.len()));
                        self.data(chunk);
                        self.text("\r\n");
                    }
                    self.text("0\r\n");
                    if matches!(kind, BodyKind::Trailers) {
                        self.text("X: y\r\n");
                    }
                    self.text("\r\n");
                }
            }
        }
    }
}

/// Each batch of requests goes in together, and then their responses go out.
pub(super) fn flows(batches: &[Vec<Message>]) -> Vec<Flow> {
    let mut flows = Vec::new();
    for batch in batches {
        let mut read = Flow::new(Side::Read);
        let mut write = Flow::new(Side::Write);
        for m in batch {
            read.text(&format!(
                "{} {} HTTP/1.1\r\nHost: example.org\r\n",
                m.method, m.path
            ));
            read.body(m.request.0, &m.request.1, true);
            if m.interim {
                write.text("HTTP/1.1 100 Continue\r\n\r\n");
            }
            write.text(&format!("HTTP/1.1 {} Reason\r\nServer: x\r\n", m.status));
            let sent = m.method != "HEAD" && !matches!(m.status, 204 | 304);
            write.body(m.response.0, &m.response.1, sent);
        }
        flows.extend([read, write]);
    }
    flows
}

fn expected(batches: &[Vec<Message>]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first = 0;
    for batch in batches {
        for (n, m) in (first..).zip(batch) {
            lines.extend([
                format!("{n} started"),
                format!("{n} head {} {}", m.method, m.path),
            ]);
        }
        for (n, m) in (first..).zip(batch) {
            lines.extend([format!("{n} status {}", m.status), format!("{n} complete")]);
        }
        first += batch.len();
    }
    lines
}

pub(super) fn batches() -> impl Strategy<Value = Vec<Vec<Message>>> {
    vec(vec(message(), 1..4), 1..4)
}

/// Where to cut a flow, and whether a cut ends the call or only the buffer.
pub(super) type Cuts = Vec<(Index, bool)>;

pub(super) fn cuts() -> impl Strategy<Value = Cuts> {
    vec((any::<Index>(), any::<bool>()), 0..12)
}

/// The flow as calls of pieces; `unseen` says of each byte whether it was captured.
pub(super) fn calls<'a>(flow: &'a Flow, cuts: &Cuts, unseen: &[bool]) -> Vec<Vec<Piece<'a>>> {
    let mut ends: BTreeMap<usize, bool> = BTreeMap::from([(flow.bytes.len(), true)]);
    for (at, call) in cuts {
        *ends.entry(at.index(flow.bytes.len())).or_default() |= call;
    }
    let mut calls = vec![Vec::new()];
    let mut start = 0;
    for (end, ends_call) in ends {
        for run in unseen[start..end].chunk_by(|a, b| a == b) {
            let bytes = &flow.bytes[start..start + run.len()];
            let piece = if run[0] {
                Piece::Unseen(run.len() as u64)
            } else {
                Piece::Seen(bytes)
            };
            calls.last_mut().unwrap().push(piece);
            start += run.len();
        }
        if ends_call {
            calls.push(Vec::new());
        }
    }
    calls
}

fn feed(wire: &mut Wire, flow: &Flow, cuts: &Cuts, unseen: &[bool]) {
    for call in calls(flow, cuts, unseen) {
        match flow.side {
            Side::Read => wire.read_pieces(&call),
            Side::Write => wire.write_pieces(&call),
        };
        in_order(wire);
    }
}

/// The events of each exchange come in their order, and `serving` is the oldest that has not ended.
fn in_order(wire: &Wire) {
    #[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
    enum Stage {
        Started,
        Head,
        Status,
        Over,
    }
    let mut stages: BTreeMap<Exchange, Stage> = BTreeMap::new();
    for event in &wire.events {
        let text = line(event);
        let (exchange, stage) = match event {
            HttpEvent::RequestStarted { exchange } => {
                assert_eq!(exchange.0, stages.len() as u64, "{text}");
                stages.insert(*exchange, Stage::Started);
                continue;
            }
            HttpEvent::RequestHead { exchange, .. } => (exchange, Stage::Head),
            HttpEvent::ResponseStatus { exchange, status } => {
                assert!(*status == 101 || *status >= 200, "{text}");
                (exchange, Stage::Status)
            }
            HttpEvent::ResponseEnded { exchange, .. } | HttpEvent::RequestWithdrawn { exchange } => {
                (exchange, Stage::Over)
            }
            HttpEvent::NotHttp { .. } => {
                assert!(stages.values().all(|&s| s == Stage::Over));
                continue;
            }
        };
        let before = stages.insert(*exchange, stage).expect("it has begun");
        let withdrawn = matches!(event, HttpEvent::RequestWithdrawn { .. });
        assert!(
            before < stage && withdrawn == (before == Stage::Started && stage == Stage::Over),
            "{text}"
        );
        assert!(stage != Stage::Status || before == Stage::Head, "{text}");
    }
    let oldest = stages.iter().find(|(_, s)| **s != Stage::Over).map(|(e, _)| *e);
    assert_eq!(wire.connection.serving(), oldest);
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Read(Vec<(Option<u64>, Vec<u8>)>),
    Write(Vec<(Option<u64>, Vec<u8>)>),
    Eof,
    LosePlace,
    Close,
}

/// Garbage, with enough of HTTP in it to get anywhere.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..40),
        "[A-Z ]{0,6}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "HEAD /a HTTP/1.0\n",
            "CONNECT a HTTP/1.1\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 100 x\r\n",
            "HTTP/1.1 101 x\r\n",
            "HTTP/1.1 204 x\r\n\r\n",
            "Content-Length: 5\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Transfer-Encoding: chunked\r\n",
            "\r\n",
            "\r\n\r\n",
            "5\r\n",
            "0\r\n\r\n",
            "ffffffffffffffff\r\n",
            "\x16\x03",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        Just(vec![b'x'; 8200]),
    ];
    let hole =
        prop_oneof![6 => Just(None), 1 => (0_u64..40).prop_map(Some), 1 => any::<u64>().prop_map(Some)];
    let pieces = vec((hole, bytes), 0..6);
    prop_oneof![
        8 => pieces.clone().prop_map(Step::Read),
        8 => pieces.prop_map(Step::Write),
        1 => Just(Step::Eof),
        1 => Just(Step::LosePlace),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn valid_exchanges_are_found_however_they_are_split(
        batches in batches(),
        cuts in vec(cuts(), 6),
        mid_stream in any::<bool>(),
    ) {
        let mut wire = Wire::accepted();
        // In mid-stream a request is found at once only where its first read tells that it is one.
        if mid_stream {
            wire = Wire::mid_stream();
            wire.write("the end of something");
        }
        for (flow, cuts) in flows(&batches).iter().zip(&cuts) {
            feed(&mut wire, flow, cuts, &vec![false; flow.bytes.len()]);
        }
        let lines: Vec<String> = wire.events.iter().map(line).collect();
        prop_assert_eq!(lines, expected(&batches));
        prop_assert_eq!(wire.connection.serving(), None);
    }

    #[test]
    fn holes_in_data_change_nothing(batches in batches(), cuts in vec(cuts(), 6)) {
        let mut wire = Wire::accepted();
        for (flow, cuts) in flows(&batches).iter().zip(&cuts) {
            let unseen: Vec<bool> = (0..flow.bytes.len()).map(|i| flow.data.iter().any(|d| d.contains(&i))).collect();
            feed(&mut wire, flow, cuts, &unseen);
        }
        let lines: Vec<String> = wire.events.iter().map(line).collect();
        prop_assert_eq!(lines, expected(&batches));
    }

    #[test]
    fn after_holes_anywhere_the_next_exchange_is_found(
        batches in batches(),
        cuts in vec(cuts(), 6),
        holes in vec(vec((any::<Index>(), 0_usize..60), 0..4), 6),
        close in any::<bool>(),
    ) {
        let mut wire = Wire::accepted();
        // It is known to be HTTP.
        wire.read("GET /first HTTP/1.1\r\n\r\n").write("HTTP/1.1 204 x\r\n\r\n");
        for ((flow, cuts), holes) in flows(&batches).iter().zip(&cuts).zip(&holes) {
            let mut unseen = vec![false; flow.bytes.len()];
            for (at, len) in holes {
                let at = at.index(unseen.len());
                let end = unseen.len().min(at + len);
                unseen[at..end].fill(true);
            }
            feed(&mut wire, flow, cuts, &unseen);
        }
        wire.read("GET /next HTTP/1.1\r\n\r\n");
        in_order(&wire);
        let next = wire.events.iter().rev().find_map(|e| match e {
            HttpEvent::RequestStarted { exchange } => Some(exchange.0),
            _ => None,
        });
        let next = next.unwrap();
        wire.serves(Some(next));
        if close {
            wire.close();
        } else {
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        }
        in_order(&wire);
        wire.serves(None);
        let lines: Vec<String> = wire.events.iter().map(line).skip_while(|l| *l != format!("{next} started")).collect();
        let end: &[&str] = if close { &["incomplete"] } else { &["status 200", "complete"] };
        let told: Vec<String> =
            ["started", "head GET /next"].iter().chain(end).map(|what| format!("{next} {what}")).collect();
        prop_assert_eq!(lines, told);
    }

    #[test]
    fn garbage_never_panics_and_keeps_the_order(steps in vec(step(), 0..24), mid_stream in any::<bool>()) {
        let mut wire = if mid_stream { Wire::mid_stream() } else { Wire::accepted() };
        for step in &steps {
            let pieces = |pieces: &[(Option<u64>, Vec<u8>)], wire: &mut Wire, side| {
                let pieces: Vec<Piece<'_>> =
                    pieces.iter().map(|(hole, bytes)| hole.map_or(Piece::Seen(bytes), Piece::Unseen)).collect();
                match side {
                    Side::Read => wire.read_pieces(&pieces),
                    Side::Write => wire.write_pieces(&pieces),
                };
            };
            match step {
                Step::Read(p) => pieces(p, &mut wire, Side::Read),
                Step::Write(p) => pieces(p, &mut wire, Side::Write),
                Step::Eof => { wire.eof(); }
                Step::LosePlace => { wire.lose_place(); }
                Step::Close => { wire.close(); }
            }
            in_order(&wire);
        }
        wire.cut();
        in_order(&wire);
        wire.serves(None);
    }
}
