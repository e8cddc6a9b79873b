//! Chats: what people read of a notice, in the form of each.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use mainstay_base::{Micros, Secret};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Notice, Severity, What, Words};

pub(super) fn slack(notice: &Notice, words: &Words) -> Value {
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

pub(super) fn teams(notice: &Notice, words: &Words) -> Value {
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
pub(super) fn paragraphs(body: &str) -> String {
    body.lines().collect::<Vec<_>>().join("\n\n")
}

pub(super) fn feishu(secret: Option<&Secret>, notice: &Notice, words: &Words, now: Micros) -> Value {
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

pub(super) fn dingtalk_url(url: &Secret, secret: Option<&Secret>, now: Micros) -> String {
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
