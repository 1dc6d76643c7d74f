//! What may never be kept, wherever it is sent, however it is split.

use memtrace_common::decode::Piece;

use super::{Side, Twins};

/// No three bytes of it are in anything that is kept for a reason.
const SECRET: &str = "Zq7@Secret_w0rd!";

/// A request with nothing in it.
const GET: &str = "GET / HTTP/1.1\r\n\r\n";

/// What both sides send; the secret is in each of the parts that has a `$`.
struct Talk {
    of: &'static str,
    parts: Vec<(Side, String)>,
}

fn talk(of: &'static str, parts: &[(Side, &str)]) -> Talk {
    Talk {
        of,
        parts: parts
            .iter()
            .map(|&(side, part)| (side, part.replace('$', SECRET)))
            .collect(),
    }
}

fn in_requests() -> Vec<Talk> {
    use Side::Read;
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "$ and ".repeat(1000));
    vec![
        talk(
            "a cookie",
            &[(
                Read,
                "GET / HTTP/1.1\r\nCookie: $; b=$\r\nAuthorization: Basic $\r\n\r\n",
            )],
        ),
        talk("a cookie in a cut head", &[(Read, "GET / HTTP/1.1\r\nCookie: $")]),
        talk(
            "a folded value",
            &[(Read, "GET / HTTP/1.1\r\nCookie:\r\n $\r\n\t$\r\n\r\n")],
        ),
        talk(
            "a value folded behind one that is read",
            &[(
                Read,
                "GET / HTTP/1.1\r\nContent-Length: $\r\n $\r\nTransfer-Encoding: $\r\n $\r\ntraceparent: $\r\n $\r\n\r\n",
            )],
        ),
        talk("a long value", &[(Read, &long)]),
        talk("a query", &[(Read, "GET /a?$ HTTP/1.1\r\n\r\n")]),
        talk(
            "a query of an absolute target",
            &[(Read, "GET http://a/?$ HTTP/1.1\r\n\r\n")],
        ),
        talk("an authority", &[(Read, "GET http://me:$@a/ HTTP/1.1\r\n\r\n")]),
        talk(
            "lines that are no headers",
            &[(
                Read,
                "GET / HTTP/1.1\r\n$\r\nA $\r\n:$\r\n(\r\n$: a\r\nA\r$: b\r\n\r\n",
            )],
        ),
        talk(
            "a body",
            &[(Read, "POST / HTTP/1.1\r\nContent-Length: 70\r\n\r\n$ $ $ $")],
        ),
        talk(
            "chunks",
            &[(
                Read,
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10;a=$\r\n$\r\n10 ;$;$\r\n$\r\n0;$\r\nA: $\r\n$: b\r\n\r\n",
            )],
        ),
    ]
}

fn in_responses() -> Vec<Talk> {
    use Side::{Read, Write};
    vec![
        talk(
            "lost chunks",
            &[
                (Read, GET),
                (
                    Write,
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size$\r\n$\r\n0\r\n\r\n",
                ),
            ],
        ),
        talk(
            "lost trailers",
            &[
                (Read, GET),
                (
                    Write,
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA$\r\r$\r\n",
                ),
            ],
        ),
        talk(
            "contradicting lengths",
            &[(
                Read,
                "POST / HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\n\0$$\r\n\r\n$",
            )],
        ),
        talk(
            "a response",
            &[
                (Read, GET),
                (
                    Write,
                    "HTTP/1.1 200 $\r\nSet-Cookie: $\r\n $\r\n$\r\n$ $\r\nContent-Length: 70\r\n\r\n$ $ $ $",
                ),
            ],
        ),
        talk(
            "a response's interim head",
            &[
                (Read, GET),
                (
                    Write,
                    "HTTP/1.1 103 $\r\nLink: $\r\n\r\nHTTP/1.1 200$\r\n$: $\r\n\r\n",
                ),
            ],
        ),
        talk(
            "a response until the connection closes",
            &[(Read, GET), (Write, "HTTP/1.0 200 OK\r\n\r\n$\r\n\r\n$")],
        ),
        talk(
            "what nobody asked for",
            &[(Write, "HTTP/1.1 200 OK\r\n\r\n$"), (Read, GET)],
        ),
    ]
}

