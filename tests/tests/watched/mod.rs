//! A process while the probes are on it, and each event as memtrace's pipeline is fed it.
//!
//! Owns the order: attach, let it act, read the ring to its end, stop. Nothing may be lost. Must not know what is
//! claimed of the events.

use std::time::{Duration, Instant};

use memtrace::event::{Event, Notice};
use memtrace::kernel::{Live, Options};
use memtrace_common::Tgid;
use memtrace_tests::process::PATIENCE;
use memtrace_tests::require_root;

/// Longer than a thread takes to return from the call that its client was waiting for.
const LAST_CALL: Duration = Duration::from_millis(100);

/// Has the process, and all that it starts, watched while `act` lasts.
#[track_caller]
pub(crate) fn watched(pid: u32, fault_time: bool, act: impl FnOnce(), mut sink: impl FnMut(&Event<'_>)) {
    require_root();
    let options = Options {
        ring_bytes: 64 << 20,
        follow: true,
        comm: None,
        cgroup: None,
        fault_time,
        kernel_log: false,
    };
    let mut sink = |event: Event<'_>| {
        if let Event::Notice(Notice::Lost { lost, .. }) = &event {
            panic!("{lost:?}");
        }
        sink(&event);
    };
    let mut live = Live::attach(&options).expect("the probes attach");
    live.tell_beginning(&mut sink);
    assert!(live.adopt(Tgid(pid), &mut sink) > 0, "it is gone");
    act();
    std::thread::sleep(LAST_CALL);
    let deadline = Instant::now() + PATIENCE;
    while live.pump(&mut sink) {
        assert!(Instant::now() < deadline, "the ring never ends");
    }
    live.finish(&mut sink).expect("the probes stop");
}
