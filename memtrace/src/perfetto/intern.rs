//! Strings by number: each is in the trace once, and events refer to it.
//!
//! Owns the tables, their bound, and what of them the trace has not been told yet. Must not know what refers to them.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::wire;

/// A longer string is cut to so many bytes, as long as the kernel's longest path.
pub const STRING_BYTES: usize = 4096;

/// What an entry takes beside its string.
const ENTRY_BYTES: usize = 64;

/// What a string is the name of. Each has numbers of its own, and its field in `InternedData`.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Category,
    Event,
    Argument,
    Value,
}

const FIELDS: [u32; 4] = [1, 2, 3, 29];

/// The strings that have a number.
#[derive(Default)]
pub(super) struct Strings {
    numbers: [HashMap<Box<str>, u64, RandomState>; 4],
    /// `InternedData`'s entries that are not in the trace yet.
    untold: Vec<u8>,
    bytes: usize,
    cut: u64,
}

impl Strings {
    /// The number of `text`.
    pub(super) fn number(&mut self, kind: Kind, text: &str) -> u64 {
        let numbers = &mut self.numbers[kind as usize];
        // A string that is too long is rare, and so is a new one.
        if let Some(&number) = numbers.get(text) {
            return number;
        }
        let text = cut(text, &mut self.cut);
        let next = numbers.len() as u64 + 1;
        let number = *numbers.entry(text.into()).or_insert(next);
        if number == next {
            self.bytes += text.len() + ENTRY_BYTES;
            wire::message(&mut self.untold, FIELDS[kind as usize], |entry| {
                wire::integer(entry, 1, number);
                wire::bytes(entry, 2, text.as_bytes());
            });
        }
        number
    }

    /// `text`, cut where it is too long, for what is not interned.
    pub(super) fn fitted(&mut self, text: &str) -> String {
        cut(text, &mut self.cut).to_owned()
    }

    /// `InternedData` that the trace has to be told before what refers to it.
    pub(super) fn untold(&self) -> &[u8] {
        &self.untold
    }

    /// It has been told.
    pub(super) fn told(&mut self) {
        self.untold.clear();
    }

    /// What the tables hold, in bytes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.untold.len()
    }

    /// How many strings were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Begins again. What is untold is for those who referred to it: it has to be told first.
    pub(super) fn forget(&mut self) {
        for numbers in &mut self.numbers {
            // A table that was large once need not stay large.
            *numbers = HashMap::default();
        }
        self.bytes = 0;
    }
}

fn cut<'a>(text: &'a str, count: &mut u64) -> &'a str {
    if text.len() <= STRING_BYTES {
        return text;
    }
    *count += 1;
    &text[..text.floor_char_boundary(STRING_BYTES)]
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::proto::InternedData;
    use super::*;

    #[test]
    fn a_string_has_one_number_in_its_table_and_is_told_once() {
        let mut strings = Strings::default();
        let numbers = [
            strings.number(Kind::Event, "fault"),
            strings.number(Kind::Category, "fault"),
            strings.number(Kind::Event, "GET /"),
            strings.number(Kind::Event, "fault"),
        ];
        assert_eq!(numbers, [1, 1, 2, 1]);
        let told = InternedData::decode(strings.untold()).expect("entries");
        let names: Vec<_> = told.event_names.iter().map(|e| (e.iid(), e.text())).collect();
        assert_eq!(names, [(1, "fault"), (2, "GET /")]);
        strings.told();
        strings.number(Kind::Category, "fault");
        assert!(strings.untold().is_empty());
        strings.forget();
        assert_eq!(strings.number(Kind::Event, "GET /"), 1);
    }

    #[test]
    fn a_long_string_is_cut_between_characters_and_counted() {
        let mut strings = Strings::default();
        let long = "é".repeat(STRING_BYTES);
        let odd = format!("x{long}");
        assert_eq!(strings.number(Kind::Value, &long), 1);
        assert_eq!(strings.number(Kind::Value, &odd), 2);
        assert_eq!(strings.number(Kind::Value, &long), 1);
        let told = InternedData::decode(strings.untold()).expect("entries");
        let lengths: Vec<_> = told
            .debug_annotation_string_values
            .iter()
            .map(|e| e.text().len())
            .collect();
        assert_eq!(lengths, [STRING_BYTES, STRING_BYTES - 1]);
        assert_eq!(strings.cut(), 3);
    }
}
