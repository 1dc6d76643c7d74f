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

/// As the demo tells it, without a course.
fn told(request: &Request, summary: &Summary) -> String {
    story(request, None, summary, &crate::demo::scene())
}

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
    insta::assert_snapshot!(told(&typical(), &sample::summary()));
}

#[test]
fn a_request_that_took_no_fault() {
    let mut summary = sample::summary();
    (summary.unattributed, summary.books.unattributed) = (BTreeMap::new(), 0);
    insta::assert_snapshot!(told(&pressed(3, 0), &summary));
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
    insta::assert_snapshot!(told(&request, &summary));
}

#[test]
fn two_of_everything_and_nobody_else() {
    let mut request = pressed(5, 4);
    (request.faults.user_mode, request.faults.kernel_mode) = (2, 2);
    (request.faults.minor, request.faults.major) = (2, 2);
    request.faults.in_window = 6;
    request.space.mmap_calls = 2;
    request.space.mmap_bytes = 1 << 20;
    insta::assert_snapshot!(told(&request, &sample::summary()));
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
    insta::assert_snapshot!(told(&request, &summary));
}

#[test]
fn books_that_balance_though_records_were_lost() {
    let mut summary = sample::summary();
    summary.lost = Lost {
        io: 3,
        ..Lost::default()
    };
    let story = told(&pressed(6, 2), &summary);
    assert!(
        story.contains("The books balance, but records were lost"),
        "{story}"
    );
}

#[test]
fn what_was_promised_is_told_apart_from_what_was_given() {
    let request = Request {
        space: Space {
            mmap_calls: 2,
            mmap_bytes: 1 << 20,
            ..Space::default()
        },
        frames: Some(Frames::default()),
        ..pressed(7, 60)
    };
    let course = |promised, given, own| Course {
        promised,
        given,
        given_of_promised: own,
        times: Some([1_000_000, 90_000_000, 250_000_000]),
    };
    let stories: Vec<String> = [
        course(1 << 20, 60, 40),
        course(40 << 12, 40, 40),
        course(1 << 20, 0, 0),
        course(0, 60, 0),
        Course::default(),
    ]
    .iter()
    .map(|course| {
        steps_of(
            &request,
            Some(course),
            ["What it got", "pages were given", "The first of"],
        )
    })
    .collect();
    insta::assert_snapshot!(stories.join("\n--\n"));
}

/// It is told on a terminal, and a client chose the path.
#[test]
fn what_a_client_sent_moves_no_cursor() {
    let request = sample::request(1, "GET\u{1b}", "/\u{1b}[2J\n1. No fault at all.", 3);
    let told = told(&request, &sample::summary());
    assert!(!told.contains('\u{1b}') && !told.contains("\n1. No"), "{told}");
}

/// Those of the story's steps that have one of these words.
fn steps_of<const N: usize>(request: &Request, course: Option<&Course>, words: [&str; N]) -> String {
    let story = story(request, course, &sample::summary(), &Scene::default());
    let lines = story
        .lines()
        .filter(|line| words.iter().any(|word| line.contains(word)));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn two_views_that_move_apart_are_told_together() {
    let stories: Vec<String> = [
        (2_000_000, -700_000),
        (-1_500_000, 400_000),
        (3_000_000, 600_000),
        (0, 0),
    ]
    .iter()
    .map(|&(used, rss)| {
        let size = |start: u64, delta: i64| RuntimeSize {
            start: Some(start),
            end: start.checked_add_signed(delta),
        };
        let request = Request {
            rss: Some(Rss {
                delta: rss,
                ..Rss::default()
            }),
            runtime: Some([("heapUsed".to_owned(), size(9_000_000, used))].into()),
            ..pressed(8, 100)
        };
        steps_of(&request, None, ["JavaScript", "the process held"])
    })
    .collect();
    insta::assert_snapshot!(stories.join("\n--\n"));
    // Without one of the ends there is no change to tell of.
    let half = Request {
        runtime: Some(
            [(
                "heapUsed".to_owned(),
                RuntimeSize {
                    start: Some(1),
                    end: None,
                },
            )]
            .into(),
        ),
        ..pressed(8, 100)
    };
    assert_eq!(steps_of(&half, None, ["JavaScript"]), "");
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
    fn any_ledger_makes_a_story(mut request in sample::any_request(), space in any_space(), any in prop::array::uniform3(prop_oneof![Just(0), Just(1), 2..1_u64 << 40])) {
        request.space = space;
        request.duration_ns = request.duration_ns.max(1);
        "/saju".clone_into(&mut request.path);
        "POST".clone_into(&mut request.method);
        let course = Course { promised: any[0], given: any[1].max(any[2]), given_of_promised: any[2], times: Some([any[0] + 1; 3]) };
        let told = story(&request, Some(&course), &sample::summary(), &crate::demo::scene());
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
