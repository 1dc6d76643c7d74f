//! Exchanges that are seen whole: framing and pairing.

use super::Wire;
use crate::http::{Protocol, QUEUE_MAX};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn keep_alive_serves_one_after_the_other() {
    let mut wire = Wire::accepted();
    wire.serves(None)
        .read("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        .serves(Some(0));
    wire.gives(&["0 started", "0 head GET /a"]);
    wire.write(OK).serves(None).gives(&["0 status 200", "0 complete"]);
    wire.read("GET /b?q=1 HTTP/1.1\r\n\r\n")
        .serves(Some(1))
        .write(OK)
        .close();
    wire.gives(&["1 started", "1 head GET /b?q=1", "1 status 200", "1 complete"]);
    assert!(wire.connection.is_http());
}

#[test]
fn everything_a_byte_at_a_time() {
    let mut wire = Wire::accepted();
    wire.read("P").gives(&["0 started"]);
    for b in b"OST /x HTTP/1.1\r\nContent-Length: 18\r\n\r" {
        wire.read([*b]).gives(&[]).serves(Some(0));
    }
    wire.read("\n").gives(&["0 head POST /x"]);
    for b in b"GET / HTTP/1.1\r\n\r\n" {
        wire.read([*b]).gives(&[]);
    }
    for b in b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r" {
        wire.write([*b]).gives(&[]);
    }
    wire.write("\n").gives(&["0 status 201"]);
    for b in b"3;x\r\nabc\r\n0\r\nT: u\r\n\r" {
        wire.write([*b]).gives(&[]);
    }
    wire.write("\n").gives(&["0 complete"]);
    wire.read("\r\n")
        .gives(&[])
        .serves(None)
        .read("G")
        .gives(&["1 started"]);
}

