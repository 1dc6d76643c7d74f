//! One judgement in every form.

use jiff::tz::TimeZone;

use super::*;
use crate::{
    check::{
        github::annotations,
        json,
        junit::junit,
        markdown::markdown,
        text,
        told::{Told, Trace},
        why::whys,
    },
    report::table::{TableOptions, WallClock},
};

/// Before, `/touch` takes 48 faults once it is warm; after it, 60, and calls `mmap` once more. `/gone` is missing and
/// `/saju` is new.
fn tell(each: impl FnOnce(&Told<'_>)) {
    let mut before = touches((0..100).map(|i| if i < 4 { 900 } else { 48 }));
    before.extend((200..250).map(|id| request(id, "GET", "/gone", 7)));
    let mut after = touches((0..100).map(|i| if i < 3 { 700 } else { 60 }));
    for request in &mut after {
        request.space.mmap_calls += 1;
    }
    after[40].faults.total = 75;
    after.extend((200..250).map(|id| request(id, "POST", "/saju", 7)));
    let (samples, baseline) = (run(&after), baseline(&written(&before)));
    let mut judgement = judge(&baseline, &samples, &here(), &[]);
    judgement.doubts.push("the client ended with status 1".to_owned());
    let whys = whys(&judgement, &baseline, &samples, &["run.mtr".to_owned()]);
    each(&Told {
        judgement: &judgement,
        whys: &whys,
        samples: &samples,
        trace: Some(Trace {
            path: "run.pftrace",
            page: Some("https://example.com/runs/7"),
        }),
    });
}

#[test]
fn for_a_person() {
    tell(|told| {
        let mut out = Vec::new();
        let options = TableOptions {
            width: None,
            colour: false,
            wall: WallClock {
                offset_ns: 0,
                zone: TimeZone::UTC,
            },
        };
        text::write(told, &options, &mut out);
        insta::assert_snapshot!(String::from_utf8(out).expect("text"));
    });
}

#[test]
fn for_a_pull_request() {
    tell(|told| insta::assert_snapshot!(markdown(told)));
}

#[test]
fn for_any_ci() {
    tell(|told| insta::assert_snapshot!(junit(told).expect("XML")));
}

#[test]
fn for_githubs_runners() {
    tell(|told| insta::assert_snapshot!(annotations(told)));
}

#[test]
fn for_scripts() {
    tell(|told| {
        let mut out = Vec::new();
        json::write(told, &mut out);
        let object: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        insta::assert_json_snapshot!(object);
    });
}