fn in_other_protocols() -> Vec<Talk> {
    use Side::{Read, Write};
    vec![
        talk(
            "an upgraded connection",
            &[
                (Read, "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
                (Write, "HTTP/1.1 101 $\r\nUpgrade: $\r\n\r\n\x01\x10$"),
                (Read, "\u{1}\u{10}$"),
                (Read, "GET /$"),
                (Write, "$"),
            ],
        ),
        talk(
            "a tunnel",
            &[
                (Read, "CONNECT a:1 HTTP/1.1\r\n\r\n"),
                (Write, "HTTP/1.1 200 OK\r\n\r\n$"),
                (Read, "$"),
            ],
        ),
        talk(
            "a store's protocol",
            &[
                (Read, "*2\r\n$4\r\nAUTH\r\n$16\r\n$\r\n"),
                (Write, "+OK$\r\n"),
                (Read, "GET /$ "),
            ],
        ),
        talk(
            "a binary protocol",
            &[(Read, "\0\0\0\u{8}$"), (Write, "\0$"), (Read, "$")],
        ),
        talk(
            "TLS",
            &[
                (Read, "\u{16}\u{3}\u{1}\0\u{10}$"),
                (Write, "\u{16}\u{3}$"),
                (Read, "\u{17}\u{3}$"),
            ],
        ),
        talk(
            "HTTP/2",
            &[(Read, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n$"), (Write, "$")],
        ),
        talk(
            "what comes behind a request",
            &[(Read, "GET / HTTP/1.1\r\n\r\n\0$"), (Read, "\0$")],
        ),
    ]
}

#[track_caller]
fn holds_no_secret(kept: &[u8], of: &str) {
    for part in SECRET.as_bytes().windows(3) {
        let found = kept.windows(3).any(|w| w == part);
        assert!(!found, "{of}: {} in {}", part.escape_ascii(), kept.escape_ascii());
    }
}

#[test]
fn secrets_are_never_kept() {
    let talks = [in_requests(), in_responses(), in_other_protocols()];
    for talk in talks.iter().flatten() {
        for split in [1, 2, 3, 7, 40, 8192, usize::MAX] {
            // Each split is a call of its own, or a buffer of one call.
            for calls in [true, false] {
                let mut twins = Twins::accepted();
                let mut kept = [Vec::new(), Vec::new()];
                for (side, part) in &talk.parts {
                    assert!(part.len() < 40_000);
                    let pieces: Vec<Piece<'_>> = part.as_bytes().chunks(split).map(Piece::Seen).collect();
                    let bytes = if calls {
                        pieces
                            .iter()
                            .flat_map(|&piece| twins.call(*side, &[piece]))
                            .collect()
                    } else {
                        twins.call(*side, &pieces)
                    };
                    assert_eq!(bytes.len(), part.len());
                    kept[usize::from(*side == Side::Write)].extend(bytes);
                }
                for kept in &kept {
                    holds_no_secret(kept, talk.of);
                }
            }
        }
    }
}

#[test]
fn a_query_is_kept_where_that_is_asked_for() {
    let mut twins = Twins::new(&crate::http::Connection::new(), true);
    let head = format!("GET /a?{SECRET} HTTP/1.1\r\nCookie: ");
    let kept = twins.call(
        Side::Read,
        &[Piece::Seen(head.as_bytes()), Piece::Seen(SECRET.as_bytes())],
    );
    let (query, cookie) = kept.split_at(head.len());
    assert_eq!(query, head.replace("Cookie: ", "Coxxxx:x").as_bytes());
    holds_no_secret(cookie, "a cookie beside it");
}

#[test]
fn what_is_read_in_mid_stream_is_kept_only_where_it_begins_like_a_request() {
    let rest = format!("{SECRET}\r\n\r\n{SECRET} {SECRET} and more\n0\r\n\r\n");
    let mut twins = Twins::new(&crate::http::Connection::mid_stream(), false);
    holds_no_secret(
        &twins.call(Side::Read, &[Piece::Seen(rest.as_bytes())]),
        "the rest of a body",
    );
    holds_no_secret(
        &twins.call(Side::Write, &[Piece::Seen(rest.as_bytes())]),
        "the rest of a response",
    );
    twins.tell(crate::http::Connection::lose_place);
    holds_no_secret(
        &twins.call(Side::Read, &[Piece::Seen(rest.as_bytes())]),
        "after a loss",
    );
    // This could be the beginning of a method, and is kept as one.
    assert_eq!(twins.write("x"), r"\x00");
    assert_eq!(twins.read("word"), "word");
}
