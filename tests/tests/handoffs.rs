//! Threads that hand work to each other, as the records have it, and waits for events that end in vain; against programs that know how often they did so.

mod watched;

use std::collections::BTreeMap;
use std::process::Command;

use memtrace::event::Event;
use memtrace_common::decode::Record;
use memtrace_common::wire::{WAIT_TIMED_OUT, Wake};
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use watched::watched;

/// So often each thing is done.
const COUNT: u32 = 300;

/// Has `memtrace-handoffs` do something while it is watched, and returns what it says of it.
#[track_caller]
fn handoffs<T: DeserializeOwned>(arguments: &str, mut sink: impl FnMut(&Event<'_>)) -> (u32, T) {
    require_root();
    let mut command = Command::new(built("memtrace-handoffs", "MEMTRACE_HANDOFFS_BIN"));
    let mut running = Running::start(command.args(arguments.split(' ')));
    running.wait_for_line(Stream::Stdout, "ready ");
    let pid = running.pid();
    let mut said = String::new();
    let act = || {
        running.type_in(b"g");
        said = running.wait_for_line(Stream::Stdout, "{");
    };
    watched(pid, false, act, &mut sink);
    running.type_in(b"g");
    running.finish().assert_status(0);
    (pid, serde_json::from_str(&said).expect("what it did"))
}

/// Who woke whom, and for which word that waited.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Woke {
    waker: u32,
    other: u32,
    word: u64,
}

/// What the program did, and how often the records say what.
#[track_caller]
fn wakes(arguments: &str) -> (Woke, BTreeMap<Woke, u32>) {
    let mut told = BTreeMap::new();
    let (pid, woke): (u32, Woke) = handoffs(arguments, |event| {
        if let &Event::Record(Record::Wake(Wake {
            header, tid, word, ..
        })) = event
        {
            let woke = Woke {
                waker: header.tid,
                other: tid,
                word,
            };
            *told.entry(woke).or_default() += 1;
        }
    });
    assert_eq!(pid, woke.waker);
    (woke, told)
}

#[test]
#[ignore = "needs root"]
fn each_wake_from_a_futex_wait_is_told_once() {
    for by in [
        "wake",
        "wake-bitset",
        "wake-op",
        "requeue",
        "cmp-requeue",
        "unlock-pi",
    ] {
        for busy in ["waker", "woken"] {
            let (woke, told) = wakes(&format!("wakes --by {by} --count {COUNT} --busy {busy}"));
            assert_eq!(told, BTreeMap::from([(woke, COUNT)]), "{by}, {busy} is busy");
        }
    }
}

#[test]
#[ignore = "needs root"]
fn wakes_among_threads_that_can_have_no_request_are_not_told() {
    let (_, told) = wakes(&format!("wakes --by wake --count {COUNT} --busy nobody"));
    assert_eq!(told, BTreeMap::new());
}

#[test]
#[ignore = "needs root"]
fn nobody_is_woken_by_a_wake_in_vain_or_by_time() {
    #[derive(Deserialize)]
    struct Nothing {}
    let mut wakes = Vec::new();
    let (_, Nothing {}) = handoffs(&format!("vain --count {COUNT}"), |event| {
        if let Event::Record(Record::Wake(wake)) = event {
            wakes.push(*wake);
        }
    });
    assert_eq!(wakes, []);
}

/// The time that each of these calls would wait is somewhere else, and `select` writes to where it is.
#[test]
#[ignore = "needs root"]
fn a_wait_that_ends_with_its_time_is_told_and_one_that_only_asks_is_not() {
    require_root();
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for wait in [
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
            "poll",
            "ppoll",
            "select",
            "pselect6",
        ] {
            let mut flags = Vec::new();
            let act = || {
                for ms in [0, 2, 0, 0, 2] {
                    let target = format!("/wait/{wait}?ms={ms}&pages=1");
                    assert_eq!(client.get(&target).expect("an answer").status, 200, "{target}");
                }
            };
            watched(workload.pid(), false, act, |event| {
                if let Event::Record(Record::Wait(header)) = event {
                    flags.push(header.flags);
                }
            });
            if mode == Mode::Threads {
                // Its threads wait for nothing else.
                assert_eq!(flags, [0, 0, WAIT_TIMED_OUT, 0, 0, 0, WAIT_TIMED_OUT], "{wait}");
            }
            flags.retain(|&flags| flags != 0);
            assert_eq!(flags, [WAIT_TIMED_OUT; 2], "{mode:?}, {wait}");
        }
    }
}
