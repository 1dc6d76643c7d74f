//! An address space out of a text: what is read, what each region is for, and how it is written.

mod changes;
mod pages;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::report::table::WallClock;

/// A mapping as a test has it.
#[derive(Clone, Debug, Default)]
struct Line {
    range: Range<u64>,
    prot: &'static str,
    name: String,
    resident: u64,
    shared_dirty: u64,
    swapped: u64,
    flags: &'static str,
}

/// `START-END PROT NAME`, where the addresses are in pages.
fn line(pages: Range<u64>, prot: &'static str, name: &str) -> Line {
    Line {
        range: pages.start * 4096..pages.end * 4096,
        prot,
        name: name.to_owned(),
        flags: "rd mr mw me",
        ..Line::default()
    }
}

impl Line {
    fn resident(self, pages: u64) -> Self {
        Self {
            resident: pages * 4096,
            ..self
        }
    }

    fn flags(self, flags: &'static str) -> Self {
        Self { flags, ..self }
    }

    /// As the kernel writes it.
    fn text(&self) -> String {
        let mut text = format!(
            "{:08x}-{:08x} {} 00000000 00:00 0 {}\n",
            self.range.start, self.range.end, self.prot, self.name
        );
        let size = self.range.end - self.range.start;
        for (name, bytes) in [
            ("Size", size),
            ("KernelPageSize", 4096),
            ("MMUPageSize", 4096),
            ("Rss", self.resident),
            ("Pss", self.resident),
            ("Shared_Clean", 0),
            ("Shared_Dirty", self.shared_dirty),
            ("Private_Clean", 0),
            ("Private_Dirty", self.resident - self.shared_dirty),
            ("Anonymous", self.resident),
            ("Swap", self.swapped),
        ] {
            let _ = writeln!(text, "{:16}{:8} kB", format!("{name}:"), bytes / 1024);
        }
        let _ = writeln!(text, "THPeligible:           0\nVmFlags: {} ", self.flags);
        text
    }
}

fn reading(lines: &[Line]) -> Reading {
    Reading {
        tgid: 7,
        comm: "app".to_owned(),
        smaps: lines.iter().map(Line::text).collect::<String>().into_bytes(),
        ..Reading::default()
    }
}

fn map(lines: &[Line]) -> Map {
    Map::of(&reading(lines)).unwrap()
}

fn kinds(map: &Map) -> Vec<(&'static str, Option<&str>)> {
    let kinds = map.regions.iter();
    kinds
        .map(|region| {
            (
                region.kind.name(),
                region.path.as_deref().or(region.name.as_deref()),
            )
        })
        .collect()
}

fn thread(tid: u32, page: u64) -> Thread {
    Thread {
        tid,
        comm: "worker".to_owned(),
        stack_pointer: Some(page * 4096 + 8),
    }
}

/// A process with all there is, 64 MiB being 0x4000 pages.
fn everything() -> Reading {
    let lines = [
        line(0x400..0x410, "r--p", "/usr/bin/app").resident(16),
        line(0x410..0x500, "r-xp", "/usr/bin/app").resident(100),
        line(0x500..0x502, "r--p", "/usr/bin/app")
            .resident(2)
            .flags("rd mr mw me ac"),
        line(0x502..0x510, "rw-p", "/usr/bin/app").resident(14),
        line(0x510..0x530, "rw-p", "").resident(9),
        line(0x900..0x980, "rw-p", "[heap]").resident(100),
        line(0x4_0000..0x4_0021, "rw-p", "").resident(20),
        line(0x4_0021..0x4_4000, "---p", ""),
        line(0x5_0001..0x5_0002, "---p", ""),
        line(0x5_0002..0x5_0202, "rw-p", "").resident(3),
        line(0x6_0000..0x6_0001, "---p", ""),
        line(0x6_0001..0x6_0011, "rw-p", "").resident(2),
        line(0x7_0001..0x7_0100, "rw-p", "[anon:pixels]").resident(1),
        line(0x7_1001..0x7_1100, "rw-p", ""),
        line(0x7_2000..0x7_3000, "---p", ""),
        line(0x7_4001..0x7_4002, "rwxp", "").resident(1),
        line(0x7_5000..0x7_5010, "rw-s", "/dev/zero (deleted)").resident(4),
        line(0x7_6000..0x7_6010, "rw-s", "/memfd:ring (deleted)").resident(4),
        line(0x7_7000..0x7_7010, "r--s", "/var/cache/a\\012b").resident(4),
        line(0x7_ff00..0x7_ff20, "rw-p", "[stack]")
            .resident(10)
            .flags("rd wr mr mw me gd ac"),
        line(0x7_ff30..0x7_ff34, "r--p", "[vvar]"),
        line(0x7_ff34..0x7_ff36, "r-xp", "[vdso]").resident(1),
    ];
    Reading {
        threads: vec![
            Thread {
                tid: 7,
                comm: "app".to_owned(),
                stack_pointer: None,
            },
            thread(9, 0x6_0010),
        ],
        ..reading(&lines)
    }
}

