//! The regions of a process: what each call does to them.

mod properties;
mod reference;

use std::ops::Range;

use super::*;

const NONE: u64 = 0;
const READ: u64 = 1;
const WRITE: u64 = 2;
const EXEC: u64 = 4;
const SHARED: u64 = 0x01;
const PRIVATE: u64 = 0x02;
const GROWSDOWN: u64 = 0x100;
const STACK: u64 = 0x2_0000;
const HUGETLB: u64 = 0x4_0000;
const TIB: u64 = 1 << 40;

/// What is in a space: first and last page's end, in pages, with the region's kind.
fn pages(space: &AddressSpace) -> Vec<(u64, u64, Region)> {
    space
        .iter()
        .map(|(range, vma)| (range.start / PAGE, range.end / PAGE, Region::of(Some(vma))))
        .collect()
}

fn region(space: &AddressSpace, addr: u64) -> Region {
    Region::of(space.find(addr))
}

fn anon(space: &mut AddressSpace, page: u64, pages: u64) {
    space.mmap(page * PAGE, pages * PAGE, READ | WRITE, PRIVATE, Backing::Anon, 0);
}

#[test]
fn what_each_line_of_maps_is() {
    let mut files = Files::default();
    for (rest, region) in [
        ("rw-p 00000000 00:00 0 ", Region::Anon),
        ("rwxp 00000000 00:00 0 ", Region::Jit),
        ("rw-p 00000000 00:00 0   [heap]", Region::Heap),
        ("rwxp 00000000 00:00 0   [heap]", Region::Heap),
        ("rw-p 00000000 00:00 0   [stack]", Region::Stack),
        (
            "rw-p 00000000 00:00 0   [anon: glibc: pthread stack: 7]",
            Region::Stack,
        ),
        ("rw-p 00000000 00:00 0   [anon:v8]", Region::Anon),
        ("rwxp 00000000 00:00 0   [anon:v8]", Region::Jit),
        ("rw-s 00000000 00:01 9   [anon_shmem:x]", Region::Shmem),
        ("r-xp 00000000 00:00 0   [vdso]", Region::Vdso),
        ("r--p 00000000 00:00 0   [vvar]", Region::Vdso),
        ("r--p 00000000 00:00 0   [vvar_vclock]", Region::Vdso),
        ("--xp 00000000 00:00 0   [vsyscall]", Region::Vdso),
        ("r-xp 00000000 fe:00 9   /usr/bin/cat", Region::File),
        ("r-xp 00000000 fe:00 9   /usr/bin/cat (deleted)", Region::File),
        ("r--s 00000000 fe:00 9   /dev/zero.txt", Region::File),
        ("rw-s 00000000 00:0e 9   anon_inode:[io_uring]", Region::File),
        ("rw-s 00000000 00:01 9   /dev/zero (deleted)", Region::Shmem),
        ("rw-p 00000000 00:05 9   /dev/zero", Region::Anon),
        (
            "rw-s 00000000 00:01 9   /memfd:doublemapper (deleted)",
            Region::Shmem,
        ),
        ("rw-p 00000000 00:01 9   /memfd:x (deleted)", Region::Shmem),
        ("rw-s 00000000 00:01 9   /dev/shm/x", Region::Shmem),
        ("rw-s 00000000 00:01 9   /SYSV0000beef (deleted)", Region::Shmem),
        ("rw-s 00000000 00:01 9   /SYSVbeef", Region::File),
        ("rw-p 00000000 00:0f 9   /anon_hugepage (deleted)", Region::Anon),
        ("rw-s 00000000 00:0f 9   /anon_hugepage (deleted)", Region::Shmem),
    ] {
        let mut space = AddressSpace::default();
        let seeded = space.seed(format!("7000-8000 {rest}\n").as_bytes(), &mut files, None);
        assert_eq!((seeded.lines, seeded.malformed), (1, 0), "{rest}");
        assert_eq!(Region::of(space.find(0x7fff)), region, "{rest}");
    }
}

#[test]
fn lines_without_sense_are_counted() {
    let mut space = AddressSpace::default();
    let text = b"1000-2000 rw-p 00000000 00:00 0 \nnonsense\n3000-4000 rw-p 00000000 fe:00 9  /usr/li";
    let seeded = space.seed(text, &mut Files::default(), None);
    assert_eq!((seeded.lines, seeded.malformed), (1, 2));
    assert_eq!(pages(&space), [(1, 2, Region::Anon)]);
}

