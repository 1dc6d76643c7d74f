//! `memtrace map --frames`: pages and the frames that they are in, of memory of which that is known.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use memtrace_tests::denied::{NOBODY, as_nobody};
use memtrace_tests::map::{Frames, Map, Page, Region, Stopped};
use memtrace_tests::memtrace::run;
use memtrace_tests::process::Running;
use memtrace_tests::require_root;
use memtrace_tests::workload::{Mode, Workload};

/// The one region of `after` that `before` does not have, of a type.
#[track_caller]
fn born<'m>(before: &Map, after: &'m Map, r#type: &str) -> &'m Region {
    let is_there = |region: &Region| {
        before
            .regions
            .iter()
            .any(|old| old.end == region.end && old.start == region.start)
    };
    let mut new = after
        .regions
        .iter()
        .filter(|region| region.r#type == r#type && !is_there(region));
    let (Some(region), None) = (new.next(), new.next()) else {
        panic!("not one new region of type {type}: {before:#?}\n{after:#?}");
    };
    region
}

/// What is in memory of each region by `smaps` is what its pages say, and each is in a frame of its own.
#[test]
#[ignore = "needs root"]
fn all_pages_in_memory_are_in_frames() {
    require_root();
    let workload = Workload::start(Mode::Threads);
    let map = Map::read(workload.pid());
    let _stopped = Stopped::new(workload.pid());
    for region in map
        .regions
        .iter()
        .filter(|region| region.resident > 0 && region.r#type != "vdso")
    {
        let frames = Frames::read(workload.pid(), region);
        assert_eq!(frames.pages.len() as u64 * 4096, region.size);
        assert_eq!(
            frames.pages.first().map(|page| &page.address),
            Some(&region.start)
        );
        let counted = frames.present().filter(|page| page.of.as_deref() != Some("zero"));
        assert_eq!(counted.count() as u64 * 4096, region.resident, "{region:?}");
        let distinct: BTreeSet<_> = frames
            .present()
            .filter_map(|page| page.frame.as_deref())
            .collect();
        assert_eq!(distinct.len(), frames.present().count(), "{region:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn pages_are_what_was_done_with_them() {
    const PAGES: usize = 100;
    require_root();
    let workload = Workload::start(Mode::Loop);
    let mut client = workload.client();
    let before = Map::read(workload.pid());
    client.get(&format!("/keep?pages={PAGES}")).expect("an answer");
    let after = Map::read(workload.pid());
    // It may have become one with what was mapped before.
    let grown = after
        .regions
        .iter()
        .zip(&before.regions)
        .find(|(new, old)| new.start != old.start || new.end != old.end);
    let (grown, _) = grown.expect("a region more, or a larger one");
    let frames = Frames::read(workload.pid(), grown);
    let anonymous = frames.present().filter(|page| {
        page.of.as_deref() == Some("anonymous") && page.mappings == Some(1) && page.exclusive == Some(true)
    });
    assert!(anonymous.count() >= PAGES, "{frames:?}");

    client.get("/thp?huge=2").expect("an answer");
    let huge = Map::read(workload.pid());
    let region = born(&after, &huge, "mmap");
    let frames = Frames::read(workload.pid(), region);
    let huge: Vec<&Page> = frames.present().filter(|page| page.huge == Some(true)).collect();
    assert_eq!(huge.len(), 2 * 512, "{region:?}");
    let frame = |page: &Page| {
        let frame = page.frame.as_deref().and_then(|frame| frame.strip_prefix("0x"));
        frame
            .and_then(|frame| u64::from_str_radix(frame, 16).ok())
            .expect("a frame")
    };
    for pages in huge.chunks(512) {
        let first = frame(pages[0]);
        assert!(first.is_multiple_of(512), "{first:#x}");
        assert!(
            pages
                .iter()
                .zip(first..)
                .all(|(page, number)| frame(page) == number)
        );
    }
}

/// The same page of a file is in the same frame, whoever looks.
#[test]
#[ignore = "needs root"]
fn what_two_processes_map_is_in_one_frame() {
    require_root();
    let workloads = [(); 2].map(|()| Workload::start(Mode::Loop));
    let text = workloads.each_ref().map(|workload| {
        let map = Map::read(workload.pid());
        let is_text = |region: &&Region| {
            let path = region.path.as_deref().unwrap_or_default();
            region.r#type == "text" && path.ends_with("memtrace-workload")
        };
        Frames::read(
            workload.pid(),
            map.regions.iter().find(is_text).expect("its code"),
        )
    });
    let mut both = 0;
    for (one, other) in text[0].pages.iter().zip(&text[1].pages) {
        if let (Some(one_frame), Some(other_frame)) = (&one.frame, &other.frame) {
            both += 1;
            assert_eq!(one_frame, other_frame);
            assert_eq!(one.of.as_deref(), Some("file"));
            assert!(one.mappings >= Some(2) && one.exclusive == Some(false), "{one:?}");
        }
    }
    assert!(both > 10, "only {both} pages are mapped by both");
}

#[test]
fn frames_are_told_to_whoever_may_know_them() {
    let workload = Running::start(Command::new("sleep").arg("1000"));
    let pid = workload.pid().to_string();
    for (span, why) in [
        ("0x1000+4K", "nothing is mapped at these addresses"),
        ("0xffff800000000000+4K", "nothing is mapped at these addresses"),
    ] {
        let run = run(["map", "--pid", &pid, "--frames", span]);
        run.assert_status(2);
        run.assert(
            run.stderr.contains(why) && run.stderr.contains("\nhint: "),
            format_args!("not {why:?}"),
        );
    }
}

#[test]
#[ignore = "needs root"]
fn whoever_has_no_right_sees_regions_of_its_own_and_no_frames() {
    require_root();
    let own = Running::start(Command::new("sleep").arg("1000").uid(NOBODY).gid(NOBODY));
    let pid = own.pid().to_string();
    let run = |arguments: &[&str]| {
        let (mut command, _folder) = as_nobody([&["map", "--pid", &pid], arguments].concat());
        Running::start(&mut command).finish()
    };
    let map = Map::of(&run(&["--format", "json"]));
    let text = map
        .regions
        .iter()
        .find(|region| region.r#type == "text")
        .expect("code");
    let run = run(&["--frames", &text.start]);
    run.assert_status(2);
    let is_said = run.stderr.contains("CAP_SYS_ADMIN") && run.stderr.contains("hint: run it with sudo");
    run.assert(is_said && run.stdout.is_empty(), "not why, or not what to do");
}
