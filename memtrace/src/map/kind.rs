//! What each region is for.
//!
//! Owns the rules, which docs/MAP.md tells. Some of them are the kernel's own word, some are drawn from how regions lie
//! beside each other; where none holds, memory is called what it is, `mmap`. Must not know how a region reads.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Thread,
    smaps::{Flags, Mapping},
};
use crate::model::{
    maps::{MapsLine, printable},
    vma::{Backing, Files, Prot},
};

/// The most that lies below a stack to catch its overflow.
const GUARD_MAX: u64 = 1 << 20;
/// glibc's heaps of all arenas but the first begin at multiples of this and are no larger: `HEAP_MAX_SIZE` in
/// <https://elixir.bootlin.com/glibc/glibc-2.36/source/malloc/arena.c>, on 64-bit machines.
const ARENA: u64 = 64 << 20;
/// The size of a thread's stack where a program asks for none and there is no limit: `ARCH_STACK_DEFAULT_SIZE` of
/// glibc on x86-64, and what Rust asks for.
const STACK_USUAL: u64 = 2 << 20;
/// Where Go's heap begins, and how far it may come before its next hint: `mallocinit` in
/// <https://github.com/golang/go/blob/go1.23.0/src/runtime/malloc.go#L478>.
const GO_ARENAS: Range<u64> = 0xc0_0000_0000..0x1c0_0000_0000;

/// What a region is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// Between the program's first break and its break of now.
    Heap,
    /// A heap of glibc's malloc beside the first one.
    MallocArena,
    /// Private memory of no file, for whatever.
    Mmap,
    /// A thread's stack.
    Stack,
    /// What lies below a thread's stack so that its overflow is a fault.
    StackGuard,
    /// Code in a file.
    Text,
    /// A file's data, copied where it is written: also what may no longer be written once it has been linked.
    Data,
    /// A program's or library's variables that begin as zero.
    Bss,
    /// Executable memory of no file.
    Jit,
    /// What the kernel maps for itself: its code and its clocks.
    Vdso,
    /// Another part of a file, or a device.
    File,
    /// Memory that processes share.
    Shmem,
    /// Addresses that are taken, and that may not be used.
    Reserved,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Heap,
        Self::MallocArena,
        Self::Mmap,
        Self::Stack,
        Self::StackGuard,
        Self::Text,
        Self::Data,
        Self::Bss,
        Self::Jit,
        Self::Vdso,
        Self::File,
        Self::Shmem,
        Self::Reserved,
    ];

    /// As reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::MallocArena => "malloc arena",
            Self::Mmap => "mmap",
            Self::Stack => "stack",
            Self::StackGuard => "stack guard",
            Self::Text => "text",
            Self::Data => "data",
            Self::Bss => "bss",
            Self::Jit => "jit",
            Self::Vdso => "vdso",
            Self::File => "file",
            Self::Shmem => "shmem",
            Self::Reserved => "reserved",
        }
    }
}

/// What is known of a region's use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) kind: Type,
    /// The file's path.
    pub(super) path: Option<String>,
    /// What it is called, if it is no path.
    pub(super) name: Option<String>,
    /// The thread whose stack it is.
    pub(super) tid: Option<u32>,
}

/// What is known of the process beside its regions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) tgid: u32,
    pub(super) threads: &'a [Thread],
    /// How large a thread's stack is where its program asks for none.
    pub(super) stack_size: Option<u64>,
    pub(super) is_go: bool,
}

/// The uses of all mappings, in their order.
pub(super) fn uses(mappings: &[Mapping<'_>], known: Known<'_>) -> Vec<Use> {
    let mut files = Files::default();
    let backings: Vec<Backing> = mappings
        .iter()
        .map(|mapping| Backing::of_line(&mapping.line, &mut files))
        .collect();
    let mut uses: Vec<Use> = Vec::with_capacity(mappings.len());
    let stacks = Stacks::of(known.threads);
    for (index, (mapping, &backing)) in mappings.iter().zip(&backings).enumerate() {
        let below = index
            .checked_sub(1)
            .and_then(|before| Some((mappings.get(before)?, *backings.get(before)?)))
            .filter(|(before, _)| before.line.range.end == mapping.line.range.start);
        let above = mappings
            .get(index + 1)
            .filter(|after| after.line.range.start == mapping.line.range.end);
        let found = match backing {
            Backing::Anon => anonymous(mapping, below, above, uses.last(), &stacks, known),
            _ => named(mapping, backing, &stacks, known),
        };
        if found.kind == Type::Stack
            && let (Some((guard, Backing::Anon)), Some(last)) = (below, uses.last_mut())
            && is_guard(guard)
        {
            last.kind = Type::StackGuard;
            last.tid = found.tid;
            last.name.clone_from(&found.name);
        }
        uses.push(found);
    }
    uses
}

/// Threads by where their stack pointer is.
struct Stacks<'a>(BTreeMap<u64, &'a Thread>);

impl<'a> Stacks<'a> {
    fn of(threads: &'a [Thread]) -> Self {
        let pointers = threads.iter();
        Self(
            pointers
                .filter_map(|thread| Some((thread.stack_pointer?, thread)))
                .collect(),
        )
    }

