//! `/health`, `/livez`, `/readyz` and `/metrics`: for orchestrators and Prometheus, so without a token and without
//! secrets.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::insight::Insight;

pub(crate) fn router(insight: Arc<Insight>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(insight)
}

/// The composite report: 200 for ok and degraded, 503 for down.
async fn health(State(insight): State<Arc<Insight>>) -> Response {
    let report = insight.report();
    let status = StatusCode::from_u16(report.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!(*report))).into_response()
}

/// Whether the process can answer at all; restarting it helps against nothing else.
async fn livez() -> &'static str {
    "ok\n"
}

/// Whether traffic should be sent here.
async fn readyz(State(insight): State<Arc<Insight>>) -> Response {
    match insight.is_ready() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")).into_response(),
    }
}

async fn metrics(State(insight): State<Arc<Insight>>) -> Response {
    let text = insight.metrics().await;
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
        .into_response()
}
