//! What changed between two looks.

use memtrace_common::Nanos;
use proptest::prelude::*;

use super::*;
use crate::ledger::entry::Request;

/// What became of each region, and its change of size and of what is in memory in pages.
fn told(before: &[Line], after: &[Line], faults: &[Fault]) -> Vec<String> {
    let (before, after) = (map(before), map(after));
    let changes = Changes::between(&before, &after, faults);
    let pages = |bytes: i64| bytes / 4096;
    changes
        .regions
        .iter()
        .map(|change| {
            format!(
                "{} {:x} {:+} {:+} {}/{}",
                change.what.name(),
                change.region.range.start / 4096,
                pages(change.delta(Region::size)),
                pages(change.delta(|region| region.pages.resident)),
                change.faults.own,
                change.faults.others
            )
        })
        .collect()
}

fn fault(page: u64, is_own: bool) -> Fault {
    Fault {
        address: page * 4096 + 5,
        is_own,
    }
}

#[test]
fn each_change_is_one_of_seven() {
    let file = |pages: Range<u64>| line(pages, "rw-p", "/bin/x");
    let anon = |pages: Range<u64>| line(pages, "rw-p", "");
    let before = [
        anon(0x10..0x20).resident(3),
        anon(0x30..0x40).resident(3),
        anon(0x50..0x60),
        file(0x70..0x80),
        anon(0x90..0xa0).resident(1),
        anon(0xa8..0xb0).resident(1),
        anon(0xc0..0xd0).resident(8),
    ];
    let after = [
        anon(0x10..0x20).resident(3),
        anon(0x30..0x48).resident(9),
        file(0x70..0x78),
        anon(0x90..0xb0).resident(2),
        anon(0xc0..0xcc).resident(8),
        line(0xcc..0xd0, "r--p", "").resident(1),
        anon(0xe0..0xf0).resident(2),
    ];
    let faults = [
        fault(0x11, true),
        fault(0x31, true),
        fault(0x47, false),
        fault(0x55, true),
        fault(0x7f, true),
        fault(0x1000, true),
        fault(0xe1, true),
    ];
    assert_eq!(
        told(&before, &after, &faults),
        [
            "touched 10 +0 +0 1/0",
            "grown 30 +8 +6 1/1",
            "gone 50 -16 +0 1/0",
            "shrunk 70 -8 +0 1/0",
            "grown 90 +16 +1 0/0",
            "joined a8 -8 -1 0/0",
            "shrunk c0 -4 +0 0/0",
            "split cc +4 +1 0/0",
            "born e0 +16 +2 1/0",
        ]
    );
}

#[test]
fn what_stays_as_it_was_is_no_change() {
    let lines = [
        line(0x10..0x20, "rw-p", "").resident(3),
        line(0x20..0x30, "r--p", "/bin/x"),
    ];
    assert_eq!(told(&lines, &lines, &[]), [""; 0]);
    let more = [lines[0].clone().resident(4), lines[1].clone()];
    assert_eq!(told(&lines, &more, &[]), ["touched 10 +0 +1 0/0"]);
}

/// An arena's heap grows into what is reserved behind it.
#[test]
fn a_border_that_moves_is_one_that_grows_and_one_that_shrinks() {
    let arena = |used: u64| {
        [
            line(0x4000..0x4000 + used, "rw-p", "").resident(used),
            line(0x4000 + used..0x8000, "---p", ""),
        ]
    };
    let faults: Vec<Fault> = (0x4021..0x4042).map(|page| fault(page, true)).collect();
    assert_eq!(
        told(&arena(0x21), &arena(0x42), &faults),
        ["grown 4000 +33 +33 33/0", "shrunk 4042 -33 +0 0/0"]
    );
}

fn around(before: &Map, after: &Map, request: Option<&Request>, form: Form, width: Option<usize>) -> String {
    let faults = [fault(0x31, true), fault(0x47, false), fault(0x1000, true)];
    let moment = |began, ended| Moment {
        began: Nanos(began),
        ended: Nanos(ended),
    };
    let around = Around {
        changes: Changes::between(before, after, &faults),
        map: after,
        request,
        looks: [
            moment(998_000_000, 999_000_000),
            moment(1_004_000_000, 1_005_000_000),
        ],
        is_whole: request.is_some(),
    };
    let mut out = Vec::new();
    around.write(form, &options(width), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn changes_read_well() {
    let before = map(&[
        line(0x30..0x40, "rw-p", "[anon:pixels]").resident(3),
        line(0x50..0x60, "rw-p", ""),
    ]);
    let after = map(&[line(0x30..0x48, "rw-p", "[anon:pixels]").resident(9)]);
    let full = crate::report::sample::full(3);
    let request = Request {
        rss: full.rss,
        runtime: full.runtime,
        ..crate::report::sample::request(3, "POST", "/saju", 620)
    };
    let late = Request {
        start_ns: 998_500_000,
        ..request.clone()
    };
    let requests = [Some(&request), Some(&late), None];
    let texts = requests.map(|request| around(&before, &after, request, Form::Table, None));
    insta::assert_snapshot!(texts.join("\n--\n"));
    for width in [20, 60, 80, 100] {
        let text = around(&before, &after, Some(&late), Form::Table, Some(width));
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
    for request in requests {
        let value = serde_json::from_str(&around(&before, &after, request, Form::Json, None)).unwrap();
        assert_valid(&value);
    }
}

proptest! {
    #[test]
    fn all_that_differs_is_told_once(before in any_lines(), after in any_lines(), at in prop::collection::vec((0x4000_u64..0x20000, any::<bool>()), 0..40)) {
        let (before, after) = (map(&before), map(&after));
        let faults: Vec<Fault> = at.iter().map(|&(page, is_own)| fault(page, is_own)).collect();
        let changes = Changes::between(&before, &after, &faults);
        let delta = |of: fn(&Region) -> u64| {
            let sum = |map: &Map| map.regions.iter().map(of).sum::<u64>().cast_signed();
            (changes.delta(of), sum(&after) - sum(&before))
        };
        let (told, real) = delta(Region::size);
        prop_assert_eq!(told, real);
        let (told, real) = delta(|region| region.pages.resident);
        prop_assert_eq!(told, real);
        let taken = |of: fn(&Taken) -> u64| changes.regions.iter().map(|change| of(&change.faults)).sum::<u64>() + of(&changes.between);
        prop_assert_eq!(taken(|taken| taken.own) + taken(|taken| taken.others), faults.len() as u64);
        prop_assert_eq!(taken(|taken| taken.own), changes.all.own);
        // A region is before and after in one change at most.
        let seen = |side: fn(&Change<'_>) -> Option<u64>| {
            let mut starts: Vec<u64> = changes.regions.iter().filter_map(side).collect();
            let all = starts.len();
            starts.dedup();
            starts.len() == all
        };
        prop_assert!(seen(|change| change.after.map(|region| region.range.start)));
    }

    #[test]
    fn a_map_and_itself_differ_in_nothing(lines in any_lines()) {
        prop_assert_eq!(told(&lines, &lines, &[]), [""; 0]);
    }
}
