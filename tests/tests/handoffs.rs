//! Threads that hand work to each other, as the records have it, against programs that know how often they did so.

mod watched;

use std::collections::BTreeMap;
use std::process::Command;

use memtrace::event::Event;
use memtrace_common::decode::Record;
use memtrace_common::wire::Wake;
use memtrace_tests::process::{Running, Stream, built};
use memtrace_tests::require_root;
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
