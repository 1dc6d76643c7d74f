//! What is made of a recording, on its way into a file or to whoever reads standard output.
//!
//! Owns what becomes of errors on the way: a reader who leaves is no failure. Must not know what is written.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{failure::Failure, sink::Sink};

/// A file that gets its name once it is whole, or standard output.
pub(super) struct Made {
    sink: Sink,
    what: &'static str,
    path: Option<PathBuf>,
    has_reader: bool,
}

impl Made {
    /// Opens `path`, or standard output. `what` it is, is said where it cannot be written.
    pub(super) fn open(what: &'static str, path: Option<&Path>) -> Result<Self, Failure> {
        let sink = match path {
            None => Sink::stdout(),
            Some(path) => Sink::create(path).map_err(|why| Failure::cannot_create(path, why))?,
        };
        Ok(Self {
            sink,
            what,
            path: path.map(Path::to_owned),
            has_reader: true,
        })
    }

    /// Writes this, and empties it.
    pub(super) fn write(&mut self, bytes: &mut Vec<u8>) -> Result<(), Failure> {
        if self.has_reader {
            match self.sink.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.has_reader = false,
                written => written.map_err(|why| self.failure(why))?,
            }
        }
        bytes.clear();
        Ok(())
    }

    /// Nobody has left (`| head`).
    pub(super) fn has_reader(&self) -> bool {
        self.has_reader
    }

    /// All of it has been written.
    pub(super) fn complete(self) -> Result<(), Failure> {
        let Self { sink, what, path, .. } = self;
        sink.complete()
            .map_err(|why| Failure::not_written(what, path.as_deref(), why))
    }

    fn failure(&self, why: io::Error) -> Failure {
        Failure::not_written(self.what, self.path.as_deref(), why)
    }
}
