//! Every channel that threads of a process can have between them, and so many bytes through each.
//!
//! Owns what goes where. One thread does both sides: the probes look at descriptors, not at who has them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::ensure;
use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

/// Wide enough for an eventfd, which takes no less.
type Word = [u8; 8];
const WORD: Word = 1_u64.to_ne_bytes();

/// The channels, and copies of one of each kind's descriptors.
pub(crate) struct Channels {
    eventfd: File,
    pipe: (File, File),
    copy: File,
    pair: (UnixStream, UnixStream),
}

impl Channels {
    pub(crate) fn make() -> anyhow::Result<Channels> {
        let (reads, writes) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Channels {
            eventfd: eventfd(0, EventfdFlags::CLOEXEC)?.into(),
            copy: writes.try_clone()?.into(),
            pipe: (reads.into(), writes.into()),
            pair: UnixStream::pair()?,
        })
    }

    /// So many words through the eventfd, by each descriptor of the pipe that is written to, and through the pair in
    /// either direction. Says which descriptors these are.
    pub(crate) fn go_through(self, count: u32) -> anyhow::Result<String> {
        let Channels {
            eventfd,
            mut pipe,
            copy,
            mut pair,
        } = self;
        for _ in 0..count {
            pass(&eventfd, &eventfd)?;
            pass(&pipe.1, &pipe.0)?;
            pass(&copy, &pipe.0)?;
            pass(&pair.0, &pair.1)?;
            pass(&pair.1, &pair.0)?;
            // What is empty, or has nobody at its other end, moves nothing.
            ensure!(pipe.1.write(&[])? == 0, "nothing was written");
        }
        let said = format!(
            r#"{{"eventfd":{},"pipe":[{},{}],"copy":{},"pair":[{},{}]}}"#,
            eventfd.as_raw_fd(),
            pipe.0.as_raw_fd(),
            pipe.1.as_raw_fd(),
            copy.as_raw_fd(),
            pair.0.as_raw_fd(),
            pair.1.as_raw_fd()
        );
        // Both ends of what the pipe's number becomes are elsewhere.
        let number = pipe.1.as_raw_fd();
        drop((pipe.1, copy));
        ensure!(pipe.0.read(&mut [0; 8])? == 0, "the pipe has an end");
        let null = OwnedFd::from(File::options().write(true).open("/dev/null")?);
        ensure!(null.as_raw_fd() == number, "the lowest free number is another");
        let mut null = File::from(null);
        for _ in 0..count {
            null.write_all(&WORD)?;
        }
        pair.0.shutdown(std::net::Shutdown::Both)?;
        ensure!(pair.1.read(&mut [0; 8])? == 0, "the pair has an end");
        Ok(said)
    }
}

fn pass(mut from: impl Write, mut to: impl Read) -> anyhow::Result<()> {
    let mut word = Word::default();
    from.write_all(&WORD)?;
    to.read_exact(&mut word)?;
    ensure!(word == WORD, "something else came out");
    Ok(())
}
