//! Recordings that no damage made: right checksums around what cannot be, or what a later writer may say.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{CUT_OFF, FAMILIES, Made, Read, ReadError, Told, any, as_lost, families, preamble, read, texts};
use crate::record::{
    End, Filled, MAGIC, VERSION,
    block::{About, BLOCK_MAX, HEAD, Holds},
    column::{put_varint, take_varint},
    rows::Rows,
};

/// What a recording begins with that says this.
fn beginning(version: u32, json: &[u8]) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap();
    let mut bytes = [&MAGIC[..], &version.to_le_bytes(), &len.to_le_bytes(), json].concat();
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    bytes
}

/// What this version says.
fn json() -> Value {
    let bytes = preamble().bytes();
    serde_json::from_slice(&bytes[16..bytes.len() - 8]).unwrap()
}

fn with_json(json: &Value) -> Vec<u8> {
    beginning(VERSION, &serde_json::to_vec(json).unwrap())
}

/// A block of these events, the first of a recording.
fn block(events: &[Told]) -> Filled {
    let mut rows = Rows::new();
    for told in events {
        rows.push(&told.event());
    }
    Filled {
        about: About {
            holds: Holds::Events,
            number: 0,
            events: rows.events,
            first_ns: 0,
            last_ns: 0,
            before: [0; FAMILIES],
            within: families(events),
        },
        raw: rows.bytes(),
    }
}

/// The end of a recording of this one block.
fn end(block: &Filled) -> Filled {
    Filled {
        about: About {
            holds: Holds::End,
            number: block.about.number.saturating_add(1),
            events: 0,
            before: block.about.within,
            within: [0; FAMILIES],
            ..block.about
        },
        raw: serde_json::to_vec(&super::end()).unwrap(),
    }
}

/// A recording of this one block, and what is read of it.
fn read_with(beginning: &[u8], block: &Filled) -> Read {
    let end = end(block);
    read(&[beginning, &block.seal().unwrap(), &end.seal().unwrap()].concat()).unwrap()
}

fn read_block(block: &Filled) -> Read {
    read_with(&preamble().bytes(), block)
}

/// The columns of a block.
fn columns(raw: &[u8]) -> Vec<Vec<u8>> {
    let count: usize = preamble().tables.iter().map(|table| table.columns.len()).sum();
    let mut rest = raw;
    let lengths: Vec<_> = (0..count).map(|_| take_varint(&mut rest).unwrap()).collect();
    let columns = lengths.into_iter().map(|length| {
        let (column, after) = rest.split_at(usize::try_from(length).unwrap());
        rest = after;
        column.to_vec()
    });
    columns.collect()
}

fn raw(columns: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = Vec::new();
    for column in columns {
        put_varint(&mut raw, column.len() as u64);
    }
    raw.extend(columns.concat());
    raw
}

/// Which of a block's columns this is.
fn at(table: &str, column: &str) -> usize {
    let tables = preamble().tables;
    let mut all = tables
        .iter()
        .flat_map(|t| t.columns.iter().map(|(name, _)| (t.name.as_str(), name.as_str())));
    all.position(|name| name == (table, column)).unwrap()
}

/// How many events a note says are missing.
fn said_to_be_missing(read: &Read) -> usize {
    let [note] = &read.notes[..] else {
        panic!("not one note: {:?}", read.notes)
    };
    let text = note.strip_prefix("block 0 of the recording is damaged and left out, with ");
    let number = text.and_then(|text| text.strip_suffix(" events"));
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{note}"))
}

/// The events of a block up to where it makes no sense are handed on, and the rest is counted.
#[test]
fn columns_that_end_too_early_cost_what_would_be_in_them() {
    let events = any::sample(30);
    let good = block(&events);
    let all = columns(&good.raw);
    assert_eq!(raw(&all), good.raw);
    for column in (0..all.len()).filter(|&column| !all[column].is_empty()) {
        for keep in [0, all[column].len() / 2, all[column].len() - 1] {
            let mut short = all.clone();
            short[column].truncate(keep);
            let read = read_block(&Filled {
                raw: raw(&short),
                ..good
            });
            let whole = read.events.len();
            assert_eq!(read.events, texts(&events)[..whole], "column {column}");
            assert!(whole < events.len(), "column {column} is not read");
            assert_eq!(whole + said_to_be_missing(&read), events.len(), "column {column}");
            let missing = super::Lost { ns: 0, ..read.lost };
            assert_eq!(missing, as_lost(families(&events[whole..])), "column {column}");
        }
    }
}

