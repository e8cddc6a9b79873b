//! What real traffic says of the peers: counts in a sliding window, one for each peer; of providers also the present
//! run of failures, and which keys they refuse.

use std::{collections::HashMap, sync::Arc};

use mainstay_base::{Class, Fault, Kind, Micros, Record, record, standing::Answers};
use mainstay_store::model::Stood;
use parking_lot::Mutex;

use super::{Group, Told};

use super::{
    answers::{Heard, Spans},
    keys::{Keys, RefusedKey},
    trouble::{Names, Spell, Trouble},
};

/// How far back traffic is judged. Short, so that a recovery shows as fast as a failure.
pub(crate) const WINDOW_SECONDS: usize = 15;
/// Peers counted; one more takes the place of the one that was silent for longest. Peers are configuration, so this is
/// reached by reloads only.
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
    /// Of a provider: the present run of failures, or the last one.
    pub trouble: Option<Trouble>,
}

impl Traffic {
    pub fn total(&self) -> u32 {
        self.good + self.bad
    }
}

/// Counts records. Clones share the counts; feeding it is one short lock.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    told: Arc<Mutex<std::collections::BTreeMap<Group, Told>>>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    peers: HashMap<(Role, String), Window>,
    keys: Keys,
    names: Names,
    heard: Heard,
}

impl Observer {
    /// Takes what the process around says of a part of its own: one word for each group, the last one counts.
    pub fn tell(&self, group: Group, told: Told) {
        self.told.lock().insert(group, told);
    }

    pub(crate) fn told(&self) -> std::collections::BTreeMap<Group, Told> {
        self.told.lock().clone()
    }

    pub fn observe(&self, record: &Record) {
        let role = match record.path {
            record::Path::App => Role::Upstream,
            record::Path::Model => Role::Provider,
        };
        let at = Micros(record.opened_at.0.saturating_add(i64::try_from(record.took_us).unwrap_or(i64::MAX)));
        let mut seen = self.seen.lock();
        seen.names.learn(record);
        for (index, attempt) in record.attempts.iter().enumerate() {
            let is_last = index + 1 == record.attempts.len();
            let cut = is_last.then(|| cut_short(record)).flatten();
            let said = match (judge(role, attempt), cut) {
                (Said::Good, Some(error)) => Said::Bad(error),
                (said, _) => said,
            };
            seen.count(role, record, attempt, said, at);
        }
    }

    pub fn traffic(&self, role: Role, name: &str, now: Micros) -> Traffic {
        let seen = self.seen.lock();
        let window = seen.peers.get(&(role, name.to_owned()));
        window.map(|window| window.traffic(now, &seen.names)).unwrap_or_default()
    }

    /// What the providers answered this process in the last minute: what control in other processes has to know.
    pub fn answers(&self, now: Micros) -> Vec<Answers> {
        let seen = self.seen.lock();
        let providers = seen.peers.iter().filter(|((role, _), _)| *role == Role::Provider);
        let told = providers.map(|((_, name), window)| window.spans.told(name, &seen.names, now));
        let mut told: Vec<Answers> = told.flatten().collect();
        told.sort_by(|one, other| (one.from, &one.provider).cmp(&(other.from, &other.provider)));
        told
    }

    /// Takes what gateways in other processes say of the providers.
    pub(crate) fn hear(&self, others: &[&Stood], now: Micros) {
        let mut seen = self.seen.lock();
        for (at, told) in seen.heard.news(others, now) {
            seen.names.hear(&told);
            let window = seen.window((Role::Provider, told.provider.clone()));
            window.spell.hear(&told, at);
            window.hear(at, &told);
        }
    }

    /// The keys of a provider that it refused when they were used last.
    pub fn refused_keys(&self, provider: &str) -> Vec<RefusedKey> {
        self.seen.lock().keys.refused(provider)
    }

    /// What a probe found of a key.
    pub(crate) fn key_probed(&self, provider: &str, key: &str, is_refused: bool, at: Micros) {
        self.seen.lock().keys.note(provider, key, is_refused, at);
    }

    /// The keys were changed: what was known of the old ones says nothing.
    pub(crate) fn forget_keys(&self, provider: &str) {
        self.seen.lock().keys.forget(provider);
    }
}

