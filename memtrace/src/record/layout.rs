//! The tables of this version: a row an event, a column a fact.
//!
//! Owns names, codecs and order. The preamble of each recording has them in full, so that a reader finds by name what it
//! knows. Whoever changes them raises [`VERSION`](super::VERSION), says in `migrate` what an older recording has in
//! place of a column, and keeps a recording of the old version among the tests' fixtures.

use super::column::Codec::{self, Bytes, Delta, Plain, Signed, Thread};

/// A table of each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Table {
    /// Which table the next event is a row of, event by event.
    Rows,
    /// Threads, in the order in which the block meets them: rows refer to them by their numbers.
    Threads,
    /// What every record of a probe begins with; the tables from `Fault` to `Wake` have the rest.
    Header,
    Fault,
    Fork,
    Exec,
    Exit,
    Free,
    Mm,
    Io,
    Wait,
    Uring,
    Foreign,
    Tally,
    Rss,
    Unmapped,
    Wake,
    // What userspace learned.
    Begin,
    Process,
    Thread,
    Maps,
    Mapped,
    Named,
    Seeded,
    Socket,
    Channel,
    Gone,
    Horizon,
    Ending,
    Untold,
    Lost,
    Note,
}

/// A table's name and its columns.
pub(super) struct Layout {
    pub(super) table: Table,
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Codec)],
}

const fn table(table: Table, name: &'static str, columns: &'static [(&'static str, Codec)]) -> Layout {
    Layout { table, name, columns }
}

/// All tables, in [`Table`]'s order.
pub(super) const TABLES: [Layout; 32] = [
    table(Table::Rows, "rows", &[("table", Plain)]),
    table(Table::Threads, "threads", &[("tgid", Plain), ("tid", Plain)]),
    table(
        Table::Header,
        "header",
        &[
            ("thread", Plain),
            ("time_ns", Delta),
            ("min_flt", Thread),
            ("maj_flt", Thread),
        ],
    ),
    table(
        Table::Fault,
        "fault",
        &[
            ("flags", Plain),
            ("address", Thread),
            ("ip", Thread),
            ("last_fault_ns", Plain),
        ],
    ),
    table(
        Table::Fork,
        "fork",
        &[("child_tgid", Delta), ("child_tid", Delta), ("child_sp", Delta)],
    ),
    table(
        Table::Exec,
        "exec",
        &[("old_tid", Plain), ("comm", Bytes), ("last_fault_ns", Plain)],
    ),
    table(Table::Exit, "exit", &[]),
    table(Table::Free, "free", &[]),
    table(
        Table::Mm,
        "mm",
        &[
            ("op", Plain),
            ("ret", Delta),
            ("arg0", Delta),
            ("arg1", Plain),
            ("arg2", Plain),
            ("arg3", Plain),
            ("arg4", Plain),
            ("arg5", Plain),
            ("inode", Plain),
            ("device", Plain),
            ("magic", Plain),
            ("began_ns", Delta),
        ],
    ),
    table(
        Table::Io,
        "io",
        &[
            ("op", Plain),
            ("flags", Plain),
            ("fd", Signed),
            ("ret", Signed),
            ("other", Signed),
            ("segments", Plain),
            ("segment_len", Plain),
            ("segment_head", Plain),
            ("segment_tail", Plain),
            ("payload", Bytes),
        ],
    ),
    table(Table::Wait, "wait", &[("flags", Plain)]),
    table(Table::Uring, "uring", &[]),
    table(Table::Foreign, "foreign", &[]),
    table(
        Table::Tally,
        "tally",
        &[
            ("user", Plain),
            ("page_table", Plain),
            ("kernel", Plain),
            ("freed", Plain),
            ("huge", Plain),
            ("timed_faults", Plain),
            ("fault_ns", Plain),
            ("last_fault_ns", Plain),
        ],
    ),
    table(
        Table::Rss,
        "rss",
        &[
            ("file", Delta),
            ("anon", Delta),
            ("swap", Delta),
            ("shmem", Delta),
            ("error", Plain),
        ],
    ),
    table(
        Table::Unmapped,
        "unmapped",
        &[("op", Plain), ("began_ns", Delta), ("ret", Signed)],
    ),
    table(Table::Wake, "wake", &[("tid", Delta), ("word", Delta)]),
    table(Table::Begin, "begin", &[("time_ns", Plain)]),
    table(
        Table::Process,
        "process",
        &[
            ("tgid", Plain),
            ("comm", Bytes),
            ("brk", Plain),
            ("io_uring", Plain),
        ],
    ),
    table(
        Table::Thread,
        "thread",
        &[
            ("tgid", Plain),
            ("tid", Plain),
            ("min_flt", Plain),
            ("maj_flt", Plain),
            ("sp", Plain),
            ("comm", Bytes),
        ],
    ),
    table(
        Table::Maps,
        "maps",
        &[("tgid", Plain), ("text", Bytes), ("time_ns", Plain)],
    ),
    table(
        Table::Mapped,
        "mapped",
        &[
            ("tgid", Plain),
            ("start", Delta),
            ("is_known", Plain),
            ("path", Bytes),
            ("shared", Plain),
            ("in_memory", Plain),
        ],
    ),
    table(
        Table::Named,
        "named",
        &[("tgid", Plain), ("start", Delta), ("len", Plain), ("name", Bytes)],
    ),
    table(Table::Seeded, "seeded", &[("tgid", Plain), ("time_ns", Plain)]),
    table(
        Table::Socket,
        "socket",
        &[("tgid", Plain), ("fd", Signed), ("role", Plain), ("port", Plain)],
    ),
    table(
        Table::Channel,
        "channel",
        &[
            ("tgid", Plain),
            ("fd", Signed),
            ("reads", Delta),
            ("writes", Delta),
        ],
    ),
    table(Table::Gone, "gone", &[("tgid", Plain), ("time_ns", Plain)]),
    table(
        Table::Horizon,
        "horizon",
        &[("tid", Plain), ("min_flt", Plain), ("maj_flt", Plain)],
    ),
    table(Table::Ending, "ending", &[("time_ns", Plain)]),
    table(
        Table::Untold,
        "untold",
        &[
            ("tid", Plain),
            ("user", Plain),
            ("page_table", Plain),
            ("kernel", Plain),
            ("freed", Plain),
            ("huge", Plain),
            ("timed_faults", Plain),
            ("fault_ns", Plain),
            ("last_fault_ns", Plain),
        ],
    ),
    table(
        Table::Lost,
        "lost",
        &[
            ("fault", Plain),
            ("mm", Plain),
            ("io", Plain),
            ("frame", Plain),
            ("task", Plain),
            ("ns", Plain),
            ("since_ns", Plain),
            ("until_ns", Plain),
        ],
    ),
    table(Table::Note, "note", &[("text", Bytes)]),
];

const _: () = {
    let mut i = 0;
    while i < TABLES.len() {
        assert!(TABLES[i].table as usize == i);
        i += 1;
    }
};
