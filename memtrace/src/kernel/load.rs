//! Loading and attaching the probes, and all that passes between them and userspace.
//!
//! Owns the programs and their maps. When [`Probes`] goes (or its process, however it ends) the kernel detaches
//! everything, because the attachments are descriptors of that process.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::ProgramError,
};
use aya_log::EbpfLogger;
use memtrace_common::{
    Fd, Nanos, Tgid, Tid,
    map::{Counters, FAMILIES, Family, FdKey, FdState, Gap, Parent, ROLE_IGNORED, Running},
    wire::HEAD_MAX,
};
use thiserror::Error;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    btf::{BtfError, Layout},
    object,
    pidns::PidNamespace,
    programs::{self, TRACEPOINTS, typed_first, types_of_this_kernel},
    rows::Rows,
    targets::Targets,
    timing::{self, Timed},
};
use crate::ledger::{Work, entry::Lost};

/// Why the probes can't run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel doesn't say where the fault counters are.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel doesn't say what its tracepoints' arguments are.
    #[error("cannot read this kernel's types")]
    Types(#[source] aya::BtfError),
    /// The object that `MEMTRACE_BPF_OBJECT` names.
    #[error("cannot read the eBPF object {path}")]
    Object {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// `BPF_MAP_CREATE`, or the object is damaged.
    #[error("the kernel refused the maps")]
    Maps(#[source] Box<EbpfError>),
    /// `BPF_PROG_LOAD`, of a program that the kernel has looked into. No privilege changes that.
    #[error("this kernel's verifier does not take the program {name}: {said}")]
    Refused {
        /// The program.
        name: &'static str,
        /// What it said last.
        said: String,
    },
    /// `BPF_PROG_LOAD`
    #[error("the kernel refused the program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// `BPF_RAW_TRACEPOINT_OPEN`
    #[error("cannot attach to the tracepoint {name}")]
    Attach {
        /// The tracepoint.
        name: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The object lacks a map or a program that this binary expects.
    #[error("the eBPF object has no {0}: it is not of this version")]
    Foreign(&'static str),
    /// A map could not be reached.
    #[error("cannot reach the map {name}")]
    Map {
        /// The map.
        name: &'static str,
        /// Why.
        source: MapError,
    },
    /// The probes' own log could not be opened.
    #[error("cannot read the probes' own log")]
    Log(#[source] aya_log::Error),
    /// It is not known whose process ids these are.
    #[error("cannot tell which pid namespace this is")]
    PidNamespace(#[source] io::Error),
    /// `mmap`
    #[error("cannot share the map {name} with the probes")]
    Shared {
        /// The map.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What is fixed before the probes load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring, a power of two and at least a page.
    pub ring_bytes: u32,
    /// Children of targets are targets.
    pub follow: bool,
    /// Processes that exec a program of this name become targets.
    pub comm: Option<[u8; 16]>,
    /// Processes that exec in this cgroup (its id, and its depth below the root) or below become targets.
    pub cgroup: Option<(u64, u32)>,
    /// Faults are timed.
    pub fault_time: bool,
    /// The kernel side's own log, off but for bug reports.
    pub kernel_log: bool,
}

/// The probes, attached.
pub struct Probes {
    ring: RingBuf<MapData>,
    targets: Targets,
    rows: Rows,
    row_owners: Array<MapData, u32>,
    fds: HashMap<MapData, [u8; size_of::<FdKey>()], [u8; size_of::<FdState>()]>,
    parents: HashMap<MapData, u32, [u8; size_of::<Parent>()]>,
    counters: PerCpuArray<MapData, [u8; size_of::<Counters>()]>,
    gap: Array<MapData, [u8; size_of::<Gap>()]>,
    tallies: HashMap<MapData, u32, [u8; size_of::<Running>()]>,
    timed: Timed,
    /// The probes' own log.
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Holds programs and attachments.
    ebpf: Ebpf,
}

/// What the probes have counted since they were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// Records that went into the ring.
    pub emitted: u64,
    /// Records that found it full, by family, and for how long it was.
    pub lost: Lost,
}

impl Probes {
    /// Loads and attaches. No process is a target yet.
    pub fn attach(options: &Options) -> Result<Self, LoadError> {
        let layout = Layout::of_this_kernel()?;
        let types = types_of_this_kernel()?;
        let mut ebpf = typed_first(|typed| {
            let mut ebpf = make_maps(options, &layout, typed)?;
            for name in TRACEPOINTS {
                programs::load(&mut ebpf, name, &types)?;
            }
            if options.fault_time {
                timing::load(&mut ebpf)?;
            }
            Ok(ebpf)
        })?;
        let targets = mapped(&mut ebpf, "TARGETS", Targets::map)?;
        let rows = mapped(&mut ebpf, "ROWS", Rows::map)?;
        let log = options
            .kernel_log
            .then(|| EbpfLogger::init(&mut ebpf).map_err(LoadError::Log))
            .transpose()?;
        let mut probes = Self {
            ring: typed(&mut ebpf, "RING")?,
            targets,
            rows,
            row_owners: typed(&mut ebpf, "ROW_OWNERS")?,
            fds: typed(&mut ebpf, "FDS")?,
            parents: typed(&mut ebpf, "PARENTS")?,
            counters: typed(&mut ebpf, "COUNTERS")?,
            gap: typed(&mut ebpf, "GAP")?,
            tallies: typed(&mut ebpf, "TALLIES")?,
            timed: Timed::default(),
            log,
            ebpf,
        };
        for name in TRACEPOINTS {
            programs::attach(&mut probes.ebpf, name)?;
        }
        // Any call that `sys_enter` looks at: it learns from one of memtrace's own where threads' registers lie.
        let _ = rustix::event::poll(&mut [], Some(&rustix::event::Timespec::default()));
        let (count, ring_bytes) = (TRACEPOINTS.len(), options.ring_bytes);
        tracing::info!(count, ring_bytes, "the probes are attached");
        Ok(probes)
    }

    /// Times the faults of a process's thread, and of what it starts from now on. For a run that times faults.
    pub fn time_faults(&mut self, tgid: Tgid, tid: Tid) -> Result<(), LoadError> {
        self.timed.attach(&mut self.ebpf, tgid, tid)
    }

    /// What threads' work took that they have not told of, where it took anything.
    pub fn untold(&self) -> Vec<(Tid, Work)> {
        let tallies = self.tallies.iter().flatten();
        tallies
            .map(|(tid, running)| {
                let Running {
                    frames,
                    timed_faults,
                    fault_ns,
                    last_fault_ns,
                    ..
                } = zerocopy::transmute!(running);
                let work = Work {
                    frames,
                    timed_faults,
                    fault_ns,
                    last_fault_ns: last_fault_ns.into(),
                };
                (Tid(tid), work)
            })
            .filter(|(_, work)| *work != Work::default())
            .collect()
    }

    /// Who is traced.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Passes on what the probes have logged since the last time.
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// Detaches everything: nothing more comes into the ring.
    pub fn stop(&mut self) {
        // Before the beginnings: an end would else find that of an attempt that failed.
        timing::stop(&mut self.ebpf);
        for name in TRACEPOINTS {
            programs::unload(&mut self.ebpf, name);
        }
    }

    /// Hands up to `limit` entries of the ring to `each`; returns how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(entry) = self.ring.next()
        {
            each(&entry);
            count += 1;
        }
        count
    }

    /// Has the probes keep what they know of a process's first descriptors where they find it fastest, if there is room.
    pub fn give_row(&mut self, tgid: Tgid) -> Result<(), LoadError> {
        match self.rows.give(tgid) {
            Some(row) => self.set_owner(row, tgid.0),
            None => Ok(()),
        }
    }

    fn set_owner(&mut self, row: u32, owner: u32) -> Result<(), LoadError> {
        let set = self.row_owners.set(row, owner, 0);
        set.map_err(|source| LoadError::Map {
            name: "ROW_OWNERS",
            source,
        })
    }

    /// Tells the probes what a descriptor is (a `ROLE_` constant).
    pub fn set_role(&mut self, tgid: Tgid, fd: Fd, role: u32) -> Result<(), LoadError> {
        let budget = u32::try_from(HEAD_MAX).unwrap_or(u32::MAX);
        let state = FdState {
            opened_ns: 0,
            closed_ns: 0,
            role,
            read_budget: budget,
            write_budget: budget,
            tgid: tgid.0,
        };
        self.set_state(tgid, fd, state)
    }

    /// Tells the probes that nothing is wanted of what a descriptor was at that time. The number may mean something
    /// else by now: that is left alone.
    pub fn ignore(&mut self, tgid: Tgid, fd: Fd, as_of: Nanos) -> Result<(), LoadError> {
        if self.rows.ignore(tgid, fd, as_of) {
            return Ok(());
        }
        let state = match self.fds.get(&fd_key(tgid, fd), 0) {
            Ok(state) => zerocopy::transmute!(state),
            Err(MapError::KeyNotFound) => return Ok(()),
            Err(source) => return Err(LoadError::Map { name: "FDS", source }),
        };
        let FdState { opened_ns, .. } = state;
        if opened_ns > as_of.0 {
            return Ok(());
        }
        let ignored = FdState {
            role: ROLE_IGNORED,
            ..state
        };
        self.set_state(tgid, fd, ignored)
    }

    /// Takes out all that the probes know of these processes.
    pub fn forget(&mut self, gone: &HashSet<Tgid>) -> Result<(), LoadError> {
        self.timed.forget(&mut self.ebpf, gone);
        for &tgid in gone {
            if let Some(row) = self.rows.row_of(tgid) {
                self.set_owner(row, 0)?;
                self.rows.take_back(tgid);
            }
        }
        let known: Result<Vec<_>, _> = self.fds.keys().collect();
        for key in known.map_err(|source| LoadError::Map { name: "FDS", source })? {
            let FdKey { tgid, .. } = zerocopy::transmute!(key);
            if gone.contains(&Tgid(tgid)) {
                taken_out("FDS", self.fds.remove(&key))?;
            }
        }
        gone.iter()
            .try_for_each(|tgid| taken_out("PARENTS", self.parents.remove(&tgid.0)))
    }

    fn set_state(&mut self, tgid: Tgid, fd: Fd, state: FdState) -> Result<(), LoadError> {
        if self.rows.set(tgid, fd, state) {
            return Ok(());
        }
        let state: [u8; size_of::<FdState>()] = zerocopy::transmute!(state);
        self.fds
            .insert(fd_key(tgid, fd), state, 0)
            .map_err(|source| LoadError::Map { name: "FDS", source })
    }

    /// Reads the counters. `now_ns` closes a gap that is still open.
    pub fn emission(&self, now_ns: u64) -> Result<Emission, LoadError> {
        let mut emitted = [0_u64; FAMILIES];
        let mut dropped = [0_u64; FAMILIES];
        let cpus = self.counters.get(&0, 0).map_err(|source| LoadError::Map {
            name: "COUNTERS",
            source,
        })?;
        for cpu in cpus.iter() {
            let Ok(cpu) = Counters::read_from_bytes(cpu.as_bytes()) else {
                continue;
            };
            for family in 0..FAMILIES {
                emitted[family] += cpu.emitted[family];
                dropped[family] += cpu.dropped[family];
            }
        }
        let gap = self
            .gap
            .get(&0, 0)
            .map_err(|source| LoadError::Map { name: "GAP", source })?;
        let gap = Gap::read_from_bytes(gap.as_bytes()).unwrap_or_default();
        let open = if gap.since_ns == 0 {
            0
        } else {
            now_ns.saturating_sub(gap.since_ns)
        };
        Ok(Emission {
            emitted: emitted.iter().sum(),
            lost: Lost {
                fault: dropped[Family::Fault as usize],
                mm: dropped[Family::Mm as usize],
                io: dropped[Family::Io as usize],
                frame: dropped[Family::Frame as usize],
                task: dropped[Family::Task as usize],
                ns: gap.closed_ns + open,
            },
        })
    }
}

fn fd_key(Tgid(tgid): Tgid, Fd(fd): Fd) -> [u8; size_of::<FdKey>()] {
    zerocopy::transmute!(FdKey { tgid, fd })
}

/// An element that was not there is as good as one taken out.
fn taken_out(name: &'static str, result: Result<(), MapError>) -> Result<(), LoadError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(LoadError::Map { name, source }),
    }
}

/// Makes the maps, and sets what the programs take for constants.
pub(super) fn make_maps(
    options: &Options,
    Layout { task, rss, file }: &Layout,
    typed: bool,
) -> Result<Ebpf, LoadError> {
    let fault_time = u8::from(options.fault_time);
    let huge_order = huge_order();
    let object = object::object()?;
    let comm = options.comm.unwrap_or_default();
    let follow = u8::from(options.follow);
    let pid_namespace = PidNamespace::of_this_process()
        .map_err(LoadError::PidNamespace)?
        .unwrap_or_default();
    let (cgroup_id, cgroup_level) = options.cgroup.unwrap_or_default();
    let typed = u8::from(typed);
    let log_level: u8 = if options.kernel_log { u8::MAX } else { 0 };
    EbpfLoader::new()
        .btf(None)
        .map_max_entries("RING", options.ring_bytes)
        .override_global("TYPED", &typed, true)
        .override_global("TASK_MIN_FLT", &task.min_flt, true)
        .override_global("TASK_MAJ_FLT", &task.maj_flt, true)
        .override_global("TASK_PID", &task.pid, true)
        .override_global("TASK_TGID", &task.tgid, true)
        .override_global("TASK_THREAD_PID", &task.thread_pid, true)
        .override_global("PID_LEVEL", &task.pid_level, true)
        .override_global("PID_NUMBERS", &task.pid_numbers, true)
        .override_global("PIDNS_INUM", &task.pid_namespace_inum, true)
        .override_global("TASK_STACK", &task.stack, true)
        .override_global("TASK_MM", &task.mm, true)
        .override_global("TASK_RSS", &rss.in_task, true)
        .override_global("TASK_SIGNAL", &rss.signal, true)
        .override_global("SIGNAL_THREADS", &rss.signal_threads, true)
        .override_global("MM_RSS", &rss.in_mm, true)
        .override_global("COUNTER_SIZE", &rss.counter_size, true)
        .override_global("COUNTER_COUNT", &rss.counter_count, true)
        .override_global("COUNTER_CPUS", &rss.counter_cpus, true)
        .override_global("ARRAY_PPTRS", &rss.array_pptrs, true)
        .override_global("RSS_KEPT", &rss.kept, true)
        .override_global("CPUS", &rss.cpus, true)
        .override_global("RSS_BATCH", &rss.batch, true)
        .override_global("FILE_PATH", file, true)
        .override_global("FAULT_TIME", &fault_time, true)
        .override_global("HUGE_ORDER", &huge_order, true)
        .override_global("PIDNS_DEV", &pid_namespace.device, true)
        .override_global("PIDNS_INODE", &pid_namespace.inode, true)
        .override_global("OWN_TGID", &std::process::id(), true)
        .override_global("FOLLOW", &follow, true)
        .override_global("COMM", &comm, true)
        .override_global("CGROUP_ID", &cgroup_id, true)
        .override_global("CGROUP_LEVEL", &cgroup_level, true)
        .override_global("AYA_LOG_LEVEL", &log_level, false)
        .load(&object)
        .map_err(|e| LoadError::Maps(Box::new(e)))
}

/// `HPAGE_PMD_ORDER`, as far as the kernel says.
fn huge_order() -> u32 {
    const PAGE: u64 = 4096;
    const USUAL: u32 = 9;
    let size = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
    size.ok()
        .and_then(|size| size.trim().parse::<u64>().ok())
        .map_or(USUAL, |size| (size / PAGE).max(1).ilog2())
}

/// An array map, as memory.
fn mapped<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    map: fn(BorrowedFd<'_>) -> io::Result<T>,
) -> Result<T, LoadError> {
    match take(ebpf, name)? {
        Map::Array(data) => map(data.fd().as_fd()).map_err(|source| LoadError::Shared { name, source }),
        _ => Err(LoadError::Foreign(name)),
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::Foreign(name))
}

fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, LoadError> {
    take(ebpf, name)?
        .try_into()
        .map_err(|source| LoadError::Map { name, source })
}
