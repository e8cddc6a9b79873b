//! An OpenAI-shaped model provider in this process whose faults can be switched on: `POST /faults` on its own port.
//!
//! Only for the demo and its tests: it listens on the loopback interface and asks for no key.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{Response, StatusCode, header},
    middleware::{self, Next},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::model;

/// The only model there is.
pub(crate) const MODEL: &str = "demo-chat";
/// How long the provider thinks, and how fast it writes.
const FIRST_WORD: Duration = Duration::from_millis(15);
const NEXT_WORD: Duration = Duration::from_millis(2);
/// A stalled or slow answer ends some time, so that no task waits for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// What is wrong with the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Fault {
    #[default]
    None,
    /// Answers every call with this status and an error body.
    Status { status: u16 },
    /// Waits before the head of the answer.
    SlowFirstByte { delay_ms: u64 },
    /// Sends so many events, then nothing more, with the connection open.
    Stall { after_events: usize },
    /// Sends so many events, then closes the connection in the middle.
    Cut { after_events: usize },
    /// Closes the connection before the head of an answer.
    Refuse,
    /// Answers 200 with something that is no completion.
    Garbage,
}

/// A running provider.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// With its version part, as model providers are configured.
    pub(crate) base_url: String,
    pub(crate) faults_url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<Fault>,
    completions: AtomicU64,
}

impl Provider {
    pub(crate) async fn start(tasks: &TaskTracker, stop: CancellationToken) -> std::io::Result<Provider> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let faulty = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), fail_head));
        let router = faulty.route("/faults", get(faults).post(set_fault)).with_state(Arc::clone(&shared));
        tasks.spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
            // Streams that stall on purpose must not hold up the end.
            tokio::select! {
                _ = served => {}
                () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_millis(200)).await } => {}
            }
        });
        Ok(Provider {
            base_url: format!("http://{address}/v1"),
            faults_url: format!("http://{address}/faults"),
            shared,
        })
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.shared.fault.lock() = fault;
    }

    /// Completions that were begun.
    pub(crate) fn completions(&self) -> u64 {
        self.shared.completions.load(Ordering::Relaxed)
    }
}

async fn faults(State(shared): State<Arc<Shared>>) -> Json<Fault> {
    Json(*shared.fault.lock())
}

async fn set_fault(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Json<Fault> {
    *shared.fault.lock() = fault;
    Json(fault)
}

/// The faults that show before or instead of an answer's head.
async fn fail_head(
    State(shared): State<Arc<Shared>>,
    request: axum::extract::Request,
    next: Next,
) -> axum::response::Response {
    let fault = *shared.fault.lock();
    match fault {
        Fault::Status { status } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let error = json!({"error": {"message": "a fault of the demo provider", "type": "demo_fault", "code": null}});
            (status, Json(error)).into_response()
        }
        Fault::SlowFirstByte { delay_ms } => {
            tokio::time::sleep(Duration::from_millis(delay_ms).min(LONGEST_WAIT)).await;
            next.run(request).await
        }
        // A body that fails at once makes the server close the connection.
        Fault::Refuse => Body::from_stream(stream::iter([Err::<Bytes, _>(Hangup)])).into_response(),
        Fault::Garbage => Json(json!({"surprise": true})).into_response(),
        Fault::None | Fault::Stall { .. } | Fault::Cut { .. } => next.run(request).await,
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the demo provider hangs up on purpose")]
struct Hangup;

async fn models() -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "mainstay-demo"}]}))
}

async fn complete(State(shared): State<Arc<Shared>>, body: Bytes) -> axum::response::Response {
    shared.completions.fetch_add(1, Ordering::Relaxed);
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        let error = json!({"error": {"message": "the body is not JSON", "type": "invalid_request_error"}});
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    tokio::time::sleep(FIRST_WORD).await;
    let answer = model::answer(&request);
    let fault = *shared.fault.lock();
    match request["stream"].as_bool() {
        Some(true) => events(chunks(&answer), fault),
        _ => whole(&answer, fault),
    }
}

