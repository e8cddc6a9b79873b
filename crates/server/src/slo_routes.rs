//! `/api/slos/…` on the admin listener: when service levels would have paged, and what other programs read of them. How they
//! stand, and what is to be expected of them, is told by the console's pages and their twins; what changes them is the console's actions.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{StatusCode, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use mainstay_base::Clock;
use mainstay_console::AdminTokens;
use mainstay_control::slo::{
    Document,
    admin::{self, Refused},
    history, openslo, rules,
};
use mainstay_store::{Store, StoreError};
use serde::Deserialize;
use serde_json::json;

use crate::config_routes::door;

const DEFAULT_SPAN: Duration = Duration::from_secs(7 * 86_400);

#[derive(Clone)]
pub(crate) struct Slos {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// The Dify whose database is read, by the name under which it is kept.
    pub(crate) dify: Option<String>,
}

pub(crate) fn router(slos: Slos, tokens: AdminTokens) -> Router {
    Router::new()
        .route("/api/slos/export", get(export))
        .route("/api/slos/rules", get(prometheus))
        .route("/api/slos/history", get(changes))
        .route("/api/slos/{name}/replay", get(replay))
        .with_state(Arc::new(slos))
        .route_layer(middleware::from_fn_with_state(tokens, door))
}

type Of = State<Arc<Slos>>;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Looked {
    /// Only this one.
    name: Option<String>,
    /// How far back, in seconds.
    since_seconds: Option<u64>,
    /// Try another target than its own, in percent.
    target: Option<f64>,
}

impl<S: Send + Sync> FromRequestParts<S> for Looked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Looked, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(looked)) => Ok(looked),
            Err(error) => {
                let next = "name, since_seconds (a whole number) and target (percent) are known";
                Err(answer(StatusCode::BAD_REQUEST, "bad_query", &error.body_text(), next, &json!([])))
            }
        }
    }
}

async fn export(State(slos): Of, looked: Looked) -> Response {
    match documents(&slos, &looked).await {
        Ok(documents) => Json(json!({ "openslo": openslo::write(&documents) })).into_response(),
        Err(why) => refused(why),
    }
}

async fn prometheus(State(slos): Of, looked: Looked) -> Response {
    match documents(&slos, &looked).await {
        Ok(documents) => {
            Json(json!({ "rules": rules::write(&documents, slos.dify.is_some()) })).into_response()
        }
        Err(why) => refused(why),
    }
}

async fn replay(State(slos): Of, Path(name): Path<String>, looked: Looked) -> Response {
    let (until, span) = (slos.clock.now(), span(&looked, DEFAULT_SPAN));
    let replay = async {
        let looked = Looked { name: Some(name), ..looked };
        let mut documents = documents(&slos, &looked).await?;
        if let (Some(target), Some(document)) = (looked.target, documents.first_mut()) {
            let mut value = document.json();
            value["target"] = target.into();
            *document = admin::check(&[value])?.remove(0);
        }
        let replayed =
            history::replay(&slos.store, slos.dify.as_deref(), &documents, until - span, until).await?;
        Ok(replayed.into_iter().next())
    };
    match replay.await {
        Ok(replayed) => Json(replayed).into_response(),
        Err(why) => refused(why),
    }
}

async fn changes(State(slos): Of, looked: Looked) -> Response {
    match admin::history(&slos.store, looked.name.as_deref()).await {
        Ok(changes) => Json(json!({ "changes": changes })).into_response(),
        Err(error) => refused(error.into()),
    }
}

/// All, or the one that is named.
async fn documents(slos: &Slos, looked: &Looked) -> Result<Vec<Document>, Refused> {
    let (held, _) = admin::documents(&slos.store).await?;
    let is_meant = |name: &str| looked.name.as_ref().is_none_or(|wanted| wanted == name);
    let documents: Vec<Document> =
        held.into_iter().map(|held| held.document).filter(|document| is_meant(&document.name)).collect();
    match &looked.name {
        Some(name) if documents.is_empty() => Err(Refused::NotFound(name.clone())),
        _ => Ok(documents),
    }
}

fn span(looked: &Looked, otherwise: Duration) -> Duration {
    looked.since_seconds.map_or(otherwise, Duration::from_secs).min(history::MOST)
}

fn refused(why: Refused) -> Response {
    let (status, code, next) = match &why {
        Refused::Problems(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "slo_refused", "mend what is named and try again")
        }
        Refused::NotFound(_) => (StatusCode::NOT_FOUND, "not_found", "see mainstay slo list"),
        Refused::Nothing(_) => (StatusCode::CONFLICT, "nothing", "see mainstay slo show"),
        Refused::Raced => (StatusCode::CONFLICT, "raced", "look at it again and try again"),
        Refused::Store(StoreError::TooMuch(_)) => {
            (StatusCode::BAD_REQUEST, "too_much", "ask for a shorter time")
        }
        Refused::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "see mainstay health"),
    };
    let problems = match &why {
        Refused::Problems(problems) => json!(problems),
        _ => json!([]),
    };
    answer(status, code, &crate::failure::chain(&why), next, &problems)
}

fn answer(
    status: StatusCode,
    code: &str,
    message: &str,
    next: &str,
    problems: &serde_json::Value,
) -> Response {
    let body = json!({ "error": { "code": code, "message": message, "next": next, "problems": problems } });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_query_that_cannot_be_read_is_refused_as_every_error_is() {
        for query in ["since_seconds=abc", "target=x", "since=7"] {
            let request = axum::http::Request::get(format!("/api/slos/a/replay?{query}")).body(()).unwrap();
            let refused = Looked::from_request_parts(&mut request.into_parts().0, &()).await.err().unwrap();
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{query}");
            let body = axum::body::to_bytes(refused.into_body(), 4_096).await.unwrap();
            let error = serde_json::from_slice::<serde_json::Value>(&body).unwrap()["error"].take();
            assert_eq!(error["code"], "bad_query", "{query}");
            assert!(error["message"].is_string() && error["next"].is_string(), "{error}");
        }
    }
}