#[test]
fn three_requests_in_one_read_are_served_in_order() {
    let mut wire = Wire::accepted();
    wire.read(
        "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzHEAD /c HTTP/1.1\r\n\r\n",
    );
    wire.gives(&[
        "0 started",
        "0 head GET /a",
        "1 started",
        "1 head POST /b",
        "2 started",
        "2 head HEAD /c",
    ]);
    wire.serves(Some(0))
        .write(OK)
        .gives(&["0 status 200", "0 complete"])
        .serves(Some(1));
    wire.write(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    );
    wire.gives(&["1 status 404", "1 complete", "2 status 200", "2 complete"])
        .serves(None);
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    let mut wire = Wire::accepted();
    wire.read(format!(
        "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        get.len()
    ))
    .read(get)
    .write(OK);
    wire.gives(&["0 started", "0 head POST /", "0 status 200", "0 complete"]);
    wire.read("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        .read("12\r\n")
        .read(get);
    wire.read("\r\n0\r\n").read("\r\n").write(OK);
    wire.gives(&["1 started", "1 head POST /", "1 status 200", "1 complete"]);
}

#[test]
fn transfer_encoding_beats_content_length() {
    let mut wire = Wire::accepted();
    wire.read(
        "PUT / HTTP/1.1\r\nContent-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    );
    wire.write(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\n\r\n",
    );
    wire.gives(&["0 started", "0 head PUT /", "0 status 200", "0 complete"]);
    wire.read("GET / HTTP/1.1\r\n\r\n")
        .gives(&["1 started", "1 head GET /"]);
}

#[test]
fn node_writes_chunks_as_three_buffers() {
    let mut wire = Wire::accepted();
    wire.read("GET / HTTP/1.1\r\n\r\n");
    wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..3 {
        wire.write("5\r\n").write("hello").write("\r\n");
    }
    wire.serves(Some(0)).write("0\r\n\r\n").serves(None);
    wire.gives(&["0 started", "0 head GET /", "0 status 200", "0 complete"]);
}

#[test]
fn interim_responses_are_passed_over() {
    let mut wire = Wire::accepted();
    wire.read("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    wire.write("HTTP/1.1 100 Continue\r\n\r\n")
        .gives(&["0 started", "0 head PUT /"])
        .serves(Some(0));
    wire.read("GET ")
        .write("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    wire.gives(&["0 status 200", "0 complete"]);
}

#[test]
fn some_responses_have_no_body() {
    let mut wire = Wire::accepted();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        wire.read(format!("{method} / HTTP/1.1\r\n\r\n"));
        wire.write(format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n"))
            .serves(None);
    }
    assert_eq!(wire.events.len(), 12);
}

#[test]
fn an_upgrade_ends_the_exchange_and_http() {
    let mut wire = Wire::accepted();
    wire.read("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    wire.write("HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02");
    wire.gives(&["0 started", "0 head GET /ws", "0 status 101", "0 complete"])
        .serves(None);
    assert_eq!(wire.connection.protocol(), Protocol::Upgraded);
    assert!(!wire.connection.is_http());
    wire.read("GET / HTTP/1.1\r\n\r\n").write(OK).close().gives(&[]);
}

#[test]
fn connect_makes_a_tunnel_only_when_it_succeeds() {
    let mut wire = Wire::accepted();
    wire.read("CONNECT a:443 HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx");
    wire.gives(&["0 started", "0 head CONNECT a:443", "0 status 407", "0 complete"]);
    wire.read("CONNECT a:443 HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 200 OK\r\n\r\n")
        .read("GET / HTTP/1.1\r\n\r\n");
    wire.gives(&["1 started", "1 head CONNECT a:443", "1 status 200", "1 complete"]);
    assert_eq!(wire.connection.protocol(), Protocol::Upgraded);
}

#[test]
fn a_response_without_length_ends_when_the_server_closes() {
    for (cut, end) in [(false, "0 complete"), (true, "0 incomplete")] {
        let mut wire = Wire::accepted();
        wire.read("GET / HTTP/1.0\r\n\r\n")
            .write("HTTP/1.0 200 OK\r\n\r\nabc")
            .write("def")
            .serves(Some(0));
        wire.eof().gives(&["0 started", "0 head GET /", "0 status 200"]);
        if cut {
            wire.cut()
        } else {
            wire.close()
        };
        wire.gives(&[end]).serves(None).close().gives(&[]);
    }
}

#[test]
fn only_the_oldest_response_ends_by_the_close() {
    let mut wire = Wire::accepted();
    wire.read("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        .write("HTTP/1.1 200 OK\r\n\r\nabc");
    wire.events.clear();
    wire.close().gives(&["0 complete", "1 incomplete"]);
}

#[test]
fn a_client_that_leaves_early() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    for written in [
        "",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        head,
    ] {
        let mut wire = Wire::accepted();
        wire.read("GET / HTTP/1.1\r\n\r\n").write(written).eof();
        wire.events
            .retain(|e| !matches!(e, crate::http::HttpEvent::ResponseStatus { .. }));
        wire.close()
            .gives(&["0 started", "0 head GET /", "0 incomplete"])
            .serves(None);
    }
}

#[test]
fn a_half_closed_client_still_gets_its_response() {
    let mut wire = Wire::accepted();
    wire.read("GET / HTTP/1.1\r\n\r\n")
        .eof()
        .serves(Some(0))
        .write(OK);
    wire.gives(&["0 started", "0 head GET /", "0 status 200", "0 complete"]);
}

#[test]
fn a_head_that_is_given_up_is_told_as_far_as_it_came() {
    let mut wire = Wire::accepted();
    wire.read("GET /slow HTTP/1.1\r\nA: b")
        .eof()
        .gives(&["0 started", "0 head GET /slow truncated"]);
    wire.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        .gives(&["0 status 400", "0 complete"]);

    let mut wire = Wire::accepted();
    wire.read("GET /slow")
        .close()
        .gives(&["0 started", "0 head GET /slow truncated", "0 incomplete"]);

    let mut wire = Wire::accepted();
    wire.read("GET").close().gives(&["0 started", "0 withdrawn"]);

    let mut wire = Wire::accepted();
    wire.read("GET")
        .eof()
        .gives(&["0 started", "0 withdrawn"])
        .serves(None)
        .close()
        .gives(&[]);
}

#[test]
fn a_response_before_the_head_is_whole_tells_what_is_known() {
    let mut wire = Wire::accepted();
    wire.read("GET /a HTTP/1.1\r\nHo")
        .write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    wire.gives(&[
        "0 started",
        "0 head GET /a truncated",
        "0 status 408",
        "0 complete",
    ])
    .serves(None);
    // The rest of the head is no new request.
    wire.read("st: x\r\n\r\n").gives(&[]).serves(None);
    wire.read("GET /b HTTP/1.1\r\n\r\n")
        .gives(&["1 started", "1 head GET /b"]);
}

#[test]
fn an_early_response_leaves_the_rest_of_the_body_a_body() {
    let get = "GET /not HTTP/1.1\r\n\r\n";
    let mut wire = Wire::accepted();
    wire.read("POST / HTTP/1.1\r\nContent-Length: 25\r\n\r\n12345");
    wire.write("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    wire.gives(&["0 started", "0 head POST /", "0 status 413", "0 complete"])
        .serves(None);
    wire.read(&get[..20]).gives(&[]).serves(None);
    wire.read("GET /yes HTTP/1.1\r\n\r\n")
        .gives(&["1 started", "1 head GET /yes"]);
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let mut wire = Wire::accepted();
    wire.read("\r\n")
        .gives(&[])
        .read("\r\n\r\nGET / HTTP/1.1\n\n")
        .gives(&["0 started", "0 head GET /"]);
}

#[test]
fn a_trace_id_is_kept() {
    let mut wire = Wire::accepted();
    wire.read(
        "GET / HTTP/1.1\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n",
    );
    wire.gives(&["0 started", "0 head GET / trace 4bf92f3577b34da6a3ce929d0e0e4736"]);
    wire.write(OK).events.clear();
    let twice = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n".repeat(2);
    wire.read(format!("GET / HTTP/1.1\r\n{twice}\r\n"))
        .gives(&["1 started", "1 head GET /"]);
}

#[test]
fn more_open_exchanges_than_are_kept_are_counted_and_still_paired() {
    let mut wire = Wire::accepted();
    for _ in 0..QUEUE_MAX + 3 {
        wire.read("GET / HTTP/1.1\r\n\r\n");
    }
    assert_eq!(wire.connection.open_exchanges(), QUEUE_MAX);
    assert_eq!(wire.connection.unlisted(), 3);
    wire.events.clear();
    wire.write(OK).gives(&["0 status 200", "0 complete"]);
    // There is room again, but order must be kept.
    wire.read("GET /late HTTP/1.1\r\n\r\n").gives(&[]);
    for _ in 0..QUEUE_MAX - 1 {
        wire.write(OK);
    }
    assert_eq!(wire.connection.open_exchanges(), 0);
    wire.events.clear();
    for _ in 0..4 {
        wire.serves(None).write(OK).gives(&[]);
    }
    assert_eq!(wire.connection.unlisted(), 4);
    let next = format!("{QUEUE_MAX} started");
    wire.read("GET /n HTTP/1.1\r\n\r\n")
        .gives(&[&next, &format!("{QUEUE_MAX} head GET /n")]);
    wire.write(OK);
    assert_eq!(wire.events.len(), 2);
}

#[test]
fn what_nobody_asked_for_is_ignored() {
    let mut wire = Wire::accepted();
    wire.write(OK).write("garbage").gives(&[]);
    wire.read("GET / HTTP/1.1\r\n\r\n")
        .write(format!("{OK}more than was said"))
        .write("and more");
    wire.gives(&["0 started", "0 head GET /", "0 status 200", "0 complete"]);
    wire.read("GET / HTTP/1.1\r\n\r\n").write(OK).gives(&[
        "1 started",
        "1 head GET /",
        "1 status 200",
        "1 complete",
    ]);
}

#[test]
fn unlisted_exchanges_are_forgotten_with_the_place() {
    let mut wire = Wire::accepted();
    for _ in 0..=QUEUE_MAX {
        wire.read("GET / HTTP/1.1\r\n\r\n");
    }
    wire.lose_place().serves(None).events.clear();
    let next = [format!("{QUEUE_MAX} started"), format!("{QUEUE_MAX} head GET /")];
    wire.read("GET / HTTP/1.1\r\n\r\n").gives(&[&next[0], &next[1]]);
}
