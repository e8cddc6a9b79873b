//! Takes secrets out of texts, in every form in which they may stand there.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use mainstay_base::Secret;
use mainstay_dify::{Deployment, deployment::RedisAt, discovery::dotenv};
use serde_json::Value;

pub(super) const REMOVED: &str = "(removed)";
/// Shorter ones would take words out of every text; nobody is kept out by them.
const SHORTEST_SECRET: usize = 4;
/// A variable is a secret if its name says so.
const NAMES_OF_SECRETS: [&str; 6] = ["PASSWORD", "SECRET", "TOKEN", "_KEY", "_KEYS", "CREDENTIALS"];

/// What has to be taken out.
pub(super) struct Scrub {
    forms: Vec<String>,
}

impl Scrub {
    /// The secrets of the deployment, and those that stand in these texts of dotenv files: also what nothing here reads,
    /// because a server may say it in an error.
    pub(super) fn new(deployment: &Deployment, dotenv_texts: &[String]) -> Scrub {
        let mut all: Vec<Secret> = secrets(deployment).into_iter().cloned().collect();
        all.extend(dotenv_texts.iter().flat_map(|text| of_dotenv(text)));
        Scrub { forms: forms(&all) }
    }

    pub(super) fn text(&self, text: String) -> String {
        let text = self.forms.iter().fold(text, |text, form| text.replace(form.as_str(), REMOVED));
        without_logins(&text)
    }
}

fn of_dotenv(text: &str) -> Vec<Secret> {
    let variables = dotenv::parse(text, &|_| None).variables;
    let is_secret = |name: &str| {
        let name = name.to_uppercase();
        name.contains("PASSWORD") || NAMES_OF_SECRETS.iter().any(|end| name.ends_with(end))
    };
    variables.into_iter().filter(|(name, _)| is_secret(name)).map(|(_, value)| Secret::new(value)).collect()
}

/// `scheme://user:password@host` without what stands before the host, whoever's it is.
fn without_logins(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = after.find(|letter: char| letter.is_whitespace() || "/?#\"'<>\\".contains(letter));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(login) if authority[..login].contains(':') => {
                clean.push_str(REMOVED);
                &after[login..]
            }
            _ => after,
        };
    }
    clean.push_str(rest);
    clean
}

/// Every form in which a secret may stand in a text, the longest first.
fn forms(secrets: &[Secret]) -> Vec<String> {
    let mut forms = BTreeSet::new();
    for secret in secrets {
        let secret = secret.expose();
        if secret.len() < SHORTEST_SECRET {
            continue;
        }
        forms.insert(secret.to_owned());
        let escaped = Value::from(secret).to_string();
        forms.insert(escaped.trim_matches('"').to_owned());
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        forms.insert(encoded.replace('+', "%20"));
        forms.insert(encoded.to_lowercase());
        forms.extend([lower_hex(&encoded), lower_hex(&encoded.replace('+', "%20"))]);
        forms.insert(encoded);
        // As encoders of paths and of queries leave signs alone, and as the strictest leaves none.
        for kept in ["-_.~", ""] {
            let percent = percent(secret, kept);
            forms.insert(lower_hex(&percent));
            forms.insert(percent);
        }
        base64_forms(secret.as_bytes(), &mut forms);
    }
    let mut forms: Vec<String> = forms.into_iter().collect();
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms
}

fn percent(text: &str, kept: &str) -> String {
    let encoded = |byte: u8| match char::from(byte) {
        letter if letter.is_ascii_alphanumeric() || kept.contains(letter) => letter.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}

/// `%2f` for `%2F`; the letters beside it stay.
fn lower_hex(encoded: &str) -> String {
    let mut pieces = encoded.split('%');
    let mut lower = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (hex, rest) = piece.split_at(piece.len().min(2));
        lower.push('%');
        lower.push_str(&hex.to_lowercase());
        lower.push_str(rest);
    }
    lower
}

/// Within a longer text a secret begins at one of three places of a group of three bytes; what does not depend on its
/// neighbours is the same each time.
fn base64_forms(secret: &[u8], forms: &mut BTreeSet<String>) {
    for before in 0..3 {
        let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.iter().copied()).collect();
        let own = |text: String| {
            // Letters that hold bits of what stands before, or of what follows.
            let from = (before * 8).div_ceil(6);
            let to = padded.len() * 8 / 6;
            text.get(from..to).filter(|own| own.len() >= SHORTEST_SECRET).map(str::to_owned)
        };
        forms.extend(own(STANDARD_NO_PAD.encode(&padded)));
        forms.extend(own(URL_SAFE_NO_PAD.encode(&padded)));
    }
}

pub(super) fn secrets(deployment: &Deployment) -> Vec<&Secret> {
    let mut found: Vec<Option<&Secret>> = Vec::new();
    for database in [&deployment.database, &deployment.plugin_database] {
        found.push(database.as_ref().and_then(|database| database.password.as_ref()));
    }
    found.push(deployment.repairs.as_ref().and_then(|login| login.password.as_ref()));
    for redis in [&deployment.redis, &deployment.broker].into_iter().flatten() {
        found.push(redis.password.as_ref());
        if let RedisAt::Sentinel { password, .. } = &redis.at {
            found.push(password.as_ref());
        }
    }
    if let Some(vector) = &deployment.vector {
        found.push(vector.api_key.as_ref());
        found.push(vector.login.as_ref().and_then(|login| login.password.as_ref()));
        found.push(vector.database.as_ref().and_then(|database| database.password.as_ref()));
    }
    for service in [&deployment.plugin_daemon, &deployment.sandbox].into_iter().flatten() {
        found.push(service.key.as_ref());
    }
    found.push(deployment.canary.as_ref().map(|canary| &canary.key));
    found.into_iter().flatten().collect()
}
