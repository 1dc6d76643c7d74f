//! Work that one thread hands to another: so many pages to touch, each time it is asked.
//!
//! Owns the pages: they are there before, and nobody has touched them. Must not know what a page costs.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::thread;

use anyhow::ensure;
use clap::ValueEnum;
use rustix::event::poll;

use crate::wakes::{self, NOW};

const PAGE: usize = 4096;

/// How it is asked.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum How {
    /// It waits for a futex.
    Futex,
    /// It reads from a pipe.
    Pipe,
}

/// Asks so many times, and says who was asked.
pub(crate) fn work(how: How, count: usize, pages: usize) -> anyhow::Result<String> {
    rustix::thread::disable_transparent_huge_pages(true)?;
    // Its beginning has the allocator's own word.
    let mut fresh = vec![0_u8; (1 + count * pages) * PAGE + PAGE];
    let (asked, asks) = std::io::pipe()?;
    // Who asks has waited for events, and may work for a request.
    poll(&mut [], Some(&NOW))?;
    let worker = thread::spawn(move || -> anyhow::Result<()> {
        wakes::here_i_am();
        for turn in fresh[PAGE..].chunks_exact_mut(pages * PAGE).take(count) {
            wait(how, &asked)?;
            for page in turn.chunks_exact_mut(PAGE) {
                std::hint::black_box(&mut *page)[0] = 1;
            }
        }
        wait(how, &asked)
    });
    for _ in 0..=count {
        ask(how, &asks)?;
    }
    ensure!(matches!(worker.join(), Ok(Ok(()))), "it was not asked as often");
    Ok(format!(r#"{{"worker":{}}}"#, wakes::who_is_there()))
}

fn wait(how: How, mut asked: &PipeReader) -> anyhow::Result<()> {
    match how {
        How::Futex => wakes::wait(),
        How::Pipe => Ok(asked.read_exact(&mut [0])?),
    }
}

fn ask(how: How, mut asks: &PipeWriter) -> anyhow::Result<()> {
    match how {
        How::Futex => wakes::wake_the_other(wakes::By::Wake),
        How::Pipe => Ok(asks.write_all(&[1])?),
    }
}
