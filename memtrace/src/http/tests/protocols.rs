//! What is no HTTP/1.x, and connections that are first seen in mid-stream.

use memtrace_common::decode::Piece;

use super::Wire;
use crate::http::{LooksLike, Protocol};

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn other_protocols_are_left_alone_on_their_first_bytes() {
    for (first, looks_like) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], "Tls"),
        (b"\x16\x03", "Tls"),
        (b"\x16\x04", "Unknown"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "Http2"),
        (b"*1\r\n$4\r\nPING\r\n", "Unknown"),
        (b"PING\r\n", "Unknown"),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "Unknown"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "Unknown"),
        (b"EHLO example.org\r\n", "Unknown"),
        (b"GET /\r\n", "Unknown"),
        (b"GET key 0 HTTP/1.1\r\n", "Unknown"),
        (b"OPTIONS rtsp://a RTSP/1.0\r\n", "Unknown"),
        (b"{\"jsonrpc\":\"2.0\"}", "Unknown"),
        (b"\xff\xfe\xfd", "Unknown"),
    ] {
        let mut wire = Wire::accepted();
        let line = format!("not http: {looks_like}");
        wire.read(first)
            .gives(&[&line])
            .read(GET)
            .write(OK)
            .close()
            .gives(&[])
            .serves(None);
        assert!(matches!(wire.connection.protocol(), Protocol::NotHttp(_)));
    }
}

#[test]
fn a_first_byte_may_be_the_beginning_of_anything() {
    let mut wire = Wire::accepted();
    wire.read([0x16]).gives(&[]).serves(None);
    assert_eq!(wire.connection.protocol(), Protocol::Undecided);
    wire.read([3, 1]).gives(&["not http: Tls"]);

    let mut wire = Wire::accepted();
    wire.read("P").gives(&["0 started"]).read("RI * HTTP/").gives(&[]);
    wire.read("2.0\r\n")
        .gives(&["0 withdrawn", "not http: Http2"])
        .serves(None);
}

#[test]
fn an_answer_that_is_no_http_takes_the_request_back() {
    let mut wire = Wire::accepted();
    wire.read("AUTH")
        .write("+")
        .gives(&["0 started", "0 withdrawn", "not http: Unknown"]);
    assert_eq!(wire.connection.protocol(), Protocol::NotHttp(LooksLike::Unknown));
}

#[test]
fn a_request_needs_its_version() {
    let mut wire = Wire::accepted();
    wire.read("GET /a")
        .gives(&["0 started"])
        .read(" HTTP/3")
        .gives(&["0 withdrawn", "not http: Unknown"]);
}

#[test]
fn garbage_after_a_request_does_not_make_it_another_protocol() {
    let mut wire = Wire::accepted();
    wire.read(GET).write(OK).events.clear();
    wire.read("\x00\x01").gives(&[]).serves(None);
    assert!(wire.connection.is_http());
    wire.read("ABC").gives(&[]);
    wire.write("whatever")
        .read("ABC")
        .gives(&["1 started"])
        .read("\0")
        .gives(&["1 withdrawn"])
        .serves(None);
    wire.read(GET).gives(&["2 started", "2 head GET /"]);
}

#[test]
fn mid_stream_waits_for_a_request() {
    let mut wire = Wire::mid_stream();
    wire.read("the rest of some body")
        .write("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nand")
        .gives(&[]);
    assert_eq!(wire.connection.protocol(), Protocol::Undecided);
    wire.write("the rest").gives(&[]).serves(None);
    wire.read(GET)
        .write(OK)
        .gives(&["0 started", "0 head GET /", "0 status 200", "0 complete"]);
    assert!(wire.connection.is_http());
}

#[test]
fn mid_stream_takes_a_request_in_several_reads() {
    let mut wire = Wire::mid_stream();
    wire.read("GET /a?b")
        .gives(&["0 started"])
        .read(" HTTP/1.1\r\n\r\n")
        .gives(&["0 head GET /a?b"]);
    // Even a byte can be a beginning.
    let mut wire = Wire::mid_stream();
    wire.read("G")
        .gives(&["0 started"])
        .read(&GET[1..])
        .gives(&["0 head GET /"]);
    // Or the middle of something, and then it is nothing.
    let mut wire = Wire::mid_stream();
    wire.read("M")
        .gives(&["0 started"])
        .read("any words of a body, and more of them")
        .gives(&["0 withdrawn"]);
    let mut wire = Wire::mid_stream();
    wire.read("\0\x01")
        .write("x")
        .read("G")
        .gives(&["0 started"])
        .read(&GET[1..])
        .gives(&["0 head GET /"]);
}

#[test]
fn mid_stream_is_never_sure_that_it_is_not_http() {
    let mut wire = Wire::mid_stream();
    wire.read("\0\0\0\x01")
        .write("\0")
        .read("x")
        .gives(&["0 started"])
        .read("\0")
        .gives(&["0 withdrawn"]);
    wire.write("\0")
        .read("AB")
        .write("+OK")
        .gives(&["1 started", "1 withdrawn"])
        .serves(None);
    wire.read(GET).gives(&["2 started", "2 head GET /"]);
}

#[test]
fn mid_stream_tls_is_seen_by_its_records() {
    let mut wire = Wire::mid_stream();
    wire.read([0x17, 3, 3, 0, 30]).gives(&["not http: Tls"]);
}

#[test]
fn lost_records_end_what_is_open_and_wait_for_a_request() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        .events
        .clear();
    wire.lose_place()
        .gives(&["0 incomplete"])
        .write("HTTP/1.1 500 x\r\n\r\n")
        .gives(&[]);
    wire.read(GET)
        .write(OK)
        .gives(&["1 started", "1 head GET /", "1 status 200", "1 complete"]);
    wire.read_pieces(&[Piece::Seen(b"\x16\x03\x01")])
        .close()
        .lose_place()
        .gives(&[]);
}
