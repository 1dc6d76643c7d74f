//! What of a request is held to a baseline.
//!
//! Owns the figures' names, units, and how much of each is worth a word. Must not know how they are compared.

use crate::{ledger::entry::Request, model::vma::Region};

/// A page, as frames and faults have it.
const PAGE: i64 = 4096;

/// What a figure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Faults, or frames.
    Count,
    /// Bytes.
    Bytes,
    /// Bytes more or less.
    BytesChanged,
    /// Parts in a thousand.
    Thousandths,
}

/// A figure of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// All faults.
    Faults,
    /// Minor ones.
    Minor,
    /// Major ones.
    Major,
    /// Those in kernel mode.
    KernelMode,
    /// Copies on write.
    Cow,
    /// Those in a kind of memory.
    Region(Region),
    /// Page frames that were handed out.
    Frames,
    /// How resident memory moved.
    RssDelta,
    /// Bytes that `mmap` mapped.
    MmapBytes,
    /// The part of its time that was spent in faults.
    FaultTime,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Self> {
        [
            Self::Faults,
            Self::Minor,
            Self::Major,
            Self::KernelMode,
            Self::Cow,
            Self::Frames,
            Self::RssDelta,
            Self::MmapBytes,
            Self::FaultTime,
        ]
        .into_iter()
        .chain(Region::ALL.map(Self::Region))
    }

    /// Its name in a baseline.
    pub fn name(self) -> String {
        match self {
            Self::Faults => "faults".to_owned(),
            Self::Minor => "minor".to_owned(),
            Self::Major => "major".to_owned(),
            Self::KernelMode => "kernel_mode".to_owned(),
            Self::Cow => "cow".to_owned(),
            Self::Region(region) => format!("region_{}", region.name()),
            Self::Frames => "frames".to_owned(),
            Self::RssDelta => "rss_delta".to_owned(),
            Self::MmapBytes => "mmap_bytes".to_owned(),
            Self::FaultTime => "fault_time".to_owned(),
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|metric| metric.name() == name)
    }

    /// What it counts in.
    pub fn unit(self) -> Unit {
        match self {
            Self::RssDelta => Unit::BytesChanged,
            Self::MmapBytes => Unit::Bytes,
            Self::FaultTime => Unit::Thousandths,
            _ => Unit::Count,
        }
    }

    /// A change of less says nothing about a program, whatever chance says of it.
    pub fn least(self) -> i64 {
        match self {
            Self::Major => 1,
            Self::RssDelta | Self::MmapBytes => 16 * PAGE,
            Self::FaultTime => 100,
            _ => 2,
        }
    }

    /// A request's, where it is known.
    pub fn of(self, request: &Request) -> Option<i64> {
        let faults = &request.faults;
        let by_name = |sums: Option<&crate::ledger::entry::ByName>, wanted: &str| {
            sums?.iter().find(|(name, _)| *name == wanted).map(|(_, sum)| sum)
        };
        let figure = match self {
            Self::RssDelta => return request.rss.as_ref().map(|rss| rss.delta),
            Self::Faults => Some(faults.total),
            Self::Minor => Some(faults.minor),
            Self::Major => Some(faults.major),
            Self::KernelMode => Some(faults.kernel_mode),
            Self::Cow => by_name(faults.cause.as_ref(), "cow"),
            Self::Region(region) => by_name(faults.region.as_ref(), region.name()),
            Self::Frames => request.frames.as_ref().map(|frames| frames.allocated),
            Self::MmapBytes => Some(request.space.mmap_bytes),
            Self::FaultTime => faults
                .time_ns
                .map(|time| time.saturating_mul(1000) / request.duration_ns.max(1)),
        };
        figure.map(|figure| i64::try_from(figure).unwrap_or(i64::MAX))
    }
}

/// A call that changes the address space. They explain figures, and are not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `mmap`
    Mmap,
    /// `munmap`
    Munmap,
    /// `brk`
    Brk,
    /// `mremap`
    Mremap,
    /// `madvise`
    Madvise,
    /// `mprotect`
    Mprotect,
}

impl Call {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Mmap,
        Self::Munmap,
        Self::Brk,
        Self::Mremap,
        Self::Madvise,
        Self::Mprotect,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mmap => "mmap",
            Self::Munmap => "munmap",
            Self::Brk => "brk",
            Self::Mremap => "mremap",
            Self::Madvise => "madvise",
            Self::Mprotect => "mprotect",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.name() == name)
    }

    /// How often a request made it.
    pub fn of(self, request: &Request) -> u32 {
        let space = &request.space;
        let calls = match self {
            Self::Mmap => space.mmap_calls,
            Self::Munmap => space.munmap_calls,
            Self::Brk => space.brk_calls,
            Self::Mremap => space.mremap_calls,
            Self::Madvise => space.madvise_calls,
            Self::Mprotect => space.mprotect_calls,
        };
        u32::try_from(calls).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        for metric in Metric::all() {
            assert_eq!(Metric::named(&metric.name()), Some(metric));
        }
        assert_eq!(Metric::named("fault"), None);
        for call in Call::ALL {
            assert_eq!(Call::named(call.name()), Some(call));
        }
    }
}
