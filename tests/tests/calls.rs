//! When address-space calls began and ended, as the records have it, against programs that know what they called.
//!
//! The report has numbers and bytes of calls only, so this looks at the records.

mod watched;

use std::collections::HashMap;
use std::process::Command;

use memtrace::event::Event;
use memtrace_common::decode::Record;
use memtrace_common::wire::{
    FAULT_KERNEL, MM_BRK, MM_MADVISE, MM_MMAP, MM_MPROTECT, MM_MREMAP, MM_MUNMAP, MM_NAME, Mm, Unmapped,
};
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::require_root;
use memtrace_tests::server::installed;
use memtrace_tests::traced::plan;
use memtrace_tests::workload::{Mode, Workload};
use serde::Deserialize;
use watched::watched;

/// Address-space calls, each with its end, as the records tell them.
#[derive(Default)]
struct Calls {
    /// By thread: when its last record was that no call lies around.
    last_ns: HashMap<u32, u64>,
    /// By thread: a munmap that has not returned.
    unmapping: HashMap<u32, usize>,
    all: Vec<(Mm, Option<Unmapped>)>,
}

impl Calls {
    #[track_caller]
    fn observe(&mut self, event: &Event<'_>) {
        let Event::Record(record) = event else { return };
        let header = *record.header();
        let last_ns = self.last_ns.get(&header.tid).copied().unwrap_or(0);
        let began_ns = match record {
            Record::Mm(mm) => {
                let is_told_as_it_begins = header.op == MM_MUNMAP;
                assert_eq!(mm.began_ns == header.time_ns, is_told_as_it_begins, "{mm:?}");
                if is_told_as_it_begins {
                    let before = self.unmapping.insert(header.tid, self.all.len());
                    assert_eq!(before, None, "a munmap has not returned: {mm:?}");
                }
                self.all.push((*mm, None));
                mm.began_ns
            }
            Record::Unmapped(unmapped) => {
                let Some(at) = self.unmapping.remove(&header.tid) else {
                    panic!("of no munmap: {unmapped:?}")
                };
                let (mm, end) = &mut self.all[at];
                assert_eq!(unmapped.began_ns, mm.header.time_ns, "{mm:?}, {unmapped:?}");
                assert_eq!(header.op, MM_MUNMAP, "{unmapped:?}");
                *end = Some(*unmapped);
                unmapped.began_ns
            }
            _ => header.time_ns,
        };
        assert!(
            (last_ns..=header.time_ns).contains(&began_ns),
            "not after {last_ns}: {record:?}"
        );
        // A call can fault.
        if !matches!(record, Record::Fault(_)) || header.flags & FAULT_KERNEL == 0 {
            self.last_ns.insert(header.tid, header.time_ns);
        }
    }

    /// Those of a process: each munmap has returned.
    #[track_caller]
    fn of(&self, pid: u32) -> Vec<Call> {
        let all = self.all.iter().filter(|(mm, _)| mm.header.tgid == pid);
        let calls = all.map(|(mm, end)| {
            assert_eq!(mm.header.op == MM_MUNMAP, end.is_some(), "{mm:?}, {end:?}");
            Call {
                op: mm.header.op,
                args: mm.args,
                ret: end.map_or(mm.ret, |unmapped| unmapped.ret),
            }
        });
        calls.collect()
    }
}

/// What a program says that it has called, or what the records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    op: u8,
    args: [u64; 6],
    /// A negative errno where it failed.
    ret: i64,
}

