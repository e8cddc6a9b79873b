//! Incidents that somebody else keeps: opened, acknowledged and ended by a key.

use std::{collections::BTreeMap, time::Duration};

use mainstay_base::Secret;
use serde_json::{Value, json};

use super::{
    Alert, Notice, Severity, What, Words,
    call::alert_json,
    words::{cut, iso},
};

/// How long an Alertmanager keeps an alert that it hears no more of. It is told of the end; this is for when nobody can.
const ALERTMANAGER_KEEPS: Duration = Duration::from_secs(24 * 3600);
/// Opsgenie's limits of details and of one tag.
const MAX_DETAILS_CHARS: usize = 8_000;
const MAX_ENTITY_CHARS: usize = 512;
/// PagerDuty's limit of `dedup_key`, below Opsgenie's of `alias` (512).
const MAX_KEY_CHARS: usize = 255;
/// One value among PagerDuty's details, whose event may have 512 KB.
const MAX_DETAIL_CHARS: usize = 1_000;
const SOURCE: &str = "mainstay";

pub(super) fn pagerduty(routing_key: &Secret, notice: &Notice, words: &Words) -> Value {
    let action = match notice.what {
        What::Acknowledged => "acknowledge",
        What::Resolved => "resolve",
        What::Firing | What::Escalated | What::Reminder | What::Test => "trigger",
    };
    let mut event = json!({
        "routing_key": routing_key.expose(),
        "event_action": action,
        "dedup_key": cut(&notice.key, MAX_KEY_CHARS),
    });
    if action == "trigger" {
        let first = notice.alerts.first();
        event["client"] = json!(SOURCE);
        event["payload"] = json!({
            "summary": words.title,
            "source": first.map_or(SOURCE, |alert| &alert.component),
            "severity": match notice.severity {
                Severity::Page => "critical",
                Severity::Warning => "warning",
                Severity::Info => "info",
            },
            "timestamp": iso(notice.at),
            "component": first.map(|alert| &alert.component),
            "custom_details": {
                "text": words.body,
                "alerts": notice.alerts.iter().map(brief).collect::<Vec<_>>(),
                "more": notice.more,
            },
        });
    }
    event
}

/// The path after `/v2/alerts`, and the body.
pub(super) fn opsgenie(notice: &Notice, words: &Words) -> (String, Value) {
    let alias = cut(&notice.key, MAX_KEY_CHARS);
    let of_alias = |action: &str| format!("/{}/{action}?identifierType=alias", escaped_path(&alias));
    match notice.what {
        What::Acknowledged => (
            of_alias("acknowledge"),
            json!({ "source": SOURCE, "user": notice.by, "note": cut(&words.body, 1_000) }),
        ),
        What::Resolved => (of_alias("close"), json!({ "source": SOURCE, "note": cut(&words.body, 1_000) })),
        What::Firing | What::Escalated | What::Reminder | What::Test => {
            let priority = match notice.severity {
                Severity::Page => "P1",
                Severity::Warning => "P3",
                Severity::Info => "P5",
            };
            let component = notice.alerts.first().map_or("", |alert| &alert.component);
            let body = json!({
                "message": words.title,
                "alias": alias,
                "description": words.body,
                "priority": priority,
                "source": SOURCE,
                "entity": cut(component, MAX_ENTITY_CHARS),
                "details": details(notice),
            });
            (String::new(), body)
        }
    }
}

/// The first alert's labels, as many as are allowed.
fn details(notice: &Notice) -> BTreeMap<&str, &str> {
    let labels = notice.alerts.first().into_iter().flat_map(|alert| &alert.labels);
    let mut left = MAX_DETAILS_CHARS;
    let fits = |(name, value): &(&String, &String)| {
        let needed = name.chars().count() + value.chars().count();
        let fits = needed <= left;
        left = left.saturating_sub(needed);
        fits
    };
    labels.take_while(fits).map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// What a pager shows of an alert, so that all of them are well below its limit.
fn brief(alert: &Alert) -> Value {
    let mut value = alert_json(alert);
    for text in value.as_object_mut().into_iter().flat_map(serde_json::Map::values_mut) {
        if let Value::String(text) = text {
            *text = cut(text, MAX_DETAIL_CHARS);
        }
    }
    value
}

/// Its labels name an alert: the same ones end it that began it. Whatever severity it had before is ended with every call,
/// because a changed label makes another alert.
pub(super) fn alertmanager(notice: &Notice, words: &Words) -> Value {
    let until = iso(notice.at + ALERTMANAGER_KEEPS);
    let ended = iso(notice.at);
    let mut all = Vec::new();
    for alert in &notice.alerts {
        for severity in [Severity::Info, Severity::Warning, Severity::Page] {
            let is_open =
                severity == alert.severity && notice.what != What::Resolved && alert.resolved_at.is_none();
            if !is_open && severity == Severity::Info && alert.severity != Severity::Info {
                continue;
            }
            let mut labels: BTreeMap<String, String> =
                alert.labels.iter().map(|(name, value)| (label_name(name), value.clone())).collect();
            for (name, value) in [
                ("alertname", "Mainstay"),
                ("severity", severity.as_str()),
                ("component", &alert.component),
                ("alert_id", &alert.alert_id),
            ] {
                labels.insert(name.to_owned(), value.to_owned());
            }
            all.push(json!({
                "labels": labels,
                "annotations": { "summary": alert.summary, "title": words.title, "description": words.body },
                "startsAt": iso(alert.opened_at),
                "endsAt": if is_open { &until } else { &ended },
            }));
        }
    }
    all.into()
}

fn label_name(name: &str) -> String {
    let mut made: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if made.starts_with(|c: char| c.is_ascii_digit()) || made.is_empty() {
        made.insert(0, '_');
    }
    made
}

/// Keys are ids; anything else is escaped byte by byte.
fn escaped_path(text: &str) -> String {
    let mut made = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            made.push(char::from(byte));
        } else {
            made.push_str(&format!("%{byte:02X}"));
        }
    }
    made
}
