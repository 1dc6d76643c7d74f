//! What a server says itself: for which request it works, section by section, on which thread.
//!
//! Owns which sections are open. A section is named by its request's number. Must not know how faults are judged.

use memtrace::marker::{self, Marker};
use memtrace_common::Tid;
use rustc_hash::FxHashMap;

use crate::score::Number;

/// A section that is open.
#[derive(Debug)]
struct Section {
    id: String,
    of: Number,
}

/// The sections that are open on each thread, innermost last.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    open: FxHashMap<Tid, Vec<Section>>,
    strays: u64,
}

impl Sections {
    /// The thread wrote markers: `len` bytes, of which `text` are the first.
    pub(crate) fn wrote(&mut self, tid: Tid, text: &[u8], len: u64) {
        let open = self.open.entry(tid).or_default();
        for marker in marker::parse(text, len) {
            match marker {
                Ok(Marker::Begin { name, id }) if name.parse::<Number>().is_ok() => {
                    open.extend(name.parse().ok().map(|of| Section {
                        id: id.to_owned(),
                        of,
                    }));
                }
                Ok(Marker::End { id }) if open.last().is_some_and(|section| section.id == id) => {
                    open.pop();
                }
                _ => self.strays += 1,
            }
        }
    }

    /// The request for which this thread works now, as the server says.
    pub(crate) fn open_on(&self, tid: Tid) -> Option<Number> {
        Some(self.open.get(&tid)?.last()?.of)
    }

    /// Markers that make no sections: truth cannot be had of such a server.
    pub(crate) fn strays(&self) -> u64 {
        self.strays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sections: &mut Sections, tid: u32, text: &str) {
        sections.wrote(Tid(tid), text.as_bytes(), text.len() as u64);
    }

    #[test]
    fn a_section_is_its_threads_from_its_begin_to_its_end() {
        let mut sections = Sections::default();
        assert_eq!(sections.open_on(Tid(1)), None);
        write(&mut sections, 1, "memtrace:begin 7 7.1");
        assert_eq!(sections.open_on(Tid(1)), Some(Number(7)));
        assert_eq!(sections.open_on(Tid(2)), None);
        write(&mut sections, 2, "memtrace:begin 8 8.1");
        assert_eq!(sections.open_on(Tid(1)), Some(Number(7)));
        assert_eq!(sections.open_on(Tid(2)), Some(Number(8)));
        write(&mut sections, 1, "memtrace:end 7.1");
        assert_eq!(sections.open_on(Tid(1)), None);
        assert_eq!(sections.open_on(Tid(2)), Some(Number(8)));
        assert_eq!(sections.strays(), 0);
    }

    #[test]
    fn of_two_sections_the_inner_one_counts() {
        let mut sections = Sections::default();
        write(&mut sections, 1, "memtrace:begin 7 7.1\nmemtrace:begin 8 8.1");
        assert_eq!(sections.open_on(Tid(1)), Some(Number(8)));
        write(&mut sections, 1, "memtrace:end 8.1");
        assert_eq!(sections.open_on(Tid(1)), Some(Number(7)));
        write(&mut sections, 1, "memtrace:end 7.1");
        assert_eq!(sections.open_on(Tid(1)), None);
    }

    #[test]
    fn what_makes_no_section_is_counted() {
        let mut sections = Sections::default();
        for text in [
            "memtrace:end 7.1",
            "memtrace:begin resize 7.1",
            "memtrace:value 7 1",
            "memtrace:what",
        ] {
            write(&mut sections, 1, text);
        }
        write(&mut sections, 1, "memtrace:begin 7 7.1");
        // On another thread: the server let its work move inside a section.
        write(&mut sections, 2, "memtrace:end 7.1");
        assert_eq!(sections.strays(), 5);
        assert_eq!(sections.open_on(Tid(1)), Some(Number(7)));
    }
}
