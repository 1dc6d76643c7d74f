//! Requests, routes and the summary as JSON: an object a line, or one document that is written as it grows.
//!
//! Owns the framing. The fields and their order are those of `ledger::entry`; docs/schema/report.schema.json
//! describes them.

use std::io;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::printable::{is_plain, is_unsafe};
use crate::ledger::entry::{Request, Route, Summary};

/// An object, with its `type` first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Object<'a> {
    Request(&'a Request),
    Route(&'a Route),
    Summary(&'a Summary),
}

/// Compact, and with everything that a terminal could act on as `\uXXXX`: a line of JSON is often read on one.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        if is_plain(text) {
            return writer.write_all(text.as_bytes());
        }
        let mut safe = text;
        while let Some((at, c)) = safe.char_indices().find(|&(_, c)| is_unsafe(c)) {
            writer.write_all(&safe.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            safe = &safe[at + c.len_utf8()..];
        }
        writer.write_all(safe.as_bytes())
    }
}

/// Appends an object whose maps have strings for keys.
pub(crate) fn push(object: &impl Serialize, out: &mut Vec<u8>) {
    let written = object.serialize(&mut Serializer::with_formatter(out, Harmless));
    // Writing to memory cannot fail, nor can such objects.
    debug_assert!(written.is_ok(), "{written:?}");
}

fn push_line(object: &Object<'_>, out: &mut Vec<u8>) {
    push(object, out);
    out.push(b'\n');
}

/// A request as a line.
pub(super) fn request_line(request: &Request, out: &mut Vec<u8>) {
    push_line(&Object::Request(request), out);
}

/// What comes after all requests: a line for each route, and one for the summary.
pub(super) fn tail(routes: &[Route], summary: &Summary, out: &mut Vec<u8>) {
    for route in routes {
        push_line(&Object::Route(route), out);
    }
    push_line(&Object::Summary(summary), out);
}

/// The one document, of which only the end of the last element is remembered. An element is a line, so that
/// line tools work on it too.
#[derive(Debug, Default)]
pub(super) struct Document {
    any_request: bool,
}

impl Document {
    pub(super) fn open(out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"version\":1,\"requests\":[");
    }

    pub(super) fn request(&mut self, request: &Request, out: &mut Vec<u8>) {
        element(&Object::Request(request), !self.any_request, out);
        self.any_request = true;
    }

    pub(super) fn close(routes: &[Route], summary: &Summary, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\n],\"routes\":[");
        for (index, route) in routes.iter().enumerate() {
            element(&Object::Route(route), index == 0, out);
        }
        out.extend_from_slice(b"\n],\"summary\":");
        push(&Object::Summary(summary), out);
        out.extend_from_slice(b"}\n");
    }
}

/// An element of an array, on a line of its own.
fn element(object: &Object<'_>, first: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if first { b"\n" } else { b",\n" });
    push(object, out);
}
