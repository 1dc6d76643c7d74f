//! What a run of memtrace could leave behind: programs in the kernel, processes, files.
//!
//! Owns finding them. Must not know how memtrace is made to end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Array, HashMap, Map, MapData, MapType, loaded_maps};
use aya::programs::{loaded_links, loaded_programs};

/// The kernel frees programs and maps a little after their last descriptor is closed.
const FREED_WITHIN: Duration = Duration::from_secs(20);
/// A program that is just starting has its arguments by then.
const EXEC_WITHIN: Duration = Duration::from_secs(1);

/// Ids of BPF objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bpf {
    /// Programs.
    pub programs: BTreeSet<u32>,
    /// Attachments.
    pub links: BTreeSet<u32>,
    /// Maps.
    pub maps: BTreeSet<u32>,
}

impl Bpf {
    /// All that the kernel has. Takes root.
    pub fn loaded() -> Bpf {
        // What goes while it is listed is left out.
        Bpf {
            programs: loaded_programs().flatten().map(|program| program.id()).collect(),
            links: loaded_links().flatten().map(|link| link.id()).collect(),
            maps: loaded_maps().flatten().map(|map| map.id()).collect(),
        }
    }

    /// The same without what does nothing by itself.
    fn running() -> Bpf {
        Bpf {
            maps: BTreeSet::new(),
            ..Bpf::loaded()
        }
    }

