//! How far a figure of many requests may go by chance.
//!
//! Owns quantiles, and how likely it is that so many requests have more. By ranks alone,
//! whatever the figures are like: counts that are nearly always the same, two modes, long tails. Must not know what they
//! are of.
//!
//! A run's **quantile** is the figure that so many in a hundred of its requests have at most. If nothing has changed, the
//! requests of two runs are one lot, dealt at random: how many of the one have more than a quantile of the other is a
//! matter of ranks (the exceedance test of Gumbel and von Schelling, 1950), and how likely so many are is
//! hypergeometric. Requests that have the same figure make so many less likely still.

use statrs::distribution::{DiscreteCDF as _, Hypergeometric};

/// A part of all requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quantile {
    /// Half of them.
    P50,
    /// Three in four.
    P75,
    /// Nine in ten.
    P90,
    /// 95 in a hundred.
    P95,
    /// 99 in a hundred.
    P99,
}

impl Quantile {
    /// All that are looked at.
    pub const ALL: [Self; 5] = [Self::P50, Self::P75, Self::P90, Self::P95, Self::P99];

    /// In percent.
    pub fn percent(self) -> u8 {
        match self {
            Self::P50 => 50,
            Self::P75 => 75,
            Self::P90 => 90,
            Self::P95 => 95,
            Self::P99 => 99,
        }
    }

    /// The place of so many values that it is, counted from 1.
    fn rank(self, count: usize) -> usize {
        (count * usize::from(self.percent())).div_ceil(100)
    }
}

/// A run's own value, by nearest rank, as reports have it; `None` where there are no values.
pub fn at(sorted: &[i64], quantile: Quantile) -> Option<i64> {
    sorted.get(quantile.rank(sorted.len()).checked_sub(1)?).copied()
}

/// So many requests of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requests {
    /// How many.
    pub count: usize,
    /// And how much alike those are that come one after another.
    pub alike: Alike,
}

/// How likely it is that `more` requests `after`, or yet more, have more than this quantile of those `before`, if nothing
/// has changed.
pub fn likelihood(before: Requests, quantile: Quantile, after: Requests, more: usize) -> f64 {
    if before.count == 0 || after.count == 0 {
        return 1.0;
    }
    // What one of them shows of stretches is so of both: a short run may have met none, or nothing else.
    let alike = before.alike.or(after.alike);
    let [was, is] = [before, after].map(|requests| alike.of_so_many(requests.count));
    // Rounded down: to the side of chance.
    let more = (more * is / after.count).min(is);
    let rank = quantile.rank(was);
    // Of both in one order, that many are before all of `more`, or yet more before those: at least `rank` of them are of
    // the run before, if so many of the other have more than its value at that place.
    let first = rank + is - more;
    let Ok(dealt) = Hypergeometric::new((was + is) as u64, was as u64, first as u64) else {
        return 1.0;
    };
    rank.checked_sub(1).map_or(1.0, |fewer| dealt.sf(fewer as u64))
}

/// How much alike requests are that come one after another: a collector's work meets a stretch of them. Many that are alike
/// tell as much as few that are not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike(f64);

impl Alike {
    /// Not at all.
    pub const NOT: Self = Self(1.0);

    /// Learned from which requests, in their order, have something and which have not: how much more the numbers in
    /// batches of them differ than they would by chance.
    pub fn of(which: &[bool]) -> Self {
        let size = which.len().isqrt();
        if size < 2 {
            return Self::NOT;
        }
        let sums: Vec<f64> = which
            .chunks_exact(size)
            .map(|batch| batch.iter().filter(|&&is| is).count() as f64)
            .collect();
        let batches = sums.len() as f64;
        let mean = sums.iter().sum::<f64>() / batches;
        let variance = sums.iter().map(|sum| (sum - mean).powi(2)).sum::<f64>() / (batches - 1.0);
        let part = mean / size as f64;
        let by_chance = part * (1.0 - part) * size as f64;
        if by_chance > 0.0 {
            Self((variance / by_chance).clamp(1.0, size as f64))
        } else {
            Self::NOT
        }
    }

    /// As alike as the one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// To a tenth, for a file.
    pub fn rounded(self) -> f64 {
        (self.0 * 10.0).round() / 10.0
    }

    /// The other way round; `None` where it is none.
    pub fn from_number(number: f64) -> Option<Self> {
        (number.is_finite() && number >= 1.0).then_some(Self(number))
    }

