//! One key of a provider: in use, or resting because the provider refused or limited it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainstay_base::{Class, Micros, id::KeyHash, snapshot::ProviderSecret, standing::KeyStanding};
use mainstay_signal::keys::Seen;
use parking_lot::Mutex;

/// A key that the provider refuses: somebody must look at it.
pub(crate) const BAD_KEY_REST: Duration = Duration::from_secs(600);
/// A quota that is used up: no wait of seconds helps.
pub(crate) const QUOTA_REST: Duration = Duration::from_secs(300);
/// A limited key, when the provider does not say for how long, and the bounds of what it may say.
pub(crate) const LIMITED_REST: Duration = Duration::from_secs(5);
pub(crate) const LEAST_REST: Duration = Duration::from_secs(1);
pub(crate) const MOST_REST: Duration = Duration::from_secs(60);

pub(crate) struct Key {
    pub(crate) provider: String,
    pub(crate) name: String,
    pub(crate) in_flight: AtomicU32,
    state: Mutex<State>,
}

struct State {
    /// Of the secret: another secret under the same name is another key, and rested enough.
    fingerprint: KeyHash,
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) until: Micros,
    pub(crate) why: Class,
}

impl Key {
    pub(crate) fn new(provider: &str, name: &str, secret: &ProviderSecret) -> Key {
        let state = State { fingerprint: fingerprint(secret), rest: None };
        Key {
            provider: provider.to_owned(),
            name: name.to_owned(),
            in_flight: AtomicU32::new(0),
            state: Mutex::new(state),
        }
    }

    /// A new secret ends the rest that the old one earned.
    pub(crate) fn reconfigure(&self, secret: &ProviderSecret) {
        let fingerprint = fingerprint(secret);
        let mut state = self.state.lock();
        if state.fingerprint != fingerprint {
            *state = State { fingerprint, rest: None };
        }
    }

    /// Why it is out of use now.
    pub(crate) fn rest(&self, now: Micros) -> Option<Rest> {
        self.state.lock().rest.filter(|rest| rest.until > now)
    }

    pub(super) fn seen(&self, was_tried: bool, now: Micros) -> Seen {
        Seen {
            rests_until: self.rest(now).map(|rest| rest.until),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            was_tried,
        }
    }

    /// Puts the key out of use if the class is about it. A rest is never made shorter by a later failure.
    pub(crate) fn failed(&self, class: Class, retry_after: Option<Duration>, now: Micros) {
        let Some(lasts) = rest_of(class, retry_after) else { return };
        let until = now + lasts;
        let mut state = self.state.lock();
        if state.rest.is_none_or(|rest| rest.until < until) {
            state.rest = Some(Rest { until, why: class });
        }
    }

    pub(crate) fn wake(&self) {
        self.state.lock().rest = None;
    }

    pub(crate) fn standing(&self, now: Micros) -> KeyStanding {
        let rest = self.rest(now);
        KeyStanding {
            provider: self.provider.clone(),
            key: self.name.clone(),
            rests_until: rest.map(|rest| rest.until),
            why: rest.map(|rest| rest.why),
            in_flight: self.in_flight.load(Ordering::Relaxed),
        }
    }
}

fn rest_of(class: Class, retry_after: Option<Duration>) -> Option<Duration> {
    match class {
        Class::BadKey => Some(BAD_KEY_REST),
        Class::QuotaExhausted => Some(QUOTA_REST),
        Class::RateLimited => Some(retry_after.unwrap_or(LIMITED_REST).clamp(LEAST_REST, MOST_REST)),
        _ => None,
    }
}

fn fingerprint(secret: &ProviderSecret) -> KeyHash {
    match secret {
        ProviderSecret::Token(token) => KeyHash::of(token.expose()),
        ProviderSecret::Aws { access_key_id, secret_access_key, session_token } => {
            let session = session_token.as_ref().map_or("", |token| token.expose());
            KeyHash::of(&[access_key_id, secret_access_key.expose(), session].join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::Secret;

    use super::*;

    fn token(text: &str) -> ProviderSecret {
        ProviderSecret::Token(Secret::new(text))
    }

    #[test]
    fn a_key_rests_by_what_was_said_of_it() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (class, retry_after, rests_s) in [
            (Class::BadKey, None, Some(600)),
            (Class::QuotaExhausted, seconds(1), Some(300)),
            (Class::RateLimited, None, Some(5)),
            (Class::RateLimited, seconds(0), Some(1)),
            (Class::RateLimited, seconds(7), Some(7)),
            (Class::RateLimited, seconds(3600), Some(60)),
            (Class::ServerError, seconds(9), None),
            (Class::CallerError, None, None),
        ] {
            let key = Key::new("p", "k", &token("s"));
            key.failed(class, retry_after, Micros(0));
            let until = key.rest(Micros(0)).map(|rest| rest.until);
            assert_eq!(until, rests_s.map(|seconds: i64| Micros(seconds * 1_000_000)), "{class:?}");
        }
    }

    #[test]
    fn a_rest_ends_by_time_and_by_another_secret_and_is_never_made_shorter() {
        let key = Key::new("p", "k", &token("old"));
        key.failed(Class::BadKey, None, Micros(0));
        key.failed(Class::RateLimited, None, Micros(0));
        assert_eq!(key.rest(Micros(6_000_000)).map(|rest| rest.why), Some(Class::BadKey));
        assert_eq!(key.rest(Micros(600_000_000)), None);
        key.reconfigure(&token("old"));
        assert!(key.rest(Micros(1)).is_some());
        key.reconfigure(&token("new"));
        assert_eq!(key.rest(Micros(1)), None);
    }
}
