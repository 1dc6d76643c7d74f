//! Connections: which descriptor means which, what goes through them, and the requests that come of it.
//!
//! Owns the way from a call on a descriptor to a request in the stages and a turn in its thread's work. Must not
//! know how bytes are framed (`http`) or what a turn is (`window`).

use std::collections::{BTreeMap, VecDeque};

use memtrace_common::{
    Fd, Nanos, Tgid, Tid,
    decode::{Payload, Record},
    wire::{self, Io},
};

use super::{Config, Directive, notes, passages::Passages, stages::Stages};
use crate::{
    event::{Event, Socket},
    http::{self, Blanked, Exchange, HttpEvent, LooksLike, Protocol, Shut},
    ledger::{Head, Resident},
    model::process::{ConnectionId, Descriptor, Descriptors},
    window::{Outbound, Reason, RequestId, Whose},
};

/// A client's connection.
#[derive(Debug)]
struct Inbound {
    http: http::Connection,
    /// The port that it came in on.
    port: Option<u16>,
    /// Its requests that have begun and not ended; `None` for one that was in flight when tracing began.
    open: VecDeque<(Exchange, Option<RequestId>)>,
    /// The probes have been told that nothing more is wanted of it.
    ignored: bool,
}

impl Inbound {
    fn new(http: http::Connection, port: Option<u16>) -> Self {
        Self {
            http,
            port,
            open: VecDeque::new(),
            ignored: false,
        }
    }

    fn id(&self, exchange: Exchange) -> Option<RequestId> {
        self.open
            .iter()
            .find(|(e, _)| *e == exchange)
            .and_then(|&(_, id)| id)
    }

    /// The request that a thread works for that touches this connection.
    fn serving(&self) -> Option<RequestId> {
        self.http.serving().and_then(|exchange| self.id(exchange))
    }

    /// Whose the work is of a thread that touches this connection: nobody's where what it serves was in flight when
    /// tracing began.
    fn serves(&self) -> Option<Whose> {
        let id = self.id(self.http.serving()?);
        Some(id.map_or(Whose::Nobody(Reason::InFlightAtStart), Whose::Request))
    }
}

/// What matters of a call's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// It is traced whole: a request that begins now can be reported.
    pub(super) whole: bool,
    /// Its resident memory.
    pub(super) resident: Option<Resident>,
}

/// An end of a channel: which ways it is read and written, as `/proc` numbers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) reads: Option<u64>,
    pub(super) writes: Option<u64>,
}

/// Who and when, for what the bytes tell.
#[derive(Clone, Copy, Debug)]
struct Moment {
    tgid: Tgid,
    tid: Tid,
    now: Nanos,
    /// The process is traced whole: a request that begins now can be reported.
    whole: bool,
    /// The process's resident memory.
    resident: Option<Resident>,
}

impl Moment {
    /// When nobody reads or writes, so that nothing can begin: whose moment it is does not matter.
    fn of_nobody(now: Nanos) -> Self {
        Self {
            tgid: Tgid(0),
            tid: Tid(0),
            now,
            whole: false,
            resident: None,
        }
    }
}

/// All connections of all targets.
#[derive(Debug)]
pub(super) struct Connections {
    config: Config,
    descriptors: Descriptors,
    /// By age: where a loss ends the requests of many, they end in that order.
    inbound: BTreeMap<ConnectionId, Inbound>,
    passages: Passages,
    events: Vec<HttpEvent>,
    accepted: u64,
    reads: u64,
    foreign: BTreeMap<LooksLike, u64>,
    unlisted: u64,
    /// What may be kept of the last event's payload, where that is asked for.
    kept: Option<Blanked>,
}

impl Connections {
    /// The request that a connection is about now.
    pub(super) fn request_on(&self, tgid: Tgid, fd: Fd) -> Option<RequestId> {
        match self.descriptors.get(tgid, fd)? {
            Descriptor::Inbound(id) => self.inbound.get(&id)?.serving(),
            _ => None,
        }
    }

    pub(super) fn new(config: Config) -> Self {
        let kept = config
            .keeps_payload
            .then(|| Blanked::new(config.routing.keeps_query()));
        Self {
            config,
            descriptors: Descriptors::default(),
            inbound: BTreeMap::new(),
            passages: Passages::default(),
            events: Vec::new(),
            accepted: 0,
            reads: 0,
            foreign: BTreeMap::new(),
            unlisted: 0,
            kept,
        }
    }

