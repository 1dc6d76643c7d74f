//! What `/proc` knows of processes, threads and sockets.
//!
//! Owns the reading of `/proc`. A process can vanish at any moment: what can't be read any more is left out. Must
//! not know why anybody asks.

use std::collections::{HashMap, HashSet};

use memtrace_common::{FaultCount, Fd, Tgid, Tid};
use procfs::{
    ProcError,
    net::{TcpState, UnixState},
    process::{FDInfo, FDPermissions, FDTarget, MMapPath, Process, Stat, StatFlags, Task},
};

use super::descriptors::End;
use crate::{event::Socket, model::maps};

const ZOMBIE: char = 'Z';

/// A process as a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub tgid: Tgid,
    /// Its `comm`.
    pub comm: String,
    /// A thread of the kernel's own: it has no address space.
    pub is_kernel_thread: bool,
    /// It has ended, all its threads with it, and waits for its parent.
    pub is_zombie: bool,
    /// Its parent.
    pub parent: Tgid,
}

/// Looks a process up.
pub fn process(tgid: Tgid) -> Option<Found> {
    open(tgid)?.stat().ok().map(|stat| found(&stat))
}

/// The process that a thread belongs to: `/proc` has a folder for each thread that it doesn't list.
pub fn process_of(Tid(tid): Tid) -> Option<Tgid> {
    let status = open(Tgid(tid))?.status().ok()?;
    u32::try_from(status.tgid).ok().map(Tgid)
}

/// All processes.
pub fn processes() -> Vec<Found> {
    let Ok(all) = procfs::process::all_processes() else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|p| p.stat().ok())
        .map(|stat| found(&stat))
        .collect()
}

/// Processes whose `comm`, or whose executable's base name, is `name`.
pub fn named(name: &str) -> Vec<Tgid> {
    let is_named = |found: &Found| {
        found.comm == name
            || open_living(found.tgid)
                .and_then(|p| p.exe().ok())
                .is_some_and(|exe| exe.file_name().is_some_and(|base| base == name))
    };
    processes()
        .into_iter()
        .filter(|p| !p.is_zombie && is_named(p))
        .map(|p| p.tgid)
        .collect()
}

/// Processes that have a socket which listens on this TCP port, in whatever network namespace they are.
pub fn listening_on(port: u16) -> Vec<Tgid> {
    let mut listeners = Namespaces::default();
    let mut hit = Vec::new();
    for Found { tgid, .. } in processes() {
        let Some(process) = open_living(tgid) else {
            continue;
        };
        let Some(sockets) = listeners.of(&process) else {
            continue;
        };
        let inodes: HashSet<u64> = sockets
            .tcp
            .iter()
            .filter(|(_, s)| s.listens && s.local_port == port)
            .map(|(&inode, _)| inode)
            .collect();
        if inodes.is_empty() {
            continue;
        }
        let Ok(fds) = process.fd() else { continue };
        if fds
            .flatten()
            .any(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
        {
            hit.push(tgid);
        }
    }
    hit
}

/// The TCP ports on which a process listens.
pub fn listening_ports(tgid: Tgid) -> Vec<u16> {
    let listening = |open: OpenSocket| match open.socket {
        Socket::Listener { port } => port,
        _ => None,
    };
    sockets(tgid).into_iter().filter_map(listening).collect()
}

/// A process and whoever descends from it, as far as their parents are there.
pub fn family(tgid: Tgid) -> Vec<Tgid> {
    let all = processes();
    let mut family = vec![tgid];
    let mut known = 0;
    while let Some(&parent) = family.get(known) {
        known += 1;
        let children = all.iter().filter(|found| found.parent == parent);
        family.extend(children.map(|found| found.tgid).filter(|&child| child != parent));
    }
    family
}

/// A process's threads and their fault counters.
pub fn threads(tgid: Tgid) -> Vec<(Tid, FaultCount)> {
    let Some(tasks) = open(tgid).and_then(|p| p.tasks().ok()) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| Some((Tid(u32::try_from(task.tid).ok()?), fault_count(&task)?)))
        .collect()
}

/// A thread's own name.
pub fn comm(tgid: Tgid, Tid(tid): Tid) -> Option<String> {
    let Process { pid, .. } = open_living(tgid)?;
    let comm = std::fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
}

/// One of its threads' fault counters, a zombie's too.
pub fn thread(tgid: Tgid, Tid(tid): Tid) -> Option<FaultCount> {
    let task = open(tgid)?.task_from_tid(i32::try_from(tid).ok()?).ok()?;
    fault_count(&task)
}

