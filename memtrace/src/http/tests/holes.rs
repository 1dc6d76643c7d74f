//! Streams of which not every byte was captured.

use memtrace_common::decode::Piece::{Seen, Unseen};

use super::Wire;

const GET: &str = "GET / HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn a_length_is_counted_through_holes() {
    let mut wire = Wire::accepted();
    wire.read("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n");
    wire.read_pieces(&[Seen(b"GET / HTTP/1.1\r\n"), Unseen(65_000), Seen(b"\r\n\r\n")]);
    wire.read_pieces(&[Unseen(934_980)])
        .gives(&["0 started", "0 head POST /"]);
    wire.write("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        .write_pieces(&[Unseen(4999)])
        .serves(Some(0));
    wire.write_pieces(&[Unseen(1)])
        .gives(&["0 status 200", "0 complete"])
        .serves(None);
    wire.read(GET).gives(&["1 started", "1 head GET /"]);
}

#[test]
fn chunks_with_unseen_data_are_counted() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write(CHUNKED)
        .write_pieces(&[Seen(b"ffff\r\n"), Unseen(0xffff), Seen(b"\r\n")]);
    // "0\r\n\r\n" as data is no end.
    wire.write_pieces(&[Seen(b"9\r\nab\r\n0\r\n\r\n")])
        .serves(Some(0));
    wire.write("\r\n0\r\n\r\n")
        .gives(&["0 started", "0 head GET /", "0 status 200", "0 complete"]);
}

#[test]
fn lost_chunks_end_with_the_last_chunk() {
    let mut wire = Wire::accepted();
    // Several chunks in one buffer, of which the first 32 and the last 16 bytes are seen.
    wire.read(GET).write(CHUNKED);
    wire.write_pieces(&[
        Seen(b"100\r\n0123456789"),
        Unseen(5000),
        Seen(b"89\r\nabcdefabcdef"),
    ])
    .serves(Some(0));
    wire.write_pieces(&[Seen(b"whatever 100\r\n\r\n")])
        .serves(Some(0));
    wire.write_pieces(&[Seen(b"12\r\nxx"), Unseen(900), Seen(b"the end\r\n0\r\n\r\n")])
        .serves(None);
    wire.gives(&["0 started", "0 head GET /", "0 status 200", "0 complete inferred"]);
    wire.read(GET)
        .write(OK)
        .gives(&["1 started", "1 head GET /", "1 status 200", "1 complete"]);
}

#[test]
fn a_last_chunk_of_its_own_ends_lost_chunks() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write(CHUNKED)
        .write_pieces(&[Unseen(5000)])
        .serves(Some(0));
    wire.write("0\r\n\r\n")
        .gives(&["0 started", "0 head GET /", "0 status 200", "0 complete inferred"]);
}

#[test]
fn lost_trailers_end_with_an_empty_line() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write(CHUNKED)
        .write_pieces(&[Seen(b"0\r\nX"), Unseen(50), Seen(b"y\r\n")])
        .serves(Some(0));
    wire.write("\r\n")
        .gives(&["0 started", "0 head GET /", "0 status 200", "0 complete inferred"]);
}

#[test]
fn a_lost_response_ends_when_the_client_goes_on() {
    let mut wire = Wire::accepted();
    wire.read(GET).write(CHUNKED).write_pieces(&[Unseen(5000)]);
    wire.read(GET).gives(&[
        "0 started",
        "0 head GET /",
        "0 status 200",
        "0 incomplete inferred",
        "1 started",
        "1 head GET /",
    ]);
    wire.write(OK).gives(&["1 status 200", "1 complete"]);
}

#[test]
fn nothing_is_paired_behind_a_lost_response() {
    // What looks like the next response can be data, or the one after the next.
    let mut wire = Wire::accepted();
    wire.read(GET.repeat(2))
        .write(CHUNKED)
        .write_pieces(&[Unseen(5000)])
        .events
        .clear();
    wire.write(OK)
        .write("0\r\n\r\n")
        .gives(&[])
        .serves(Some(0))
        .read(GET);
    wire.gives(&[
        "0 incomplete inferred",
        "1 incomplete inferred",
        "2 started",
        "2 head GET /",
    ]);
    wire.write(OK).gives(&["2 status 200", "2 complete"]).serves(None);
}

#[test]
fn a_response_all_in_holes_has_no_status() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write_pieces(&[Unseen(500)])
        .serves(Some(0))
        .read(GET);
    wire.gives(&[
        "0 started",
        "0 head GET /",
        "0 incomplete inferred",
        "1 started",
        "1 head GET /",
    ]);
    wire.write(OK).gives(&["1 status 200", "1 complete"]);
}

#[test]
fn conflicting_lengths_lose_the_framing() {
    let mut wire = Wire::accepted();
    wire.read(GET)
        .write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc")
        .serves(Some(0));
    wire.gives(&["0 started", "0 head GET /", "0 status 200"])
        .read(GET);
    wire.gives(&["0 incomplete inferred", "1 started", "1 head GET /"])
        .write(OK)
        .events
        .clear();

    wire.read("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nGET")
        .read(GET);
    wire.gives(&["2 started", "2 head POST /"]).serves(Some(2));
    wire.write(OK)
        .read(GET)
        .gives(&["2 status 200", "2 complete", "3 started", "3 head GET /"]);
}