#[test]
fn each_region_is_for_something() {
    let map = Map::of(&everything()).unwrap();
    let app = Some("/usr/bin/app");
    assert_eq!(
        kinds(&map),
        [
            ("file", app),
            ("text", app),
            ("data", app),
            ("data", app),
            ("bss", app),
            ("heap", None),
            ("malloc arena", None),
            ("reserved", Some("rest of the malloc arena")),
            ("stack guard", None),
            ("stack", None),
            ("stack guard", Some("thread 9 worker")),
            ("stack", Some("thread 9 worker")),
            ("mmap", Some("pixels")),
            ("mmap", None),
            ("reserved", None),
            ("jit", None),
            ("shmem", None),
            ("shmem", Some("/memfd:ring (deleted)")),
            ("file", Some("/var/cache/a\\012b")),
            ("stack", Some("thread 7 app")),
            ("vdso", Some("vvar")),
            ("vdso", Some("vdso")),
        ]
    );
    let shares: Vec<&str> = map.regions.iter().map(|region| region.share.name()).collect();
    let expected = "COW COW COW COW PRV PRV PRV NUL NUL PRV NUL PRV PRV ZER NUL PRV SHM SHM SHM PRV COW COW";
    assert_eq!(shares.join(" "), expected);
}

#[test]
fn an_arena_takes_all_of_its_room() {
    let kind = |lines: &[Line]| map(lines).regions[0].kind;
    let arena = |used: u64, rest: Range<u64>| {
        [
            line(0x4_0000..0x4_0000 + used, "rw-p", ""),
            line(0x4_0000 + rest.start..0x4_0000 + rest.end, "---p", ""),
        ]
    };
    assert_eq!(kind(&arena(0x21, 0x21..0x4000)), Type::MallocArena);
    assert_eq!(kind(&arena(0x4000, 0x5000..0x5001)), Type::MallocArena, "full");
    assert_eq!(
        kind(&arena(0x21, 0x21..0x4001)),
        Type::MallocArena,
        "a guard follows"
    );
    assert_eq!(kind(&arena(0x21, 0x21..0x3000)), Type::Mmap, "too short");
    assert_eq!(kind(&arena(0x21, 0x22..0x4000)), Type::Mmap, "a gap");
    assert_eq!(
        kind(&arena(0x21, 0x21..0x10_0000)),
        Type::Mmap,
        "gigabytes: another's"
    );
    let elsewhere = [
        line(0x4_0001..0x4_0021, "rw-p", ""),
        line(0x4_0021..0x4_4001, "---p", ""),
    ];
    assert_eq!(kind(&elsewhere), Type::Mmap, "not at a multiple");
}