#[test]
#[ignore = "needs root"]
fn each_address_space_call_has_its_beginning_and_its_end() {
    #[derive(Deserialize)]
    struct Made {
        calls: Vec<MadeCall>,
    }
    #[derive(Deserialize)]
    struct MadeCall {
        name: String,
        args: [u64; 6],
        ret: i64,
    }
    require_root();
    let mut command = Command::new(built("memtrace-maps", "MEMTRACE_MAPS_BIN"));
    let mut maps = Running::start(command.args(["--seed", "7", "--calls", "4000", "--hold"]));
    maps.wait_for_line(Stream::Stdout, "ready ");
    let pid = maps.pid();
    let mut calls = Calls::default();
    let mut printed = String::new();
    let act = || {
        maps.type_in(b"g");
        printed = maps.wait_for_line(Stream::Stdout, "{");
    };
    watched(pid, false, act, |event| calls.observe(event));
    maps.type_in(b"g");
    maps.finish().assert_status(0);
    let made: Made = serde_json::from_str(&printed).expect("its calls");
    let told = calls.of(pid);
    assert!(made.calls.len() == 4000 && told.len() >= 4000, "{}", told.len());
    for (made, told) in made.calls.iter().zip(told) {
        let op = match made.name.as_str() {
            "mmap" => MM_MMAP,
            "munmap" => MM_MUNMAP,
            "mprotect" => MM_MPROTECT,
            "mremap" => MM_MREMAP,
            "madvise" => MM_MADVISE,
            _ => MM_BRK,
        };
        let (args, ret) = (made.args, made.ret);
        assert_eq!(told, Call { op, args, ret });
    }
}

/// The same of a server, whose threads have read from a client and whose work is added up.
#[test]
#[ignore = "needs root"]
fn each_call_of_a_server_has_its_beginning_and_its_end() {
    require_root();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        let mut calls = Calls::default();
        let routes = ["/space?n=", "/brk?pages=", "/touch?pages="];
        let asked = plan(10, |round| {
            routes.map(|route| format!("{route}{}", round + 1)).to_vec()
        });
        let act = || {
            for target in &asked {
                assert_eq!(client.get(target).expect("an answer").status, 200, "{target}");
            }
        };
        watched(workload.pid(), true, act, |event| calls.observe(event));
        let told = calls.of(workload.pid());
        let count = |op| told.iter().filter(|call| call.op == op).count();
        // `/space` calls `mremap` four times a round; each round and each `/touch` unmaps once, and the break goes up
        // and down in `/space` and `/brk`.
        assert_eq!(count(MM_MREMAP), 4 * 55, "{mode:?}");
        assert_eq!(count(MM_MUNMAP), 55 + 10, "{mode:?}");
        assert!(count(MM_BRK) >= 2 * (55 + 10), "{mode:?}: {}", count(MM_BRK));
    }
}

/// Names memory twice, of which the second time fails, and unmaps it four times, of which the last succeeds.
const CALLS_THAT_FAIL: &str = r#"
import ctypes, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
memory = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
number = ctypes.c_ulong
print("ready", start, flush=True)
sys.stdin.read(1)
for at in (start, start + 1):
    libc.prctl(0x53564d41, number(0), number(at), number(8192), b"a name")
for at, length in ((start + 1, 8192), (start, 0), (1 << 63, 4096), (start, 8192)):
    libc.munmap(number(at), number(length))
print("done", flush=True)
sys.stdin.read(1)
"#;

#[test]
#[ignore = "needs root and python3"]
fn a_call_that_fails_leaves_its_beginning_to_no_other() {
    require_root();
    let _ = installed("python3", "python3");
    let mut python = Running::start(Command::new("python3").args(["-c", CALLS_THAT_FAIL]));
    let line = python.wait_for_line(Stream::Stdout, "ready ");
    let start: u64 = line.trim_start_matches("ready ").parse().expect("an address");
    let pid = python.pid();
    let mut calls = Calls::default();
    let act = || {
        python.type_in(b"g");
        python.wait_for_line(Stream::Stdout, "done");
    };
    watched(pid, false, act, |event| calls.observe(event));
    python.type_in(b"g");
    // It lets go of memory that is not there any more.
    let _ = python.finish();
    let told = calls.of(pid);
    let names: Vec<i64> = told
        .iter()
        .filter(|call| call.op == MM_NAME)
        .map(|call| call.ret)
        .collect();
    // Not every kernel has names.
    assert!([&[0][..], &[]].contains(&&names[..]), "{names:?}");
    let about = |call: &&Call| call.op == MM_MUNMAP && [start, start + 1, 1 << 63].contains(&call.args[0]);
    let unmapped: Vec<_> = told
        .iter()
        .filter(about)
        .map(|call| (call.args[0], call.args[1], call.ret))
        .collect();
    assert_eq!(unmapped, [(1 << 63, 4096, -22), (start, 8192, 0)]);
}
