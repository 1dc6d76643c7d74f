//! Tracks: what a row of the picture stands for, what it is called and where it is placed.
//!
//! Owns their description, and how it becomes a `TrackDescriptor`. Must not know what is drawn on them.

use super::proto::{
    ChildTracksOrdering, CounterDescriptor, CounterUnit, ProcessDescriptor, SiblingMergeBehavior,
    ThreadDescriptor, TrackDescriptor,
};

/// A track that a [`Writer`](super::Writer) has described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub(super) u64);

/// What becomes of tracks of one name below one parent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Merge {
    /// Each is a row of its own.
    #[default]
    Apart,
    /// They are one row, as deep as the slices on them overlap.
    ByName,
}

/// In which order a track's children are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As the user interface likes.
    #[default]
    Unsaid,
    /// By name.
    Name,
    /// By their first event.
    Time,
    /// By their [`rank`](Track::rank), lowest first.
    Rank,
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit<'a> {
    /// Bytes, shown as KiB, MiB and so on.
    Bytes,
    /// Things.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// Whatever this says, such as `faults/s`.
    Named(&'a str),
}

/// A track, before it is described.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    kind: Kind<'a>,
    parent: Option<TrackId>,
    name: &'a str,
    description: &'a str,
    merge: Merge,
    rank: i32,
    children: Order,
}

#[derive(Clone, Copy, Debug)]
enum Kind<'a> {
    Process { pid: u32 },
    Thread { pid: u32, tid: u32 },
    Plain,
    Counter { unit: Unit<'a>, share: &'a str },
}

impl<'a> Track<'a> {
    const fn new(kind: Kind<'a>, parent: Option<TrackId>, name: &'a str) -> Self {
        Self {
            kind,
            parent,
            name,
            description: "",
            merge: Merge::Apart,
            rank: 0,
            children: Order::Unsaid,
        }
    }

    /// A process. It is one row group with what a system trace beside this one says of the same process.
    ///
    /// Leave `name` empty where it is not known yet: trace processors before v55 keep the first name that they hear.
    pub const fn process(pid: u32, name: &'a str) -> Self {
        Self::new(Kind::Process { pid }, None, name)
    }

    /// A thread, which is shown within its process.
    pub const fn thread(pid: u32, tid: u32, name: &'a str) -> Self {
        Self::new(Kind::Thread { pid, tid }, None, name)
    }

    /// A row below `parent`, or at the top. It can have slices of its own, children, or both.
    pub const fn child(parent: Option<TrackId>, name: &'a str) -> Self {
        Self::new(Kind::Plain, parent, name)
    }

    /// A counter below `parent`, or at the top.
    pub const fn counter(parent: Option<TrackId>, name: &'a str, unit: Unit<'a>) -> Self {
        Self::new(Kind::Counter { unit, share: "" }, parent, name)
    }

    /// Its place among its siblings where their parent has [`Order::Rank`].
    #[must_use]
    pub const fn rank(mut self, rank: i32) -> Self {
        self.rank = rank;
        self
    }

    /// In which order its own children are shown.
    #[must_use]
    pub const fn children(mut self, order: Order) -> Self {
        self.children = order;
        self
    }

    /// What becomes of siblings of the same name.
    #[must_use]
    pub const fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// A sentence for whoever asks what this track is.
    #[must_use]
    pub const fn description(mut self, text: &'a str) -> Self {
        self.description = text;
        self
    }

    /// Counters below one parent that share a key are drawn to one scale. Nothing but a counter takes one.
    #[must_use]
    pub const fn share(mut self, key: &'a str) -> Self {
        if let Kind::Counter { unit, .. } = self.kind {
            self.kind = Kind::Counter { unit, share: key };
        }
        self
    }

    /// As the trace has it. A name is cut by `cut` where it is too long.
    pub(super) fn descriptor(&self, id: TrackId, mut cut: impl FnMut(&str) -> String) -> TrackDescriptor {
        let mut said = |text: &str| (!text.is_empty()).then(|| cut(text));
        let mut descriptor = TrackDescriptor {
            uuid: Some(id.0),
            parent_uuid: self.parent.map(|parent| parent.0),
            description: said(self.description),
            ..TrackDescriptor::default()
        };
        let name = said(self.name);
        match self.kind {
            // Its name is the process's, in either case: a track's own would stand in the way of a system trace's.
            Kind::Process { pid } => {
                descriptor.process = Some(ProcessDescriptor {
                    pid: i32::try_from(pid).ok(),
                    process_name: name,
                });
            }
            Kind::Thread { pid, tid } => {
                descriptor.thread = Some(ThreadDescriptor {
                    pid: i32::try_from(pid).ok(),
                    tid: Some(i64::from(tid)),
                    thread_name: name,
                });
            }
            Kind::Plain => descriptor.name = name,
            Kind::Counter { unit, share } => {
                descriptor.name = name;
                let (unit, unit_name) = match unit {
                    Unit::Bytes => (Some(CounterUnit::SizeBytes), None),
                    Unit::Count => (Some(CounterUnit::Count), None),
                    Unit::Nanoseconds => (Some(CounterUnit::TimeNs), None),
                    Unit::Named(name) => (None, said(name)),
                };
                descriptor.counter = Some(CounterDescriptor {
                    unit: unit.map(i32::from),
                    unit_name,
                    y_axis_share_key: said(share),
                });
            }
        }
        descriptor.child_ordering = match self.children {
            Order::Unsaid => None,
            Order::Name => Some(ChildTracksOrdering::Lexicographic.into()),
            Order::Time => Some(ChildTracksOrdering::Chronological.into()),
            Order::Rank => Some(ChildTracksOrdering::Explicit.into()),
        };
        if matches!(self.kind, Kind::Plain | Kind::Counter { .. }) {
            descriptor.sibling_order_rank = Some(self.rank);
            descriptor.sibling_merge_behavior = Some(match self.merge {
                Merge::Apart => SiblingMergeBehavior::None.into(),
                Merge::ByName => SiblingMergeBehavior::ByTrackName.into(),
            });
        }
        descriptor
    }
}
