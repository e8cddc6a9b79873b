//! What a caller of the model path asks for in headers: until when, at what cost, where, with which data, on whose
//! behalf. Read strictly: a term that was misread would be broken without anybody noticing.

use std::time::Duration;

use http::{HeaderMap, HeaderName, request::Parts};
use mainstay_base::{Usd, snapshot::ModelKey};

use crate::path::{
    failure::{Failure, Reason},
    headers::{
        MAINSTAY_APP, MAINSTAY_DATA_CLASS, MAINSTAY_DEADLINE, MAINSTAY_MAX_COST, MAINSTAY_REGION,
        MAINSTAY_WORKFLOW,
    },
    normalize::model::below_app,
};

const MAX_WORD_BYTES: usize = 64;
const MAX_ATTRIBUTION_BYTES: usize = 256;
/// A day: beyond it a number is a mistake in the unit.
const MAX_DEADLINE_MS: u64 = 24 * 60 * 60 * 1000;
const MAX_COST_DOLLARS: i64 = 1_000_000;

/// The terms of one call, the key's included. All absent on the app path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_cost: Option<Usd>,
    pub(crate) region: Option<String>,
    pub(crate) data_class: Option<String>,
    pub(crate) app: Option<String>,
    pub(crate) workflow: Option<String>,
}

impl Terms {
    pub(crate) fn read(head: &Parts, key: &ModelKey) -> Result<Terms, Failure> {
        // Most callers set none of them: one look instead of six.
        let says = head.headers.keys().any(|name| name.as_str().starts_with("mainstay-"));
        let headers = if says { &head.headers } else { &HeaderMap::new() };
        let app = attribution(headers, &MAINSTAY_APP, "Mainstay-App")?;
        let workflow = attribution(headers, &MAINSTAY_WORKFLOW, "Mainstay-Workflow")?;
        let app_of_path = app_of_path(head.uri.path())?;
        Ok(Terms {
            deadline: once(headers, &MAINSTAY_DEADLINE, "Mainstay-Deadline", deadline)?,
            max_cost: once(headers, &MAINSTAY_MAX_COST, "Mainstay-Max-Cost", max_cost)?,
            region: demand(headers, &MAINSTAY_REGION, "Mainstay-Region", key.region.as_deref())?,
            data_class: demand(
                headers,
                &MAINSTAY_DATA_CLASS,
                "Mainstay-Data-Class",
                key.data_class.as_deref(),
            )?,
            // What the key says is proven; what a caller says is believed only where the key leaves it open.
            app: key.app.clone().or(app_of_path).or(app),
            workflow: key.workflow.clone().or(workflow),
        })
    }
}

fn once<T>(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &'static str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Option<T>, Failure> {
    let refuse = |why| Failure::new(Reason::BadHeader { name, why }, format!("{name} {why}"));
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("is there twice"));
    }
    let text = value.to_str().map_err(|_| refuse("must be visible ASCII"))?;
    read(text.trim()).map(Some).map_err(refuse)
}

fn deadline(text: &str) -> Result<Duration, &'static str> {
    let why = "must be whole milliseconds from now, 1 to 86400000";
    match whole(text) {
        Some(ms @ 1..=MAX_DEADLINE_MS) => Ok(Duration::from_millis(ms)),
        _ => Err(why),
    }
}

fn max_cost(text: &str) -> Result<Usd, &'static str> {
    let why = "must be dollars, at most 1000000, with at most six decimals, as 0.25";
    let (dollars, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let dollars = whole(dollars).and_then(|dollars| i64::try_from(dollars).ok()).ok_or(why)?;
    let scale = 10_i64.pow(u32::try_from(6_usize.checked_sub(decimals.len()).ok_or(why)?).map_err(|_| why)?);
    let micros = whole(decimals).and_then(|micros| i64::try_from(micros).ok()).ok_or(why)? * scale;
    match dollars.checked_mul(1_000_000).and_then(|whole| whole.checked_add(micros)) {
        Some(micros) if micros <= MAX_COST_DOLLARS * 1_000_000 => Ok(Usd(micros)),
        _ => Err(why),
    }
}

