//! A real run of one app, by the Service API and as a stream: the only probe that goes the whole way. It costs what the app costs:
//! a run and its tokens, which Dify books like any other.

use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use mainstay_base::{Severity, snapshot::Timeouts};
use mainstay_net::{AddressRule, Body};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{
    Component,
    ask::{Ask, MAX_BYTES, request},
    report::{Problem, Report, State},
};
use crate::{deployment::Canary, signature};

/// Shorter than the probe's deadline, so that what came until then can be judged.
const WHOLE_RUN: Duration = Duration::from_secs(12);
/// How the runs are told from others, in logs and in `end_users`.
const USER: &str = "mainstay-canary";
/// What a chat app is asked unless the configuration has a `query`.
const QUESTION: &str = "ping";

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    mode: String,
}

/// What came of the stream.
#[derive(Default)]
struct Run {
    first_event_after: Option<Duration>,
    has_started: bool,
    /// The title of the node that was started last, and not finished.
    node: Option<String>,
    status: Option<String>,
    error: Option<String>,
    tokens: Option<u64>,
    run: Option<String>,
    has_ended: bool,
}

pub(super) async fn look(ask: Ask<'_>, url: &str, canary: &Canary) -> Report {
    let mut report = Report::of(Component::Canary);
    let key = ("authorization", &canary.key);
    let info = match ask.get(&format!("{url}/v1/info"), Some(key)).await {
        Ok(answer) => answer,
        Err(no_answer) => {
            return report.failed(problem(
                "canary-unanswered",
                "the canary's app cannot be asked for",
                no_answer.asked,
                no_answer.why,
            ));
        }
    };
    if info.status == 401 {
        return report.failed(problem(
            "M11",
            "the canary's app key is refused",
            info.asked.clone(),
            info.said(),
        ));
    }
    let mode = info.json::<Info>().unwrap_or(Info { mode: String::new() }).mode;
    report.fact("mode", &mode);
    let (path, body) = question(&mode, canary);
    let asked = format!("POST {url}{path} as a stream");
    let began = Instant::now();
    match follow(ask, &format!("{url}{path}"), canary, &body).await {
        Ok(run) => judge(report, run, asked, began.elapsed()),
        Err(why) => report.failed(problem("canary-unanswered", "the canary's run was not taken", asked, why)),
    }
}

fn question(mode: &str, canary: &Canary) -> (&'static str, Value) {
    let mut inputs = canary.inputs.clone();
    if mode == "workflow" {
        return ("/v1/workflows/run", json!({"inputs": inputs, "response_mode": "streaming", "user": USER}));
    }
    let query = inputs.remove("query").unwrap_or_else(|| QUESTION.into());
    let path = if mode == "completion" { "/v1/completion-messages" } else { "/v1/chat-messages" };
    let mut body =
        json!({"query": query, "response_mode": "streaming", "user": USER, "auto_generate_name": false});
    if mode == "completion" {
        inputs.insert("query".to_owned(), query);
    }
    body["inputs"] = inputs.into();
    (path, body)
}

/// Reads the stream to its end, or as far as it comes within [`WHOLE_RUN`].
async fn follow(ask: Ask<'_>, url: &str, canary: &Canary, body: &Value) -> Result<Run, String> {
    let until = Instant::now() + WHOLE_RUN;
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        first_byte: WHOLE_RUN,
        idle: WHOLE_RUN,
        total: WHOLE_RUN,
    };
    let key = Some(("authorization", &canary.key));
    let request = request(Method::POST, url, key, Some(body)).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let sent =
        ask.client.send(request, &timeouts, AddressRule::Any).await.map_err(|error| error.to_string())?;
    let (head, mut body) = sent.into_parts();
    let mut run = Run::default();
    let mut text = Vec::new();
    let mut seen = 0;
    while let Some(piece) = next(&mut body, until).await {
        seen += piece.len();
        text.extend_from_slice(&piece);
        if seen > MAX_BYTES {
            return Err(format!("more than {MAX_BYTES} bytes of events"));
        }
        if !head.status.is_success() {
            continue;
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            run.line(&line, began.elapsed());
        }
        if run.has_ended {
            return Ok(run);
        }
    }
    match head.status.is_success() {
        true => Ok(run),
        false => Err(format!("{} {}", head.status.as_u16(), String::from_utf8_lossy(&text))),
    }
}

