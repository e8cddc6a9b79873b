//! Names as labels, so many and no more: each new one makes new series, and callers choose some of them.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
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

/// What is known of combinations of names, so many and no more: the product of bounded names is not bounded enough.
pub(super) struct Known<T> {
    by_hash: HashMap<u64, Arc<T>>,
    most: usize,
}

impl<T> Known<T> {
    pub(super) fn new(most: usize) -> Known<T> {
        Known { by_hash: HashMap::new(), most }
    }

    pub(super) fn get(&self, hash: u64) -> Option<&Arc<T>> {
        self.by_hash.get(&hash)
    }

    /// Keeps `new` unless something is known by then. `None`: there is no room.
    pub(super) fn keep(&mut self, hash: u64, new: Arc<T>) -> Option<Arc<T>> {
        let has_room = self.by_hash.len() < self.most;
        match self.by_hash.entry(hash) {
            Entry::Occupied(known) => Some(known.get().clone()),
            Entry::Vacant(place) if has_room => Some(place.insert(new).clone()),
            Entry::Vacant(_) => None,
        }
    }
}

pub(super) fn hash_of(names: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    names.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_beyond_the_bound_are_refused_and_known_ones_stay() {
        let mut known = Known::new(2);
        let mut admitted = |names: [&'static str; 2]| {
            let hash = hash_of(&names);
            known.get(hash).is_some_and(|known| **known == names)
                || known.keep(hash, Arc::new(names)).is_some()
        };
        let admitted = [["a", "b"], ["ab", ""], ["a", "c"], ["a", "b"]].map(&mut admitted);
        assert_eq!(admitted, [true, true, false, true]);
    }

    #[test]
    fn names_beyond_the_bound_are_other() {
        let names = Names::new(2);
        let labels = ["a", "b", "c", "a", "d"].map(|name| names.label(name));
        assert_eq!(labels, ["a", "b", "other", "a", "other"]);
    }
}
