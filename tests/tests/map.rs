//! `memtrace map` against what the kernel says of real servers, and of ones that are about to end.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use memtrace_tests::denied::{NOBODY, as_nobody};
use memtrace_tests::memtrace::{Memtrace, run};
use memtrace_tests::node::{Saju, press};
use memtrace_tests::process::{Finished, Running};
use memtrace_tests::require_root;
use memtrace_tests::server::Server;
use memtrace_tests::workload::{Mode, Workload};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/schema/map.schema.json");

/// As far as tests look into it.
#[derive(Debug, Deserialize)]
struct Map {
    pid: u32,
    regions: Vec<Region>,
    totals: Totals,
}

#[derive(Debug, Deserialize)]
struct Region {
    start: String,
    end: String,
    size: u64,
    resident: u64,
    dirty: u64,
    swapped: u64,
    prot: String,
    r#type: String,
    path: Option<String>,
    name: Option<String>,
    tid: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Totals {
    all: Sum,
    writable: Sum,
}

#[derive(Debug, Deserialize)]
struct Sum {
    regions: usize,
    resident: u64,
}

/// What a run that succeeded has printed, which follows the schema.
#[track_caller]
fn valid(run: &Finished) -> Value {
    run.assert_status(0);
    let value: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let schema = serde_json::from_str(SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    if let Err(error) = validator.validate(&value) {
        panic!("{error} at {}", error.instance_path());
    }
    value
}

impl Map {
    /// Of a run that succeeded.
    #[track_caller]
    fn of(run: &Finished) -> Map {
        serde_json::from_value(valid(run)).expect("a map")
    }

    #[track_caller]
    fn read(pid: u32) -> Map {
        Map::of(&run(["map", "--pid", &pid.to_string(), "--format", "json"]))
    }

    fn resident(&self, r#type: &str) -> u64 {
        let regions = self.regions.iter().filter(|region| region.r#type == r#type);
        regions.map(|region| region.resident).sum()
    }
}

/// Pages, as far as tests look into them.
#[derive(Debug, Deserialize)]
struct Frames {
    pages: Vec<Page>,
}

#[derive(Debug, Deserialize)]
struct Page {
    address: String,
    frame: Option<String>,
    state: String,
    of: Option<String>,
    mappings: Option<u64>,
    exclusive: Option<bool>,
    huge: Option<bool>,
}

impl Frames {
    /// Of a region.
    #[track_caller]
    fn read(pid: u32, region: &Region) -> Frames {
        let span = format!("{}+{}", region.start, region.size);
        let run = run([
            "map",
            "--pid",
            &pid.to_string(),
            "--frames",
            &span,
            "--format",
            "json",
        ]);
        serde_json::from_value(valid(&run)).expect("pages")
    }

    fn present(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().filter(|page| page.state == "present")
    }
}

/// What changed, as far as tests look into it.
#[derive(Debug, Deserialize)]
struct Changes {
    request: Option<Value>,
    faults: Taken,
    between: Taken,
    regions: Vec<Change>,
    totals: Totalled,
    complete: bool,
}

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "change")]
    what: String,
    r#type: String,
    before: Option<Side>,
    after: Option<Side>,
    faults: Taken,
}

#[derive(Debug, Deserialize)]
struct Side {
    size: i64,
    resident: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
struct Taken {
    own: u64,
    others: u64,
}

#[derive(Debug, Deserialize)]
struct Totalled {
    resident: i64,
}

impl Changes {
    /// Around what is done once memtrace is ready.
    #[track_caller]
    fn around(pid: u32, arguments: &[&str], work: impl FnOnce()) -> Changes {
        let pid = pid.to_string();
        let all = ["map", "--pid", &pid, "--diff", "--format", "json"];
        let memtrace = Memtrace::attach(all.iter().chain(arguments));
        work();
        let changes: Changes = serde_json::from_value(valid(&memtrace.finish())).expect("changes");
        let in_regions = changes.regions.iter().map(|change| change.faults);
        let sum = |of: fn(Taken) -> u64| in_regions.clone().map(of).sum::<u64>() + of(changes.between);
        let all = Taken {
            own: sum(|taken| taken.own),
            others: sum(|taken| taken.others),
        };
        assert_eq!(all, changes.faults, "{changes:#?}");
        assert!(changes.complete, "{changes:#?}");
        changes
    }

