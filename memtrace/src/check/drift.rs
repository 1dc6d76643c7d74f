//! Requests of which some map memory anew and others find it: what glibc's malloc does to counts.
//!
//! A buffer at or above its threshold is mapped and unmapped each time, and each page of it faults. When one is freed the
//! threshold grows to its size, so that the next such buffers are kept, and do not fault (`M_MMAP_THRESHOLD` in
//! mallopt(3)). Owns how this is told from other requests. Must not know names of routes.

/// So many in a hundred requests map and unmap: most, and hardly any.
const MOST: usize = 50;
const FEW: usize = 10;
/// Fewer first requests are a start and no threshold.
const FIRST_MIN: usize = 8;

/// What is seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// The first requests map and unmap, the later ones do not.
    Settles,
    /// Some do and some do not, all the time.
    Wavers,
}

impl Drift {
    /// Looks for it in a route's requests, of which each maps and unmaps or not: the first ones, and the rest.
    pub fn of(first: &[bool], rest: &[bool]) -> Option<Self> {
        let percent = |which: &[bool]| {
            let count = which.iter().filter(|&&is| is).count();
            (100 * count).checked_div(which.len())
        };
        let rest = percent(rest)?;
        match percent(first) {
            Some(share) if share >= MOST && rest < FEW && first.len() >= FIRST_MIN => Some(Self::Settles),
            _ if (FEW..=100 - FEW).contains(&rest) => Some(Self::Wavers),
            _ => None,
        }
    }

    /// It in words, of this route.
    pub(super) fn sentence(self, route: &str) -> String {
        let what = match self {
            Self::Settles => "the first requests map and unmap memory, and later ones do not",
            Self::Wavers => "some requests map and unmap memory, and others do not",
        };
        format!(
            "{route}: {what}; glibc's malloc does that while its threshold for mapping moves, and \
             `MALLOC_MMAP_THRESHOLD_=65536` in the server's environment holds that still"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_that_grows_is_told_from_one_that_wavers_and_from_neither() {
        let [all, none] = [[true; 20], [false; 20]];
        let half: Vec<bool> = (0..20).map(|i| i % 2 == 0).collect();
        assert_eq!(Drift::of(&all, &none), Some(Drift::Settles));
        assert_eq!(Drift::of(&half, &none), Some(Drift::Settles));
        assert_eq!(Drift::of(&none, &half), Some(Drift::Wavers));
        assert_eq!(Drift::of(&[], &half), Some(Drift::Wavers));
        for (first, rest) in [
            (&all[..], &all[..]),
            (&none, &none),
            (&[], &all),
            (&all, &[]),
            (&none, &all),
            (&all[..7], &none),
        ] {
            assert_eq!(Drift::of(first, rest), None, "{first:?} {rest:?}");
        }
    }
}
