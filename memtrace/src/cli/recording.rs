//! The file of a recording, while it is being written.
//!
//! Owns the thread that compresses and writes: a disk that stalls stalls that, never the ring. The file has its name
//! from the beginning and grows by whole blocks, so that whatever becomes of memtrace, what was written can be read.
//! Must not know what is in a block.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::failure::Failure;
use crate::{
    event::Event,
    record::{End, Filled, Preamble, Recorder},
};

/// Blocks, about a MiB each, that wait for the disk; what comes on top is dropped, and counted.
const QUEUE: usize = 64;
/// What happens is in the file after so long at the latest.
const CUT: Duration = Duration::from_secs(1);

/// What the thread is given.
enum Piece {
    Bytes(Vec<u8>),
    Block(Filled),
}

/// A recording on its way.
pub(super) struct Recording {
    path: PathBuf,
    /// Until it is certain that there is a run: nothing has been written,
    file: Option<NewFile>,
    /// and this waits for it.
    waiting: Vec<Piece>,
    recorder: Option<Recorder>,
    queue: Option<SyncSender<Piece>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    closed: Arc<AtomicBool>,
    cut: Instant,
    dropped: u64,
}

/// A file that was opened for the recording. One that was made for it goes with it, if nothing comes of it.
struct NewFile {
    file: Option<File>,
    made: Option<PathBuf>,
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let (Some(_), Some(path)) = (&self.file, &self.made) {
            // There is nobody left to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Recording {
    /// Opens the file. What it has stays there until it is certain that there is a run.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |why: io::Error| Failure::cannot_create(path, why);
        let is_new = !path.exists();
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(NewFile {
                file: Some(file),
                // The file itself, where a link leads to it.
                made: is_new.then(|| path.canonicalize()).transpose().map_err(fail)?,
            }),
            waiting: Vec::new(),
            recorder: None,
            queue: None,
            writer: None,
            closed: Arc::new(AtomicBool::new(false)),
            cut: Instant::now(),
            dropped: 0,
        })
    }

    /// The run begins, unless something stands in the way yet.
    pub(super) fn begin(&mut self, preamble: &Preamble) {
        let (recorder, bytes) = Recorder::begin(preamble);
        self.recorder = Some(recorder);
        self.send(Piece::Bytes(bytes));
    }

    /// Nothing stands in the way any more: it is written, in place of what the file has.
    pub(super) fn keep(&mut self) {
        let Some(file) = self.file.take().and_then(|mut new| new.file.take()) else {
            return;
        };
        let (queue, pieces) = sync_channel(QUEUE);
        let closed = Arc::clone(&self.closed);
        self.writer = Some(std::thread::spawn(move || {
            let written = write_all(file, &pieces);
            closed.store(true, Ordering::Release);
            written
        }));
        self.queue = Some(queue);
        for piece in std::mem::take(&mut self.waiting) {
            self.send(piece);
        }
    }

    /// The next event.
    pub(super) fn take(&mut self, event: &Event<'_>) {
        if let Some(block) = self.recorder.as_mut().and_then(|recorder| recorder.push(event)) {
            self.cut = Instant::now();
            self.send(Piece::Block(block));
        }
    }

    /// Passes on what there is, where that has been waiting for long.
    pub(super) fn cut_in_time(&mut self) {
        if self.cut.elapsed() >= CUT {
            self.cut = Instant::now();
            if let Some(block) = self.recorder.as_mut().and_then(Recorder::cut) {
                self.send(Piece::Block(block));
            }
        }
    }

    /// The run is over. Waits for room in the queue.
    pub(super) fn end(&mut self, end: &End) {
        let (Some(recorder), Some(queue)) = (self.recorder.take(), self.queue.take()) else {
            return;
        };
        for block in recorder.end(end) {
            if queue.send(Piece::Block(block)).is_err() {
                break;
            }
        }
    }

    /// It cannot be written.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What the reader of the report should know.
    pub(super) fn note(&self) -> Option<String> {
        (self.dropped > 0).then(|| {
            format!(
                "blocks of the recording that were dropped because its disk stalled: {}",
                self.dropped
            )
        })
    }

    /// Waits until all is written.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        self.queue = None;
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let written = tokio::task::spawn_blocking(move || writer.join()).await;
        let written = match written {
            Ok(Ok(written)) => written,
            _ => Err(io::Error::other("its writer ended early")),
        };
        written.map_err(|why| {
            Failure::inconclusive(
                format!("cannot write the recording to {}", self.path.display()),
                why,
                format!(
                    "make room, or name another file with -o; `memtrace report {}` reads what was written until then",
                    self.path.display()
                ),
            )
        })
    }

    fn send(&mut self, piece: Piece) {
        let is_full = match &self.queue {
            Some(queue) => matches!(queue.try_send(piece), Err(TrySendError::Full(_))),
            None if self.waiting.len() < QUEUE => {
                self.waiting.push(piece);
                false
            }
            None => true,
        };
        if is_full {
            self.dropped += 1;
        }
    }
}

fn write_all(mut file: File, pieces: &Receiver<Piece>) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        file.set_len(0)?;
    }
    let mut whole = 0;
    let mut write = |bytes: &[u8]| -> io::Result<()> {
        match file.write_all(bytes) {
            Ok(()) => whole += bytes.len() as u64,
            Err(error) => {
                if kind.is_file() && file.set_len(whole).is_ok() {
                    // What is there is whole.
                    let _ = file.seek(io::SeekFrom::Start(whole));
                }
                return Err(error);
            }
        }
        Ok(())
    };
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => write(&bytes)?,
            Piece::Block(block) => write(&block.seal()?)?,
        }
    }
    if kind.is_fifo() || kind.is_char_device() {
        return Ok(());
    }
    // A disk that is full may say so only now.
    match file.sync_data() {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}
