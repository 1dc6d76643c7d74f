//! Markers: what a program says to memtrace in a `write(2)`, in any language and with no library.
//!
//! Owns the grammar (docs/MARKERS.md). Must not know who wrote them or what comes of them.
//!
//! ```text
//! memtrace:begin NAME ID
//! memtrace:end ID
//! memtrace:value NAME NUMBER
//! memtrace:runtime start|end FD NAME=BYTES…
//! ```

use memtrace_common::wire::{MARK, MARK_MAX};

/// The longest NAME or ID, in bytes.
pub const WORD_MAX: usize = 128;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker<'a> {
    /// A window opens on the thread that writes this.
    Begin {
        /// What it is a window of.
        name: &'a str,
        /// What ends it, in this process.
        id: &'a str,
    },
    /// That window closes.
    End {
        /// Which one.
        id: &'a str,
    },
    /// A number, for the innermost window or request of the thread.
    Value {
        /// What it is of.
        name: &'a str,
        /// The number.
        number: i64,
    },
    /// What a language's runtime says of its memory, at the start or the end of the request on a connection.
    Runtime {
        /// At which of them.
        at: End,
        /// The connection's descriptor.
        fd: i32,
        /// Sizes by name, bytes.
        sizes: Vec<(&'a str, u64)>,
    },
}

/// One end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it has been read.
    Start,
    /// Before its answer is whole.
    End,
}

/// Why a line is no marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The write was longer than is read, and this line was cut off with it.
    CutOff,
    /// Its words are not a marker's.
    Words,
}

/// The lines of one write that had `len` bytes, of which `text` are the first.
pub fn parse(text: &[u8], len: u64) -> impl Iterator<Item = Result<Marker<'_>, Malformed>> {
    let text = &text[..text.len().min(MARK_MAX)];
    let is_whole = text.len() as u64 == len;
    let mut lines = text.split(|&byte| byte == b'\n').peekable();
    std::iter::from_fn(move || {
        let line = lines.next()?;
        let is_last = lines.peek().is_none();
        Some(match line.trim_ascii() {
            _ if is_last && !is_whole => Some(Err(Malformed::CutOff)),
            [] => None,
            line => Some(marker(line).ok_or(Malformed::Words)),
        })
    })
    .flatten()
}

fn marker(line: &[u8]) -> Option<Marker<'_>> {
    let line = std::str::from_utf8(line.strip_prefix(MARK.as_slice())?).ok()?;
    let mut words = line.split_ascii_whitespace();
    let verb = words.next()?;
    let mut word = || words.next().filter(|word| word.len() <= WORD_MAX);
    let marker = match verb {
        "begin" => Marker::Begin {
            name: word()?,
            id: word()?,
        },
        "end" => Marker::End { id: word()? },
        "value" => Marker::Value {
            name: word()?,
            number: word()?.parse().ok()?,
        },
        "runtime" => {
            let at = match word()? {
                "start" => End::Start,
                "end" => End::End,
                _ => return None,
            };
            let fd = word()?.parse().ok().filter(|fd| *fd >= 0)?;
            let sizes = words.by_ref().map(|word| {
                let (name, bytes) = word.split_once('=')?;
                Some((name, bytes.parse().ok()?))
            });
            let sizes: Vec<_> = sizes.collect::<Option<_>>()?;
            (!sizes.is_empty()).then_some(Marker::Runtime { at, fd, sizes })?
        }
        _ => return None,
    };
    words.next().is_none().then_some(marker)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<Result<Marker<'_>, Malformed>> {
        parse(text.as_bytes(), text.len() as u64).collect()
    }

    #[test]
    fn one_write_may_have_several_lines() {
        assert_eq!(
            all("memtrace:begin job 7\nmemtrace:value heapUsed -12\n\nmemtrace:end 7\r\n"),
            [
                Ok(Marker::Begin { name: "job", id: "7" }),
                Ok(Marker::Value {
                    name: "heapUsed",
                    number: -12
                }),
                Ok(Marker::End { id: "7" }),
            ]
        );
    }

    #[test]
    fn a_runtime_names_the_connection_and_its_sizes() {
        assert_eq!(
            all("memtrace:runtime start 22 rss=81 heapUsed=7\nmemtrace:runtime end 22 rss=82"),
            [
                Ok(Marker::Runtime {
                    at: End::Start,
                    fd: 22,
                    sizes: vec![("rss", 81), ("heapUsed", 7)]
                }),
                Ok(Marker::Runtime {
                    at: End::End,
                    fd: 22,
                    sizes: vec![("rss", 82)]
                }),
            ]
        );
    }

    #[test]
    fn what_is_no_marker_is_said_to_be_none() {
        for text in [
            "memtrace:",
            "memtrace:begin",
            "memtrace:begin job",
            "memtrace:begin job 1 2",
            "memtrace:end",
            "memtrace:value heap",
            "memtrace:value heap 1.5",
            "memtrace:value heap 99999999999999999999",
            "memtrace:stop 1",
            "memtrace:runtime",
            "memtrace:runtime start",
            "memtrace:runtime start 7",
            "memtrace:runtime start -1 rss=1",
            "memtrace:runtime before 7 rss=1",
            "memtrace:runtime end 7 rss",
            "memtrace:runtime end 7 rss=-1",
            "memtrace:runtime end 7 rss=1 x",
            "something else",
        ] {
            assert_eq!(all(text), [Err(Malformed::Words)], "{text}");
        }
        let long = format!("memtrace:end {}", "x".repeat(WORD_MAX + 1));
        assert_eq!(all(&long), [Err(Malformed::Words)]);
    }

    #[test]
    fn what_was_not_read_is_said_to_be_cut_off() {
        let text = b"memtrace:begin a 1\nmemtrace:end 1";
        let cut: Vec<_> = parse(text, 300).collect();
        assert_eq!(
            cut,
            [Ok(Marker::Begin { name: "a", id: "1" }), Err(Malformed::CutOff)]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(text in proptest::collection::vec(any::<u8>(), 0..400), len in any::<u64>()) {
            let _ = parse(&text, len).count();
        }
    }
}
