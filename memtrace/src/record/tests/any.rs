//! Any event that a run can have, its figures at the ends of what they can be.
//!
//! Owns what can be: what a probe leaves zero is zero here too. Must not know how events are written.

use memtrace_common::{
    FaultCount, Fd, Nanos, Tgid, Tid,
    decode::Record,
    wire::{
        self, Exec, Fault, Fork, FrameCount, Header, Io, Mm, Rss, SEGMENTS_MAX, Segment, Segments, Tally,
        Unmapped, Wake,
    },
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use zerocopy::{Immutable, IntoBytes};

use crate::{
    event::{Event, Notice, Socket},
    ledger::{Work, entry::Lost},
};

/// An event that owns its bytes.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// A record, as the ring has it.
    Record(Vec<u8>),
    Notice(Notice),
}

impl Told {
    pub(super) fn event(&self) -> Event<'_> {
        match self {
            Self::Record(bytes) => Event::Record(Record::decode(bytes).unwrap()),
            Self::Notice(notice) => Event::Notice(notice.clone()),
        }
    }

    pub(super) fn is_loss(&self) -> bool {
        matches!(self, Self::Notice(Notice::Lost { .. }))
    }
}

/// So many events, the same ones each time. None of them says that something was lost.
pub(super) fn sample(n: usize) -> Vec<Told> {
    let mut runner = TestRunner::deterministic();
    let events = event().prop_filter("a loss", |told| !told.is_loss());
    (0..n)
        .map(|_| events.new_tree(&mut runner).unwrap().current())
        .collect()
}

pub(super) fn event() -> impl Strategy<Value = Told> {
    // Boxed, or the value trees of all kinds would lie on the stack at once.
    prop_oneof![3 => record().boxed(), 1 => notice().prop_map(Told::Notice).boxed()]
}

/// A figure of 64 bits: small, at an end, or anything.
fn figure() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0..300_u64,
        1 => prop::sample::select(vec![u64::MAX, u64::MAX - 1, 1 << 63, i64::MAX.cast_unsigned(), 0x7fff_f000_0000]),
        1 => any::<u64>(),
    ]
}

fn signed() -> impl Strategy<Value = i64> {
    figure().prop_map(u64::cast_signed)
}

fn word() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..4_u32, 1 => Just(u32::MAX), 1 => any::<u32>()]
}

fn fd() -> impl Strategy<Value = Fd> {
    prop_oneof![3 => 0..9_i32, 1 => Just(i32::MIN), 1 => Just(-1), 1 => any::<i32>()].prop_map(Fd)
}

/// An address, or none. The highest of all is no address: it would be one more than fits.
fn optional() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), figure().prop_map(|n| Some(n.min(u64::MAX - 1)))]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

/// What every record begins with.
fn header(kind: u8) -> impl Strategy<Value = Header> {
    (figure(), word(), word(), figure(), figure()).prop_map(move |(time_ns, tgid, tid, min_flt, maj_flt)| {
        Header {
            time_ns,
            tgid,
            tid,
            min_flt,
            maj_flt,
            kind,
            ..Header::default()
        }
    })
}

/// The same, of a record that can say how long a fault took.
fn timing(kind: u8) -> impl Strategy<Value = Header> {
    (header(kind), word()).prop_map(|(header, ns)| header.with_last_fault_ns(ns))
}

