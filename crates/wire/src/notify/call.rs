//! A notice as one HTTP call, in the dialect of its receiver.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use mainstay_base::{Micros, Secret};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    Alert, Channel, Kind, Notice, Severity, What, Words,
    words::{cut, iso},
};
use crate::webhook;

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

/// A POST. Its address may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub url: Secret,
    /// Besides the content type, which is JSON.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// `id` is the delivery's, the same for every try; `now` the time of this try, which some sign. `None` for a kind that
/// is not told by HTTP.
pub fn call(channel: &Channel, notice: &Notice, words: &Words, id: &str, now: Micros) -> Option<Call> {
    let plain = |url: String, body: Value| Call {
        url: Secret::new(url),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    let call = match channel {
        Channel::Webhook { url, secret } => webhook_call(url, secret.as_ref(), notice, id, now),
        Channel::Slack { url } => plain(url.expose().to_owned(), slack(notice, words)),
        Channel::Teams { url } => plain(url.expose().to_owned(), teams(notice, words)),
        Channel::Pagerduty { url, routing_key } => {
            plain(format!("{}/v2/enqueue", trimmed(url)), pagerduty(routing_key, notice, words))
        }
        Channel::Opsgenie { url, api_key } => {
            let (path, body) = opsgenie(notice, words);
            let mut call = plain(format!("{}/v2/alerts{path}", trimmed(url)), body);
            call.headers.push(("authorization", format!("GenieKey {}", api_key.expose())));
            call
        }
        Channel::Feishu { url, secret } => {
            plain(url.expose().to_owned(), feishu(secret.as_ref(), notice, words, now))
        }
        Channel::Dingtalk { url, secret } => {
            let text = format!("#### {}\n\n{}", words.title, paragraphs(&words.body));
            let body = json!({ "msgtype": "markdown", "markdown": { "title": words.title, "text": text } });
            plain(dingtalk_url(url, secret.as_ref(), now), body)
        }
        Channel::Wecom { url } => {
            let content = format!("**{}**\n{}", words.title, words.body);
            plain(
                url.expose().to_owned(),
                json!({ "msgtype": "markdown", "markdown": { "content": content } }),
            )
        }
        Channel::Telegram { url, token, chat, topic } => {
            let mut body = json!({
                "chat_id": chat,
                "text": format!("<b>{}</b>\n{}", words.title, words.body),
                "parse_mode": "HTML",
                "link_preview_options": { "is_disabled": true },
            });
            if let Some(topic) = topic {
                body["message_thread_id"] = json!(topic);
            }
            plain(format!("{}/bot{}/sendMessage", trimmed(url), token.expose()), body)
        }
        Channel::Alertmanager { url, token } => {
            let mut call = plain(format!("{}/api/v2/alerts", trimmed(url)), alertmanager(notice, words));
            if let Some(token) = token {
                call.headers.push(("authorization", format!("Bearer {}", token.expose())));
            }
            call
        }
        Channel::Email(_) => return None,
    };
    Some(call)
}

fn trimmed(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn webhook_call(url: &Secret, secret: Option<&Secret>, notice: &Notice, id: &str, now: Micros) -> Call {
    let body = webhook_body(notice).to_string().into_bytes();
    let seconds = now.unix_seconds();
    let mut headers =
        vec![(webhook::HEADER_ID, id.to_owned()), (webhook::HEADER_TIMESTAMP, seconds.to_string())];
    // The configuration was refused if this secret is none.
    if let Some(key) = secret.and_then(|secret| webhook::Key::parse(secret.expose()).ok()) {
        headers.push((webhook::HEADER_SIGNATURE, key.sign(id, seconds, &body)));
    }
    Call { url: url.clone(), headers, body }
}

/// `data` begins with what the first alert says, as webhooks always did; `alerts` has all.
pub fn webhook_body(notice: &Notice) -> Value {
    let Notice { what, key, number, severity, title, at, by, escalation, alerts, more } = notice;
    let mut data = serde_json::Map::new();
    if let Some(first) = alerts.first() {
        let Alert { alert_id, component, state, reason, summary, cause, remedy, .. } = first;
        let pairs = [
            ("alert_id", alert_id.as_str()),
            ("severity", severity.as_str()),
            ("component", component),
            ("state", state),
            ("reason", reason),
            ("summary", summary),
        ];
        data.extend(pairs.map(|(name, value)| (name.to_owned(), json!(value))));
        for (name, value) in [("cause", cause), ("remedy", remedy)] {
            if !value.is_empty() {
                data.insert(name.to_owned(), json!(value));
            }
        }
    }
    data.insert("key".to_owned(), json!(key));
    data.insert("number".to_owned(), json!(number));
    data.insert("title".to_owned(), json!(title));
    if let Some(by) = by {
        data.insert("by".to_owned(), json!(by));
    }
    if let Some(escalation) = escalation {
        data.insert("escalation".to_owned(), json!(escalation));
    }
    let alerts: Vec<Value> = alerts.iter().map(alert_json).collect();
    data.insert("alerts".to_owned(), alerts.into());
    data.insert("more".to_owned(), json!(more));
    json!({ "type": format!("alert.{}", what.as_str()), "timestamp": iso(*at), "data": data })
}

fn alert_json(alert: &Alert) -> Value {
    let mut value = json!(alert);
    value["opened_at"] = json!(iso(alert.opened_at));
    if let Some(at) = alert.resolved_at {
        value["resolved_at"] = json!(iso(at));
    }
    value
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

fn slack(notice: &Notice, words: &Words) -> Value {
    let section = |text: &str| json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } });
    let mut blocks = vec![section(&format!("*{}*", words.title))];
    if !words.body.is_empty() {
        blocks.push(section(&words.body));
    }
    let color = match (notice.what, notice.severity) {
        (What::Resolved, _) => "#2eb67d",
        (_, Severity::Page) => "#e01e5a",
        (_, Severity::Warning) => "#ecb22e",
        (_, Severity::Info) => "#36c5f0",
    };
    json!({ "text": words.title, "attachments": [{ "color": color, "blocks": blocks }] })
}