#[test]
fn a_mapping_replaces_what_it_covers() {
    let mut files = Files::default();
    let file = Backing::File(files.intern(b"/a"));
    let mut space = AddressSpace::default();
    anon(&mut space, 10, 10);
    space.mmap(12 * PAGE, 2 * PAGE + 1, READ, PRIVATE, file, 7 * PAGE);
    assert_eq!(
        pages(&space),
        [
            (10, 12, Region::Anon),
            (12, 15, Region::File),
            (15, 20, Region::Anon)
        ]
    );
    space.munmap(13 * PAGE, PAGE);
    assert_eq!(space.find(14 * PAGE).map(|vma| vma.offset), Some(9 * PAGE));
    assert_eq!(region(&space, 13 * PAGE), Region::Unmapped);
    // The page that was taken out comes back: one region again.
    space.mmap(13 * PAGE, PAGE, READ, PRIVATE, file, 8 * PAGE);
    assert_eq!(space.len(), 3);
    // Another part of the file does not continue the first.
    space.mmap(13 * PAGE, PAGE, READ, PRIVATE, file, 80 * PAGE);
    assert_eq!(space.len(), 5);
}

#[test]
fn a_tebibyte_is_one_entry() {
    let mut space = AddressSpace::default();
    space.mmap(TIB, TIB, NONE, PRIVATE, Backing::Anon, 0);
    space.mprotect(TIB + 5 * PAGE, PAGE, READ | WRITE);
    assert_eq!(space.len(), 3);
    space.mprotect(TIB + 5 * PAGE, PAGE, NONE);
    assert_eq!(space.len(), 1);
    space.munmap(TIB, TIB);
    assert!(space.is_empty());
}

#[test]
fn five_level_addresses_and_the_last_page() {
    let mut space = AddressSpace::default();
    anon(&mut space, (1 << 44) - 16, 16);
    assert_eq!(region(&space, (1 << 56) - 1), Region::Anon);
    let text = b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";
    space.seed(text, &mut Files::default(), None);
    assert_eq!(region(&space, 0xffff_ffff_ff60_0fff), Region::Vdso);
    assert_eq!(region(&space, u64::MAX), Region::Unmapped);
}

#[test]
fn what_was_executable_once_stays_jit() {
    let mut space = AddressSpace::default();
    anon(&mut space, 1, 4);
    space.mprotect(2 * PAGE, PAGE, READ | EXEC);
    space.mprotect(2 * PAGE, PAGE, READ | WRITE);
    assert_eq!(region(&space, PAGE), Region::Anon);
    assert_eq!(region(&space, 2 * PAGE), Region::Jit);
    assert_eq!(region(&space, 3 * PAGE), Region::Anon);
    // New memory there has no history.
    anon(&mut space, 2, 1);
    assert_eq!(space.len(), 1);
    // A file's code is no compiler's.
    space.mmap(
        PAGE,
        PAGE,
        READ | EXEC,
        PRIVATE,
        Backing::File(FileId::UNKNOWN),
        0,
    );
    assert_eq!(region(&space, PAGE), Region::File);
}

#[test]
fn mprotect_that_meets_a_hole_changes_what_is_before_it() {
    let mut space = AddressSpace::default();
    anon(&mut space, 1, 2);
    anon(&mut space, 4, 2);
    space.mprotect_to_hole(2 * PAGE, 4 * PAGE, READ);
    let written: Vec<_> = space
        .iter()
        .map(|(range, vma)| (range.start / PAGE, vma.prot.write()))
        .collect();
    assert_eq!(written, [(1, true), (2, false), (4, true)]);
}

#[test]
fn the_heap_follows_the_break() {
    let mut space = AddressSpace::default();
    // Nothing is known of the heap until the break is.
    space.brk(100 * PAGE + 5);
    assert!(space.is_empty());
    space.brk(104 * PAGE);
    assert_eq!(pages(&space), [(101, 104, Region::Heap)]);
    space.brk(102 * PAGE - 1);
    assert_eq!(pages(&space), [(101, 102, Region::Heap)]);
    space.brk(102 * PAGE - 1);
    space.brk(100 * PAGE + 5);
    assert!(space.is_empty());
}

