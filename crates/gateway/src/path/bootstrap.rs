//! Stage 1: who asks, about what, by which snapshot. Looks things up in memory and does nothing else.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use mainstay_base::{
    Record, Secret, Snapshot, TraceParent,
    id::KeyHash,
    record::Path,
    snapshot::{AppRoute, ModelKey, Upstream},
};

use super::{
    failure::{Failure, Reason},
    headers::{self, API_KEY, X_API_KEY},
    telemetry::{Open, Told},
};
use crate::gateway::Gateway;

mod terms;

pub(crate) use terms::Terms;

/// What every later stage may know of a request.
pub(crate) struct Context {
    pub(crate) gateway: Gateway,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) request_id: Arc<str>,
    /// Our own span, a child of the caller's: the parent of what we send.
    pub(crate) trace: TraceParent,
    /// The caller's `tracestate` belongs to its trace, so it goes on only when that was readable.
    pub(crate) continues_trace: bool,
    pub(crate) caller: Caller,
    pub(crate) peer: Option<IpAddr>,
    /// What a caller of the model path asks for besides the call itself.
    pub(crate) terms: Terms,
}

pub(crate) enum Caller {
    /// A key of an app we know.
    App {
        route: Arc<AppRoute>,
        key: Secret,
    },
    /// No key that we know; this upstream checks keys itself.
    Unknown(Arc<Upstream>),
    Model(Arc<ModelKey>),
}

impl Caller {
    /// Who may answer on the app path, in order.
    pub(crate) fn candidates(&self) -> &[Arc<Upstream>] {
        match self {
            Caller::App { route, .. } => &route.candidates,
            Caller::Unknown(upstream) => std::slice::from_ref(upstream),
            Caller::Model(_) => &[],
        }
    }
}

pub(crate) fn context(
    gateway: &Gateway,
    path: Path,
    peer: Option<IpAddr>,
    head: &Parts,
    record: &mut Open,
) -> Result<Context, Failure> {
    let snapshot = gateway.ports().snapshot.load_full();
    if let Some(record) = record.known() {
        record.snapshot_generation = snapshot.generation;
    }
    let caller = match path {
        Path::App => app_caller(&snapshot, &head.headers)?,
        Path::Model => model_caller(&snapshot, &head.headers)?,
    };
    let terms = match &caller {
        Caller::Model(key) => Terms::read(head, key)?,
        Caller::App { .. } | Caller::Unknown(_) => Terms::default(),
    };
    Ok(Context {
        gateway: gateway.clone(),
        snapshot,
        request_id: record.request_id().clone(),
        trace: record.trace(),
        continues_trace: record.continues_trace(),
        caller,
        peer,
        terms,
    })
}

fn app_caller(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Caller, Failure> {
    let known = bearer(headers).and_then(|key| match snapshot.app.keys.get(&KeyHash::of(key)) {
        Some(route) => Ok(Caller::App { route: route.clone(), key: Secret::new(key) }),
        None => Err(Failure::new(Reason::UnknownKey, "the key belongs to no app that is known here")),
    });
    match (known, &snapshot.app.unknown_keys_to) {
        // A real Dify checks keys itself, and has words of its own for a missing one.
        (Err(_), Some(upstream)) => Ok(Caller::Unknown(upstream.clone())),
        (known, _) => known,
    }
}

fn model_caller(snapshot: &Snapshot, headers: &HeaderMap) -> Result<Caller, Failure> {
    let key = only_key(headers)?;
    match snapshot.model.keys.get(&KeyHash::of(key)) {
        Some(key) => Ok(Caller::Model(key.clone())),
        None => Err(Failure::new(Reason::UnknownKey, "the key is no virtual key of the model path")),
    }
}

/// The one key that a caller of the model path shows, wherever its client puts it. Some send theirs in two headers, to
/// be sure; two different ones are nobody's.
fn only_key(headers: &HeaderMap) -> Result<&str, Failure> {
    let mut found = match headers.contains_key(AUTHORIZATION) {
        true => Some(bearer(headers)?),
        false => None,
    };
    for name in [API_KEY, X_API_KEY] {
        for value in headers.get_all(&name) {
            let key = value.to_str().unwrap_or_default().trim();
            if *found.get_or_insert(key) != key {
                return Err(Failure::new(Reason::NoCredentials, "two different keys in one request"));
            }
        }
    }
    found.ok_or_else(|| Failure::new(Reason::NoCredentials, "no Authorization header of two words"))
}

/// The token of `Authorization: Bearer TOKEN`, read as Dify reads it.
fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    if headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(Failure::new(Reason::NoCredentials, "more than one Authorization header"));
    }
    let header = headers::text(headers, &AUTHORIZATION).unwrap_or_default();
    let Some((scheme, token)) = header.trim_start().split_once(|letter: char| letter.is_ascii_whitespace())
    else {
        return Err(Failure::new(Reason::NoCredentials, "no Authorization header of two words"));
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Failure::new(
            Reason::WrongScheme,
            "the scheme of the Authorization header is not Bearer",
        ));
    }
    Ok(token.trim())
}

/// Whose a key is.
pub(crate) fn tenant(key: &ModelKey) -> &str {
    if key.tenant.is_empty() { &key.name } else { &key.tenant }
}

impl Told for Context {
    fn told(&self, record: &mut Record) -> Cow<'static, str> {
        match &self.caller {
            Caller::App { route, .. } => {
                record.app_id = Some(route.app_id.clone());
                record.app = Some(route.name.clone());
                Cow::Borrowed("the key belongs to an app of the snapshot")
            }
            Caller::Unknown(upstream) => {
                Cow::Owned(format!("the key is not known here; {} checks it", upstream.name))
            }
            Caller::Model(key) => {
                record.app_id.clone_from(&self.terms.app);
                record.key = Some(key.name.clone());
                record.tenant = Some(tenant(key).to_owned());
                // The record's own field says which.
                Cow::Borrowed("the key is a virtual key of the model path")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_as_dify_reads_them() {
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, http::HeaderValue::from_static(value))]);
            bearer(&headers).map(str::to_owned).map_err(|failure| failure.reason)
        };
        assert_eq!(read("Bearer app-1"), Ok("app-1".to_owned()));
        assert_eq!(read("bearer   app-1 "), Ok("app-1".to_owned()));
        assert_eq!(read("Basic abc"), Err(Reason::WrongScheme));
        assert_eq!(read("app-1"), Err(Reason::NoCredentials));
        assert_eq!(bearer(&HeaderMap::new()).map_err(|failure| failure.reason), Err(Reason::NoCredentials));
    }

    #[test]
    fn one_key_is_taken_from_wherever_it_is() {
        for (pairs, expected) in [
            (&[("authorization", "Bearer vk-1")][..], Some("vk-1")),
            (&[("api-key", "vk-1")], Some("vk-1")),
            (&[("x-api-key", " vk-1 ")], Some("vk-1")),
            (&[("authorization", "Bearer vk-1"), ("api-key", "vk-1")], Some("vk-1")),
            (&[("authorization", "Bearer vk-1"), ("api-key", "vk-2")], None),
            (&[("api-key", "vk-1"), ("api-key", "vk-2")], None),
            (&[("authorization", "Basic vk-1"), ("api-key", "vk-1")], None),
            (&[("authorization", "Bearer vk-1"), ("authorization", "Bearer vk-1")], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, http::HeaderValue::from_static(value));
            }
            assert_eq!(only_key(&headers).ok(), expected, "{pairs:?}");
        }
    }
}
