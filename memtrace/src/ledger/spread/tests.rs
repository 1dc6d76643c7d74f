//! Percentiles against their definition, bounds against long runs, and the roll-up.

use proptest::prelude::*;

use super::*;
use crate::report::sample;

#[test]
fn percentiles_are_by_nearest_rank() {
    let of = |values: &[u64]| Spread::of(&mut values.to_vec());
    assert_eq!(of(&[]), Spread::default());
    assert_eq!(
        of(&[7]),
        Spread {
            min: 7,
            p50: 7,
            p90: 7,
            p99: 7,
            max: 7,
            sum: 7
        }
    );
    // Of two, the median is the lower; of three, the middle one.
    assert_eq!(
        of(&[9, 1]),
        Spread {
            min: 1,
            p50: 1,
            p90: 9,
            p99: 9,
            max: 9,
            sum: 10
        }
    );
    assert_eq!(of(&[3, 9, 1]).p50, 3);
    let hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(
        of(&hundred),
        Spread {
            min: 1,
            p50: 50,
            p90: 90,
            p99: 99,
            max: 100,
            sum: 5050
        }
    );
    let hundred_and_one: Vec<u64> = (1..=101).collect();
    assert_eq!(
        of(&hundred_and_one),
        Spread {
            min: 1,
            p50: 51,
            p90: 91,
            p99: 100,
            max: 101,
            sum: 5151
        }
    );
    assert_eq!(of(&[u64::MAX, u64::MAX]).sum, u64::MAX);
}

#[test]
fn rounding_keeps_the_leading_bits() {
    assert_eq!(0b1011_0110_u64.rounded_up(3), 0b1011_1111);
    assert_eq!(0b101_u64.rounded_up(3), 0b101);
    assert_eq!(0_u64.rounded_up(1), 0);
    assert_eq!(u64::MAX.rounded_up(1), u64::MAX);
    assert_eq!((-0b1011_0110_i64).rounded_up(3), -0b1010_0000);
    assert_eq!(0b1011_0110_i64.rounded_up(3), 0b1011_1111);
    assert_eq!(
        (i64::MIN.rounded_up(1), i64::MAX.rounded_up(1)),
        (i64::MIN, i64::MAX)
    );
}

#[test]
fn a_long_run_stays_bounded_and_close() {
    let mut tally = Tally::default();
    let mut values: Vec<u64> = (0..50_000_u64)
        .map(|n| 1_000_000 + n * n * 39 / 1_000 * 97)
        .collect();
    for &value in &values {
        tally.push(value);
    }
    assert!(tally.counts.len() <= VALUES_MAX);
    assert!(tally.bits >= 7, "{} bits", tally.bits);
    let (near, exact) = (tally.spread(), Spread::of(&mut values));
    assert_eq!((near.min, near.max, near.sum), (exact.min, exact.max, exact.sum));
    for (near, exact) in [
        (near.p50, exact.p50),
        (near.p90, exact.p90),
        (near.p99, exact.p99),
    ] {
        assert!(near >= exact && near - exact <= exact / 64, "{near} for {exact}");
    }
}

#[test]
fn the_widest_values_fit() {
    let mut tally = Tally::<i64>::default();
    for n in 0..200_000_i64 {
        tally.push(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed()) >> (n % 63));
    }
    assert!(tally.counts.len() <= VALUES_MAX);
    let spread = tally.spread();
    assert!(spread.min < 0 && spread.min <= spread.p50 && spread.p99 <= spread.max);
}

#[test]
fn routes_past_the_limit_fold_into_one() {
    let mut routes = Routes::with_max(2);
    for (method, path, faults) in [
        ("GET", "/a", 5),
        ("GET", "/b", 50),
        ("POST", "/a", 7),
        ("GET", "/c", 9),
        ("GET", "/a", 6),
    ] {
        routes.push(&sample::request(1, method, path, faults));
    }
    assert_eq!(routes.folded(), 2);
    insta::assert_snapshot!(routes.note().unwrap(), @"only the first 2 routes are told apart; 2 requests of further ones stand under (other): group paths with --route PATTERN");
    let routes = routes.finish();
    let seen: Vec<_> = routes
        .iter()
        .map(|r| (&*r.method, &*r.route, r.requests, r.faults.total.sum))
        .collect();
    assert_eq!(
        seen,
        [
            ("GET", "/b", 1, 50),
            ("*", "(other)", 2, 16),
            ("GET", "/a", 2, 11)
        ]
    );
}

