//! Recordings that something happened to: cut off, bits that flipped, blocks that are missing, twice or elsewhere.

use super::{
    CUT_OFF, Made, Read, ReadError, Told, any, as_lost, families, left_out, read, texts,
    whole::{faulting, outcome},
};
use crate::record::block::HEAD;

/// Blocks of three events, each of another length.
fn small() -> (Made, Vec<Vec<Told>>) {
    let stretches: Vec<_> = any::sample(15).chunks(3).map(<[Told]>::to_vec).collect();
    (Made::of(&stretches), stretches)
}

/// The events of all stretches but these.
fn without(stretches: &[Vec<Told>], left_out: &[usize]) -> Vec<String> {
    let kept = stretches
        .iter()
        .enumerate()
        .filter(|(n, _)| !left_out.contains(n));
    kept.flat_map(|(_, stretch)| texts(stretch)).collect()
}

#[test]
fn cut_off_anywhere_it_reads_up_to_the_last_whole_block_and_says_so() {
    let (made, stretches) = small();
    let begin = made.blocks[0].start;
    let all = made.bytes.len();
    for n in 0..=all {
        let read = read(&made.bytes[..n]);
        if n < begin {
            match (n, read) {
                (0, Err(ReadError::Empty)) | (1.., Err(ReadError::NoBeginning)) => {}
                (_, other) => panic!("cut after {n} bytes of the preamble: {other:?}"),
            }
            continue;
        }
        let read = read.unwrap();
        let whole = made.blocks.iter().filter(|block| block.end <= n).count();
        let blocks = &stretches[..whole.min(stretches.len())];
        assert_eq!(read.events, texts(&blocks.concat()), "cut after {n} bytes");
        if n == all {
            assert_eq!((read.notes, read.end), (vec![], super::end()));
            continue;
        }
        assert_eq!(read.notes, [CUT_OFF], "cut after {n} bytes");
        assert_eq!(read.end, super::End::default());
        // Where a head is whole, it says what is missing.
        let torn = made.blocks.get(whole).filter(|block| block.start + HEAD <= n);
        let missing = torn.and_then(|_| stretches.get(whole));
        let expected = as_lost(missing.map_or([0; super::FAMILIES], |stretch| families(stretch)));
        assert_eq!(
            super::Lost { ns: 0, ..read.lost },
            expected,
            "cut after {n} bytes"
        );
    }
}

#[test]
fn whatever_flips_all_other_blocks_are_read_and_the_damaged_one_is_named_and_counted() {
    let (made, stretches) = small();
    let begin = made.blocks[0].start;
    let mut bytes = made.bytes.clone();
    for at in 0..bytes.len() {
        for mask in [1, 0x80] {
            bytes[at] ^= mask;
            let read = read(&bytes);
            bytes[at] ^= mask;
            let what = format!("byte {at} ^ {mask}");
            if at < begin {
                assert!(read.is_err(), "{what}: {read:?}");
                continue;
            }
            let read = read.unwrap();
            let block = made.blocks.iter().position(|block| block.contains(&at)).unwrap();
            assert_eq!(read.events, without(&stretches, &[block]), "{what}");
            let Some(stretch) = stretches.get(block) else {
                // The end: nothing is lost but its word for it.
                let in_head = at < made.blocks[block].start + HEAD;
                let note = if in_head {
                    CUT_OFF.to_owned()
                } else {
                    left_out(block, 0)
                };
                assert_eq!(read.notes, [note], "{what}");
                assert_eq!(read.lost, super::Lost::default(), "{what}");
                continue;
            };
            assert_eq!(read.notes, [left_out(block, stretch.len())], "{what}");
            let expected = as_lost(families(stretch));
            assert_eq!(super::Lost { ns: 0, ..read.lost }, expected, "{what}");
            // It is said where it is missing, before what comes after.
            let before: usize = stretches[..block].iter().map(Vec::len).sum();
            if expected.records() > 0 {
                assert_eq!(read.losses, [(before, read.lost)], "{what}");
            }
            assert_eq!(read.end, super::end(), "{what}");
        }
    }
}

#[test]
fn blocks_that_are_missing_are_named_and_counted() {
    let (made, stretches) = small();
    for first in 0..stretches.len() {
        for missing in 1..=stretches.len() - first {
            let gone: Vec<usize> = (first..first + missing).collect();
            let order: Vec<usize> = (0..made.blocks.len()).filter(|n| !gone.contains(n)).collect();
            let read = read(&made.with(&order)).unwrap();
            assert_eq!(read.events, without(&stretches, &gone));
            let numbers: Vec<String> = gone.iter().map(usize::to_string).collect();
            let (blocks, are) = if missing == 1 {
                ("block", "is")
            } else {
                ("blocks", "are")
            };
            let note = format!(
                "{blocks} {} of the recording {are} damaged and left out, with {} events",
                numbers.join(", "),
                3 * missing
            );
            assert_eq!(read.notes, [note]);
            let events: Vec<Told> = gone.iter().flat_map(|&n| stretches[n].clone()).collect();
            assert_eq!(super::Lost { ns: 0, ..read.lost }, as_lost(families(&events)));
        }
    }
}