#[test]
fn a_stack_without_a_thread_has_a_guard_and_says_so_itself_or_is_as_large_as_stacks_are() {
    let kind = |pages: u64, guard: &'static str, flags: &'static str, stack_limit| {
        let lines = [
            line(0x100..0x101, guard, ""),
            line(0x101..0x101 + pages, "rw-p", "").flags(flags),
        ];
        let reading = Reading {
            stack_limit,
            ..reading(&lines)
        };
        Map::of(&reading).unwrap().regions[1].kind
    };
    assert_eq!(kind(2048, "---p", "", Some(8 << 20)), Type::Stack, "the limit");
    assert_eq!(kind(2048, "---p", "", None), Type::Mmap, "no limit");
    assert_eq!(kind(512, "---p", "", Some(8 << 20)), Type::Stack, "2 MiB");
    assert_eq!(kind(77, "---p", "rd wr nh", None), Type::Stack, "MAP_STACK");
    assert_eq!(kind(77, "r--p", "rd wr nh", None), Type::Mmap, "no guard");
    assert_eq!(kind(2048, "r--p", "", Some(8 << 20)), Type::Mmap, "no guard");
}

#[test]
fn goroutines_stacks_are_in_gos_arenas() {
    let lines = [line(0xc00_0000..0xc00_0400, "rw-p", "").resident(4)];
    let go = Reading {
        threads: vec![thread(8, 0xc00_0002)],
        is_go: true,
        ..reading(&lines)
    };
    assert_eq!(kinds(&Map::of(&go).unwrap()), [("mmap", Some("Go arena"))]);
    let other = Reading { is_go: false, ..go };
    assert_eq!(
        kinds(&Map::of(&other).unwrap()),
        [("stack", Some("thread 8 worker"))]
    );
}

#[test]
fn pages_that_a_fork_has_too_are_copied_when_they_are_written() {
    let mut forked = line(0x10..0x20, "rw-p", "").resident(8);
    assert_eq!(map(std::slice::from_ref(&forked)).regions[0].share, Share::Prv);
    forked.shared_dirty = 4096;
    assert_eq!(map(&[forked]).regions[0].share, Share::Cow);
    let swapped = Line {
        swapped: 4096,
        ..line(0x10..0x20, "rw-p", "")
    };
    assert_eq!(map(&[swapped]).regions[0].share, Share::Prv);
}

#[test]
fn what_makes_no_sense_is_named_by_its_line() {
    let whole = line(0x10..0x20, "rw-p", "").text();
    let with = |name: &str, text: &str| {
        let lines = whole
            .lines()
            .map(|line| if line.starts_with(name) { text } else { line });
        lines.fold(String::new(), |all, line| all + line + "\n")
    };
    let unmeasured = with("Rss:", "Xss: 0 kB");
    for (text, said) in [
        (
            with("0", "00010000-00020000 rw?p 00000000 00:00 0"),
            "line 1: no permissions",
        ),
        (format!("Rss: 0 kB\n{whole}"), "line 1: no range of addresses"),
        (with("Pss:", "Pss 0 kB"), "line 6: no `NAME: VALUE kB`"),
        (with("Pss:", "Pss: 0 MB"), "line 6: no `NAME: VALUE kB`"),
        (with("Swap:", "Swap: -1 kB"), "line 12: no `NAME: VALUE kB`"),
        (
            with("Rss:", "Rss: 18446744073709551615 kB"),
            "line 5: no `NAME: VALUE kB`",
        ),
        (with("Size:", "Later: anything"), ""),
        (unmeasured.clone(), "line 1: a mapping without `Rss`"),
        (
            format!("{whole}{unmeasured}{whole}"),
            "line 15: a mapping without `Rss`",
        ),
        (whole.trim_end().to_owned(), "line 14: cut off"),
    ] {
        let reading = Reading {
            smaps: text.clone().into_bytes(),
            ..Reading::default()
        };
        match Map::of(&reading) {
            Ok(_) => assert_eq!(said, "", "of\n{text}"),
            Err(error) => assert_eq!(error.to_string(), said, "of\n{text}"),
        }
    }
}

fn options(width: Option<usize>) -> TableOptions {
    TableOptions {
        width,
        colour: false,
        wall: WallClock {
            offset_ns: 0,
            zone: jiff::tz::TimeZone::UTC,
        },
    }
}

