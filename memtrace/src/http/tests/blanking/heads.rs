//! Heads of any kind, valid or not: the parser says the same of what is kept of them.

use std::ops::Range;

use proptest::{collection::vec, prelude::*, sample::Index};

use crate::{
    http::{
        Blanked,
        framing::Asked,
        head::{Fill, Gather, RequestHead},
    },
    ledger::route::Routing,
};

/// A head, and what of it may be kept, gathered in the same steps.
struct Gathered {
    first: Gather,
    again: Gather,
    fill: Fill,
    kept: Vec<u8>,
}

impl Gathered {
    fn new(gather: &Gather, bytes: &[u8], steps: &[Range<usize>]) -> Self {
        let mut gathered = Self {
            first: gather.clone(),
            again: gather.clone(),
            fill: Fill::More,
            kept: Vec::new(),
        };
        for step in steps {
            let bytes = &bytes[step.clone()];
            let mut blanked = Blanked::new(false);
            blanked.begin(bytes.len());
            let (taken, fill) = gathered.first.push_into(bytes, Some(&mut blanked));
            let (taken_again, fill_again) = gathered.again.push(blanked.bytes());
            assert_eq!(fill, fill_again, "{}", blanked.bytes().escape_ascii());
            gathered.fill = fill;
            // What is foreign is not looked at any more.
            if fill == Fill::Foreign {
                break;
            }
            assert_eq!(taken, taken_again);
            gathered.kept.extend_from_slice(blanked.bytes());
            if fill != Fill::More {
                break;
            }
        }
        gathered
    }
}

fn any_of(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(texts).prop_map(|text| text.as_bytes().to_vec())
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => any_of(&["Content-Length", "content-length", "Transfer-Encoding", "TRACEPARENT", "traceparent"]),
        4 => any_of(&["Host", "Cookie", "content-lengthy", "content-lengt", "transfer-enc", "trace", "c", "!#~", "A"]),
        1 => any_of(&["", " A", "\tA", "A ", "A B", "(", "\u{1}", "\0", "\r", "é", "content-length x", "A\r", "A\0"]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => any_of(&[
            "5", "17", "5, 5", "5,6", "chunked", "Chunked", "gzip, chunked", "chunked, gzip", "chunked,,", "chunk ed",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
            "some words", "a=b; c=d",
        ]),
        3 => any_of(&["", " ", "\t", ",", "+5", "5x", "99999999999999999999", "chunkedx", "xchunked", "00-", "é", "é5"]),
        1 => any_of(&["\0", "\u{1}", "\u{7f}", "a\rb", "\r", "a\0b", "5\u{1}", "\u{c}5"]),
        1 => vec(any::<u8>(), 0..8),
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let colon = prop_oneof![8 => any_of(&[":", ": "]), 1 => any_of(&["", " :", "\t :  ", " ", "::", ":\t"])];
    let end = prop_oneof![
        8 => any_of(&["\r\n", "\n"]),
        2 => any_of(&["\r\n ", "\n\t", "\r\n \r\n ", "\r\n 5\r\n", "\r\n x\n", "\n\tchunked\r\n", "\r\n chunked\r\n"]),
        1 => any_of(&["", "\r", "\r\r\n", "\r \n"]),
    ];
    (name(), colon, value(), end).prop_map(|(name, colon, value, end)| [name, colon, value, end].concat())
}

/// Lines of headers and an empty one.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    (vec(line(), 0..6), any_of(&["\r\n", "\n", "\n\r\n"]))
        .prop_map(|(lines, end)| [lines.concat(), end].concat())
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let target = "([a-z]{0,5}://?)?[/a-zA-Z0-9?:=%*#@.é]{1,20}";
    let first = ("(GET|CONNECT|a|[!-~]{1,4})", target, "HTTP/1[.][01]\r?\n")
        .prop_map(|(method, target, version)| format!("{method} {target} {version}").into_bytes());
    (first, lines()).prop_map(|(first, lines)| [first, lines].concat())
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => any_of(&["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\n", "HTTP/1.1 500 \r\n", "HTTP/1.1 200   Not that \t\r\n"]),
        2 => any_of(&[
            "HTTP/1.1 200\t\r\n", "HTTP/1.1 200x\r\n", "HTTP/1.1 200\u{1}\r\n", "HTTP/1.1 200 a\0b\r\n",
            "HTTP/1.1 200 é\r\n", "HTTP/1.1 200 a\rb\r\n", "HTTP/1.1 200\r\r\n", "HTTP/1.2 200 OK\r\n",
            "HTTP/1.1 200 \u{7f}\n", "HTTP/1.1 204 No\r\n", "HTTP/1.1 101 x\r\n",
        ]),
    ];
    (first, lines()).prop_map(|(first, lines)| [first, lines].concat())
}

