//! memtrace gives way to whom it traces, as long as it keeps up.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use memtrace_tests::{
    memtrace::{Memtrace, run},
    require_root,
    workload::Storm,
};

/// What a thread of memtrace's stands back to.
const BACK: i64 = 10;

/// Of a process's threads.
fn nice_values(pid: u32) -> Vec<i64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let one = |stat: String| {
        // `comm` may have blanks and brackets; the nice value is the 19th field.
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(16)?.parse().ok()
    };
    threads
        .flatten()
        .filter_map(|thread| one(fs::read_to_string(thread.path().join("stat")).ok()?))
        .collect()
}

/// Waits until they are all like this.
fn come_to(pid: u32, nice: i64) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let values = nice_values(pid);
        if !values.is_empty() && values.iter().all(|&value| value == nice) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
#[ignore = "needs root"]
fn all_its_threads_stand_back_until_the_ring_fills() {
    require_root();
    let own = nice_values(std::process::id())[0];
    assert!(own < BACK, "this test has stood back itself");
    let mut storm = Storm::ready(300_000);
    let pid = storm.pid().to_string();
    // A storm is more than a quarter of this in any 5 ms.
    let memtrace = Memtrace::attach(["--pid", &pid, "--buffer", "64K", "--format", "ndjson"]);
    assert!(come_to(memtrace.pid(), BACK), "{:?}", nice_values(memtrace.pid()));

    let is_over = AtomicBool::new(false);
    let has_come_forward = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if nice_values(memtrace.pid()).iter().all(|&value| value == own) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            false
        });
        storm.blow();
        is_over.store(true, Ordering::Relaxed);
        watch.join().expect("it does not panic")
    });
    assert!(has_come_forward, "it stood back while its ring was full");
    assert!(come_to(memtrace.pid(), BACK), "{:?}", nice_values(memtrace.pid()));
    memtrace.interrupt();
    storm.end().assert_status(0);
}

#[test]
#[ignore = "needs root"]
fn a_command_does_not_stand_back_with_it() {
    require_root();
    let own = nice_values(std::process::id())[0];
    let run = run([
        "--format",
        "ndjson",
        "-o",
        "/dev/null",
        "--",
        "sh",
        "-c",
        "sleep 0.3; nice",
    ]);
    run.assert_status(0);
    run.assert(run.stdout.trim() == own.to_string(), "another nice value");
}
