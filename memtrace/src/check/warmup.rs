//! How many of a route's first requests are not like the rest: compilers, lazy initialisation, heaps that grow.
//!
//! Owns finding the end of it, from the figures alone. Must not know what they are of.

use super::chance::{Quantile, at};

/// With fewer requests nothing is usual.
pub const REQUESTS_MIN: usize = 20;

/// What is usual for the later ones: nineteen in twenty have no more.
const USUAL: Quantile = Quantile::P95;

/// Where a route's warm-up ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUp {
    /// After so many requests, perhaps none.
    Ends(usize),
    /// The first half is mostly unlike the second: there may be more of it to come.
    GoesOn,
    /// Too few requests to say.
    Unknown,
}

impl WarmUp {
    /// How many requests are known to be part of it.
    pub fn requests(self) -> usize {
        match self {
            Self::Ends(end) => end,
            Self::GoesOn | Self::Unknown => 0,
        }
    }

    /// Those of several runs together.
    pub fn of_all(runs: impl IntoIterator<Item = Self>) -> Self {
        let both = |all: Self, one: Self| match (all, one) {
            (Self::Ends(some), Self::Ends(more)) => Self::Ends(some + more),
            (Self::GoesOn, _) | (_, Self::GoesOn) => Self::GoesOn,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
        };
        runs.into_iter().reduce(both).unwrap_or(Self::Unknown)
    }
}

/// Looks for it in one figure of a route's requests, in the order in which they began.
///
/// The second half of them is what is usual. A request is cold where it has more than 19 in 20 of those, by `least` at
/// any rate; the warm-up is the beginning in which cold requests outnumber the others by most. Where requests are all
/// alike, or some take more now and then, there is none.
pub fn warm_up(figures: &[i64], least: i64) -> WarmUp {
    if figures.len() < REQUESTS_MIN {
        return WarmUp::Unknown;
    }
    let (first, second) = figures.split_at(figures.len() / 2);
    let mut usual = second.to_vec();
    usual.sort_unstable();
    let Some(most) = at(&usual, USUAL) else {
        return WarmUp::Unknown;
    };
    let most = most.saturating_add(least.max(0));
    let (mut balance, mut best, mut end) = (0_i64, 0_i64, 0);
    for (i, &figure) in first.iter().enumerate() {
        balance += if figure > most { 1 } else { -1 };
        if balance > best {
            (best, end) = (balance, i + 1);
        }
    }
    if end == first.len() {
        WarmUp::GoesOn
    } else {
        WarmUp::Ends(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(first: &[i64], rest: &[i64]) -> WarmUp {
        let rest = rest.iter().copied().cycle().take(100);
        let figures: Vec<i64> = first.iter().copied().chain(rest).collect();
        warm_up(&figures, 2)
    }

    #[test]
    fn it_ends_with_the_last_cold_request_of_most() {
        assert_eq!(after(&[142], &[49]), WarmUp::Ends(1));
        assert_eq!(after(&[900, 400, 49, 300, 120], &[49, 50]), WarmUp::Ends(5));
        assert_eq!(after(&[48; 30], &[0]), WarmUp::Ends(30), "a threshold that moves");
    }

    #[test]
    fn what_happens_now_and_then_is_none() {
        assert_eq!(after(&[], &[49]), WarmUp::Ends(0));
        assert_eq!(after(&[51, 51], &[49]), WarmUp::Ends(0), "no more than the least");
        assert_eq!(after(&[500, 48, 48, 48], &[48, 48, 48, 500]), WarmUp::Ends(0));
        let mut once = [48; 100];
        once[30] = 9000;
        assert_eq!(warm_up(&once, 2), WarmUp::Ends(0));
    }

    #[test]
    fn cold_ones_that_do_not_begin_are_none() {
        assert_eq!(after(&[48, 48, 48, 500, 500], &[48]), WarmUp::Ends(0));
    }

    #[test]
    fn one_that_does_not_end_is_said() {
        let falling: Vec<i64> = (0..100).rev().collect();
        assert_eq!(warm_up(&falling, 2), WarmUp::GoesOn);
        assert_eq!(warm_up(&[1; REQUESTS_MIN - 1], 2), WarmUp::Unknown);
    }

    proptest! {
        #[test]
        fn any_figures_are_taken(figures in proptest::collection::vec(any::<i64>(), 0..200), least: i64) {
            let half = figures.len() / 2;
            match warm_up(&figures, least) {
                WarmUp::Ends(end) => prop_assert!(end < half),
                WarmUp::GoesOn => prop_assert!(figures.len() >= REQUESTS_MIN),
                WarmUp::Unknown => prop_assert!(figures.len() < REQUESTS_MIN),
            }
        }
    }
}
