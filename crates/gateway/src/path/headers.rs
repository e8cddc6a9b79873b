//! Headers that belong to one hop, and the few that this hop adds.

use std::{net::IpAddr, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use mainstay_base::Usd;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const CALLBACK_URL: HeaderName = HeaderName::from_static("mainstay-callback-url");
pub(crate) const MAINSTAY_APP: HeaderName = HeaderName::from_static("mainstay-app");
pub(crate) const MAINSTAY_WORKFLOW: HeaderName = HeaderName::from_static("mainstay-workflow");
pub(crate) const MAINSTAY_DEADLINE: HeaderName = HeaderName::from_static("mainstay-deadline");
pub(crate) const MAINSTAY_MAX_COST: HeaderName = HeaderName::from_static("mainstay-max-cost");
pub(crate) const MAINSTAY_REGION: HeaderName = HeaderName::from_static("mainstay-region");
pub(crate) const MAINSTAY_DATA_CLASS: HeaderName = HeaderName::from_static("mainstay-data-class");
pub(crate) const MAINSTAY_TARGET: HeaderName = HeaderName::from_static("mainstay-target");
const MAINSTAY_ATTEMPTS: HeaderName = HeaderName::from_static("mainstay-attempts");
const MAINSTAY_COST: HeaderName = HeaderName::from_static("mainstay-cost");
pub(crate) const MAINSTAY_SHARED: HeaderName = HeaderName::from_static("mainstay-shared");
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("api-key");
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// RFC 9110 §7.6.1: what one hop says to the next and no farther.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the headers of one hop, those named in `Connection` included.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // RFC 9112 §6.3: the length beside a transfer coding is void, and a trap for the next hop.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    // Most heads have none of them.
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
    }
}

/// Removes what was said to this gateway and not to whom it asks.
pub(crate) fn strip_own(headers: &mut HeaderMap) {
    headers.remove(HOST);
    headers.remove(EXPECT);
    headers.remove(CALLBACK_URL);
    for name in ASKED {
        headers.remove(name);
    }
}

/// What a caller of the model path says to this gateway.
const ASKED: [HeaderName; 6] = [
    MAINSTAY_APP,
    MAINSTAY_WORKFLOW,
    MAINSTAY_DEADLINE,
    MAINSTAY_MAX_COST,
    MAINSTAY_REGION,
    MAINSTAY_DATA_CLASS,
];

/// What an answer of the model path says of how it came about, failures included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Provider and the name by which it knows the model, as `azure-eu/gpt-4o`.
    pub(crate) target: Option<String>,
    pub(crate) attempts: u32,
    /// What was granted for the whole call.
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_cost: Option<Usd>,
    /// All attempts together; known before the head is sent only of whole answers.
    pub(crate) cost: Option<Usd>,
    /// Another call, identical and in flight, was answered by the same attempt.
    pub(crate) is_shared: bool,
}

impl Account {
    /// Says it. What an upstream may have said under these names goes.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Account { target, attempts, deadline, max_cost, cost, is_shared } = self;
        let said = [
            (MAINSTAY_TARGET, target.as_deref().and_then(|target| HeaderValue::from_str(target).ok())),
            (MAINSTAY_ATTEMPTS, (*attempts > 0).then(|| HeaderValue::from(*attempts))),
            (MAINSTAY_DEADLINE, deadline.map(|deadline| HeaderValue::from(millis(deadline)))),
            (MAINSTAY_MAX_COST, max_cost.and_then(dollars)),
            (MAINSTAY_COST, cost.and_then(dollars)),
            (MAINSTAY_SHARED, is_shared.then(|| HeaderValue::from_static("1"))),
        ];
        for (name, value) in said {
            match value {
                Some(value) => drop(headers.insert(name, value)),
                None => drop(headers.remove(name)),
            }
        }
    }
}

/// Without the sign, as the request's header is written.
fn dollars(cost: Usd) -> Option<HeaderValue> {
    let shown = cost.to_string();
    match shown.strip_prefix('$') {
        Some(plain) => HeaderValue::from_str(plain).ok(),
        None => HeaderValue::try_from(shown.replace('$', "")).ok(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Appends the caller's address to `X-Forwarded-For`; says the scheme if nobody before us did.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: Option<IpAddr>) {
    if let Some(peer) = peer {
        let mut chain = Vec::with_capacity(48);
        for value in headers.get_all(X_FORWARDED_FOR) {
            chain.extend_from_slice(value.as_bytes());
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(peer.to_string().as_bytes());
        if let Ok(value) = HeaderValue::from_bytes(&chain) {
            headers.insert(X_FORWARDED_FOR, value);
        }
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
}

/// A header's text when it is there and visible ASCII.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `Prefer` asks for `respond-async` (RFC 7240). Names are case-insensitive; `respond-async` has no value.
pub(crate) fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        split_unquoted(value, b',').any(|preference| {
            let token = split_unquoted(preference, b';').next().unwrap_or_default();
            let name = token.split_once('=').map_or(token, |(name, _)| name);
            name.trim().eq_ignore_ascii_case("respond-async")
        })
    })
}

/// Splits at `separator` outside of quoted strings.
fn split_unquoted(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (index, byte) in current.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == separator && !quoted => {
                    rest = Some(&current[index + 1..]);
                    return Some(&current[..index]);
                }
                _ => {}
            }
        }
        rest = None;
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn respond_async_is_found_as_rfc_7240_spells_it() {
        for (value, expected) in [
            ("respond-async", true),
            ("Respond-Async", true),
            ("respond-async, wait=10", true),
            ("wait=10 , respond-async;foo=bar", true),
            ("return=minimal; x=\"a, respond-async\"", false),
            ("x=\"a\\\", respond-async\"", false),
            ("respond-async=\"\"", true),
            ("no-respond-async", false),
            ("respond-async-not", false),
            ("", false),
        ] {
            assert_eq!(prefers_async(&headers(&[("prefer", value)])), expected, "{value}");
        }
        assert!(prefers_async(&headers(&[("prefer", "wait=3"), ("prefer", "respond-async")])));
    }

    #[test]
    fn headers_of_one_hop_go_no_farther() {
        let mut map = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("authorization", "Bearer a"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("authorization", "Bearer a")]));
    }

    #[test]
    fn the_caller_is_appended_to_the_chain() {
        let mut map = headers(&[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut map, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(map["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        assert_eq!(map["x-forwarded-proto"], "https");
    }

    #[test]
    fn the_account_of_a_call_replaces_what_others_said() {
        let mut map = headers(&[("mainstay-shared", "1"), ("mainstay-cost", "9"), ("x-request-id", "r")]);
        let account = Account {
            target: Some("azure-eu/gpt-4o".to_owned()),
            attempts: 2,
            deadline: Some(Duration::from_millis(1500)),
            max_cost: Some(Usd(250_000)),
            ..Account::default()
        };
        account.write(&mut map);
        let expected = headers(&[
            ("x-request-id", "r"),
            ("mainstay-target", "azure-eu/gpt-4o"),
            ("mainstay-attempts", "2"),
            ("mainstay-deadline", "1500"),
            ("mainstay-max-cost", "0.250000"),
        ]);
        assert_eq!(map, expected);
    }

    proptest! {
        #[test]
        fn any_preference_is_read_without_panic(text in "[ -~]{0,60}") {
            let map: HeaderMap = [(PREFER, HeaderValue::from_str(&text).unwrap())].into_iter().collect();
            let _ = prefers_async(&map);
        }
    }
}