    /// `/proc` had this socket. A connection's stream is joined in the middle.
    pub(super) fn found(&mut self, tgid: Tgid, fd: Fd, socket: Socket, now: Nanos, stages: &mut Stages) {
        match socket {
            Socket::Listener { port } => self.set(tgid, fd, Descriptor::Listener { port }, now, stages),
            Socket::Inbound { port } => {
                self.add_inbound(
                    tgid,
                    fd,
                    Inbound::new(http::Connection::mid_stream(), port),
                    now,
                    stages,
                );
            }
            Socket::Outbound => self.add_outbound(tgid, fd, Outbound::default(), now, stages),
        }
    }

    /// `/proc` had this end of a channel.
    pub(super) fn found_channel(&mut self, tgid: Tgid, fd: Fd, end: End, now: Nanos, stages: &mut Stages) {
        let mut way = |way| self.passages.found(tgid, way, &mut self.descriptors);
        let descriptor = Descriptor::Channel {
            reads: end.reads.map(&mut way),
            writes: end.writes.map(&mut way),
        };
        self.set(tgid, fd, descriptor, now, stages);
    }

    /// The next event comes, perhaps with payload. Of what goes through a connection, the framing tells what may be
    /// kept; markers and passed descriptors are kept as they are.
    pub(super) fn begin_payload(&mut self, event: &Event<'_>) {
        let Some(kept) = &mut self.kept else { return };
        let Event::Record(Record::Io(io, payload)) = event else {
            kept.begin(0);
            return;
        };
        let captured = payload.captured();
        kept.begin(captured.len());
        match io.header.op {
            wire::OP_MARK => kept.put(captured.get(..wire::MARK_MAX).unwrap_or(captured)),
            wire::OP_RECV_FD => kept.put(captured),
            _ => {}
        }
    }

    /// What may be kept of the last event's payload.
    pub(super) fn payload_to_keep(&self) -> &[u8] {
        self.kept.as_ref().map_or(&[], Blanked::bytes)
    }

    /// A call on a descriptor. Returns whether a request began.
    pub(super) fn io(
        &mut self,
        io: &Io,
        payload: &Payload<'_>,
        Process { whole, resident }: Process,
        stages: &mut Stages,
        directives: &mut Vec<Directive>,
    ) -> bool {
        let moment = Moment {
            tgid: Tgid(io.header.tgid),
            tid: Tid(io.header.tid),
            now: Nanos(io.header.time_ns),
            whole,
            resident,
        };
        let Moment { tgid, tid, now, .. } = moment;
        let fd = Fd(io.header.fd);
        match io.header.op {
            wire::OP_READ | wire::OP_WRITE if io.header.flags & wire::IO_CHANNEL != 0 => {
                if let Some(Descriptor::Channel { reads, writes }) = self.descriptors.get(tgid, fd) {
                    let is_read = io.header.op == wire::OP_READ;
                    let worker = tid.into();
                    let way = if is_read { reads } else { writes };
                    self.passages
                        .through_channel(way, is_read, tgid, worker, now, &mut stages.contexts);
                }
            }
            wire::OP_READ | wire::OP_WRITE => match self.descriptors.get(tgid, fd) {
                Some(Descriptor::Inbound(id)) => {
                    return self.through(id, io, payload, moment, stages, directives);
                }
                Some(Descriptor::Outbound(id)) => {
                    let is_read = io.header.op == wire::OP_READ;
                    let contexts = &mut stages.contexts;
                    self.passages
                        .upstream(id, is_read, tgid, tid.into(), now, contexts);
                }
                // Inherited before its parent's table was known, or long closed: the probes need not look at it.
                Some(Descriptor::Listener { .. } | Descriptor::Channel { .. }) | None => {
                    directives.push(Directive::Ignore(tgid, fd, now));
                }
            },
            wire::OP_ACCEPT => {
                self.accepted += 1;
                let port = match self.descriptors.get(tgid, fd) {
                    Some(Descriptor::Listener { port }) => port,
                    _ => None,
                };
                let new = Inbound::new(http::Connection::new(), port);
                self.add_inbound(tgid, returned_fd(io), new, now, stages);
                stages.contexts.accepts(tid.into(), now);
            }
            wire::OP_LISTEN
                if !matches!(self.descriptors.get(tgid, fd), Some(Descriptor::Listener { .. })) =>
            {
                self.set(tgid, fd, Descriptor::Listener { port: None }, now, stages);
            }
            wire::OP_RECV_FD => {
                for fd in payload.descriptors() {
                    if self.descriptors.get(tgid, fd).is_none() {
                        self.found(tgid, fd, Socket::Inbound { port: None }, now, stages);
                    }
                }
            }
            wire::OP_CONNECT => {
                let mut line = Outbound::default();
                stages.contexts.connects(tid.into(), tgid, &mut line, now);
                self.add_outbound(tgid, fd, line, now, stages);
            }
            wire::OP_CHANNEL => self.add_channel(tgid, fd, io, now, stages),
            wire::OP_SOCKET => {
                let gone = self.descriptors.close(tgid, returned_fd(io));
                self.shut(gone, Shut::Closed, now, stages);
            }
            wire::OP_CLOSE => {
                let gone = self.descriptors.close(tgid, fd);
                self.shut(gone, Shut::Closed, now, stages);
            }
            wire::OP_CLOSE_RANGE if io.header.flags & wire::IO_CLOEXEC == 0 => {
                let last = u32::try_from(io.other).unwrap_or(u32::MAX);
                let gone = self.descriptors.close_range(tgid, fd.0.cast_unsigned(), last);
                self.shut(gone, Shut::Closed, now, stages);
            }
            wire::OP_DUP => {
                let gone = self.descriptors.duplicate(tgid, fd, returned_fd(io));
                self.shut(gone, Shut::Closed, now, stages);
            }
            _ => {}
        }
        false
    }

