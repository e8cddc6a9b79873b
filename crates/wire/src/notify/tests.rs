//! Each kind's body by example, what its answers mean, and that nothing gets out of its place.

use std::{fmt::Write as _, time::Duration};

use mainstay_base::{Micros, Secret};
use serde_json::Value;

use super::*;

const AT: Micros = Micros(1_800_000_000_000_000);

fn secret(text: &str) -> Secret {
    Secret::new(text)
}

fn channels() -> Vec<Channel> {
    let url = || secret("https://hooks.example/services/T0/B0/hook-key");
    vec![
        Channel::Webhook { url: url(), secret: Some(secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")) },
        Channel::Slack { url: url() },
        Channel::Teams { url: url() },
        Channel::Pagerduty { url: "https://events.example".into(), routing_key: secret("ROUTING-KEY") },
        Channel::Opsgenie { url: "https://api.example/".into(), api_key: secret("API-KEY") },
        Channel::Feishu { url: url(), secret: Some(secret("FEISHU-SECRET")) },
        Channel::Dingtalk {
            url: secret("https://d.example/send?access_token=TOKEN"),
            secret: Some(secret("SECabc")),
        },
        Channel::Wecom { url: secret("https://w.example/send?key=KEY") },
        Channel::Telegram {
            url: "https://t.example".into(),
            token: secret("123:TOKEN"),
            chat: "-100".into(),
            topic: Some(7),
        },
        Channel::Alertmanager { url: "http://am.example:9093".into(), token: None },
    ]
}

fn made(channel: &Channel, notice: &Notice) -> Call {
    call(channel, notice, &words(notice, channel.kind()), "alert-1", AT).unwrap()
}

#[test]
fn every_kind_is_told_in_its_own_dialect() {
    let mut all = String::new();
    for channel in channels() {
        for what in [What::Firing, What::Acknowledged, What::Resolved] {
            if !channel.kind().wants(what) {
                continue;
            }
            let call = made(&channel, &Notice::sample(what, AT));
            let body: Value = serde_json::from_slice(&call.body).unwrap();
            let _ = writeln!(all, "== {} {} {}", channel.kind().as_str(), what.as_str(), call.url.expose());
            for (name, value) in &call.headers {
                let _ = writeln!(all, "{name}: {value}");
            }
            let _ = writeln!(all, "{}", serde_json::to_string_pretty(&body).unwrap());
        }
    }
    insta::assert_snapshot!("dialects", all);
}

// Who was paged and reads "resolved" goes to sleep; an alert that was put into the shadow is not resolved.
#[test]
fn the_end_of_telling_is_told_apart_from_the_end_of_the_trouble() {
    let over = Notice::sample(What::Resolved, AT);
    let mut shadowed = over.clone();
    shadowed.alerts[0].resolved_at = None;
    shadowed.alerts[0].state = "down".to_owned();
    for kind in channels().iter().map(Channel::kind) {
        let (over, shadowed) = (words(&over, kind), words(&shadowed, kind));
        assert!(over.title.contains("Resolved") && !over.body.contains("It goes on"), "{over:?}");
        assert!(!shadowed.title.contains("Resolved") && shadowed.title.contains("No longer told"));
        assert!(shadowed.body.contains("It goes on") && shadowed.body.contains("is down since"));
    }
}

// Values computed with another implementation of HMAC-SHA256.
#[test]
fn signatures_are_those_of_the_vendors() {
    let feishu = channels().remove(5);
    let body: Value = serde_json::from_slice(&made(&feishu, &Notice::sample(What::Test, AT)).body).unwrap();
    assert_eq!(
        (body["timestamp"].as_str(), body["sign"].as_str()),
        (Some("1800000000"), Some("4nNJbMOclNaaIRFo/Wo4aTpzoUWO2G7EtCg+PzPUZNc="))
    );
    let url = made(&channels().remove(6), &Notice::sample(What::Test, AT)).url;
    assert_eq!(
        url.expose(),
        "https://d.example/send?access_token=TOKEN&timestamp=1800000000000&sign=s70k7%2FiqeFJrhlEAPSnI9WrGLqC5YHz9Hg5m2rQkeQk%3D"
    );
}

/// What a provider's error might say.
const HOSTILE: &str = "<!channel> <@U1> <b>&amp;</b> [x](http://evil) @all \u{0} \n\r \"quoted\" \\ 漢字";

#[test]
fn hostile_words_stay_words_and_long_ones_are_cut() {
    for repeat in [1, 400] {
        let text = HOSTILE.repeat(repeat);
        let mut notice = Notice::sample(What::Firing, AT);
        notice.title = text.clone();
        let mut alert = notice.alerts[0].clone();
        alert.component = text.clone();
        alert.reason = text.clone();
        alert.cause = text.clone();
        alert.summary = text;
        notice.alerts = vec![alert; MAX_ALERTS];
        for channel in channels() {
            let kind = channel.kind();
            let words = words(&notice, kind);
            assert!(words.title.chars().count() <= kind.limits().title_chars, "{}", kind.as_str());
            assert!(words.body.len() <= kind.limits().body_bytes, "{}: {}", kind.as_str(), words.body.len());
            assert!(!words.title.contains(['\n', '\u{0}']));
            match kind.markup() {
                Markup::Slack => assert!(!words.body.contains(['<', '>']), "no mention, no link"),
                Markup::Html => {
                    let rest = words.body.replace("<b>", "").replace("</b>", "");
                    assert!(!rest.contains(['<', '>']));
                    assert_eq!(words.body.matches("<b>").count(), words.body.matches("</b>").count());
                }
                Markup::Markdown => {
                    assert!(!words.body.contains("](") && !words.body.contains(['<', '>', '@']));
                }
                Markup::Plain => {}
            }
            let call = call(&channel, &notice, &words, "alert-1", AT).unwrap();
            let most = match kind {
                Kind::Feishu => 20 * 1024,
                Kind::Dingtalk => 20_000,
                Kind::Teams => 28 * 1024,
                Kind::Wecom | Kind::Telegram => 4_096 + 200,
                Kind::Slack => 16 * 1024,
                Kind::Pagerduty => 512 * 1024,
                _ => usize::MAX,
            };
            assert!(call.body.len() <= most, "{}: {} bytes", kind.as_str(), call.body.len());
        }
    }
}

#[test]
fn answers_are_judged_by_what_they_say() {
    let minute = Some(Duration::from_secs(60));
    for (kind, status, body, expected, rest) in [
        (Kind::Webhook, 204, "", "delivered", None),
        (Kind::Webhook, 302, "", "redirects", None),
        (Kind::Webhook, 410, "", "refused", None),
        (Kind::Webhook, 500, "", "answered 500", None),
        (Kind::Slack, 200, "ok", "delivered", None),
        (Kind::Slack, 404, "no_service", "answered 404: no_service", None),
        (Kind::Slack, 429, "", "too many", minute),
        (Kind::Teams, 202, "", "delivered", None),
        (Kind::Teams, 200, "Webhook message delivery failed with error: HTTP error 429", "failed", None),
        (Kind::Pagerduty, 202, r#"{"status":"success"}"#, "delivered", None),
        (Kind::Pagerduty, 400, r#"{"status":"invalid event"}"#, "invalid event", None),
        (Kind::Opsgenie, 202, r#"{"result":"Request will be processed"}"#, "delivered", None),
        (Kind::Feishu, 200, r#"{"code":0,"msg":"success"}"#, "delivered", None),
        (Kind::Feishu, 200, r#"{"StatusCode":0}"#, "delivered", None),
        (Kind::Feishu, 200, r#"{"code":19021,"msg":"sign match fail"}"#, "code 19021", None),
        (Kind::Feishu, 200, r#"{"code":11232,"msg":"too many"}"#, "code 11232", minute),
        (Kind::Feishu, 200, "", "without a code", None),
        (Kind::Dingtalk, 200, r#"{"errcode":0,"errmsg":"ok"}"#, "delivered", None),
        (Kind::Dingtalk, 200, r#"{"errcode":310000,"errmsg":"sign not match"}"#, "code 310000", None),
        (Kind::Dingtalk, 200, r#"{"errcode":130101,"errmsg":"send too fast"}"#, "code 130101", minute),
        (Kind::Wecom, 200, r#"{"errcode":0}"#, "delivered", None),
        (Kind::Wecom, 200, r#"{"errcode":45009}"#, "code 45009", minute),
        (Kind::Telegram, 200, r#"{"ok":true,"result":{}}"#, "delivered", None),
        (Kind::Telegram, 400, r#"{"ok":false,"description":"chat not found"}"#, "chat not found", None),
        (Kind::Telegram, 429, r#"{"ok":false,"parameters":{"retry_after":60}}"#, "too many", minute),
        (Kind::Alertmanager, 200, "", "delivered", None),
    ] {
        let (said, rested) = match judge(kind, status, None, body.as_bytes()) {
            Answer::Delivered => ("delivered".to_owned(), None),
            Answer::Refused(why) => (format!("refused {why}"), None),
            Answer::Failed { error, rest } => (error, rest),
        };
        assert!(said.contains(expected), "{} {status} {body}: {said}", kind.as_str());
        assert_eq!(rested, rest, "{} {status} {body}", kind.as_str());
    }
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    for channel in channels() {
        let call = made(&channel, &Notice::sample(What::Firing, AT));
        let shown = shown(&channel, &call);
        let echoed = channel.redact(&format!("{} {} {shown}", call.url.expose(), call.headers.len()));
        for secret in
            ["hook-key", "ROUTING-KEY", "API-KEY", "FEISHU-SECRET", "SECabc", "123:TOKEN", "=TOKEN", "=KEY"]
        {
            assert!(!echoed.contains(secret), "{}: {secret} in {echoed}", channel.kind().as_str());
        }
        assert!(!format!("{channel:?}").contains("hook-key"));
    }
}