#[test]
fn a_block_that_is_there_twice_counts_once() {
    let (made, stretches) = small();
    for twice in 0..stretches.len() {
        let mut order: Vec<usize> = (0..made.blocks.len()).collect();
        order.insert(twice, twice);
        let read = read(&made.with(&order)).unwrap();
        let expected = Read {
            events: without(&stretches, &[]),
            end: super::end(),
            ..Read::default()
        };
        assert_eq!(read, expected);
    }
}

/// An event does not come after one that it came before: the earlier block is left out.
#[test]
fn blocks_in_another_order_are_left_out() {
    let (made, stretches) = small();
    for first in 0..stretches.len() - 1 {
        let mut order: Vec<usize> = (0..made.blocks.len()).collect();
        order.swap(first, first + 1);
        let read = read(&made.with(&order)).unwrap();
        assert_eq!(read.events, without(&stretches, &[first]));
        assert_eq!(read.notes, [left_out(first, 3)]);
    }
}

/// A hole in the file moves what comes after it, where a flipped bit does not.
#[test]
fn bytes_that_are_missing_or_too_many_cost_their_own_block_only() {
    let (made, stretches) = small();
    for (block, stretch) in stretches.iter().enumerate() {
        let range = made.blocks[block].clone();
        for at in [range.start + 1, range.start + HEAD, range.end - 1] {
            for change in [-1_isize, 1, 100] {
                let mut bytes = made.bytes.clone();
                if change < 0 {
                    bytes.remove(at);
                } else {
                    let more = vec![0x55; change.unsigned_abs()];
                    bytes.splice(at..at, more);
                }
                let read = read(&bytes).unwrap();
                let what = format!("{change} bytes at {at}, in block {block}");
                assert_eq!(read.events, without(&stretches, &[block]), "{what}");
                assert_eq!(read.notes, [left_out(block, stretch.len())], "{what}");
            }
        }
    }
}

#[test]
fn what_lies_between_blocks_is_passed_over() {
    let (made, stretches) = small();
    // Bytes that look like the beginning of a block, over and over, and more than are read at a time.
    for junk in [&b"\xf0mtblock"[..], &[0xf0], &vec![0; 70_000]] {
        let mut bytes = made.with(&[0, 1]);
        for _ in 0..=70_000 / junk.len() {
            bytes.extend(junk);
        }
        let first = made.blocks[0].start;
        bytes.extend(&made.with(&[2, 3, 4, 5])[first..]);
        let read = read(&bytes).unwrap();
        assert_eq!(read.events, without(&stretches, &[]));
        assert_eq!(read.notes, [""; 0]);
    }
}

#[test]
fn many_damaged_blocks_are_counted_and_the_first_are_named() {
    let stretches: Vec<_> = any::sample(20).into_iter().map(|told| vec![told]).collect();
    let made = Made::of(&stretches);
    let mut bytes = made.bytes.clone();
    for block in &made.blocks[3..18] {
        bytes[block.end - 1] ^= 1;
    }
    let notes = read(&bytes).unwrap().notes;
    let named = "blocks 3, 4, 5, 6, 7, 8, 9, 10, and 7 more of the recording are damaged and left out, with 15 events";
    assert_eq!(notes, [named]);
    // The same where not even their heads are there.
    let mut order = vec![0, 1, 2];
    order.extend(18..made.blocks.len());
    assert_eq!(read(&made.with(&order)).unwrap().notes, [named]);
}

#[test]
fn the_books_of_a_damaged_recording_say_what_was_lost() {
    let told = faulting(1_000, 10);
    let made = Made::of(&told);
    for block in 1..=10 {
        for at in [made.blocks[block].start + 3, made.blocks[block].end - 1] {
            let mut bytes = made.bytes.clone();
            bytes[at] ^= 4;
            let (outcome, notes) = outcome(&bytes);
            assert_eq!(outcome.lost.fault, 100);
            assert_eq!(outcome.lost.records(), 100);
            // A fault every 500 ns: from the end of the block before to the beginning of the next.
            let span = outcome.lost.ns / 500;
            assert!((99..=101).contains(&span) || block == 1, "{:?}", outcome.lost);
            let books = outcome.books;
            assert_eq!((books.kernel_min_flt, books.dropped), (1_000, 100));
            assert_eq!(books.observed + books.dropped + books.untraced, 1_000);
            assert_eq!(notes, [left_out(block, 100)]);
        }
    }
}
