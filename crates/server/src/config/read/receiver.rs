//! Who is told of alerts, and who hears that this instance lives: `[[receiver]]`, `[heartbeat]`.

use std::{fs, io::Read as _, net::IpAddr, time::Duration};

use mainstay_base::Secret;
use mainstay_control::delivery::{Templates, Trust, check_address};
use mainstay_store::model::Severity;
use mainstay_wire::notify::{Channel, Email, Kind, Security};

use super::{http_url, people::webhook_secret};
use crate::config::{
    Heartbeat, Receiver,
    reader::Reader,
    secrets::{self, Follow},
};

const PAGERDUTY: &str = "https://events.pagerduty.com";
const OPSGENIE: &str = "https://api.opsgenie.com";
const TELEGRAM: &str = "https://api.telegram.org";
/// A file of authorities; all public ones together are about 220 KB.
const MAX_CA_BYTES: u64 = 1024 * 1024;
/// Readers of one mail.
const MAX_MAILBOXES: usize = 50;
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);

pub(super) fn receiver(reader: &Reader<'_>, name: String, follow: Follow) -> Option<Receiver> {
    let kinds = Kind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = if reader.is_given("kind") { reader.choice("kind", &kinds) } else { Some(Kind::Webhook) };
    let severities = [Severity::Info, Severity::Warning, Severity::Page].map(|it| (it.as_str(), it));
    let min_severity = reader.choice("min_severity", &severities).unwrap_or(Severity::Info);
    let (title, body) = (reader.text("title"), reader.text("body"));
    if let Some(kind) = kind
        && let Err(problems) = Templates::new(title.as_deref(), body.as_deref(), kind)
    {
        for (key, problem) in problems {
            reader.report(key, problem);
        }
    }
    let ca = authorities(reader, follow);
    let channel = match kind {
        Some(kind) => channel(reader, kind, follow),
        // What else is written belongs to a kind that is not known.
        None => {
            let _ = Kind::ALL.map(|kind| channel_keys(reader, kind));
            None
        }
    };
    let channel = channel?;
    let is_plain = |mailbox: &Email| mailbox.security == Security::None;
    if reader.is_given("ca") && matches!(&channel, Channel::Email(mailbox) if is_plain(mailbox)) {
        reader.report("ca", "is for nothing: with security = \"none\" no certificate is asked for");
    }
    Some(Receiver { name, channel, min_severity, title, body, ca })
}

/// The file of the authorities that are trusted besides the public ones.
fn authorities(reader: &Reader<'_>, follow: Follow) -> Option<Vec<u8>> {
    let path = reader.text("ca")?;
    if follow == Follow::FormOnly {
        return None;
    }
    let read = fs::File::open(&path).and_then(|file| {
        let mut pem = Vec::new();
        file.take(MAX_CA_BYTES + 1).read_to_end(&mut pem).map(|_| pem)
    });
    let checked = match read {
        Err(error) => Err(format!("{path} cannot be read: {error}")),
        Ok(pem) if pem.len() as u64 > MAX_CA_BYTES => {
            Err(format!("{path} is longer than {MAX_CA_BYTES} bytes"))
        }
        Ok(pem) => Trust::new(&pem).map(|_| pem).map_err(|problem| format!("{path} {problem}")),
    };
    checked.map_err(|problem| reader.report("ca", problem)).ok()
}

/// Marks the keys of a kind as known, without reading them.
fn channel_keys(reader: &Reader<'_>, kind: Kind) {
    let keys: &[&'static str] = match kind {
        Kind::Webhook | Kind::Feishu | Kind::Dingtalk => &["url", "secret"],
        Kind::Slack | Kind::Teams | Kind::Wecom => &["url"],
        Kind::Pagerduty => &["url", "routing_key"],
        Kind::Opsgenie => &["url", "api_key"],
        Kind::Email => &["host", "port", "security", "user", "password", "from", "to"],
        Kind::Telegram => &["url", "token", "chat", "topic"],
        Kind::Alertmanager => &["url", "token"],
    };
    for key in keys {
        reader.is_given(key);
    }
}

fn channel(reader: &Reader<'_>, kind: Kind, follow: Follow) -> Option<Channel> {
    let address = |default: Option<&str>| match default {
        Some(default) if !reader.is_given("url") => Some(default.to_owned()),
        _ => {
            reader.require("url");
            reader.parsed("url", http_url)
        }
    };
    let secret = |key: &'static str| secrets::read(reader, key, follow);
    Some(match kind {
        Kind::Webhook => {
            let (url, secret) = (address(None), webhook_secret(reader, follow));
            Channel::Webhook { url: Secret::new(url?), secret }
        }
        Kind::Slack => Channel::Slack { url: secret_url(reader, follow)? },
        Kind::Teams => Channel::Teams { url: secret_url(reader, follow)? },
        Kind::Wecom => Channel::Wecom { url: secret_url(reader, follow)? },
        Kind::Feishu => {
            let (url, secret) = (secret_url(reader, follow), secret("secret"));
            Channel::Feishu { url: url?, secret }
        }
        Kind::Dingtalk => {
            let (url, secret) = (secret_url(reader, follow), secret("secret"));
            Channel::Dingtalk { url: url?, secret }
        }
        Kind::Pagerduty => {
            let (url, key) = (address(Some(PAGERDUTY)), secrets::required(reader, "routing_key", follow));
            Channel::Pagerduty { url: url?, routing_key: key? }
        }
        Kind::Opsgenie => {
            let (url, key) = (address(Some(OPSGENIE)), secrets::required(reader, "api_key", follow));
            Channel::Opsgenie { url: url?, api_key: key? }
        }
        Kind::Telegram => {
            let (url, token) = (address(Some(TELEGRAM)), secrets::required(reader, "token", follow));
            let chat = reader.required("chat");
            let topic = reader.number("topic", 1..=i64::MAX.unsigned_abs());
            let topic = topic.and_then(|topic| i64::try_from(topic).ok());
            Channel::Telegram { url: url?, token: token?, chat: chat?, topic }
        }
        Kind::Alertmanager => {
            let (url, token) = (address(None), secret("token"));
            Channel::Alertmanager { url: url?, token }
        }
        Kind::Email => Channel::Email(email(reader, follow)?),
    })
}