async fn next(body: &mut Body, until: Instant) -> Option<bytes::Bytes> {
    // Ends: each frame is of a body that has a whole timeout.
    loop {
        let frame = timeout_at(until, body.frame()).await.ok()??.ok()?;
        if let Ok(data) = frame.into_data() {
            return Some(data);
        }
    }
}

impl Run {
    fn line(&mut self, line: &[u8], after: Duration) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let Ok(event) = serde_json::from_slice::<Value>(data) else { return };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.first_event_after.get_or_insert(after);
        self.run = self.run.take().or_else(|| text(&event["workflow_run_id"]));
        match event["event"].as_str().unwrap_or_default() {
            "workflow_started" => self.has_started = true,
            "node_started" => self.node = text(&event["data"]["title"]),
            "node_finished" => self.node = None,
            "workflow_finished" => {
                self.status = text(&event["data"]["status"]);
                self.error = text(&event["data"]["error"]).or(self.error.take());
                self.tokens = event["data"]["total_tokens"].as_u64();
                // A chatflow has its `message_end` before or after it; the run is judged by this one.
                self.has_ended = true;
            }
            "message_end" => {
                self.tokens = event["metadata"]["usage"]["total_tokens"].as_u64().or(self.tokens);
                self.status.get_or_insert_with(|| "succeeded".to_owned());
                self.has_ended = true;
            }
            "error" => {
                self.status = Some("failed".to_owned());
                self.error = text(&event["message"]);
                self.has_ended = true;
            }
            _ => self.has_started = true,
        }
    }
}

fn judge(mut report: Report, run: Run, asked: String, took: Duration) -> Report {
    report.took(took);
    if let Some(first) = run.first_event_after {
        report.fact("first_event_ms", first.as_millis());
    }
    if let Some(id) = &run.run {
        report.fact("run", id);
    }
    report.fact("tokens", run.tokens.unwrap_or_default());
    let seconds = WHOLE_RUN.as_secs();
    match (run.has_ended, run.status.as_deref()) {
        (true, Some("succeeded")) => {
            let tokens = run.tokens.unwrap_or_default();
            report.with(State::Ok, format!("ran in {} ms for {tokens} tokens", took.as_millis()))
        }
        (true, status) => {
            let error = run.error.unwrap_or_else(|| "(no error text)".to_owned());
            let what = format!("the canary's run ended as {}: {error}", status.unwrap_or("unknown"));
            let row = signature::classify(&error);
            let id = row.map_or("canary-failed", |row| row.id.as_str());
            report.failed(Problem {
                cause: if row.is_some() { "" } else { "Its own node failed; the error tells." },
                remedy: if row.is_some() { "" } else { "Open the run in Dify's console; it is of the user mainstay-canary." },
                ..problem(id, &what, asked, error)
            })
        }
        (false, _) if !run.has_started => report.failed(Problem {
            cause: "Nobody took it: since Dify 1.13 a worker must consume workflow_based_app_execution, and its events must reach the API.",
            remedy: "See the queue findings; add workflow_based_app_execution to CELERY_QUEUES of a worker.",
            ..problem("canary-not-started", &format!("the canary's run did not start within {seconds} s"), asked, "no event".to_owned())
        }),
        (false, _) => {
            let at = run.node.unwrap_or_else(|| "between nodes".to_owned());
            report.failed(Problem {
                severity: Severity::Warning,
                cause: "A slow model or tool, or the worker stands still.",
                remedy: "Choose an app that answers within seconds, or look at the node that it names.",
                ..problem("canary-slow", &format!("the canary's run was not done after {seconds} s, at node {at}"), asked, format!("started, then {at}"))
            })
        }
    }
}

fn problem<'a>(id: &'a str, what: &str, asked: String, answered: String) -> Problem<'a> {
    let is_ours = id.starts_with("canary");
    Problem {
        id,
        severity: Severity::Critical,
        what: what.to_owned(),
        cause: if is_ours { "The API, or the app's key, does not take it." } else { "" },
        remedy: if is_ours {
            "Check the app's API access and its inputs, then the API's findings."
        } else {
            ""
        },
        asked,
        answered,
    }
}
