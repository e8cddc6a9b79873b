//! The app path.

use super::{CONNECT, Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[[upstream]]",
        about: "A Dify deployment. Repeat for more.",
        keys: &[
            Key { name: "name", value: "\"dify\"", about: "How apps and answers call it." },
            Key {
                name: "base_url",
                value: "\"http://dify-api:5001\"",
                about: "The Service API's address, without /v1.",
            },
            CONNECT,
            Key {
                name: "first_byte_timeout",
                value: "\"1260s\"",
                about: "From the request sent to the head of the answer. A blocking run answers only at its end.",
            },
            Key {
                name: "idle_timeout",
                value: "\"60s\"",
                about: "Between two pieces of an answer. Dify pings every 10 s.",
            },
            Key { name: "total_timeout", value: "\"1320s\"", about: "The whole exchange." },
        ],
    },
    Section {
        head: "[app_path]",
        about: "The app listener.",
        keys: &[Key {
            name: "unknown_keys_to",
            value: "\"dify\"",
            about: "The upstream that gets calls whose API key belongs to no declared or imported app: it checks keys itself.\n\
                    Without it such calls are refused with Dify's 401.",
        }],
    },
    Section {
        head: "[[app]]",
        about: "An app of an upstream that Mainstay knows by name: needed for durable runs and for a standby.",
        keys: &[
            Key { name: "name", value: "\"support\"", about: "How operators call it." },
            Key { name: "upstream", value: "\"dify\"", about: "Where it lives." },
            Key {
                name: "key",
                value: "\"env:DIFY_SUPPORT_KEY\"",
                about: "Its Service API key (app-...), as a reference.",
            },
            Key {
                name: "mode",
                value: "\"workflow\"",
                about: "workflow, advanced-chat, chat, agent-chat or completion.",
            },
            Key { name: "durable", value: "true", about: "Whether Prefer: respond-async is served." },
            Key {
                name: "idempotent",
                value: "false",
                about: "Whether a queued run may be repeated although Dify may have started it.",
            },
            Key {
                name: "standby",
                value: "\"support-standby\"",
                about: "The imported app (by name) that answers while the upstream does not.",
            },
        ],
    },
];