/// An address that is a secret by itself, as a reference: whoever knows it can write to the channel.
fn secret_url(reader: &Reader<'_>, follow: Follow) -> Option<Secret> {
    let url = secrets::required(reader, "url", follow)?;
    if follow == Follow::Yes
        && let Err(problem) = check_secret_url(url.expose())
    {
        reader.report("url", problem);
        return None;
    }
    Some(url)
}

/// Nothing of the address is repeated.
fn check_secret_url(text: &str) -> Result<(), String> {
    let url = url::Url::parse(text).map_err(|error| format!("refers to what is no address: {error}"))?;
    match (url.scheme(), url.host_str()) {
        ("https" | "http", Some(_)) => Ok(()),
        _ => Err("refers to what is not an http:// or https:// address".to_owned()),
    }
}

fn email(reader: &Reader<'_>, follow: Follow) -> Option<Email> {
    let host = reader.required("host");
    let choices = [("tls", Security::Tls), ("starttls", Security::Starttls), ("none", Security::None)];
    let security = reader.choice("security", &choices).unwrap_or(Security::Tls);
    let default_port = match security {
        Security::Tls => 465,
        Security::Starttls => 587,
        Security::None => 25,
    };
    let port = reader.number("port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let user = reader.text("user");
    let password = secrets::password(reader, "password", follow);
    let is_local =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if security == Security::None && password.is_some() && !host.as_deref().is_some_and(is_local) {
        reader.report("security", "is none: a password would cross the network for everybody to read");
    }
    match (&user, &password) {
        (Some(_), None) if !reader.is_given("password") => {
            reader.report("password", "is missing: a user is given")
        }
        (None, Some(_)) => reader.report("user", "is missing: a password is given"),
        _ => {}
    }
    reader.require("to");
    let from = reader.required("from");
    let to = reader.texts("to").unwrap_or_default();
    if reader.is_given("to") && !(1..=MAX_MAILBOXES).contains(&to.len()) {
        reader.report("to", format!("has {} addresses, allowed are 1 to {MAX_MAILBOXES}", to.len()));
    }
    for (index, address) in to.iter().enumerate() {
        if let Err(problem) = check_address(address) {
            reader.report(&format!("to[{index}]"), problem);
        }
    }
    if let Some(Err(problem)) = from.as_deref().map(check_address) {
        reader.report("from", problem);
    }
    let login = user.zip(password);
    Some(Email { host: host?, port: port.unwrap_or(default_port), security, login, from: from?, to })
}

pub(super) fn heartbeat(reader: Reader<'_>, follow: Follow) -> Option<Heartbeat> {
    let is_wanted = reader.has_keys();
    let every = reader.span("every", Duration::from_secs(10)..=Duration::from_secs(3600));
    let url = if is_wanted { secret_url(&reader, follow) } else { None };
    reader.is_given("url");
    reader.done();
    Some(Heartbeat { url: url?, every: every.unwrap_or(HEARTBEAT_EVERY) })
}

#[cfg(test)]
mod tests {
    use crate::config::{Follow, LoadError, parse};

    #[test]
    fn a_file_of_authorities_is_looked_at_when_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("good.pem"), mainstay_testkit::Authority::new().pem()).unwrap();
        std::fs::write(path("empty.pem"), "").unwrap();
        let problem = |file: &str, security: &str, follow| {
            let text = format!(
                "[[receiver]]\nname='m'\nkind='email'\nhost='h'\nsecurity='{security}'\nfrom='a@b.example'\n\
                 to=['c@d.example']\nca='{}'\n",
                path(file)
            );
            match parse("test", &text, &[], follow) {
                Err(LoadError::Problems(mut problems)) => {
                    problems.pop().map(|it| format!("{} {}", it.path, it.message)).unwrap_or_default()
                }
                Err(other) => panic!("{other:?}"),
                Ok(config) => format!("{}", config.receivers[0].ca.is_some()),
            }
        };
        for (file, security, follow, says) in [
            ("good.pem", "tls", Follow::Yes, "true"),
            ("good.pem", "starttls", Follow::Yes, "true"),
            ("missing.pem", "tls", Follow::FormOnly, "false"),
            ("missing.pem", "tls", Follow::Yes, "missing.pem cannot be read: No such file"),
            ("empty.pem", "tls", Follow::Yes, "empty.pem holds no certificate"),
            ("good.pem", "none", Follow::Yes, "receiver[0].ca is for nothing"),
        ] {
            let found = problem(file, security, follow);
            assert!(found.contains(says), "{file} {security}: {found}");
        }
    }
}
