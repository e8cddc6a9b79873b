//! Who is told.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[[receiver]]",
        about: "Where alerts are sent. Which keys there are depends on the kind: see docs/receivers.md.",
        keys: &[
            Key { name: "name", value: "\"on-call\"", about: "How the console calls it." },
            Key {
                name: "kind",
                value: "\"webhook\"",
                about: "webhook, slack, teams, pagerduty, opsgenie, email, feishu (and Lark), dingtalk, wecom, telegram or alertmanager.",
            },
            Key {
                name: "min_severity",
                value: "\"info\"",
                about: "Lesser alerts are not told: info, warning or page.",
            },
            Key {
                name: "url",
                value: "\"https://hooks.example.com/mainstay\"",
                about: "Where to POST. For slack, teams, feishu, dingtalk and wecom the address is a secret: a reference. pagerduty,\n\
                        opsgenie and telegram know theirs.",
            },
            Key {
                name: "secret",
                value: "\"env:ONCALL_WEBHOOK_SECRET\"",
                about: "The signing secret of webhook (whsec_...), feishu or dingtalk (SEC...), as a reference.",
            },
            Key {
                name: "routing_key",
                value: "\"env:PAGERDUTY_ROUTING_KEY\"",
                about: "pagerduty: the key of an Events API v2 integration.",
            },
            Key {
                name: "api_key",
                value: "\"env:OPSGENIE_API_KEY\"",
                about: "opsgenie: the key of an API integration.",
            },
            Key {
                name: "token",
                value: "\"env:TELEGRAM_TOKEN\"",
                about: "telegram: the bot's token. alertmanager: a bearer token, if it asks for one.",
            },
            Key { name: "chat", value: "\"-1001234567890\"", about: "telegram: the chat's id or @channel." },
            Key { name: "topic", value: "7", about: "telegram: the topic within a forum." },
            Key {
                name: "host",
                value: "\"smtp.example.com\"",
                about: "email: the server that takes the mail.",
            },
            Key {
                name: "port",
                value: "465",
                about: "email: its port; 465 for tls, 587 for starttls, 25 for none.",
            },
            Key {
                name: "security",
                value: "\"tls\"",
                about: "email: tls (from the first byte), starttls, or none (a server on this machine).",
            },
            Key { name: "user", value: "\"mainstay\"", about: "email: who logs in." },
            Key {
                name: "password",
                value: "\"env:SMTP_PASSWORD\"",
                about: "email: the password, as a reference.",
            },
            Key { name: "from", value: "\"Mainstay <mainstay@example.com>\"", about: "email: who writes." },
            Key { name: "to", value: "[\"on-call@example.com\"]", about: "email: who reads." },
            Key {
                name: "ca",
                value: "\"/etc/ssl/company-ca.pem\"",
                about: "A file (PEM) of certificate authorities that are trusted besides the public ones. Any kind.",
            },
            Key {
                name: "title",
                value: "\"{{ what }}: {{ title }}\"",
                about: "A template (minijinja) for the first line, instead of the usual words.",
            },
            Key {
                name: "body",
                value: "\"{% for alert in alerts %}{{ alert.summary }}\\n{% endfor %}\"",
                about: "A template for the rest. Try it: mainstay alert preview on-call",
            },
        ],
    },
    Section {
        head: "[heartbeat]",
        about: "A dead man's switch: an address that is called while this instance acts, and that calls people when it is not.",
        keys: &[
            Key {
                name: "url",
                value: "\"env:HEARTBEAT_URL\"",
                about: "Whom to call with GET, as a reference: such addresses are secrets.",
            },
            Key { name: "every", value: "\"60s\"", about: "How often, from 10s to 1h." },
        ],
    },
];