#[test]
fn equal_routes_go_by_name_then_method() {
    let mut routes = Routes::new();
    for (method, path) in [("POST", "/a"), ("GET", "/b"), ("GET", "/a")] {
        routes.push(&sample::request(1, method, path, 3));
    }
    assert_eq!(routes.note(), None);
    let seen: Vec<_> = routes.finish().into_iter().map(|r| (r.method, r.route)).collect();
    let expected = [("GET", "/a"), ("POST", "/a"), ("GET", "/b")];
    assert_eq!(
        seen,
        expected.map(|(method, route)| (method.to_owned(), route.to_owned()))
    );
}

#[test]
fn what_no_request_had_is_unknown() {
    let plain = sample::request(1, "GET", "/", 4);
    let mut routes = Routes::new();
    routes.push(&plain);
    let route = routes.finish().remove(0);
    assert_eq!(
        (
            route.rss_delta,
            route.frames,
            route.fault_time_ns,
            route.faults.causal
        ),
        (None, None, None, None)
    );

    let mut routes = Routes::new();
    routes.push(&plain);
    routes.push(&sample::full(2));
    let route = routes.finish().remove(0);
    assert!(route.frames.is_some() && route.fault_time_ns.is_some() && route.faults.causal.is_some());
    // Only one of the two has it, and it may be negative.
    let one = sample::full(2).rss.unwrap().delta;
    assert!(one < 0);
    assert_eq!(
        route.rss_delta,
        Some(Spread {
            min: one,
            p50: one,
            p90: one,
            p99: one,
            max: one,
            sum: one
        })
    );
}

proptest! {
    #[test]
    fn a_spread_is_ordered_and_its_sum_right(mut values in prop::collection::vec(any::<u32>().prop_map(u64::from), 1..300)) {
        let spread = Spread::of(&mut values);
        let ladder = [spread.min, spread.p50, spread.p90, spread.p99, spread.max];
        prop_assert!(ladder.is_sorted());
        prop_assert_eq!(spread.sum, values.iter().sum::<u64>());
        for (percent, at) in [(50, spread.p50), (90, spread.p90), (99, spread.p99)] {
            prop_assert!(values.contains(&at));
            let enough = |least: u64| values.iter().filter(|&&v| v <= least).count() * 100 >= values.len() * percent;
            prop_assert!(enough(at));
            let below = values.iter().rev().find(|&&v| v < at);
            prop_assert!(below.is_none_or(|&v| !enough(v)), "{at} is not the least for {percent}%");
        }
    }

    #[test]
    fn a_tally_of_few_values_is_exact(values in prop::collection::vec(-400_i64..600, 0..2_000)) {
        let mut tally = Tally::default();
        for &value in &values {
            tally.push(value);
        }
        prop_assert_eq!(tally.spread(), Spread::of(&mut values.clone()));
    }

    #[test]
    fn routes_lose_no_fault(requests in prop::collection::vec(sample::any_request(), 0..60)) {
        let mut routes = Routes::with_max(3);
        for request in &requests {
            routes.push(request);
        }
        let routes = routes.finish();
        prop_assert!(routes.len() <= 4);
        prop_assert_eq!(routes.iter().map(|r| r.requests).sum::<u64>(), requests.len() as u64);
        for (of_route, of_request) in [
            (routes.iter().map(|r| r.faults.total.sum).sum::<u64>(), requests.iter().map(|r| r.faults.total).sum::<u64>()),
            (routes.iter().map(|r| r.faults.major.sum).sum(), requests.iter().map(|r| r.faults.major).sum()),
            (routes.iter().map(|r| r.faults.kernel_mode.sum).sum(), requests.iter().map(|r| r.faults.kernel_mode).sum()),
        ] {
            prop_assert_eq!(of_route, of_request);
        }
        prop_assert!(routes.is_sorted_by(|a, b| a.faults.total.sum >= b.faults.total.sum));
    }
}
