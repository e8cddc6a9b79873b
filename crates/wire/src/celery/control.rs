//! Remote control: a question to workers, and what one of them answers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::message::{Broken, Raw, read};

/// A question, published to every worker; those that are not named ignore it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// `ping`, `active`, `stats`, `pool_grow`, …
    pub method: &'a str,
    pub arguments: Value,
    /// Worker names, `celery@host`; `None`: all.
    pub destination: Option<&'a [String]>,
    /// Comes back in each reply.
    pub ticket: &'a str,
    /// Where the replies go: the routing key of `reply.celery.pidbox`.
    pub reply_key: &'a str,
    /// Unix seconds until when a worker may act on it.
    pub expires_at: f64,
}

impl Request<'_> {
    /// What is published.
    pub fn encode(&self) -> Vec<u8> {
        let Request { method, arguments, destination, ticket, reply_key, expires_at } = self;
        let body = json!({
            "method": method,
            "arguments": arguments,
            "destination": destination,
            "pattern": null,
            "matcher": null,
            "ticket": ticket,
            "reply_to": { "exchange": "reply.celery.pidbox", "routing_key": reply_key },
        });
        let envelope = json!({
            "body": STANDARD.encode(body.to_string()),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": { "clock": 1, "expires": expires_at },
            "properties": {
                "delivery_mode": 2,
                "delivery_info": { "exchange": "celery.pidbox", "routing_key": "" },
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": ticket,
            },
        });
        envelope.to_string().into_bytes()
    }
}

/// One worker's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub ticket: Option<String>,
    pub worker: String,
    /// As the method has it; `{"error": …}` when it failed there.
    pub value: Value,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Result<Reply, Broken> {
        let raw: Raw = read(bytes)?;
        let body: Map<String, Value> = serde_json::from_slice(&raw.body_bytes()?)
            .map_err(|error| Broken::Body(format!("not an object of workers: {error}")))?;
        let (worker, value) = body.into_iter().next().ok_or(Broken::Without("worker"))?;
        Ok(Reply { ticket: raw.headers.ticket, worker, value })
    }

    /// Why the worker refused, when it did.
    pub fn refusal(&self) -> Option<&str> {
        self.value.get("error").and_then(Value::as_str)
    }
}
