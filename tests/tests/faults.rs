//! What the probes say of a single fault: where, by which instruction, what kind of access, in which mode.
//!
//! The report does not have it yet, so this looks at the records that memtrace's pipeline is fed.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use memtrace::event::Event;
use memtrace::kernel::{Live, Options};
use memtrace_common::Tgid;
use memtrace_common::decode::Record;
use memtrace_common::wire::{FAULT_EXEC, FAULT_KERNEL, FAULT_PROTECTION, FAULT_WRITE, Fault};
use memtrace_tests::process::{PATIENCE, Running, Stream, built};
use memtrace_tests::require_root;

/// Who made an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Itself,
    AChild,
}
use Who::{AChild, Itself};

/// A write to a page that is there, but not to be written to.
const FORBIDDEN_WRITE: u8 = FAULT_WRITE | FAULT_PROTECTION;

/// What `memtrace-tasks accesses` does to each of its pages, and what the processor then says.
const EXPECTED: [(&str, &[(Who, u8)]); 8] = [
    // The kernel maps its page of zeros, to be read only.
    ("read-then-written", &[(Itself, 0), (Itself, FORBIDDEN_WRITE)]),
    ("written", &[(Itself, FAULT_WRITE)]),
    ("written-by-the-kernel", &[(Itself, FAULT_KERNEL | FAULT_WRITE)]),
    ("read-by-the-kernel", &[(Itself, FAULT_KERNEL)]),
    ("executed", &[(Itself, FAULT_EXEC)]),
    // `fork` shares it; whoever writes first has a copy.
    (
        "shared-with-a-child",
        &[(Itself, FAULT_WRITE), (AChild, FORBIDDEN_WRITE)],
    ),
    (
        "written-where-forbidden",
        &[(AChild, FAULT_WRITE), (AChild, FORBIDDEN_WRITE)],
    ),
    (
        "executed-where-forbidden",
        &[(AChild, FAULT_WRITE), (AChild, FAULT_EXEC | FAULT_PROTECTION)],
    ),
];

/// All faults that `memtrace-tasks` and its children take between its standstills; where its code is; and what it
/// printed.
#[track_caller]
fn traced() -> (u32, Vec<Fault>, Vec<Range<u64>>, String) {
    let mut command = Command::new(built("memtrace-tasks", "MEMTRACE_TASKS_BIN"));
    let mut tasks = Running::start(command.arg("accesses"));
    tasks.wait_for_line(Stream::Stdout, "ready ");
    let pid = tasks.pid();
    let options = Options {
        ring_bytes: 1 << 20,
        follow: true,
        comm: None,
        cgroup: None,
        fault_time: false,
        kernel_log: false,
    };
    let mut live = Live::attach(&options).expect("the probes attach");
    assert!(live.adopt(Tgid(pid), |_| {}) > 0, "it is gone\n{tasks}");
    let mut faults = Vec::new();
    let mut keep = |event: Event<'_>| {
        if let Event::Record(Record::Fault(fault)) = event {
            faults.push(fault);
        }
    };
    tasks.type_in(b"g");
    tasks.wait_for_line(Stream::Stdout, "{");
    let code = executable(pid);
    let deadline = Instant::now() + PATIENCE;
    while live.pump(&mut keep) {
        assert!(Instant::now() < deadline, "the ring never ends\n{tasks}");
        std::thread::sleep(Duration::from_millis(1));
    }
    live.finish(&mut keep).expect("the probes stop");
    tasks.type_in(b"g");
    let run = tasks.finish();
    run.assert_status(0);
    (pid, faults, code, run.stdout)
}

/// Where a process has code.
#[track_caller]
fn executable(pid: u32) -> Vec<Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
    let code = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-').filter(|_| rest.starts_with("r-xp"))?;
        Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
    });
    code.collect()
}

#[test]
#[ignore = "needs root"]
fn address_instruction_access_and_mode_are_the_processors_own() {
    require_root();
    let (pid, faults, code, printed) = traced();
    let places: HashMap<&str, u64> = printed
        .lines()
        .filter_map(|line| {
            let (name, address) = line.strip_prefix("access ")?.split_once(" 0x")?;
            Some((name, u64::from_str_radix(address, 16).ok()?))
        })
        .collect();
    assert_eq!(places.len(), EXPECTED.len(), "{printed}");
    let page = !(rustix::param::page_size() as u64 - 1);
    for (name, expected) in EXPECTED {
        let address = places[name];
        let there: Vec<&Fault> = faults
            .iter()
            .filter(|fault| fault.address & page == address & page)
            .collect();
        let is: Vec<(Who, u8)> = there
            .iter()
            .map(|fault| {
                let who = if fault.header.tgid == pid { Itself } else { AChild };
                (who, fault.header.flags)
            })
            .collect();
        assert_eq!(is, expected, "{name}: {there:#x?}");
        for fault in there {
            assert_eq!(fault.address, address, "{name}: {fault:#x?}");
            // One thread each.
            assert_eq!(fault.header.tid, fault.header.tgid, "{name}: {fault:#x?}");
            let by = fault.ip;
            let holds = if fault.header.flags & FAULT_KERNEL != 0 {
                // The upper half of the address space is the kernel's.
                by >> 63 == 1
            } else if fault.header.flags & FAULT_EXEC != 0 {
                by == address
            } else {
                code.iter().any(|range| range.contains(&by))
            };
            assert!(holds, "{name}: not by {by:#x}, code is at {code:x?}: {fault:#x?}");
        }
    }
}