    /// The child has its parent's descriptors.
    pub(super) fn forked(&mut self, parent: Tgid, child: Tgid) {
        self.descriptors.inherit(parent, child);
    }

    /// The process is gone, and its connections are cut.
    pub(super) fn remove_process(&mut self, tgid: Tgid, now: Nanos, stages: &mut Stages) {
        let gone = self.descriptors.remove_process(tgid);
        self.shut(gone, Shut::Cut, now, stages);
    }

    /// The run is over, and with it whatever is open on a connection.
    pub(super) fn finish(&mut self, at: Nanos, stages: &mut Stages) {
        let left: Vec<ConnectionId> = self.inbound.keys().copied().collect();
        self.shut(left, Shut::Cut, at, stages);
    }

    /// Records were lost, nobody knows of which connections.
    pub(super) fn lose_place(&mut self, now: Nanos, stages: &mut Stages) {
        for inbound in self.inbound.values_mut() {
            inbound.http.lose_place(&mut self.events);
            tell(
                &self.config,
                inbound,
                &mut self.events,
                Moment::of_nobody(now),
                stages,
            );
        }
    }

    /// What the reader should know of connections, given how many requests there were.
    pub(super) fn notes(&self, requests: u64) -> Vec<String> {
        let mut notes: Vec<String> = self
            .foreign
            .iter()
            .map(|(&looks_like, &count)| notes::foreign(looks_like, count))
            .collect();
        if self.unlisted > 0 {
            notes.push(notes::unlisted(self.unlisted));
        }
        if requests == 0 {
            notes.push(notes::no_request(self.accepted, self.reads));
        }
        notes
    }

    /// Bytes on a client's connection, or the end of them.
    fn through(
        &mut self,
        id: ConnectionId,
        io: &Io,
        payload: &Payload<'_>,
        moment: Moment,
        stages: &mut Stages,
        directives: &mut Vec<Directive>,
    ) -> bool {
        let Some(inbound) = self.inbound.get_mut(&id) else {
            return false;
        };
        let (before, served) = (inbound.serving(), inbound.serves());
        let is_read = io.header.op == wire::OP_READ;
        match (is_read, io.ret) {
            (true, 0) => inbound.http.read_eof(&mut self.events),
            (true, _) => {
                self.reads += 1;
                inbound
                    .http
                    .read(payload.pieces(), self.kept.as_mut(), &mut self.events);
            }
            (false, _) => inbound
                .http
                .write(payload.pieces(), self.kept.as_mut(), &mut self.events),
        }
        for event in &self.events {
            if let HttpEvent::NotHttp { looks_like } = event {
                *self.foreign.entry(*looks_like).or_default() += 1;
            }
        }
        if let (false, Some(id), Some(resident)) = (is_read, before, moment.resident) {
            stages.ledger.wrote(id, resident);
        }
        let began = tell(&self.config, inbound, &mut self.events, moment, stages);
        let (worker, now) = (moment.tid.into(), moment.now);
        let contexts = &mut stages.contexts;
        match (is_read, io.ret, inbound.serves(), served) {
            (true, 0, ..) => {}
            (true, _, Some(Whose::Request(id)), _) => contexts.reads_request(worker, id, now),
            (true, _, Some(Whose::Nobody(_)), _) => contexts.reads_what_was_in_flight(worker, now),
            (true, _, None, _) | (false, _, _, None) => contexts.acts(worker, now),
            (false, _, _, Some(whose)) => {
                let next = inbound.serving().filter(|&next| Some(next) != before);
                contexts.answers(worker, whose, next, now);
            }
        }
        let over = matches!(inbound.http.protocol(), Protocol::NotHttp(_) | Protocol::Upgraded);
        if over && !inbound.ignored {
            inbound.ignored = true;
            directives.push(Directive::Ignore(moment.tgid, Fd(io.header.fd), moment.now));
        }
        began
    }

