//! `/api/dify/ingest…` on the admin listener: what was read of a Dify's database. Read-only.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use mainstay_base::{Clock, Micros};
use mainstay_console::AdminTokens;
use mainstay_control::ingest::{By, usage, view};
use mainstay_dify::signature::Catalogue;
use mainstay_store::{
    MAX_DIFY_LIST, Store, StoreError,
    model::{DifyFilter, DifyListed},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config_routes::door;

const DEFAULT_SPAN: Duration = Duration::from_secs(24 * 3_600);
/// Minutes are kept for so long.
const MAX_SPAN: Duration = Duration::from_secs(31 * 24 * 3_600);
const DEFAULT_LIMIT: u32 = 50;
/// Failed runs that are counted by signature, the newest.
const COUNTED: u32 = MAX_DIFY_LIST;

/// Whose reading the routes tell.
#[derive(Clone)]
pub(crate) struct Dify {
    /// What was read is kept under this name.
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// What errors mean.
    pub(crate) catalogue: Catalogue,
}

/// `None`: no Dify with a database is configured, and each route says so.
pub(crate) fn router(dify: Option<Dify>, tokens: AdminTokens) -> Router {
    Router::new()
        .route("/api/dify/ingest", get(status))
        .route("/api/dify/ingest/apps", get(apps))
        .route("/api/dify/ingest/usage", get(used))
        .route("/api/dify/ingest/runs", get(runs))
        .route("/api/dify/ingest/errors", get(errors))
        .with_state(Arc::new(dify))
        .route_layer(middleware::from_fn_with_state(tokens, door))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    /// How far back, in seconds.
    since_seconds: Option<u64>,
    /// An app's id.
    app: Option<String>,
    /// A class of failures, as `provider_rate_limited`.
    class: Option<String>,
    /// Only what failed.
    failed: bool,
    /// The label that figures are told by.
    by: Option<String>,
    /// `run` unless told; `message` for answers of apps without runs; `trigger`.
    kind: Option<String>,
    limit: Option<u32>,
}

impl Asked {
    fn span(&self) -> Duration {
        self.since_seconds.map_or(DEFAULT_SPAN, Duration::from_secs).min(MAX_SPAN)
    }
}

type Of = State<Arc<Option<Dify>>>;

async fn status(State(dify): Of) -> Response {
    answer(&dify, |dify| async move {
        let now = dify.clock.now();
        let told = view::reading(&dify.store, &dify.name).await?;
        let (state, reason) = view::judge(told.as_ref(), now);
        let lag = told.as_ref().and_then(|(_, reading)| view::lag(reading, now));
        Ok(json!({
            "dify": dify.name,
            "state": state,
            "reason": reason,
            "told_at": told.as_ref().map(|(at, _)| at),
            "lag_seconds": lag.map(|lag| lag.as_secs_f64()),
            "reading": told.map(|(_, reading)| reading),
        }))
    })
    .await
}

async fn apps(State(dify): Of, Query(asked): Query<Asked>) -> Response {
    answer(&dify, |dify| async move {
        let until = dify.clock.now();
        let since = until - asked.span();
        let mut apps = view::apps(&dify.store, &dify.name, since, until).await?;
        apps.retain(|view| asked.app.as_ref().is_none_or(|app| view.app_id == *app));
        Ok(json!({ "since": since, "until": until, "apps": apps }))
    })
    .await
}

async fn used(State(dify): Of, Query(asked): Query<Asked>) -> Response {
    let word = asked.by.clone().unwrap_or_else(|| "app".to_owned());
    let Some(by) = By::parse(&word) else {
        let words = By::ALL.map(|(word, _)| word).join(", ");
        let message = format!("`by` is one of {words}, not {word}");
        return failure(StatusCode::BAD_REQUEST, "unknown_label", &message, "name one of them");
    };
    answer(&dify, |dify| async move {
        let until = dify.clock.now();
        let since = until - asked.span();
        let usage = usage(&dify.store, &dify.name, by, asked.app.as_deref(), since, until).await?;
        Ok(json!({ "since": since, "until": until, "by": word, "usage": usage }))
    })
    .await
}

async fn runs(State(dify): Of, Query(asked): Query<Asked>) -> Response {
    answer(&dify, |dify| async move {
        let filter = DifyFilter {
            kind: asked.kind.clone().unwrap_or_else(|| "run".to_owned()),
            app_id: asked.app.clone(),
            class: asked.class.clone(),
            failed_only: asked.failed,
            since: asked.since_seconds.map(|_| dify.clock.now() - asked.span()),
            limit: asked.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_DIFY_LIST),
        };
        let listed = view::latest(&dify.store, &dify.name, filter).await?;
        Ok(json!({ "runs": listed.into_iter().map(|listed| item(listed, &dify.catalogue)).collect::<Vec<_>>() }))
    })
    .await
}

