//! A thread that prepares what a request is not to pay for.
//!
//! Owns the thread and how it is asked. Must not know routes, or what is done with what it prepares. The thread that
//! asks waits, and allocates nothing. It does not wake the other, which looks for itself: whom a request's thread wakes
//! works for that request, and this one's work is to be nobody's.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::mm::Advice;
use rustix::process::Pid;

use crate::memory::{Mapping, Sharer, What};

/// How long the thread sleeps between two looks.
const REST: Duration = Duration::from_millis(1);

/// What is to be prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// So many anonymous pages that a forked child has too.
    Shared(usize),
    /// So many anonymous pages that have been written to and swapped out.
    SwappedOut(usize),
}

/// Pages, and the child that has them too where one was wanted: it is ended first on drop.
pub(crate) struct Prepared {
    _sharer: Option<Sharer>,
    pub(crate) pages: Mapping,
}

/// Where one thread at a time has something prepared.
pub(crate) struct Stage {
    desk: Arc<Desk>,
    /// Held by the thread that waits.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Desk {
    paper: Mutex<Paper>,
    is_done: Condvar,
}

#[derive(Default)]
enum Paper {
    #[default]
    Empty,
    /// By this thread, which then goes to sleep.
    Wanted(Wanted, Pid),
    Done(io::Result<Prepared>),
}

impl Stage {
    /// Starts the thread; it lives as long as the process.
    pub(crate) fn set_up() -> io::Result<Stage> {
        let desk = Arc::new(Desk::default());
        let hands = Arc::clone(&desk);
        thread::Builder::new().name("stage".into()).spawn(move || {
            loop {
                hands.serve();
            }
        })?;
        Ok(Stage {
            desk,
            turn: Mutex::new(()),
        })
    }

    /// Waits until it is there.
    pub(crate) fn prepare(&self, wanted: Wanted) -> io::Result<Prepared> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        *self.desk.lock() = Paper::Wanted(wanted, rustix::thread::gettid());
        self.desk.wait()
    }
}

impl Desk {
    fn serve(&self) {
        let Some((wanted, by)) = self.look() else {
            return thread::sleep(REST);
        };
        // Until it sleeps it writes to its stack.
        let done = wait_until_asleep(by).and_then(|()| prepare(wanted));
        *self.lock() = Paper::Done(done);
        self.is_done.notify_all();
    }

    /// What is wanted, and by whom. It does not wait for the lock, for who gives that back would wake it.
    fn look(&self) -> Option<(Wanted, Pid)> {
        let mut paper = self.paper.try_lock().ok()?;
        let Paper::Wanted(wanted, by) = *paper else {
            return None;
        };
        *paper = Paper::Empty;
        Some((wanted, by))
    }

    fn lock(&self) -> MutexGuard<'_, Paper> {
        self.paper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> io::Result<Prepared> {
        let paper = self.lock();
        let is_open = |paper: &mut Paper| !matches!(paper, Paper::Done(_));
        let waited = self.is_done.wait_while(paper, is_open);
        let mut paper = waited.unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *paper) {
            Paper::Done(done) => done,
            Paper::Empty | Paper::Wanted(..) => Err(io::Error::other("nothing was prepared")),
        }
    }
}

/// Nobody holds the desk's lock: all that a thread can sleep for that has put something there is the answer.
fn wait_until_asleep(thread: Pid) -> io::Result<()> {
    let path = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
    while !std::fs::read_to_string(&path)?.contains(") S ") {
        thread::yield_now();
    }
    Ok(())
}

fn prepare(wanted: Wanted) -> io::Result<Prepared> {
    let (Wanted::Shared(count) | Wanted::SwappedOut(count)) = wanted;
    let mut pages = Mapping::new(What::Anonymous, count)?;
    pages.write(0..count);
    let sharer = match wanted {
        Wanted::Shared(_) => Some(Sharer::fork(&pages)?),
        Wanted::SwappedOut(_) => {
            pages.advise(Advice::LinuxPageOut)?;
            None
        }
    };
    Ok(Prepared {
        _sharer: sharer,
        pages,
    })
}
