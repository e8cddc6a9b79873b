//! Sessions without a table: the cookie says who and until when, signed with a key derived from the token.
//!
//! Promises: a session ends when its time is over, when its token is changed, or at logout (in this process).

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use http::{HeaderMap, header};
use mainstay_base::Micros;
use parking_lot::Mutex;

use super::token::{Token, Tokens, same};

pub(crate) const COOKIE: &str = "mainstay_session";
/// A working day, so that nobody logs in twice during one incident.
pub(crate) const SESSION_TTL: Duration = Duration::from_hours(12);
/// Sessions that were ended by logout and are remembered until they would have expired; beyond it the oldest goes.
pub(crate) const ENDED_SESSIONS_MAX: usize = 4_096;
const COOKIE_MAX_BYTES: usize = 1_024;

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) csrf: String,
}

/// A new session's cookie value.
pub(crate) fn open(token: &Token, now: Micros) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let expires = (now + SESSION_TTL).unix_seconds();
    let claim = format!("{}.{expires}.{id}", BASE64.encode(&token.name));
    let seal = seal(token, "session", &claim);
    format!("{claim}.{seal}")
}

/// The session of a request, if its cookie is whole, ours and not over.
pub(crate) fn read(tokens: &Tokens, headers: &HeaderMap, now: Micros) -> Option<Session> {
    let value = cookie(headers)?;
    let (claim, presented) = value.rsplit_once('.')?;
    let mut fields = claim.split('.');
    let name = String::from_utf8(BASE64.decode(fields.next()?).ok()?).ok()?;
    let expires: i64 = fields.next()?.parse().ok()?;
    let id = fields.next()?.to_owned();
    let token = tokens.named(&name)?;
    let sealed = same(seal(token, "session", claim).as_bytes(), presented.as_bytes());
    let valid = sealed && fields.next().is_none() && now.unix_seconds() < expires;
    valid.then(|| Session { csrf: seal(token, "csrf", &id), id, name })
}

/// `Set-Cookie` for a new session.
pub(crate) fn set_cookie(value: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", SESSION_TTL.as_secs())
}

/// `Set-Cookie` that removes it.
pub(crate) fn clear_cookie(secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}")
}

fn seal(token: &Token, purpose: &str, text: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(&token.session_key);
    hasher.update(purpose.as_bytes()).update(&[0]).update(text.as_bytes());
    hasher.finalize().to_hex().to_string()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = values.find(|(name, _)| *name == COOKIE)?;
    (value.len() <= COOKIE_MAX_BYTES).then_some(value)
}

/// Sessions ended before their time.
#[derive(Default)]
pub(crate) struct Ended(Mutex<(HashSet<String>, VecDeque<String>)>);

impl Ended {
    pub(crate) fn add(&self, id: &str) {
        let (ids, order) = &mut *self.0.lock();
        if ids.insert(id.to_owned()) {
            order.push_back(id.to_owned());
        }
        if order.len() > ENDED_SESSIONS_MAX
            && let Some(oldest) = order.pop_front()
        {
            ids.remove(&oldest);
        }
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.lock().0.contains(id)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use mainstay_base::Secret;

    use super::*;

    const NOW: Micros = Micros(1_795_400_000_000_000);

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&[("ops, äöü".to_owned(), Secret::new(secret))])
    }

    fn request(cookie: &str) -> HeaderMap {
        let line = format!("theme=dark; {COOKIE}={cookie}; other=1");
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&line).unwrap())])
    }

    #[test]
    fn a_session_is_read_back_until_its_time_is_over() {
        let tokens = tokens("secret");
        let cookie = open(tokens.find("secret").unwrap(), NOW);
        let session = read(&tokens, &request(&cookie), NOW).unwrap();
        assert_eq!(session.name, "ops, äöü");
        let almost = NOW + SESSION_TTL - Duration::from_secs(1);
        assert!(read(&tokens, &request(&cookie), almost).is_some());
        assert!(read(&tokens, &request(&cookie), NOW + SESSION_TTL).is_none());
    }

    #[test]
    fn a_session_ends_when_its_token_changes() {
        let cookie = open(tokens("secret").find("secret").unwrap(), NOW);
        assert!(read(&tokens("another"), &request(&cookie), NOW).is_none());
    }

    #[test]
    fn no_part_of_a_cookie_can_be_changed() {
        let tokens = tokens("secret");
        let cookie = open(tokens.find("secret").unwrap(), NOW);
        for (at, byte) in cookie.bytes().enumerate() {
            let other = if byte == b'0' { '1' } else { '0' };
            let mut changed = cookie.clone();
            changed.replace_range(at..=at, &other.to_string());
            assert!(read(&tokens, &request(&changed), NOW).is_none(), "changed at {at}: {changed}");
        }
        for broken in ["", "...", "a.b.c.d", "....", &format!("{cookie}.x"), &"9".repeat(5_000)] {
            assert!(read(&tokens, &request(broken), NOW).is_none(), "{broken}");
        }
    }

    #[test]
    fn ended_sessions_are_remembered_within_their_limit() {
        let ended = Ended::default();
        for index in 0..=ENDED_SESSIONS_MAX {
            ended.add(&index.to_string());
        }
        assert!(!ended.contains("0"));
        assert!(ended.contains("1") && ended.contains(&ENDED_SESSIONS_MAX.to_string()));
    }
}
