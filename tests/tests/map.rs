//! `memtrace map` against what the kernel says of real servers, and of ones that are about to end.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Instant;

use memtrace_tests::denied::as_nobody;
use memtrace_tests::leftover::arguments;
use memtrace_tests::map::{Map, Stopped, signal};
use memtrace_tests::memtrace::run;
use memtrace_tests::node::{Saju, press};
use memtrace_tests::process::Running;
use memtrace_tests::require_root;
use memtrace_tests::server::Server;
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::Signal;
use serde_json::Value;

/// What `/proc/PID/smaps` says of each mapping, by its own reading: the first line, and kB by name.
fn smaps(pid: u32) -> Vec<(String, Vec<(String, u64)>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("its smaps");
    let mut mappings: Vec<(String, Vec<(String, u64)>)> = Vec::new();
    for line in text.lines() {
        match line.split_once(':') {
            Some((name, value)) if line.starts_with(|c: char| c.is_ascii_uppercase()) => {
                if let Some(kb) = value.trim().strip_suffix(" kB") {
                    let (_, fields) = mappings.last_mut().expect("a mapping");
                    fields.push((name.to_owned(), kb.parse().expect("a number")));
                }
            }
            _ => mappings.push((line.to_owned(), Vec::new())),
        }
    }
    mappings
}

