//! From events to a report's objects: the stages, wired.
//!
//! Owns the order of things for each event: first the thread's counters (they confirm its last fault), then what
//! the event says. Live is replay: this holds no clock, no thread and no descriptor, and the same events give the
//! same objects.
//!
//! - `threads`: counters, thread by thread
//! - `stages`: for whom work is, and what it comes to
//! - `connections`: descriptors, framing, and the requests that come of them
//! - `passages`: connections to elsewhere and channels, through which work passes
//! - `notes`: what there is to say of them in words
//! - `calls`: which address-space calls succeeded, and their bytes
//! - `spaces`: address spaces
//! - `outcome`: what is known at the end
//! - `config`: what was asked for, and what the probes are asked
//! - `marks`: windows that programs open and close themselves

mod calls;
mod config;
mod connections;
mod marks;
mod notes;
mod outcome;
mod passages;
mod spaces;
mod stages;
#[cfg(test)]
mod tests;
mod threads;

use std::collections::BTreeSet;

use memtrace_common::{
    FaultCount, Nanos, Tgid, Tid,
    decode::{Payload, Record},
    wire::{self, Exec, Fault, Fork, Header, Io, Mm},
};
use rustc_hash::FxHashMap;

pub use self::{
    config::{Config, Directive},
    outcome::Outcome,
};
use self::{
    connections::Connections,
    marks::{Marks, Writer},
    spaces::Spaces,
    stages::Stages,
    threads::Threads,
};
use crate::{
    event::{Event, Notice},
    ledger::{
        Ledger, Resident, Taken, Work,
        entry::{Lost, Request},
        journal::Posting,
    },
    model::vma::{AddressSpace, Files},
    window::{Owner, Reason, RequestId, Wake, Word},
};

/// Process ids that the summary lists, at most.
const PIDS_MAX: usize = 64;

/// A process, as far as the pipeline is concerned.
#[derive(Debug, Default)]
struct Process {
    /// It began, or began anew with `exec`, under our eyes.
    born: bool,
    /// It has read a request.
    has_served: bool,
    /// The end of its heap, once known.
    brk: Option<u64>,
    /// It is traced whole from this time on; always, where this is `None`.
    whole_from: Option<Nanos>,
}

/// The whole path from events to objects.
#[derive(Debug)]
pub struct Pipeline {
    threads: Threads,
    connections: Connections,
    spaces: Spaces,
    marks: Marks,
    stages: Stages,
    processes: FxHashMap<Tgid, Process>,
    found: Vec<Tgid>,
    comm: Option<String>,
    notes: BTreeSet<String>,
    lost: Lost,
    began: Option<Nanos>,
    now: Nanos,
    ended: Option<Nanos>,
    directives: Vec<Directive>,
    keeps_journal: bool,
}

impl Pipeline {
    /// Nothing has happened yet.
    pub fn new(config: Config) -> Self {
        Self {
            threads: Threads::default(),
            stages: Stages::new(Ledger::new(config.fault_time, config.settle)),
            connections: Connections::new(config),
            spaces: Spaces::default(),
            marks: Marks::default(),
            processes: FxHashMap::default(),
            found: Vec::new(),
            comm: None,
            notes: BTreeSet::new(),
            lost: Lost::default(),
            began: None,
            now: Nanos(0),
            ended: None,
            directives: Vec::new(),
            keeps_journal: false,
        }
    }

    /// The next event.
    pub fn feed(&mut self, event: Event<'_>) {
        self.connections.begin_payload(&event);
        match event {
            Event::Record(record) => {
                self.record(record);
                if self.keeps_journal && !matches!(record, Record::Fault(_)) {
                    let header = record.header();
                    self.threads
                        .tell_turn(Tid(header.tid), Nanos(header.time_ns), &mut self.stages);
                    if let Record::Wake(wake) = record {
                        let at = Nanos(header.time_ns);
                        self.threads.tell_turn(Tid(wake.tid), at, &mut self.stages);
                    }
                }
            }
            Event::Notice(notice) => self.notice(notice),
        }
        // Here and not where the requests are taken: how often somebody asks must not make a difference.
        self.stages.advance(self.now);
    }

