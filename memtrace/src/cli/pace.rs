//! How often the ring is looked at.
//!
//! The probes never wake memtrace: a wake-up costs more than a fault. Each time that it wakes itself it is in the server's
//! way, so while much comes it looks seldom, as far as the ring has room; while little comes it looks often, because then
//! what `/proc` has to add is still there. Must not know what comes.

use std::time::Duration;

/// Until the next look, while little comes.
const SOON: Duration = Duration::from_millis(5);
/// The same, while much comes.
const LATER: Duration = Duration::from_millis(50);
/// Much is more than one part of the ring in so many, in [`SOON`].
const MUCH: u32 = 1024;
/// Not more of the ring than one part in so many is to fill meanwhile.
const FILLED: u32 = 16;

/// How long until the next look at a ring of so many bytes, where the last one, after this time, found so many.
pub(super) fn pause(ring_bytes: u32, after: Duration, bytes: u64) -> Duration {
    let part = |of: u32| f64::from(ring_bytes / of);
    #[expect(clippy::cast_precision_loss, reason = "a rate, of what lay in memory")]
    let a_second = bytes as f64 / after.max(SOON).as_secs_f64();
    if a_second * SOON.as_secs_f64() <= part(MUCH) {
        return SOON;
    }
    Duration::from_secs_f64(part(FILLED) / a_second).clamp(SOON, LATER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_often_while_little_comes_and_before_the_ring_fills() {
        let pause = |after, bytes| pause(16 << 20, after, bytes);
        assert_eq!(pause(SOON, 0), SOON);
        assert_eq!(pause(SOON, 16 << 10), SOON);
        assert_eq!(pause(SOON, 17 << 10), LATER);
        assert_eq!(pause(LATER, 170 << 10), LATER);
        assert_eq!(pause(LATER, 160 << 10), SOON);
        // A MiB in 10 ms.
        assert_eq!(pause(SOON, 512 << 10), Duration::from_millis(10));
        assert_eq!(pause(LATER, 1 << 30), SOON);
        assert_eq!(pause(Duration::ZERO, 1 << 20), SOON);
        assert_eq!(super::pause(4096, SOON, 0), SOON);
        assert_eq!(super::pause(4096, SOON, 4096), SOON);
    }
}
