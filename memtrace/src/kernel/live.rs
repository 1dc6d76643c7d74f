//! The live source of events: the ring, with what `/proc` has to add to it.
//!
//! Owns the order at both ends of a run. At the start: first the probes are told of a process, then its threads'
//! counters are read, so that a fault is either before the reading or traced. At the end the other way round. What
//! falls between is told apart by the counters themselves, so a busy target leaves no gap. Must not know requests.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use memtrace_common::{
    FaultCount, Fd, Nanos, Tgid, Tid,
    decode::{self, DecodeError, Record},
    wire::{MM_MMAP, MM_NAME, Mm},
};
use rustix::time::{ClockId, clock_gettime};

use super::{
    descriptors::{Held, held},
    dying::Dying,
    kin::Kin,
    load::{LoadError, Options, Probes},
    paths::Paths,
    procfs,
    resident::Resident,
    runtime::Runtimes,
    sockets::Sockets,
};
use crate::{
    event::{Event, Notice, Socket},
    ledger::entry::Lost,
    model::vma::{MAP_ANONYMOUS, MAP_SHARED},
    record::{Clocks, Program},
};

/// Entries taken from the ring at a time, so that the rest of the program gets its turn.
const BATCH: usize = 8_192;
/// Longer than a fault takes, unless its thread is preempted in the middle of it.
const FAULT_IN_FLIGHT: Duration = Duration::from_millis(2);
/// How long after a thread's or a process's end its last word may come: RCU says it, which takes its time where CPUs
/// are busy (160 ms at most on two that were busier than they could be).
const LAST_WORDS: Nanos = Nanos(1_000_000_000);
/// How often it looks for them.
const LAST_WORDS_POLL: Duration = Duration::from_millis(2);
/// How often the threads of a process are listed until no new one turns up.
const SEED_ROUNDS: usize = 4;

/// The probes and what is known of their targets.
pub struct Live {
    probes: Probes,
    /// When the run began.
    clocks: Clocks,
    times_faults: bool,
    /// Threads whose faults could not be timed, and why the last one's.
    untimed: (u64, Option<LoadError>),
    /// Traced and not known to be gone.
    running: HashSet<Tgid>,
    /// Gone from `/proc` since then, with their last word to come.
    leaving: HashMap<Tgid, Nanos>,
    kin: Kin,
    dying: Dying,
    paths: Paths,
    resident: Resident,
    sockets: Sockets,
    runtimes: Runtimes,
    received: u64,
    undecoded: u64,
    /// What was lost when it was last asked.
    lost: Lost,
    /// When that was.
    asked: Nanos,
}

impl Live {
    /// Loads and attaches the probes: the run begins.
    pub fn attach(options: &Options) -> Result<Self, LoadError> {
        let probes = Probes::attach(options)?;
        let clocks = clocks();
        Ok(Self {
            probes,
            clocks,
            asked: Nanos(clocks.monotonic),
            times_faults: options.fault_time,
            untimed: (0, None),
            running: HashSet::new(),
            leaving: HashMap::new(),
            kin: Kin::default(),
            dying: Dying::default(),
            paths: Paths::default(),
            resident: Resident::default(),
            sockets: Sockets::default(),
            runtimes: Runtimes::but_ours(),
            received: 0,
            undecoded: 0,
            lost: Lost::default(),
        })
    }

    /// When the run began.
    pub fn began(&self) -> Clocks {
        self.clocks
    }

    /// What has run in the targets so far, by the executables' base names.
    pub fn programs(&self) -> BTreeMap<String, Program> {
        self.runtimes.programs()
    }

