//! `[otlp]`.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[otlp]",
        about: "Traces and metrics to an OpenTelemetry collector, by OTLP over HTTP. Off without an endpoint. See docs/otlp.md.",
        keys: &[
            Key {
                name: "endpoint",
                value: "\"http://127.0.0.1:4318\"",
                about: "Its address without /v1/traces and /v1/metrics.",
            },
            Key {
                name: "service",
                value: "\"mainstay\"",
                about: "The service.name of everything that is sent.",
            },
            Key { name: "traces", value: "true", about: "Whether a trace of each request is sent." },
            Key {
                name: "keep_success",
                value: "1.0",
                about: "The share of successful requests whose trace is sent; failures always are.",
            },
            Key { name: "metrics", value: "true", about: "Whether what /metrics tells is sent too." },
            Key { name: "every", value: "\"30s\"", about: "Between two sendings of metrics." },
        ],
    },
    Section {
        head: "[[otlp.header]]",
        about: "A header of each request to the collector, as a key.",
        keys: &[
            Key { name: "name", value: "\"authorization\"", about: "" },
            Key {
                name: "value",
                value: "\"env:OTLP_AUTHORIZATION\"",
                about: "A reference, never the value.",
            },
        ],
    },
];
