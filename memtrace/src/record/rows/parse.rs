//! Rows of tables back into events.
//!
//! Owns the way back from the layout that a recording was written with, by the names in its preamble. Must not trust a
//! byte: columns may end early and figures may be anything.

use memtrace_common::{
    FaultCount, Fd, Nanos, Tgid, Tid,
    decode::{Payload, Record},
    wire::{self, Exec, Fault, Fork, FrameCount, Header, Io, Mm, Rss, Segments, Tally, Unmapped, Wake},
};

use super::{INBOUND, LISTENER, OUTBOUND};
use crate::{
    event::{Event, Notice, Socket},
    ledger::{Work, entry::Lost},
    record::{
        column::{Codec, Cursor, take_varint},
        layout::{TABLES, Table},
        migrate::{self, Before},
        preamble::Preamble,
    },
};

/// Where each column of this version is in a recording.
#[derive(Clone, Debug)]
pub(in crate::record) struct Plan {
    /// By the recording's number of a table: this version's.
    tables: Vec<Option<Table>>,
    /// Codecs of the recording's columns, table by table, in the order in which a block has them.
    codecs: Vec<Codec>,
    /// By this version's table and column.
    sources: Vec<Vec<Source>>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// The recording's column of this number.
    Column(usize),
    Always(u64),
}

/// The recording does not say where a column of its version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::record) struct Unplanned;

impl Plan {
    pub(in crate::record) fn new(preamble: &Preamble) -> Result<Self, Unplanned> {
        let tables = &preamble.tables;
        // Without these a block could say anything with no bytes.
        for needed in [Table::Rows, Table::Threads, Table::Header] {
            preamble.table(needed).ok_or(Unplanned)?;
        }
        let codecs = tables
            .iter()
            .flat_map(|t| t.columns.iter().map(|&(_, codec)| codec));
        let known = |name: &str| TABLES.iter().find(|layout| layout.name == name);
        let mut sources = Vec::new();
        for layout in &TABLES {
            let of_table = preamble.table(layout.table);
            let mut columns = Vec::new();
            for &(name, _) in layout.columns {
                columns.push(
                    match (of_table, migrate::column(preamble.version, layout.name, name)) {
                        (_, Before::Always(figure)) => Source::Always(figure),
                        // A table that the recording does not have has no rows.
                        (None, _) => Source::Always(0),
                        (Some(table), Before::Named(name)) => {
                            let before = tables.iter().take(table).map(|t| t.columns.len()).sum::<usize>();
                            let columns = tables
                                .get(table)
                                .map(|t| t.columns.as_slice())
                                .unwrap_or_default();
                            let at = columns.iter().position(|(column, _)| column == name);
                            Source::Column(before + at.ok_or(Unplanned)?)
                        }
                    },
                );
            }
            sources.push(columns);
        }
        Ok(Self {
            tables: tables.iter().map(|t| known(&t.name).map(|l| l.table)).collect(),
            codecs: codecs.collect(),
            sources,
        })
    }

    /// The events of a block; `None` where its columns are not what they should be.
    pub(in crate::record) fn open<'a>(&'a self, raw: &'a [u8]) -> Option<Parser<'a>> {
        let mut rest = raw;
        let mut lengths = Vec::with_capacity(self.codecs.len());
        for _ in &self.codecs {
            lengths.push(usize::try_from(take_varint(&mut rest)?).ok()?);
        }
        let mut columns = Vec::with_capacity(self.codecs.len());
        for (&codec, length) in self.codecs.iter().zip(lengths) {
            let (bytes, after) = rest.split_at_checked(length)?;
            columns.push(Some(Cursor::new(codec, bytes)));
            rest = after;
        }
        let take = |source: &Source| match *source {
            Source::Always(figure) => Cell::Always(figure),
            // A column serves one fact.
            Source::Column(at) => match columns.get_mut(at).and_then(Option::take) {
                Some(cursor) => Cell::Column(cursor),
                None => Cell::Always(0),
            },
        };
        let mut take = take;
        let cells = self
            .sources
            .iter()
            .map(|columns| columns.iter().map(&mut take).collect());
        Some(Parser {
            tables: &self.tables,
            cells: cells.collect(),
            threads: Vec::new(),
        })
    }
}

