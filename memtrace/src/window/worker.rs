//! Who works: a thread, as far as its work is concerned.
//!
//! Owns its context and the windows that it opened itself. Must not know what moves it from context to context.

use std::collections::VecDeque;

use memtrace_common::Tid;

use super::{Label, Reason, RequestId, TokenId, Word, stray::Stray};

/// Who works: a thread. A goroutine or a task would be another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(u64);

impl From<Tid> for WorkerId {
    fn from(Tid(tid): Tid) -> Self {
        Self(tid.into())
    }
}

/// Windows that are open one inside the other, at most: any further one takes the place of the innermost.
const WINDOWS_MAX: usize = 64;
/// A thread that is woken so often in a row at one word waits there for work.
const WAKES_OF_A_POOL: u32 = 3;
/// Requests that are remembered as read and not answered.
const BEGUN_MAX: usize = 64;
/// So many turns later a handler has begun at the latest: one for each step between the bytes and the handler, in which
/// a loop does not wait.
const TURNS_MAX: u8 = 2;

/// How a worker came to its context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// By doing anything else.
    #[default]
    Turned,
    /// By reading: it is certain to work for that when it begins.
    Read,
    /// It was woken for it.
    Woken,
    /// It has read a channel that another had written to for it.
    Heard,
}

impl Way {
    /// It was given the work, and is on it no longer than until the answer: nothing says when it takes the next.
    pub(super) fn is_given(self) -> bool {
        matches!(self, Self::Woken | Self::Heard)
    }

    /// Why what it does after that is nobody's.
    pub(super) fn otherwise(self) -> Reason {
        if self == Self::Woken {
            Reason::BackgroundThread
        } else {
            Reason::Idle
        }
    }
}

/// A worker woke another in the middle of a request, at a word where that says little: the other may do this work, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// What the other does.
    pub(super) token: TokenId,
    pub(super) request: RequestId,
    pub(super) word: Word,
}

/// A worker.
#[derive(Debug, Default)]
pub(super) struct Worker {
    /// What it works on; `None` until it has done something that tells.
    pub(super) context: Option<TokenId>,
    /// The context that it has from reading a request's bytes itself, until it waits for something else.
    pub(super) read: Option<TokenId>,
    /// How it came to its context.
    pub(super) way: Way,
    /// Requests that it has read and not answered, and how often it has asked for events since.
    begun: Vec<(RequestId, u8)>,
    /// Of its context: requests that it had read before, and that it works on first, in this order.
    pub(super) due: VecDeque<RequestId>,
    /// Of its context: so many more, as far as it has not begun with them before.
    pub(super) may_be_due: usize,
    /// The last work that it may have handed on, though nobody believes that.
    pub(super) offer: Option<Offer>,
    /// What it does that no answer comes of.
    pub(super) stray: Stray,
    /// It was there when tracing began.
    was_there: bool,
    /// Where it was woken last, and how often in a row.
    woken_at: Option<(Word, u32)>,
    /// Windows that it opened itself, innermost last. They come before the context.
    windows: Vec<RequestId>,
    /// It has waited for events since it opened the last of them.
    has_waited: bool,
    /// It waits for events, or has read a channel: an event loop.
    is_loop: bool,
}

impl Worker {
    /// One that was there when tracing began: what it is doing is unknown. Or one that was born under our eyes.
    pub(super) fn new(was_there: bool) -> Self {
        Self {
            was_there,
            ..Self::default()
        }
    }

    /// How what it does now is known to be its context's.
    pub(super) fn label(&self) -> Label {
        if self.context.is_some() && self.context == self.read {
            Label::Direct
        } else {
            Label::Causal
        }
    }

    /// The reason for the faults that it took before it did anything telling, at its first telling act.
    pub(super) fn reason_before_first_act(&self) -> Reason {
        if self.was_there {
            Reason::InFlightAtStart
        } else {
            Reason::Idle
        }
    }

    /// The innermost window that is open.
    pub(super) fn window(&self, is_open: impl Fn(RequestId) -> bool) -> Option<RequestId> {
        self.windows.iter().rev().copied().find(|&id| is_open(id))
    }

    /// It opens a window: what it does from here on is that window's, until it is closed.
    pub(super) fn enter(&mut self, window: RequestId, is_open: impl Fn(RequestId) -> bool) {
        self.windows.retain(|&id| is_open(id));
        if self.windows.len() < WINDOWS_MAX {
            self.windows.push(window);
        } else if let Some(innermost) = self.windows.last_mut() {
            *innermost = window;
        }
        self.has_waited = false;
    }

    /// It turns to a request. An event loop: what it does for its windows and what for others, nobody can tell from
    /// here on.
    pub(super) fn leaves_windows(&mut self) {
        if self.has_waited {
            self.windows.clear();
        }
    }

    /// It is woken there.
    pub(super) fn is_woken_at(&mut self, word: Word) {
        let times = match self.woken_at {
            Some((before, times)) if before.is_beside(word) => times.saturating_add(1),
            _ => 1,
        };
        self.woken_at = Some((word, times));
    }

    /// It was woken there so often in a row that this is where it waits for work, and for no lock.
    pub(super) fn waits_there_for_work(&self) -> bool {
        self.woken_at.is_some_and(|(_, times)| times >= WAKES_OF_A_POOL)
    }

    /// It was there when tracing began, and may be in the middle of something.
    pub(super) fn was_there(&self) -> bool {
        self.was_there
    }

    /// It takes work elsewhere than where others wake it; or it was there when tracing began, and has not been given any.
    pub(super) fn may_wait_for_a_lock(&self) -> bool {
        self.is_loop || (self.was_there && self.context.is_some() && self.way != Way::Woken)
    }

    /// It reads a channel.
    pub(super) fn hears(&mut self) {
        self.is_loop = true;
    }

    /// Where it was woken last, if it has done nothing telling.
    pub(super) fn last_woken_at(&self) -> Option<Word> {
        let (word, _) = self.woken_at.filter(|_| self.context.is_none())?;
        Some(word)
    }

    /// It has come back from what it waited for, or has not waited: what comes is another's.
    pub(super) fn turns(&mut self) {
        self.is_loop = true;
        self.has_waited = true;
        self.read = None;
    }

    /// It waits for events. One that only `asks` has work that is due: an event loop whose handlers
    /// run in its next turn.
    pub(super) fn waits(&mut self, asks: bool) {
        self.turns();
        for (_, turns) in &mut self.begun {
            *turns += 1;
        }
        self.begun.retain(|&(_, turns)| asks && turns <= TURNS_MAX);
        self.due = self.begun.iter().map(|&(id, _)| id).collect();
    }

    /// It has read a request.
    pub(super) fn begins(&mut self, request: RequestId) {
        if self.begun.len() < BEGUN_MAX && !self.begun.iter().any(|&(id, _)| id == request) {
            self.begun.push((request, 0));
        }
    }

    /// How many may still be due when it has begun with the next one.
    pub(super) fn due_after_next(&self) -> usize {
        (self.due.len() + self.may_be_due).saturating_sub(1)
    }

    /// It answers this. Returns whether that is all that it has done since it turned, and not also work that was due.
    pub(super) fn answers(&mut self, request: Option<RequestId>) -> bool {
        self.begun.retain(|&(begun, _)| Some(begun) != request);
        let is_next = self.due.front().copied() == request;
        match self.due.pop_front() {
            Some(_) if !is_next => {
                self.due.clear();
                false
            }
            _ => true,
        }
    }
}
