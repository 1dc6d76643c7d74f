//! The books balance, whatever a server's threads do.

use super::*;

/// What a thread of the simulated server does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept(u8),
    Request(u8),
    Respond(u8),
    Close(u8),
    Wait,
    Minor(bool),
    Major,
    Fail,
    /// At this page, with these `FAULT_` bits.
    At(u8, u8),
    /// These pages, with this protection and these flags.
    Map(u8, u8, u8, u8),
    Unmap(u8, u8),
    Unseen(u8),
}

fn address(page: u8) -> u64 {
    0x7000_0000 + u64::from(page) * PAGE
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u8..6).prop_map(Step::Accept),
        (0_u8..6).prop_map(Step::Request),
        (0_u8..6).prop_map(Step::Respond),
        (0_u8..6).prop_map(Step::Close),
        Just(Step::Wait),
        any::<bool>().prop_map(Step::Minor),
        Just(Step::Major),
        Just(Step::Fail),
        (0_u8..16, 0_u8..16).prop_map(|(page, flags)| Step::At(page, flags)),
        (
            0_u8..16,
            1_u8..8,
            0_u8..8,
            prop::sample::select(vec![0x21, 0x22, 1, 2])
        )
            .prop_map(|(page, pages, prot, flags)| Step::Map(page, pages, prot, flags)),
        (0_u8..16, 1_u8..8).prop_map(|(page, pages)| Step::Unmap(page, pages)),
        (1_u8..9).prop_map(Step::Unseen),
    ]
}

proptest! {
    /// Whatever threads do in whatever order, and whatever is lost: each request's parts add up, and so do the books.
    #[test]
    fn books_balance_for_any_stream(
        steps in proptest::collection::vec((1_u32..4, step(), prop::bool::weighted(0.1)), 0..300),
        bases in proptest::collection::vec(0_u64..1_000, 3),
        lossy in any::<bool>(),
    ) {
        let mut k = Kernel::new();
        for (tid, base) in (1..).zip(bases) {
            k.thread(tid, FaultCount { minor: base, major: base / 7 });
        }
        let mut lost = Lost::default();
        for (tid, step, lose) in steps {
            let lose = lose && lossy;
            match step {
                Step::Accept(c) => k.accept(tid, 10 + i32::from(c)),
                Step::Request(c) => k.request(tid, 10 + i32::from(c), "/x"),
                Step::Respond(c) => k.respond(tid, 10 + i32::from(c)),
                Step::Close(c) => k.io(tid, wire::OP_CLOSE, 10 + i32::from(c), 0),
                Step::Wait => k.wait(tid),
                Step::Minor(_) if lose => {
                    k.count(tid).minor += 1;
                    lost.fault += 1;
                }
                Step::Minor(kernel) => k.minor(tid, u8::from(kernel)),
                Step::Major => k.major(tid),
                Step::Fail if lose => lost.fault += 1,
                Step::Fail => k.attempt(tid, 0),
                Step::At(page, flags) => {
                    k.attempt_at(tid, flags, address(page));
                    k.count(tid).minor += 1;
                }
                Step::Map(page, pages, prot, flags) => {
                    let at = address(page).cast_signed();
                    let args = [0, u64::from(pages) * PAGE, prot.into(), flags.into(), 3, 0];
                    k.call(tid, wire::MM_MMAP, at, args);
                }
                Step::Unmap(page, pages) => {
                    let args = [address(page), u64::from(pages) * PAGE, 0, 0, 0, 0];
                    k.call(tid, wire::MM_MUNMAP, 0, args);
                }
                Step::Unseen(n) => k.count(tid).minor += u64::from(n),
            }
        }
        k.lost(lost);
        let (requests, outcome) = k.finish();
        for r in &requests {
            let f = &r.faults;
            prop_assert_eq!(f.total, f.minor + f.major);
            prop_assert_eq!(f.total, f.user_mode + f.kernel_mode);
            prop_assert_eq!(Some(f.total - f.attribution.direct), f.attribution.causal);
            prop_assert_eq!(Some(f.total), f.cause.map(|c| c.iter().map(|(_, n)| n).sum()));
            prop_assert_eq!(Some(f.total), f.region.map(|r| r.iter().map(|(_, n)| n).sum()));
            prop_assert!(f.total <= f.in_window, "{:?}", f);
            prop_assert!(f.open_requests_max >= 1);
        }
        let b = outcome.books;
        prop_assert!(b.balanced, "{:?}", b);
        prop_assert_eq!(b.kernel_min_flt + b.kernel_maj_flt, b.observed + b.dropped + b.untraced);
        let of = |part: fn(&Request) -> u64| requests.iter().map(part).sum::<u64>();
        prop_assert_eq!(b.direct, of(|r| r.faults.attribution.direct));
        prop_assert_eq!(b.causal, Some(of(|r| r.faults.attribution.causal.unwrap_or(0))));
        prop_assert_eq!(b.unattributed, outcome.unattributed.values().sum::<u64>());
        prop_assert_eq!(b.observed, outcome.cause.values().sum::<u64>());
        prop_assert_eq!(b.observed, outcome.region.values().sum::<u64>());
        prop_assert_eq!(outcome.listed, requests.len() as u64);
    }
}