    /// A thread that stands in there, the topmost: the others use it by turns.
    fn within(&self, range: &Range<u64>) -> Option<&'a Thread> {
        self.0.range(range.clone()).next_back().map(|(_, thread)| *thread)
    }
}

/// What the kernel's own word is enough for.
fn named(mapping: &Mapping<'_>, backing: Backing, stacks: &Stacks<'_>, known: Known<'_>) -> Use {
    let line = &mapping.line;
    let name = name_of(line);
    let plain = |kind| Use {
        kind,
        path: None,
        name: name.clone(),
        tid: None,
    };
    match backing {
        Backing::Heap => plain(Type::Heap),
        // The first thread's, wherever that is.
        Backing::Stack if line.name == b"[stack]" => {
            stack(known.threads.iter().find(|thread| thread.tid == known.tgid), name)
        }
        Backing::Stack => stack(stacks.within(&line.range), name),
        Backing::Vdso | Backing::Special => plain(Type::Vdso),
        Backing::Anon => plain(Type::Mmap),
        Backing::Shmem(file) => Use {
            path: file.map(|_| printable(line.name)),
            ..plain(Type::Shmem)
        },
        Backing::File(_) => Use {
            path: Some(printable(line.name)),
            ..plain(file(line, mapping.flags))
        },
    }
}

fn file(line: &MapsLine<'_>, flags: Flags) -> Type {
    if line.prot.exec() {
        Type::Text
    } else if !line.shared && (line.prot.write() || flags.accountable) {
        Type::Data
    } else {
        Type::File
    }
}

fn stack(thread: Option<&Thread>, name: Option<String>) -> Use {
    Use {
        kind: Type::Stack,
        path: None,
        name: thread
            .map(|thread| format!("thread {} {}", thread.tid, thread.comm))
            .or(name),
        tid: thread.map(|thread| thread.tid),
    }
}

/// Private memory of no file.
fn anonymous(
    mapping: &Mapping<'_>,
    below: Option<(&Mapping<'_>, Backing)>,
    above: Option<&Mapping<'_>>,
    last: Option<&Use>,
    stacks: &Stacks<'_>,
    known: Known<'_>,
) -> Use {
    let line = &mapping.line;
    let name = name_of(line);
    let plain = |kind, name| Use {
        kind,
        path: None,
        name,
        tid: None,
    };
    let is_go = known.is_go && GO_ARENAS.contains(&line.range.start);
    let go = || is_go.then(|| "Go arena".to_owned());
    if line.prot.exec() {
        return plain(Type::Jit, name);
    }
    if line.prot == Prot::NONE {
        let is_rest = last.is_some_and(|last| last.kind == Type::MallocArena) && below.is_some();
        let rest = is_rest.then(|| "rest of the malloc arena".to_owned());
        return plain(Type::Reserved, name.or(rest).or_else(go));
    }
    // Stacks of goroutines are in there.
    if is_go {
        return plain(Type::Mmap, name.or_else(go));
    }
    if let Some(thread) = stacks.within(&line.range) {
        return stack(Some(thread), name);
    }
    if is_arena(line, above) || line.name.starts_with(b"[anon: glibc: malloc arena") {
        return plain(Type::MallocArena, name);
    }
    let has_guard = below.is_some_and(|(below, backing)| backing == Backing::Anon && is_guard(below));
    let size = line.range.end - line.range.start;
    let is_stack_size = size == STACK_USUAL || known.stack_size == Some(size);
    if has_guard && line.prot.write() && (mapping.flags.no_huge_pages || is_stack_size) {
        return stack(None, name);
    }
    if let (Some((below, Backing::File(_))), Some(last)) = (below, last)
        && last.kind == Type::Data
        && below.line.prot.write()
    {
        return Use {
            path: last.path.clone(),
            ..plain(Type::Bss, name)
        };
    }
    plain(Type::Mmap, name)
}

/// It may not be used, and lies below something.
fn is_guard(mapping: &Mapping<'_>) -> bool {
    let Range { start, end } = mapping.line.range;
    mapping.line.prot == Prot::NONE && end - start <= GUARD_MAX
}

/// It begins where a heap of an arena does, and it and what is reserved behind it take the room that a heap has; a guard
/// above that may have become one with it.
fn is_arena(line: &MapsLine<'_>, above: Option<&Mapping<'_>>) -> bool {
    let Range { start, end } = line.range;
    let is_read_write = line.prot == Prot::new(true, true, false);
    let rest = above.filter(|above| above.line.prot == Prot::NONE && above.line.name.is_empty());
    let room = rest.map_or(end, |rest| rest.line.range.end) - start;
    let fits = end - start <= ARENA && (ARENA..=ARENA + GUARD_MAX).contains(&room);
    is_read_write && start.is_multiple_of(ARENA) && fits
}

/// The name that the kernel has for memory of no file: what a program gave it, or `[vvar]`.
fn name_of(line: &MapsLine<'_>) -> Option<String> {
    let name = line.name.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let given = [&b"anon:"[..], b"anon_shmem:"];
    let given = given.iter().find_map(|prefix| name.strip_prefix(*prefix));
    match (given, name) {
        (Some(given), _) => Some(printable(given.trim_ascii())),
        (None, b"heap" | b"stack") => None,
        (None, name) => Some(printable(name)),
    }
}