    #[track_caller]
    fn path(&self) -> &str {
        let request = self.request.as_ref().expect("a request");
        request["path"].as_str().expect("a path")
    }
}

impl Change {
    fn delta(&self, of: fn(&Side) -> i64) -> i64 {
        let of = |side: Option<&Side>| side.map_or(0, of);
        of(self.after.as_ref()) - of(self.before.as_ref())
    }
}

/// A process that is stopped for as long as this lives.
struct Stopped(u32);

impl Stopped {
    #[track_caller]
    fn new(pid: u32) -> Stopped {
        signal(pid, Signal::STOP);
        // All its threads, and not only the one that the signal came to.
        let all_stopped = || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))
                .expect("it runs")
                .flatten();
            tasks
                .map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default())
                .all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        };
        while !all_stopped() {
            thread::sleep(Duration::from_millis(1));
        }
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

#[track_caller]
fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    // It may be gone.
    let _ = kill_process(pid, signal);
}

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
    let (mut whole, mut refused) = (0, 0);
    for step in 0..120_u64 {
        let sleeper = Running::start(Command::new("sleep").arg("1000"));
        let pid = sleeper.pid();
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_micros(step * 50));
            signal(pid, Signal::KILL);
        });
        let run = run(["map", "--pid", &pid.to_string(), "--format", "json"]);
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

/// The one region of `after` that `before` does not have, of a type.
#[track_caller]
fn born<'m>(before: &Map, after: &'m Map, r#type: &str) -> &'m Region {
    let is_there = |region: &Region| {
        before
            .regions
            .iter()
            .any(|old| old.end == region.end && old.start == region.start)
    };
    let mut new = after
        .regions
        .iter()
        .filter(|region| region.r#type == r#type && !is_there(region));
    let (Some(region), None) = (new.next(), new.next()) else {
        panic!("not one new region of type {type}: {before:#?}\n{after:#?}");
    };
    region
}

