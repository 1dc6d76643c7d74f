//! What one request was promised, what of that it was given, and when.
//!
//! Owns the arithmetic. Must not know how it is told.

use std::ops::Range;

use memtrace_common::{
    Nanos,
    wire::{self, Mm},
};

use crate::{
    model::{cause::Cause, vma::PAGE},
    timed::Completed,
};

/// Addresses that a call has taken for its program.
pub(super) fn promised(call: &Mm, moved: u64) -> Option<Range<u64>> {
    let start = call.ret.cast_unsigned();
    match call.header.op {
        wire::MM_MMAP => Some(start..start.saturating_add(moved)),
        wire::MM_BRK => Some(start.saturating_sub(moved)..start),
        // What was there before has only moved.
        wire::MM_MREMAP => Some(start.saturating_add(call.args[1])..start.saturating_add(moved)),
        _ => None,
    }
    .filter(|range| range.start < range.end)
}

/// What was seen of a request that is on its way.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    promised: Vec<Range<u64>>,
    faults: Vec<Given>,
}

/// A fault.
#[derive(Clone, Copy, Debug)]
struct Given {
    at: Nanos,
    address: u64,
    /// It brought new memory.
    is_new: bool,
}

impl Seen {
    pub(super) fn promise(&mut self, range: Range<u64>) {
        self.promised.push(range);
    }

    pub(super) fn fault(&mut self, fault: &Completed) {
        self.faults.push(Given {
            at: fault.taken.at,
            address: fault.taken.address,
            is_new: fault.cause() == Cause::ZeroFill,
        });
    }

    /// How much there is of it.
    pub(super) fn len(&self) -> usize {
        self.promised.len() + self.faults.len()
    }

    /// What it comes to, of a request that began then.
    pub(super) fn course(&self, start: Nanos) -> Course {
        let promised = merged(self.promised.clone());
        let is_promised = |address: u64| {
            let index = promised.partition_point(|range| range.end <= address);
            promised.get(index).is_some_and(|range| range.contains(&address))
        };
        let new = self.faults.iter().filter(|fault| fault.is_new);
        let of_promised = new.clone().filter(|fault| is_promised(fault.address));
        let mut times: Vec<u64> = self.faults.iter().map(|fault| fault.at.since(start).0).collect();
        times.sort_unstable();
        let at = |index: usize| times.get(index).copied();
        let last = times.len().checked_sub(1);
        Course {
            promised: promised.iter().map(|range| range.end - range.start).sum(),
            given: new.count() as u64,
            given_of_promised: of_promised.count() as u64,
            times: last.and_then(|last| Some([at(0)?, at(last / 2)?, at(last)?])),
        }
    }
}

/// The same addresses, each once.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What a request was promised and given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Addresses that its calls took, bytes. Those that were taken twice count once.
    pub promised: u64,
    /// Faults that brought memory that nobody had written to before: a page of 4 KiB, or a huge one.
    pub given: u64,
    /// Those of them at addresses that it was promised itself.
    pub given_of_promised: u64,
    /// When the first, the middle one and the last of all its faults were taken, nanoseconds after it began.
    pub times: Option<[u64; 3]>,
}

impl Course {
    /// What was given of its own promise, in pages of 4 KiB, is all of it.
    pub fn is_used_up(&self) -> bool {
        self.given_of_promised.saturating_mul(PAGE) >= self.promised
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::{Tgid, Tid, wire::Header};

    use super::*;
    use crate::{
        ledger::{Place, Taken},
        model::{
            cause::Access,
            counting::Outcome,
            vma::{Backing, Prot, Vma},
        },
        window::{Owner, Reason},
    };

    fn call(op: u8, ret: u64, args: [u64; 6]) -> Mm {
        Mm {
            header: Header {
                op,
                ..Header::default()
            },
            began_ns: 0,
            ret: ret.cast_signed(),
            args,
            inode: 0,
            device: 0,
            magic: 0,
        }
    }

    fn fault(at: u64, address: u64, is_new: bool) -> Completed {
        let vma = Vma::new(Prot::new(true, true, false), false, Backing::Anon, 0);
        let access = Access {
            write: is_new,
            exec: false,
        };
        Completed {
            tgid: Tgid(1),
            taken: Taken {
                tid: Tid(1),
                at: Nanos(at),
                address,
                ip: 0,
                kernel_mode: false,
                place: Place::of(access, false, Some(&vma)),
            },
            outcome: Outcome::Minor,
            owner: Owner::Nobody(Reason::Idle),
            file: None,
            took: None,
        }
    }

    #[test]
    fn calls_promise_what_was_not_there_before() {
        assert_eq!(
            promised(&call(wire::MM_MMAP, 0x10_0000, [0; 6]), 0x4000),
            Some(0x10_0000..0x10_4000)
        );
        assert_eq!(
            promised(&call(wire::MM_BRK, 0x9000, [0x9000, 0, 0, 0, 0, 0]), 0x2000),
            Some(0x7000..0x9000)
        );
        let grown = call(wire::MM_MREMAP, 0x20_0000, [0x10_0000, 0x1000, 0x3000, 0, 0, 0]);
        assert_eq!(promised(&grown, 0x3000), Some(0x20_1000..0x20_3000));
        let shrunk = call(wire::MM_MREMAP, 0x20_0000, [0x20_0000, 0x3000, 0x1000, 0, 0, 0]);
        assert_eq!(promised(&shrunk, 0x1000), None);
        assert_eq!(
            promised(&call(wire::MM_MUNMAP, 0, [0x1000, 0x1000, 0, 0, 0, 0]), 0x1000),
            None
        );
        assert_eq!(
            promised(&call(wire::MM_BRK, 0x9000, [0x9000, 0, 0, 0, 0, 0]), 0),
            None
        );
    }

    #[test]
    fn what_is_given_is_of_this_promise_or_an_earlier_one() {
        let mut seen = Seen::default();
        seen.promise(0x10_0000..0x10_4000);
        seen.promise(0x10_2000..0x10_8000);
        for (at, address, is_new) in [
            (1_500, 0x10_0123, true),
            (1_100, 0x10_7fff, true),
            (1_900, 0x10_8000, true),
            (1_200, 0x10_1000, false),
            (1_300, 0x5000, true),
        ] {
            seen.fault(&fault(at, address, is_new));
        }
        let expected = Course {
            promised: 0x8000,
            given: 4,
            given_of_promised: 2,
            times: Some([100, 300, 900]),
        };
        assert_eq!(seen.course(Nanos(1_000)), expected);
        assert_eq!(Seen::default().course(Nanos(5)), Course::default());
    }
}