fn teams(notice: &Notice, words: &Words) -> Value {
    let color = match (notice.what, notice.severity) {
        (What::Resolved, _) => "good",
        (_, Severity::Page) => "attention",
        (_, Severity::Warning) => "warning",
        (_, Severity::Info) => "accent",
    };
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": { "width": "Full" },
        "body": [
            { "type": "TextBlock", "text": words.title, "size": "large", "weight": "bolder", "color": color, "wrap": true },
            { "type": "TextBlock", "text": paragraphs(&words.body), "wrap": true },
        ],
    });
    let attachment = json!({ "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card });
    json!({ "type": "message", "attachments": [attachment] })
}

/// Dialects of Markdown that join lines keep paragraphs apart.
fn paragraphs(body: &str) -> String {
    body.lines().collect::<Vec<_>>().join("\n\n")
}

fn pagerduty(routing_key: &Secret, notice: &Notice, words: &Words) -> Value {
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
fn opsgenie(notice: &Notice, words: &Words) -> (String, Value) {
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

fn feishu(secret: Option<&Secret>, notice: &Notice, words: &Words, now: Micros) -> Value {
    let template = match (notice.what, notice.severity) {
        (What::Resolved, _) => "green",
        (_, Severity::Page) => "red",
        (_, Severity::Warning) => "orange",
        (_, Severity::Info) => "blue",
    };
    let card = json!({
        "config": { "wide_screen_mode": true },
        "header": { "template": template, "title": { "tag": "plain_text", "content": words.title } },
        "elements": [{ "tag": "div", "text": { "tag": "lark_md", "content": words.body } }],
    });
    let mut body = json!({ "msg_type": "interactive", "card": card });
    if let Some(secret) = secret {
        // The text to sign is the key here, and nothing is signed with it.
        let seconds = now.unix_seconds().to_string();
        body["sign"] = json!(sign(&format!("{seconds}\n{}", secret.expose()), ""));
        body["timestamp"] = json!(seconds);
    }
    body
}

fn dingtalk_url(url: &Secret, secret: Option<&Secret>, now: Micros) -> String {
    let url = url.expose();
    let Some(secret) = secret else { return url.to_owned() };
    let millis = now.0 / 1_000;
    let signature = sign(secret.expose(), &format!("{millis}\n{}", secret.expose()));
    let sign = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}timestamp={millis}&sign={sign}")
}

/// The base64 of HMAC-SHA256.
fn sign(key: &str, text: &str) -> String {
    // A key may have any length, so there is always a code.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else { return String::new() };
    mac.update(text.as_bytes());
    BASE64.encode(mac.finalize().into_bytes())
}

/// Its labels name an alert: the same ones end it that began it. Whatever severity it had before is ended with every call,
/// because a changed label makes another alert.
fn alertmanager(notice: &Notice, words: &Words) -> Value {
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

/// What a preview shows: the body as people can read it, without secrets.
pub fn shown(channel: &Channel, call: &Call) -> String {
    let body = serde_json::from_slice::<Value>(&call.body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_default();
    match channel.kind() {
        Kind::Webhook => body,
        _ => channel.redact(&body),
    }
}
