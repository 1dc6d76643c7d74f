//! The workload's own truths, by the kernel's own count for the serving thread: what memtrace is later held to.
//! Unprivileged, and without memtrace.

use std::time::{Duration, Instant};

use memtrace_tests::client::Client;
use memtrace_tests::workload::{Counted, Mode, Storm, Truth, Workload, kinds_of_memory};

/// What each route makes the kernel count, for 100 of whatever it is asked for.
const ROUTES: [(&str, u64); 8] = [
    ("/touch?pages=100", 100),
    ("/kernel?pages=100", 100),
    ("/brk?pages=100", 100),
    ("/pwrite?pages=100", 100),
    ("/futex?pages=100", 100),
    ("/populate?pages=100", 100),
    ("/segv?n=100", 0),
    ("/sleep?ms=5&pages=100", 100),
];

#[track_caller]
fn counted(client: &mut Client, target: &str) -> u64 {
    Counted::of(&client.get(target).expect("an answer")).total()
}

#[test]
fn each_route_takes_what_it_is_asked_for_and_none_takes_nothing() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for round in 0..5 {
            for (target, faults) in ROUTES {
                assert_eq!(
                    counted(&mut client, "/none"),
                    0,
                    "{mode:?}, round {round}, before {target}"
                );
                assert_eq!(
                    counted(&mut client, target),
                    faults,
                    "{mode:?}, round {round}, {target}"
                );
            }
        }
    }
}

#[test]
fn each_kind_of_memory_takes_what_it_is_asked_for_and_none_takes_nothing() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for number in [0, 1, 3, 64, 7] {
            for route in kinds_of_memory() {
                let target = format!("{route}{number}");
                assert_eq!(counted(&mut client, "/none"), 0, "{mode:?}, before {target}");
                let taken = Counted::of(&client.get(&target).expect("an answer"));
                let major = if route.starts_with("/major") { number } else { 0 };
                let expected = Truth::of(&target).counted();
                assert_eq!(taken.total(), expected, "{mode:?}, {target}: {taken:?}");
                // What is swapped out may be read from a disk or found in a cache.
                assert!(
                    taken.majflt == major || route.starts_with("/swap"),
                    "{mode:?}, {target}: {taken:?}"
                );
            }
        }
    }
}

#[test]
fn where_no_swap_is_on_nothing_is_swapped_out() {
    if rustix::system::sysinfo().totalswap > 0 {
        return;
    }
    let workload = Workload::start(Mode::Loop);
    let answer = workload.client().get("/swap?pages=1").expect("an answer");
    assert_eq!(
        (answer.status, &*answer.text()),
        (501, r#"{"error":"no swap is on"}"#)
    );
}

#[test]
fn nothing_and_very_much_are_exact_too() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for (target, faults) in [
            ("/touch?pages=0", 0),
            ("/kernel?pages=0", 0),
            ("/brk?pages=0", 0),
            ("/populate?pages=0", 0),
            ("/segv?n=0", 0),
            ("/touch?pages=1", 1),
            ("/touch?pages=5000", 5000),
            // More than the file has.
            ("/kernel?pages=5000", 5000),
            ("/brk?pages=5000", 5000),
        ] {
            assert_eq!(counted(&mut client, target), faults, "{mode:?}, {target}");
        }
    }
}

#[test]
fn pipelined_requests_are_served_in_order_each_with_its_own() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for n in (1..100).step_by(3) {
            let targets = [
                format!("/touch?pages={n}"),
                format!("/sleep?ms=1&pages={}", n + 1),
                format!("/kernel?pages={}", n + 2),
            ];
            let taken: Vec<u64> = client
                .pipeline(&targets)
                .unwrap()
                .iter()
                .map(|response| Counted::of(response).total())
                .collect();
            assert_eq!(taken, [n, n + 1, n + 2], "{mode:?}");
        }
    }
}

#[test]
fn a_head_in_two_pieces_is_one_request() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        for at in [1, 4, 20, 60] {
            let response = client
                .split("/touch?pages=9", at, Duration::from_millis(5))
                .unwrap();
            assert_eq!(Counted::of(&response).total(), 9, "{mode:?}, cut at {at}");
        }
    }
}

#[test]
fn eight_clients_at_once_do_not_disturb_each_other() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut client = workload.client();
                    for _ in 0..10 {
                        for (target, faults) in ROUTES {
                            assert_eq!(counted(&mut client, "/none"), 0, "{mode:?}, before {target}");
                            assert_eq!(counted(&mut client, target), faults, "{mode:?}, {target}");
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn a_sleep_in_the_loop_does_not_hold_the_others_up() {
    let workload = Workload::start(Mode::Loop);
    let (mut sleeper, mut other) = (workload.client(), workload.client());
    let start = Instant::now();
    sleeper
        .send(b"GET /sleep?ms=2000&pages=3 HTTP/1.1\r\n\r\n")
        .unwrap();
    for _ in 0..20 {
        counted(&mut other, "/touch?pages=1");
    }
    // Were the loop to wait itself, no other answer could come before the sleep's end.
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(Counted::of(&sleeper.receive().unwrap()).total(), 3);
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn clients_that_leave_early_leave_the_server_as_it_was() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        for bytes in [
            &b""[..],
            b"GET /tou",
            b"GET /sleep?ms=50&pages=10 HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ] {
            for _ in 0..150 {
                // More in all than the loop has places: each has to come free again.
                Client::connect(workload.port).unwrap().send(bytes).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(
            counted(&mut workload.client(), "/touch?pages=100"),
            100,
            "{mode:?}"
        );
    }
}

#[test]
fn refusals_have_their_statuses() {
    for mode in Mode::ALL {
        let workload = Workload::start(mode);
        let mut client = workload.client();
        assert_eq!(client.get("/nowhere").unwrap().status, 404);
        assert_eq!(client.get("/touch?pages=many").unwrap().status, 400);
        assert_eq!(client.get("/none").unwrap().status, 200);
    }
}

#[test]
fn a_storm_is_as_large_as_it_says_and_waits_for_its_signs() {
    let mut storm = Storm::ready(10_000);
    let end = storm.blow();
    assert_eq!((end.faults, end.minflt + end.majflt), (10_000, 10_000));
    assert!(end.touch_ns > 0 && end.touch_ns <= end.elapsed_ns);
    assert!(std::path::Path::new(&format!("/proc/{}", storm.pid())).exists());
    storm.end().assert_status(0);
}
