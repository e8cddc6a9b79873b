//! Names as labels, so many and no more: each new one makes new series, and callers choose some of them.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use parking_lot::RwLock;

/// What every name beyond the bound is called.
pub(super) const OTHER: &str = "other";

pub(super) struct Names {
    known: RwLock<HashSet<String>>,
    most: usize,
}

impl Names {
    pub(super) fn new(most: usize) -> Names {
        Names { known: RwLock::default(), most }
    }

    /// The name itself while there is room for it.
    pub(super) fn label(&self, name: &str) -> String {
        if self.known.read().contains(name) {
            return name.to_owned();
        }
        let mut known = self.known.write();
        let is_known = known.contains(name);
        if !is_known && known.len() >= self.most {
            return OTHER.to_owned();
        }
        known.insert(name.to_owned());
        name.to_owned()
    }
}

/// Combinations of names, so many and no more: the product of bounded names is not bounded enough.
pub(super) struct Combinations {
    known: RwLock<HashSet<u64>>,
    most: usize,
}

impl Combinations {
    pub(super) fn new(most: usize) -> Combinations {
        Combinations { known: RwLock::default(), most }
    }

    /// Whether there is room for these names together.
    pub(super) fn admit(&self, names: &[&str]) -> bool {
        let mut hasher = DefaultHasher::new();
        names.hash(&mut hasher);
        let hash = hasher.finish();
        if self.known.read().contains(&hash) {
            return true;
        }
        let mut known = self.known.write();
        let has_room = known.len() < self.most;
        if has_room {
            known.insert(hash);
        }
        has_room || known.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_beyond_the_bound_are_refused_and_known_ones_stay() {
        let combinations = Combinations::new(2);
        let admitted =
            [["a", "b"], ["ab", ""], ["a", "c"], ["a", "b"]].map(|names| combinations.admit(&names));
        assert_eq!(admitted, [true, true, false, true]);
    }

    #[test]
    fn names_beyond_the_bound_are_other() {
        let names = Names::new(2);
        let labels = ["a", "b", "c", "a", "d"].map(|name| names.label(name));
        assert_eq!(labels, ["a", "b", "other", "a", "other"]);
    }
}
