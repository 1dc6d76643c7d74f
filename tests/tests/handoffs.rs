//! Threads that hand work to each other, as the records have it: wakes, channels, and waits for events that end in
//! vain; against programs that know how often they did so.

mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use memtrace::event::{Event, Notice};
use memtrace_common::decode::Record;
use memtrace_common::wire::{IO_CHANNEL, OP_CHANNEL, OP_READ, OP_WRITE, WAIT_ASKS, WAIT_TIMED_OUT, Wake};
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

/// The page frames of each time that it was asked.
#[test]
#[ignore = "needs root"]
fn what_a_thread_takes_for_work_that_it_is_handed_is_told_hand_off_by_hand_off() {
    const PAGES: u64 = 7;
    #[derive(Deserialize)]
    struct Asked {
        worker: u32,
    }
    for how in ["futex", "pipe"] {
        let mut told: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let (_, asked): (_, Asked) = handoffs(
            &format!("work --how {how} --count {COUNT} --pages {PAGES}"),
            |event| {
                if let Event::Record(Record::Tally(tally)) = event {
                    told.entry(tally.header.tid).or_default().push(tally.frames.user);
                }
            },
        );
        let told = told.remove(&asked.worker).unwrap_or_default();
        // Before the first time it had just begun, and after the last it ends.
        let each_time: Vec<_> = told.iter().filter(|user| **user == PAGES).collect();
        assert_eq!(each_time.len(), COUNT as usize, "{how}: {told:?}");
        assert!(told.len() <= COUNT as usize + 2, "{how}: {told:?}");
    }
}

#[derive(Debug, Deserialize)]
struct Made {
    eventfd: i32,
    pipe: [i32; 2],
    copy: i32,
    pair: [i32; 2],
}

impl Made {
    /// How often which descriptor was written to and read from.
    fn moves(&self) -> BTreeMap<(i32, u8), u32> {
        let [a, b] = self.pair;
        BTreeMap::from([
            ((self.eventfd, OP_WRITE), COUNT),
            ((self.eventfd, OP_READ), COUNT),
            ((self.pipe[1], OP_WRITE), COUNT),
            ((self.copy, OP_WRITE), COUNT),
            ((self.pipe[0], OP_READ), 2 * COUNT),
            ((a, OP_WRITE), COUNT),
            ((b, OP_READ), COUNT),
            ((b, OP_WRITE), COUNT),
            ((a, OP_READ), COUNT),
        ])
    }
}

/// What is told of channels.
#[derive(Default)]
struct Told {
    /// The ends that a call made: read, written, and whether that turns.
    made: Vec<(i32, i64, i64)>,
    moves: BTreeMap<(i32, u8), u32>,
    /// Those that were there: descriptor, the way out, the way in.
    found: BTreeMap<i32, (Option<u64>, Option<u64>)>,
}

impl Told {
    #[track_caller]
    fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Record(Record::Io(io, payload)) => {
                let fd = io.header.fd;
                if io.header.op == OP_CHANNEL {
                    self.made.push((fd, io.ret, io.other));
                } else if io.header.flags & IO_CHANNEL != 0 {
                    assert_eq!(io.header.flags, IO_CHANNEL, "{io:?}");
                    assert_eq!((io.ret, payload.captured()), (8, &[][..]), "{io:?}");
                    *self.moves.entry((fd, io.header.op)).or_default() += 1;
                }
            }
            &Event::Notice(Notice::Channel {
                fd, reads, writes, ..
            }) => {
                let before = self.found.insert(fd.0, (reads, writes));
                assert_eq!(before, None, "{fd:?} is told twice");
            }
            _ => {}
        }
    }
}

#[test]
#[ignore = "needs root"]
fn each_read_and_write_of_a_channel_is_told_once() {
    let mut told = Told::default();
    let (_, made): (_, Made) = handoffs(&format!("channels --count {COUNT}"), |event| told.observe(event));
    let [reads, writes] = made.pipe;
    let [a, b] = made.pair;
    told.made.sort_unstable();
    let mut births = [
        (made.eventfd, made.eventfd.into(), 0),
        (reads, writes.into(), 0),
        (a, b.into(), 1),
    ];
    births.sort_unstable();
    assert_eq!(told.made, births);
    assert_eq!(told.moves, made.moves());
    assert_eq!(told.found, BTreeMap::new());
}

#[test]
#[ignore = "needs root"]
fn channels_that_were_there_are_found() {
    let mut told = Told::default();
    let (_, made): (_, Made) = handoffs(&format!("channels --early --count {COUNT}"), |event| {
        told.observe(event);
    });
    assert_eq!(told.made, []);
    assert_eq!(told.moves, made.moves());
    // Neither its standard input nor its output, which are pipes to this test.
    let [reads, writes] = made.pipe;
    let [a, b] = made.pair;
    let way = |fd| {
        let found = told.found.get(&fd).expect("it is there");
        found.0.or(found.1)
    };
    let (eventfd, pipe) = (way(made.eventfd), way(reads));
    let (to_a, to_b) = (way(a), way(b));
    assert_eq!(BTreeSet::from([eventfd, pipe, to_a, to_b]).len(), 4);
    let ends = [
        (made.eventfd, (eventfd, eventfd)),
        (reads, (pipe, None)),
        (writes, (None, pipe)),
        (made.copy, (None, pipe)),
        (a, (to_a, to_b)),
        (b, (to_b, to_a)),
    ];
    assert_eq!(told.found, BTreeMap::from(ends));
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
            // Its event loop, where it has one, waits without an end.
            let (asks, over) = (WAIT_ASKS, WAIT_TIMED_OUT);
            let expected = [asks, 0, over, asks, asks, 0, over];
            if mode == Mode::Threads {
                assert_eq!(flags, expected, "{wait}");
            }
            flags.retain(|&flags| flags != 0);
            assert_eq!(flags, [asks, over, asks, asks, over], "{mode:?}, {wait}");
        }
    }
}
