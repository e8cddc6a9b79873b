//! A whole `GenerateContentResponse` as an inner answer.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{Answer, Choice, Finish, Media, Part, ToolCall, Unreadable, Usage, signature};

pub fn read_answer(body: &[u8]) -> Result<Answer, Unreadable> {
    let response: Response = serde_json::from_slice(body)
        .map_err(|error| Unreadable { what: format!("the body is no answer of Gemini: {error}") })?;
    if response.candidates.is_none() && response.prompt_feedback.is_none() && response.usage.is_none() {
        return Err(Unreadable { what: "the body has neither candidates nor feedback".to_owned() });
    }
    let usage = response.usage.as_ref().map(UsageMetadata::counted);
    let id = response.response_id.clone().unwrap_or_default();
    let mut choices = Vec::new();
    if response.block_reason().is_some() {
        choices.push(Choice { index: 0, parts: Vec::new(), finish: Finish::ContentFilter, logprobs: None });
    }
    for (place, candidate) in response.candidates.unwrap_or_default().into_iter().enumerate() {
        choices.push(choice(candidate, place as u64, &id));
    }
    Ok(Answer { id, model: response.model_version.unwrap_or_default(), created: None, choices, usage })
}

fn choice(candidate: Candidate, place: u64, id: &str) -> Choice {
    let index = candidate.index.unwrap_or(place);
    let mut calls = 0;
    let mut parts = Vec::new();
    for part in candidate.content.unwrap_or_default().parts.unwrap_or_default() {
        if let Some(signature) = part.thought_signature.as_deref() {
            let signature = Some(signature::mark_gemini(signature));
            parts.push(Part::Reasoning { text: String::new(), signature });
        }
        if let Some(part) = read_part(part, id, index, &mut calls) {
            joined(&mut parts, part);
        }
    }
    Choice {
        index,
        parts,
        finish: finish(candidate.finish_reason.as_deref(), calls > 0),
        logprobs: candidate.logprobs_result.as_ref().and_then(logprobs),
    }
}

/// What the streamed pieces of one text would be: one text.
fn joined(parts: &mut Vec<Part>, part: Part) {
    match (parts.last_mut(), part) {
        (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
        (
            Some(Part::Reasoning { text, signature: None }),
            Part::Reasoning { text: more, signature: None },
        ) => text.push_str(&more),
        (_, part) => parts.push(part),
    }
}

fn read_part(part: ResponsePart, id: &str, choice: u64, calls: &mut u64) -> Option<Part> {
    if let Some(call) = part.function_call {
        let call = call.read(id, choice, *calls);
        *calls += 1;
        return Some(Part::ToolCall(call));
    }
    if let Some(blob) = part.inline_data {
        let media = Media::Data { media_type: blob.mime_type, base64: blob.data };
        return Some(match &media {
            Media::Data { media_type, .. } if media_type.starts_with("audio/") => Part::Audio(media),
            _ => Part::Image { media, detail: None },
        });
    }
    let text = part.text.filter(|text| !text.is_empty())?;
    Some(match part.thought {
        Some(true) => Part::Reasoning { text, signature: None },
        _ => Part::Text(text),
    })
}

pub(super) fn finish(reason: Option<&str>, has_calls: bool) -> Finish {
    match reason {
        Some("STOP") | None if has_calls => Finish::ToolCalls,
        Some("STOP") | None => Finish::Stop,
        Some("MAX_TOKENS") => Finish::Length,
        Some(
            "SAFETY"
            | "RECITATION"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION"
            | "MODEL_ARMOR",
        ) => Finish::ContentFilter,
        Some(other) => Finish::Other(other.to_ascii_lowercase()),
    }
}

/// In OpenAI's shape.
fn logprobs(result: &Value) -> Option<Value> {
    let chosen = result.get("chosenCandidates")?.as_array()?;
    let others = result.get("topCandidates").and_then(Value::as_array);
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(at, candidate)| {
            let top = others.and_then(|others| others.get(at)?.get("candidates")?.as_array());
            let top: Vec<Value> = top.into_iter().flatten().map(token).collect();
            let mut written = token(candidate);
            written["top_logprobs"] = top.into();
            written
        })
        .collect();
    Some(json!({"content": content, "refusal": null}))
}

fn token(candidate: &Value) -> Value {
    let token = candidate.get("token").and_then(Value::as_str).unwrap_or_default();
    let logprob = candidate.get("logProbability").and_then(Value::as_f64).unwrap_or_default();
    json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response {
    pub(super) candidates: Option<Vec<Candidate>>,
    pub(super) prompt_feedback: Option<PromptFeedback>,
    #[serde(rename = "usageMetadata")]
    pub(super) usage: Option<UsageMetadata>,
    pub(super) model_version: Option<String>,
    pub(super) response_id: Option<String>,
}

impl Response {
    /// Why the prompt was refused.
    pub(super) fn block_reason(&self) -> Option<&str> {
        self.prompt_feedback.as_ref()?.block_reason.as_deref()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    pub(super) block_reason: Option<String>,
    pub(super) block_reason_message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    pub(super) index: Option<u64>,
    pub(super) content: Option<Content>,
    pub(super) finish_reason: Option<String>,
    pub(super) logprobs_result: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Content {
    pub(super) parts: Option<Vec<ResponsePart>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResponsePart {
    pub(super) text: Option<String>,
    pub(super) thought: Option<bool>,
    pub(super) thought_signature: Option<String>,
    pub(super) function_call: Option<FunctionCall>,
    pub(super) inline_data: Option<Blob>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    #[serde(default)]
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) data: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionCall {
    id: Option<String>,
    #[serde(default)]
    name: String,
    args: Option<Map<String, Value>>,
}

impl FunctionCall {
    /// `number` counts the calls of the choice. Without an id of Gemini's the answer's own id makes one, so that calls
    /// of different answers differ.
    pub(super) fn read(self, answer: &str, choice: u64, number: u64) -> ToolCall {
        let id = self.id.filter(|id| !id.is_empty());
        let made_up = || match choice {
            0 => format!("call_{answer}_{number}"),
            choice => format!("call_{answer}_{choice}_{number}"),
        };
        let arguments = Value::Object(self.args.unwrap_or_default()).to_string();
        ToolCall { id: id.unwrap_or_else(made_up), name: self.name, arguments }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageMetadata {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    /// What a tool of Google's own read; billed as input.
    tool_use_prompt_token_count: Option<u64>,
}

impl UsageMetadata {
    pub(super) fn counted(&self) -> Usage {
        let sum = |one: Option<u64>, other: Option<u64>| {
            one.unwrap_or_default().saturating_add(other.unwrap_or_default())
        };
        Usage {
            input: sum(self.prompt_token_count, self.tool_use_prompt_token_count),
            output: sum(self.candidates_token_count, self.thoughts_token_count),
            cached_input: self.cached_content_token_count,
            cache_write: None,
            reasoning: self.thoughts_token_count,
            is_estimated: false,
        }
    }
}