/// Digits and nothing else: `parse` takes a sign too.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A region or class of data: the key's when it has one, which a caller may repeat and not change.
fn demand(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &'static str,
    of_key: Option<&str>,
) -> Result<Option<String>, Failure> {
    let asked = once(headers, header, name, |text| match is_word(text, MAX_WORD_BYTES) {
        true => Ok(text.to_owned()),
        false => Err("must be a word of at most 64 letters, digits, '-', '_' and '.'"),
    })?;
    match (asked, of_key) {
        (Some(asked), Some(of_key)) if asked != of_key => {
            let why = "is not what this key is for";
            Err(Failure::new(Reason::BadHeader { name, why }, format!("{name} contradicts the key")))
        }
        (asked, of_key) => Ok(of_key.map(str::to_owned).or(asked)),
    }
}

fn attribution(
    headers: &HeaderMap,
    header: &HeaderName,
    name: &'static str,
) -> Result<Option<String>, Failure> {
    once(headers, header, name, |text| match (1..=MAX_ATTRIBUTION_BYTES).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err("must have 1 to 256 characters"),
    })
}

fn app_of_path(path: &str) -> Result<Option<String>, Failure> {
    match below_app(path) {
        None => Ok(None),
        Some((app, _)) if is_word(app, MAX_ATTRIBUTION_BYTES) && !matches!(app, "." | "..") => {
            Ok(Some(app.to_owned()))
        }
        Some(_) => Err(Failure::new(Reason::BadPath, "the app in the path is no word")),
    }
}

fn is_word(text: &str, max_bytes: usize) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=max_bytes).contains(&text.len()) && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    fn read(path: &str, pairs: &[(&'static str, &'static str)], key: &ModelKey) -> Result<Terms, Reason> {
        let mut request = Request::builder().uri(path);
        for (name, value) in pairs {
            request = request.header(*name, HeaderValue::from_static(value));
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        Terms::read(&head, key).map_err(|failure| failure.reason)
    }

    #[test]
    fn terms_are_read_to_the_micro_dollar_and_millisecond() {
        for (text, micros) in
            [("0", 0), ("0.25", 250_000), ("1", 1_000_000), ("0.000001", 1), ("1000000", 1_000_000_000_000)]
        {
            assert_eq!(max_cost(text), Ok(Usd(micros)), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5x",
            "-1",
            "+1",
            "1e3",
            "0.0000001",
            "1000000.000001",
            "99999999999999999999",
            "1,5",
        ] {
            assert!(max_cost(text).is_err(), "{text}");
        }
        assert_eq!(deadline("1500"), Ok(Duration::from_millis(1500)));
        for text in ["", "0", "-1", "+1", "1.5", "86400001", "5s", "99999999999999999999999"] {
            assert!(deadline(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_malformed_term_is_named() {
        let key = ModelKey::named("k");
        for (pairs, named) in [
            (&[("mainstay-deadline", "soon")][..], "Mainstay-Deadline"),
            (&[("mainstay-deadline", "1"), ("mainstay-deadline", "1")], "Mainstay-Deadline"),
            (&[("mainstay-max-cost", "free")], "Mainstay-Max-Cost"),
            (&[("mainstay-region", "e u")], "Mainstay-Region"),
            (&[("mainstay-data-class", "")], "Mainstay-Data-Class"),
            (&[("mainstay-app", "")], "Mainstay-App"),
        ] {
            match read("/v1/models", pairs, &key) {
                Err(Reason::BadHeader { name, .. }) => assert_eq!(name, named),
                other => panic!("{pairs:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_caller_is_believed_where_the_key_leaves_it_open() {
        let open = ModelKey::named("open");
        let fixed = ModelKey {
            app: Some("orders".into()),
            workflow: Some("w1".into()),
            region: Some("eu".into()),
            ..ModelKey::named("fixed")
        };
        let said = &[("mainstay-app", "other"), ("mainstay-workflow", "w2")][..];
        let app = |path: &str, key: &ModelKey| read(path, said, key).unwrap().app.unwrap();
        assert_eq!(app("/v1/models", &open), "other");
        assert_eq!(app("/apps/billing/v1/models", &open), "billing");
        assert_eq!(app("/apps/billing/v1/models", &fixed), "orders");
        assert_eq!(read("/v1/models", said, &fixed).unwrap().workflow.as_deref(), Some("w1"));
        assert_eq!(read("/v1/models", &[], &fixed).unwrap().region.as_deref(), Some("eu"));
        assert!(read("/v1/models", &[("mainstay-region", "eu")], &fixed).is_ok());
        assert!(read("/v1/models", &[("mainstay-region", "us")], &fixed).is_err());
        for path in ["/apps/../v1/models", "/apps/a%2Fb/v1/models", "/apps/./v1"] {
            assert_eq!(read(path, &[], &open), Err(Reason::BadPath), "{path}");
        }
    }
}