fn written(map: &Map, form: Form, is_summary: bool, width: Option<usize>) -> String {
    let mut out = Vec::new();
    map.write(form, is_summary, &options(width), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn it_reads_well() {
    let map = Map::of(&everything()).unwrap();
    insta::assert_snapshot!(written(&map, Form::Table, false, None));
}

#[test]
fn on_a_narrow_terminal_the_least_needed_gives_way() {
    let map = Map::of(&everything()).unwrap();
    for width in [20, 60, 80, 100] {
        let text = written(&map, Form::Table, false, Some(width));
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}

/// It follows the schema.
#[track_caller]
fn assert_valid(value: &serde_json::Value) {
    let schema = serde_json::from_str(include_str!("../../../docs/schema/map.schema.json")).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    if let Err(error) = validator.validate(value) {
        panic!("{error} at {}", error.instance_path());
    }
}

#[test]
fn the_json_is_as_its_schema_has_it() {
    let map = Map::of(&everything()).unwrap();
    let texts = [
        written(&map, Form::Json, false, None),
        written(&map, Form::Json, true, None),
        pages::written(&pages::pages(), Form::Json, None),
    ];
    for text in texts {
        assert_valid(&serde_json::from_str(&text).unwrap());
    }
    insta::assert_json_snapshot!(
        serde_json::from_str::<serde_json::Value>(&written(&map, Form::Json, true, None)).unwrap()
    );
}

/// Any regions that do not overlap, with any names and counts.
fn any_lines() -> impl Strategy<Value = Vec<Line>> {
    const PROTS: [&str; 6] = ["rw-p", "r--p", "---p", "r-xp", "rw-s", "rwxp"];
    const NAMES: [&str; 9] = [
        "",
        "",
        "",
        "/bin/x",
        "[heap]",
        "[stack]",
        "[vdso]",
        "[anon:n m]",
        "/dev/shm/s (deleted)",
    ];
    let one = (
        0..3_u64,
        prop::sample::select(vec![1_u64, 2, 512, 0x21, 0x4000, 0x3fdf]),
        prop::sample::select(&PROTS[..]),
        prop::sample::select(&NAMES[..]),
        0..=512_u64,
        0..9_u64,
    );
    prop::collection::vec(one, 0..30).prop_map(|ones| {
        let mut at = 0x4000;
        let lines = ones
            .into_iter()
            .map(|(gap, size, prot, name, resident, swapped)| {
                let start = at + gap;
                at = start + size;
                Line {
                    swapped: swapped * 4096,
                    ..line(start..at, prot, name).resident(resident.min(size))
                }
            });
        lines.collect()
    })
}

proptest! {
    #[test]
    fn every_mapping_is_a_region_and_the_sums_are_theirs(lines in any_lines()) {
        let map = map(&lines);
        prop_assert_eq!(map.regions.len(), lines.len());
        for (region, line) in map.regions.iter().zip(&lines) {
            prop_assert_eq!(&region.range, &line.range);
            prop_assert_eq!(region.pages.resident, line.resident);
            prop_assert_eq!(region.pages.dirty, line.resident);
            prop_assert_eq!(region.pages.swapped, line.swapped);
        }
        let mut sum = Sum::default();
        for (_, part) in map.types() {
            sum.regions += part.regions;
            sum.size += part.size;
            sum.pages += part.pages;
        }
        prop_assert_eq!(sum, map.sum(|_| true));
        prop_assert_eq!(written(&map, Form::Table, false, None).lines().count() , 5 + lines.len() + map.types().len() + 2);
    }

    #[test]
    fn no_text_makes_it_panic(lines in any_lines(), cut in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut reading = reading(&lines);
        prop_assume!(!reading.smaps.is_empty());
        let at = flip.index(reading.smaps.len());
        reading.smaps[at] = to;
        let _ = Map::of(&reading);
        reading.smaps.truncate(cut.index(reading.smaps.len()));
        let _ = Map::of(&reading);
    }
}