/// `/proc/PID/maps`, in bytes: paths are no text.
pub fn maps(tgid: Tgid) -> Option<Vec<u8>> {
    let Process { pid, .. } = open_living(tgid)?;
    std::fs::read(format!("/proc/{pid}/maps"))
        .ok()
        .filter(|text| !text.is_empty())
}

/// The name of what is mapped at an address, as `/proc/PID/maps` writes it.
pub fn mapped(tgid: Tgid, address: u64) -> Option<Vec<u8>> {
    let text = maps(tgid)?;
    maps::parse(&text)
        .flatten()
        .find(|line| line.range.contains(&address))
        .map(|line| line.name.to_vec())
}

/// Where a thread's stack is, if it rests in a system call.
pub fn stack_pointer(tgid: Tgid, tid: Tid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/task/{}/syscall", tgid.0, tid.0)).ok()?;
    let (rest, _ip) = text.trim_end().rsplit_once(' ')?;
    let (_, sp) = rest.rsplit_once(' ')?;
    u64::from_str_radix(sp.strip_prefix("0x")?, 16).ok()
}

fn fault_count(task: &Task) -> Option<FaultCount> {
    let stat = task.stat().ok()?;
    Some(FaultCount {
        minor: stat.minflt,
        major: stat.majflt,
    })
}

/// The end of a process's heap: where its break is, to the page.
pub fn heap_end(tgid: Tgid) -> Option<u64> {
    let maps = open_living(tgid)?.maps().ok()?;
    maps.into_iter()
        // Where protections differ it has several lines.
        .rfind(|map| map.pathname == MMapPath::Heap)
        .map(|map| map.address.1)
}

/// Whether a process holds an `io_uring`.
pub fn has_io_uring(tgid: Tgid) -> bool {
    let Some(fds) = open_living(tgid).and_then(|p| p.fd().ok()) else {
        return false;
    };
    fds.flatten()
        .any(|fd| matches!(fd.target, FDTarget::AnonInode(name) if name.contains("io_uring")))
}

/// A descriptor that is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// The descriptor.
    pub fd: Fd,
    /// The socket's own number, the same for all its descriptors.
    pub inode: u64,
    /// What it is for.
    pub socket: Socket,
}

/// A process's sockets.
pub fn sockets(tgid: Tgid) -> Vec<OpenSocket> {
    let Some(process) = open_living(tgid) else {
        return Vec::new();
    };
    let Some(sockets) = Sockets::read(&process) else {
        return Vec::new();
    };
    let Ok(fds) = process.fd() else { return Vec::new() };
    fds.flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(OpenSocket {
                fd: Fd(fd.fd),
                inode,
                socket: sockets.classify(inode)?,
            }),
            _ => None,
        })
        .collect()
}

/// A process's eventfds, and its ends of pipes.
pub fn channel_ends(tgid: Tgid) -> Vec<(Fd, End)> {
    let Some(process) = open_living(tgid) else {
        return Vec::new();
    };
    let Ok(fds) = process.fd() else { return Vec::new() };
    fds.flatten()
        .filter_map(|fd| Some((Fd(fd.fd), channel_end(&process, &fd)?)))
        .collect()
}

fn channel_end(process: &Process, fd: &FDInfo) -> Option<End> {
    /// Inode numbers of pipes and sockets are below this (`get_next_ino` in fs/inode.c), and all eventfds have one.
    const EVENTFDS: u64 = 1 << 32;
    match &fd.target {
        FDTarget::Pipe(way) => Some(End {
            reads: fd.mode().contains(FDPermissions::READ).then_some(*way),
            writes: fd.mode().contains(FDPermissions::WRITE).then_some(*way),
        }),
        FDTarget::AnonInode(name) if name.contains("eventfd") => {
            let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{}", process.pid, fd.fd)).ok()?;
            let id = info.lines().find_map(|line| line.strip_prefix("eventfd-id:"))?;
            let way = Some(EVENTFDS | id.trim().parse::<u64>().ok()?);
            Some(End {
                reads: way,
                writes: way,
            })
        }
        _ => None,
    }
}

/// Whether this user may list a process's descriptors; true of one that is gone.
pub fn may_list_descriptors(tgid: Tgid) -> bool {
    let denied = |error: ProcError| matches!(error, ProcError::PermissionDenied(_));
    !open_living(tgid).is_some_and(|p| p.fd().is_err_and(denied))
}

/// One of a process's sockets.
pub fn socket(tgid: Tgid, fd: Fd) -> Option<Socket> {
    Namespaces::default().socket(tgid, fd)
}