/// One column of a table of this version, wherever its figures come from.
#[derive(Debug)]
enum Cell<'a> {
    Column(Cursor<'a>),
    Always(u64),
}

/// Reads the events of a block, one after another.
#[derive(Debug)]
pub(in crate::record) struct Parser<'a> {
    tables: &'a [Option<Table>],
    cells: Vec<Vec<Cell<'a>>>,
    threads: Vec<(u32, u32)>,
}

/// A row that is being read, from left to right.
struct Row<'a, 'b> {
    cells: std::slice::IterMut<'b, Cell<'a>>,
    thread: usize,
}

impl<'a> Row<'a, '_> {
    #[inline]
    fn take(&mut self) -> Option<u64> {
        match self.cells.next()? {
            Cell::Column(cursor) => cursor.take(self.thread),
            Cell::Always(figure) => Some(*figure),
        }
    }

    /// The same, where it fits into a smaller type.
    #[inline]
    fn take_as<T: TryFrom<u64>>(&mut self) -> Option<T> {
        self.take()?.try_into().ok()
    }

    fn take_signed(&mut self) -> Option<i64> {
        Some(self.take()?.cast_signed())
    }

    fn take_flag(&mut self) -> Option<bool> {
        Some(self.take()? != 0)
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one is for figures that are not there"
    )]
    fn take_option(&mut self) -> Option<Option<u64>> {
        Some(self.take()?.checked_sub(1))
    }

    fn take_bytes(&mut self) -> Option<&'a [u8]> {
        match self.cells.next()? {
            Cell::Column(cursor) => cursor.take_bytes(),
            Cell::Always(_) => Some(&[]),
        }
    }

    /// All figures of one row in one column.
    fn take_all<'t, T: TryFrom<u64> + 't>(&mut self, to: impl Iterator<Item = &'t mut T>) -> Option<()> {
        let cell = self.cells.next()?;
        for to in to {
            let figure = match cell {
                Cell::Column(cursor) => cursor.take(self.thread)?,
                Cell::Always(figure) => *figure,
            };
            *to = figure.try_into().ok()?;
        }
        Some(())
    }

    fn tgid(&mut self) -> Option<Tgid> {
        self.take_as().map(Tgid)
    }

    fn tid(&mut self) -> Option<Tid> {
        self.take_as().map(Tid)
    }

    fn time(&mut self) -> Option<Nanos> {
        self.take().map(Nanos)
    }

    fn count(&mut self) -> Option<FaultCount> {
        Some(FaultCount {
            minor: self.take()?,
            major: self.take()?,
        })
    }

    fn text(&mut self) -> Option<String> {
        self.take_bytes()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn work(&mut self) -> Option<Work> {
        Some(Work {
            frames: FrameCount {
                user: self.take()?,
                page_table: self.take()?,
                kernel: self.take()?,
                freed: self.take()?,
                huge: self.take()?,
            },
            timed_faults: self.take()?,
            fault_ns: self.take()?,
            last_fault_ns: self.take()?,
        })
    }
}

