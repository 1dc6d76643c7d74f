//! When memtrace gives way to the server, and when it claims its share of the CPUs.
//!
//! It gives way as long as it keeps up: what it does can wait while the ring has room. Owns the judgement of that. Must
//! not know how a thread is made to wait.

use std::time::{Duration, Instant};

use crate::kernel::Nice;

/// This long after its turn it does not get what it needs.
const LATE: Duration = Duration::from_millis(50);
/// With more than this part of the ring to read it does not keep up.
const FULL: u64 = 4;
/// After so long without either it gives way again.
const CALM: Duration = Duration::from_secs(2);

/// What one look at the ring found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// How long after it was due.
    pub(super) late: Duration,
    /// What there was to read.
    pub(super) bytes: u64,
}

/// Whether memtrace gives way.
#[derive(Debug)]
pub(super) struct GivingWay {
    /// `None` where it cannot.
    nice: Option<Nice>,
    judgement: Judgement,
}

impl GivingWay {
    /// With a ring of so many bytes. From here on it does.
    pub(super) fn begin(ring_bytes: u32) -> Self {
        let nice = Nice::of_this_process();
        if let Some(nice) = nice {
            nice.stand_back();
        }
        Self {
            nice,
            judgement: Judgement {
                ring_bytes: u64::from(ring_bytes),
                gives: true,
                behind: None,
            },
        }
    }

    /// After each look at the ring.
    pub(super) fn looked(&mut self, look: Look) {
        let Some(nice) = self.nice else { return };
        match self.judgement.after(look) {
            Some(true) => nice.stand_back(),
            Some(false) => {
                tracing::debug!(late = ?look.late, bytes = look.bytes, "does not keep up: claims its share of the CPUs");
                nice.come_forward();
            }
            None => {}
        }
    }

    /// What is left is waited for.
    pub(super) fn end(self) {
        if let (Some(nice), true) = (self.nice, self.judgement.gives) {
            nice.come_forward();
        }
    }
}

#[derive(Debug)]
struct Judgement {
    ring_bytes: u64,
    gives: bool,
    /// When it last did not keep up.
    behind: Option<Instant>,
}

impl Judgement {
    /// Whether it gives way from here on, where that is another answer than before.
    fn after(&mut self, Look { at, late, bytes }: Look) -> Option<bool> {
        if late > LATE || bytes > self.ring_bytes / FULL {
            self.behind = Some(at);
        }
        let gives = self.behind.is_none_or(|behind| at.duration_since(behind) > CALM);
        (std::mem::replace(&mut self.gives, gives) != gives).then_some(gives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_claims_its_share_when_late_or_before_the_ring_is_full_and_until_it_is_calm_again() {
        let began = Instant::now();
        let mut judgement = Judgement {
            ring_bytes: 1000,
            gives: true,
            behind: None,
        };
        let mut after = |ms, late, bytes| {
            judgement.after(Look {
                at: began + Duration::from_millis(ms),
                late: Duration::from_millis(late),
                bytes,
            })
        };
        assert_eq!(after(0, 1, 250), None);
        assert_eq!(after(5, 1, 251), Some(false));
        assert_eq!(after(10, 0, 0), None);
        assert_eq!(after(1000, 51, 0), None);
        assert_eq!(after(2500, 0, 0), None, "it was late meanwhile");
        assert_eq!(after(3001, 0, 0), Some(true));
        assert_eq!(after(3100, 51, 0), Some(false));
    }
}
