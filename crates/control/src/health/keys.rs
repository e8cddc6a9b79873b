//! Which keys the providers refuse, by the last word on each.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use serde::Serialize;

/// Keys remembered. They are configuration, so this is never reached by load.
const MAX_KEYS: usize = 1024;

/// A provider's key that was refused when it was used last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedKey {
    /// Its name, never the key.
    pub key: String,
    pub since: Micros,
}

/// By provider and key.
#[derive(Debug, Default)]
pub(super) struct Keys {
    words: BTreeMap<(String, String), Word>,
}

#[derive(Debug)]
struct Word {
    at: Micros,
    refused_since: Option<Micros>,
}

impl Keys {
    /// Later words win, in whatever order they come.
    pub(super) fn note(&mut self, provider: &str, key: &str, is_refused: bool, at: Micros) {
        let name = (provider.to_owned(), key.to_owned());
        if self.words.len() >= MAX_KEYS && !self.words.contains_key(&name) {
            return;
        }
        let word = self.words.entry(name).or_insert(Word { at, refused_since: None });
        if at >= word.at {
            word.at = at;
            word.refused_since = is_refused.then(|| word.refused_since.unwrap_or(at));
        }
    }

    pub(super) fn refused(&self, provider: &str) -> Vec<RefusedKey> {
        let ours = self.words.iter().filter(|((name, _), _)| name == provider);
        ours.filter_map(|((_, key), word)| {
            word.refused_since.map(|since| RefusedKey { key: key.clone(), since })
        })
        .collect()
    }

    pub(super) fn forget(&mut self, provider: &str) {
        self.words.retain(|(name, _), _| name != provider);
    }
}
