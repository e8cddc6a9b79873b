//! Who is let in and told, and what is kept.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[[admin.token]]",
        about: "Who may use the console and the admin API. Without one, only the instance file of the running process\n\
                holds a token, and the admin listener must be on the loopback interface.",
        keys: &[
            Key { name: "name", value: "\"ops\"", about: "Who it is, as the timeline shows it." },
            Key {
                name: "token",
                value: "\"file:/run/secrets/mainstay-token\"",
                about: "The token, as a reference.",
            },
        ],
    },
    Section {
        head: "[callbacks]",
        about: "Signed calls that tell clients the result of their queued runs (Mainstay-Callback-Url).",
        keys: &[
            Key {
                name: "secret",
                value: "\"env:MAINSTAY_CALLBACK_SECRET\"",
                about: "The signing secret (whsec_...), as a reference. Without it callbacks are refused.",
            },
            Key {
                name: "allow",
                value: "[]",
                about: "Addresses beyond the public ones that a callback may reach: HOST:PORT, IP or NETWORK/BITS.",
            },
        ],
    },
    Section {
        head: "[records]",
        about: "One record is written for each request.",
        keys: &[
            Key {
                name: "keep_success",
                value: "1.0",
                about: "The share of successful requests whose record is kept, 0 to 1. Failures always are.",
            },
            Key {
                name: "max_stored_a_second",
                value: "1000",
                about: "Records stored in a second at most: beyond it successes are left out first, then failures. Metrics and\n\
                        health count every request all the same.",
            },
        ],
    },
    Section {
        head: "[retention]",
        about: "How long things are kept.",
        keys: &[
            Key { name: "runs", value: "\"30d\"", about: "Finished runs with their nodes and events." },
            Key { name: "records", value: "\"7d\"", about: "Records of requests." },
        ],
    },
    Section {
        head: "[limits]",
        about: "What one process takes on.",
        keys: &[
            Key {
                name: "body_bytes",
                value: "33554432",
                about: "The largest body of a request that is read.",
            },
            Key { name: "connections", value: "20000", about: "Connections at once on each listener." },
        ],
    },
];