    fn add_channel(&mut self, tgid: Tgid, fd: Fd, io: &Io, now: Nanos, stages: &mut Stages) {
        let there = self.passages.add_channel(&mut self.descriptors);
        let back = (io.other == 1).then(|| self.passages.add_channel(&mut self.descriptors));
        let other = returned_fd(io);
        // An eventfd has one descriptor for both ends.
        let reader = Descriptor::Channel {
            reads: Some(there),
            writes: if fd == other { Some(there) } else { back },
        };
        self.set(tgid, fd, reader, now, stages);
        if fd != other {
            let writer = Descriptor::Channel {
                reads: back,
                writes: Some(there),
            };
            self.set(tgid, other, writer, now, stages);
        }
    }

    fn add_inbound(&mut self, tgid: Tgid, fd: Fd, new: Inbound, now: Nanos, stages: &mut Stages) {
        let id = self.descriptors.new_connection();
        self.inbound.insert(id, new);
        self.set(tgid, fd, Descriptor::Inbound(id), now, stages);
    }

    fn add_outbound(&mut self, tgid: Tgid, fd: Fd, line: Outbound, now: Nanos, stages: &mut Stages) {
        let id = self.passages.add_outbound(line, &mut self.descriptors);
        self.set(tgid, fd, Descriptor::Outbound(id), now, stages);
    }

    fn set(&mut self, tgid: Tgid, fd: Fd, descriptor: Descriptor, now: Nanos, stages: &mut Stages) {
        let gone = self.descriptors.set(tgid, fd, descriptor);
        self.shut(gone, Shut::Closed, now, stages);
    }

    /// Nothing refers to these connections any more.
    fn shut(
        &mut self,
        gone: impl IntoIterator<Item = ConnectionId>,
        how: Shut,
        now: Nanos,
        stages: &mut Stages,
    ) {
        for id in gone {
            self.passages.shut(id, &mut stages.contexts);
            let Some(mut inbound) = self.inbound.remove(&id) else {
                continue;
            };
            inbound.http.shut(how, &mut self.events);
            self.unlisted += inbound.http.unlisted();
            tell(
                &self.config,
                &mut inbound,
                &mut self.events,
                Moment::of_nobody(now),
                stages,
            );
        }
    }
}

/// Passes what happened on a connection to the stages. Returns whether a request began.
fn tell(
    config: &Config,
    inbound: &mut Inbound,
    events: &mut Vec<HttpEvent>,
    Moment {
        tgid,
        tid,
        now,
        whole,
        resident,
    }: Moment,
    stages: &mut Stages,
) -> bool {
    let mut began = false;
    for event in events.drain(..) {
        match event {
            HttpEvent::RequestStarted { exchange } => {
                let listed = config.port.is_none() || config.port == inbound.port;
                let id = whole.then(|| stages.open(tgid, tid, now, listed, resident));
                inbound.open.push_back((exchange, id));
                began = true;
            }
            HttpEvent::RequestWithdrawn { exchange } => {
                if let Some(id) = inbound.id(exchange) {
                    stages.withdraw(id);
                }
                inbound.open.retain(|(e, _)| *e != exchange);
            }
            HttpEvent::RequestHead {
                exchange,
                method,
                target,
                trace_id,
                head_truncated: _,
            } => {
                if let Some(id) = inbound.id(exchange) {
                    let path = config.routing.path(target.as_bytes());
                    let route = config.routing.route(&path);
                    stages.ledger.head(
                        id,
                        Head {
                            method,
                            path,
                            route,
                            trace_id,
                        },
                    );
                }
            }
            HttpEvent::ResponseStatus { exchange, status } => {
                if let Some(id) = inbound.id(exchange) {
                    stages.ledger.status(id, status);
                }
            }
            HttpEvent::ResponseEnded {
                exchange,
                complete,
                inferred: _,
            } => {
                if let Some(id) = inbound.id(exchange) {
                    if let Some(resident) = resident {
                        // One write can answer several.
                        stages.ledger.wrote(id, resident);
                    }
                    stages.end(id, now, complete);
                }
                inbound.open.retain(|(e, _)| *e != exchange);
            }
            HttpEvent::NotHttp { .. } => {}
        }
    }
    began
}

/// The descriptor that a call returned.
fn returned_fd(io: &Io) -> Fd {
    Fd(i32::try_from(io.ret).unwrap_or(-1))
}