    /// What may be kept of the payload of the event that was fed last, in the place of its captured bytes: fed these
    /// instead, the pipeline does the same.
    ///
    /// As many bytes as were captured; none for events without payload, or unless [`Config::keeps_payload`].
    /// docs/PRIVACY.md says what is in them.
    pub fn payload_to_keep(&self) -> &[u8] {
        self.connections.payload_to_keep()
    }

    /// Requests that can be reported by now.
    pub fn take_done(&mut self) -> Vec<Request> {
        self.stages.ledger.take_done(self.spaces.files())
    }

    /// What a process has mapped by now, and the files in it.
    pub fn regions(&self, tgid: Tgid) -> Option<(&AddressSpace, &Files)> {
        Some((self.spaces.regions(tgid)?, self.spaces.files()))
    }

    /// Keeps what is booked, posting by posting, from here on. Whoever asks for it takes it, or it grows.
    pub fn keep_journal(&mut self) {
        self.keeps_journal = true;
        self.stages.ledger.keep_journal();
    }

    /// What was booked since this was last asked, and the files that it speaks of.
    pub fn take_postings(&mut self) -> (impl Iterator<Item = Posting>, &Files) {
        (self.stages.ledger.take_postings(), self.spaces.files())
    }

    /// The method and the path of a request that has not been taken yet.
    pub fn asks_for(&self, id: RequestId) -> Option<(&str, &str)> {
        self.stages.ledger.asks_for(id)
    }

