//! OpenAI's dialect, under its own paths and Azure's.

use serde_json::{Value, json};

use super::{Ask, Event, Part, Told, Trouble, data, list, text, texts};
use crate::mind::{Question, Said};

const ID: &str = "chatcmpl-faulty";
/// Length of an embedding.
const DIMENSIONS: usize = 8;

pub(super) fn read(path: &str, body: &Value, raw: &[u8]) -> Option<Ask> {
    // Azure's dated paths of what takes the deployment from the body.
    let path = if path == "/openai/responses" { "/openai/v1/responses" } else { path };
    let (deployment, rest) = match path.strip_prefix("/openai/deployments/") {
        Some(rest) => {
            let (deployment, rest) = rest.split_once('/')?;
            (Some(deployment.to_owned()), rest)
        }
        None => (None, path.strip_prefix("/openai/v1/").or_else(|| path.strip_prefix("/v1/"))?),
    };
    let model = deployment.unwrap_or_else(|| text(&body["model"]));
    match rest {
        "chat/completions" => Some(Ask::Chat(question(body, model))),
        "completions" => {
            Some(Ask::Completion(Question { user: vec![texts(&body["prompt"])], ..question(body, model) }))
        }
        "embeddings" => {
            let inputs = match &body["input"] {
                Value::Array(inputs) => inputs.iter().map(|input| input.to_string()).collect(),
                other => vec![text(other)],
            };
            Some(Ask::Embeddings { model, inputs })
        }
        "rerank" => Some(rerank(body, model)),
        "responses" => Some(super::responses::read(body, model)),
        "moderations" | "audio/speech" | "images/generations" => Some(Ask::Other { model }),
        "audio/transcriptions" | "audio/translations" | "images/edits" | "images/variations" => {
            Some(Ask::Other { model: form_model(raw) })
        }
        _ => None,
    }
}

pub(super) fn rerank(body: &Value, model: String) -> Ask {
    let documents: Vec<String> = list(&body["documents"])
        .iter()
        .map(|document| document.as_str().map_or_else(|| text(&document["text"]), str::to_owned))
        .collect();
    let top_n =
        body["top_n"].as_u64().map_or(documents.len(), |top| usize::try_from(top).unwrap_or(usize::MAX));
    Ask::Rerank { model, query: text(&body["query"]), documents, top_n }
}

/// The field `model` of a multipart body.
fn form_model(raw: &[u8]) -> String {
    let body = String::from_utf8_lossy(raw);
    let after = body.split_once("name=\"model\"").map_or("", |(_, after)| after);
    after.trim_start().lines().next().unwrap_or_default().trim().to_owned()
}

fn question(body: &Value, model: String) -> Question {
    let messages = list(&body["messages"]);
    let of = |role: &str| {
        messages
            .iter()
            .filter(|message| message["role"] == role)
            .map(|message| texts(&message["content"]))
            .collect::<Vec<_>>()
    };
    let last = messages.last().filter(|message| message["role"] == "assistant");
    Question {
        model,
        system: of("system").pop().or_else(|| of("developer").pop()).unwrap_or_default(),
        user: of("user"),
        tools: list(&body["tools"]).iter().map(|tool| text(&tool["function"]["name"])).collect(),
        forced_tool: body["tool_choice"]["function"]["name"].as_str().map(str::to_owned),
        tool_results: of("tool"),
        wants_json: matches!(body["response_format"]["type"].as_str(), Some("json_object" | "json_schema")),
        streams: body["stream"] == true,
        wants_usage: body["stream_options"]["include_usage"] == true,
        prefix: last.map(|message| texts(&message["content"])).unwrap_or_default(),
    }
}

pub(super) fn whole(question: &Question, said: &Said, filtered: bool) -> Value {
    let mut message = json!({"role": "assistant", "content": said.text});
    if let Some(tool) = &said.tool {
        message["content"] = Value::Null;
        message["tool_calls"] = json!([call(&tool.name, &tool.arguments)]);
    }
    json!({
        "id": ID,
        "object": "chat.completion",
        "created": 0,
        "model": question.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish(said, filtered)}],
        "usage": usage(said),
    })
}

pub(crate) fn completion(question: &Question, said: &Said) -> Value {
    json!({
        "id": "cmpl-faulty",
        "object": "text_completion",
        "created": 0,
        "model": question.model,
        "choices": [{"index": 0, "text": said.text, "finish_reason": "stop", "logprobs": null}],
        "usage": usage(said),
    })
}

