//! For which request does a thread work?
//!
//! Owns the `direct` rule: a thread works for the request whose bytes it last read from a client's connection,
//! until that request is answered, or the thread waits for events, accepts, or turns to other work. A fault is
//! synchronous on its thread, so it belongs to that request. Anything else is nobody's, with a reason, and never a
//! guess. Must not know how requests are framed or what is added up for them. Chains of descriptors and wake-ups
//! (`causal`) have their place here, between `http` and `ledger`.
//!
//! A program can say itself what a thread works for: a window that it opens on a thread has what that thread does until
//! the window is closed; of two, the inner one.

/// A request, numbered in the order in which requests began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Why a fault is on no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Its thread worked for no request that is known.
    Idle,
    /// Its thread had read from a connection that the process itself opened for some request: a database's or an
    /// API's answer. Which request that was is for `causal` to say.
    Upstream,
    /// Its thread had turned from one request to a piece of another's answer, and nothing says when.
    Ambiguous,
    /// Its thread never read a request, waited for events or accepted while it was traced: the garbage collector's
    /// and compiler's helpers, thread pools.
    BackgroundThread,
    /// Its process had not read its first request yet.
    Startup,
    /// When tracing began its thread was in the middle of something.
    InFlightAtStart,
    /// The request had been reported before the fault was confirmed.
    Evicted,
}

impl Reason {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Upstream => "upstream",
            Self::Ambiguous => "ambiguous",
            Self::BackgroundThread => "background_thread",
            Self::Startup => "startup",
            Self::InFlightAtStart => "in_flight_at_start",
            Self::Evicted => "evicted",
        }
    }
}

/// Whom a fault is for, as of the moment when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This request.
    Request(RequestId),
    /// Nobody, for this reason.
    Nobody(Reason),
    /// Nobody; the reason is known when the thread first does something telling, or never does.
    Unproven,
}

/// Windows that are open one inside the other, at most: any further one takes the place of the innermost.
const WINDOWS_MAX: usize = 64;

/// A thread, as far as its work is concerned.
#[derive(Clone, Debug)]
pub struct Worker {
    request: Option<RequestId>,
    /// Windows that it opened itself, innermost last. They come before the request.
    windows: Vec<RequestId>,
    /// It has waited for events since it opened the last of them.
    has_waited: bool,
    /// Why its faults are nobody's while it works for no open request.
    otherwise: Reason,
    /// It has done something that tells what it is working on.
    proven: bool,
    /// It was there when tracing began.
    was_there: bool,
}

impl Worker {
    /// A thread that was there when tracing began: what it is doing is unknown.
    pub fn found() -> Self {
        Self {
            request: None,
            windows: Vec::new(),
            has_waited: false,
            otherwise: Reason::Idle,
            proven: false,
            was_there: true,
        }
    }

    /// A thread that was born under our eyes.
    pub fn born() -> Self {
        Self {
            was_there: false,
            ..Self::found()
        }
    }

    /// For whom a fault is that it takes now. `is_open` says whether a request is still unanswered.
    pub fn owner(&self, is_open: impl Fn(RequestId) -> bool) -> Owner {
        match self.innermost(is_open) {
            Some(id) => Owner::Request(id),
            None if self.proven => Owner::Nobody(self.otherwise),
            None => Owner::Unproven,
        }
    }

    /// The open window or request that it works for.
    pub fn innermost(&self, is_open: impl Fn(RequestId) -> bool) -> Option<RequestId> {
        let outwards = self.windows.iter().rev().chain(&self.request);
        outwards.copied().find(|&id| is_open(id))
    }

    /// It opens a window: what it does from here on is that window's, until it is closed.
    pub fn enter(&mut self, window: RequestId, is_open: impl Fn(RequestId) -> bool) {
        self.proven = true;
        self.windows.retain(|&id| is_open(id));
        if self.windows.len() < WINDOWS_MAX {
            self.windows.push(window);
        } else if let Some(innermost) = self.windows.last_mut() {
            *innermost = window;
        }
        self.has_waited = false;
    }

    /// What the request is that it works for, answered or not.
    pub fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// It read from a client's connection, whose oldest unanswered request is `serving`.
    pub fn read(&mut self, serving: Option<RequestId>) {
        self.proven = true;
        if serving.is_some() {
            if self.has_waited {
                // An event loop: what it does for its windows and what for others, nobody can tell from here on.
                self.windows.clear();
            }
            self.turn_to(serving, Reason::Idle);
        }
    }

    /// It read a request that was in flight when tracing began, and that is not reported.
    pub fn is_in_flight(&mut self) {
        *self = Self::found();
    }

    /// It wrote to a client's connection. `before` was the request being answered, `after` is.
    pub fn wrote(&mut self, before: Option<RequestId>, after: Option<RequestId>) {
        self.proven = true;
        if before != after {
            // Requests that were read at once are served in order: the next one's turn has come.
            self.turn_to(after, Reason::Idle);
        } else if self.request != before {
            // A piece of another request's answer: it has turned to that one, and nothing says since when.
            self.turn_to(None, Reason::Ambiguous);
        }
    }

