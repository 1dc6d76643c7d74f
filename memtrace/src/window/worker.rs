//! Who works: a thread, as far as its work is concerned.
//!
//! Owns its context and the windows that it opened itself. Must not know what moves it from context to context.

use memtrace_common::Tid;

use super::{Label, Reason, RequestId, TokenId};

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
}

/// Requests that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Begun {
    #[default]
    Nothing,
    One(RequestId),
    Several,
}

impl Begun {
    pub(super) fn add(&mut self, id: RequestId) {
        *self = match *self {
            Self::Nothing => Self::One(id),
            Self::One(other) if other == id => Self::One(id),
            Self::One(_) | Self::Several => Self::Several,
        };
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        if *self == Self::One(id) {
            *self = Self::Nothing;
        }
    }
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
    /// The requests that it has read since it last waited.
    pub(super) begun: Begun,
    /// Of its context: the requests that it had read before and had not begun to work on, perhaps.
    pub(super) due: Begun,
    /// It was there when tracing began.
    was_there: bool,
    /// Windows that it opened itself, innermost last. They come before the context.
    windows: Vec<RequestId>,
    /// It has waited for events since it opened the last of them.
    has_waited: bool,
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

    /// It waits for events, or for a connection. One that only `asks` has work that is due: an event loop whose handlers
    /// run in its next turn.
    pub(super) fn waits(&mut self, asks: bool) {
        self.has_waited = true;
        self.read = None;
        let begun = std::mem::take(&mut self.begun);
        self.due = if asks { begun } else { Begun::Nothing };
    }
}