    /// As many as tell as much as so many of these, with none alike.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests, made no larger"
    )]
    fn of_so_many(self, count: usize) -> usize {
        (count as f64 / self.0).round().max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that look like chance (Steele et al., `SplitMix`).
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        fn is_one_in(&mut self, many: u64) -> bool {
            self.next().is_multiple_of(many)
        }
    }

    /// What the figures of a route may be like.
    #[derive(Clone, Copy, Debug)]
    enum Route {
        /// The same but for a few.
        Counts,
        /// A collector in every twelfth.
        TwoModes,
        /// Anything, some of it large.
        Tail,
        /// A collector, for some ten requests in a row.
        Stretches,
    }

    fn requests(route: Route, count: usize, chance: &mut Chance) -> Vec<i64> {
        let mut is_in = false;
        (0..count)
            .map(|_| match route {
                Route::Counts => 48 + i64::from(chance.is_one_in(50)),
                Route::TwoModes => 48 + 400 * i64::from(chance.is_one_in(12)),
                Route::Tail => (chance.next() | 1).leading_zeros().into(),
                Route::Stretches => {
                    is_in = if is_in {
                        !chance.is_one_in(10)
                    } else {
                        chance.is_one_in(100)
                    };
                    48 + 400 * i64::from(is_in)
                }
            })
            .collect()
    }

    fn more_than(values: &[i64], value: i64) -> (Requests, usize) {
        let which: Vec<bool> = values.iter().map(|&one| one > value).collect();
        let requests = Requests {
            count: values.len(),
            alike: Alike::of(&which),
        };
        (requests, which.iter().filter(|&&is| is).count())
    }

    /// How likely it is that such requests come after those.
    fn likely(before: &[i64], after: &[i64], quantile: Quantile) -> f64 {
        let mut sorted = before.to_vec();
        sorted.sort_unstable();
        let value = at(&sorted, quantile).unwrap_or_default();
        let (before, (after, more)) = (more_than(before, value).0, more_than(after, value));
        likelihood(before, quantile, after, more)
    }

    #[test]
    fn an_unchanged_route_is_found_changed_no_more_often_than_said() {
        const TRIALS: u32 = 200;
        const CHANCE: f64 = 0.02;
        let mut random = Chance(1);
        for route in [Route::Counts, Route::TwoModes, Route::Tail, Route::Stretches] {
            for quantile in Quantile::ALL {
                for (before, after) in [(30, 300), (300, 30), (300, 300)] {
                    let wrong = (0..TRIALS)
                        .filter(|_| {
                            let before = requests(route, before, &mut random);
                            let after = requests(route, after, &mut random);
                            likely(&before, &after, quantile) < CHANCE
                        })
                        .count();
                    // Three standard deviations more, for the trials themselves.
                    let most = CHANCE * f64::from(TRIALS);
                    assert!(
                        (wrong as f64) < most + 3.0 * most.sqrt(),
                        "{route:?} {quantile:?} {before} {after}: {wrong} of {TRIALS}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_change_is_found() {
        let mut random = Chance(2);
        for _ in 0..100 {
            let before = requests(Route::Counts, 200, &mut random);
            let more: Vec<i64> = requests(Route::Counts, 50, &mut random)
                .iter()
                .map(|n| n + 3)
                .collect();
            assert!(likely(&before, &more, Quantile::P50) < 1e-6);
        }
        // Twice as many in the upper mode.
        let before = requests(Route::TwoModes, 2000, &mut random);
        let twice: Vec<i64> = (0..2000)
            .map(|_| 48 + 400 * i64::from(random.is_one_in(6)))
            .collect();
        assert!(likely(&before, &twice, Quantile::P50) > 0.5);
        assert!(likely(&before, &twice, Quantile::P90) < 1e-6);
    }

    #[test]
    fn it_is_a_matter_of_ranks() {
        let likely = |was, is, more| {
            let requests = |count| Requests {
                count,
                alike: Alike::NOT,
            };
            likelihood(requests(was), Quantile::P50, requests(is), more)
        };
        // One, and another: which is more?
        assert!((likely(1, 1, 1) - 0.5).abs() < 1e-12);
        // Of three that are dealt two to the one side, the least is on the other side in one of three cases.
        assert!((likely(1, 2, 2) - 1.0 / 3.0).abs() < 1e-12);
        // The least but one of two, and of three: both above the lower one.
        assert!((likely(2, 1, 1) - 2.0 / 3.0).abs() < 1e-12);
        assert!((likely(10, 10, 0) - 1.0).abs() < 1e-12);
        assert!(likely(10, 10, 10) < 0.02);
        // As docs/CHECK.md has it, of 16 figures.
        assert!(likely(27, 27, 27) < 1e-3 / 80.0 && likely(26, 26, 26) > 1e-3 / 80.0);
        assert!((likely(0, 10, 10) - 1.0).abs() < f64::EPSILON);
        assert!((likely(10, 0, 0) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn stretches_tell_less() {
        let apart: Vec<bool> = (0..900).map(|i| i % 10 == 0).collect();
        let together: Vec<bool> = (0..900).map(|i| i % 300 < 30).collect();
        assert_eq!(Alike::of(&apart), Alike::NOT);
        assert!(Alike::of(&together).0 > 20.0);
        assert_eq!(Alike::of(&[true; 3]), Alike::NOT);
    }

    proptest! {
        #[test]
        fn any_values_are_taken(
            before in proptest::collection::vec(any::<i64>(), 0..300),
            after in proptest::collection::vec(any::<i64>(), 0..300),
        ) {
            for quantile in Quantile::ALL {
                prop_assert!((0.0..=1.0).contains(&likely(&before, &after, quantile)));
            }
        }

        #[test]
        fn more_requests_that_have_more_are_less_likely(was in 1_usize..500, is in 1_usize..500) {
            for quantile in Quantile::ALL {
                let requests = |count| Requests { count, alike: Alike::NOT };
                let all: Vec<f64> = (0..=is).map(|more| likelihood(requests(was), quantile, requests(is), more)).collect();
                prop_assert!(all.windows(2).all(|pair| pair[1] <= pair[0] + 1e-9), "{:?}", all);
            }
        }
    }
}