    /// Tells that the run began. Nothing is traced before a process is adopted.
    pub fn tell_beginning(&self, mut sink: impl FnMut(Event<'_>)) {
        let time = Nanos(self.clocks.monotonic);
        sink(Event::Notice(Notice::Begin { time }));
    }

    /// Makes a process a target and tells what it already has. Returns how many threads that are: none, and no
    /// target, where it is gone.
    pub fn adopt(&mut self, tgid: Tgid, mut sink: impl FnMut(Event<'_>)) -> usize {
        let Some(found) = procfs::process(tgid).filter(|p| !p.is_zombie) else {
            return 0;
        };
        // One that was forked or that exec made a target announces itself in the ring, whole.
        if self.probes.targets().contains(tgid) || !self.running.insert(tgid) {
            return 0;
        }
        self.leaving.remove(&tgid);
        self.kin.found(tgid);
        self.give_row(tgid);
        // Connections first: what is read from them counts from the first moment.
        let before: HashMap<Fd, Held> = held(tgid).into_iter().collect();
        for (&fd, &held) in &before {
            self.set_role(tgid, fd, held);
        }
        self.probes.targets().add(tgid);
        // A fault that began just before would complete unseen if its thread's counters were read at once.
        std::thread::sleep(FAULT_IN_FLIGHT);
        let brk = procfs::heap_end(tgid);
        let io_uring = procfs::has_io_uring(tgid);
        sink(Event::Notice(Notice::Process {
            tgid,
            comm: found.comm,
            brk,
            io_uring,
        }));
        if !procfs::may_list_descriptors(tgid) {
            sink(Event::Notice(Notice::Note(format!(
                "the descriptors of process {} are not for this user to list: connections that were open already are \
                 not seen, nor which port others came in on; CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH show them",
                tgid.0
            ))));
        }
        tell_maps(tgid, &mut sink);
        self.runtimes.see(tgid);
        // A thread that is born while they are listed announces itself in the ring, but one that was being born
        // when the process became a target may do neither: look again.
        let mut threads: HashMap<Tid, FaultCount> = HashMap::new();
        for _ in 0..SEED_ROUNDS {
            let before = threads.len();
            for (tid, count) in procfs::threads(tgid) {
                if threads.insert(tid, count).is_none() {
                    self.time_faults(tgid, tid);
                    let sp = procfs::stack_pointer(tgid, tid);
                    let comm = procfs::comm(tgid, tid).unwrap_or_default();
                    sink(Event::Notice(Notice::Thread {
                        tgid,
                        tid,
                        count,
                        sp,
                        comm,
                    }));
                }
            }
            if threads.len() == before {
                break;
            }
        }
        sink(Event::Notice(Notice::Seeded { tgid, time: now() }));
        self.tell_descriptors(tgid, before, sink);
        tracing::info!(pid = tgid.0, threads = threads.len(), "a process is traced");
        threads.len()
    }

    /// Hands on what the ring has. Returns whether there may be more.
    pub fn pump(&mut self, mut sink: impl FnMut(Event<'_>)) -> bool {
        let (mut received, mut undecoded) = (0, 0);
        let mut found: Vec<(Tgid, Fd, Held)> = Vec::new();
        let mut joined: Vec<Tgid> = Vec::new();
        let mut born: Vec<Tgid> = Vec::new();
        let (running, kin, sockets) = (&mut self.running, &mut self.kin, &mut self.sockets);
        let (leaving, dying, paths) = (&mut self.leaving, &mut self.dying, &mut self.paths);
        let (resident, runtimes) = (&mut self.resident, &mut self.runtimes);
        let mut each = |record: Result<Record<'_>, DecodeError>| {
            received += 1;
            let Ok(mut record) = record else {
                undecoded += 1;
                return;
            };
            if let Some(rss) = resident.before(&mut record) {
                sink(Event::Record(Record::Rss(rss)));
            }
            for (tgid, fd, socket) in sockets.told_by(&record) {
                sink(Event::Notice(Notice::Socket { tgid, fd, socket }));
                found.push((tgid, fd, Held::Socket(socket)));
            }
            if let Record::Mm(mm) = &record
                && let Some(notice) = mapped(mm, paths).or_else(|| named(mm))
            {
                sink(Event::Notice(notice));
            }
            if let Record::Exec(exec) = &record
                && !running.contains(&Tgid(exec.header.tgid))
            {
                joined.push(Tgid(exec.header.tgid));
            }
            born.extend(keep_track(&record, running, leaving, kin));
            dying.observe(&record);
            sink(Event::Record(record));
            if let Record::Exec(exec) = record {
                // What was open across exec: the rest closed, and said nothing.
                let tgid = Tgid(exec.header.tgid);
                tell_maps(tgid, &mut sink);
                runtimes.see(tgid);
                for (fd, held) in held(tgid) {
                    sink(Event::Notice(held.notice(tgid, fd)));
                    found.push((tgid, fd, held));
                }
            }
        };
        let count = self
            .probes
            .drain(BATCH, |bytes| decode::entry(bytes).for_each(&mut each));
        for tgid in born {
            self.give_row(tgid);
        }
        for (tgid, fd, held) in found {
            self.set_role(tgid, fd, held);
        }
        for tgid in joined {
            self.time_faults(tgid, Tid(tgid.0));
        }
        self.received += received;
        self.undecoded += undecoded;
        count == BATCH
    }

    /// Nothing more is wanted of what this descriptor was at that time.
    pub fn ignore(&mut self, tgid: Tgid, fd: Fd, as_of: Nanos) {
        if let Err(error) = self.probes.ignore(tgid, fd, as_of) {
            tracing::debug!(%error, ?tgid, ?fd, "cannot tell the probes to ignore a descriptor");
        }
    }

    /// Has the probes' tables forget processes that are gone. Goes through all descriptors: for once in a while.
    pub fn forget_the_gone(&mut self) {
        let gone = self.kin.take_forgotten();
        if !gone.is_empty()
            && let Err(error) = self.probes.forget(&gone)
        {
            tracing::warn!(%error, "cannot clear what the probes know of processes that are gone");
        }
    }

    /// Whether any target is running. Tells of those that have been gone for so long that their last word will not
    /// come any more: a zombie's comes when its parent waits for it.
    pub fn is_any_running(&mut self, mut sink: impl FnMut(Event<'_>)) -> bool {
        let time = now();
        for tgid in self
            .running
            .extract_if(|&tgid| procfs::process(tgid).is_none_or(|p| p.is_zombie))
        {
            self.leaving.insert(tgid, time);
        }
        for (tgid, _) in self
            .leaving
            .extract_if(|_, since| time.since(*since) >= LAST_WORDS)
        {
            self.kin.gone(tgid);
            sink(Event::Notice(Notice::Gone { tgid, time }));
        }
        !self.running.is_empty()
    }

    /// Tells what was lost since it was last asked.
    pub fn tell_losses(&mut self, sink: impl FnMut(Event<'_>)) -> Result<(), LoadError> {
        let until = now();
        let lost = self.probes.emission(until.0)?.lost;
        self.tell_lost(lost, until, sink);
        Ok(())
    }

    fn tell_lost(&mut self, lost: Lost, until: Nanos, mut sink: impl FnMut(Event<'_>)) {
        if lost != self.lost {
            let since = self.asked;
            sink(Event::Notice(Notice::Lost { lost, since, until }));
        }
        self.lost = lost;
        self.asked = until;
    }

    /// Ends the run: reads the counters of all threads, waits for those that only the probes can tell, then stops the
    /// probes, then hands on what is left.
    pub fn finish(mut self, mut sink: impl FnMut(Event<'_>)) -> Result<(), LoadError> {
        let time = now();
        let mut told: HashSet<Tid> = HashSet::new();
        for &tgid in &self.running {
            for (tid, count) in procfs::threads(tgid) {
                sink(Event::Notice(Notice::Horizon { tid, count }));
                told.insert(tid);
            }
        }
        let listed = now();
        sink(Event::Notice(Notice::Ending { time }));
        let by_then = self.probes.emission(listed.0)?.lost;
        self.await_last_words(listed, &told, &mut sink);
        self.probes.stop();
        while self.pump(&mut sink) {}
        for (tid, work) in self.probes.untold() {
            sink(Event::Notice(Notice::Untold { tid, work }));
        }
        if let (threads, Some(error)) = &self.untimed {
            let note = format!("the faults of {threads} threads were not timed: {error}");
            sink(Event::Notice(Notice::Note(note)));
        }
        let emission = self.probes.emission(now().0)?;
        // Faults and calls that found the ring full while the probes went are none of the run's. Sums of a thread's work and
        // last words may be.
        let Lost { frame, task, .. } = emission.lost;
        let lost = Lost {
            frame,
            task,
            ..by_then
        };
        self.tell_lost(lost, listed, &mut sink);
        if self.undecoded > 0 {
            let note = format!("records of the ring that could not be read: {}", self.undecoded);
            sink(Event::Notice(Notice::Note(note)));
        }
        if emission.emitted != self.received {
            // A ring that hands on less than was put in would be a bug, here or in the kernel.
            let note = format!(
                "records sent: {}; records that arrived: {}",
                emission.emitted, self.received
            );
            sink(Event::Notice(Notice::Note(note)));
        }
        Ok(())
    }

    /// Passes on what the probes have logged, where that was asked for.
    pub fn flush_log(&mut self) {
        self.probes.flush_log();
    }

    /// Threads that had begun to exit when the others were `listed`, and whose counters have not been `told`, say them
    /// when RCU lets go of them. What they faulted last is in no other record.
    fn await_last_words(&mut self, listed: Nanos, told: &HashSet<Tid>, mut sink: impl FnMut(Event<'_>)) {
        let is_over = |began: Nanos| now().since(began) >= LAST_WORDS;
        while self.pump(&mut sink) && !is_over(listed) {}
        let dying: Vec<_> = self.dying.between(Nanos(0), listed).collect();
        for (tgid, tid) in dying {
            if told.contains(&tid) {
                self.dying.let_go(tid);
            } else if let Some(count) = procfs::thread(tgid, tid) {
                // A zombie: it is freed when its parent waits for it, which may be never.
                sink(Event::Notice(Notice::Horizon { tid, count }));
                self.dying.let_go(tid);
            }
        }
        // Kernels have been seen that never let go of some.
        while self
            .dying
            .between(Nanos(now().0.saturating_sub(LAST_WORDS.0)), listed)
            .next()
            .is_some()
        {
            std::thread::sleep(LAST_WORDS_POLL);
            self.pump(&mut sink);
        }
    }

    /// Tells which descriptors are sockets and channels now. Those `before` the process became a target may have been closed, and
    /// others made, while nobody watched.
    fn tell_descriptors(
        &mut self,
        tgid: Tgid,
        mut before: HashMap<Fd, Held>,
        mut sink: impl FnMut(Event<'_>),
    ) {
        for (fd, held) in held(tgid) {
            if before.remove(&fd) != Some(held) {
                self.set_role(tgid, fd, held);
            }
            if matches!(held, Held::Socket(Socket::Listener { .. })) {
                self.sockets.listens(tgid, fd);
            }
            sink(Event::Notice(held.notice(tgid, fd)));
        }
        for fd in before.into_keys() {
            self.ignore(tgid, fd, now());
        }
    }

    fn time_faults(&mut self, tgid: Tgid, tid: Tid) {
        if self.times_faults
            && let Err(error) = self.probes.time_faults(tgid, tid)
        {
            tracing::debug!(%error, ?tid, "cannot time a thread's faults");
            self.untimed = (self.untimed.0 + 1, Some(error));
        }
    }

    fn give_row(&mut self, tgid: Tgid) {
        if let Err(error) = self.probes.give_row(tgid) {
            tracing::debug!(%error, ?tgid, "cannot give a process a row of descriptors");
        }
    }

    fn set_role(&mut self, tgid: Tgid, fd: Fd, held: Held) {
        if let Some(role) = held.role()
            && let Err(error) = self.probes.set_role(tgid, fd, role)
        {
            tracing::warn!(%error, ?tgid, ?fd, "cannot tell the probes of a connection: its requests are not seen");
        }
    }
}

/// The monotonic clock, which the probes' times are on.
pub fn now() -> Nanos {
    Nanos(read_clock(ClockId::Monotonic))
}

/// The three clocks, as close to each other as they can be read.
fn clocks() -> Clocks {
    Clocks {
        monotonic: read_clock(ClockId::Monotonic),
        boottime: read_clock(ClockId::Boottime),
        realtime: read_clock(ClockId::Realtime),
    }
}

fn read_clock(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Tells what a process has mapped.
pub fn tell_maps(tgid: Tgid, mut sink: impl FnMut(Event<'_>)) {
    if let Some(text) = procfs::maps(tgid) {
        sink(Event::Notice(Notice::Maps {
            tgid,
            text,
            time: now(),
        }));
    }
}

/// Which file an `mmap` has mapped.
fn mapped(mm: &Mm, paths: &mut Paths) -> Option<Notice> {
    /// `include/uapi/linux/magic.h`
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    let flags = mm.args[3];
    (mm.header.op == MM_MMAP && mm.ret > 0 && flags & MAP_ANONYMOUS == 0).then(|| Notice::Mapped {
        tgid: Tgid(mm.header.tgid),
        start: mm.ret.cast_unsigned(),
        path: paths.of(mm),
        shared: flags & MAP_SHARED != 0,
        in_memory: mm.magic == TMPFS_MAGIC,
    })
}

/// Which name memory was given: the kernel has it by now, and the program's copy may be gone.
fn named(mm: &Mm) -> Option<Notice> {
    let [_, _, start, len, ..] = mm.args;
    if mm.header.op != MM_NAME {
        return None;
    }
    let tgid = Tgid(mm.header.tgid);
    let name = procfs::mapped(tgid, start)?;
    Some(Notice::Named {
        tgid,
        start,
        len,
        name,
    })
}

/// Who runs, as the records tell. Returns whoever has begun.
fn keep_track(
    record: &Record<'_>,
    running: &mut HashSet<Tgid>,
    leaving: &mut HashMap<Tgid, Nanos>,
    kin: &mut Kin,
) -> Option<Tgid> {
    match record {
        Record::Fork(fork) if fork.child_tgid != fork.header.tgid && fork.child_tgid != 0 => {
            let child = Tgid(fork.child_tgid);
            leaving.remove(&child);
            kin.forked(Tgid(fork.header.tgid), child);
            return running.insert(child).then_some(child);
        }
        Record::Exec(exec) => {
            let tgid = Tgid(exec.header.tgid);
            leaving.remove(&tgid);
            // One that became a target just now may have the number of one that is gone.
            kin.found(tgid);
            return running.insert(tgid).then_some(tgid);
        }
        Record::Free(header) if header.tgid == header.tid => {
            running.remove(&Tgid(header.tgid));
            leaving.remove(&Tgid(header.tgid));
            kin.gone(Tgid(header.tgid));
        }
        _ => {}
    }
    None
}