impl Seen {
    fn count(&mut self, role: Role, record: &Record, attempt: &record::Attempt, said: Said, at: Micros) {
        if let (Role::Provider, Some(key)) = (role, &attempt.key) {
            match said {
                Said::KeyRefused => self.keys.note(&attempt.upstream, key, true, at),
                Said::Good => self.keys.note(&attempt.upstream, key, false, at),
                Said::Bad(_) | Said::Nothing => {}
            }
        }
        let failure = match said {
            Said::Good => None,
            Said::Bad(error) => Some(error),
            Said::KeyRefused | Said::Nothing => return,
        };
        let peer = (role, attempt.upstream.clone());
        let window = self.window(peer);
        if role == Role::Provider {
            window.spell.count(record, attempt, failure.is_some(), at);
            window.spans.count(record, attempt, failure.as_deref(), at);
        }
        window.count(at, failure);
    }

    fn window(&mut self, peer: (Role, String)) -> &mut Window {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let silent = self.peers.iter().min_by_key(|(_, window)| window.last_at);
            if let Some(silent) = silent.map(|(peer, _)| peer.clone()) {
                self.peers.remove(&silent);
            }
        }
        self.peers.entry(peer).or_default()
    }
}

/// What one attempt says of its peer.
enum Said {
    Good,
    Bad(String),
    /// It works, but not with this key.
    KeyRefused,
    /// Neither: it was not asked, has only been asked too often, or was not given its time.
    Nothing,
}

/// Only what is the provider's or the network's doing counts against it. A caller's own mistake is answered by a
/// provider that is well; a key that is refused or has used up its limit says nothing of the provider.
fn judge(role: Role, attempt: &record::Attempt) -> Said {
    let text = |otherwise: String| attempt.error.clone().unwrap_or(otherwise);
    if attempt.is_callers_haste {
        return Said::Nothing;
    }
    if let Some(class) = attempt.class {
        return match class.fault() {
            // Its models are apart: the breaker of this one speaks. Where callers choose names freely, any of them could
            // take a provider out that is well.
            _ if class == Class::ModelMissing => Said::Nothing,
            Fault::Provider | Fault::Network => Said::Bad(text(class.as_str().replace('_', " "))),
            Fault::Key if class == Class::BadKey => Said::KeyRefused,
            Fault::Caller if class != Class::NotConvertible => Said::Good,
            Fault::Key | Fault::Caller | Fault::Nobody => Said::Nothing,
        };
    }
    match attempt.status {
        None => Said::Bad(text("no answer".to_owned())),
        Some(status @ 500..) => Said::Bad(format!("answered {status}")),
        Some(401 | 403) if role == Role::Provider => Said::KeyRefused,
        Some(402 | 429) if role == Role::Provider => Said::Nothing,
        Some(_) => Said::Good,
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
    spell: Spell,
    spans: Spans,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    second: i64,
    good: u32,
    bad: u32,
}

impl Window {
    fn count(&mut self, at: Micros, failure: Option<String>) {
        // A record of longer ago than the window is none of it.
        let Some(bucket) = self.bucket(at) else { return };
        let side = if failure.is_some() { &mut bucket.bad } else { &mut bucket.good };
        *side = side.saturating_add(1);
        self.last_at = self.last_at.max(Some(at));
        match failure {
            None => {
                self.good_in_a_row = self.good_in_a_row.saturating_add(1);
                self.bad_in_a_row = 0;
            }
            Some(error) => {
                self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
                self.good_in_a_row = 0;
                self.last_error = Some(error.chars().take(MAX_ERROR_CHARS).collect());
            }
        }
    }

    fn bucket(&mut self, at: Micros) -> Option<&mut Bucket> {
        let second = at.unix_seconds();
        let index = usize::try_from(second.rem_euclid(WINDOW_SECONDS as i64)).unwrap_or(0);
        let bucket = &mut self.buckets[index];
        if bucket.second < second {
            *bucket = Bucket { second, good: 0, bad: 0 };
        }
        (bucket.second == second).then_some(bucket)
    }

    /// What other processes counted. Which of it came first is not known, so good and bad together make no row.
    fn hear(&mut self, at: Micros, told: &Answers) {
        let (good, bad) = (told.good, told.bad);
        let Some(bucket) = self.bucket(at) else { return };
        bucket.good = bucket.good.saturating_add(good);
        bucket.bad = bucket.bad.saturating_add(bad);
        self.last_at = self.last_at.max(Some(at));
        self.good_in_a_row = if bad > 0 { 0 } else { self.good_in_a_row.saturating_add(good) };
        self.bad_in_a_row = if good > 0 { 0 } else { self.bad_in_a_row.saturating_add(bad) };
        if bad > 0 {
            self.last_error = told.last_error.clone().or(self.last_error.take());
        }
    }

    fn traffic(&self, now: Micros, names: &Names) -> Traffic {
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
            trouble: self.spell.trouble(now, names),
        }
    }
}
