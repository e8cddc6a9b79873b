//! Names as labels, so many and no more: each new one makes new series, and callers choose some of them.

use std::collections::HashSet;

use parking_lot::RwLock;

/// What every name beyond the bound is called.
const OTHER: &str = "other";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_other() {
        let names = Names::new(2);
        let labels = ["a", "b", "c", "a", "d"].map(|name| names.label(name));
        assert_eq!(labels, ["a", "b", "other", "a", "other"]);
    }
}
