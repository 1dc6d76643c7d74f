//! From what the user named to processes.
//!
//! Owns the five kinds of target and what can be wrong with each. Must not know the probes.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
};

use memtrace_common::{Tgid, Tid};
use rustix::thread::CapabilitySet;

use super::{
    args::TargetArgs,
    failure::Failure,
    held::{Held, Start},
};
use crate::kernel::{pidns, procfs};

pub(super) const FIND_HINT: &str = "`pgrep -a NAME` finds a process by name";
const CGROUP_HINT: &str =
    "name a directory of a mounted cgroup v2 hierarchy, such as /sys/fs/cgroup/system.slice/nginx.service";

/// Whom to trace, found and checked.
pub(super) struct Target {
    kind: Kind,
    follow: bool,
    /// The COMMAND, held.
    pub held: Option<Held>,
}

#[derive(Clone, Debug)]
enum Kind {
    Pids(Vec<Tgid>),
    Port(u16),
    Comm(String),
    Cgroup { path: PathBuf, id: u64, level: u32 },
    Command(Tgid),
}

impl Target {
    /// Finds what `args` name. A COMMAND is held by then, and will start as this says.
    pub(super) fn find(args: &TargetArgs, start: &Start<'_>) -> Result<Self, Failure> {
        if !args.is_named() {
            return Err(Failure::new(
                "no target",
                "nothing says whom to trace",
                "memtrace --pid PID, --port PORT, --comm NAME, --cgroup PATH or -- COMMAND; or try `memtrace demo`",
            ));
        }
        let kinds = [
            !args.pid.is_empty(),
            // A port beside another target only narrows the list of requests.
            args.port.is_some() && args.command.is_empty(),
            args.comm.is_some(),
            args.cgroup.is_some(),
            !args.command.is_empty(),
        ];
        if kinds.iter().filter(|&&kind| kind).count() > 1 {
            return Err(Failure::new(
                "more than one target",
                "they would be traced as one",
                "name one of --pid, --port, --comm, --cgroup and -- COMMAND",
            ));
        }
        check_proc()?;
        let follow = !args.no_follow;
        let (kind, held) = if !args.command.is_empty() {
            let held = Held::spawn(&args.command, args.user.as_deref(), start)?;
            (Kind::Command(held.tgid()), Some(held))
        } else if let Some(port) = args.port {
            (Kind::Port(port), None)
        } else if let Some(comm) = &args.comm {
            (Kind::Comm(comm.clone()), None)
        } else if let Some(path) = &args.cgroup {
            let (id, level) = cgroup(path)?;
            (
                Kind::Cgroup {
                    path: path.clone(),
                    id,
                    level,
                },
                None,
            )
        } else {
            args.pid.iter().try_for_each(|&pid| check_pid(pid))?;
            (Kind::Pids(args.pid.clone()), None)
        };
        let target = Self { kind, follow, held };
        if target.processes().is_empty() {
            return Err(target.nobody());
        }
        Ok(target)
    }

    /// A process that memtrace itself started, and that is not held.
    pub(super) fn own_child(tgid: Tgid) -> Result<Self, Failure> {
        check_proc()?;
        Ok(Self {
            kind: Kind::Command(tgid),
            follow: true,
            held: None,
        })
    }

    /// The processes that it means now, memtrace itself left out.
    pub(super) fn processes(&self) -> BTreeSet<Tgid> {
        let roots = match &self.kind {
            Kind::Pids(pids) => pids.clone(),
            Kind::Port(port) => procfs::listening_on(*port),
            Kind::Comm(comm) => procfs::named(comm),
            Kind::Cgroup { path, .. } => members(path),
            Kind::Command(tgid) => vec![*tgid],
        };
        let me = Tgid(std::process::id());
        let is_held = matches!(self.kind, Kind::Command(_));
        roots
            .into_iter()
            .filter(|&tgid| tgid != me)
            .filter(|&tgid| {
                is_held || procfs::process(tgid).is_some_and(|p| p.parent != me && !p.is_kernel_thread)
            })
            .collect()
    }

    /// Processes may come to belong to it that no target forks.
    pub(super) fn may_grow(&self) -> bool {
        matches!(self.kind, Kind::Comm(_) | Kind::Cgroup { .. })
    }

    /// Where nobody belongs to it any more, somebody may come.
    pub(super) fn may_return(&self) -> bool {
        matches!(self.kind, Kind::Comm(_) | Kind::Cgroup { .. })
    }

    /// Whoever started it learns of its end, and says when the run is over.
    pub(super) fn is_own_child(&self) -> bool {
        matches!(self.kind, Kind::Command(_))
    }

    /// The TCP ports on which it listens, or a process that it has started.
    pub(super) fn ports(&self) -> BTreeSet<u16> {
        let all = self.processes().into_iter().flat_map(procfs::family);
        all.flat_map(procfs::listening_ports).collect()
    }

    /// Children of a target are targets.
    pub(super) fn follows(&self) -> bool {
        self.follow
    }

