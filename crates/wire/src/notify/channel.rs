//! The receivers' kinds, and what is true of each: markup, limits, what it wants to be told.

use mainstay_base::Secret;

use super::What;

/// Who is told, and how it is reached. Addresses that let anybody write who knows them are secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Standard Webhooks; without a secret calls go out unsigned.
    Webhook {
        url: Secret,
        secret: Option<Secret>,
    },
    /// An incoming webhook.
    Slack {
        url: Secret,
    },
    /// The address of a workflow that posts to a channel or chat.
    Teams {
        url: Secret,
    },
    /// Events API v2. `url` without a path: `https://events.pagerduty.com`.
    Pagerduty {
        url: String,
        routing_key: Secret,
    },
    /// `url` without a path: `https://api.opsgenie.com`, or that of its EU service.
    Opsgenie {
        url: String,
        api_key: Secret,
    },
    Email(Email),
    /// A custom bot of Feishu or Lark; `secret` when its signature check is on.
    Feishu {
        url: Secret,
        secret: Option<Secret>,
    },
    /// A custom robot; `secret` when it signs.
    Dingtalk {
        url: Secret,
        secret: Option<Secret>,
    },
    /// A group robot of WeCom.
    Wecom {
        url: Secret,
    },
    /// `url` without a path: `https://api.telegram.org`.
    Telegram {
        url: String,
        token: Secret,
        chat: String,
        topic: Option<i64>,
    },
    /// A Prometheus Alertmanager, whose path ends before `/api/v2`.
    Alertmanager {
        url: String,
        token: Option<Secret>,
    },
}

/// A mailbox to write to, through one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// Who logs in; `None`: nobody does.
    pub login: Option<(String, Secret)>,
    pub from: String,
    pub to: Vec<String>,
}

/// How mail is kept from being read on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From the first byte (port 465).
    Tls,
    /// After the greeting (port 587); a server that cannot is not written to.
    Starttls,
    /// Not at all: for a server on this machine.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Webhook,
    Slack,
    Teams,
    Pagerduty,
    Opsgenie,
    Email,
    Feishu,
    Dingtalk,
    Wecom,
    Telegram,
    Alertmanager,
}

/// How a text is written so that its characters mean themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    Plain,
    /// `&`, `<` and `>` begin what Slack reads: mentions, links.
    Slack,
    Html,
    /// The dialects know different subsets and few know escapes, so what could be a mention or a link is spelled apart.
    Markdown,
}

/// The longest title and body that a kind takes; bytes of UTF-8 are never more than these characters' worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub title_chars: usize,
    pub body_bytes: usize,
}

