//! One call of a model, over an OpenAI-shaped API, streamed.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use mainstay_base::{Kind, snapshot::Timeouts};
use mainstay_net::{AddressRule, Body, CollectError, collect, full};
use mainstay_wire::{
    openai::{self, Completion},
    sse::Decoder,
};
use serde_json::{Map, Value};

use crate::{
    Usage,
    run::{Chunks, Run},
};

/// One event of a model's stream.
const MAX_EVENT_BYTES: usize = 256 * 1024;
/// What is read of an error's body.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// What a message shows of an error's body that is not in the usual shape.
const MAX_SHOWN_CHARACTERS: usize = 300;
/// How Dify's OpenAI-shaped provider marks what a model thought before it answered.
const THINK_START: &str = "<think>\n";
const THINK_END: &str = "\n</think>";

/// What a model said.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// With what it thought, marked.
    pub(crate) text: String,
    pub(crate) finish_reason: Option<String>,
    pub(crate) usage: Usage,
}

/// Why it said nothing, or not all.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) message: String,
    pub(crate) error_type: &'static str,
    pub(crate) kind: Kind,
}

impl CallError {
    fn new(message: impl Into<String>, error_type: &'static str, kind: Kind) -> CallError {
        CallError { message: message.into(), error_type, kind }
    }
}

/// Sends a chat completion request. `provider` is the DSL's name for whom it believes to call.
pub(crate) async fn complete(
    run: &Run,
    body: &Value,
    provider: &str,
    chunks: Option<&Chunks>,
) -> Result<Answered, CallError> {
    let started_at = run.now();
    let request = request(run, body)?;
    let timeouts = Timeouts { total: run.call_time(), ..Timeouts::default() };
    let response = run.ports.client.send(request, &timeouts, AddressRule::Any).await.map_err(|error| {
        CallError::new(format!("Connection error. {error}"), "InvokeConnectionError", error.kind())
    })?;
    if !response.status().is_success() {
        return Err(refused(response, provider).await);
    }
    let is_stream = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("text/event-stream"));
    let mut reader = Reader {
        max_bytes: run.ports.limits.max_model_answer_bytes,
        chunks,
        answered: Answered::default(),
        first_token_at: None,
        is_thinking: false,
        is_done: false,
        run,
    };
    if is_stream {
        reader.stream(response.into_body()).await?;
    } else {
        reader.whole(response.into_body()).await?;
    }
    let ended_at = run.now();
    let mut answered = reader.answered;
    answered.usage.latency_s = ended_at.since(started_at).as_secs_f64();
    if let Some(first) = reader.first_token_at {
        answered.usage.time_to_first_token_s = Some(first.since(started_at).as_secs_f64());
        answered.usage.time_to_generate_s = Some(ended_at.since(first).as_secs_f64());
    }
    Ok(answered)
}

fn request(run: &Run, body: &Value) -> Result<Request<Body>, CallError> {
    let endpoint = &run.ports.model;
    let unusable = |what: &str| {
        CallError::new(
            format!("the model endpoint's {what} cannot be used"),
            "InvokeBadRequestError",
            Kind::Bug,
        )
    };
    let bytes = serde_json::to_vec(body).map_err(|_| unusable("request"))?;
    let mut key =
        HeaderValue::try_from(format!("Bearer {}", endpoint.key.expose())).map_err(|_| unusable("key"))?;
    key.set_sensitive(true);
    Request::builder()
        .method(Method::POST)
        .uri(format!("{}/chat/completions", endpoint.base_url.trim_end_matches('/')))
        .header(header::AUTHORIZATION, key)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "text/event-stream, application/json")
        .header("traceparent", run.trace.child().to_string())
        .header("Mainstay-App", HeaderValue::try_from(&run.app_id).unwrap_or(HeaderValue::from_static("")))
        // Who has fallbacks leaves them their part of what the run has left.
        .header("Mainstay-Deadline", milliseconds(run.time_left()).to_string())
        .body(full(bytes))
        .map_err(|_| unusable("address"))
}

/// As the gateway takes it: whole milliseconds, one at least and a day at most.
fn milliseconds(time: Duration) -> u64 {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    u64::try_from(time.as_millis()).unwrap_or(DAY_MS).clamp(1, DAY_MS)
}

/// An answer that says no, in the words Dify's providers use.
async fn refused(response: Response<Body>, provider: &str) -> CallError {
    let status = response.status();
    let body = collect(response.into_body(), MAX_ERROR_BYTES).await.unwrap_or_default();
    let message = match serde_json::from_slice::<Value>(&body) {
        Ok(value) => error_message(&value).unwrap_or_else(|| shown(&value.to_string())),
        Err(_) => shown(&String::from_utf8_lossy(&body)),
    };
    let text = format!("Error code: {} - {message}", status.as_u16());
    let short_provider = provider.rsplit('/').next().unwrap_or(provider);
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::new(
            format!("[{short_provider}] Incorrect model credentials provided, please check and try again."),
            "InvokeAuthorizationError",
            Kind::Denied,
        ),
        StatusCode::TOO_MANY_REQUESTS => CallError::new(text, "InvokeRateLimitError", Kind::OverBudget),
        status if status.is_server_error() => {
            CallError::new(text, "InvokeServerUnavailableError", Kind::Upstream)
        }
        _ => CallError::new(text, "InvokeBadRequestError", Kind::Caller),
    }
}

fn error_message(body: &Value) -> Option<String> {
    let error = body.get("error").unwrap_or(body);
    let message = error.get("message").or_else(|| body.get("message")).unwrap_or(error);
    message.as_str().map(str::to_owned)
}