#[test]
fn memory_behind_the_break_is_not_heap() {
    let text = b"1000-5000 rw-p 00000000 00:00 0     [heap]\n";
    let mut space = AddressSpace::default();
    space.seed(text, &mut Files::default(), Some(3 * PAGE));
    assert_eq!(pages(&space), [(1, 3, Region::Heap), (3, 5, Region::Anon)]);
    let mut space = AddressSpace::default();
    space.seed(text, &mut Files::default(), None);
    space.brk(6 * PAGE);
    assert_eq!(pages(&space), [(1, 6, Region::Heap)]);
}

#[test]
fn a_stack_grows_as_far_as_its_limit() {
    let text = b"100000-102000 rw-p 00000000 00:00 0     [stack]\n";
    let mut space = AddressSpace::default();
    space.seed(text, &mut Files::default(), None);
    assert_eq!(Region::of(space.find_or_grow(0xf_e123, 0x3000)), Region::Unmapped);
    assert_eq!(Region::of(space.find_or_grow(0xf_f123, 0x3000)), Region::Stack);
    assert_eq!(pages(&space), [(0xff, 0x102, Region::Stack)]);
    // Only what grows.
    anon(&mut space, 0x80, 1);
    assert_eq!(Region::of(space.find_or_grow(0x7_ffff, 0x3000)), Region::Unmapped);
    space.mmap(
        0x80 * PAGE,
        PAGE,
        READ | WRITE,
        PRIVATE | GROWSDOWN,
        Backing::Anon,
        0,
    );
    assert_eq!(Region::of(space.find_or_grow(0x7_ffff, 0x3000)), Region::Stack);
}

#[test]
fn stacks_of_threads_are_found() {
    let mut space = AddressSpace::default();
    space.mmap(PAGE, 8 * PAGE, NONE, PRIVATE | STACK, Backing::Anon, 0);
    space.mprotect(2 * PAGE, 7 * PAGE, READ | WRITE);
    assert_eq!(region(&space, 5 * PAGE), Region::Stack);
    anon(&mut space, 20, 4);
    assert!(!space.mark_stack(21 * PAGE, 3 * PAGE));
    assert!(space.mark_stack(21 * PAGE, 4 * PAGE));
    assert!(space.mark_stack(21 * PAGE, 0));
    assert!(!space.mark_stack(50 * PAGE, 4 * PAGE));
    assert_eq!(region(&space, 23 * PAGE), Region::Stack);
    space.munmap(20 * PAGE, 4 * PAGE);
    anon(&mut space, 20, 4);
    assert_eq!(region(&space, 23 * PAGE), Region::Anon);
}

#[test]
fn huge_pages_are_rounded_up_to() {
    let mut space = AddressSpace::default();
    space.mmap(TIB, 1, READ, PRIVATE | HUGETLB, Backing::Anon, 0);
    assert_eq!(
        space.iter().next().map(|(range, _)| range),
        Some(TIB..TIB + (2 << 20))
    );
    space.mmap(TIB, 1, READ, PRIVATE | HUGETLB | 30 << 26, Backing::Anon, 0);
    assert_eq!(
        space.iter().next().map(|(range, _)| range),
        Some(TIB..TIB + (1 << 30))
    );
}

#[test]
fn moves_take_everything_along_but_the_heap() {
    let mut files = Files::default();
    let mut space = AddressSpace::default();
    let file = Backing::File(files.intern(b"/a"));
    space.mmap(PAGE, 4 * PAGE, READ, SHARED, file, 3 * PAGE);
    space.mremap(2 * PAGE, 3 * PAGE, 5 * PAGE, 1, 20 * PAGE);
    assert_eq!(pages(&space), [(1, 2, Region::File), (20, 25, Region::File)]);
    assert_eq!(space.find(24 * PAGE).map(|vma| vma.offset), Some(4 * PAGE));
    // Nothing duplicates all of it.
    space.mremap(20 * PAGE, 0, 2 * PAGE, 1, 30 * PAGE);
    assert_eq!(space.find(30 * PAGE).map(|vma| vma.offset), Some(4 * PAGE));
    assert_eq!(region(&space, 20 * PAGE), Region::File);
    space.brk(40 * PAGE);
    space.brk(42 * PAGE);
    space.mremap(40 * PAGE, PAGE, PAGE, 1, 50 * PAGE);
    assert_eq!(region(&space, 50 * PAGE), Region::Anon);
    // The old range stays, and is empty.
    space.mremap(41 * PAGE, PAGE, PAGE, 1 | 4, 60 * PAGE);
    assert_eq!(region(&space, 41 * PAGE), Region::Heap);
    assert_eq!(region(&space, 60 * PAGE), Region::Anon);
}