/// Whether its program is a 32-bit one, by its ELF class (`EI_CLASS`).
pub fn is_32_bit(tgid: Tgid) -> bool {
    const ELFCLASS32: u8 = 1;
    let mut head = [0_u8; 5];
    let read = std::fs::File::open(format!("/proc/{}/exe", tgid.0))
        .and_then(|mut exe| std::io::Read::read_exact(&mut exe, &mut head));
    read.is_ok() && head == [0x7f, b'E', b'L', b'F', ELFCLASS32]
}

fn open(Tgid(tgid): Tgid) -> Option<Process> {
    Process::new(i32::try_from(tgid).ok()?).ok()
}

/// A thread of the process that has not ended, by way of which its descriptors and mappings can be read: the first
/// one's are gone where that thread is.
pub(super) fn open_living(tgid: Tgid) -> Option<Process> {
    let process = open(tgid)?;
    if process.stat().ok()?.state != ZOMBIE {
        return Some(process);
    }
    let mut tasks = process.tasks().ok()?.flatten();
    let living = tasks.find(|task| task.stat().is_ok_and(|stat| stat.state != ZOMBIE))?;
    Process::new(living.tid).ok()
}

fn found(stat: &Stat) -> Found {
    Found {
        tgid: Tgid(stat.pid.unsigned_abs()),
        comm: stat.comm.clone(),
        is_kernel_thread: stat.flags().is_ok_and(|f| f.contains(StatFlags::PF_KTHREAD)),
        // Where threads are left, it is only the first that has ended.
        is_zombie: stat.state == ZOMBIE && stat.num_threads <= 1,
        parent: Tgid(stat.ppid.unsigned_abs()),
    }
}

/// The sockets of one network namespace, by inode.
struct Sockets {
    tcp: HashMap<u64, Tcp>,
    unix: HashMap<u64, Unix>,
    listening_ports: HashSet<u16>,
}

struct Tcp {
    local_port: u16,
    listens: bool,
}

struct Unix {
    /// Bound to a path, as a listener and the connections that it accepts are, and a client is not.
    is_bound: bool,
    is_connected: bool,
}

impl Sockets {
    fn read(process: &Process) -> Option<Self> {
        let tcp: HashMap<u64, Tcp> = process
            .tcp()
            .ok()?
            .into_iter()
            .chain(process.tcp6().unwrap_or_default())
            .map(|entry| {
                let listens = entry.state == TcpState::Listen;
                (
                    entry.inode,
                    Tcp {
                        local_port: entry.local_address.port(),
                        listens,
                    },
                )
            })
            .collect();
        let unix = process
            .unix()
            .unwrap_or_default()
            .into_iter()
            .map(|entry| {
                let is_connected = entry.state == UnixState::CONNECTED;
                (
                    entry.inode,
                    Unix {
                        is_bound: entry.path.is_some(),
                        is_connected,
                    },
                )
            })
            .collect();
        let listening_ports = tcp.values().filter(|s| s.listens).map(|s| s.local_port).collect();
        Some(Self {
            tcp,
            unix,
            listening_ports,
        })
    }

    /// A connection came in if somebody listens on its local port, and went out if nobody does.
    fn classify(&self, inode: u64) -> Option<Socket> {
        if let Some(tcp) = self.tcp.get(&inode) {
            let port = Some(tcp.local_port);
            return Some(
                match (tcp.listens, self.listening_ports.contains(&tcp.local_port)) {
                    (true, _) => Socket::Listener { port },
                    (false, true) => Socket::Inbound { port },
                    (false, false) => Socket::Outbound,
                },
            );
        }
        self.unix
            .get(&inode)
            .map(|unix| match (unix.is_bound, unix.is_connected) {
                (true, true) => Socket::Inbound { port: None },
                (true, false) => Socket::Listener { port: None },
                (false, _) => Socket::Outbound,
            })
    }
}

/// Sockets by network namespace, read once each: such as come later are not among them.
#[derive(Default)]
pub struct Namespaces(HashMap<u64, Option<Sockets>>);

impl Namespaces {
    /// One of a process's sockets, where it was there when those of its namespace were read.
    pub fn socket(&mut self, tgid: Tgid, fd: Fd) -> Option<Socket> {
        let process = open_living(tgid)?;
        match process.fd_from_fd(fd.0).ok()?.target {
            FDTarget::Socket(inode) => self.of(&process)?.classify(inode),
            _ => None,
        }
    }

    fn of(&mut self, process: &Process) -> Option<&Sockets> {
        let namespaces = process.namespaces().ok()?;
        let net = namespaces.0.get(std::ffi::OsStr::new("net"))?.identifier;
        self.0
            .entry(net)
            .or_insert_with(|| Sockets::read(process))
            .as_ref()
    }
}