    /// It goes to wait for events, or to accept.
    pub fn idles(&mut self) {
        self.proven = true;
        self.has_waited = true;
        self.turn_to(None, Reason::Idle);
    }

    /// It read from a connection that the process itself opened, and that was last used for `owner`.
    pub fn read_upstream(&mut self, owner: Option<RequestId>) {
        if self.request != owner {
            self.turn_to(
                None,
                if owner.is_some() {
                    Reason::Upstream
                } else {
                    Reason::Idle
                },
            );
        }
    }

    fn turn_to(&mut self, request: Option<RequestId>, otherwise: Reason) {
        self.request = request;
        self.otherwise = otherwise;
    }

    /// The reason for the faults that it took before it did anything telling, at its first telling act.
    pub fn reason_before_first_act(&self) -> Reason {
        if self.was_there {
            Reason::InFlightAtStart
        } else {
            Reason::Idle
        }
    }

    /// It has done something telling.
    pub fn is_proven(&self) -> bool {
        self.proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_open_window_comes_first() {
        let [outer, inner] = [RequestId(8), RequestId(9)];
        let mut worker = Worker::born();
        worker.read(A);
        worker.enter(outer, |_| true);
        worker.enter(inner, |_| true);
        assert_eq!(owner(&worker), Owner::Request(inner));
        assert_eq!(worker.owner(|id| id != inner), Owner::Request(outer));
        assert_eq!(
            worker.owner(|id| id == RequestId(1)),
            Owner::Request(RequestId(1))
        );
        assert_eq!(worker.owner(|_| false), Owner::Nobody(Reason::Idle));
        worker.idles();
        assert_eq!(owner(&worker), Owner::Request(inner), "a job may wait");
    }

    #[test]
    fn a_loop_that_turns_to_a_request_leaves_its_windows() {
        let mut worker = Worker::born();
        worker.enter(RequestId(9), |_| true);
        worker.read(A);
        assert_eq!(owner(&worker), Owner::Request(RequestId(9)), "it has not waited");
        worker.idles();
        worker.read(B);
        assert_eq!(owner(&worker), Owner::Request(RequestId(2)));
        worker.idles();
        assert_eq!(owner(&worker), Owner::Nobody(Reason::Idle));
    }

    #[test]
    fn windows_without_end_are_bounded() {
        let mut worker = Worker::born();
        for id in 0..1_000_000 {
            worker.enter(RequestId(id), |_| true);
        }
        assert_eq!(worker.windows.len(), WINDOWS_MAX);
        assert_eq!(owner(&worker), Owner::Request(RequestId(999_999)));
    }

    const A: Option<RequestId> = Some(RequestId(1));
    const B: Option<RequestId> = Some(RequestId(2));

    fn owner(worker: &Worker) -> Owner {
        worker.owner(|_| true)
    }

    #[test]
    fn a_thread_works_for_what_it_last_read() {
        let mut worker = Worker::born();
        assert_eq!(owner(&worker), Owner::Unproven);
        worker.read(A);
        assert_eq!(owner(&worker), Owner::Request(RequestId(1)));
        worker.read(None);
        assert_eq!(
            owner(&worker),
            Owner::Request(RequestId(1)),
            "the end of a stream changes nothing"
        );
        worker.read(B);
        assert_eq!(owner(&worker), Owner::Request(RequestId(2)));
    }

    #[test]
    fn an_answered_request_has_no_more_faults() {
        let mut worker = Worker::born();
        worker.read(A);
        assert_eq!(worker.owner(|_| false), Owner::Nobody(Reason::Idle));
        worker.wrote(A, None);
        assert_eq!(owner(&worker), Owner::Nobody(Reason::Idle));
    }

    #[test]
    fn pipelined_requests_are_served_in_order() {
        let mut worker = Worker::born();
        worker.read(A);
        worker.wrote(A, A);
        assert_eq!(
            owner(&worker),
            Owner::Request(RequestId(1)),
            "a part of its own answer"
        );
        worker.wrote(A, B);
        assert_eq!(owner(&worker), Owner::Request(RequestId(2)));
    }

    #[test]
    fn turning_to_anything_else_ends_it() {
        type Turn = fn(&mut Worker);
        let turns: [(Turn, Reason); 4] = [
            (|w| w.wrote(B, B), Reason::Ambiguous),
            (Worker::idles, Reason::Idle),
            (|w| w.read_upstream(B), Reason::Upstream),
            (|w| w.read_upstream(None), Reason::Idle),
        ];
        for (turn, reason) in turns {
            let mut worker = Worker::found();
            worker.read(A);
            turn(&mut worker);
            assert_eq!(owner(&worker), Owner::Nobody(reason));
        }
    }

    #[test]
    fn a_blocking_call_upstream_goes_on_with_the_same_request() {
        let mut worker = Worker::born();
        worker.read(A);
        worker.read_upstream(A);
        assert_eq!(owner(&worker), Owner::Request(RequestId(1)));
    }
}