/// Where the bytes are cut into steps.
fn steps(len: usize, cuts: &[Index]) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).chain([len]).collect();
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| std::mem::replace(&mut start, end)..end)
        .collect()
}

fn reported(mut head: RequestHead) -> RequestHead {
    head.target = Routing::default().path(head.target.as_bytes());
    head
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_blanked_request_says_the_same(bytes in request(), cuts in vec(any::<Index>(), 0..4)) {
        let gathered = Gathered::new(&Gather::request(), &bytes, &steps(bytes.len(), &cuts));
        let Gathered { first, again, fill, kept } = &gathered;
        if *fill != Fill::Foreign {
            prop_assert_eq!(first.verdict(), again.verdict());
            for whole in [*fill == Fill::Whole, false] {
                prop_assert_eq!(
                    reported(first.as_request(whole)),
                    reported(again.as_request(whole)),
                    "{}",
                    kept.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_blanked_response_says_the_same(bytes in response(), cuts in vec(any::<Index>(), 0..4)) {
        let gathered = Gathered::new(&Gather::response(), &bytes, &steps(bytes.len(), &cuts));
        let Gathered { first, again, fill, kept } = &gathered;
        if *fill != Fill::Foreign {
            prop_assert_eq!(first.status(), again.status());
            for asked in [Asked::Other, Asked::Head, Asked::Connect, Asked::Unseen] {
                for whole in [*fill == Fill::Whole, false] {
                    prop_assert_eq!(
                        first.as_response(whole, asked),
                        again.as_response(whole, asked),
                        "{}",
                        kept.escape_ascii()
                    );
                }
            }
        }
    }
}

#[test]
fn every_byte_of_a_value_and_of_a_line_is_told_apart_as_before() {
    for byte in 0..=u8::MAX {
        for (before, after) in [
            ("A: ", "\r\nContent-Length: 5\r\n\r\n"),
            ("A: b", "c\r\nContent-Length: 5\r\n\r\n"),
            ("A", ": b\r\nContent-Length: 5\r\n\r\n"),
            ("", "A: b\r\nContent-Length: 5\r\n\r\n"),
            ("A ", ": b\r\nContent-Length: 5\r\n\r\n"),
            ("A (", "\r\nContent-Length: 5\r\n\r\n"),
            ("A: b\r\n", "\r\nContent-Length: 5\r\n\r\n"),
            ("Content-Length: 5", "\r\n\r\n"),
            ("Content-Length:", "5\r\n\r\n"),
            ("Transfer-Encoding: gzip,", "chunked\r\n\r\n"),
            ("Content-Length", ": 5\r\n\r\n"),
        ] {
            let lines = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let request = [b"GET / HTTP/1.1\r\n", &lines[..]].concat();
            let gathered = Gathered::new(&Gather::request(), &request, &steps(request.len(), &[]));
            assert_eq!(
                gathered.first.as_request(gathered.fill == Fill::Whole),
                gathered.again.as_request(gathered.fill == Fill::Whole),
                "{}",
                gathered.kept.escape_ascii()
            );
            let response = [b"HTTP/1.1 200 OK\r\n", &lines[..]].concat();
            let gathered = Gathered::new(&Gather::response(), &response, &steps(response.len(), &[]));
            assert_eq!(
                gathered
                    .first
                    .as_response(gathered.fill == Fill::Whole, Asked::Other),
                gathered
                    .again
                    .as_response(gathered.fill == Fill::Whole, Asked::Other),
                "{}",
                gathered.kept.escape_ascii()
            );
        }
        let reason = [b"HTTP/1.1 200", &[byte][..], b"OK\r\nContent-Length: 5\r\n\r\n"].concat();
        let gathered = Gathered::new(&Gather::response(), &reason, &steps(reason.len(), &[]));
        assert_eq!(
            gathered
                .first
                .as_response(gathered.fill == Fill::Whole, Asked::Other),
            gathered
                .again
                .as_response(gathered.fill == Fill::Whole, Asked::Other),
            "{}",
            gathered.kept.escape_ascii()
        );
    }
}
