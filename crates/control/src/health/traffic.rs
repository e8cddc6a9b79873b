//! What real traffic says of the peers: counts in a sliding window, one for each peer.

use std::{collections::HashMap, sync::Arc};

use mainstay_base::{Kind, Micros, Record, record};
use parking_lot::Mutex;

/// How far back traffic is judged. Short, so that a recovery shows as fast as a failure.
pub(crate) const WINDOW_SECONDS: usize = 15;
/// Peers counted; a record of one more is ignored. Peers are configuration, so this is never reached by load.
const MAX_PEERS: usize = 256;
const MAX_ERROR_CHARS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Upstream,
    Provider,
}

/// The last seconds of one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub good: u32,
    pub bad: u32,
    /// Failures since the last success, whenever they were.
    pub bad_in_a_row: u32,
    pub good_in_a_row: u32,
    pub last_at: Option<Micros>,
    pub last_error: Option<String>,
}

impl Traffic {
    pub fn total(&self) -> u32 {
        self.good + self.bad
    }
}

/// Counts records. Clones share the counts; feeding it is one short lock.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    peers: Arc<Mutex<HashMap<(Role, String), Window>>>,
}

impl Observer {
    pub fn observe(&self, record: &Record) {
        let role = match record.path {
            record::Path::App => Role::Upstream,
            record::Path::Model => Role::Provider,
        };
        let at = Micros(record.opened_at.0.saturating_add(i64::try_from(record.took_us).unwrap_or(i64::MAX)));
        let mut peers = self.peers.lock();
        for (index, attempt) in record.attempts.iter().enumerate() {
            let is_last = index + 1 == record.attempts.len();
            let failure = failure_of(role, attempt).or_else(|| is_last.then(|| cut_short(record)).flatten());
            let key = (role, attempt.upstream.clone());
            if peers.len() >= MAX_PEERS && !peers.contains_key(&key) {
                continue;
            }
            peers.entry(key).or_default().count(at, failure);
        }
    }

    pub fn traffic(&self, role: Role, name: &str, now: Micros) -> Traffic {
        let peers = self.peers.lock();
        peers.get(&(role, name.to_owned())).map(|window| window.traffic(now)).unwrap_or_default()
    }
}

/// Why an attempt counts against its peer. A caller's own mistake never does; a provider that refuses our key or
/// limits our rate cannot serve, whoever is to blame.
fn failure_of(role: Role, attempt: &record::Attempt) -> Option<String> {
    match attempt.status {
        None => Some(attempt.error.clone().unwrap_or_else(|| "no answer".to_owned())),
        Some(status @ 500..) => Some(format!("answered {status}")),
        Some(status @ (401 | 402 | 403 | 429)) if role == Role::Provider => {
            Some(format!("answered {status}"))
        }
        Some(_) => None,
    }
}

/// An answer that began well and broke is the peer's failure unless the caller broke it.
fn cut_short(record: &Record) -> Option<String> {
    let is_peers = matches!(record.kind, Some(Kind::Upstream | Kind::Unavailable));
    (record.outcome == record::Outcome::Cut && is_peers)
        .then(|| record.error.clone().unwrap_or_else(|| "the answer was cut".to_owned()))
}

#[derive(Clone, Debug, Default)]
struct Window {
    /// One bucket a second, at `second % WINDOW_SECONDS`.
    buckets: [Bucket; WINDOW_SECONDS],
    bad_in_a_row: u32,
    good_in_a_row: u32,
    last_at: Option<Micros>,
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    second: i64,
    good: u32,
    bad: u32,
}

impl Window {
    fn count(&mut self, at: Micros, failure: Option<String>) {
        let second = at.unix_seconds();
        let index = usize::try_from(second.rem_euclid(WINDOW_SECONDS as i64)).unwrap_or(0);
        let bucket = &mut self.buckets[index];
        if bucket.second > second {
            return; // A record of longer ago than the window.
        }
        if bucket.second < second {
            *bucket = Bucket { second, good: 0, bad: 0 };
        }
        self.last_at = self.last_at.max(Some(at));
        match failure {
            None => {
                bucket.good = bucket.good.saturating_add(1);
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.bad_in_a_row = 0;
            }
            Some(error) => {
                bucket.bad = bucket.bad.saturating_add(1);
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
                self.good_in_a_row = 0;
                self.last_error = Some(error.chars().take(MAX_ERROR_CHARS).collect());
            }
        }
    }

    fn traffic(&self, now: Micros) -> Traffic {
        let oldest = now.unix_seconds() - WINDOW_SECONDS as i64;
        let recent = self.buckets.iter().filter(|bucket| bucket.second > oldest);
        let (good, bad) = recent.fold((0u32, 0u32), |(good, bad), bucket| {
            (good.saturating_add(bucket.good), bad.saturating_add(bucket.bad))
        });
        Traffic {
            good,
            bad,
            bad_in_a_row: self.bad_in_a_row,
            good_in_a_row: self.good_in_a_row,
            last_at: self.last_at,
            last_error: self.last_error.clone(),
        }
    }
}
