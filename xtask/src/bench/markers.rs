//! What a marker costs whoever writes it, beside a write of the same length that is none.
//!
//! Owns the writes. Must not know who traces this process meanwhile.

use std::{
    fs::File,
    io::{Result, Write as _},
    time::Instant,
};

/// Writes of one turn.
pub(super) const WRITES: u32 = 100_000;

/// A window is opened and closed.
const MARKED: [&[u8]; 2] = [b"memtrace:begin x 1", b"memtrace:end 1"];
const PLAIN: [&[u8]; 2] = [b"mem-trace:begin x ", b"mem-trace:end "];

const _: () = assert!(MARKED[0].len() == PLAIN[0].len() && MARKED[1].len() == PLAIN[1].len());

/// Nanoseconds a write of what is no marker.
pub(super) fn plain() -> Result<f64> {
    write(PLAIN)
}

/// Nanoseconds a marker.
pub(super) fn marked() -> Result<f64> {
    write(MARKED)
}

fn write(texts: [&[u8]; 2]) -> Result<f64> {
    let mut null = File::options().write(true).open("/dev/null")?;
    let begin = Instant::now();
    for _ in 0..WRITES / 2 {
        for text in texts {
            null.write_all(text)?;
        }
    }
    Ok(begin.elapsed().as_secs_f64() * 1e9 / f64::from(WRITES))
}
