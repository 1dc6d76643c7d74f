//! Where the report's bytes go: standard output, or a file that appears once it is whole.
//!
//! Owns the writer's thread: a reader that stalls stalls that, never the ring. Must not know what the bytes say, nor
//! how a file is opened.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use bytes::Bytes;

use super::{failure::Failure, sink::Sink};

/// Chunks on their way to the writer's thread.
const QUEUE: usize = 64;
/// Bytes that wait behind a reader who stalls; what comes on top is dropped, and counted.
const BACKLOG_MAX: usize = 64 << 20;

/// The way out.
pub(super) struct Output {
    queue: Option<SyncSender<Bytes>>,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    dropped: u64,
    closed: Arc<AtomicBool>,
    /// All of the report has been sent: a file may have its name.
    whole: Arc<AtomicBool>,
    /// What is given up is waited for: a file's beginnings are taken away by then. A stream's reader may stall.
    is_stream: bool,
    is_file: bool,
    writer: Option<JoinHandle<Written>>,
}

/// How it went.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it.
    Whole,
    /// The reader went away (`| head`): that is the reader's business.
    ReaderGone,
    /// It could not be written.
    Failed(io::Error),
}

impl Output {
    /// Opens `path`, or standard output.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let sink = match path {
            None => Sink::stdout(),
            Some(path) => Sink::create(path).map_err(|why| Failure::cannot_create(path, why))?,
        };
        let is_stream = sink.is_stream();
        let (queue, chunks) = sync_channel(QUEUE);
        let closed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closed);
        let whole = Arc::new(AtomicBool::new(false));
        let is_whole = Arc::clone(&whole);
        let writer = std::thread::spawn(move || {
            let written = write_all(sink, &chunks, &is_whole);
            told.store(true, Ordering::Release);
            written
        });
        Ok(Self {
            queue: Some(queue),
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            dropped: 0,
            closed,
            whole,
            is_stream,
            is_file: path.is_some(),
            writer: Some(writer),
        })
    }

    /// Sends a piece of the report on its way. Never waits.
    pub(super) fn send(&mut self, piece: Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        if self.backlog_bytes + piece.len() > BACKLOG_MAX {
            self.dropped += 1;
            return;
        }
        self.backlog_bytes += piece.len();
        self.backlog.push_back(piece.into());
        self.push();
    }

    /// Tries again to pass on what waits.
    pub(super) fn push(&mut self) {
        let Some(queue) = &self.queue else { return };
        while let Some(piece) = self.backlog.pop_front() {
            let length = piece.len();
            match queue.try_send(piece) {
                Ok(()) => self.backlog_bytes -= length,
                Err(TrySendError::Full(piece)) => {
                    self.backlog.push_front(piece);
                    return;
                }
                // The writer's thread has ended, and will say why.
                Err(TrySendError::Disconnected(_)) => {
                    self.backlog.clear();
                    self.backlog_bytes = 0;
                    return;
                }
            }
        }
    }

    /// Nobody reads any more, or nothing can be written.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// It is a file, and not standard output.
    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Pieces that were dropped because the reader stalled.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Waits until all is written, as long as the reader takes.
    pub(super) fn finish(mut self) -> Written {
        self.whole.store(true, Ordering::Release);
        if let Some(queue) = self.queue.take() {
            for piece in self.backlog.drain(..) {
                if queue.send(piece).is_err() {
                    break;
                }
            }
        }
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written,
            _ => Written::Failed(io::Error::other("the writer's thread panicked")),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take_if(|_| !self.is_stream) {
            // It is given up: how it went is of no interest.
            let _ = writer.join();
        }
    }
}

/// Writes what comes, until nothing more does.
fn write_all(mut sink: Sink, chunks: &Receiver<Bytes>, is_whole: &AtomicBool) -> Written {
    let result = chunks
        .iter()
        .try_for_each(|chunk| sink.write(&chunk))
        .and_then(|()| {
            // A run that ended in an error has no report, not even an empty one.
            if is_whole.load(Ordering::Acquire) {
                sink.complete()
            } else {
                Ok(())
            }
        });
    match result {
        Ok(()) => Written::Whole,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::ReaderGone,
        Err(error) => Written::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        for text in ["first", "second"] {
            let mut output = Output::open(Some(&path)).unwrap();
            output.send(text.as_bytes().to_vec());
            assert_eq!(
                std::fs::read_to_string(&path).is_ok(),
                text == "second",
                "not before it is whole"
            );
            assert!(matches!(output.finish(), Written::Whole));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_report_that_is_given_up_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(Some(&folder.path().join("report"))).unwrap();
        output.send(b"half of it".to_vec());
        drop(output);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_file_is_left_where_the_disk_is_full() {
        let mut output = Output::open(Some(Path::new("/dev/full"))).unwrap();
        output.send(b"anything".to_vec());
        assert!(matches!(output.finish(), Written::Failed(error) if error.raw_os_error() == Some(28)));
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_at_once() {
        assert!(Output::open(Some(Path::new("/no/such/folder/report"))).is_err());
        assert!(Output::open(Some(Path::new("/tmp"))).is_err());
    }
}
