//! The model of a process's regions against a kernel's: thousands of random calls, region by region.
//!
//! Needs no privilege: the program says itself which calls it made.

use std::ops::Range;
use std::process::Command;

use memtrace::model::vma::{AddressSpace, Backing, Files, Vma};
use serde::Deserialize;

/// So many runs.
const SEEDS: u64 = 12;
/// In each run.
const CALLS: &str = "2000";

#[derive(Deserialize)]
struct Report {
    file: String,
    memfd: String,
    brk: u64,
    before: String,
    half_way: String,
    calls: Vec<Call>,
    after: String,
}

#[derive(Debug, Deserialize)]
struct Call {
    name: String,
    args: [u64; 6],
    ret: i64,
}

fn run(seed: u64) -> Report {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrace-maps"))
        .args(["--seed", &seed.to_string(), "--calls", CALLS])
        .output()
        .expect("memtrace-maps runs");
    assert!(output.status.success(), "seed {seed}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("a report")
}

fn replay(call: &Call, report: &Report, space: &mut AddressSpace, files: &mut Files) {
    let args = call.args;
    let ret = call.ret.cast_unsigned();
    let failed = (-4095..0).contains(&call.ret);
    match call.name.as_str() {
        "mprotect" if call.ret == -i64::from(libc::ENOMEM) => {
            space.mprotect_to_hole(args[0], args[1], args[2]);
        }
        _ if failed => {}
        "mmap" => {
            let (flags, fd) = (args[3], args[4]);
            let shared = flags & 1 != 0;
            let backing = if flags & 0x20 != 0 {
                Backing::Anon
            } else if report.calls_file(fd) {
                Backing::of_path(report.file.as_bytes(), shared, files)
            } else {
                Backing::of_path(report.memfd.as_bytes(), shared, files)
            };
            space.mmap(ret, args[1], args[2], flags, backing, args[5]);
        }
        "munmap" => space.munmap(args[0], args[1]),
        "mprotect" => space.mprotect(args[0], args[1], args[2]),
        "mremap" => space.mremap(args[0], args[1], args[2], args[3], ret),
        "brk" => space.brk(ret),
        _ => {}
    }
}

impl Report {
    /// The descriptors are the two lowest that are mapped; the file was opened first.
    fn calls_file(&self, fd: u64) -> bool {
        let mapped = self
            .calls
            .iter()
            .filter(|call| call.name == "mmap" && call.args[3] & 0x20 == 0);
        mapped.map(|call| call.args[4]).min() == Some(fd)
    }
}

fn listing(text: &str, files: &mut Files) -> Vec<(Range<u64>, Vma)> {
    let mut space = AddressSpace::default();
    let seeded = space.seed(text.as_bytes(), files, None);
    assert_eq!(seeded.malformed, 0, "{text}");
    space.listing()
}

/// Panics where the model is not what the kernel has.
fn compare(space: &AddressSpace, report: &Report, files: &mut Files, what: &str) -> usize {
    let kernel = listing(&report.after, files);
    let model = space.listing();
    let differ: Vec<_> = model.iter().filter(|region| !kernel.contains(region)).collect();
    let missing: Vec<_> = kernel.iter().filter(|region| !model.contains(region)).collect();
    assert!(
        differ.is_empty() && missing.is_empty(),
        "{what}: the model has {differ:#x?}\nthe kernel has {missing:#x?}\n{}",
        report.after
    );
    assert_eq!(space.lost(), 0, "{what}");
    kernel.len()
}

fn succeeded(call: &Call) -> bool {
    !(-4095..0).contains(&call.ret)
}

#[test]
fn thousands_of_calls_leave_what_the_kernel_has() {
    let mut made = 0;
    let mut regions = 0;
    for seed in 0..SEEDS {
        let report = run(seed);
        let mut files = Files::default();
        let mut space = AddressSpace::default();
        space.seed(report.before.as_bytes(), &mut files, Some(report.brk));
        space.settle();
        for call in &report.calls {
            replay(call, &report, &mut space, &mut files);
        }
        regions += compare(&space, &report, &mut files, &format!("seed {seed}"));
        made += report.calls.iter().filter(|call| succeeded(call)).count();
    }
    assert!(made > 12_000, "only {made} calls succeeded");
    assert!(regions > 600, "only {regions} regions");
}

#[test]
fn a_map_that_was_read_half_way_contains_calls_that_are_replayed() {
    let mut contained = 0;
    for seed in 0..SEEDS {
        let report = run(seed);
        let half_way = report.calls.len() / 2;
        let earlier = &report.calls[..half_way];
        // Of a move to a place that the caller chose, nothing but time can tell whether it is contained; nor how far
        // a call came that met a hole.
        let unclear = |call: &Call| match call.name.as_str() {
            "mremap" => call.args[3] & 2 != 0 && succeeded(call),
            "mprotect" => !succeeded(call),
            _ => false,
        };
        let from = earlier.iter().rposition(unclear).map_or(0, |last| last + 1);
        let mut files = Files::default();
        let mut space = AddressSpace::default();
        let brk = earlier[..from].iter().rev().find(|call| call.name == "brk");
        space.brk(brk.map_or(report.brk, |call| call.ret.cast_unsigned()));
        space.seed(report.half_way.as_bytes(), &mut files, None);
        for call in &report.calls[from..] {
            replay(call, &report, &mut space, &mut files);
        }
        compare(
            &space,
            &report,
            &mut files,
            &format!("seed {seed} from call {from}"),
        );
        contained += half_way - from;
    }
    assert!(contained > 60, "only {contained} calls were contained");
}
