//! Windows that this process opens and closes itself, each with a known number of faults in it.
//!
//! Owns what is written (docs/MARKERS.md) and what is touched between. Must not know what a tracer makes of it. It
//! allocates nothing, so that a window has no fault but those that it is meant to have.

use std::fs::File;
use std::io::{Cursor, Write as _};
use std::sync::Barrier;

use anyhow::Context as _;

use super::touch;

/// Longer than a marker can be.
const TOO_LONG: usize = 300;

/// Where markers go.
struct Marker(File);

impl Marker {
    fn open() -> anyhow::Result<Marker> {
        let file = File::options().write(true).open("/dev/null");
        Ok(Marker(file.context("/dev/null")?))
    }

    /// In one write.
    fn write(&self, text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
        let mut buffer = [0; 2 * TOO_LONG];
        let mut cursor = Cursor::new(&mut buffer[..]);
        cursor.write_fmt(text)?;
        let length = usize::try_from(cursor.position())?;
        rustix::io::write(&self.0, &buffer[..length])?;
        Ok(())
    }

    fn begin(&self, name: &str) -> anyhow::Result<()> {
        self.write(format_args!("memtrace:begin {name} {name}-id"))
    }

    fn end(&self, name: &str) -> anyhow::Result<()> {
        self.write(format_args!("memtrace:end {name}-id"))
    }
}

/// One window of each kind. What is in each: see `marks` in `tests/tests/markers.rs`.
pub(crate) fn of_each_kind(pages: usize) -> anyhow::Result<()> {
    let marker = Marker::open()?;

    marker.begin("plain")?;
    touch(pages)?;
    marker.end("plain")?;
    touch(pages)?;

    marker.begin("empty")?;
    marker.end("empty")?;

    marker.begin("outer")?;
    touch(pages)?;
    marker.begin("inner")?;
    touch(2 * pages)?;
    marker.end("inner")?;
    touch(3 * pages)?;
    marker.end("outer")?;

    marker.begin("first")?;
    touch(pages)?;
    marker.begin("second")?;
    touch(2 * pages)?;
    marker.end("first")?;
    touch(3 * pages)?;
    marker.end("second")?;

    marker.begin("again")?;
    touch(pages)?;
    marker.begin("again")?;
    touch(2 * pages)?;
    marker.end("again")?;

    marker.write(format_args!(
        "memtrace:begin lines 1\nmemtrace:value ignored 1.5\nmemtrace:value pages {pages}\n"
    ))?;
    marker.write(format_args!("memtrace:value below -7"))?;
    marker.write(format_args!("memtrace:value below -8\n"))?;
    touch(pages)?;
    marker.write(format_args!("memtrace:end 1\r\n"))?;

    // None of these opens, closes or reports anything.
    marker.write(format_args!("memtrace:begin {:x<TOO_LONG$} 2", ""))?;
    marker.write(format_args!("memtrace:begin one-word"))?;
    marker.write(format_args!("memtrace:end of-nothing"))?;
    marker.write(format_args!("memtrace:value of-nothing 1"))?;
    marker.write(format_args!(" memtrace:begin indented 3"))?;
    touch(pages)?;

    elsewhere(&marker, pages)?;

    marker.begin("left-open")?;
    touch(pages)
}

/// A window is its thread's: what another one does meanwhile is not in it. But that one may close it.
fn elsewhere(marker: &Marker, pages: usize) -> anyhow::Result<()> {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            barrier.wait();
            let done = touch(5 * pages).and_then(|()| marker.end("here"));
            barrier.wait();
            done
        });
        marker.begin("here")?;
        touch(pages)?;
        barrier.wait();
        barrier.wait();
        touch(pages)?;
        other
            .join()
            .unwrap_or_else(|_| anyhow::bail!("a thread panicked"))
    })
}

/// So many windows, one after another, or each while all before it are open.
pub(crate) fn windows(count: usize, pages: usize, leave_open: bool) -> anyhow::Result<()> {
    let marker = Marker::open()?;
    for number in 0..count {
        marker.write(format_args!("memtrace:begin job {number}"))?;
        if pages > 0 {
            touch(pages)?;
        }
        if !leave_open {
            marker.write(format_args!("memtrace:end {number}"))?;
        }
    }
    Ok(())
}
