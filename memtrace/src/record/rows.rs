//! Events into rows of tables.
//!
//! Owns which fact goes into which column; `rows/parse.rs` is the way back. Must not know blocks or files.

pub(super) mod parse;

use memtrace_common::{
    Nanos,
    decode::{Payload, Record},
    wire::{Exec, Fault, Fork, Header, Io, Mm, Rss, Segment, Unmapped, Wake},
};
use rustc_hash::FxHashMap;

use super::{
    block::FAMILIES,
    column::{Column, put_varint},
    layout::{TABLES, Table},
};
use crate::{
    event::{Event, Notice, Socket},
    ledger::{Work, entry::Lost},
};

/// The roles of sockets in a recording.
pub(super) const LISTENER: u64 = 0;
pub(super) const INBOUND: u64 = 1;
pub(super) const OUTBOUND: u64 = 2;

/// The tables of one block, as they fill.
#[derive(Debug)]
pub(super) struct Rows {
    tables: Vec<Vec<Column>>,
    threads: FxHashMap<(u32, u32), usize>,
    pub(super) events: u32,
    /// Events of each family.
    pub(super) families: [u64; FAMILIES],
    /// The times of the first and the last event, as far as they have one.
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: u64,
    /// About so many bytes are in the columns.
    pub(super) size: usize,
}

/// A row that is being put in place, from left to right.
struct Row<'a> {
    columns: std::slice::IterMut<'a, Column>,
    thread: usize,
}

impl Row<'_> {
    #[inline]
    fn put(&mut self, figure: u64) -> &mut Self {
        if let Some(column) = self.columns.next() {
            column.put(figure, self.thread);
        }
        self
    }

    fn put_signed(&mut self, figure: i64) -> &mut Self {
        self.put(figure.cast_unsigned())
    }

    /// 0 is for none.
    fn put_option(&mut self, figure: Option<u64>) -> &mut Self {
        self.put(figure.map_or(0, |figure| figure.saturating_add(1)))
    }

    fn put_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        if let Some(column) = self.columns.next() {
            column.put_bytes(bytes);
        }
        self
    }

    /// Any number of figures in one row.
    fn put_all(&mut self, figures: impl Iterator<Item = u64>) -> &mut Self {
        if let Some(column) = self.columns.next() {
            for figure in figures {
                column.put(figure, self.thread);
            }
        }
        self
    }
}

impl Rows {
    pub(super) fn new() -> Self {
        let columns = |layout: &super::layout::Layout| {
            let columns = layout.columns.iter();
            columns.map(|&(_, codec)| Column::new(codec)).collect()
        };
        Self {
            tables: TABLES.iter().map(columns).collect(),
            threads: FxHashMap::default(),
            events: 0,
            families: [0; FAMILIES],
            first_ns: None,
            last_ns: 0,
            size: 0,
        }
    }

    /// The next event. `payload` is what is kept of an [`Io`] record's.
    pub(super) fn push(&mut self, event: &Event<'_>) {
        self.events += 1;
        match event {
            Event::Record(record) => self.record(record),
            Event::Notice(notice) => self.notice(notice),
        }
    }

