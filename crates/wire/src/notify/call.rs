//! A notice as one HTTP call, in the dialect of its receiver.

use mainstay_base::{Micros, Secret};
use serde_json::{Value, json};

use super::{
    Alert, Channel, Kind, Notice, Words,
    chat::{dingtalk_url, feishu, paragraphs, slack, teams},
    incident::{alertmanager, opsgenie, pagerduty},
    words::iso,
};
use crate::webhook;

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

pub(super) fn alert_json(alert: &Alert) -> Value {
    let mut value = json!(alert);
    value["opened_at"] = json!(iso(alert.opened_at));
    if let Some(at) = alert.resolved_at {
        value["resolved_at"] = json!(iso(at));
    }
    value
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
