//! How calls are tried. A test holds the values shown here to the defaults in `base`.

use super::{Key, Section};

pub(super) const SECTIONS: &[Section] = &[
    Section {
        head: "[model.policy]",
        about: "How every call is tried, unless its route says otherwise.",
        keys: &[
            Key {
                name: "deadline",
                value: "\"600s\"",
                about: "The whole call, over all attempts. A caller may ask for less (Mainstay-Deadline), never for more.",
            },
            Key {
                name: "answer_within",
                value: "\"280s\"",
                about: "Until the first byte goes to the caller, over all attempts. Dify's plugins give up after 300 s of silence.",
            },
            Key {
                name: "max_cost",
                value: "0.5",
                about: "Dollars that one call may cost over all attempts, in the worst case of each. Default: no ceiling.\n\
                        Every target needs a price then.",
            },
            Key { name: "max_attempts", value: "4", about: "Attempts of one call, hedges included." },
            Key { name: "retry.same_target", value: "1", about: "Tries of the same target after its first." },
            Key {
                name: "retry.base",
                value: "\"200ms\"",
                about: "The wait before try n is by chance between 0 and base x 2^n, at most cap.",
            },
            Key { name: "retry.cap", value: "\"5s\"", about: "The longest such wait." },
            Key {
                name: "retry.ratio",
                value: "0.1",
                about: "Retries (of the same or another target) that each call earns: the bound of amplification.",
            },
            Key { name: "retry.burst", value: "10.0", about: "Retries that can be saved up." },
            Key {
                name: "hedge.enabled",
                value: "false",
                about: "Whether a slow attempt gets a second one beside it.",
            },
            Key {
                name: "hedge.after_quantile",
                value: "0.95",
                about: "After this quantile of the target's times to the first token.",
            },
            Key { name: "hedge.at_least", value: "\"50ms\"", about: "Never sooner." },
            Key { name: "hedge.ratio", value: "0.05", about: "Hedges that each call earns." },
            Key {
                name: "pre_commit.max_events",
                value: "64",
                about: "How much of a stream is held until it has proved itself; after the first of these bounds it is passed on.",
            },
            Key { name: "pre_commit.max_bytes", value: "262144", about: "Bytes held." },
            Key { name: "pre_commit.max_wait", value: "\"10s\"", about: "From the first event." },
            Key {
                name: "pre_commit.min_chars",
                value: "1",
                about: "Characters of content that prove a stream.",
            },
            Key {
                name: "on_cut",
                value: "\"end\"",
                about: "When a stream breaks after its first content: end (with a typed error event) or continue (on another target, chat\n\
                        only, marked).",
            },
            Key {
                name: "content_filter_falls_over",
                value: "false",
                about: "Whether an answer that a provider's content filter refused is asked of the next target.",
            },
            Key {
                name: "single_flight",
                value: "\"deterministic\"",
                about: "Which identical calls in flight share one, inside a tenant: off, deterministic (embeddings, rerank, moderations,\n\
                        temperature 0) or all.",
            },
            Key {
                name: "drain.max_wait",
                value: "\"0s\"",
                about: "How long a stream whose caller left is read on for its usage. 0s: it is aborted at once.",
            },
            Key { name: "drain.max_bytes", value: "1048576", about: "Bytes read so." },
            Key { name: "drain.max_at_once", value: "64", about: "Streams read so at a time." },
        ],
    },
    Section {
        head: "[model.breaker]",
        about: "When a target (a provider's model) is left alone for a while.",
        keys: &[
            Key { name: "window", value: "\"10s\"", about: "What is remembered." },
            Key {
                name: "min_calls",
                value: "10",
                about: "Fewer calls in the window never open it, except consecutive.",
            },
            Key { name: "failure_share", value: "0.5", about: "The share of failures that opens it." },
            Key { name: "consecutive", value: "5", about: "So many failures in a row open it." },
            Key {
                name: "slow_call",
                value: "\"30s\"",
                about: "A call whose first token took longer is slow.",
            },
            Key { name: "slow_share", value: "0.8", about: "The share of slow calls that opens it." },
            Key {
                name: "open_for",
                value: "\"2s\"",
                about: "How long it stays open the first time; doubles with each failed probe.",
            },
            Key { name: "max_open", value: "\"4s\"", about: "The longest." },
            Key {
                name: "probes",
                value: "2",
                about: "Calls at once that probe it, and successes that close it.",
            },
        ],
    },
    Section {
        head: "[model.ejection]",
        about: "A target that is much worse than the others of its chain is set aside.",
        keys: &[
            Key {
                name: "excess",
                value: "0.3",
                about: "By how much its failure share exceeds the mean of the others.",
            },
            Key {
                name: "min_calls",
                value: "20",
                about: "With at least so many calls in the breaker's window.",
            },
            Key { name: "eject_for", value: "\"10s\"", about: "For how long." },
            Key {
                name: "max_share",
                value: "0.5",
                about: "At most this share of a chain's targets at a time.",
            },
        ],
    },
];
