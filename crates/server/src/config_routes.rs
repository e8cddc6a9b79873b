//! `GET /api/config` and `POST /api/reload`: on the admin listener of every role, closed by an admin token.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mainstay_base::Micros;
use mainstay_console::AdminTokens;
use serde_json::{Value, json};

use crate::{
    config::Problem,
    reload::{Applied, NotReloaded, Refused, Reloader},
};

pub(crate) fn router(reloader: Arc<Reloader>, tokens: AdminTokens) -> Router {
    Router::new()
        .route("/api/config", get(show))
        .route("/api/reload", post(reload))
        .with_state(reloader)
        .route_layer(middleware::from_fn_with_state(tokens, door))
}

/// The name of the token that opened the door.
#[derive(Clone)]
pub(crate) struct Actor(pub(crate) String);

pub(crate) async fn door(State(tokens): State<AdminTokens>, mut request: Request, next: Next) -> Response {
    let presented = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match presented.and_then(|(_, token)| tokens.name_of(token.trim())) {
        Some(name) => {
            request.extensions_mut().insert(Actor(name));
            next.run(request).await
        }
        None => failure(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "an admin token is needed",
            "send it as Authorization: Bearer",
            json!([]),
        ),
    }
}

async fn show(State(reloader): State<Arc<Reloader>>) -> Json<Value> {
    let refused = reloader.refused().map(|refused| {
        let Refused { at, by, reason, problems } = &*refused;
        json!({"at": iso(*at), "by": by, "reason": reason, "problems": listed(problems)})
    });
    let mut answer = told(&reloader.applied());
    answer["file"] = json!(reloader.path());
    answer["refused"] = json!(refused);
    answer["reload_failures"] = json!(reloader.failures());
    Json(answer)
}

async fn reload(State(reloader): State<Arc<Reloader>>, Extension(Actor(name)): Extension<Actor>) -> Response {
    match reloader.reload(&name).await {
        Ok(applied) => Json(told(&applied)).into_response(),
        Err(NotReloaded::NoFile) => failure(
            StatusCode::CONFLICT,
            "no_file",
            "this process was not started from a configuration file",
            "start mainstay serve --config FILE",
            json!([]),
        ),
        Err(NotReloaded::Ending) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "this process is ending and loads nothing any more",
            "start it again: a start reads the file",
            json!([]),
        ),
        Err(NotReloaded::Refused(refused)) => failure(
            StatusCode::UNPROCESSABLE_ENTITY,
            "config_refused",
            &format!("the configuration was refused: {}", refused.reason),
            "mend the file; the last good configuration stays in force",
            listed(&refused.problems),
        ),
    }
}

fn told(applied: &Applied) -> Value {
    let Applied { revision, generation, at, by, restart_needed, secrets, warnings } = applied;
    json!({
        "revision": revision,
        "generation": generation,
        "applied_at": iso(*at),
        "applied_by": by,
        "restart_needed": restart_needed,
        "secrets": {
            "generation": secrets.generation,
            "changed_at": iso(secrets.changed_at),
            "changed": secrets.changed,
        },
        "warnings": listed(warnings),
    })
}

fn listed(problems: &[Problem]) -> Value {
    problems.iter().map(|Problem { path, message }| json!({"path": path, "message": message})).collect()
}

fn iso(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| format!("{at:.6}"))
}

/// In the shape of the admin API's other failures, with every problem.
fn failure(status: StatusCode, code: &str, message: &str, next: &str, problems: Value) -> Response {
    let body = json!({"error": {"code": code, "message": message, "next": next, "problems": problems}});
    (status, Json(body)).into_response()
}
