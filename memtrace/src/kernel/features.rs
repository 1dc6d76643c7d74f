//! What this kernel and this user can do, found out by trying.
//!
//! Owns the questions. Must not know how the answers are shown, or what to advise.

use std::io;

use procfs::process::{MMapPath, Process};

use super::{
    btf::{BtfError, Layout},
    load::LoadError,
    procfs as processes,
    trial::{self, Tried},
};
use crate::event::Socket;
use memtrace_common::{
    Tgid,
    map::{RSS_BY_CPU, RSS_BY_THREAD, RSS_CPUS_MAX},
};

/// A capability that memtrace can need (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    bit: u32,
}

/// Loads programs and makes maps (5.8 and later).
pub const CAP_BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
};
/// Attaches to tracepoints and reads kernel memory (5.8 and later).
pub const CAP_PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
};
/// Looks into other users' `/proc` entries.
pub const CAP_SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    bit: 19,
};
/// Lists other users' descriptors: `/proc/PID/fd` is closed to others by its mode, too.
pub const CAP_DAC_READ_SEARCH: Capability = Capability {
    name: "CAP_DAC_READ_SEARCH",
    bit: 2,
};
/// Stands for the first two.
pub const CAP_SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
};

/// All that a run without root takes.
pub const NEEDED: [Capability; 4] = [CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH];

/// Whether this process has a capability, by `CapEff`. `None` where `/proc` doesn't say.
pub fn has(capability: Capability) -> Option<bool> {
    let status = Process::myself().and_then(|me| me.status()).ok()?;
    Some(status.capeff >> capability.bit & 1 == 1)
}

/// Whether this kernel says where the fault counters are.
pub fn btf() -> Result<(), BtfError> {
    Layout::of_this_kernel().map(|_| ())
}

/// What is known of lockdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// The mode in force: `none`, `integrity` or `confidentiality`.
    Mode(String),
    /// This kernel has none.
    Absent,
    /// The file system that would tell is not mounted.
    Unmounted,
    /// It does not tell, for this reason.
    Unreadable(io::ErrorKind),
}

/// What the kernel keeps even from root.
pub fn lockdown() -> Lockdown {
    match std::fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(modes) => modes
            .split_whitespace()
            .find_map(|mode| mode.strip_prefix('[')?.strip_suffix(']'))
            .map_or(Lockdown::Unreadable(io::ErrorKind::InvalidData), |mode| {
                Lockdown::Mode(mode.to_owned())
            }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Lockdown::Unreadable(error.kind()),
        Err(_) if mounted("securityfs").is_some() => Lockdown::Absent,
        Err(_) => Lockdown::Unmounted,
    }
}

/// Whether BPF programs are compiled to machine code. `None` where the kernel always does, or doesn't say.
pub fn jit() -> Option<bool> {
    let setting = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(setting.trim() != "0")
}

/// Makes the maps, the ring among them, and loads and attaches each program, one after the other; takes all back.
pub fn try_probes() -> Result<Vec<Tried>, LoadError> {
    trial::try_each()
}

/// Whether the time in faults can be had, found out on a thread of this process.
pub fn try_timing() -> Result<(), LoadError> {
    trial::try_timing()
}

/// How this kernel counts resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resident {
    /// By CPU, and the probes can add up so many parts, or have to leave them out.
    ByCpu {
        /// CPUs.
        cpus: u32,
        /// All parts are read.
        summed: bool,
    },
    /// By thread; what others keep to themselves is not read.
    ByThread,
    /// In neither way.
    Unknown,
}

/// How this kernel counts resident memory. Unknown, too, where it does not say anything about itself.
pub fn resident() -> Resident {
    match Layout::of_this_kernel().map(|layout| layout.rss) {
        Ok(rss) if rss.kept == RSS_BY_CPU => Resident::ByCpu {
            cpus: rss.cpus,
            summed: rss.cpus as usize <= RSS_CPUS_MAX,
        },
        Ok(rss) if rss.kept == RSS_BY_THREAD => Resident::ByThread,
        _ => Resident::Unknown,
    }
}

/// Where cgroup v2 is mounted.
pub fn cgroup2() -> Option<String> {
    mounted("cgroup2")
}

/// Where a file system of this type is mounted.
fn mounted(fs_type: &str) -> Option<String> {
    let mounts = Process::myself().and_then(|me| me.mountinfo()).ok()?;
    let mount = mounts.into_iter().find(|mount| mount.fs_type == fs_type)?;
    Some(mount.mount_point.display().to_string())
}

/// What can be seen of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "answers to separate questions")]
pub struct Visibility {
    /// Its `comm`.
    pub comm: String,
    /// Its threads.
    pub threads: usize,
    /// Its descriptors can be listed.
    pub descriptors: bool,
    /// Its mappings can be read.
    pub maps: bool,
    /// The TCP ports that it listens on.
    pub ports: Vec<u16>,
    /// Clients' connections that are open.
    pub connections: usize,
    /// A TLS library that it has mapped.
    pub tls: Option<String>,
    /// It has an `io_uring`.
    pub io_uring: bool,
    /// A 32-bit program: its system calls have other numbers.
    pub is_32_bit: bool,
}

/// Looks at a process as a run would.
pub fn visibility(tgid: Tgid) -> Option<Visibility> {
    let found = processes::process(tgid)?;
    let process = Process::new(i32::try_from(tgid.0).ok()?).ok()?;
    let maps = process.maps().ok();
    let library = |name: &str| name.starts_with("libssl") || name.starts_with("libgnutls");
    let tls = maps.iter().flatten().find_map(|map| match &map.pathname {
        MMapPath::Path(path) => path
            .file_name()?
            .to_str()
            .filter(|n| library(n))
            .map(ToOwned::to_owned),
        _ => None,
    });
    let sockets = processes::sockets(tgid);
    let mut ports: Vec<u16> = sockets
        .iter()
        .filter_map(|open| match open.socket {
            Socket::Listener { port } => port,
            _ => None,
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    Some(Visibility {
        comm: found.comm,
        threads: processes::threads(tgid).len(),
        descriptors: process.fd().is_ok(),
        maps: maps.is_some(),
        ports,
        connections: sockets
            .iter()
            .filter(|open| matches!(open.socket, Socket::Inbound { .. }))
            .count(),
        tls,
        io_uring: processes::has_io_uring(tgid),
        is_32_bit: processes::is_32_bit(tgid),
    })
}