    /// What the probes should be told.
    pub fn take_directives(&mut self) -> Vec<Directive> {
        std::mem::take(&mut self.directives)
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Begin { time } => {
                self.began = Some(time);
                self.now = time;
            }
            Notice::Process {
                tgid,
                comm,
                brk,
                io_uring,
            } => {
                self.find(tgid, &comm);
                self.processes.entry(tgid).or_default().brk = brk;
                if io_uring {
                    self.note_io_uring(tgid);
                }
            }
            Notice::Thread {
                tgid,
                tid,
                count,
                sp,
                comm: _,
            } => {
                self.threads.found(tgid, tid, count, &mut self.stages);
                if let Some(sp) = sp {
                    self.spaces.stack(tgid, sp);
                }
            }
            Notice::Maps { tgid, text, time } => {
                let brk = self.processes.get(&tgid).and_then(|p| p.brk);
                self.spaces.seed(tgid, &text, brk, time);
            }
            Notice::Named {
                tgid,
                start,
                len,
                name,
            } => self.spaces.named(tgid, start, len, &name),
            Notice::Mapped {
                tgid,
                start,
                path,
                shared,
                in_memory,
            } => self.spaces.maps(tgid, start, path.as_deref(), shared, in_memory),
            Notice::Seeded { tgid, time } => {
                self.processes.entry(tgid).or_default().whole_from = Some(time);
            }
            Notice::Socket { tgid, fd, socket } => {
                self.connections
                    .found(tgid, fd, socket, self.now, &mut self.stages);
            }
            Notice::Channel {
                tgid,
                fd,
                reads,
                writes,
            } => {
                let now = self.now;
                let end = connections::End { reads, writes };
                self.connections
                    .found_channel(tgid, fd, end, now, &mut self.stages);
            }
            Notice::Gone { tgid, time } => self.gone(tgid, time),
            Notice::Horizon { tid, count } => self.threads.horizon(tid, count, &mut self.stages),
            Notice::Ending { time } => {
                self.threads.close_the_door(time);
                self.ended = Some(time);
            }
            Notice::Untold { tid, work } => {
                let owner = self.stages.contexts.owner(tid.into());
                self.stages.ledger.work(owner, &work);
            }
            Notice::Lost { lost, .. } => {
                if lost.io > self.lost.io {
                    self.connections.lose_place(self.now, &mut self.stages);
                }
                if lost.mm > self.lost.mm {
                    self.directives
                        .extend(self.spaces.lose_calls().map(Directive::Read));
                }
                self.lost = lost;
            }
            Notice::Note(note) => {
                self.notes.insert(note);
            }
        }
    }

    fn record(&mut self, record: Record<'_>) {
        let header = *record.header();
        let (tgid, tid) = (Tgid(header.tgid), Tid(header.tid));
        let now = Nanos(header.time_ns);
        self.now = self.now.max(now);
        if let Record::Exec(exec) = &record {
            self.threads
                .take_over(Tid(exec.old_tid), tid, count(&header), &mut self.stages);
        }
        if let Record::Free(_) = &record {
            self.freed(tgid, tid, &header);
            return;
        }
        if let Record::Fault(fault) = &record {
            self.fault(fault);
            return;
        }
        self.threads
            .observe(tgid, tid, count(&header), now, &mut self.stages);
        if self.ended.is_some_and(|ended| now > ended)
            && matches!(
                record,
                Record::Io(..) | Record::Wait(_) | Record::Wake(_) | Record::Mm(_) | Record::Rss(_)
            )
        {
            // Faults from here on may be beyond a thread's horizon: what is open is cut here.
            return;
        }
        match record {
            Record::Fork(fork) => self.forked(&fork),
            Record::Exec(exec) => self.execed(&exec),
            Record::Exit(_) => self.threads.exit(tid),
            Record::Mm(mm) => self.address_space(&mm),
            Record::Tally(tally) => {
                let owner = self.stages.contexts.owner(tid.into());
                self.stages.ledger.work(owner, &Work::from(&tally));
            }
            Record::Rss(rss) => self.threads.resides(tid, Resident::from(&rss)),
            Record::Io(io, payload) => self.io(&io, &payload),
            Record::Wait(_) if header.flags & wire::WAIT_TIMED_OUT != 0 => {
                self.stages.contexts.wait_runs_out(tid.into());
            }
            Record::Wait(_) => {
                let asks = header.flags & wire::WAIT_ASKS != 0;
                self.stages.contexts.waits(tid.into(), asks, now);
                self.threads.explain_first_act(tid, &mut self.stages);
            }
            Record::Wake(wake) => {
                let wake = Wake {
                    waker: tid.into(),
                    waiter: Tid(wake.tid).into(),
                    word: Word {
                        tgid,
                        address: wake.word,
                    },
                };
                self.stages.contexts.wakes(wake, now);
            }
            Record::Uring(_) => self.note_io_uring(tgid),
            Record::Foreign(_) => {
                self.notes.insert(format!(
                    "process {} is a 32-bit program: its faults are counted, but its system calls are not read, so its \
                     requests are not seen",
                    tgid.0
                ));
            }
            Record::Fault(_) | Record::Free(_) | Record::Unmapped(_) => {}
        }
    }

    fn fault(&mut self, fault: &Fault) {
        let header = &fault.header;
        let (tgid, tid) = (Tgid(header.tgid), Tid(header.tid));
        let (place, asks) = self.spaces.place(fault);
        if asks {
            self.directives.push(Directive::Read(tgid));
        }
        let now = count(header);
        let taken = Taken {
            tid,
            at: Nanos(header.time_ns),
            address: fault.address,
            ip: fault.ip,
            kernel_mode: header.flags & wire::FAULT_KERNEL != 0,
            place,
        };
        if self.threads.hold(tgid, now, taken) {
            return;
        }
        self.threads.observe(tgid, tid, now, taken.at, &mut self.stages);
        let process = self.processes.get(&tgid);
        self.threads
            .attempt(now, taken, &mut self.stages, |owner| reason(owner, process));
    }

    fn io(&mut self, io: &Io, payload: &Payload<'_>) {
        let header = &io.header;
        let (tgid, tid) = (Tgid(header.tgid), Tid(header.tid));
        let now = Nanos(header.time_ns);
        let resident = self.threads.take_resident(tid);
        if !self.threads.knows(tid) {
            return;
        }
        let process = self.processes.entry(tgid).or_default();
        if header.op == wire::OP_MARK {
            process.has_served = true;
            let writer = Writer {
                tgid,
                tid,
                now,
                resident,
            };
            let len = u64::try_from(io.ret).unwrap_or(0);
            let connections = &self.connections;
            let on = |fd| connections.request_on(tgid, fd);
            self.marks
                .wrote(payload.beginning(), len, writer, on, &mut self.stages);
        } else {
            let whole = process.whole_from.is_none_or(|from| now >= from);
            process.has_served |= self.connections.io(
                io,
                payload,
                connections::Process { whole, resident },
                &mut self.stages,
                &mut self.directives,
            );
        }
        self.threads.explain_first_act(tid, &mut self.stages);
    }

    fn forked(&mut self, fork: &Fork) {
        let (parent, child) = (Tgid(fork.header.tgid), Tgid(fork.child_tgid));
        if fork.child_tgid == 0 {
            self.notes.insert(format!(
                "process {} started one in a pid namespace of its own, which can be followed from the host only",
                parent.0
            ));
            return;
        }
        if parent != child {
            self.connections.forked(parent, child);
            self.spaces.forked(parent, child);
            let brk = self.processes.get(&parent).and_then(|p| p.brk);
            self.processes.insert(
                child,
                Process {
                    born: true,
                    brk,
                    ..Process::default()
                },
            );
        }
        self.spaces.stack(child, fork.child_sp);
        let at = Nanos(fork.header.time_ns);
        self.threads
            .born(child, Tid(fork.child_tid), at, &mut self.stages);
    }

    fn execed(&mut self, exec: &Exec) {
        let tgid = Tgid(exec.header.tgid);
        // Most descriptors close at exec with no call that says so; those that did not are told again.
        let at = Nanos(exec.header.time_ns);
        self.connections.remove_process(tgid, at, &mut self.stages);
        self.marks.remove_process(tgid, at, &mut self.stages);
        self.spaces.remove_process(tgid);
        self.threads.begin_anew(Tid(exec.header.tid), &mut self.stages);
        let comm = String::from_utf8_lossy(&exec.comm);
        self.find(tgid, comm.trim_end_matches('\0'));
        if self.found.first() == Some(&tgid) {
            self.comm = Some(comm.trim_end_matches('\0').to_owned());
        }
        self.processes.insert(
            tgid,
            Process {
                born: true,
                ..Process::default()
            },
        );
    }

    fn freed(&mut self, tgid: Tgid, tid: Tid, header: &Header) {
        self.threads.freed(tgid, tid, count(header), &mut self.stages);
        if tgid.0 == tid.0 {
            self.gone(tgid, Nanos(header.time_ns));
        }
    }

    /// A process's descriptors are closed and its threads have ended, whether or not they have said their last word.
    fn gone(&mut self, tgid: Tgid, at: Nanos) {
        self.threads.remove_process(tgid, &mut self.stages);
        self.connections.remove_process(tgid, at, &mut self.stages);
        self.marks.remove_process(tgid, at, &mut self.stages);
        self.spaces.remove_process(tgid);
        self.stages.ledger.forget_process(tgid);
        self.processes.remove(&tgid);
    }

    fn address_space(&mut self, mm: &Mm) {
        self.spaces.call(mm);
        let process = self.processes.entry(Tgid(mm.header.tgid)).or_default();
        let old_brk = process.brk;
        if mm.header.op == wire::MM_BRK {
            process.brk = Some(mm.ret.cast_unsigned());
        }
        let moved = calls::moved(mm, old_brk);
        let of = self.stages.contexts.owner(Tid(mm.header.tid).into());
        let ledger = &mut self.stages.ledger;
        ledger.called(mm, moved, of);
        if let (Some(moved), Some(space)) = (moved, ledger.space_of(of)) {
            calls::count(space, mm.header.op, moved);
        }
    }

    fn find(&mut self, tgid: Tgid, comm: &str) {
        if !self.found.contains(&tgid) && self.found.len() < PIDS_MAX {
            self.found.push(tgid);
            self.comm.get_or_insert_with(|| comm.to_owned());
        }
    }

    fn note_io_uring(&mut self, tgid: Tgid) {
        self.notes.insert(format!(
            "process {} uses io_uring: what it reads and writes that way is not seen, so requests may be missing",
            tgid.0
        ));
    }
}

fn count(header: &Header) -> FaultCount {
    FaultCount {
        minor: header.min_flt,
        major: header.maj_flt,
    }
}

/// Faults of a process that was born in this run and has not read a request yet are its start-up, whatever else its
/// threads do.
fn reason(owner: Owner, process: Option<&Process>) -> Owner {
    match (owner, process) {
        (
            Owner::Nobody(Reason::Idle) | Owner::Token(..) | Owner::Unproven,
            Some(Process {
                born: true,
                has_served: false,
                ..
            }),
        ) => Owner::Nobody(Reason::Startup),
        _ => owner,
    }
}