/// Failures of the newest failed runs, by what the catalogue knows of them.
async fn errors(State(dify): Of, Query(asked): Query<Asked>) -> Response {
    answer(&dify, |dify| async move {
        let since = dify.clock.now() - asked.span();
        let filter = DifyFilter {
            kind: asked.kind.clone().unwrap_or_else(|| "run".to_owned()),
            app_id: asked.app.clone(),
            class: asked.class.clone(),
            failed_only: true,
            since: Some(since),
            limit: COUNTED,
        };
        let listed = view::latest(&dify.store, &dify.name, filter).await?;
        let is_cut = listed.len() == COUNTED as usize;
        Ok(json!({ "since": since, "is_cut": is_cut, "errors": by_signature(listed, &dify.catalogue) }))
    })
    .await
}

/// One run, answer or triggered call: what was kept of it, and what its error means.
fn item(listed: DifyListed, catalogue: &Catalogue) -> Value {
    let DifyListed { kind, id, created_at, app_id, status, class, is_open, body } = listed;
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    json!({
        "kind": kind, "id": id, "created_at": created_at, "app_id": app_id, "status": status, "class": class,
        "is_open": is_open, "signature": signature(&body, catalogue), "detail": body,
    })
}

/// The row of the catalogue that knows the error.
fn signature(body: &Value, catalogue: &Catalogue) -> Value {
    let Some(id) = body["signature"].as_str() else { return Value::Null };
    let meaning = view::meaning(catalogue, id);
    json!({ "id": id, "cause": meaning.map(|(cause, _)| cause), "remedy": meaning.map(|(_, remedy)| remedy) })
}

/// Newest first within one; those with most first.
fn by_signature(listed: Vec<DifyListed>, catalogue: &Catalogue) -> Vec<Value> {
    struct Group {
        count: u64,
        newest: Micros,
        apps: BTreeMap<String, u64>,
        sample: Value,
    }
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for listed in listed {
        let item = item(listed, catalogue);
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (word(&item["signature"]["id"]), word(&item["class"]));
        let at = Micros(item["created_at"].as_i64().unwrap_or_default());
        let app = word(&item["app_id"]);
        let group = groups.entry(key).or_insert_with(|| Group {
            count: 0,
            newest: at,
            apps: BTreeMap::new(),
            sample: item,
        });
        group.count += 1;
        *group.apps.entry(app).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
    let told = groups.into_iter().map(|((_, class), group)| {
        let Group { count, newest, apps, sample } = group;
        json!({
            "class": class, "signature": sample["signature"], "count": count, "newest_at": newest, "apps": apps,
            "sample": { "id": sample["id"], "app_id": sample["app_id"], "error": sample["detail"]["error"] },
        })
    });
    told.collect()
}

async fn answer<'a, F, A>(dify: &'a Option<Dify>, tell: F) -> Response
where
    F: FnOnce(&'a Dify) -> A,
    A: Future<Output = Result<Value, StoreError>>,
{
    let Some(dify) = dify else {
        return failure(
            StatusCode::NOT_FOUND,
            "no_dify",
            "the configuration names no Dify with a database",
            "write its [dify] section with mainstay init --dify-env docker/.env",
        );
    };
    match tell(dify).await {
        Ok(value) => Json(value).into_response(),
        Err(StoreError::TooMuch(message)) => {
            failure(StatusCode::BAD_REQUEST, "too_much", &message, "give a later `since`")
        }
        Err(error) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            &crate::failure::chain(&error),
            "see mainstay health",
        ),
    }
}

fn failure(status: StatusCode, code: &str, message: &str, next: &str) -> Response {
    (status, Json(json!({"error": {"code": code, "message": message, "next": next}}))).into_response()
}
