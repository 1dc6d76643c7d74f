//! Resident memory where the probes say that it is what it was: the reading that they leave out.
//!
//! Owns what each process told last. What it hands on is as if they had read anew, so that nobody else has to know.

use std::collections::HashMap;

use memtrace_common::{
    decode::Record,
    wire::{Header, IO_RSS_HOLDS, KIND_RSS, Rss},
};

/// By process: its last reading.
#[derive(Debug, Default)]
pub(super) struct Resident {
    told: HashMap<u32, Rss>,
}

impl Resident {
    /// Takes note of a reading, and of processes that are gone. Returns the one that goes before this record, where the
    /// probes left it out, and takes away that they did.
    pub(super) fn before(&mut self, record: &mut Record<'_>) -> Option<Rss> {
        match record {
            Record::Rss(rss) => {
                self.told.insert(rss.header.tgid, *rss);
                None
            }
            Record::Io(io, _) if io.header.flags & IO_RSS_HOLDS != 0 => {
                io.header.flags &= !IO_RSS_HOLDS;
                let last = self.told.get(&io.header.tgid)?;
                Some(Rss {
                    header: Header {
                        kind: KIND_RSS,
                        flags: 0,
                        op: 0,
                        fd: 0,
                        ..io.header
                    },
                    ..*last
                })
            }
            Record::Free(header) if header.tgid == header.tid => {
                self.told.remove(&header.tgid);
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use memtrace_common::{
        decode::Payload,
        wire::{Io, KIND_IO, OP_READ},
    };

    use super::*;

    fn header(tgid: u32, time_ns: u64, kind: u8) -> Header {
        Header {
            time_ns,
            tgid,
            tid: tgid,
            min_flt: 3,
            maj_flt: 0,
            kind,
            flags: 0,
            op: 0,
            pad: 0,
            fd: 0,
        }
    }

    fn reading(tgid: u32, time_ns: u64, pages: i64) -> Rss {
        Rss {
            header: header(tgid, time_ns, KIND_RSS),
            pages: [pages; 4],
            error_pages: 1,
        }
    }

    fn read(tgid: u32, time_ns: u64, flags: u8) -> Record<'static> {
        let mut header = header(tgid, time_ns, KIND_IO);
        (header.flags, header.op, header.fd) = (flags, OP_READ, 7);
        let io = Io {
            header,
            ret: 10,
            other: 0,
        };
        Record::Io(io, Payload::unseen(10))
    }

    #[test]
    fn what_holds_is_told_anew() {
        let mut resident = Resident::default();
        assert_eq!(resident.before(&mut Record::Rss(reading(1, 5, 100))), None);
        assert_eq!(resident.before(&mut Record::Rss(reading(2, 6, 200))), None);
        assert_eq!(resident.before(&mut read(1, 7, 0)), None, "nothing is said of it");

        let mut record = read(1, 8, IO_RSS_HOLDS);
        assert_eq!(resident.before(&mut record), Some(reading(1, 8, 100)));
        assert_eq!(record, read(1, 8, 0), "nobody else sees that it was left out");
        assert_eq!(
            resident.before(&mut read(2, 9, IO_RSS_HOLDS)),
            Some(reading(2, 9, 200))
        );
    }

    #[test]
    fn nothing_is_made_up_where_nothing_was_told() {
        let mut resident = Resident::default();
        let mut record = read(1, 8, IO_RSS_HOLDS);
        assert_eq!(resident.before(&mut record), None);
        assert_eq!(record, read(1, 8, 0));

        let _ = resident.before(&mut Record::Rss(reading(1, 9, 100)));
        let mut thread = header(1, 10, 0);
        thread.tid = 2;
        let _ = resident.before(&mut Record::Free(thread));
        assert!(
            resident.before(&mut read(1, 11, IO_RSS_HOLDS)).is_some(),
            "a thread is gone"
        );
        let _ = resident.before(&mut Record::Free(header(1, 12, 0)));
        assert_eq!(resident.before(&mut read(1, 13, IO_RSS_HOLDS)), None);
        assert!(resident.told.is_empty());
    }
}