    /// The bytes of all columns behind a list of their lengths.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size + 1024);
        for column in self.tables.iter().flatten() {
            put_varint(&mut bytes, column.bytes().len() as u64);
        }
        for column in self.tables.iter().flatten() {
            bytes.extend_from_slice(column.bytes());
        }
        bytes
    }

    fn row(&mut self, table: Table, thread: usize) -> Row<'_> {
        let columns = self.tables.get_mut(table as usize).map(Vec::as_mut_slice);
        Row {
            columns: columns.unwrap_or_default().iter_mut(),
            thread,
        }
    }

    fn begin(&mut self, table: Table) -> Row<'_> {
        self.row(Table::Rows, 0).put(table as u64);
        self.row(table, 0)
    }

    fn thread(&mut self, tgid: u32, tid: u32) -> usize {
        let next = self.threads.len();
        let number = *self.threads.entry((tgid, tid)).or_insert(next);
        if number == next {
            self.row(Table::Threads, 0).put(tgid.into()).put(tid.into());
        }
        number
    }

    /// The part that all records have; the row for the rest.
    #[inline]
    fn begin_record(&mut self, table: Table, header: &Header) -> Row<'_> {
        self.row(Table::Rows, 0).put(table as u64);
        let thread = self.thread(header.tgid, header.tid);
        self.row(Table::Header, thread)
            .put(thread as u64)
            .put(header.time_ns)
            .put(header.min_flt)
            .put(header.maj_flt);
        self.first_ns.get_or_insert(header.time_ns);
        self.last_ns = header.time_ns;
        // What a row takes, more or less; long ones add what they have beyond.
        self.size += 12;
        self.row(table, thread)
    }

    fn record(&mut self, record: &Record<'_>) {
        if let Some(count) = self.families.get_mut(family(record)) {
            *count += 1;
        }
        match record {
            Record::Fault(Fault { header, address, ip }) => {
                self.begin_record(Table::Fault, header)
                    .put(header.flags.into())
                    .put(*address)
                    .put(*ip)
                    .put(header.last_fault_ns().map_or(0, u64::from));
            }
            Record::Fork(Fork {
                header,
                child_tgid,
                child_tid,
                child_sp,
            }) => {
                self.begin_record(Table::Fork, header)
                    .put((*child_tgid).into())
                    .put((*child_tid).into())
                    .put(*child_sp);
            }
            Record::Exec(Exec {
                header,
                old_tid,
                comm,
                ..
            }) => {
                self.begin_record(Table::Exec, header)
                    .put((*old_tid).into())
                    .put_bytes(comm)
                    .put(header.last_fault_ns().map_or(0, u64::from));
            }
            Record::Exit(header) => drop(self.begin_record(Table::Exit, header)),
            Record::Free(header) => drop(self.begin_record(Table::Free, header)),
            Record::Wait(header) => {
                self.begin_record(Table::Wait, header).put(header.flags.into());
            }
            Record::Wake(Wake {
                header, tid, word, ..
            }) => {
                self.begin_record(Table::Wake, header)
                    .put((*tid).into())
                    .put(*word);
            }
            Record::Uring(header) => drop(self.begin_record(Table::Uring, header)),
            Record::Foreign(header) => drop(self.begin_record(Table::Foreign, header)),
            Record::Mm(mm) => self.mm(mm),
            Record::Unmapped(Unmapped {
                header,
                began_ns,
                ret,
            }) => {
                self.begin_record(Table::Unmapped, header)
                    .put(header.op.into())
                    .put(*began_ns)
                    .put_signed(*ret);
            }
            Record::Io(io, payload) => self.io(io, payload),
            Record::Tally(tally) => {
                put_work(
                    &mut self.begin_record(Table::Tally, &tally.header),
                    &Work::from(tally),
                );
            }
            Record::Rss(Rss {
                header,
                pages: [file, anon, swap, shmem],
                error_pages,
            }) => {
                self.begin_record(Table::Rss, header)
                    .put_signed(*file)
                    .put_signed(*anon)
                    .put_signed(*swap)
                    .put_signed(*shmem)
                    .put(*error_pages);
            }
        }
    }

    fn mm(&mut self, mm: &Mm) {
        let mut row = self.begin_record(Table::Mm, &mm.header);
        row.put(mm.header.op.into()).put_signed(mm.ret);
        for argument in mm.args {
            row.put(argument);
        }
        row.put(mm.inode)
            .put(mm.device.into())
            .put(mm.magic.into())
            .put(mm.began_ns);
        self.size += 16;
    }

    fn io(&mut self, io: &Io, payload: &Payload<'_>) {
        let header = &io.header;
        let segments = payload.segments();
        let used = segments.iter().rposition(|s| *s != Segment::default());
        let segments = segments
            .get(..used.map_or(0, |last| last + 1))
            .unwrap_or_default();
        self.size += 8 + payload.captured().len();
        self.begin_record(Table::Io, header)
            .put(header.op.into())
            .put(header.flags.into())
            .put_signed(header.fd.into())
            .put_signed(io.ret)
            .put_signed(io.other)
            .put(segments.len() as u64)
            .put_all(segments.iter().map(|s| s.len.into()))
            .put_all(segments.iter().map(|s| s.head.into()))
            .put_all(segments.iter().map(|s| s.tail.into()))
            .put_bytes(payload.captured());
    }

    #[expect(clippy::too_many_lines, reason = "an arm a table")]
    fn notice(&mut self, notice: &Notice) {
        if let Some(count) = self.families.last_mut() {
            *count += 1;
        }
        self.size += 16;
        match notice {
            Notice::Begin { time } => {
                self.begin(Table::Begin).put(time.0);
            }
            Notice::Process {
                tgid,
                comm,
                brk,
                io_uring,
            } => {
                self.size += comm.len();
                self.begin(Table::Process)
                    .put(tgid.0.into())
                    .put_bytes(comm.as_bytes())
                    .put_option(*brk)
                    .put((*io_uring).into());
            }
            Notice::Thread {
                tgid,
                tid,
                count,
                sp,
                comm,
            } => {
                self.begin(Table::Thread)
                    .put(tgid.0.into())
                    .put(tid.0.into())
                    .put(count.minor)
                    .put(count.major)
                    .put_option(*sp)
                    .put_bytes(comm.as_bytes());
            }
            Notice::Maps { tgid, text, time } => {
                self.size += text.len();
                self.begin(Table::Maps)
                    .put(tgid.0.into())
                    .put_bytes(text)
                    .put(time.0);
            }
            Notice::Mapped {
                tgid,
                start,
                path,
                shared,
                in_memory,
            } => {
                self.size += path.as_ref().map_or(0, Vec::len);
                self.begin(Table::Mapped)
                    .put(tgid.0.into())
                    .put(*start)
                    .put(path.is_some().into())
                    .put_bytes(path.as_deref().unwrap_or_default())
                    .put((*shared).into())
                    .put((*in_memory).into());
            }
            Notice::Named {
                tgid,
                start,
                len,
                name,
            } => {
                self.size += name.len();
                self.begin(Table::Named)
                    .put(tgid.0.into())
                    .put(*start)
                    .put(*len)
                    .put_bytes(name);
            }
            Notice::Seeded { tgid, time } => {
                self.begin(Table::Seeded).put(tgid.0.into()).put(time.0);
            }
            Notice::Socket { tgid, fd, socket } => {
                let (role, port) = match *socket {
                    Socket::Listener { port } => (LISTENER, port),
                    Socket::Inbound { port } => (INBOUND, port),
                    Socket::Outbound => (OUTBOUND, None),
                };
                self.begin(Table::Socket)
                    .put(tgid.0.into())
                    .put_signed(fd.0.into())
                    .put(role)
                    .put_option(port.map(u64::from));
            }
            Notice::Channel {
                tgid,
                fd,
                reads,
                writes,
            } => {
                self.begin(Table::Channel)
                    .put(tgid.0.into())
                    .put_signed(fd.0.into())
                    .put_option(*reads)
                    .put_option(*writes);
            }
            Notice::Gone { tgid, time } => {
                self.begin(Table::Gone).put(tgid.0.into()).put(time.0);
            }
            Notice::Horizon { tid, count } => {
                self.begin(Table::Horizon)
                    .put(tid.0.into())
                    .put(count.minor)
                    .put(count.major);
            }
            Notice::Ending { time } => {
                self.begin(Table::Ending).put(time.0);
            }
            Notice::Untold { tid, work } => {
                let mut row = self.begin(Table::Untold);
                row.put(tid.0.into());
                put_work(&mut row, work);
            }
            Notice::Lost { lost, since, until } => self.lost(*lost, *since, *until),
            Notice::Note(text) => {
                self.size += text.len();
                self.begin(Table::Note).put_bytes(text.as_bytes());
            }
        }
    }

    fn lost(&mut self, lost: Lost, since: Nanos, until: Nanos) {
        let Lost {
            fault,
            mm,
            io,
            frame,
            task,
            ns,
        } = lost;
        self.begin(Table::Lost)
            .put(fault)
            .put(mm)
            .put(io)
            .put(frame)
            .put(task)
            .put(ns)
            .put(since.0)
            .put(until.0);
    }
}

fn put_work(row: &mut Row<'_>, work: &Work) {
    let Work {
        frames,
        timed_faults,
        fault_ns,
        last_fault_ns,
    } = work;
    row.put(frames.user)
        .put(frames.page_table)
        .put(frames.kernel)
        .put(frames.freed)
        .put(frames.huge)
        .put(*timed_faults)
        .put(*fault_ns)
        .put(*last_fault_ns);
}

/// Where [`Rows::families`] counts an event.
#[inline]
pub(super) fn family_of(event: &Event<'_>) -> usize {
    match event {
        Event::Record(record) => family(record),
        Event::Notice(_) => FAMILIES - 1,
    }
}

/// Where [`Rows::families`] counts a record: in [`Lost`]'s order, notices last.
fn family(record: &Record<'_>) -> usize {
    match record {
        Record::Fault(_) => 0,
        Record::Mm(_) | Record::Unmapped(_) => 1,
        Record::Io(..) | Record::Wait(_) | Record::Wake(_) | Record::Uring(_) | Record::Foreign(_) => 2,
        Record::Tally(_) | Record::Rss(_) => 3,
        Record::Fork(_) | Record::Exec(_) | Record::Exit(_) | Record::Free(_) => 4,
    }
}
