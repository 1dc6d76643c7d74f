//! What `memtrace map` prints for scripts, read; and processes that hold still to be looked at.
//!
//! Owns the shapes, and that they follow docs/schema/map.schema.json. Must not know what is claimed of them.
#![expect(
    missing_docs,
    reason = "the fields are the schema's, which says what they mean"
)]

use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use crate::memtrace::{Memtrace, run};
use crate::process::Finished;

const SCHEMA: &str = include_str!("../../docs/schema/map.schema.json");

/// As far as tests look into it.
#[derive(Debug, Deserialize)]
pub struct Map {
    pub pid: u32,
    pub regions: Vec<Region>,
    pub totals: Totals,
}

#[derive(Debug, Deserialize)]
pub struct Region {
    pub start: String,
    pub end: String,
    pub size: u64,
    pub resident: u64,
    pub dirty: u64,
    pub swapped: u64,
    pub prot: String,
    pub r#type: String,
    pub path: Option<String>,
    pub name: Option<String>,
    pub tid: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub struct Totals {
    pub all: Sum,
    pub writable: Sum,
}

#[derive(Debug, Deserialize)]
pub struct Sum {
    pub regions: usize,
    pub resident: u64,
}

/// What a run that succeeded has printed, which follows the schema.
#[track_caller]
pub fn valid(run: &Finished) -> Value {
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
    pub fn of(run: &Finished) -> Map {
        serde_json::from_value(valid(run)).expect("a map")
    }

    #[track_caller]
    pub fn read(pid: u32) -> Map {
        Map::of(&run(["map", "--pid", &pid.to_string(), "--format", "json"]))
    }

    pub fn resident(&self, r#type: &str) -> u64 {
        let regions = self.regions.iter().filter(|region| region.r#type == r#type);
        regions.map(|region| region.resident).sum()
    }
}

/// Pages, as far as tests look into them.
#[derive(Debug, Deserialize)]
pub struct Frames {
    pub pages: Vec<Page>,
}

#[derive(Debug, Deserialize)]
pub struct Page {
    pub address: String,
    pub frame: Option<String>,
    pub state: String,
    pub of: Option<String>,
    pub mappings: Option<u64>,
    pub exclusive: Option<bool>,
    pub huge: Option<bool>,
}

impl Frames {
    /// Of a region.
    #[track_caller]
    pub fn read(pid: u32, region: &Region) -> Frames {
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

    pub fn present(&self) -> impl Iterator<Item = &Page> {
        self.pages.iter().filter(|page| page.state == "present")
    }
}

/// What changed, as far as tests look into it.
#[derive(Debug, Deserialize)]
pub struct Changes {
    pub request: Option<Value>,
    pub faults: Taken,
    pub between: Taken,
    pub regions: Vec<Change>,
    pub totals: Totalled,
    pub complete: bool,
}

#[derive(Debug, Deserialize)]
pub struct Change {
    #[serde(rename = "change")]
    pub what: String,
    pub r#type: String,
    pub before: Option<Side>,
    pub after: Option<Side>,
    pub faults: Taken,
}

#[derive(Debug, Deserialize)]
pub struct Side {
    pub size: i64,
    pub resident: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Taken {
    pub own: u64,
    pub others: u64,
}

#[derive(Debug, Deserialize)]
pub struct Totalled {
    pub resident: i64,
}

impl Changes {
    /// Around what is done once memtrace is ready.
    #[track_caller]
    pub fn around(pid: u32, arguments: &[&str], work: impl FnOnce()) -> Changes {
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
    pub fn path(&self) -> &str {
        let request = self.request.as_ref().expect("a request");
        request["path"].as_str().expect("a path")
    }
}

impl Change {
    pub fn delta(&self, of: fn(&Side) -> i64) -> i64 {
        let of = |side: Option<&Side>| side.map_or(0, of);
        of(self.after.as_ref()) - of(self.before.as_ref())
    }
}

/// A process that is stopped for as long as this lives.
pub struct Stopped(u32);

impl Stopped {
    #[track_caller]
    pub fn new(pid: u32) -> Stopped {
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
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process");
    // It may be gone.
    let _ = kill_process(pid, signal);
}
