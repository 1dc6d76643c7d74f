//! Where the report's bytes go: standard output, or a file that appears once it is whole.
//!
//! Owns the writer's thread: a reader that stalls stalls that, never the ring. Must not know what the bytes say.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags},
    io::Errno,
};

use super::failure::Failure;

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
    writer: JoinHandle<Written>,
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
            None => Sink::Stream(Box::new(io::stdout())),
            Some(path) => Sink::create(path).map_err(|why| {
                Failure::new(
                    format!("cannot write {}", path.display()),
                    why,
                    "name a file in a folder that is there and can be written to",
                )
            })?,
        };
        let (queue, chunks) = sync_channel(QUEUE);
        let closed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&closed);
        let whole = Arc::new(AtomicBool::new(false));
        let is_whole = Arc::clone(&whole);
        let writer = std::thread::spawn(move || {
            let written = sink.write_all(&chunks, &is_whole);
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
            writer,
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
        self.writer
            .join()
            .unwrap_or_else(|_| Written::Failed(io::Error::other("the writer's thread panicked")))
    }
}

enum Sink {
    Stream(Box<dyn io::Write + Send>),
    /// A file without a name until it is whole: memtrace can be killed at any moment and leaves no half of one.
    Nameless {
        file: File,
        path: PathBuf,
    },
}

impl Sink {
    fn create(path: &Path) -> io::Result<Self> {
        if path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            // A pipe or a device.
            return Ok(Self::Stream(Box::new(File::options().write(true).open(path)?)));
        }
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mode = Mode::from_raw_mode(0o644);
        match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
            Ok(file) => Ok(Self::Nameless {
                file: file.into(),
                path: path.to_owned(),
            }),
            // A file system without nameless files: better a file that grows than none.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(Self::Stream(Box::new(File::create(path)?))),
            Err(error) => Err(error.into()),
        }
    }

    fn write_all(self, chunks: &Receiver<Bytes>, is_whole: &AtomicBool) -> Written {
        let result = match self {
            Self::Stream(mut stream) => chunks
                .iter()
                .try_for_each(|chunk| stream.write_all(&chunk).and_then(|()| stream.flush())),
            Self::Nameless { mut file, path } => chunks
                .iter()
                .try_for_each(|chunk| file.write_all(&chunk))
                .and_then(|()| {
                    // A run that ended in an error has no report, not even an empty one.
                    if is_whole.load(Ordering::Acquire) {
                        give_name(&file, &path)
                    } else {
                        Ok(())
                    }
                }),
        };
        match result {
            Ok(()) => Written::Whole,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::ReaderGone,
            Err(error) => Written::Failed(error),
        }
    }
}

/// Links a nameless file to `path`, in place of what may be there.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let magic = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let link = |to: &Path| rustix::fs::linkat(CWD, &magic, CWD, to, AtFlags::SYMLINK_FOLLOW);
    match link(path) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.new", std::process::id()));
            let beside = path.with_file_name(name);
            link(&beside)?;
            std::fs::rename(&beside, path)
        }
        Err(error) => Err(error.into()),
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
        let Output {
            queue,
            backlog,
            writer,
            ..
        } = output;
        drop((queue, backlog));
        assert!(matches!(writer.join(), Ok(Written::Whole)));
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
