//! Any sequence of calls leaves the model with what the kernel has.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    reference::{Call, HEAP, Kernel, PAGES, Wish},
    *,
};

fn any_wish() -> impl Strategy<Value = Wish> {
    (
        prop_oneof![3 => Just(0_u8), 2 => Just(1), 3 => Just(2), 4 => Just(3), 1 => Just(4)],
        (0..PAGES, 1..8_u64),
        (0..PAGES, 1..8_u64),
        0..8_u64,
        // Rarely a duplicate.
        prop_oneof![6 => 0..8_u64, 1 => 8..16_u64],
        0..3_u8,
        0..4_u64,
    )
        .prop_map(
            |(call, (addr, len), (new, new_len), prot, flags, backing, offset)| Wish {
                call,
                addr,
                len,
                new,
                new_len,
                prot,
                flags,
                backing,
                offset,
            },
        )
}

/// The calls of a program that succeeded, with the kernel before the first and after each.
fn history(wishes: &[Wish], files: &mut Files) -> (Vec<Call>, Vec<Kernel>) {
    let mut kernel = Kernel::new(files);
    let mut calls = Vec::new();
    let mut states = vec![kernel.clone()];
    for wish in wishes {
        if let Some(call) = kernel.perform(wish) {
            calls.push(call);
            states.push(kernel.clone());
        }
    }
    (calls, states)
}

fn fresh() -> AddressSpace {
    let mut space = AddressSpace::default();
    space.brk(HEAP * PAGE);
    space
}

fn regions(space: &AddressSpace) -> Vec<(Range<u64>, Vma)> {
    space.iter().map(|(range, vma)| (range, *vma)).collect()
}

/// Whether nothing but time can tell if a move has happened yet: something is at `old`, and at `new` is either
/// something that the move would replace, or was until a call before it.
fn is_ambiguous(call: Call, space: &AddressSpace, seed: &Kernel) -> bool {
    let Call::Mremap {
        old,
        old_len,
        new_len,
        flags,
        new,
    } = call
    else {
        return false;
    };
    let is_there = |page: u64| space.find(page * PAGE).is_some();
    let skipped = if old == new { old_len } else { 0 };
    let replaces = flags & 2 != 0 && (new..new + new_len).any(is_there);
    let was_cleared =
        (new + skipped..new + new_len).any(|page| !is_there(page) && seed.pages.contains_key(&page));
    (replaces || was_cleared) && (old..old + old_len.max(1)).any(is_there)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_calls_leave_what_the_kernel_has(wishes in vec(any_wish(), 0..60)) {
        let mut files = Files::default();
        let (calls, states) = history(&wishes, &mut files);
        let mut space = fresh();
        for (call, kernel) in calls.iter().zip(&states[1..]) {
            call.replay(&mut space);
            prop_assert_eq!(regions(&space), kernel.regions(), "{:?}", call);
            for page in 0..PAGES {
                prop_assert_eq!(space.find(page * PAGE + 9).is_some(), kernel.pages.contains_key(&page));
            }
        }
        let mut seeded = AddressSpace::default();
        let last = &states[states.len() - 1];
        seeded.seed(&last.maps(&files), &mut files, Some(last.brk * PAGE));
        prop_assert_eq!(seeded.listing(), space.listing());
    }

    #[test]
    fn calls_that_a_seed_contains_can_be_replayed(
        wishes in vec(any_wish(), 1..40),
        (first, second) in any::<(Index, Index)>(),
    ) {
        let mut files = Files::default();
        let (calls, states) = history(&wishes, &mut files);
        let (first, second) = (first.index(states.len()), second.index(states.len()));
        let (from, seeded) = (first.min(second), first.max(second));
        let kernel = &states[seeded];
        let mut space = AddressSpace::default();
        space.brk(states[from].brk * PAGE);
        space.seed(&kernel.maps(&files), &mut files, Some(kernel.brk * PAGE));
        for (n, call) in calls.iter().enumerate().skip(from) {
            if n < seeded && is_ambiguous(*call, &space, kernel) {
                return Ok(());
            }
            call.replay(&mut space);
        }
        let mut truth = AddressSpace::default();
        let last = &states[states.len() - 1];
        truth.seed(&last.maps(&files), &mut files, Some(last.brk * PAGE));
        prop_assert_eq!(space.listing(), truth.listing());
    }

    #[test]
    fn what_is_found_in_a_space_that_is_too_small_is_right(wishes in vec(any_wish(), 0..60), max in 0..6_usize) {
        let mut files = Files::default();
        let (calls, states) = history(&wishes, &mut files);
        let mut space = AddressSpace::with_max(max);
        space.brk(HEAP * PAGE);
        for (call, kernel) in calls.iter().zip(&states[1..]) {
            call.replay(&mut space);
            prop_assert!(space.len() <= max);
            for page in 0..PAGES {
                let truth = kernel.pages.get(&page).map(|vma| Region::of(Some(vma)));
                match space.find(page * PAGE) {
                    None => prop_assert!(truth.is_none() || space.lost() > 0),
                    found => prop_assert_eq!(Some(Region::of(found)), truth),
                }
            }
        }
    }

    #[test]
    fn any_numbers_are_taken(
        calls in vec((0..9_u8, any::<[u64; 5]>(), any::<[u8; 5]>()), 0..60),
        is_seeded: bool,
    ) {
        let mut space = AddressSpace::default();
        if is_seeded {
            let text = b"1000-fffffffff000 rw-p 00000000 00:00 0 \nffffffff00000000-fffffffffffff000 r--s 00001000 00:00 0 /a\n";
            let seeded = space.seed(text, &mut Files::default(), None);
            prop_assert_eq!(seeded.lines, 2);
        }
        for (call, numbers, shifts) in calls {
            // Small numbers and the very largest are where arithmetic goes wrong.
            let mut shifted = numbers.into_iter().zip(shifts).map(|(number, by)| match by % 3 {
                0 => number >> (by % 64),
                1 => number << (by % 64),
                _ => !(number >> (by % 64)),
            });
            let [a, b, c, d, e] = std::array::from_fn(|_| shifted.next().unwrap_or_default());
            match call {
                0 => space.mmap(a, b, c, d, Backing::Anon, e),
                1 => space.mmap(a, b, c, d, Backing::File(FileId::UNKNOWN), e),
                2 => space.munmap(a, b),
                3 => space.mprotect(a, b, c),
                4 => space.mprotect_to_hole(a, b, c),
                5 => space.mremap(a, b, c, d, e),
                6 => space.brk(a),
                7 => {
                    space.mark_stack(a, b);
                }
                _ => {
                    space.find_or_grow(a, b);
                }
            }
            let listed = regions(&space);
            prop_assert!(listed.iter().all(|(range, _)| range.start < range.end));
            prop_assert!(listed.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start));
        }
    }
}
