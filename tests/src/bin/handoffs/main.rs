//! `memtrace-handoffs`: threads of one process that hand work to each other, a known number of times.
//!
//! Owns each way to do so that memtrace looks at. Waits for a byte on standard input before it begins and for another
//! before it ends, so that a tracer can come and go while it stands still. Must not know what memtrace makes of it.

mod channels;
mod wakes;
mod work;

use std::io::{self, Write as _};

use anyhow::ensure;
use clap::{Parser, Subcommand};

/// Threads that hand work to each other.
#[derive(Debug, Parser)]
#[command(name = "memtrace-handoffs", version)]
struct Args {
    #[command(subcommand)]
    act: Act,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Act {
    /// One thread wakes another from a futex wait, again and again.
    Wakes {
        /// By which operation.
        #[arg(long)]
        by: wakes::By,
        #[arg(long)]
        count: u32,
        /// Which of the two has waited for events before.
        #[arg(long)]
        busy: wakes::Busy,
    },
    /// Wakes of nobody, and waits that end by themselves while another thread wakes others.
    Vain {
        #[arg(long)]
        count: u32,
    },
    /// So many bytes through each channel there is, one by one.
    Channels {
        #[arg(long)]
        count: u32,
        /// They are there before it says that it is ready.
        #[arg(long)]
        early: bool,
    },
    /// One thread has another touch pages, again and again.
    Work {
        /// How the other is asked.
        #[arg(long)]
        how: work::How,
        #[arg(long)]
        count: usize,
        /// So many pages each time.
        #[arg(long)]
        pages: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let Args { act } = Args::parse();
    let early = match act {
        Act::Channels { early: true, .. } => Some(channels::Channels::make()?),
        _ => None,
    };
    say(&format!("ready {}", std::process::id()))?;
    wait_for_a_byte()?;
    let done = match act {
        Act::Wakes { by, count, busy } => wakes::wakes(by, count, busy)?,
        Act::Vain { count } => wakes::vain(count)?,
        Act::Channels { count, .. } => early
            .map_or_else(channels::Channels::make, Ok)?
            .go_through(count)?,
        Act::Work { how, count, pages } => work::work(how, count, pages)?,
    };
    say(&done)?;
    wait_for_a_byte()
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn wait_for_a_byte() -> anyhow::Result<()> {
    let bytes = rustix::io::read(io::stdin(), &mut [0; 1])?;
    ensure!(bytes == 1, "a byte on standard input is what this waits for");
    Ok(())
}