impl<'a> Parser<'a> {
    /// The next event; `None` where the columns do not have one, though they should. What tables hold that this version
    /// does not know is `Some(None)`.
    #[expect(
        clippy::option_option,
        reason = "the outer one is for rows that are not there"
    )]
    #[inline]
    pub(in crate::record) fn next(&mut self) -> Option<Option<Event<'a>>> {
        let number: usize = self.row(Table::Rows, 0).take_as()?;
        let Some(table) = *self.tables.get(number)? else {
            return Some(None);
        };
        let event = if (Table::Fault as usize..=Table::Wake as usize).contains(&(table as usize)) {
            Event::Record(self.record(table)?)
        } else {
            Event::Notice(self.notice(table)?)
        };
        Some(Some(event))
    }

    #[inline]
    fn row(&mut self, table: Table, thread: usize) -> Row<'a, '_> {
        let cells = self.cells.get_mut(table as usize).map(Vec::as_mut_slice);
        Row {
            cells: cells.unwrap_or_default().iter_mut(),
            thread,
        }
    }

    #[inline]
    fn header(&mut self, kind: u8) -> Option<(Header, usize)> {
        let thread: usize = self.row(Table::Header, 0).take_as()?;
        if thread == self.threads.len() {
            let mut row = self.row(Table::Threads, 0);
            let who = (row.take_as()?, row.take_as()?);
            self.threads.push(who);
        }
        let &(tgid, tid) = self.threads.get(thread)?;
        let mut row = self.row(Table::Header, thread);
        row.cells.next();
        let header = Header {
            time_ns: row.take()?,
            tgid,
            tid,
            min_flt: row.take()?,
            maj_flt: row.take()?,
            kind,
            ..Header::default()
        };
        Some((header, thread))
    }

    #[inline]
    fn record(&mut self, table: Table) -> Option<Record<'a>> {
        let kind = kind(table)?;
        let (mut header, thread) = self.header(kind)?;
        let mut row = self.row(table, thread);
        Some(match table {
            Table::Fault => {
                header.flags = row.take_as()?;
                let (address, ip) = (row.take()?, row.take()?);
                Record::Fault(Fault {
                    header: header.with_last_fault_ns(row.take_as()?),
                    address,
                    ip,
                })
            }
            Table::Fork => Record::Fork(Fork {
                header,
                child_tgid: row.take_as()?,
                child_tid: row.take_as()?,
                child_sp: row.take()?,
            }),
            Table::Exec => {
                let (old_tid, comm) = (row.take_as()?, row.take_bytes()?.try_into().ok()?);
                Record::Exec(Exec {
                    header: header.with_last_fault_ns(row.take_as()?),
                    old_tid,
                    pad: 0,
                    comm,
                })
            }
            Table::Exit => Record::Exit(header),
            Table::Free => Record::Free(header),
            Table::Wait => {
                header.flags = row.take_as()?;
                Record::Wait(header)
            }
            Table::Wake => Record::Wake(Wake {
                header,
                tid: row.take_as()?,
                pad: 0,
                word: row.take()?,
            }),
            Table::Uring => Record::Uring(header),
            Table::Foreign => Record::Foreign(header),
            Table::Mm => {
                header.op = row.take_as()?;
                let ret = row.take_signed()?;
                let mut args = [0; 6];
                for argument in &mut args {
                    *argument = row.take()?;
                }
                Record::Mm(Mm {
                    header,
                    ret,
                    args,
                    inode: row.take()?,
                    device: row.take_as()?,
                    magic: row.take_as()?,
                    began_ns: row.take()?,
                })
            }
            Table::Unmapped => {
                header.op = row.take_as()?;
                Record::Unmapped(Unmapped {
                    header,
                    began_ns: row.take()?,
                    ret: row.take_signed()?,
                })
            }
            Table::Io => return io(header, row),
            Table::Tally => {
                let work = row.work()?;
                Record::Tally(Tally {
                    header: header.with_last_fault_ns(u32::try_from(work.last_fault_ns).ok()?),
                    frames: work.frames,
                    timed_faults: work.timed_faults,
                    fault_ns: work.fault_ns,
                })
            }
            Table::Rss => Record::Rss(Rss {
                header,
                pages: [
                    row.take_signed()?,
                    row.take_signed()?,
                    row.take_signed()?,
                    row.take_signed()?,
                ],
                error_pages: row.take()?,
            }),
            _ => return None,
        })
    }

    fn notice(&mut self, table: Table) -> Option<Notice> {
        let mut row = self.row(table, 0);
        Some(match table {
            Table::Begin => Notice::Begin { time: row.time()? },
            Table::Process => Notice::Process {
                tgid: row.tgid()?,
                comm: row.text()?,
                brk: row.take_option()?,
                io_uring: row.take_flag()?,
            },
            Table::Thread => Notice::Thread {
                tgid: row.tgid()?,
                tid: row.tid()?,
                count: row.count()?,
                sp: row.take_option()?,
                comm: row.text()?,
            },
            Table::Maps => Notice::Maps {
                tgid: row.tgid()?,
                text: row.take_bytes()?.to_vec(),
                time: row.time()?,
            },
            Table::Mapped => {
                let (tgid, start) = (row.tgid()?, row.take()?);
                let (is_known, path) = (row.take_flag()?, row.take_bytes()?);
                Notice::Mapped {
                    tgid,
                    start,
                    path: is_known.then(|| path.to_vec()),
                    shared: row.take_flag()?,
                    in_memory: row.take_flag()?,
                }
            }
            Table::Named => Notice::Named {
                tgid: row.tgid()?,
                start: row.take()?,
                len: row.take()?,
                name: row.take_bytes()?.to_vec(),
            },
            Table::Seeded => Notice::Seeded {
                tgid: row.tgid()?,
                time: row.time()?,
            },
            Table::Socket => socket(&mut row)?,
            Table::Channel => Notice::Channel {
                tgid: row.tgid()?,
                fd: Fd(i32::try_from(row.take_signed()?).ok()?),
                reads: row.take_option()?,
                writes: row.take_option()?,
            },
            Table::Gone => Notice::Gone {
                tgid: row.tgid()?,
                time: row.time()?,
            },
            Table::Horizon => Notice::Horizon {
                tid: row.tid()?,
                count: row.count()?,
            },
            Table::Ending => Notice::Ending { time: row.time()? },
            Table::Untold => Notice::Untold {
                tid: row.tid()?,
                work: row.work()?,
            },
            Table::Lost => Notice::Lost {
                lost: Lost {
                    fault: row.take()?,
                    mm: row.take()?,
                    io: row.take()?,
                    frame: row.take()?,
                    task: row.take()?,
                    ns: row.take()?,
                },
                since: row.time()?,
                until: row.time()?,
            },
            Table::Note => Notice::Note(row.text()?),
            _ => return None,
        })
    }
}

