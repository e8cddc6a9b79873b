//! What a misspelled key probably stands for.

use std::collections::BTreeSet;

/// The known key that a misspelled one probably stands for.
pub(super) fn nearest<'k>(key: &str, known: &BTreeSet<&'k str>) -> Option<&'k str> {
    let near = known.iter().copied().min_by_key(|candidate| distance(key, candidate))?;
    (distance(key, near) <= 2).then_some(near)
}

/// Levenshtein's distance; keys are short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(l != *r);
            current.push(replaced.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}
