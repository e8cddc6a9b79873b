//! Every limit of the data plane, by name and with its default. `docs/path.md` lists them for operators.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What one request, and all of them together, may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests between admission and the last byte of their answer. One more is refused with 503.
    pub max_in_flight: usize,
    /// The body of a run (`/v1/workflows/run`, `/v1/chat-messages`, …), which is read whole.
    pub max_run_body_bytes: usize,
    /// The body of a model call, which is read whole; images come in it, and sounds of 25 MB (OpenAI's own limit).
    pub max_model_body_bytes: usize,
    /// Any other body that the embedded engine gets; Dify's own limit for an upload is 15 MiB.
    pub max_embedded_body_bytes: usize,
    /// Any other body on its way to an upstream; streamed, never held. Dify's nginx has the same limit.
    pub max_passing_body_bytes: u64,
    /// All bodies held at a time, together. A request that would exceed it is refused with 503.
    pub max_held_bodies_bytes: usize,
    /// How long a caller may take to send a body that is read whole, or the next piece of one that passes through.
    pub body_read: Duration,
    /// How long the store may take to keep a durable run or to find one.
    pub durable_wait: Duration,
    /// What is held back of an event until its end comes; a larger one is relayed in pieces.
    pub max_event_bytes: usize,
    /// A whole (not streamed) answer up to this size is looked at for its run, status and tokens.
    pub max_watched_answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_in_flight: 12 * 1024,
            max_run_body_bytes: 10 * MIB,
            max_model_body_bytes: 32 * MIB,
            max_embedded_body_bytes: 16 * MIB,
            max_passing_body_bytes: 100 * MIB as u64,
            max_held_bodies_bytes: 256 * MIB,
            body_read: Duration::from_secs(60),
            durable_wait: Duration::from_secs(15),
            max_event_bytes: 256 * KIB,
            max_watched_answer_bytes: 256 * KIB,
        }
    }
}

/// What a listener grants its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenLimits {
    /// More wait in the system's backlog.
    pub max_connections: usize,
    /// The head of a request, and what is buffered for a connection in each direction. hyper's least is 8 KiB.
    pub max_head_bytes: usize,
    /// From the last answer (or the connection's start) to the end of the next request's head: idle time included.
    pub header_read: Duration,
    /// A reader that takes no byte for so long is disconnected.
    pub write_stall: Duration,
    /// How long answers in progress may take to end once shutdown has begun.
    pub shutdown_grace: Duration,
}

impl Default for ListenLimits {
    fn default() -> ListenLimits {
        ListenLimits {
            max_connections: 16 * 1024,
            max_head_bytes: 16 * KIB,
            header_read: Duration::from_secs(75),
            write_stall: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_net::resolve;

    use super::*;
    use crate::{allowance, path::normalize::model};

    #[test]
    fn the_operators_page_gives_every_limit_with_its_value() {
        let page = include_str!("../../../docs/path.md");
        let Limits {
            max_in_flight,
            max_run_body_bytes,
            max_model_body_bytes,
            max_embedded_body_bytes,
            max_passing_body_bytes,
            max_held_bodies_bytes,
            body_read,
            durable_wait,
            max_event_bytes,
            max_watched_answer_bytes,
        } = Limits::default();
        let ListenLimits { max_connections, max_head_bytes, header_read, write_stall, shutdown_grace } =
            ListenLimits::default();
        let seconds = |wait: Duration| format!("{} s", wait.as_secs());
        for (name, value) in [
            ("`max_in_flight`", max_in_flight.to_string()),
            ("`max_run_body_bytes`", max_run_body_bytes.to_string()),
            ("`max_model_body_bytes`", max_model_body_bytes.to_string()),
            ("`max_embedded_body_bytes`", max_embedded_body_bytes.to_string()),
            ("`max_passing_body_bytes`", max_passing_body_bytes.to_string()),
            ("`max_held_bodies_bytes`", max_held_bodies_bytes.to_string()),
            ("`body_read`", seconds(body_read)),
            ("`durable_wait`", seconds(durable_wait)),
            ("`max_event_bytes`", max_event_bytes.to_string()),
            ("`max_watched_answer_bytes`", max_watched_answer_bytes.to_string()),
            ("`max_connections`", max_connections.to_string()),
            ("`max_head_bytes`", max_head_bytes.to_string()),
            ("`header_read`", seconds(header_read)),
            ("`write_stall`", seconds(write_stall)),
            ("`shutdown_grace`", seconds(shutdown_grace)),
            ("records queue", crate::records::QUEUE.to_string()),
            ("nesting of JSON", model::MAX_NESTING.to_string()),
            ("name of a model", model::MAX_MODEL_NAME_BYTES.to_string()),
            ("parts of a form", model::form::MAX_PARTS.to_string()),
            ("head of a part", model::form::MAX_PART_HEAD_BYTES.to_string()),
            ("boundary of a form", model::form::MAX_BOUNDARY_BYTES.to_string()),
            ("output when nobody says", crate::path::price::DEFAULT_MAX_OUTPUT_TOKENS.to_string()),
            ("slices of a budget", allowance::SLICES.to_string()),
            ("wait for a budget", seconds(allowance::STORE_WAIT)),
            ("answer about a budget", seconds(allowance::STORE_PATIENCE)),
            ("store asked again", seconds(allowance::ASK_AGAIN_AFTER)),
            ("wait for a name", seconds(resolve::FRESH_WAIT)),
            ("last good addresses", seconds(resolve::LAST_GOOD_FOR)),
            ("names under way", resolve::MAX_RESOLUTIONS.to_string()),
            ("names remembered", resolve::MAX_NAMES.to_string()),
        ] {
            let row = format!("| {name} | {value} |");
            assert!(page.contains(&row), "docs/path.md lacks: {row}");
        }
    }
}