impl Kind {
    pub const ALL: [Kind; 11] = [
        Kind::Webhook,
        Kind::Slack,
        Kind::Teams,
        Kind::Pagerduty,
        Kind::Opsgenie,
        Kind::Email,
        Kind::Feishu,
        Kind::Dingtalk,
        Kind::Wecom,
        Kind::Telegram,
        Kind::Alertmanager,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Slack => "slack",
            Kind::Teams => "teams",
            Kind::Pagerduty => "pagerduty",
            Kind::Opsgenie => "opsgenie",
            Kind::Email => "email",
            Kind::Feishu => "feishu",
            Kind::Dingtalk => "dingtalk",
            Kind::Wecom => "wecom",
            Kind::Telegram => "telegram",
            Kind::Alertmanager => "alertmanager",
        }
    }

    pub fn markup(self) -> Markup {
        match self {
            Kind::Webhook | Kind::Pagerduty | Kind::Opsgenie | Kind::Email | Kind::Alertmanager => {
                Markup::Plain
            }
            Kind::Slack => Markup::Slack,
            Kind::Telegram => Markup::Html,
            Kind::Teams | Kind::Feishu | Kind::Dingtalk | Kind::Wecom => Markup::Markdown,
        }
    }

    /// Below what each takes, as far as its vendor or those who use it say (`docs/receivers.md` tells which): Slack's section
    /// 3,000 characters; Teams' message 28 KB, of which users report 21 KB; PagerDuty's summary 1,024 characters and event
    /// 512 KB; Opsgenie's message 130 and description 15,000 characters; Feishu's request 20 KB; DingTalk's message 20,000
    /// bytes; WeCom's markdown 4,096 bytes; Telegram's text 4,096 characters. What is not limited by the other side is
    /// limited by what is read.
    pub fn limits(self) -> Limits {
        let (title_chars, body_bytes) = match self {
            Kind::Webhook | Kind::Alertmanager | Kind::Email => (250, 100_000),
            Kind::Slack => (250, 3_000),
            Kind::Teams => (250, 15_000),
            Kind::Pagerduty => (1_024, 100_000),
            Kind::Opsgenie => (130, 15_000),
            Kind::Feishu => (250, 12_000),
            Kind::Dingtalk => (250, 15_000),
            Kind::Wecom => (250, 2_900),
            Kind::Telegram => (250, 3_000),
        };
        Limits { title_chars, body_bytes }
    }

    /// Whether it is told of such a thing. Webhooks were never told of acknowledgements, and Alertmanager knows none.
    pub fn wants(self, what: What) -> bool {
        what != What::Acknowledged || !matches!(self, Kind::Webhook | Kind::Alertmanager)
    }

    /// Whether whoever gets a notice twice can tell, or joins the second with the first: by `webhook-id`, `dedup_key`, `alias`
    /// or labels. A chat shows both; of mailboxes some drop a `Message-ID` that they have, and some do not.
    pub fn knows_repeats(self) -> bool {
        matches!(self, Kind::Webhook | Kind::Pagerduty | Kind::Opsgenie | Kind::Alertmanager)
    }

    /// Whether it keeps something open until it is told of the end, a test too.
    pub fn keeps_open(self) -> bool {
        matches!(self, Kind::Pagerduty | Kind::Opsgenie | Kind::Alertmanager)
    }
}

impl Channel {
    pub fn kind(&self) -> Kind {
        match self {
            Channel::Webhook { .. } => Kind::Webhook,
            Channel::Slack { .. } => Kind::Slack,
            Channel::Teams { .. } => Kind::Teams,
            Channel::Pagerduty { .. } => Kind::Pagerduty,
            Channel::Opsgenie { .. } => Kind::Opsgenie,
            Channel::Email(_) => Kind::Email,
            Channel::Feishu { .. } => Kind::Feishu,
            Channel::Dingtalk { .. } => Kind::Dingtalk,
            Channel::Wecom { .. } => Kind::Wecom,
            Channel::Telegram { .. } => Kind::Telegram,
            Channel::Alertmanager { .. } => Kind::Alertmanager,
        }
    }

    /// The text without this channel's secrets, for what others say in answer to a call that had them.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets().into_iter().filter(|secret| !secret.expose().is_empty()) {
            text = text.replace(secret.expose(), "…");
            // Of an address, what follows the host is what must not be known.
            let path = secret.expose().split_once("://").and_then(|(_, rest)| rest.split_once('/'));
            if let Some((_, path)) = path.filter(|(_, path)| path.len() > 3) {
                text = text.replace(path, "…");
            }
        }
        text
    }

    fn secrets(&self) -> Vec<&Secret> {
        match self {
            Channel::Webhook { url, secret }
            | Channel::Feishu { url, secret }
            | Channel::Dingtalk { url, secret } => {
                let mut all = vec![url];
                all.extend(secret);
                all
            }
            Channel::Slack { url } | Channel::Teams { url } | Channel::Wecom { url } => vec![url],
            Channel::Pagerduty { url: _, routing_key } => vec![routing_key],
            Channel::Opsgenie { url: _, api_key } => vec![api_key],
            Channel::Email(email) => email.login.iter().map(|(_, password)| password).collect(),
            Channel::Telegram { token, .. } => vec![token],
            Channel::Alertmanager { url: _, token } => token.iter().collect(),
        }
    }
}
