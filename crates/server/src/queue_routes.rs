//! `/api/queue…` on the admin listener: what is known of Dify's queues and workers, and what can be done about them.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mainstay_console::AdminTokens;
use mainstay_control::{
    Change, Facade,
    queue::{Acted, Answer, Latest, NotActed, Watch},
};
use mainstay_dify::celery::act::{Action, Refused};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config_routes::{Actor, door};

/// What the routes ask; without a Dify in the configuration each says so.
pub(crate) struct Queues {
    pub(crate) facade: Facade,
    pub(crate) watch: Option<Watch>,
}

pub(crate) fn router(queues: Queues, tokens: AdminTokens) -> Router {
    Router::new()
        .route("/api/queue", get(list))
        .route("/api/queue/workers", get(workers))
        .route("/api/queue/tasks", get(tasks))
        .route("/api/queue/act", post(act))
        .with_state(Arc::new(queues))
        .route_layer(middleware::from_fn_with_state(tokens, door))
}

async fn list(State(queues): State<Arc<Queues>>) -> Response {
    told(&queues, list_of)
}

async fn workers(State(queues): State<Arc<Queues>>) -> Response {
    told(&queues, workers_of)
}

async fn tasks(State(queues): State<Arc<Queues>>) -> Response {
    told(&queues, tasks_of)
}

fn told(queues: &Queues, tell: fn(&Latest) -> Value) -> Response {
    match &queues.watch {
        Some(watch) => Json(tell(&watch.latest())).into_response(),
        None => no_dify(),
    }
}

/// Queues with their lengths, ages, rates and forecasts; the findings; what is held unacknowledged.
pub(crate) fn list_of(latest: &Latest) -> Value {
    let seen = latest.seen.as_ref();
    json!({
        "at": seen.map(|seen| seen.at),
        "queues": latest.verdicts.queues,
        "unacked": seen.map(|seen| &seen.unacked),
        "tenants": seen.map(|seen| &seen.tenants),
        "findings": latest.verdicts.findings,
    })
}

pub(crate) fn workers_of(latest: &Latest) -> Value {
    let seen = latest.seen.as_ref();
    json!({
        "at": seen.map(|seen| seen.at),
        "asked_at": seen.and_then(|seen| seen.asked_at),
        "listeners": seen.and_then(|seen| seen.listeners),
        "workers": seen.map(|seen| &seen.workers),
        "findings": latest.verdicts.findings,
    })
}

/// Every task that was seen: those that workers have, and those at the ends of queues.
pub(crate) fn tasks_of(latest: &Latest) -> Value {
    let mut tasks = Vec::new();
    if let Some(seen) = &latest.seen {
        for worker in &seen.workers {
            let Some(answer) = &worker.answer else { continue };
            let Answer { active, reserved, scheduled, .. } = answer;
            for (state, held) in [("active", active), ("reserved", reserved), ("scheduled", scheduled)] {
                for task in held {
                    tasks.push(json!({
                        "state": state, "worker": worker.name, "queue": task.queue, "id": task.id,
                        "task": task.task, "started_at": task.started_at, "about": task.about,
                    }));
                }
            }
        }
        for queue in &seen.queues {
            for peek in queue.oldest.iter().chain(&queue.newest) {
                tasks.push(json!({ "state": "waiting", "queue": queue.name, "message": peek }));
            }
        }
    }
    json!({ "at": latest.seen.as_ref().map(|seen| seen.at), "tasks": tasks, "findings": latest.verdicts.findings })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    action: Action,
    /// Do it; without it, only say what would be done.
    #[serde(default)]
    yes: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    why: String,
}

async fn act(
    State(queues): State<Arc<Queues>>,
    Extension(Actor(actor)): Extension<Actor>,
    Json(ask): Json<Ask>,
) -> Response {
    let Some(watch) = &queues.watch else { return no_dify() };
    let change = Change { actor, why: ask.why, dry_run: !ask.yes, force: ask.force };
    match queues.facade.act_on_queues(watch, ask.action, &change).await {
        Ok(Acted { plan, done }) => Json(json!({ "plan": plan, "done": done })).into_response(),
        Err(NotActed::Store(error)) => {
            let why = crate::failure::chain(&error);
            failure(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", &why, "see mainstay health")
        }
        Err(NotActed::Refused(refused)) => {
            let status = match &refused {
                Refused::Guard { .. } => StatusCode::CONFLICT,
                Refused::NobodyAnswered
                | Refused::ByWorker { .. }
                | Refused::Redis(_)
                | Refused::Database(_) => StatusCode::BAD_GATEWAY,
                Refused::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            };
            failure(status, "refused", &crate::failure::chain(&refused), &refused.next())
        }
    }
}

fn no_dify() -> Response {
    failure(
        StatusCode::NOT_FOUND,
        "no_dify",
        "the configuration names no Dify with a broker",
        "write its [dify] section with mainstay init --dify-env docker/.env",
    )
}

fn failure(status: StatusCode, code: &str, message: &str, next: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "message": message, "next": next}}))).into_response()
}
