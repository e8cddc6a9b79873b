//! A recorded exchange, and what it means to have the same shape.

use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) struct Sample {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) request: String,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What a server in front adds, or what differs from request to request.
const TRANSPORT: [&str; 5] = ["server", "date", "connection", "content-length", "transfer-encoding"];

impl Sample {
    pub(crate) fn read(name: &str) -> Sample {
        let path = format!("{}/tests/fixtures/samples/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let (request, answer) = text.split_once("\n--- ").unwrap();
        let mut first = request.lines().next().unwrap().split(' ');
        let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
        let body = request.lines().find(|line| line.starts_with('{')).unwrap_or_default().to_owned();
        let (head, answer_body) = answer.split_once("\n\n").unwrap();
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let all: BTreeMap<String, String> =
            headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let length = all.get("content-length").map(|length| length.parse::<usize>().unwrap());
        let body_text = match length {
            // The recording ends its file with a line feed of its own.
            Some(length) => answer_body.get(..length).unwrap_or(answer_body).to_owned(),
            None => answer_body.to_owned(),
        };
        Sample {
            method,
            target,
            request: body,
            status: head[..3].parse().unwrap(),
            headers: all.into_iter().filter(|(name, _)| !TRANSPORT.contains(&name.as_str())).collect(),
            body: body_text,
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let frames = self.body.split("\n\n").filter_map(|frame| frame.trim().strip_prefix("data: "));
        frames.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

/// Keys in their order and the types of their values; texts that hold JSON are opened.
pub(crate) fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_f64() => "float".to_owned(),
        Value::Number(_) => "int".to_owned(),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ Value::Object(_)) => format!("json({})", shape(&inner)),
            _ => "text".to_owned(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(shape).collect::<Vec<_>>().join(",")),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name}:{}", shape(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
    }
}

/// What an event is about: its name, and its node if it has one.
pub(crate) fn subject(event: &Value) -> String {
    let name = event["event"].as_str().unwrap_or_default();
    match event.pointer("/data/node_id").and_then(Value::as_str) {
        Some(node) => format!("{name} {node}"),
        None => name.to_owned(),
    }
}
