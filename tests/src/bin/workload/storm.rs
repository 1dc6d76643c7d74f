//! A storm of faults with no server: for what tracing costs, and for what a full ring does.
//!
//! Owns the loop and its clock. Must not know how it is traced.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::memory::{Counted, Fill, FreshPages, settle_thread};
use crate::perform::write_each_page;

/// Pages mapped at a time: 4 MiB, so that the machine's memory does not limit the storm.
const CHUNK: u64 = 1024;

/// What a storm was.
#[derive(Debug, Serialize)]
struct Storm {
    /// Pages touched.
    faults: u64,
    /// What the kernel counted for them, minor and major.
    minflt: u64,
    majflt: u64,
    /// From the first `mmap` to the last `munmap`.
    elapsed_ns: u64,
    /// Of it, touching pages alone.
    touch_ns: u64,
    /// `touch_ns / faults`.
    ns_per_fault: f64,
}

/// Touches `faults` fresh pages and prints one line of JSON.
///
/// With `gate`, prints `ready PID` and waits for a byte on standard input before it starts, and for another one
/// before it returns.
pub(crate) fn run(faults: u64, gate: bool) -> anyhow::Result<()> {
    settle_thread();
    // The loop's own code and its clock are mapped before they are counted.
    touch(2)?;
    let mut out = io::stdout();
    if gate {
        writeln!(out, "ready {}", std::process::id())?;
        out.flush()?;
        wait_for_a_byte()?;
    }
    let before = Counted::of_this_thread();
    let start = Instant::now();
    let touching = touch(faults)?;
    let elapsed = start.elapsed();
    let counted = Counted::of_this_thread().since(before);
    let storm = Storm {
        faults,
        minflt: counted.minor,
        majflt: counted.major,
        elapsed_ns: u64::try_from(elapsed.as_nanos())?,
        touch_ns: u64::try_from(touching.as_nanos())?,
        ns_per_fault: touching.as_nanos() as f64 / faults.max(1) as f64,
    };
    writeln!(out, "{}", serde_json::to_string(&storm)?)?;
    out.flush()?;
    if gate {
        wait_for_a_byte()?;
    }
    Ok(())
}

/// Touches so many fresh pages; returns how long touching took, mapping and unmapping apart.
fn touch(mut pages: u64) -> anyhow::Result<Duration> {
    let mut touching = Duration::ZERO;
    while pages > 0 {
        let chunk = pages.min(CHUNK);
        let mut fresh = FreshPages::map(usize::try_from(chunk)?, Fill::OnAccess)?;
        let start = Instant::now();
        write_each_page(fresh.bytes_mut());
        touching += start.elapsed();
        pages -= chunk;
    }
    Ok(touching)
}

fn wait_for_a_byte() -> anyhow::Result<()> {
    let mut byte = [0];
    io::stdin()
        .read_exact(&mut byte)
        .map_err(|error| anyhow::anyhow!("--gate waits for a byte on standard input: {error}"))
}