#[test]
fn bytes_that_are_no_columns_at_all_are_a_damaged_block() {
    let events = any::sample(5);
    let good = block(&events);
    let much = [0xff; 9].repeat(500);
    for bytes in [
        &[][..],
        &[0x80],
        &good.raw[..20],
        &good.raw[..good.raw.len() - 1],
        &much,
    ] {
        let read = read_block(&Filled {
            raw: bytes.to_vec(),
            ..good
        });
        assert_eq!(read.events, [""; 0]);
        assert_eq!(said_to_be_missing(&read), events.len());
    }
}

#[test]
fn a_block_that_claims_more_events_than_it_has_ends_with_its_last() {
    let events = any::sample(5);
    let mut block = block(&events);
    for claims in [6, u32::MAX] {
        block.about.events = claims;
        let read = read_block(&block);
        assert_eq!(read.events, texts(&events));
        // Its head counts them by family, and none of those is missing.
        assert_eq!(said_to_be_missing(&read), 0);
    }
}

/// Figures beyond what fits where they belong, and rows of tables that there are not.
#[test]
fn figures_that_cannot_be_are_damage() {
    let events = any::sample(200);
    let good = block(&events);
    let all = columns(&good.raw);
    for (table, column, figure) in [
        ("rows", "table", 1_000),
        ("rows", "table", u64::MAX),
        ("rows", "table", 1),
        ("header", "thread", 1),
        ("header", "thread", u64::MAX),
        ("threads", "tgid", 1 << 32),
        ("fault", "flags", 256),
        ("io", "segments", 9),
        ("io", "segment_len", 1 << 32),
        ("io", "segment_head", 1 << 16),
        ("io", "payload", 1 << 40),
        ("exec", "comm", 15),
        ("socket", "role", 3),
        ("socket", "port", 1 << 17),
    ] {
        let mut wrong = all.clone();
        let mut bytes = Vec::new();
        put_varint(&mut bytes, figure);
        // In place of the first.
        let mut rest = &wrong[at(table, column)][..];
        take_varint(&mut rest).unwrap();
        bytes.extend(rest);
        wrong[at(table, column)] = bytes;
        let read = read_block(&Filled {
            raw: raw(&wrong),
            ..good
        });
        assert!(read.events.len() < events.len(), "{table}.{column}");
        let told = read.events.len() + read.losses.len() - 1;
        assert_eq!(told + said_to_be_missing(&read), events.len(), "{table}.{column}");
    }
}

#[test]
fn a_head_that_lies_of_numbers_overflows_nothing() {
    let events = any::sample(5);
    for figure in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let mut block = block(&events);
        block.about.number = figure;
        block.about.before = [figure; FAMILIES];
        block.about.within = [figure; FAMILIES];
        block.about.first_ns = figure;
        let again = block.seal().unwrap();
        let bytes = [&preamble().bytes(), &again[..], &again, &again].concat();
        let read = read(&bytes).unwrap();
        assert_eq!(read.events[..5], texts(&events));
        assert_eq!(read.lost.fault, figure);
        assert!(
            read.notes[0].starts_with("blocks 0, 1, 2, 3, 4, 5, 6, 7, and "),
            "{:?}",
            read.notes
        );
        assert_eq!(read.notes.last().map(String::as_str), Some(CUT_OFF));
    }
}

