//! The items of an output, in their order: what was thought, said and called.

use serde_json::{Value, json};

use super::SIGNATURE;
use crate::llm::Part;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Message(Vec<Content>),
    Reasoning { text: String, signature: Option<String> },
    Call { id: String, name: String, arguments: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Text(String),
    Refusal(String),
}

impl Item {
    /// The items of a whole answer: what is said without a break is one message.
    pub(super) fn of_parts(parts: &[Part]) -> Vec<Item> {
        let mut items = Vec::new();
        for part in parts {
            let said = match part {
                Part::Text(text) => Content::Text(text.clone()),
                Part::Refusal(text) => Content::Refusal(text.clone()),
                Part::Reasoning { text, signature } => {
                    items.push(Item::Reasoning { text: text.clone(), signature: signature.clone() });
                    continue;
                }
                Part::ToolCall(call) => {
                    let (id, name) = (call.id.clone(), call.name.clone());
                    items.push(Item::Call { id, name, arguments: call.arguments.clone() });
                    continue;
                }
                // This dialect has no place for what else a model may make.
                Part::Image { .. } | Part::Audio(_) | Part::File { .. } | Part::ToolResult { .. } => continue,
            };
            match items.last_mut() {
                Some(Item::Message(content)) => content.push(said),
                _ => items.push(Item::Message(vec![said])),
            }
        }
        items
    }

    /// The item's own id in the answer of `base`.
    pub(super) fn id(&self, base: &str, place: usize) -> String {
        let prefix = match self {
            Item::Message(_) => "msg",
            Item::Reasoning { .. } => "rs",
            Item::Call { .. } => "fc",
        };
        format!("{prefix}_{base}_{place}")
    }

    pub(super) fn json(&self, id: &str, status: &str) -> Value {
        match self {
            Item::Message(content) => {
                let content: Vec<Value> = content.iter().map(Content::json).collect();
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Item::Reasoning { text, signature } => {
                let summary = match text.is_empty() {
                    true => json!([]),
                    false => json!([summary(text)]),
                };
                let mut item = json!({"id": id, "type": "reasoning", "status": status, "summary": summary});
                if let Some(signature) = signature {
                    item["encrypted_content"] = format!("{SIGNATURE}{signature}").into();
                }
                item
            }
            Item::Call { id: call, name, arguments } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call, "name": name,
                "arguments": arguments,
            }),
        }
    }
}

impl Content {
    pub(super) fn json(&self) -> Value {
        match self {
            Content::Text(text) => {
                json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
            }
            Content::Refusal(text) => json!({"type": "refusal", "refusal": text}),
        }
    }

    pub(super) fn push(&mut self, more: &str) {
        match self {
            Content::Text(text) | Content::Refusal(text) => text.push_str(more),
        }
    }
}

pub(super) fn summary(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}
