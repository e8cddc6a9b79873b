//! One key of a provider: in use, or resting because the provider refused or limited it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use mainstay_base::{Class, Micros, id::KeyHash, snapshot::ProviderSecret, standing::KeyStanding};
use mainstay_signal::keys::Seen;
use parking_lot::Mutex;

pub(crate) struct Key {
    pub(crate) provider: String,
    pub(crate) name: String,
    pub(crate) in_flight: AtomicU32,
    /// Of the secret: another secret under the same name is another key.
    fingerprint: KeyHash,
    rest: Mutex<Option<Rest>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) until: Micros,
    pub(crate) why: Class,
}

impl Key {
    pub(crate) fn new(provider: &str, name: &str, secret: &ProviderSecret) -> Key {
        Key {
            provider: provider.to_owned(),
            name: name.to_owned(),
            in_flight: AtomicU32::new(0),
            fingerprint: fingerprint(secret),
            rest: Mutex::default(),
        }
    }

    pub(crate) fn is_of(&self, secret: &ProviderSecret) -> bool {
        self.fingerprint == fingerprint(secret)
    }

    /// Why it is out of use now.
    pub(crate) fn rest(&self, now: Micros) -> Option<Rest> {
        self.rest.lock().filter(|rest| rest.until > now)
    }

    pub(super) fn seen(&self, was_tried: bool, now: Micros) -> Seen {
        Seen {
            rests_until: self.rest(now).map(|rest| rest.until),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            was_tried,
        }
    }

    /// Puts the key out of use. A rest is never made shorter by a later failure.
    pub(crate) fn rests(&self, why: Class, lasts: Duration, now: Micros) {
        let until = now + lasts;
        let mut rest = self.rest.lock();
        if rest.is_none_or(|rest| rest.until < until) {
            *rest = Some(Rest { until, why });
        }
    }

    pub(crate) fn wake(&self) {
        *self.rest.lock() = None;
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
    fn a_rest_ends_by_time_and_is_never_made_shorter() {
        let key = Key::new("p", "k", &token("old"));
        key.rests(Class::BadKey, Duration::from_secs(600), Micros(0));
        key.rests(Class::RateLimited, Duration::from_secs(5), Micros(0));
        assert_eq!(key.rest(Micros(6_000_000)).map(|rest| rest.why), Some(Class::BadKey));
        assert_eq!(key.rest(Micros(600_000_000)), None);
        assert!(key.is_of(&token("old")) && !key.is_of(&token("new")));
    }
}