/// Holds the map of a process that is stopped to what the kernel says, to the byte.
#[track_caller]
fn assert_equals_smaps(pid: u32) -> Map {
    let _stopped = Stopped::new(pid);
    let map = Map::read(pid);
    let mappings = smaps(pid);
    assert_eq!((map.pid, map.regions.len()), (pid, mappings.len()));
    for (region, (line, fields)) in map.regions.iter().zip(&mappings) {
        let bytes = |names: &[&str]| -> u64 {
            let fields = fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
            fields.map(|(_, kb)| kb * 1024).sum()
        };
        let hexadecimal =
            |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("an address");
        let (start, end) = (hexadecimal(&region.start), hexadecimal(&region.end));
        assert!(
            line.starts_with(&format!("{start:08x}-{end:08x} {}", region.prot)),
            "{line}: {region:?}"
        );
        let told = [region.size, region.resident, region.dirty, region.swapped];
        let size = bytes(&["Size"]);
        let dirty = bytes(&["Shared_Dirty", "Private_Dirty"]);
        assert_eq!(told, [size, bytes(&["Rss"]), dirty, bytes(&["Swap"])], "{line}");
        assert_eq!(size, end - start, "{line}");
        // bss is beside its file, not of it.
        if let Some(path) = region.path.as_ref().filter(|_| region.r#type != "bss") {
            assert!(line.ends_with(path), "{line}: {path}");
        }
    }
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its sum");
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let rss = rss.and_then(|rss| rss.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert_eq!(Some(map.totals.all.resident), rss.map(|kb| kb * 1024));
    assert_eq!(map.totals.all.regions, map.regions.len());
    map
}

/// All types that a map has.
fn types(map: &Map) -> BTreeSet<&str> {
    map.regions.iter().map(|region| region.r#type.as_str()).collect()
}

/// Every thread has a stack of its own, by its id and its name.
#[track_caller]
fn assert_threads_have_stacks(map: &Map) {
    let tasks = fs::read_dir(format!("/proc/{}/task", map.pid))
        .expect("it runs")
        .flatten();
    for task in tasks {
        let comm = fs::read_to_string(task.path().join("comm")).expect("a name");
        let tid: u32 = task
            .file_name()
            .to_str()
            .and_then(|tid| tid.parse().ok())
            .expect("an id");
        let named = format!("thread {tid} {}", comm.trim_end());
        let mut stacks = map
            .regions
            .iter()
            .filter(|region| region.tid == Some(tid) && region.r#type == "stack");
        assert!(
            stacks.any(|stack| stack.name.as_ref() == Some(&named)),
            "no stack of {named}: {:#?}",
            map.regions
        );
    }
}

#[test]
fn a_rust_servers_regions_are_those_of_smaps() {
    let workload = Workload::start(Mode::Threads);
    let _clients: Vec<_> = (0..3).map(|_| workload.client()).collect();
    let map = assert_equals_smaps(workload.pid());
    let expected = [
        "bss",
        "data",
        "file",
        "heap",
        "mmap",
        "stack",
        "stack guard",
        "text",
        "vdso",
    ];
    assert!(types(&map).is_superset(&expected.into()), "{:?}", types(&map));
    assert_threads_have_stacks(&map);
}

#[test]
#[ignore = "needs root and node"]
fn nodes_regions_are_those_of_smaps() {
    require_root();
    let saju = Saju::start(&[]);
    press(&mut saju.client(), "Mina").expect("a reading");
    let map = assert_equals_smaps(saju.pid());
    for r#type in ["heap", "jit", "malloc arena", "stack guard", "reserved"] {
        assert!(types(&map).contains(r#type), "no {}: {:?}", r#type, types(&map));
    }
    assert_threads_have_stacks(&map);
}

#[test]
#[ignore = "needs root and python3"]
fn pythons_regions_are_those_of_smaps() {
    require_root();
    let server = Server::shapes([""]);
    server.client().get("/any/200/10").expect("an answer");
    let map = assert_equals_smaps(server.pid());
    assert!(types(&map).contains("data"), "{:?}", types(&map));
    assert_threads_have_stacks(&map);
}

#[test]
fn pages_that_are_kept_are_in_its_map_to_the_page() {
    const PAGES: u64 = 1234;
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let before = Map::read(workload.pid());
    client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
    let after = Map::read(workload.pid());
    let more = PAGES * 4096;
    assert_eq!(after.resident("mmap") - before.resident("mmap"), more);
    assert_eq!(
        after.totals.writable.resident - before.totals.writable.resident,
        more
    );
}

#[test]
fn regions_by_the_ten_thousand_are_all_there() {
    const PAGES: usize = 20_000;
    let workload = Workload::start(Mode::Loop);
    let mut client = workload.client();
    let before = Map::read(workload.pid());
    client.get(&format!("/scatter?pages={PAGES}")).expect("an answer");
    let after = assert_equals_smaps(workload.pid());
    let more = after.regions.len() - before.regions.len();
    // The first or the last may have become one with what was there.
    assert!((PAGES - 2..=PAGES).contains(&more), "{more} regions more");
    assert_eq!(
        after.resident("mmap") - before.resident("mmap"),
        PAGES as u64 * 4096
    );
}

#[test]
fn a_summary_has_the_sums_alone() {
    let workload = Workload::start(Mode::Loop);
    let pid = workload.pid().to_string();
    let run = run(["map", "--pid", &pid, "--summary", "--format", "json"]);
    run.assert_status(0);
    let value: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert!(value["regions"].is_null(), "{value}");
    assert!(value["totals"]["all"]["resident"].as_u64().expect("a size") > 0);
}

/// Some are gone before they are looked at, some while they are read: it is all of a map, or none.
#[test]
fn of_one_that_ends_meanwhile_there_is_a_whole_map_or_an_error() {
    const MOMENTS: u32 = 120;
    let map = |pid: u32| run(["map", "--pid", &pid.to_string(), "--format", "json"]);
    let start = Instant::now();
    map(std::process::id()).assert_status(0);
    // From the beginning to well after the end.
    let step = start.elapsed() * 2 / MOMENTS;
    let (mut whole, mut refused) = (0, 0);
    for moment in 0..MOMENTS {
        let sleeper = Running::start(Command::new("sleep").arg("1000"));
        let pid = sleeper.pid();
        // Until it runs its program it has less of a map.
        while arguments(pid).first().is_none_or(|program| program != "sleep") {}
        let killer = thread::spawn(move || {
            thread::sleep(step * moment);
            signal(pid, Signal::KILL);
        });
        let run = map(pid);
        killer.join().expect("it works");
        sleeper.finish();
        if run.status.code() == Some(0) {
            whole += 1;
            let map = Map::of(&run);
            let has = |r#type: &str| map.regions.iter().any(|region| region.r#type == r#type);
            run.assert(has("text") && has("stack") && has("vdso"), "half a map");
        } else {
            refused += 1;
            run.assert_status(2);
            run.assert(
                run.stdout.is_empty() && run.stderr.contains("\nhint: "),
                "no hint",
            );
        }
    }
    assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
}

#[test]
#[ignore = "needs root"]
fn another_users_process_is_refused_without_the_right() {
    require_root();
    let workload = Workload::start(Mode::Loop);
    let (mut command, _folder) = as_nobody(["map", "--pid", &workload.pid().to_string()]);
    let run = Running::start(&mut command).finish();
    run.assert_status(2);
    let is_said =
        run.stderr.contains("may not look into it") && run.stderr.contains("hint: run it with sudo");
    run.assert(is_said && run.stdout.is_empty(), "not why, or not what to do");
}
