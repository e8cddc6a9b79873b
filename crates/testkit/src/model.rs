//! An OpenAI-shaped model that echoes its last user message, and fails as the message asks.
//!
//! The marks are those of the recorded samples: `[[fail:rate]]` 429, `[[fail:server]]` 503, `[[fail:auth]]` 401,
//! `[[fail:drop]]` cuts the stream after its first word, `[[delay:S]]` waits S seconds first. Prompt tokens count
//! words of all messages plus four for each message, completion tokens words of the answer plus four.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::http_server::{HttpServer, Reply, events, json as answer};

/// Serves `POST …/chat/completions` (streamed or not) and `GET …/models`.
pub async fn start() -> HttpServer {
    HttpServer::start(|request: Request<Bytes>| async move {
        if request.uri().path().ends_with("/models") {
            return answer(200, &json!({"object": "list", "data": [{"id": "fake-chat", "object": "model"}]}));
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        complete(&body).await
    })
    .await
}

/// Answers one chat completion request.
pub async fn complete(body: &Value) -> Reply {
    let question = last_user_message(body);
    if let Some(seconds) = mark(&question, "delay") {
        tokio::time::sleep(Duration::from_secs_f64(seconds.parse().unwrap_or(0.0))).await;
    }
    match mark(&question, "fail") {
        Some("rate") => return error(429, "Rate limit reached for fake model"),
        Some("server") => return error(503, "The server is overloaded"),
        Some("auth") => return error(401, "Incorrect API key provided"),
        _ => {}
    }
    let model = body["model"].as_str().unwrap_or("fake-chat");
    let text = format!("Echo from {model}: {question}");
    let usage = usage(body, &text);
    if body["stream"].as_bool() != Some(true) {
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        return answer(
            200,
            &json!({"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}),
        );
    }
    let cut = mark(&question, "fail") == Some("drop");
    let mut words: Vec<&str> = text.split_inclusive(' ').collect();
    if cut {
        words.truncate(1);
    }
    let mut frames: Vec<Value> = words
        .iter()
        .map(|word| chunk(model, json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}])))
        .collect();
    if !cut {
        frames.push(chunk(model, json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])));
        let mut last = chunk(model, json!([]));
        last["usage"] = usage;
        frames.push(last);
    }
    let mut pieces: Vec<(Duration, Bytes)> =
        frames.iter().map(|frame| (Duration::ZERO, Bytes::from(format!("data: {frame}\n\n")))).collect();
    if !cut {
        pieces.push((Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n")));
    }
    events(pieces, cut)
}

fn chunk(model: &str, choices: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices})
}

fn error(status: u16, message: &str) -> Reply {
    answer(status, &json!({"error": {"message": message, "type": "fake", "code": null}}))
}

fn last_user_message(body: &Value) -> String {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    last.and_then(|message| message["content"].as_str()).unwrap_or_default().to_owned()
}

fn mark<'text>(text: &'text str, name: &str) -> Option<&'text str> {
    let rest = &text[text.find(&format!("[[{name}:"))? + name.len() + 3..];
    rest.split_once("]]").map(|(value, _)| value)
}

fn usage(body: &Value, text: &str) -> Value {
    let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let prompt: usize =
        messages.iter().map(|message| words(message["content"].as_str().unwrap_or_default())).sum();
    let completion = words(text);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}

fn words(text: &str) -> usize {
    text.split_whitespace().count() + 4
}
