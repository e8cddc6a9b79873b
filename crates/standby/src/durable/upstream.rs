//! A durable run on a real Dify: called in streaming mode, its events stored as they come.
//!
//! A run that the Dify has started is never started again, unless the app is declared idempotent. When its stream is
//! cut, the run goes on in Dify; it is asked for until it has ended.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use mainstay_base::{Kind, Micros, Secret, TraceParent};
use mainstay_net::{AddressRule, Body, collect, full};
use mainstay_store::model::{Finish, Job, RunEvent, RunResult, RunStatus};
use mainstay_wire::{dify::ApiError, sse::Decoder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Endpoint,
    events::{Gathered, Meaning, from_detail},
};
use crate::{Standby, options::Upstream};

/// One event of a stream. Dify's carry whole node outputs.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;
/// An answer that is not a stream.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// Events are stored in batches of so many …
const EVENT_BATCH: usize = 64;
/// … or as soon as the oldest has waited this long.
const EVENT_WAIT: Duration = Duration::from_millis(500);
/// How often a run whose stream was cut is asked for, and for how long: as long as Dify lets a run take.
const ASK_EVERY: Duration = Duration::from_secs(2);
const ASK_FOR: Duration = Duration::from_secs(1200);

#[derive(Serialize, Deserialize)]
struct Payload {
    path: String,
    body: Value,
    /// As in the header: JSON has no 128-bit numbers.
    traceparent: String,
}

pub(super) fn payload(endpoint: &Endpoint, body: &Value, trace: TraceParent) -> Result<Value, ApiError> {
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("response_mode".to_owned(), Value::from("streaming"));
    }
    let payload = Payload { path: endpoint.path(), body, traceparent: trace.to_string() };
    serde_json::to_value(payload).map_err(|_| ApiError::internal())
}

/// One attempt.
struct Attempt<'a> {
    standby: &'a Standby,
    job: &'a Job,
    upstream: &'a Upstream,
    key: &'a Secret,
    payload: Payload,
    stop: CancellationToken,
    started_at: Micros,
}

/// Why a stream is no longer read.
enum Ended {
    /// It said how the run ended, or closed.
    Closed,
    Stopped,
    /// Somebody else holds the job.
    Fenced,
}

impl Standby {
    pub(super) async fn execute_upstream(&self, job: &Job, stop: CancellationToken) -> Finish {
        let upstreams = self.upstreams();
        let name = job.upstream.as_deref().unwrap_or_default();
        let (Some(upstream), Some(key)) = (upstreams.by_name.get(name), upstreams.keys.get(&job.app_id))
        else {
            // This worker may be told of it in a moment, and another process may know it already.
            let message =
                format!("no address or API key is configured for app {} at upstream `{name}`", job.app_id);
            return self.again(job, Kind::Unavailable, message, None);
        };
        let Ok(payload) = serde_json::from_value(job.payload.clone()) else {
            let message = "the job was queued by another version of mainstay".to_owned();
            return Finish::Dead { class: "payload".into(), message, kind: Kind::Bug, result: None };
        };
        let started_at = self.inner.clock.now();
        let attempt = Attempt { standby: self, job, upstream, key, payload, stop, started_at };
        attempt.run().await
    }
}

