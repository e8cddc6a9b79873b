//! Which queues there are: those of Dify's releases, those that workers name, those that somebody declared.

use std::{collections::BTreeSet, time::Duration};

use mainstay_base::Micros;

use super::keys;
use crate::redis::{Error, Link, cmd};

/// More queues than this are not looked at.
const MAX_NAMES: usize = 200;
/// Pages of one look at the keys, and keys of a page: a broker with many results is walked over several looks.
const PAGES: usize = 10;
const KEYS_OF_A_PAGE: usize = 500;
/// A walk begins again after this.
const WALK_EVERY: Duration = Duration::from_secs(60);
/// A longer name is no queue of Dify's.
const MAX_NAME_BYTES: usize = 200;

/// What is known of names, and how far the walk over the keys has come.
pub(super) struct Names {
    known: BTreeSet<String>,
    bound: BTreeSet<String>,
    walk: Walk,
}

impl Default for Names {
    fn default() -> Names {
        let known = keys::KNOWN_QUEUES.iter().map(|name| (*name).to_owned()).collect();
        Names { known, bound: BTreeSet::new(), walk: Walk::default() }
    }
}

impl Names {
    pub(super) fn learn(&mut self, name: &str) {
        if self.known.len() < MAX_NAMES && name.len() <= MAX_NAME_BYTES && !keys::is_machinery(name) {
            self.known.insert(name.to_owned());
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &String> {
        self.known.iter()
    }

    pub(super) fn bound(&self) -> &BTreeSet<String> {
        &self.bound
    }

    /// Walks some pages of keys when it is time to.
    pub(super) async fn look(&mut self, link: &mut Link, now: Micros) -> Result<(), Error> {
        let pattern = format!("{}*", link.key(keys::BINDINGS));
        let cut = link.key(keys::BINDINGS).len();
        for key in self.walk.step(link, &pattern, now).await? {
            let Some(exchange) = key.get(cut..) else { continue };
            if keys::is_machinery(exchange) {
                continue;
            }
            self.learn(exchange);
            if self.known.contains(exchange) {
                self.bound.insert(exchange.to_owned());
            }
        }
        Ok(())
    }
}

/// A walk over the keys of a database, some pages at a time.
#[derive(Default)]
pub(super) struct Walk {
    cursor: u64,
    ended_at: Option<Micros>,
}

impl Walk {
    /// The keys that match among the next pages; none when the last walk ended a moment ago.
    pub(super) async fn step(
        &mut self,
        link: &mut Link,
        pattern: &str,
        now: Micros,
    ) -> Result<Vec<String>, Error> {
        if self.ended_at.is_some_and(|ended| now.since(ended) < WALK_EVERY) {
            return Ok(Vec::new());
        }
        self.ended_at = None;
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let mut scan = cmd("SCAN");
            scan.arg(self.cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(KEYS_OF_A_PAGE);
            let (cursor, keys): (u64, Vec<Vec<u8>>) = link.ask(&scan).await?;
            found.extend(keys.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            self.cursor = cursor;
            if cursor == 0 {
                self.ended_at = Some(now);
                break;
            }
        }
        Ok(found)
    }
}