/// A sealed block whose head says something else, with the right checksum.
fn sealed_as(block: &Filled, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = block.seal().unwrap();
    change(&mut bytes[..HEAD]);
    let checksum = xxh3_64(&bytes[..HEAD - 8]);
    bytes[HEAD - 8..HEAD].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn a_block_that_says_another_length_than_it_has_is_damaged() {
    let good = block(&any::sample(5));
    let len = u32::try_from(good.raw.len()).unwrap();
    for says in [0, len - 1, len + 1, BLOCK_MAX] {
        let bytes = sealed_as(&good, |head| head[24..28].copy_from_slice(&says.to_le_bytes()));
        let bytes = [preamble().bytes(), bytes, end(&good).seal().unwrap()].concat();
        let read = read(&bytes).unwrap();
        assert_eq!(read.events, [""; 0]);
        assert_eq!(said_to_be_missing(&read), 5);
    }
}

/// Few bytes that become very many: nobody makes room for them.
#[test]
fn a_bomb_does_not_go_off() {
    let zeros = vec![0; 32 << 20];
    let bomb = Filled {
        raw: zeros,
        ..block(&any::sample(5))
    };
    let whole = bomb.seal().unwrap();
    assert!(whole.len() < 10_000, "{} bytes", whole.len());
    for says in [16, BLOCK_MAX + 1, u32::MAX] {
        let bytes = sealed_as(&bomb, |head| head[24..28].copy_from_slice(&says.to_le_bytes()));
        let bytes = [preamble().bytes(), bytes, end(&bomb).seal().unwrap()].concat();
        assert_eq!(said_to_be_missing(&read(&bytes).unwrap()), 5);
    }
    // Longer than any block may be, and the end of the file far before that.
    for says in [BLOCK_MAX, BLOCK_MAX + 1, u32::MAX] {
        let bytes = sealed_as(&bomb, |head| head[28..32].copy_from_slice(&says.to_le_bytes()));
        let read = read(&[preamble().bytes(), bytes].concat()).unwrap();
        assert_eq!((read.events, read.notes), (vec![], vec![CUT_OFF.to_owned()]));
    }
}

/// The same version with more in it, as a later memtrace may write it.
#[test]
fn tables_columns_and_facts_that_are_not_known_are_passed_over() {
    let events = any::sample(40);
    let mut block = block(&events);
    let mut all = columns(&block.raw);
    let mut json = json();

    // From the back to the front, so that numbers of columns hold: one more of faults' and of descriptor calls',
    let more: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    for (table, name, codec) in [("io", "zone", "bytes"), ("fault", "node", "thread")] {
        let tables = json["tables"].as_array_mut().unwrap();
        let text = tables.iter_mut().find(|text| text["name"] == table).unwrap();
        text["columns"]
            .as_array_mut()
            .unwrap()
            .insert(1, json!([name, codec]));
        let first = text["columns"][0][0].as_str().unwrap();
        all.insert(at(table, first) + 1, more.clone());
    }
    // and a table of its own, before all others but the one that says what is next.
    let tables = json["tables"].as_array_mut().unwrap();
    tables.insert(
        1,
        json!({"name": "later", "columns": [["what", "plain"], ["text", "bytes"]], "since": 9}),
    );
    all.splice(1..1, [more.clone(), more]);
    let rows = all[0].iter().flat_map(|&table| [1, table + 1]).collect();
    all[0] = rows;
    json["origin"]["host"] = json!({"name": "x"});
    json["asked"]["nice"] = json!(3);
    json["more"] = json!([1, 2, {"deep": null}]);

    block.raw = raw(&all);
    block.about.events *= 2;
    let read = read_with(&with_json(&json), &block);
    assert_eq!(read.events, texts(&events));
    assert_eq!(read.notes, [""; 0]);
    assert_eq!(read.end, super::end());
}

/// What a column means is its name's business, and how it is written the recording's.
#[test]
fn tables_may_be_in_another_order() {
    let events = any::sample(40);
    let mut block = block(&events);
    let all = columns(&block.raw);
    let mut json = json();
    let tables = json["tables"].as_array_mut().unwrap();
    let (mut reordered, mut numbers, mut next) = (Vec::new(), Vec::new(), 0);
    for text in tables.iter() {
        let count = text["columns"].as_array().unwrap().len();
        reordered.push(all[next..next + count].to_vec());
        numbers.push(numbers.len());
        next += count;
    }
    tables.reverse();
    reordered.reverse();
    let last = numbers.len() - 1;
    let rows = &mut reordered[last][0];
    for table in rows.iter_mut() {
        *table = u8::try_from(last).unwrap() - *table;
    }
    block.raw = raw(&reordered.concat());
    let read = read_with(&with_json(&json), &block);
    assert_eq!(read.events, texts(&events));
    assert_eq!(read.notes, [""; 0]);
}

#[test]
fn a_beginning_that_lacks_a_table_or_a_column_is_refused_or_does_without() {
    let whole = json();
    let count = whole["tables"].as_array().unwrap().len();
    for table in 0..count {
        let mut without = whole.clone();
        let gone = without["tables"].as_array_mut().unwrap().remove(table);
        let opened = read(&with_json(&without));
        if ["rows", "threads", "header"]
            .iter()
            .any(|name| gone["name"] == *name)
        {
            assert!(
                matches!(opened, Err(ReadError::DamagedBeginning)),
                "{gone}: {opened:?}"
            );
        } else {
            assert_eq!(opened.unwrap().notes, [CUT_OFF], "{gone}");
        }
        for column in 0..gone["columns"].as_array().unwrap().len() {
            let mut without = whole.clone();
            let columns = without["tables"][table]["columns"].as_array_mut().unwrap();
            let gone = columns.remove(column);
            let opened = read(&with_json(&without));
            assert!(
                matches!(opened, Err(ReadError::DamagedBeginning)),
                "{gone}: {opened:?}"
            );
        }
    }
}

const DAMAGED: &str = "its beginning is damaged, and with it what the rest means";

#[test]
fn what_is_no_beginning_is_refused_in_words() {
    let word = |version: u32, json: &str| match read(&beginning(version, json.as_bytes())) {
        Err(error) => error.to_string(),
        Ok(read) => panic!("{json}: {read:?}"),
    };
    let deep = "[".repeat(100_000);
    let mut tables = json();
    tables["tables"] = json!({});
    let mut codec = json();
    codec["tables"][0]["columns"][0][1] = json!("rot13");
    for json in [
        "",
        "null",
        "[]",
        "{}",
        "\u{0}",
        r#"{"origin":3}"#,
        &deep,
        &tables.to_string(),
        &codec.to_string(),
    ] {
        assert_eq!(word(VERSION, json), DAMAGED);
    }
    let good = json().to_string();
    assert_eq!(word(0, &good), DAMAGED);
    assert_eq!(
        word(VERSION + 1, &good),
        format!(
            "a newer memtrace wrote it: recording format {}, and this one reads up to {VERSION}",
            VERSION + 1
        )
    );
    assert_eq!(word(VERSION, &" ".repeat((1 << 20) + 1)), DAMAGED);
    let mut other = json();
    other["origin"]["arch"] = json!("pdp11");
    assert_eq!(
        word(VERSION, &other.to_string()),
        format!(
            "it was made on pdp11, and this memtrace reads recordings of {}",
            std::env::consts::ARCH
        )
    );
    for (bytes, says) in [
        (&b""[..], "it is empty"),
        (b"#!/bin/sh\necho memtrace\n", "it is not a recording of memtrace"),
        (b"mem", "it is cut off before anything was recorded"),
        (b"memtrade", "it is not a recording of memtrace"),
        (b"memtrace\x01", "it is cut off before anything was recorded"),
    ] {
        assert_eq!(read(bytes).unwrap_err().to_string(), says);
    }
}

#[test]
fn an_end_that_says_nothing_is_damage() {
    let events = any::sample(3);
    let good = block(&events);
    for says in ["", "7", r#"{"command_status":"well"}"#] {
        let end = Filled {
            raw: says.into(),
            ..end(&good)
        };
        let bytes = [preamble().bytes(), good.seal().unwrap(), end.seal().unwrap()].concat();
        let read = read(&bytes).unwrap();
        assert_eq!(read.events, texts(&events));
        assert_eq!(read.notes, [super::left_out(1, 0)]);
        assert_eq!(read.end, End::default());
    }
    // A later memtrace may say more there, or less.
    for (says, status) in [("{}", None), (r#"{"command_status":3,"why":"signal"}"#, Some(3))] {
        let end = Filled {
            raw: says.into(),
            ..end(&good)
        };
        let bytes = [preamble().bytes(), good.seal().unwrap(), end.seal().unwrap()].concat();
        let read = read(&bytes).unwrap();
        assert_eq!((read.notes, read.end.command_status), (vec![], status));
    }
}

/// A recording of one block is this one's, whichever way it is made.
#[test]
fn blocks_made_here_are_those_of_a_recorder() {
    let events = any::sample(5);
    let made = Made::of(std::slice::from_ref(&events));
    let read = read(&made.bytes).unwrap();
    assert_eq!(read, read_block(&block(&events)));
}

proptest! {
    /// Bytes with the right checksums around them, as few or as wild as they are.
    #[test]
    fn no_columns_are_too_wild(
        bytes in vec(any::<u8>(), 0..600),
        numbers in vec(0_u8..40, 0..60),
        events in prop_oneof![0..60_u32, Just(u32::MAX)],
    ) {
        // The lengths are right half of the time: each column has a part of the bytes.
        let count = columns(&block(&[]).raw).len();
        let each = bytes.len() / count + 1;
        let mut parts: Vec<Vec<u8>> = bytes.chunks(each).map(<[u8]>::to_vec).collect();
        parts.resize(count, Vec::new());
        parts[0] = numbers;
        for raw in [bytes, raw(&parts)] {
            let good = block(&any::sample(2));
            let wild = Filled { about: About { events, ..good.about }, raw };
            let read = read_block(&wild);
            prop_assert_eq!(read.end, super::end());
        }
    }
}
