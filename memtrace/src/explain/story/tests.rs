//! Stories of several ledgers as snapshots, and what holds for any.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    ledger::{
        causes_of,
        entry::{Attribution, Books, FileFaults, Frames, Lost, Rss},
        regions_of,
    },
    report::sample,
};

fn pressed(id: u64, faults: u64) -> Request {
    Request {
        duration_ns: 272_345_678,
        ..sample::request(id, "POST", "/saju", faults)
    }
}

/// As the demo's app has it on a two-core machine.
fn typical() -> Request {
    let mut request = pressed(17, 1_922);
    request.faults = Faults {
        user_mode: 1_798,
        kernel_mode: 124,
        in_window: 3_917,
        open_requests_max: 2,
        ..request.faults
    };
    request.space.mprotect_calls = 1_769;
    request.faults.cause = Some(causes_of(&[("zero_fill", 1_920), ("file_map", 2)]));
    request.faults.region = Some(regions_of(&[("anon", 1_800), ("heap", 120), ("file", 2)]));
    request.faults.files = Some(vec![FileFaults {
        path: "/usr/lib/libc.so.6".to_owned(),
        faults: 2,
    }]);
    request.frames = Some(Frames {
        allocated: 1_930,
        freed: 3,
        user: 1_920,
        page_table: 4,
        kernel: 6,
        huge: 0,
    });
    request
}

#[test]
fn a_typical_request() {
    insta::assert_snapshot!(story(&typical(), &sample::summary()));
}

#[test]
fn a_request_that_took_no_fault() {
    let mut summary = sample::summary();
    (summary.unattributed, summary.books.unattributed) = (BTreeMap::new(), 0);
    insta::assert_snapshot!(story(&pressed(3, 0), &summary));
}

#[test]
fn one_of_everything() {
    let mut request = pressed(4, 1);
    request.duration_ns = 1_500_000;
    (request.faults.user_mode, request.faults.kernel_mode) = (0, 1);
    (request.faults.minor, request.faults.major) = (0, 1);
    (request.faults.in_window, request.faults.open_requests_max) = (2, 2);
    request.space = Space {
        mmap_calls: 1,
        mmap_bytes: 4_096,
        munmap_calls: 1,
        munmap_bytes: 4_096,
        brk_calls: 1,
        brk_bytes: 135_168,
        mremap_calls: 1,
        madvise_calls: 1,
        mprotect_calls: 1,
    };
    let mut summary = sample::summary();
    summary.requests = 1;
    summary.books = Books {
        kernel_maj_flt: 1,
        observed: 1,
        direct: 1,
        balanced: true,
        ..Books::default()
    };
    insta::assert_snapshot!(story(&request, &summary));
}

#[test]
fn two_of_everything_and_nobody_else() {
    let mut request = pressed(5, 4);
    (request.faults.user_mode, request.faults.kernel_mode) = (2, 2);
    (request.faults.minor, request.faults.major) = (2, 2);
    request.faults.in_window = 6;
    request.space.mmap_calls = 2;
    request.space.mmap_bytes = 1 << 20;
    insta::assert_snapshot!(story(&request, &sample::summary()));
}

#[test]
fn all_that_later_features_bring_in_books_that_do_not_balance() {
    let mut request = typical();
    request.complete = false;
    request.faults.attribution = Attribution {
        direct: 1_921,
        causal: Some(1),
    };
    request.faults.time_ns = Some(2_900_000);
    request.faults.open_requests_max = 9;
    request.rss = Some(Rss {
        delta: -7_340_032,
        ..Rss::default()
    });
    let mut summary = sample::summary();
    summary.books.balanced = false;
    (summary.books.dropped, summary.books.untraced) = (5, 12);
    insta::assert_snapshot!(story(&request, &summary));
}

#[test]
fn books_that_balance_though_records_were_lost() {
    let mut summary = sample::summary();
    summary.lost = Lost {
        io: 3,
        ..Lost::default()
    };
    let story = story(&pressed(6, 2), &summary);
    assert!(
        story.contains("The books balance, but records were lost"),
        "{story}"
    );
}

#[test]
fn the_median_is_the_one_that_the_table_has() {
    let told = |faults: &[u64]| {
        let requests: Vec<Request> = faults.iter().zip(0..).map(|(&f, id)| pressed(id, f)).collect();
        median(&requests).map(|r| (r.id, r.faults.total))
    };
    assert_eq!(told(&[]), None);
    assert_eq!(told(&[7]), Some((0, 7)));
    assert_eq!(told(&[9, 7]), Some((1, 7)), "half of them have no more");
    assert_eq!(told(&[9, 1, 7]), Some((2, 7)));
    assert_eq!(told(&[5, 5, 5, 5]), Some((1, 5)));
}

#[test]
fn only_a_press_of_the_button_that_was_answered_is_told_of() {
    let mut cut_off = pressed(1, 5);
    cut_off.complete = false;
    let mut refused = pressed(2, 5);
    refused.status = Some(502);
    let page = sample::request(3, "GET", "/", 5);
    let other = sample::request(4, "GET", "/saju", 5);
    assert_eq!(median(&[cut_off, refused, page, other]), None);
}

#[test]
fn what_next_can_be_typed_as_it_stands() {
    assert_eq!(
        what_next("./target/release/memtrace"),
        "Next:\n  \
         sudo ./target/release/memtrace --port 3000  # the same for your own app, if it listens on port 3000\n  \
         ./target/release/memtrace doctor            # what this kernel and this user can do\n"
    );
}

fn any_space() -> impl Strategy<Value = Space> {
    prop::array::uniform9(prop_oneof![Just(0), 1..3_u64, any::<u64>()]).prop_map(|n| Space {
        mmap_calls: n[0],
        mmap_bytes: n[1],
        munmap_calls: n[2],
        munmap_bytes: n[3],
        brk_calls: n[4],
        brk_bytes: n[5],
        mremap_calls: n[6],
        madvise_calls: n[7],
        mprotect_calls: n[8],
    })
}

proptest! {
    #[test]
    fn any_ledger_makes_a_story(mut request in sample::any_request(), space in any_space()) {
        request.space = space;
        "/saju".clone_into(&mut request.path);
        "POST".clone_into(&mut request.method);
        let told = story(&request, &sample::summary());
        for (number, line) in told.lines().enumerate().skip(1) {
            let step = line.strip_prefix(&format!("{number}. "));
            prop_assert!(step.is_some_and(|step| step.ends_with('.')), "{}", line);
        }
        // The list of words that would have to be something else.
        for wrong in [" 1 faults", " 1 calls", " 1 were", " 1 are", " 0 ", "  ", " ,", ",,", ".."] {
            prop_assert!(!told.contains(wrong), "{:?} in {}", wrong, told);
        }
        // What is zero is left out.
        prop_assert_eq!(told.contains("kernel mode"), request.faults.kernel_mode > 0);
        prop_assert_eq!(told.contains(" major"), request.faults.major > 0);
        prop_assert_eq!(told.contains("munmap call"), space.munmap_calls > 0);
        prop_assert_eq!(told.contains("brk call"), space.brk_calls > 0);
    }
}
