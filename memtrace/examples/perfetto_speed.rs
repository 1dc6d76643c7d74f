//! How many slices a second become a Perfetto trace, on one core: `cargo xtask bench perfetto`.
//!
//! Owns the stream that is measured. Prints medians; never passes or fails.

#![expect(clippy::print_stdout, reason = "it is a measurement that is read by a person")]

use std::time::Instant;

use memtrace::perfetto::{Arg, Clocks, Event, FlowId, Track, Writer};

const SLICES: usize = 1_000_000;
const TURNS: usize = 5;

fn main() {
    for (name, flows) in [("three arguments", false), ("three arguments and a flow", true)] {
        let mut turns: Vec<_> = (0..TURNS).map(|_| turn(flows)).collect();
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, bytes, most) = turns[TURNS / 2];
        println!(
            "slices with {name}: {:.2} million a second, {:.1} bytes each, at most {} KiB held",
            SLICES as f64 / seconds / 1e6,
            bytes as f64 / SLICES as f64,
            most >> 10
        );
    }
}

/// Seconds, bytes written, and the most that was held in memory.
fn turn(flows: bool) -> (f64, usize, usize) {
    let begin = Instant::now();
    let mut writer = Writer::new(Clocks::default());
    let process = writer.track(&Track::process(4242, "node"));
    let threads: Vec<_> = (0..8)
        .map(|n| writer.track(&Track::thread(4242, 4242 + n, "libuv-worker")))
        .collect();
    let (mut bytes, mut most) = (0, 0);
    for (index, n) in (0..SLICES).zip(0_u64..) {
        let path = ["/usr/lib/libc.so.6", "[heap]", "[anon]"][index % 3];
        let at_ns = 1_000_000_000 + n * 1_700;
        let ends = [FlowId(n)];
        writer.slice(
            threads[index % threads.len()],
            at_ns,
            300 + n % 512,
            &Event {
                category: "fault",
                name: ["zero-fill", "copy-on-write"][index % 2],
                args: &[
                    Arg::pointer("address", 0x7f00_0000_0000 + (n * 40_503 % 65_536) * 4096),
                    Arg::uint("count", 1 + n % 7),
                    Arg::str("region", path),
                ],
                flows_end: if flows { &ends } else { &[] },
                ..Event::default()
            },
        );
        if writer.ready() > 0 {
            most = most.max(writer.held());
            bytes += writer.take().len();
        }
    }
    writer.instant(process, 1, &Event::default());
    bytes += writer.finish().len();
    (begin.elapsed().as_secs_f64(), bytes, most)
}