pub(crate) fn embeddings(model: &str, inputs: &[String]) -> Value {
    let vector = |input: &String| -> Vec<f64> {
        let sum: u64 = input.bytes().map(u64::from).sum();
        (0..DIMENSIONS).map(|place| ((sum + place as u64) % 100) as f64 / 100.0).collect()
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| json!({"object": "embedding", "index": index, "embedding": vector(input)}))
        .collect();
    let tokens: usize = inputs.iter().map(|input| input.split_whitespace().count()).sum();
    json!({
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })
}

fn call(name: &str, arguments: &str) -> Value {
    json!({"id": "call_faulty_0", "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn finish(said: &Said, filtered: bool) -> &'static str {
    match (filtered, &said.tool) {
        (true, _) => "content_filter",
        (false, Some(_)) => "tool_calls",
        (false, None) => "stop",
    }
}

fn usage(said: &Said) -> Value {
    json!({
        "prompt_tokens": said.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": said.input_tokens + said.output_tokens,
    })
}

pub(super) fn events(question: &Question, said: &Said, filtered: bool) -> Vec<Event> {
    let chunk = |choices: Value| json!({"id": ID, "object": "chat.completion.chunk", "created": 0, "model": question.model, "choices": choices});
    let delta = |delta: Value| data(&chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])));
    let event = |part, bytes| Event { bytes, part };
    let mut events = vec![event(Part::Opening, delta(json!({"role": "assistant", "content": ""})))];
    for word in super::words(said) {
        events.push(event(Part::Content, delta(json!({"content": word}))));
    }
    if let Some(tool) = &said.tool {
        let mut first = call(&tool.name, "");
        first["index"] = json!(0);
        events.push(event(Part::Content, delta(json!({"tool_calls": [first]}))));
        let more = json!({"index": 0, "function": {"arguments": tool.arguments}});
        events.push(event(Part::Content, delta(json!({"tool_calls": [more]}))));
    }
    let last = json!([{"index": 0, "delta": {}, "finish_reason": finish(said, filtered)}]);
    events.push(event(Part::Closing, data(&chunk(last))));
    if question.wants_usage {
        let mut last = chunk(json!([]));
        last["usage"] = usage(said);
        events.push(event(Part::Usage, data(&last)));
    }
    events.push(event(Part::Done, b"data: [DONE]\n\n".to_vec()));
    events
}

/// The chunks of the older completions.
pub(crate) fn completion_events(question: &Question, said: &Said) -> Vec<Event> {
    let chunk = |text: &str, finish: Value| {
        json!({
            "id": "cmpl-faulty", "object": "text_completion", "created": 0, "model": question.model,
            "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": null}],
        })
    };
    let mut events: Vec<Event> = super::words(said)
        .map(|word| Event { bytes: data(&chunk(word, Value::Null)), part: Part::Content })
        .collect();
    events.push(Event { bytes: data(&chunk("", json!("stop"))), part: Part::Closing });
    if question.wants_usage {
        let mut last = chunk("", Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage(said);
        events.push(Event { bytes: data(&last), part: Part::Usage });
    }
    events.push(Event { bytes: b"data: [DONE]\n\n".to_vec(), part: Part::Done });
    events
}

pub(super) fn trouble(trouble: &Trouble) -> Told {
    let told = |status: u16, message: String, kind: &str, code: &str| {
        (status, json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
    };
    const INVALID: &str = "invalid_request_error";
    match trouble {
        Trouble::Status(status) => told(*status, "a fault on request".to_owned(), "server_error", "faulty"),
        Trouble::RateLimited => told(
            429,
            "Rate limit reached for requests. Please try again later.".to_owned(),
            "requests",
            "rate_limit_exceeded",
        ),
        Trouble::QuotaExhausted => told(
            429,
            "You exceeded your current quota, please check your plan and billing details.".to_owned(),
            "insufficient_quota",
            "insufficient_quota",
        ),
        Trouble::Overloaded => told(
            503,
            "The engine is currently overloaded, please try again later".to_owned(),
            "server_error",
            "overloaded",
        ),
        Trouble::BadKey(key) => {
            told(401, format!("Incorrect API key provided: {key}."), INVALID, "invalid_api_key")
        }
        Trouble::ModelMissing(model) => {
            told(404, format!("The model `{model}` does not exist"), INVALID, "model_not_found")
        }
        Trouble::ContextOverflow => told(
            400,
            "This model's maximum context length is 8 tokens. However, your messages resulted in 9 tokens."
                .to_owned(),
            INVALID,
            "context_length_exceeded",
        ),
        Trouble::FilteredPrompt => told(
            400,
            "The response was filtered due to the prompt triggering content management policy.".to_owned(),
            INVALID,
            "content_filter",
        ),
        Trouble::BadRequest => {
            told(400, "Invalid value: 'x'. Supported values are: 'y'.".to_owned(), INVALID, "invalid_value")
        }
    }
}