/// What a model thought, under either of the names that providers have for it.
fn thought(message: &Map<String, Value>) -> &str {
    let named = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    named("reasoning_content").or_else(|| named("reasoning")).unwrap_or_default()
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARACTERS).collect()
}

struct Reader<'a> {
    run: &'a Run,
    max_bytes: usize,
    chunks: Option<&'a Chunks>,
    answered: Answered,
    first_token_at: Option<mainstay_base::Micros>,
    is_thinking: bool,
    is_done: bool,
}

impl Reader<'_> {
    async fn stream(&mut self, mut body: Body) -> Result<(), CallError> {
        let mut decoder = Decoder::new(MAX_EVENT_BYTES);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                CallError::new(
                    format!("the model's answer ended before its end: {error}"),
                    "InvokeConnectionError",
                    Kind::Unavailable,
                )
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            decoder.push(bytes);
            while let Some(frame) = decoder.next_frame() {
                if !frame.is_whole() {
                    let message =
                        format!("one event of the model's answer is larger than {MAX_EVENT_BYTES} bytes");
                    return Err(CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream));
                }
                if let Some(data) = frame.data() {
                    self.event(&data).await?;
                }
                if self.is_done {
                    return self.end().await;
                }
            }
        }
        if self.answered.finish_reason.is_none() {
            return Err(CallError::new(
                "the model's answer ended before its end",
                "InvokeConnectionError",
                Kind::Unavailable,
            ));
        }
        self.end().await
    }

    async fn event(&mut self, data: &[u8]) -> Result<(), CallError> {
        if data == openai::DONE {
            self.is_done = true;
            return Ok(());
        }
        let chunk: openai::Chunk = serde_json::from_slice(data).map_err(|error| {
            let message = format!("the model's answer is not readable: {error}");
            CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream)
        })?;
        if let Some(error) = &chunk.error {
            let message = error_message(error).unwrap_or_else(|| shown(&error.to_string()));
            return Err(CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream));
        }
        self.usage(chunk.usage.as_ref());
        if let Some(choice) = chunk.choices.first() {
            self.think(thought(&choice.delta.extra)).await?;
            self.say(choice.delta.text().unwrap_or_default()).await?;
            if let Some(reason) = &choice.finish_reason {
                self.answered.finish_reason = Some(reason.clone());
            }
        }
        Ok(())
    }

    /// An answer in one piece, from a model that does not stream.
    async fn whole(&mut self, body: Body) -> Result<(), CallError> {
        let bytes = collect(body, self.max_bytes).await.map_err(|error| match error {
            CollectError::TooLarge { .. } => self.too_large(),
            CollectError::Body(error) => CallError::new(
                format!("the model's answer ended before its end: {error}"),
                "InvokeConnectionError",
                Kind::Unavailable,
            ),
        })?;
        let completion: Completion = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the model's answer is not readable: {error}");
            CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream)
        })?;
        self.usage(completion.usage.as_ref());
        let Some(choice) = completion.choices.first() else {
            let message = "the model's answer holds no choice";
            return Err(CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream));
        };
        self.think(thought(&choice.message.extra)).await?;
        self.say(choice.message.text().unwrap_or_default()).await?;
        self.answered.finish_reason.clone_from(&choice.finish_reason);
        self.end().await
    }

    fn usage(&mut self, usage: Option<&openai::Usage>) {
        if let Some(usage) = usage {
            self.answered.usage.prompt_tokens = usage.prompt_tokens;
            self.answered.usage.completion_tokens = usage.completion_tokens;
            self.answered.usage.total_tokens = usage.total_tokens;
        }
    }

    async fn think(&mut self, text: &str) -> Result<(), CallError> {
        if text.is_empty() {
            return Ok(());
        }
        if !std::mem::replace(&mut self.is_thinking, true) {
            self.push(THINK_START).await?;
        }
        self.push(text).await
    }

    async fn say(&mut self, text: &str) -> Result<(), CallError> {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.is_thinking) {
            self.push(THINK_END).await?;
        }
        self.push(text).await
    }

    async fn end(&mut self) -> Result<(), CallError> {
        if std::mem::take(&mut self.is_thinking) {
            self.push(THINK_END).await?;
        }
        Ok(())
    }

    async fn push(&mut self, text: &str) -> Result<(), CallError> {
        if self.answered.text.len() + text.len() > self.max_bytes {
            return Err(self.too_large());
        }
        if self.first_token_at.is_none() {
            self.first_token_at = Some(self.run.now());
        }
        self.answered.text.push_str(text);
        if let Some(chunks) = self.chunks {
            chunks.send(Some(Arc::from(text))).await;
        }
        Ok(())
    }

    fn too_large(&self) -> CallError {
        let message = format!("the model's answer is larger than {} bytes", self.max_bytes);
        CallError::new(message, "InvokeServerUnavailableError", Kind::Upstream)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deadline_is_one_that_the_gateway_takes() {
        for (left, told) in [
            (Duration::ZERO, 1),
            (Duration::from_micros(1_999), 1),
            (Duration::from_secs(1200), 1_200_000),
            (Duration::MAX, 86_400_000),
        ] {
            assert_eq!(milliseconds(left), told, "{left:?}");
        }
    }

    #[test]
    fn thoughts_have_two_names() {
        for (message, expected) in [
            (json!({"reasoning_content": "a"}), "a"),
            (json!({"reasoning": "b"}), "b"),
            (json!({"reasoning_content": "", "reasoning": "b"}), "b"),
            (json!({"reasoning": {"effort": "low"}}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(thought(message.as_object().unwrap()), expected, "{message}");
        }
    }
}
