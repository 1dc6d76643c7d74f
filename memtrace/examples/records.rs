//! What a recording's events were in the ring, kind by kind: `cargo xtask bench cost`.
//!
//! Owns the counting. Prints figures a request, for as many requests as it is told.

#![expect(clippy::print_stdout, reason = "it is a measurement that is read by a person")]

use std::{collections::BTreeMap, fs::File};

use anyhow::{Context as _, Result};
use memtrace::{
    event::Event,
    record::read::{Losses, Reader},
};
use memtrace_common::{
    decode::Record,
    wire::{Exec, Fault, Fork, Header, IO_PAYLOAD, Io, Mm, Rss, Segments, Tally, Unmapped, Wake},
};

/// `struct bpf_ringbuf_hdr`, and what records are rounded up to.
const RING_HEAD: usize = 8;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let path = args.next().context("which recording?")?;
    let requests: f64 = match args.next() {
        Some(text) => text.to_string_lossy().parse()?,
        None => 1.0,
    };
    let mut reader = Reader::open(File::open(path)?)?;
    let mut kinds: BTreeMap<&'static str, (u64, usize)> = BTreeMap::new();
    let mut losses = Losses::default();
    while let Some(block) = reader.block()? {
        let read = block.events(&mut losses, |event| {
            if let Event::Record(record) = event {
                let (name, len) = in_ring(&record);
                let (count, bytes) = kinds.entry(name).or_default();
                *count += 1;
                // Resident memory is told in one entry with what follows.
                let head = if name == "rss" { 0 } else { RING_HEAD };
                *bytes += (len + head).next_multiple_of(RING_HEAD);
            }
        });
        read.ok().context("the recording is damaged")?;
    }
    println!(
        "\nrecords and bytes of the ring, a request (rss is there only where it may have changed, and here each time):"
    );
    for (name, (count, bytes)) in kinds {
        println!(
            "  {name:<24} {:>8.3} records {:>8.1} bytes",
            count as f64 / requests,
            bytes as f64 / requests
        );
    }
    Ok(())
}

/// Its name and its length.
fn in_ring(record: &Record<'_>) -> (&'static str, usize) {
    match record {
        Record::Fault(_) => ("fault", size_of::<Fault>()),
        Record::Fork(_) => ("fork", size_of::<Fork>()),
        Record::Exec(_) => ("exec", size_of::<Exec>()),
        Record::Exit(_) => ("exit", size_of::<Header>()),
        Record::Free(_) => ("free", size_of::<Header>()),
        Record::Mm(_) => ("mm", size_of::<Mm>()),
        Record::Unmapped(_) => ("unmapped", size_of::<Unmapped>()),
        Record::Io(io, payload) if io.header.flags & IO_PAYLOAD != 0 => (
            "io, with payload",
            size_of::<Io>() + size_of::<Segments>() + payload.captured().len(),
        ),
        Record::Io(..) => ("io", size_of::<Io>()),
        Record::Wait(_) => ("wait", size_of::<Header>()),
        Record::Wake(_) => ("wake", size_of::<Wake>()),
        Record::Uring(_) => ("uring", size_of::<Header>()),
        Record::Foreign(_) => ("foreign", size_of::<Header>()),
        Record::Tally(_) => ("tally", size_of::<Tally>()),
        Record::Rss(_) => ("rss", size_of::<Rss>()),
    }
}
