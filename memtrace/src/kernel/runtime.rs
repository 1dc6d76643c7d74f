//! What runs in the processes that are traced: executables, and the variables that move how they use memory.
//!
//! Owns which variables those are, and how an executable's build is told. Must not know what it is wanted for.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Write as _,
    fs::File,
    os::unix::fs::MetadataExt as _,
};

use memtrace_common::Tgid;
use object::{Object as _, ReadCache};

use crate::record::Program;

/// Executables that are told apart; further ones are not told of.
const PROGRAMS_MAX: usize = 64;
/// A name or a value is no longer than this, bytes.
const TEXT_MAX: usize = 256;
/// Of allocators (glibc, jemalloc, mimalloc, tcmalloc) and of languages (Go, JavaScript, Python, Ruby).
const VARIABLES: [&str; 9] = [
    "GLIBC_TUNABLES",
    "GOGC",
    "GOMEMLIMIT",
    "LD_PRELOAD",
    "MALLOC_CONF",
    "NODE_OPTIONS",
    "PYTHONMALLOC",
    "PYTHONMALLOCSTATS",
    "_RJEM_MALLOC_CONF",
];
/// Whatever begins like this.
const FAMILIES: [&str; 4] = ["MALLOC_", "MIMALLOC_", "RUBY_GC_", "TCMALLOC_"];

/// Those that have been seen.
#[derive(Debug, Default)]
pub(super) struct Runtimes {
    /// By device and inode.
    seen: HashSet<(u64, u64)>,
    programs: BTreeMap<String, Program>,
}

impl Runtimes {
    /// None so far, and memtrace, as which a COMMAND begins, will not be one.
    pub(super) fn but_ours() -> Self {
        let ours = std::fs::metadata("/proc/self/exe");
        Self {
            seen: ours.map(|ours| (ours.dev(), ours.ino())).into_iter().collect(),
            programs: BTreeMap::new(),
        }
    }

    /// A process has become a target, or runs something else. It may be gone.
    pub(super) fn see(&mut self, tgid: Tgid) {
        let path = format!("/proc/{}/exe", tgid.0);
        let Ok(found) = std::fs::metadata(&path) else {
            return;
        };
        if self.seen.len() >= PROGRAMS_MAX || !self.seen.insert((found.dev(), found.ino())) {
            return;
        }
        let Some(name) = name(&path) else { return };
        let program = Program {
            build: build(&path),
            settings: settings(tgid),
        };
        self.programs.entry(name).or_insert(program);
    }

    /// All of them, by the executables' base names.
    pub(super) fn programs(&self) -> BTreeMap<String, Program> {
        self.programs.clone()
    }
}

fn name(link: &str) -> Option<String> {
    let target = std::fs::read_link(link).ok()?;
    let name = target.file_name()?.to_string_lossy();
    let name = name.trim_end_matches(" (deleted)");
    (name.len() <= TEXT_MAX).then(|| name.to_owned())
}

/// The identity that the linker gave it (`NT_GNU_BUILD_ID`), in hexadecimal digits as elsewhere.
fn build(path: &str) -> Option<String> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let id = file.build_id().ok()??;
    if id.is_empty() || id.len() > TEXT_MAX / 2 {
        return None;
    }
    let mut digits = String::new();
    for byte in id {
        let _ = write!(digits, "{byte:02x}");
    }
    Some(digits)
}

/// As the program found them when it began.
fn settings(tgid: Tgid) -> BTreeMap<String, String> {
    let environ = std::fs::read(format!("/proc/{}/environ", tgid.0)).unwrap_or_default();
    let variables = environ.split(|&byte| byte == 0);
    variables
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .filter(|(name, value)| moves_memory(name) && name.len() + value.len() <= TEXT_MAX)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn moves_memory(name: &str) -> bool {
    VARIABLES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_a_program() {
        let mut runtimes = Runtimes::default();
        runtimes.see(Tgid(std::process::id()));
        runtimes.see(Tgid(std::process::id()));
        let programs = runtimes.programs();
        let name = std::env::current_exe().unwrap();
        let name = name.file_name().unwrap().to_str().unwrap();
        assert_eq!(programs.keys().map(String::as_str).collect::<Vec<_>>(), [name]);
        runtimes.see(Tgid(u32::MAX));
        assert_eq!(runtimes.programs().len(), 1, "nobody has this number");
        let mut others = Runtimes::but_ours();
        others.see(Tgid(std::process::id()));
        assert!(others.programs().is_empty());
    }

    #[test]
    fn only_variables_about_memory_are_read() {
        for name in [
            "MALLOC_ARENA_MAX",
            "MALLOC_MMAP_THRESHOLD_",
            "GLIBC_TUNABLES",
            "GOGC",
        ] {
            assert!(moves_memory(name), "{name}");
        }
        for name in [
            "PATH",
            "AWS_SECRET_ACCESS_KEY",
            "JAVA_TOOL_OPTIONS",
            "malloc_",
            "",
        ] {
            assert!(!moves_memory(name), "{name}");
        }
    }
}