fn io<'a>(mut header: Header, mut row: Row<'a, '_>) -> Option<Record<'a>> {
    header.op = row.take_as()?;
    header.flags = row.take_as()?;
    header.fd = i32::try_from(row.take_signed()?).ok()?;
    let io = Io {
        header,
        ret: row.take_signed()?,
        other: row.take_signed()?,
    };
    let count: usize = row.take_as()?;
    let mut segments = Segments::default();
    let used = segments.get_mut(..count)?;
    row.take_all(used.iter_mut().map(|s| &mut s.len))?;
    row.take_all(used.iter_mut().map(|s| &mut s.head))?;
    row.take_all(used.iter_mut().map(|s| &mut s.tail))?;
    let bytes = row.take_bytes()?;
    let total = u64::try_from(io.ret).unwrap_or(0);
    let payload = if header.flags & wire::IO_PAYLOAD == 0 {
        Payload::unseen(total)
    } else {
        Payload::new(total, segments, bytes).ok()?
    };
    Some(Record::Io(io, payload))
}

fn socket(row: &mut Row<'_, '_>) -> Option<Notice> {
    let tgid = row.tgid()?;
    let fd = Fd(i32::try_from(row.take_signed()?).ok()?);
    let role = row.take()?;
    let port = match row.take_option()? {
        Some(port) => Some(u16::try_from(port).ok()?),
        None => None,
    };
    let socket = match role {
        LISTENER => Socket::Listener { port },
        INBOUND => Socket::Inbound { port },
        OUTBOUND => Socket::Outbound,
        _ => return None,
    };
    Some(Notice::Socket { tgid, fd, socket })
}

fn kind(table: Table) -> Option<u8> {
    Some(match table {
        Table::Fault => wire::KIND_FAULT,
        Table::Fork => wire::KIND_FORK,
        Table::Exec => wire::KIND_EXEC,
        Table::Exit => wire::KIND_EXIT,
        Table::Free => wire::KIND_FREE,
        Table::Mm => wire::KIND_MM,
        Table::Io => wire::KIND_IO,
        Table::Wait => wire::KIND_WAIT,
        Table::Uring => wire::KIND_URING,
        Table::Foreign => wire::KIND_FOREIGN,
        Table::Tally => wire::KIND_TALLY,
        Table::Rss => wire::KIND_RSS,
        Table::Unmapped => wire::KIND_UNMAPPED,
        Table::Wake => wire::KIND_WAKE,
        _ => return None,
    })
}
