//! The regions of a process's memory: what each is, and where.
//!
//! Owns what is said of one region, and how `/proc/PID/maps` names it. Must not know faults, nor where the calls
//! come from that change it.
//!
//! - `files`: the paths of mapped files
//! - `prot`: read, write, execute
//! - `regions`: ranges that do not overlap
//! - `space`: all regions of a process, kept by its calls

mod files;
mod prot;
mod regions;
mod space;
#[cfg(test)]
mod tests;

pub use self::{
    files::{FILES_BYTES_MAX, FILES_MAX, FileId, Files},
    prot::Prot,
    space::{AddressSpace, MAP_ANONYMOUS, MAP_SHARED, REGIONS_MAX, Seeded},
};
use super::maps::MapsLine;

/// The page size of x86-64, in bytes: what the kernel rounds lengths of mappings up to.
pub const PAGE: u64 = 4096;

/// What a region's pages come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Private memory of no file: `mmap(MAP_PRIVATE | MAP_ANONYMOUS)`, the end of a program's data, `/dev/zero`.
    Anon,
    /// Between the program's first break and its break of now: `brk`.
    Heap,
    /// The first thread's stack, memory that was mapped with `MAP_STACK` or `MAP_GROWSDOWN`, or where a thread's
    /// stack pointer was found.
    Stack,
    /// A file, or a device. On a tmpfs other than `/dev/shm` it is one too: its path does not tell.
    File(FileId),
    /// Shared memory: `mmap(MAP_SHARED | MAP_ANONYMOUS)`, which has no path; `memfd_create`, System V, `/dev/shm`.
    Shmem(Option<FileId>),
    /// The kernel's code that programs call: `[vdso]`.
    Vdso,
    /// What else the kernel mapped: `[vvar]`, `[vvar_vclock]`, `[vsyscall]`, `[uprobes]`.
    Special,
}

impl Backing {
    /// What the name in a line of `/proc/PID/maps` says.
    pub fn of_line(line: &MapsLine<'_>, files: &mut Files) -> Self {
        let name = line.name;
        let begins = |prefix: &[u8]| name.starts_with(prefix);
        match name {
            b"" => Self::Anon,
            b"[heap]" => Self::Heap,
            b"[vdso]" => Self::Vdso,
            _ if begins(b"[stack") || is_stack_name(name) => Self::Stack,
            _ if begins(b"[anon:") => Self::Anon,
            _ if begins(b"[anon_shmem:") => Self::Shmem(None),
            _ if begins(b"[") => Self::Special,
            _ => Self::of_path(name, line.shared, files),
        }
    }

    /// What is mapped from a descriptor: its path as in `/proc/PID/maps` or in `/proc/PID/fd`, which write it alike,
    /// and whether with `MAP_SHARED`.
    pub fn of_path(path: &[u8], shared: bool, files: &mut Files) -> Self {
        // A private mapping of /dev/zero is anonymous in all but name, a shared one an object of its own: `mmap_zero`
        // in <https://elixir.bootlin.com/linux/v6.12/source/drivers/char/mem.c>. The other is `MAP_HUGETLB`'s.
        let stem = path.strip_suffix(b" (deleted)").unwrap_or(path);
        if matches!(stem, b"/dev/zero" | b"/anon_hugepage") {
            return if shared { Self::Shmem(None) } else { Self::Anon };
        }
        let id = files.intern(path);
        let is_shmem = path.starts_with(b"/memfd:") || path.starts_with(b"/dev/shm/") || is_system_v(path);
        if is_shmem {
            Self::Shmem(Some(id))
        } else {
            Self::File(id)
        }
    }

    /// Private memory of no file, whatever it is used for.
    pub fn is_anon(self) -> bool {
        matches!(self, Self::Anon | Self::Heap | Self::Stack)
    }

    /// Its pages are those of a file from some offset on.
    pub fn has_offset(self) -> bool {
        matches!(self, Self::File(_) | Self::Shmem(_))
    }
}

/// Whether a name that a program gave to anonymous memory says that it is a thread's stack: glibc's does, where the
/// tunable `glibc.mem.decorate_maps` is set.
fn is_stack_name(name: &[u8]) -> bool {
    name.starts_with(b"[anon: glibc: pthread stack")
}