#[test]
fn a_move_of_what_is_not_known_leaves_what_a_seed_says() {
    let mut space = AddressSpace::default();
    let text = b"14000-16000 rw-p 00000000 00:00 0 \n";
    space.seed(text, &mut Files::default(), None);
    space.mremap(PAGE, 2 * PAGE, 2 * PAGE, 1, 20 * PAGE);
    assert_eq!(pages(&space), [(20, 22, Region::Anon)]);
    // Later than the seed it cannot have been contained: something else is there now.
    space.settle();
    space.mremap(PAGE, 2 * PAGE, 2 * PAGE, 1, 20 * PAGE);
    assert_eq!((space.len(), space.lost()), (0, 1));
}

#[test]
fn several_regions_move_with_their_holes() {
    let mut space = AddressSpace::default();
    anon(&mut space, 1, 2);
    anon(&mut space, 4, 1);
    space.mmap(10 * PAGE, 4 * PAGE, EXEC, PRIVATE, Backing::Anon, 0);
    space.mremap(PAGE, 4 * PAGE, 4 * PAGE, 3, 10 * PAGE);
    assert_eq!(
        pages(&space),
        [
            (10, 12, Region::Anon),
            (12, 13, Region::Jit),
            (13, 14, Region::Anon)
        ]
    );
    assert_eq!(space.lost(), 0);
}

#[test]
fn sixty_thousand_regions_stay_sixty_thousand() {
    let mut space = AddressSpace::default();
    space.mmap(TIB, TIB, NONE, PRIVATE, Backing::Anon, 0);
    for _ in 0..2 {
        for n in 0..30_000 {
            space.mprotect(TIB + 2 * n * PAGE, PAGE, READ | WRITE);
        }
        assert_eq!(space.len(), 60_000);
    }
    assert_eq!(space.lost(), 0);
    assert!(
        size_of::<(u64, u64, Vma)>() <= 48,
        "{} bytes a region",
        size_of::<Vma>()
    );
}

#[test]
fn what_does_not_fit_is_not_known_and_not_wrong() {
    let mut space = AddressSpace::with_max(2);
    anon(&mut space, 1, 9);
    space.mprotect(5 * PAGE, PAGE, READ);
    assert_eq!(space.len(), 2);
    assert_eq!(space.lost(), 1);
    assert_eq!(region(&space, PAGE), Region::Anon);
    space.exec();
    assert_eq!((space.len(), space.lost()), (0, 0));
}

#[test]
fn paths_are_kept_once_and_shown_escaped() {
    let mut files = Files::default();
    let id = files.intern(b"/a\xff\n (deleted)");
    assert_eq!(files.intern(b"/a\xff\n (deleted)"), id);
    assert_ne!(files.intern(b"/a"), id);
    assert_eq!(files.path(id), Some(&b"/a\xff\n (deleted)"[..]));
    assert_eq!(files.printable(id).as_deref(), Some("/a\\xff\\n (deleted)"));
    assert_eq!(files.path(FileId::UNKNOWN), None);
}

#[test]
fn a_table_of_paths_that_is_full_counts() {
    let mut files = Files::default();
    for n in 0..FILES_MAX {
        files.intern(n.to_string().as_bytes());
    }
    assert_eq!(files.intern(b"/a"), FileId::UNKNOWN);
    assert_eq!(files.lost(), 1);
    let known = files.intern(b"7");
    assert_eq!(files.path(known), Some(&b"7"[..]));
}

#[test]
fn names_are_the_keys_of_reports() {
    let names: Vec<&str> = Region::ALL.iter().map(|region| region.name()).collect();
    assert_eq!(names.join(" "), "heap anon stack file jit shmem vdso unmapped");
}
