//! Which processes that are gone nobody can inherit a descriptor from any more.
//!
//! Owns who forked whom. A child finds what it inherited under its parent's number, or its parent's parent's, until
//! it is gone itself: so long they stay in the probes' tables. Must not know those tables.

use std::collections::{HashMap, HashSet};

use memtrace_common::Tgid;

/// Families of processes.
#[derive(Debug, Default)]
pub(super) struct Kin {
    parents: HashMap<Tgid, Tgid>,
    /// How many children of each are remembered.
    children: HashMap<Tgid, usize>,
    /// Gone, but remembered for the sake of children.
    gone: HashSet<Tgid>,
    /// Nothing of these is needed.
    forgotten: HashSet<Tgid>,
}

impl Kin {
    /// Somebody forked.
    pub(super) fn forked(&mut self, parent: Tgid, child: Tgid) {
        // The number may have been another's.
        self.forgotten.remove(&child);
        self.gone.remove(&child);
        if let Some(former) = self.parents.insert(child, parent) {
            self.release(former);
        }
        *self.children.entry(parent).or_default() += 1;
    }

    /// A process was found, whoever forked it.
    pub(super) fn found(&mut self, tgid: Tgid) {
        self.forgotten.remove(&tgid);
        self.gone.remove(&tgid);
    }

    /// A process is gone.
    pub(super) fn gone(&mut self, tgid: Tgid) {
        self.gone.insert(tgid);
        self.settle(tgid);
    }

    /// Those of whom nothing is needed from now on.
    pub(super) fn take_forgotten(&mut self) -> HashSet<Tgid> {
        std::mem::take(&mut self.forgotten)
    }

    fn settle(&mut self, tgid: Tgid) {
        let mut next = Some(tgid);
        while let Some(tgid) = next.take() {
            if self.children.contains_key(&tgid) || !self.gone.remove(&tgid) {
                return;
            }
            self.forgotten.insert(tgid);
            if let Some(parent) = self.parents.remove(&tgid) {
                self.drop_child(parent);
                next = Some(parent);
            }
        }
    }

    fn release(&mut self, parent: Tgid) {
        self.drop_child(parent);
        self.settle(parent);
    }

    fn drop_child(&mut self, parent: Tgid) {
        if let Some(count) = self.children.get_mut(&parent) {
            *count -= 1;
            if *count == 0 {
                self.children.remove(&parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(kin: &mut Kin) -> Vec<u32> {
        let mut taken: Vec<u32> = kin.take_forgotten().into_iter().map(|t| t.0).collect();
        taken.sort_unstable();
        taken
    }

    #[test]
    fn a_parent_is_needed_as_long_as_a_descendant_runs() {
        let mut kin = Kin::default();
        kin.forked(Tgid(1), Tgid(2));
        kin.forked(Tgid(2), Tgid(3));
        kin.gone(Tgid(1));
        kin.gone(Tgid(2));
        assert!(take(&mut kin).is_empty());
        kin.gone(Tgid(3));
        assert_eq!(take(&mut kin), [1, 2, 3]);
        assert!(kin.parents.is_empty() && kin.children.is_empty() && kin.gone.is_empty());
    }

    #[test]
    fn a_number_that_is_given_out_again_is_somebody_else() {
        let mut kin = Kin::default();
        kin.forked(Tgid(1), Tgid(2));
        kin.gone(Tgid(2));
        kin.forked(Tgid(1), Tgid(2));
        assert!(take(&mut kin).is_empty());
        // Its end went unseen, and another process forks one of the same number.
        kin.forked(Tgid(9), Tgid(2));
        kin.gone(Tgid(1));
        assert_eq!(take(&mut kin), [1]);
    }

    proptest! {
        /// Whatever the order, nobody is forgotten while a descendant runs, and everybody once all are gone.
        #[test]
        fn all_are_forgotten_once_all_are_gone(
            parents in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
            order in Just(()).prop_perturb(|(), rng| rng),
        ) {
            let mut rng = order;
            let mut kin = Kin::default();
            let mut parent_of = vec![None];
            for (child, parent) in (1..).zip(&parents) {
                let parent = parent.index(parent_of.len());
                kin.forked(Tgid(u32::try_from(parent).unwrap()), Tgid(child));
                parent_of.push(Some(parent));
            }
            let mut left: Vec<usize> = (0..parent_of.len()).collect();
            let mut forgotten = HashSet::new();
            while !left.is_empty() {
                let next = left.swap_remove(usize::try_from(rng.next_u32()).unwrap() % left.len());
                kin.gone(Tgid(u32::try_from(next).unwrap()));
                forgotten.extend(kin.take_forgotten());
                for &runs in &left {
                    let mut at = Some(runs);
                    while let Some(tgid) = at {
                        prop_assert!(!forgotten.contains(&Tgid(u32::try_from(tgid).unwrap())));
                        at = parent_of[tgid];
                    }
                }
            }
            prop_assert_eq!(forgotten.len(), parent_of.len());
            prop_assert!(kin.parents.is_empty() && kin.children.is_empty() && kin.gone.is_empty());
        }
    }
}