fn record() -> impl Strategy<Value = Told> {
    let fault = (timing(wire::KIND_FAULT), any::<u8>(), figure(), figure()).prop_map(
        |(header, flags, address, ip)| {
            told(&Fault {
                header: Header { flags, ..header },
                address,
                ip,
            })
        },
    );
    let fork = (header(wire::KIND_FORK), word(), word(), figure()).prop_map(
        |(header, child_tgid, child_tid, child_sp)| {
            told(&Fork {
                header,
                child_tgid,
                child_tid,
                child_sp,
            })
        },
    );
    let exec = (timing(wire::KIND_EXEC), word(), any::<[u8; 16]>()).prop_map(|(header, old_tid, comm)| {
        told(&Exec {
            header,
            old_tid,
            pad: 0,
            comm,
        })
    });
    let bare = prop::sample::select(vec![
        wire::KIND_EXIT,
        wire::KIND_FREE,
        wire::KIND_URING,
        wire::KIND_FOREIGN,
    ]);
    let bare = bare.prop_flat_map(header).prop_map(|header| told(&header));
    let wait =
        (header(wire::KIND_WAIT), any::<u8>()).prop_map(|(header, flags)| told(&Header { flags, ..header }));
    let wake = (header(wire::KIND_WAKE), word(), figure()).prop_map(|(header, tid, word)| {
        told(&Wake {
            header,
            tid,
            pad: 0,
            word,
        })
    });
    let tally = (timing(wire::KIND_TALLY), work()).prop_map(|(header, work)| {
        told(&Tally {
            header,
            frames: work.frames,
            timed_faults: work.timed_faults,
            fault_ns: work.fault_ns,
        })
    });
    let unmapped = (header(wire::KIND_UNMAPPED), any::<u8>(), figure(), signed()).prop_map(
        |(header, op, began_ns, ret)| {
            told(&Unmapped {
                header: Header { op, ..header },
                began_ns,
                ret,
            })
        },
    );
    let rss = (
        header(wire::KIND_RSS),
        [signed(), signed(), signed(), signed()],
        figure(),
    )
        .prop_map(|(header, pages, error_pages)| {
            told(&Rss {
                header,
                pages,
                error_pages,
            })
        });
    prop_oneof![
        4 => fault.boxed(),
        1 => fork.boxed(),
        1 => exec.boxed(),
        2 => bare.boxed(),
        2 => mm().boxed(),
        4 => io().boxed(),
        1 => tally.boxed(),
        1 => rss.boxed(),
        1 => unmapped.boxed(),
        1 => wait.boxed(),
        1 => wake.boxed(),
    ]
}

fn mm() -> impl Strategy<Value = Told> {
    let args = [figure(), figure(), figure(), figure(), figure(), figure()];
    let file = (figure(), word(), word());
    (header(wire::KIND_MM), any::<u8>(), signed(), args, file, figure()).prop_map(
        |(header, op, ret, args, (inode, device, magic), began_ns)| {
            told(&Mm {
                header: Header { op, ..header },
                began_ns,
                ret,
                args,
                inode,
                device,
                magic,
            })
        },
    )
}

/// A buffer's head, tail, and what was not captured of it.
fn buffer() -> impl Strategy<Value = (u16, u16, u32)> {
    let captured = || prop_oneof![4 => 0..40_u16, 1 => Just(8192)];
    let between = prop_oneof![Just(0), 0..300_u32, Just(1 << 31)];
    (captured(), captured(), between)
}

fn io() -> impl Strategy<Value = Told> {
    let about = (header(wire::KIND_IO), any::<u8>(), any::<u8>(), fd(), signed());
    let seen = vec(buffer(), 0..=SEGMENTS_MAX);
    let payload = prop_oneof![
        signed().prop_map(|ret| (ret, None)),
        (seen, figure()).prop_map(|(buffers, beyond)| {
            let mut segments = Segments::default();
            let (mut moved, mut captured) = (0, 0);
            for (segment, (head, tail, between)) in segments.iter_mut().zip(buffers) {
                let seen = u32::from(head) + u32::from(tail);
                let len = seen + between;
                *segment = Segment { len, head, tail };
                moved += u64::from(len);
                captured += seen;
            }
            let total = moved.saturating_add(beyond).min(i64::MAX.cast_unsigned());
            (total.cast_signed(), Some((segments, captured)))
        })
    ];
    (about, payload).prop_map(|((header, op, flags, fd, other), (ret, payload))| {
        let without = flags & !wire::IO_PAYLOAD;
        let flags = payload.map_or(without, |_| without | wire::IO_PAYLOAD);
        let header = Header {
            op,
            flags,
            fd: fd.0,
            ..header
        };
        let mut bytes = Io { header, ret, other }.as_bytes().to_vec();
        if let Some((segments, captured)) = payload {
            bytes.extend(segments.as_bytes());
            bytes.extend((0..captured).map(|n| n.to_le_bytes()[0]));
        }
        Told::Record(bytes)
    })
}

