//! Pages out of the kernel's bits, and how they are written.

use super::*;

/// A page that is in a frame, by the kernel's bits.
fn present(frame: u64, pagemap: u64, flags: u64, mappings: u64) -> Entry {
    Entry {
        pagemap: 1 << 63 | pagemap | frame,
        frame: Some(Frame {
            flags,
            mappings,
            huge: [0; 2],
        }),
    }
}

/// What the kernel says of pages around one region, and what comes of it.
pub(super) fn pages() -> Frames {
    const OF_FILE: u64 = 1 << 61;
    let (anon, swapbacked, tail, thp) = (1 << 12, 1 << 14, 1 << 16, 1 << 22);
    let huge = Entry {
        frame: Some(Frame {
            flags: anon | tail | thp,
            mappings: 1,
            huge: [1 << 15 | thp, tail | thp],
        }),
        ..present(0x8_0003, 1 << 56, 0, 0)
    };
    let small_in_large = Entry {
        frame: Some(Frame {
            flags: anon | tail | thp,
            mappings: 1,
            huge: [1 << 15 | thp, anon],
        }),
        ..present(0x9_0003, 1 << 56, 0, 0)
    };
    let entries = [
        Entry::default(),
        present(0x1234, 1 << 56, anon | swapbacked, 1),
        present(0x2000, OF_FILE, 1 << 5, 37),
        present(0x3000, OF_FILE, swapbacked, 2),
        present(0x7, 0, 1 << 24, 0),
        present(0x4000, 0, anon | 1 << 21, 3),
        present(0x5000, 0, 1 << 17, 1),
        huge,
        small_in_large,
        Entry {
            pagemap: 1 << 62 | 5 << 5,
            frame: None,
        },
        Entry {
            pagemap: 1 << 62 | 1 << 58,
            frame: None,
        },
        Entry::default(),
        Entry::default(),
        Entry::default(),
        Entry::default(),
        Entry::default(),
    ];
    let lines = [
        line(0x411..0x418, "rw-p", "[anon:pixels]").resident(6),
        line(0x418..0x41f, "rw-p", "[heap]").resident(2),
    ];
    Frames::of(map(&lines), &(0x41_0000..0x42_0000), &entries)
}

#[test]
fn each_page_is_somewhere_or_nowhere() {
    let told: Vec<_> = pages()
        .pages
        .iter()
        .map(|page| match page.state {
            State::Present {
                frame,
                of,
                mappings,
                exclusive,
                huge,
            } => {
                format!(
                    "{:x} {frame:x} {} {mappings} {exclusive} {huge}",
                    page.number,
                    of.name()
                )
            }
            state => format!("{:x} {}", page.number, state.name()),
        })
        .collect();
    assert_eq!(
        told,
        [
            "410 unmapped",
            "411 1234 anonymous 1 true false",
            "412 2000 file 37 false false",
            "413 3000 shmem 2 false false",
            "414 7 zero 0 false false",
            "415 4000 merged 3 false false",
            "416 5000 hugetlb 1 false true",
            "417 80003 anonymous 1 true true",
            "418 90003 anonymous 1 true false",
            "419 swapped",
            "41a guard",
            "41b absent",
            "41c absent",
            "41d absent",
            "41e absent",
            "41f unmapped",
        ]
    );
}

#[test]
fn the_kernels_own_pages_are_no_files() {
    let lines = [
        line(0x10..0x12, "r-xp", "[vdso]"),
        line(0x12..0x13, "rw-s", "/dev/dri/card0"),
    ];
    let entries = [
        present(1, 1 << 61, 0, 1),
        Entry::default(),
        present(2, 0, 1 << 20, 0),
    ];
    let frames = Frames::of(map(&lines), &(0x1_0000..0x1_3000), &entries);
    let of = |index: usize| match frames.pages[index].state {
        State::Present { of, .. } => Some(of),
        _ => None,
    };
    assert_eq!([of(0), of(1), of(2)], [Some(Of::Kernel), None, Some(Of::Kernel)]);
}

pub(super) fn written(frames: &Frames, form: Form, width: Option<usize>) -> String {
    let mut out = Vec::new();
    frames.write(form, &options(width), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn pages_read_well() {
    insta::assert_snapshot!(written(&pages(), Form::Table, None));
    for width in [20, 60, 80, 100] {
        let text = written(&pages(), Form::Table, Some(width));
        assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
    }
}
