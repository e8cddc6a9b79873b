//! One element of a queue's list.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Larger messages are not read; Dify's are a few kilobytes.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("it has {0} bytes; more than {MAX_MESSAGE_BYTES} are not read")]
    TooLarge(usize),
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it has no {0}")]
    Without(&'static str),
    /// Not what a worker takes apart before it begins.
    #[error("its body is {0}")]
    NoBody(String),
    #[error("its body is {0}")]
    Body(String),
}

const TASK_NAME: &str = "task name";

impl Broken {
    /// Whether the worker that takes it ends by it, with every task that it runs; else it throws the message away. What is
    /// read before a task is known is read without a net (kombu 5.5.4 `transport/virtual/base.py`, Celery 5.5.3
    /// `worker/consumer/consumer.py`).
    pub fn ends_worker(&self) -> bool {
        match self {
            Broken::NotJson(_) | Broken::NoBody(_) => true,
            Broken::Without(part) => *part != TASK_NAME,
            Broken::TooLarge(_) | Broken::Body(_) => false,
        }
    }
}

/// What a message is called that has no id: the first 16 digits of the SHA-256 of its bytes.
pub fn fingerprint(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A task that waits. What protocol 2 leaves empty is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Of the task; stays the same when it is delivered again.
    pub id: String,
    /// The dotted name: `tasks.document_indexing_task.priority_document_indexing_task`.
    pub task: String,
    /// The queue that it was sent to.
    pub routing_key: String,
    /// Empty for the default exchange.
    pub exchange: String,
    pub priority: u8,
    /// Of this delivery; the field in `unacked`.
    pub delivery_tag: String,
    pub retries: u32,
    /// Not before, and not after, in ISO 8601.
    pub eta: Option<String>,
    pub expires: Option<String>,
    /// Who sent it: `gen<pid>@<host>`.
    pub origin: Option<String>,
    /// It was given to a worker before.
    pub redelivered: bool,
    pub body: Result<Body, Broken>,
}

/// The arguments of the task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    pub args: Vec<Value>,
    pub kwargs: Map<String, Value>,
}

impl Message {
    pub fn parse(bytes: &[u8]) -> Result<Message, Broken> {
        Message::from_raw(read(bytes)?)
    }

    fn from_raw(raw: Raw) -> Result<Message, Broken> {
        let body = raw.body_value();
        let Raw { headers, properties, .. } = raw;
        let properties = properties.ok_or(Broken::Without("properties"))?;
        let delivery = properties.delivery_info.filter(DeliveryInfo::is_whole);
        let delivery = delivery.ok_or(Broken::Without("delivery info"))?;
        let redelivered = headers.redelivered.unwrap_or(false) || delivery.redelivered.unwrap_or(false);
        Ok(Message {
            delivery_tag: properties.delivery_tag.ok_or(Broken::Without("delivery tag"))?,
            task: headers.task.ok_or(Broken::Without(TASK_NAME))?,
            id: headers.id.or(properties.correlation_id).ok_or(Broken::Without("task id"))?,
            routing_key: delivery.routing_key.unwrap_or_default(),
            exchange: delivery.exchange.unwrap_or_default(),
            priority: properties.priority.and_then(|priority| u8::try_from(priority).ok()).unwrap_or(0),
            retries: headers.retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(0),
            eta: headers.eta.and_then(text),
            expires: headers.expires.and_then(text),
            origin: headers.origin,
            redelivered,
            body,
        })
    }
}

/// A field of the hash `unacked`: `[message, exchange, routing key]`.
pub fn unacked(bytes: &[u8]) -> Result<Message, Broken> {
    let (raw, exchange, routing_key): (Raw, Option<String>, Option<String>) = read(bytes)?;
    let mut message = Message::from_raw(raw)?;
    message.exchange = exchange.unwrap_or_default();
    if let Some(routing_key) = routing_key {
        message.routing_key = routing_key;
    }
    Ok(message)
}

/// The list element that kombu would write when it gives an unacknowledged message back (`_do_restore_message`): the
/// same message, marked as redelivered.
pub fn redelivered(unacked: &[u8]) -> Result<Vec<u8>, Broken> {
    let (mut message, _, _): (Value, Value, Value) = read(unacked)?;
    for place in ["/headers", "/properties/delivery_info"] {
        let object = message.pointer_mut(place).and_then(Value::as_object_mut);
        object.ok_or(Broken::Without("headers"))?.insert("redelivered".to_owned(), true.into());
    }
    serde_json::to_vec(&message).map_err(|error| Broken::NotJson(error.to_string()))
}