    /// The name whose bearers become targets when they exec, as the kernel cuts it.
    pub(super) fn comm(&self) -> Option<[u8; 16]> {
        let Kind::Comm(name) = &self.kind else { return None };
        let mut comm = [0; 16];
        // The kernel keeps 15 bytes and a zero (`TASK_COMM_LEN`).
        for (to, from) in comm.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        Some(comm)
    }

    /// The cgroup whose members become targets when they exec: its id and depth.
    pub(super) fn cgroup(&self) -> Option<(u64, u32)> {
        match &self.kind {
            Kind::Cgroup { id, level, .. } => Some((*id, *level)),
            _ => None,
        }
    }

    fn nobody(&self) -> Failure {
        match &self.kind {
            Kind::Pids(_) | Kind::Command(_) => {
                Failure::new("no target", "no process of that number runs any more", FIND_HINT)
            }
            // Whose a socket is only shows in `/proc/PID/fd`, which other users' processes keep to themselves.
            Kind::Port(port) if !sees_all_users() => Failure::new(
                format!("--port {port}"),
                "no process that this user may look into listens on this TCP port",
                "run it with sudo, or give the binary CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, to see other users' processes too",
            ),
            Kind::Port(port) => Failure::new(
                format!("--port {port}"),
                "no process listens on this TCP port",
                "`ss -ltnp` lists who listens where",
            ),
            Kind::Comm(name) => Failure::new(
                format!("--comm {name}"),
                "no process has this name",
                "`ps -eo pid,comm` lists the names that the kernel has",
            ),
            Kind::Cgroup { path, .. } => Failure::new(
                format!("--cgroup {}", path.display()),
                "no process is in this cgroup or below",
                "start the service first; `systemd-cgls` shows which cgroup holds what",
            ),
        }
    }
}

/// Whether a process of this number can be looked into at all.
pub(super) fn check(pid: Tgid) -> Result<(), Failure> {
    check_proc()?;
    check_pid(pid)
}

fn check_proc() -> Result<(), Failure> {
    if pidns::proc_is_its_own() {
        return Ok(());
    }
    Err(Failure::new(
        "cannot look processes up",
        "/proc is of another pid namespace than memtrace",
        "mount this namespace's own, `mount -t proc proc /proc`, or start it with `unshare --mount-proc`",
    ))
}

/// `/proc/PID/fd` is closed to other users by its mode, and what its links lead to by the rules of ptrace(2).
fn sees_all_users() -> bool {
    let reads = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
    rustix::thread::capabilities(None).is_ok_and(|sets| {
        sets.effective.contains(CapabilitySet::SYS_PTRACE) && sets.effective.intersects(reads)
    })
}

fn check_pid(pid: Tgid) -> Result<(), Failure> {
    let fail = |why: &str, hint: &str| Err(Failure::new(format!("--pid {}", pid.0), why, hint));
    let (Some(found), Some(process)) = (procfs::process(pid), procfs::process_of(Tid(pid.0))) else {
        return fail("no such process", FIND_HINT);
    };
    if found.is_kernel_thread {
        let why = format!(
            "{} is a thread of the kernel's own and has no user memory",
            found.comm
        );
        fail(&why, "name a user process")
    } else if process != pid {
        let Tgid(process) = process;
        fail(
            &format!("it is a thread of process {process}"),
            &format!("name the process, --pid {process}: all its threads are traced"),
        )
    } else if found.is_zombie {
        fail(
            "it has ended and waits for its parent",
            "name a process that runs",
        )
    } else if pid.0 == std::process::id() {
        fail("memtrace does not trace itself", "name another process")
    } else {
        Ok(())
    }
}

/// A cgroup's id (its directory's inode) and its depth below the root of its hierarchy.
fn cgroup(path: &Path) -> Result<(u64, u32), Failure> {
    let fail = |why: &str| Failure::new(format!("--cgroup {}", path.display()), why, CGROUP_HINT);
    let real = path.canonicalize().map_err(|e| fail(&e.to_string()))?;
    // Only the directories of cgroup v2 have this file, the root left out.
    if !real.join("cgroup.procs").is_file() || !real.join("cgroup.controllers").is_file() {
        return Err(fail("not a cgroup v2 directory"));
    }
    let id = real.metadata().map_err(|e| fail(&e.to_string()))?.ino();
    let mount = real
        .ancestors()
        .take_while(|p| p.join("cgroup.controllers").is_file())
        .last()
        .unwrap_or(&real);
    let below = real.strip_prefix(mount).unwrap_or(Path::new(""));
    let level = below
        .components()
        .filter(|c| matches!(c, Component::Normal(_)))
        .count();
    Ok((id, u32::try_from(level).unwrap_or(u32::MAX)))
}

/// All processes in a cgroup and below.
fn members(path: &Path) -> Vec<Tgid> {
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let procs = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        // A process of another pid namespace is listed as 0.
        found.extend(
            procs
                .lines()
                .filter_map(|l| l.parse().ok())
                .filter(|&pid| pid != 0)
                .map(Tgid),
        );
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        folders.extend(
            entries
                .flatten()
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    found
}