impl Attempt<'_> {
    async fn run(&self) -> Finish {
        if !self.job.repeatable {
            match self.standby.inner.store.runs().get(&self.job.run_id).await {
                Ok(Some(run)) => {
                    if let Some(id) = run.summary.upstream_run_id {
                        return self.ask_until_ended(&id).await;
                    }
                }
                Ok(None) => return self.lost("the run is gone"),
                Err(error) => return self.standby.again(self.job, error.kind(), error.to_string(), None),
            }
        }
        let answer = match self.send(self.request("POST", &self.payload.path, Some(&self.payload.body))).await
        {
            Ok(answer) => answer,
            Err(finish) => return finish,
        };
        if answer.status() != StatusCode::OK {
            return self.refused(answer).await;
        }
        let mut gathered = Gathered::default();
        match self.read(answer.into_body(), &mut gathered).await {
            Ended::Closed => {}
            Ended::Fenced => return Finish::Release,
            Ended::Stopped => return self.stopped(gathered).await,
        }
        if gathered.is_complete() {
            return Finish::Done(gathered.result(self.started_at, self.now()));
        }
        match gathered.upstream_run_id {
            Some(id) => self.ask_until_ended(&id).await,
            None => self.unknown("the stream closed before it said whether the run had started"),
        }
    }

    async fn read(&self, mut body: Body, gathered: &mut Gathered) -> Ended {
        let mut decoder = Decoder::new(MAX_EVENT_BYTES);
        let mut pending: Vec<RunEvent> = Vec::new();
        let mut seq = 0;
        let mut oldest = Instant::now();
        loop {
            let flush_at = oldest + EVENT_WAIT;
            let piece = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    self.keep(&mut pending).await;
                    return Ended::Stopped;
                }
                () = tokio::time::sleep_until(flush_at), if !pending.is_empty() => {
                    if !self.keep(&mut pending).await { return Ended::Fenced; }
                    continue;
                }
                piece = body.frame() => piece,
            };
            // The end, or a cut: what was said before it decides.
            let Some(Ok(piece)) = piece else { break };
            let Ok(piece) = piece.into_data() else { continue };
            decoder.push(piece);
            while let Some(frame) = decoder.next_frame() {
                let Some(data) = frame.data() else { continue };
                let Ok(event) = serde_json::from_slice::<Value>(data.as_ref()) else { continue };
                if gathered.add(&event) == Meaning::Started && !self.mark_started(gathered).await {
                    return Ended::Fenced;
                }
                if pending.is_empty() {
                    oldest = Instant::now();
                }
                seq += 1;
                pending.push(RunEvent {
                    seq,
                    at: self.now(),
                    body: String::from_utf8_lossy(data.as_ref()).into_owned(),
                });
                if pending.len() >= EVENT_BATCH && !self.keep(&mut pending).await {
                    return Ended::Fenced;
                }
            }
        }
        if self.keep(&mut pending).await { Ended::Closed } else { Ended::Fenced }
    }

    /// False when the job belongs to somebody else by now. A store that is away does not end the run.
    async fn keep(&self, pending: &mut Vec<RunEvent>) -> bool {
        if pending.is_empty() {
            return true;
        }
        let events = std::mem::take(pending);
        let count = events.len();
        let stored =
            self.standby.inner.store.runs().append_events(&self.job.run_id, self.job.epoch, events).await;
        stored.unwrap_or_else(|error| {
            tracing::warn!(%error, run = self.job.run_id, count, "events of a run could not be stored and are lost");
            true
        })
    }

    async fn mark_started(&self, gathered: &Gathered) -> bool {
        let run_id = gathered.upstream_run_id.as_deref().unwrap_or_default();
        let task_id = gathered.task_id.as_deref().unwrap_or_default();
        let jobs = self.standby.inner.store.jobs();
        let marked = jobs.mark_started(&self.job.id, self.job.epoch, run_id, task_id).await;
        marked.unwrap_or_else(|error| {
            tracing::error!(%error, run = self.job.run_id, "that Dify has started a run could not be stored");
            true
        })
    }

    /// Asks Dify to stop, if that is what somebody asked for, and tells what was seen until then.
    async fn stopped(&self, gathered: Gathered) -> Finish {
        if !self.is_cancelled().await {
            // The worker ends or has lost the job; the run goes on in Dify, and whoever takes the job next asks for it.
            return Finish::Release;
        }
        if let Some(task_id) = &gathered.task_id {
            let kind = if self.payload.path.ends_with("/chat-messages") {
                "chat-messages"
            } else {
                "workflows/tasks"
            };
            let user = self.payload.body.get("user").cloned().unwrap_or_default();
            let request =
                self.request("POST", &format!("/v1/{kind}/{task_id}/stop"), Some(&json!({"user": user})));
            if self.send(request).await.is_err() {
                tracing::warn!(
                    run = self.job.run_id,
                    "Dify could not be told to stop a run; it goes on there"
                );
            }
        }
        let mut result = gathered.result(self.started_at, self.now());
        result.status = RunStatus::Stopped;
        result.error = Some("Stopped by user.".to_owned());
        result.error_kind = None;
        Finish::Cancelled(Some(result))
    }

    async fn is_cancelled(&self) -> bool {
        let run = self.standby.inner.store.runs().get(&self.job.run_id).await;
        let job = run.ok().flatten().and_then(|run| run.summary.job);
        job.is_some_and(|job| job.cancel_requested)
    }

    /// Dify does not stop a run whose caller has gone: it is asked until it has ended.
    async fn ask_until_ended(&self, upstream_run_id: &str) -> Finish {
        let until = Instant::now() + ASK_FOR;
        let path = format!("/v1/workflows/run/{upstream_run_id}");
        while Instant::now() < until {
            if let Some(result) = self.ask(&path, upstream_run_id).await {
                return Finish::Done(result);
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    return if self.is_cancelled().await { Finish::Cancelled(None) } else { Finish::Release };
                }
                () = sleep(ASK_EVERY) => {}
            }
        }
        self.lost("its stream was cut and Dify did not say how it ended")
    }

    async fn ask(&self, path: &str, upstream_run_id: &str) -> Option<RunResult> {
        let answer = self.send(self.request("GET", path, None)).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let body = collect(answer.into_body(), MAX_EVENT_BYTES).await.ok()?;
        let detail: Value = serde_json::from_slice(&body).ok()?;
        from_detail(&detail, upstream_run_id, self.started_at, self.now())
    }

    /// An answer that is no stream: nothing was started.
    async fn refused(&self, answer: Response<Body>) -> Finish {
        let status = answer.status();
        let body = collect(answer.into_body(), MAX_ANSWER_BYTES).await.unwrap_or_default();
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = said.get("message").and_then(Value::as_str).unwrap_or("no message");
        let message = format!("Dify answered {}: {said}", status.as_u16());
        match status.as_u16() {
            401 | 403 => Finish::Dead { class: "denied".into(), message, kind: Kind::Denied, result: None },
            429 => self.standby.again(self.job, Kind::OverBudget, message, None),
            400..=499 => Finish::Done(self.failed(message)),
            // A 502 or 504 of a proxy may hide a run that was started.
            _ => self.unknown(&message),
        }
    }

    /// The request may have reached Dify.
    fn unknown(&self, message: &str) -> Finish {
        if self.job.repeatable {
            return self.standby.again(self.job, Kind::Upstream, message.to_owned(), None);
        }
        self.lost(message)
    }

    fn lost(&self, why: &str) -> Finish {
        let message = format!("{why}; it is not repeated, because the app is not declared idempotent");
        Finish::Dead { class: "unknown_outcome".into(), message, kind: Kind::Upstream, result: None }
    }

    fn failed(&self, message: String) -> RunResult {
        let mut result = Gathered::default().result(self.started_at, self.now());
        result.status = RunStatus::Failed;
        result.error = Some(message);
        result.error_kind = Some(Kind::Caller);
        result
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Finish> {
        let client = &self.standby.inner.client;
        match client.send(request, &self.upstream.timeouts, AddressRule::Any).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_before_send() => {
                Err(self.standby.again(self.job, Kind::Unavailable, error.to_string(), None))
            }
            Err(error) => Err(self.unknown(&error.to_string())),
        }
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Body> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let parent = TraceParent::parse(&self.payload.traceparent).unwrap_or_else(TraceParent::new_root);
        let url = format!("{}{path}", self.upstream.base_url.trim_end_matches('/'));
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key.expose()))
            .header(header::CONTENT_TYPE, "application/json")
            .header("traceparent", parent.child().to_string())
            .body(full(bytes));
        // An address that is no URL is refused by the client, in its own words.
        request.unwrap_or_else(|_| Request::new(mainstay_net::empty()))
    }

    fn now(&self) -> Micros {
        self.standby.inner.clock.now()
    }
}