/// What is in memory of each region by `smaps` is what its pages say, and each is in a frame of its own.
#[test]
#[ignore = "needs root"]
fn all_pages_in_memory_are_in_frames() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let map = Map::read(workload.pid());
    let _stopped = Stopped::new(workload.pid());
    for region in map
        .regions
        .iter()
        .filter(|region| region.resident > 0 && region.r#type != "vdso")
    {
        let frames = Frames::read(workload.pid(), region);
        assert_eq!(frames.pages.len() as u64 * 4096, region.size);
        assert_eq!(
            frames.pages.first().map(|page| &page.address),
            Some(&region.start)
        );
        let counted = frames.present().filter(|page| page.of.as_deref() != Some("zero"));
        assert_eq!(counted.count() as u64 * 4096, region.resident, "{region:?}");
        let distinct: BTreeSet<_> = frames
            .present()
            .filter_map(|page| page.frame.as_deref())
            .collect();
        assert_eq!(distinct.len(), frames.present().count(), "{region:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn pages_are_what_was_done_with_them() {
    const PAGES: usize = 100;
    require_root();
    let workload = Workload::start(Mode::Loop);
    let mut client = workload.client();
    let before = Map::read(workload.pid());
    client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
    let after = Map::read(workload.pid());
    // It may have become one with what was mapped before.
    let grown = after
        .regions
        .iter()
        .zip(&before.regions)
        .find(|(new, old)| new.start != old.start || new.end != old.end);
    let (grown, _) = grown.expect("a region more, or a larger one");
    let frames = Frames::read(workload.pid(), grown);
    let anonymous = frames.present().filter(|page| {
        page.of.as_deref() == Some("anonymous") && page.mappings == Some(1) && page.exclusive == Some(true)
    });
    assert!(anonymous.count() >= PAGES, "{frames:?}");

    client.get("/thp?huge=2").expect("an answer");
    let huge = Map::read(workload.pid());
    let region = born(&after, &huge, "mmap");
    let frames = Frames::read(workload.pid(), region);
    let huge: Vec<&Page> = frames.present().filter(|page| page.huge == Some(true)).collect();
    assert_eq!(huge.len(), 2 * 512, "{region:?}");
    let frame = |page: &Page| {
        let frame = page.frame.as_deref().and_then(|frame| frame.strip_prefix("0x"));
        frame
            .and_then(|frame| u64::from_str_radix(frame, 16).ok())
            .expect("a frame")
    };
    for pages in huge.chunks(512) {
        let first = frame(pages[0]);
        assert!(first.is_multiple_of(512), "{first:#x}");
        assert!(
            pages
                .iter()
                .zip(first..)
                .all(|(page, number)| frame(page) == number)
        );
    }
}

/// The same page of a file is in the same frame, whoever looks.
#[test]
#[ignore = "needs root"]
fn what_two_processes_map_is_in_one_frame() {
    require_root();
    let workloads = [(); 2].map(|()| Workload::start(Mode::Loop));
    let text = workloads.each_ref().map(|workload| {
        let map = Map::read(workload.pid());
        let is_text = |region: &&Region| {
            let path = region.path.as_deref().unwrap_or_default();
            region.r#type == "text" && path.ends_with("memtrace-workload")
        };
        Frames::read(
            workload.pid(),
            map.regions.iter().find(is_text).expect("its code"),
        )
    });
    let mut both = 0;
    for (one, other) in text[0].pages.iter().zip(&text[1].pages) {
        if let (Some(one_frame), Some(other_frame)) = (&one.frame, &other.frame) {
            both += 1;
            assert_eq!(one_frame, other_frame);
            assert_eq!(one.of.as_deref(), Some("file"));
            assert!(one.mappings >= Some(2) && one.exclusive == Some(false), "{one:?}");
        }
    }
    assert!(both > 10, "only {both} pages are mapped by both");
}

#[test]
fn frames_are_told_to_whoever_may_know_them() {
    let workload = Running::start(Command::new("sleep").arg("1000"));
    let pid = workload.pid().to_string();
    for (span, why) in [
        ("0x1000+4K", "nothing is mapped at these addresses"),
        ("0xffff800000000000+4K", "nothing is mapped at these addresses"),
    ] {
        let run = run(["map", "--pid", &pid, "--frames", span]);
        run.assert_status(2);
        run.assert(
            run.stderr.contains(why) && run.stderr.contains("\nhint: "),
            format_args!("not {why:?}"),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn whoever_has_no_right_sees_regions_of_its_own_and_no_frames() {
    require_root();
    let own = Running::start(Command::new("sleep").arg("1000").uid(NOBODY).gid(NOBODY));
    let pid = own.pid().to_string();
    let run = |arguments: &[&str]| {
        let (mut command, _folder) = as_nobody([&["map", "--pid", &pid], arguments].concat());
        Running::start(&mut command).finish()
    };
    let map = Map::of(&run(&["--format", "json"]));
    let text = map
        .regions
        .iter()
        .find(|region| region.r#type == "text")
        .expect("code");
    let run = run(&["--frames", &text.start]);
    run.assert_status(2);
    let is_said = run.stderr.contains("CAP_SYS_ADMIN") && run.stderr.contains("hint: run it with sudo");
    run.assert(is_said && run.stdout.is_empty(), "not why, or not what to do");
}

/// A request keeps so many pages: they are in one region that is new or larger, and so are its faults.
#[test]
#[ignore = "needs root"]
fn what_a_request_keeps_is_what_changes_around_it() {
    const PAGES: u64 = 321;
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut client = workload.client();
    let changes = Changes::around(workload.pid(), &["--request", "GET /keep"], || {
        for path in ["/touch?pages=50", "/none", "/touch?pages=70"] {
            client.get(path).expect("an answer");
        }
        // Time to look again: what those did is not part of what follows.
        thread::sleep(Duration::from_millis(300));
        client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
    });
    assert_eq!(changes.path(), "/keep");
    let mut kept = changes.regions.iter().filter(|change| change.faults.own >= PAGES);
    let (Some(kept), None) = (kept.next(), kept.next()) else {
        panic!("not one region with {PAGES} faults: {changes:#?}");
    };
    let pages = i64::try_from(PAGES).expect("few") * 4096;
    let is_new = kept.what == "born" || kept.what == "grown";
    assert!(
        is_new && kept.r#type == "mmap" && kept.faults.own == PAGES,
        "{kept:?}"
    );
    assert_eq!(
        [kept.delta(|side| side.size), kept.delta(|side| side.resident)],
        [pages; 2]
    );
    assert_eq!(changes.faults.others, 0, "{changes:#?}");
    assert!(changes.totals.resident >= pages, "{changes:#?}");

    let unmapped = Changes::around(workload.pid(), &[], || {
        client.get(&format!("/unmap?pages={PAGES}")).expect("an answer");
    });
    let gone = unmapped
        .regions
        .iter()
        .find(|change| change.delta(|side| side.size) == -pages);
    let gone = gone.unwrap_or_else(|| panic!("nothing is smaller: {unmapped:#?}"));
    assert!(matches!(gone.what.as_str(), "gone" | "shrunk"), "{gone:?}");
    assert_eq!(gone.delta(|side| side.resident), -pages);
}

/// What is mapped, touched and unmapped is in neither look, and its faults are not lost.
#[test]
#[ignore = "needs root"]
fn memory_that_comes_and_goes_is_between_the_looks() {
    const PAGES: u64 = 77;
    require_root();
    let workload = Workload::start(Mode::Loop);
    let mut client = workload.client();
    let changes = Changes::around(workload.pid(), &[], || {
        client.get(&format!("/touch?pages={PAGES}")).expect("an answer");
    });
    assert_eq!(changes.between.own, PAGES, "{changes:#?}");
}

#[test]
#[ignore = "needs root"]
fn a_time_can_be_looked_at_too() {
    const PAGES: u64 = 99;
    require_root();
    let workload = Workload::start(Mode::Threads);
    let mut clients = [workload.client(), workload.client()];
    let changes = Changes::around(workload.pid(), &["--duration", "1s"], || {
        for client in &mut clients {
            client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
        }
    });
    assert!(changes.request.is_none());
    assert!(
        changes.faults.own >= 2 * PAGES && changes.faults.others == 0,
        "{changes:#?}"
    );
    assert!(changes.totals.resident >= 2 * 99 * 4096, "{changes:#?}");
}

#[test]
#[ignore = "needs root"]
fn where_no_request_comes_it_says_what_to_do() {
    require_root();
    let workload = Workload::start(Mode::Loop);
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach([
        "map",
        "--pid",
        &pid,
        "--diff",
        "--request",
        "POST /saju",
        "--timeout",
        "300ms",
    ]);
    workload.client().get("/none").expect("an answer");
    let run = memtrace.finish();
    run.assert_status(2);
    run.assert(
        run.stdout.is_empty()
            && run.stderr.contains("no request of POST /saju was answered")
            && run.stderr.contains("\nhint: "),
        "not why, or not what to do",
    );
}

/// It ends before the request is answered.
#[test]
#[ignore = "needs root"]
fn where_the_process_ends_it_says_so() {
    require_root();
    let workload = Workload::start(Mode::Loop);
    let pid = workload.pid().to_string();
    let memtrace = Memtrace::attach(["map", "--pid", &pid, "--diff"]);
    signal(workload.pid(), Signal::KILL);
    let run = memtrace.finish();
    run.assert_status(2);
    run.assert(
        run.stdout.is_empty() && run.stderr.contains("\nhint: "),
        "no hint",
    );
}

#[test]
#[ignore = "needs root and node"]
fn a_reading_of_nodes_is_in_its_heap() {
    require_root();
    let saju = Saju::start(&[]);
    let mut client = saju.client();
    press(&mut client, "Mina").expect("a reading");
    let changes = Changes::around(saju.pid(), &["--request", "POST /saju"], || {
        press(&mut client, "Mina").expect("a reading");
    });
    let own: u64 = changes
        .regions
        .iter()
        .filter(|change| matches!(change.r#type.as_str(), "mmap" | "heap" | "jit"))
        .map(|change| change.faults.own)
        .sum();
    assert!(own > 20, "{changes:#?}");
}