/// `/SYSV`, the key in eight digits, ` (deleted)`: `newseg` in
/// <https://elixir.bootlin.com/linux/v6.12/source/ipc/shm.c>.
fn is_system_v(path: &[u8]) -> bool {
    path.strip_prefix(b"/SYSV")
        .and_then(|rest| rest.strip_suffix(b" (deleted)"))
        .is_some_and(|key| key.len() == 8 && key.iter().all(u8::is_ascii_hexdigit))
}

/// A region: a `vm_area_struct`, as far as it can be known from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vma {
    /// What an access may do.
    pub prot: Prot,
    /// `MAP_SHARED`: writes are seen by everyone who maps the same.
    pub shared: bool,
    /// Where its pages come from.
    pub backing: Backing,
    /// It is or was executable, as far back as is known. False for all but anonymous memory.
    pub ever_exec: bool,
    /// It grows when a fault is taken below it: `VM_GROWSDOWN`.
    pub grows_down: bool,
    /// Where in the file its first page is, in bytes. 0 where there is none.
    pub offset: u64,
}

impl Vma {
    /// A region of these properties. What its backing cannot have is left out.
    pub fn new(prot: Prot, shared: bool, backing: Backing, offset: u64) -> Self {
        Self {
            prot,
            shared,
            backing,
            ever_exec: backing.is_anon() && prot.exec(),
            grows_down: false,
            offset: if backing.has_offset() { offset } else { 0 },
        }
    }

    /// What is `bytes` behind its beginning.
    fn from(self, bytes: u64) -> Self {
        Self {
            offset: if self.backing.has_offset() {
                self.offset.wrapping_add(bytes)
            } else {
                0
            },
            ..self
        }
    }

    fn protect(&mut self, prot: Prot) {
        self.prot = prot;
        self.ever_exec |= self.backing.is_anon() && prot.exec();
    }

    /// The same as it is where `mremap` moved it: only memory below the break is heap.
    fn moved(self) -> Self {
        Self {
            backing: match self.backing {
                Backing::Heap => Backing::Anon,
                other => other,
            },
            ..self
        }
    }

    /// As much as `/proc/PID/maps` tells: what a use of anonymous memory is, is our own knowledge.
    fn plain(self) -> Self {
        Self {
            backing: if self.backing.is_anon() {
                Backing::Anon
            } else {
                self.backing
            },
            ever_exec: false,
            grows_down: false,
            ..self
        }
    }
}

/// The kinds of regions that reports tell apart. docs/LEDGER.md says what each can and cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Region {
    /// [`Backing::Heap`]
    Heap,
    /// [`Backing::Anon`] that never was executable.
    Anon,
    /// [`Backing::Stack`]
    Stack,
    /// [`Backing::File`]
    File,
    /// [`Backing::Anon`] that is or was executable: what a compiler at run time writes its code to.
    Jit,
    /// [`Backing::Shmem`]
    Shmem,
    /// What the kernel mapped: [`Backing::Vdso`] and [`Backing::Special`].
    Vdso,
    /// No region is known there.
    Unmapped,
}

impl Region {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::Heap,
        Self::Anon,
        Self::Stack,
        Self::File,
        Self::Jit,
        Self::Shmem,
        Self::Vdso,
        Self::Unmapped,
    ];

    /// What an address is in, from what was found there.
    pub fn of(vma: Option<&Vma>) -> Self {
        let Some(vma) = vma else {
            return Self::Unmapped;
        };
        match vma.backing {
            Backing::Heap => Self::Heap,
            Backing::Anon if vma.ever_exec => Self::Jit,
            Backing::Anon => Self::Anon,
            Backing::Stack => Self::Stack,
            Backing::File(_) => Self::File,
            Backing::Shmem(_) => Self::Shmem,
            Backing::Vdso | Backing::Special => Self::Vdso,
        }
    }

    /// Its key in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Anon => "anon",
            Self::Stack => "stack",
            Self::File => "file",
            Self::Jit => "jit",
            Self::Shmem => "shmem",
            Self::Vdso => "vdso",
            Self::Unmapped => "unmapped",
        }
    }
}