    /// What this process's descriptors hold.
    pub fn held_by(pid: u32) -> Bpf {
        let mut held = Bpf::default();
        for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in text.lines() {
                let Some((key, id)) = line.split_once(':') else {
                    continue;
                };
                let set = match key {
                    "prog_id" => &mut held.programs,
                    "link_id" => &mut held.links,
                    "map_id" => &mut held.maps,
                    _ => continue,
                };
                set.extend(id.trim().parse::<u32>());
            }
        }
        held
    }

    /// What any process holds.
    fn held() -> Bpf {
        let mut all = Bpf::default();
        for pid in pids() {
            let held = Bpf::held_by(pid);
            all.programs.extend(held.programs);
            all.links.extend(held.links);
            all.maps.extend(held.maps);
        }
        all
    }

    fn and(&self, other: &Bpf) -> Bpf {
        Bpf {
            programs: &self.programs & &other.programs,
            links: &self.links & &other.links,
            maps: &self.maps & &other.maps,
        }
    }

    fn without(&self, other: &Bpf) -> Bpf {
        Bpf {
            programs: &self.programs - &other.programs,
            links: &self.links - &other.links,
            maps: &self.maps - &other.maps,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Bpf::default()
    }

    /// Fails the test unless all of these go, soon.
    #[track_caller]
    pub fn assert_freed(&self) {
        let deadline = Instant::now() + FREED_WITHIN;
        loop {
            let left = self.and(&Bpf::loaded());
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still in the kernel: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// How many elements a map has that a process holds; in an array, those that are not zero.
#[track_caller]
pub fn entries(pid: u32, name: &str) -> usize {
    let held = Bpf::held_by(pid).maps;
    let map = loaded_maps()
        .flatten()
        .find(|map| held.contains(&map.id()) && map.name_as_str() == Some(name))
        .unwrap_or_else(|| panic!("process {pid} has no map {name}"));
    let data = MapData::from_id(map.id()).expect("the map");
    if map.map_type().ok() == Some(MapType::Array) {
        let array = Array::<MapData, u32>::try_from(Map::Array(data)).expect("an array of numbers");
        let elements = array.iter().map(|element| element.expect("an element"));
        return elements.filter(|&element| element != 0).count();
    }
    match (map.key_size(), map.value_size()) {
        (4, 16) => keys::<4, 16>(data),
        (8, 32) => keys::<8, 32>(data),
        sizes => panic!("a map of other sizes: {sizes:?}"),
    }
}

fn keys<const K: usize, const V: usize>(data: MapData) -> usize {
    HashMap::<MapData, [u8; K], [u8; V]>::try_from(Map::HashMap(data))
        .expect("a hash map of these sizes")
        .keys()
        .flatten()
        .count()
}

/// What there was before a run. Programs and attachments alone: a map may be held by a mapping, which no descriptor
/// shows, and goes when the programs that use it are gone.
pub struct Before(Bpf);

impl Before {
    /// Takes root.
    pub fn now() -> Before {
        Before(Bpf::running())
    }

    /// Fails the test unless all that is in the kernel since, and stays, is held by a process that runs. (Another
    /// test's memtrace may run meanwhile.)
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let deadline = Instant::now() + FREED_WITHIN;
        let mut orphans = Bpf::running().without(&self.0);
        loop {
            orphans = orphans.and(&Bpf::running().without(&Bpf::held()));
            if orphans.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "in the kernel, and held by no process: {orphans:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All processes.
fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// An argument that no other process has: a time for `sleep` that is long.
pub fn marker() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("1000.{:010}{count:04}", std::process::id())
}

/// A process's arguments; none where it is gone, a zombie or a kernel thread.
///
/// One that is just becoming another program has its parent's for a moment, then none, and then its own: where it has
/// none it is asked again.
pub fn arguments(pid: u32) -> Vec<String> {
    let deadline = Instant::now() + EXEC_WITHIN;
    loop {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<_> = bytes
            .split(|&byte| byte == 0)
            .filter(|argument| !argument.is_empty())
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        if !arguments.is_empty() || !has_program(pid) || Instant::now() > deadline {
            return arguments;
        }
        std::thread::yield_now();
    }
}

/// Does it run a program? A zombie, a kernel thread and one that is gone do not.
fn has_program(pid: u32) -> bool {
    /// See `flags` in `proc_pid_stat(5)`.
    const PF_KTHREAD: u32 = 0x0020_0000;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces and brackets; the state follows its last bracket, the flags come six fields later.
    let mut fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace();
    let state = fields.next();
    let flags: Option<u32> = fields.nth(5).and_then(|flags| flags.parse().ok());
    !matches!(state, None | Some("Z" | "X")) && flags.is_some_and(|flags| flags & PF_KTHREAD == 0)
}

/// Is this one that waits for memtrace's word before it becomes the COMMAND?
pub fn is_held(pid: u32) -> bool {
    arguments(pid).get(1).is_some_and(|argument| argument == "hold")
}

/// Processes other than `but` one of whose arguments is `marker`.
pub fn processes_with(marker: &str, but: u32) -> Vec<u32> {
    let mut pids = pids();
    pids.retain(|&pid| pid != but && arguments(pid).iter().any(|argument| argument == marker));
    pids
}

/// Fails the test unless no process has `marker` among its arguments, soon.
#[track_caller]
pub fn assert_no_process_with(marker: &str) {
    let deadline = Instant::now() + FREED_WITHIN;
    loop {
        let left = processes_with(marker, 0);
        if left.is_empty() {
            return;
        }
        let shown: Vec<_> = left.iter().map(|&pid| (pid, arguments(pid))).collect();
        assert!(Instant::now() < deadline, "still there: {shown:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_just_starts_has_its_arguments() {
        let ours = arguments(std::process::id());
        for _ in 0..100 {
            let mark = marker();
            let mut child = std::process::Command::new("sleep")
                .arg(&mark)
                .spawn()
                .expect("it works");
            // A parent goes on as soon as its child lets go of the memory that they share until then, which is before
            // the child has its own: https://elixir.bootlin.com/linux/v6.12/source/fs/exec.c (exec_mmap).
            let found = loop {
                let found = arguments(child.id());
                if found != ours {
                    break found;
                }
            };
            child.kill().expect("it works");
            child.wait().expect("it works");
            assert_eq!(found, ["sleep", &mark]);
            assert_eq!(arguments(child.id()), [""; 0], "it is gone");
        }
    }
}