#[test]
fn a_long_response_head_gives_its_status() {
    let mut wire = Wire::accepted();
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}", "x".repeat(9000));
    wire.read(GET)
        .write(&long)
        .gives(&["0 started", "0 head GET /", "0 status 200"])
        .serves(Some(0));
    wire.write("\r\n\r\n").serves(Some(0)).read(GET).gives(&[
        "0 incomplete inferred",
        "1 started",
        "1 head GET /",
    ]);

    let mut wire = Wire::accepted();
    wire.read("HEAD / HTTP/1.1\r\n\r\n")
        .write_pieces(&[Seen(b"HTTP/1.1 200 OK\r\nA: "), Unseen(9000)]);
    wire.serves(Some(0))
        .write_pieces(&[Unseen(100), Seen(b"b\r\n\r\n")])
        .serves(None);
    wire.gives(&[
        "0 started",
        "0 head HEAD /",
        "0 status 200",
        "0 complete inferred",
    ]);
}

#[test]
fn a_long_request_head_is_told_as_far_as_it_was_seen() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = format!(
        "POST /long HTTP/1.1\r\ntraceparent: 00-{id}-00f067aa0ba902b7-01\r\nA: {}",
        "x".repeat(8100)
    );
    let told = format!("0 head POST /long trace {id} truncated");
    let mut wire = Wire::accepted();
    wire.read_pieces(&[
        Seen(&head.as_bytes()[..8192]),
        Unseen(10_000),
        Seen(b"Content-Length: "),
    ]);
    wire.gives(&["0 started", &told])
        .read("GET /body HTTP/1.1\r\n\r\n")
        .gives(&[])
        .serves(Some(0));
    wire.write(OK).gives(&["0 status 200", "0 complete"]).serves(None);
    wire.read(GET)
        .write(OK)
        .gives(&["1 started", "1 head GET /", "1 status 200", "1 complete"]);

    // The same where every byte is seen.
    let mut wire = Wire::accepted();
    wire.read(format!("{head}{head}\r\n\r\n"))
        .gives(&["0 started", &told])
        .write(OK)
        .read("G");
    wire.gives(&["0 status 200", "0 complete", "1 started"]);
}

#[test]
fn a_target_over_8_kib_is_cut() {
    let mut wire = Wire::accepted();
    wire.read(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000)));
    let told = format!("0 head GET /{} truncated", "x".repeat(8192 - "GET /".len()));
    wire.gives(&["0 started", &told]).write(OK).read(GET);
    wire.gives(&["0 status 200", "0 complete", "1 started", "1 head GET /"]);
    // But not any long line is a request.
    let mut wire = Wire::accepted();
    wire.read(format!("GET {}", "x".repeat(9000)))
        .gives(&["0 started"]);
    wire.write("-ERR").gives(&["0 withdrawn", "not http: Unknown"]);
}

#[test]
fn an_unseen_request_is_one_if_it_is_answered_as_one() {
    let mut wire = Wire::accepted();
    wire.read_pieces(&[Unseen(300)])
        .gives(&["0 started"])
        .serves(Some(0));
    wire.write(OK).gives(&["0 head   truncated", "0 status 200"]);
    // It may have been a HEAD, so only the next request tells that the response is over.
    wire.serves(Some(0))
        .read(GET)
        .gives(&["0 incomplete inferred", "1 started", "1 head GET /"]);

    let mut wire = Wire::accepted();
    wire.read_pieces(&[Unseen(300)]).write("220 ready").gives(&[
        "0 started",
        "0 withdrawn",
        "not http: Unknown",
    ]);
    let mut wire = Wire::accepted();
    wire.read_pieces(&[Unseen(300)])
        .close()
        .gives(&["0 started", "0 withdrawn"]);
}

#[test]
fn a_pipelined_request_in_a_hole_is_listed_unless_it_is_too_short() {
    let mut wire = Wire::accepted();
    wire.read_pieces(&[Seen(GET.as_bytes()), Unseen(40)]).gives(&[
        "0 started",
        "0 head GET /",
        "1 started",
        "1 head   truncated",
    ]);
    let mut wire = Wire::accepted();
    wire.read_pieces(&[Seen(GET.as_bytes()), Unseen(2)])
        .gives(&["0 started", "0 head GET /"]);
    wire.write(OK)
        .read(GET)
        .gives(&["0 status 200", "0 complete", "1 started", "1 head GET /"]);
}

#[test]
fn lost_chunks_of_a_request_end_with_the_last_chunk_or_the_response() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut wire = Wire::accepted();
    wire.read(head)
        .read_pieces(&[Unseen(5000), Seen(b"x\r\n0\r\n\r\n")])
        .read(GET);
    wire.gives(&["0 started", "0 head POST /", "1 started", "1 head GET /"]);
    let mut wire = Wire::accepted();
    wire.read(head)
        .read_pieces(&[Unseen(5000)])
        .read(GET)
        .gives(&["0 started", "0 head POST /"]);
    wire.write(OK)
        .read(GET)
        .gives(&["0 status 200", "0 complete", "1 started", "1 head GET /"]);
}