fn told(record: &(impl IntoBytes + Immutable)) -> Told {
    Told::Record(record.as_bytes().to_vec())
}

fn work() -> impl Strategy<Value = Work> {
    let frames = (figure(), figure(), figure(), figure(), figure());
    (frames, figure(), figure(), figure()).prop_map(
        |((user, page_table, kernel, freed, huge), timed_faults, fault_ns, last_fault_ns)| Work {
            frames: FrameCount {
                user,
                page_table,
                kernel,
                freed,
                huge,
            },
            timed_faults,
            fault_ns,
            last_fault_ns,
        },
    )
}

fn notice() -> impl Strategy<Value = Notice> {
    let time = || figure().prop_map(Nanos);
    let tgid = || word().prop_map(Tgid);
    let tid = || word().prop_map(Tid);
    let count = || (figure(), figure()).prop_map(|(minor, major)| FaultCount { minor, major });
    let port = || proptest::option::of(any::<u16>());
    let process = (tgid(), ".{0,20}", optional(), any::<bool>());
    let thread = (tgid(), tid(), count(), optional(), ".{0,15}");
    let mapped = (
        tgid(),
        figure(),
        proptest::option::of(bytes()),
        any::<bool>(),
        any::<bool>(),
    );
    let socket = prop_oneof![
        port().prop_map(|port| Socket::Listener { port }),
        port().prop_map(|port| Socket::Inbound { port }),
        Just(Socket::Outbound),
    ];
    let channel = (tgid(), fd(), optional(), optional());
    let lost = [figure(), figure(), figure(), figure(), figure(), figure()];
    prop_oneof![
        time().prop_map(|time| Notice::Begin { time }),
        process.prop_map(|(tgid, comm, brk, io_uring)| Notice::Process {
            tgid,
            comm,
            brk,
            io_uring
        }),
        thread.prop_map(|(tgid, tid, count, sp, comm)| Notice::Thread {
            tgid,
            tid,
            count,
            sp,
            comm
        }),
        (tgid(), bytes(), time()).prop_map(|(tgid, text, time)| Notice::Maps { tgid, text, time }),
        mapped.prop_map(|(tgid, start, path, shared, in_memory)| Notice::Mapped {
            tgid,
            start,
            path,
            shared,
            in_memory
        }),
        (tgid(), figure(), figure(), bytes()).prop_map(|(tgid, start, len, name)| Notice::Named {
            tgid,
            start,
            len,
            name
        }),
        (tgid(), time()).prop_map(|(tgid, time)| Notice::Seeded { tgid, time }),
        (tgid(), fd(), socket).prop_map(|(tgid, fd, socket)| Notice::Socket { tgid, fd, socket }),
        channel.prop_map(|(tgid, fd, reads, writes)| Notice::Channel {
            tgid,
            fd,
            reads,
            writes
        }),
        (tgid(), time()).prop_map(|(tgid, time)| Notice::Gone { tgid, time }),
        (tid(), count()).prop_map(|(tid, count)| Notice::Horizon { tid, count }),
        time().prop_map(|time| Notice::Ending { time }),
        (tid(), work()).prop_map(|(tid, work)| Notice::Untold { tid, work }),
        (lost, time(), time()).prop_map(|([fault, mm, io, frame, task, ns], since, until)| Notice::Lost {
            lost: Lost {
                fault,
                mm,
                io,
                frame,
                task,
                ns
            },
            since,
            until
        }),
        ".{0,40}".prop_map(Notice::Note),
    ]
}