pub(super) fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Broken> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Broken::TooLarge(bytes.len()));
    }
    // The reader ends at a depth of 128.
    serde_json::from_slice(bytes).map_err(|error| Broken::NotJson(error.to_string()))
}

/// The envelope that all three kinds share.
#[derive(Debug, Deserialize)]
pub(super) struct Raw {
    #[serde(default)]
    body: Value,
    #[serde(default)]
    pub(super) headers: Headers,
    #[serde(default)]
    properties: Option<Properties>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Headers {
    task: Option<String>,
    id: Option<String>,
    retries: Option<i64>,
    eta: Option<Value>,
    expires: Option<Value>,
    origin: Option<String>,
    redelivered: Option<bool>,
    pub(super) ticket: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Properties {
    correlation_id: Option<String>,
    delivery_tag: Option<String>,
    priority: Option<i64>,
    body_encoding: Option<String>,
    #[serde(default)]
    delivery_info: Option<DeliveryInfo>,
}

#[derive(Debug, Default, Deserialize)]
struct DeliveryInfo {
    exchange: Option<String>,
    routing_key: Option<String>,
    redelivered: Option<bool>,
}

impl DeliveryInfo {
    fn is_whole(&self) -> bool {
        self.exchange.is_some() && self.routing_key.is_some()
    }
}

impl Raw {
    /// The body, decoded; base64 unless it says that it is plain.
    pub(super) fn body_bytes(&self) -> Result<Vec<u8>, Broken> {
        let Value::String(text) = &self.body else {
            return Err(Broken::NoBody("no text".to_owned()));
        };
        let encoding = self.properties.as_ref().and_then(|properties| properties.body_encoding.as_deref());
        if encoding != Some("base64") {
            return Ok(text.clone().into_bytes());
        }
        STANDARD.decode(text).map_err(|error| Broken::NoBody(format!("not base64: {error}")))
    }

    fn body_value(&self) -> Result<Body, Broken> {
        let bytes = self.body_bytes()?;
        if bytes.is_empty() {
            return Err(Broken::NoBody("empty".to_owned()));
        }
        let body: Value =
            serde_json::from_slice(&bytes).map_err(|error| Broken::Body(format!("not JSON: {error}")))?;
        let parts = match body {
            Value::Array(parts) => <[Value; 3]>::try_from(parts).ok(),
            _ => None,
        };
        match parts.ok_or_else(|| Broken::NoBody("not [args, kwargs, embed]".to_owned()))? {
            [Value::Array(args), Value::Object(kwargs), _] => Ok(Body { args, kwargs }),
            _ => Err(Broken::Body("not a list and an object of arguments".to_owned())),
        }
    }
}

/// `expires` is a number when a sender gave one.
fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A new task message as Celery's own client writes it, to be pushed at the head of its queue's list.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTask<'a> {
    pub task: &'a str,
    pub queue: &'a str,
    /// A new UUID; a second one for the delivery.
    pub id: &'a str,
    pub delivery_tag: &'a str,
    pub kwargs: &'a Map<String, Value>,
}

impl NewTask<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let NewTask { task, queue, id, delivery_tag, kwargs } = self;
        let embed = json!({ "callbacks": null, "errbacks": null, "chain": null, "chord": null });
        let body = json!([[], kwargs, embed]);
        let message = json!({
            "body": STANDARD.encode(body.to_string()),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py", "task": task, "id": id, "shadow": null, "eta": null, "expires": null, "group": null,
                "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": id, "parent_id": null,
                "argsrepr": "()", "kwargsrepr": "{…}", "origin": "mainstay", "ignore_result": true,
                "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {},
            },
            "properties": {
                "correlation_id": id, "reply_to": id, "delivery_mode": 2,
                "delivery_info": { "exchange": "", "routing_key": queue },
                "priority": 0, "body_encoding": "base64", "delivery_tag": delivery_tag,
            },
        });
        message.to_string().into_bytes()
    }
}
