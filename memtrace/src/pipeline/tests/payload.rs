//! What may be kept of payload, record by record.

use super::*;

const SECRET: &str = "Zq7@Secret_w0rd!";

impl Kernel {
    /// What may be kept of these bytes.
    fn keeps(&mut self, op: u8, fd: i32, bytes: impl AsRef<[u8]>) -> String {
        self.bytes(1, op, fd, bytes.as_ref());
        self.pipeline.payload_to_keep().escape_ascii().to_string()
    }
}

fn zeros(bytes: &str) -> String {
    r"\x00".repeat(bytes.len())
}

fn kernel(config: Config) -> Kernel {
    let mut k = Kernel::with(config);
    k.thread(1, FaultCount::default());
    k.accept(1, 5);
    k
}

#[test]
fn only_what_requests_are_found_by_is_kept() {
    let mut k = kernel(Config::default());
    let head = format!("POST /a?{SECRET} HTTP/1.1\r\nCookie: {SECRET}\r\nContent-Length: 16\r\n\r\n{SECRET}");
    let kept = format!(
        r"POST /a?{x} HTTP/1.1\r\nCoxxxx:x{x}\r\nContent-Length: 16\r\n\r\n{}",
        zeros(SECRET),
        x = "x".repeat(16)
    );
    assert_eq!(k.keeps(wire::OP_READ, 5, &head), kept);
    assert_eq!(
        k.keeps(wire::OP_WRITE, 5, format!("HTTP/1.1 200 OK\r\n\r\n{SECRET}")),
        format!(r"HTTP/1.1 200 xx\r\n\r\n{}", zeros(SECRET))
    );
    k.wait(1);
    assert_eq!(k.pipeline.payload_to_keep(), b"");
    k.keeps(wire::OP_WRITE, 5, SECRET);
    k.notice(Notice::Note("Something.".into()));
    assert_eq!(k.pipeline.payload_to_keep(), b"");
    let (requests, _) = k.finish();
    assert_eq!((requests[0].path.as_str(), requests[0].status), ("/a", Some(200)));
}

#[test]
fn queries_are_kept_with_paths_that_have_them() {
    let mut k = kernel(Config {
        routing: Routing::new(Vec::new(), true),
        ..Config::default()
    });
    let kept = k.keeps(wire::OP_READ, 5, "GET /a?b=c HTTP/1.1\r\nCookie: d\r\n\r\n");
    assert_eq!(kept, r"GET /a?b=c HTTP/1.1\r\nCoxxxx:xx\r\n\r\n");
    let (requests, _) = k.finish();
    assert_eq!(requests[0].path, "/a?b=c");
}

#[test]
fn of_what_no_request_comes_of_nothing_is_kept() {
    let get = "GET /a HTTP/1.1\r\n\r\n";
    let mut k = kernel(Config::default());
    k.notice(Notice::Socket {
        tgid: Tgid(P),
        fd: Fd(8),
        socket: Socket::Outbound,
    });
    // A descriptor that nothing is known of, a connection of the process itself, and one that is no HTTP.
    assert_eq!(k.keeps(wire::OP_READ, 7, get), zeros(get));
    assert_eq!(k.keeps(wire::OP_WRITE, 8, get), zeros(get));
    assert_eq!(k.keeps(wire::OP_READ, 8, SECRET), zeros(SECRET));
    assert_eq!(k.keeps(wire::OP_READ, 5, "\0"), zeros("\0"));
    assert_eq!(k.keeps(wire::OP_READ, 5, get), zeros(get));
    // What has no business with payload.
    assert_eq!(k.keeps(wire::OP_CLOSE, 9, get), zeros(get));
    // Somebody who is not known.
    k.accept(1, 6);
    let header = Header {
        tgid: P + 1,
        tid: 77,
        ..k.header(1, wire::KIND_IO)
    };
    let header = Header {
        op: wire::OP_READ,
        fd: 6,
        ..header
    };
    let mut segments = Segments::default();
    segments[0] = Segment {
        len: 3,
        head: 3,
        tail: 0,
    };
    let payload = Payload::new(3, segments, b"GET").unwrap();
    let io = Io {
        header,
        ret: 3,
        other: 0,
    };
    k.record(Record::Io(io, payload));
    assert_eq!(k.pipeline.payload_to_keep(), b"\0\0\0");
    // What comes after the end.
    let time = Nanos(k.time);
    k.notice(Notice::Ending { time });
    assert_eq!(k.keeps(wire::OP_READ, 6, get), zeros(get));
    let (requests, _) = k.finish();
    assert_eq!(requests, []);
}

#[test]
fn markers_and_passed_descriptors_are_kept() {
    let mut k = kernel(Config::default());
    let mark = "memtrace:begin job 1\n";
    assert_eq!(k.keeps(wire::OP_MARK, 1, mark), mark.replace('\n', r"\n"));
    let long = format!("{mark}{}", "y".repeat(wire::MARK_MAX));
    let kept = k.keeps(wire::OP_MARK, 1, &long);
    assert!(
        kept.ends_with(&format!("y{}", zeros(mark))),
        "no more than is read: {kept}"
    );
    assert_eq!(
        k.keeps(wire::OP_RECV_FD, 3, 9_i32.to_ne_bytes()),
        r"\t\x00\x00\x00"
    );
    assert_eq!(
        k.keeps(wire::OP_READ, 9, "GET /passed HTTP/1.1\r\n\r\n"),
        r"GET /passed HTTP/1.1\r\n\r\n"
    );
    let (mut requests, _) = k.finish();
    requests.sort_by_key(|request| request.id);
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["job", "job", "/passed"]);
}

#[test]
fn where_nobody_keeps_it_nothing_is_told() {
    let mut pipeline = Pipeline::new(Config::default());
    let header = Header {
        op: wire::OP_MARK,
        ..Header::default()
    };
    let mut segments = Segments::default();
    segments[0] = Segment {
        len: 1,
        head: 1,
        tail: 0,
    };
    let io = Io {
        header,
        ret: 1,
        other: 0,
    };
    let payload = Payload::new(1, segments, b"m").unwrap();
    pipeline.feed(Event::Record(Record::Io(io, payload)));
    assert_eq!(pipeline.payload_to_keep(), b"");
}
