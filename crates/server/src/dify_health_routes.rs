//! `/api/dify/health` on the admin listener: what is known of each component of the Dify that is looked after.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use mainstay_console::AdminTokens;
use mainstay_control::deep::{Latest, Looked, Watch};
use mainstay_dify::{Deployment, probe::Pace};
use serde_json::{Value, json};

use crate::config_routes::door;

/// Without a Dify in the configuration the route says so.
pub(crate) fn router(watch: Option<Watch>, tokens: AdminTokens) -> Router {
    Router::new()
        .route("/api/dify/health", get(health))
        .with_state(watch)
        .route_layer(middleware::from_fn_with_state(tokens, door))
}

async fn health(State(watch): State<Option<Watch>>) -> Response {
    let Some(watch) = watch else {
        let error = json!({
            "code": "no_dify",
            "message": "the configuration names no Dify",
            "next": "write its [dify] section with mainstay init --dify-env docker/.env",
        });
        return (StatusCode::NOT_FOUND, Json(json!({ "error": error }))).into_response();
    };
    Json(told(&watch.latest(), watch.prober().deployment())).into_response()
}

/// The diagnosis as `mainstay doctor --json` has it, and when each component was looked at.
fn told(latest: &Latest, deployment: &Deployment) -> Value {
    let diagnosis = latest.diagnosis.as_deref();
    json!({
        "deployment": deployment.name,
        "looked_by": latest.by,
        "at": diagnosis.map(|diagnosis| diagnosis.at),
        "version": diagnosis.and_then(|diagnosis| diagnosis.version.as_ref()),
        "components": latest.looked.iter().map(|looked| component(looked, &deployment.pace)).collect::<Vec<_>>(),
        "findings": diagnosis.map(|diagnosis| &diagnosis.findings),
        "schema": diagnosis.and_then(|diagnosis| diagnosis.schema.as_ref()),
        "budget": diagnosis.and_then(|diagnosis| diagnosis.budget.as_ref()),
    })
}

fn component(looked: &Looked, pace: &Pace) -> Value {
    let Looked { component, at, looks, stands, last, out_since } = looked;
    let shown = stands.as_ref().unwrap_or(last);
    json!({
        "component": component.as_str(),
        // One look alone is not believed.
        "state": stands.as_ref().map_or("unknown", |report| report.state.as_str()),
        "reason": shown.reason,
        "last_state": last.state.as_str(),
        "latency_ms": last.latency_ms,
        "at": at,
        "every_s": pace.every(*component).as_secs(),
        "looks": looks,
        "out_since": out_since,
        "proves": shown.proves,
        "leaves_open": shown.leaves_open,
        "facts": shown.facts,
    })
}