fn whole(answer: &model::Answer, fault: Fault) -> axum::response::Response {
    if matches!(fault, Fault::Cut { .. } | Fault::Stall { .. }) {
        return events(Vec::new(), fault);
    }
    let message = json!({"role": "assistant", "content": answer.text});
    Json(json!({
        "id": "chatcmpl-demo",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": answer.usage,
    }))
    .into_response()
}

fn chunks(answer: &model::Answer) -> Vec<String> {
    let chunk = |choices: Value| json!({"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": choices});
    let mut events: Vec<Value> = answer
        .text
        .split_inclusive(' ')
        .map(|word| chunk(json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}])))
        .collect();
    events.push(chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])));
    let mut last = chunk(json!([]));
    last["usage"] = answer.usage.clone();
    events.push(last);
    let mut texts: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    texts.push("data: [DONE]\n\n".to_owned());
    texts
}

/// What comes after the events that a fault lets through.
#[derive(Clone, Copy)]
enum Ending {
    Whole,
    Silence,
    Hangup,
}

fn events(mut texts: Vec<String>, fault: Fault) -> axum::response::Response {
    let ending = match fault {
        Fault::Stall { after_events } => {
            texts.truncate(after_events);
            Ending::Silence
        }
        Fault::Cut { after_events } => {
            texts.truncate(after_events);
            Ending::Hangup
        }
        _ => Ending::Whole,
    };
    let words = stream::iter(texts).then(|text| async {
        tokio::time::sleep(NEXT_WORD).await;
        Ok::<Bytes, Hangup>(Bytes::from(text))
    });
    let end = stream::once(async move {
        match ending {
            Ending::Whole => None,
            Ending::Silence => {
                tokio::time::sleep(LONGEST_WAIT).await;
                None
            }
            Ending::Hangup => Some(Err(Hangup)),
        }
    })
    .filter_map(|ending| async move { ending });
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")
        .body(Body::from_stream(words.chain(end)));
    response.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

#[cfg(test)]
mod tests {
    use mainstay_base::snapshot::Timeouts;
    use mainstay_net::{AddressRule, Client, ClientOptions};

    use super::*;

    async fn ask(provider: &Provider, stream: bool) -> Result<(u16, String), String> {
        let client = Client::new(ClientOptions::default()).unwrap();
        let body = json!({"model": MODEL, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        let request = http::Request::post(format!("{}/chat/completions", provider.base_url))
            .body(mainstay_net::full(body.to_string()))
            .unwrap();
        let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
        let answer =
            client.send(request, &timeouts, AddressRule::Any).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body =
            mainstay_net::collect(answer.into_body(), 1 << 20).await.map_err(|error| error.to_string())?;
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    #[tokio::test]
    async fn a_healthy_provider_answers_whole_and_in_events() {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let provider = Provider::start(&tasks, stop.clone()).await.unwrap();
        let (status, body) = ask(&provider, false).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.contains("You wrote: Hi"), "{body}");
        let (_, body) = ask(&provider, true).await.unwrap();
        assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
        assert_eq!(provider.completions(), 2);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn each_fault_shows_as_it_should() {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let provider = Provider::start(&tasks, stop.clone()).await.unwrap();
        provider.set(Fault::Status { status: 503 });
        assert_eq!(ask(&provider, true).await.unwrap().0, 503);
        provider.set(Fault::Cut { after_events: 2 });
        assert!(ask(&provider, true).await.is_err(), "the stream is cut");
        provider.set(Fault::Stall { after_events: 1 });
        assert!(ask(&provider, true).await.unwrap_err().contains("idle"), "the stream stalls");
        provider.set(Fault::Garbage);
        assert!(ask(&provider, false).await.unwrap().1.contains("surprise"));
        provider.set(Fault::SlowFirstByte { delay_ms: 5 });
        assert_eq!(ask(&provider, false).await.unwrap().0, 200);
        stop.cancel();
    }
}
