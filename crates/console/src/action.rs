//! Writes. An action is one thing too: a form of a page and a call under `/api` both end in [`Action::perform`].
//!
//! Promises: a session's write proves that it comes from a page of ours before its input is read; what is done is in
//! the timeline first, under the name of the token.

use axum::{
    Extension, Form, Json,
    body::Bytes,
    extract::{FromRequest, RawPathParams, Request, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{HeaderMap, StatusCode};
use mainstay_store::model::NewEvent;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{App, Failure, auth::Actor, page};

/// The longest body of an action, but for an import.
pub(crate) const ACTION_BODY_MAX: usize = 16 * 1024;
/// The header by which a script of a page proves itself; forms have a field.
const CSRF_HEADER: &str = "x-csrf-token";

pub(crate) trait Action: Send + 'static {
    type Input: DeserializeOwned + Send;
    const BODY_MAX: usize = ACTION_BODY_MAX;

    fn perform(
        app: &App,
        actor: &Actor,
        key: &str,
        input: Self::Input,
    ) -> impl Future<Output = Result<Done, Failure>> + Send;
}

/// An action that needs nothing but the id in its path.
#[derive(serde::Deserialize)]
pub(crate) struct NoInput {}

/// What came of an action.
pub(crate) struct Done {
    /// For `/api`.
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    /// For people: where to look, and what to say there.
    pub(crate) to: String,
    pub(crate) notice: &'static str,
    /// A page to show at once instead: for what is told only once.
    pub(crate) page: Option<String>,
}

pub(crate) async fn form<A: Action>(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    params: RawPathParams,
    request: Request,
) -> Response {
    match from_form::<A>(&app, &actor, &page::key(&params), request).await {
        Ok(Done { page: Some(page), .. }) => Html(page).into_response(),
        Ok(Done { to, notice, .. }) => Redirect::to(&format!("{to}?done={notice}")).into_response(),
        Err(Failure { page: Some(form), status, .. }) => (status, Html(form.0)).into_response(),
        Err(failure) => page::bare(&failure),
    }
}

pub(crate) async fn api<A: Action>(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    params: RawPathParams,
    request: Request,
) -> Response {
    match from_json::<A>(&app, &actor, &page::key(&params), request).await {
        Ok(done) => (done.status, Json(done.body)).into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn from_form<A: Action>(
    app: &App,
    actor: &Actor,
    key: &str,
    request: Request,
) -> Result<Done, Failure> {
    let fields = fields::<A>(request).await?;
    actor.check_csrf(fields.get("csrf").and_then(Value::as_str).unwrap_or_default())?;
    let input = serde_json::from_value(Value::Object(fields)).map_err(|error| bad_body(&error))?;
    A::perform(app, actor, key, input).await
}

async fn from_json<A: Action>(
    app: &App,
    actor: &Actor,
    key: &str,
    request: Request,
) -> Result<Done, Failure> {
    actor.check_csrf(header(request.headers(), CSRF_HEADER))?;
    let body = body(request, A::BODY_MAX).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let input = serde_json::from_slice(body).map_err(|error| bad_body(&error))?;
    A::perform(app, actor, key, input).await
}

/// The fields of a form, each a string. Of a field that comes twice the last counts.
async fn fields<A: Action>(request: Request) -> Result<Map<String, Value>, Failure> {
    let pairs = form_pairs(request, A::BODY_MAX).await?;
    Ok(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
}

pub(crate) async fn form_pairs(request: Request, max: usize) -> Result<Vec<(String, String)>, Failure> {
    let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
    form.map(|Form(pairs)| pairs).map_err(|rejection| refused(rejection.status(), &rejection, max))
}

/// The whole body, up to the limit that the route has set.
async fn body(request: Request, max: usize) -> Result<Bytes, Failure> {
    let body = Bytes::from_request(request, &()).await;
    body.map_err(|rejection| refused(rejection.status(), &rejection, max))
}

fn refused(status: StatusCode, cause: &dyn std::fmt::Display, max: usize) -> Failure {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(
            status,
            "body_too_large",
            format!("the body is longer than {max} bytes"),
            "send less at once",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Failure::new(
            status,
            "bad_body",
            "the body is not a form",
            "programs use the same path under /api",
        ),
        _ => bad_body(cause),
    }
}

fn bad_body(cause: &dyn std::fmt::Display) -> Failure {
    Failure::bad_request(
        "bad_body",
        format!("the body is not what this takes: {cause}"),
        "see docs/console.md",
    )
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Writes an action down. What cannot be written down is not done.
pub(crate) async fn audit(
    app: &App,
    actor: &Actor,
    subject: String,
    kind: &str,
    text: String,
    detail: Value,
) -> Result<(), Failure> {
    let at = app.ports.clock.now();
    let event = NewEvent { at, subject, kind: kind.to_owned(), actor: actor.name.clone(), text, detail };
    app.ports.store.timeline().append(event).await?;
    Ok(())
}

/// What a page says after an action. The address holds the code only, so nobody can put words into our mouth.
pub(crate) struct Notice {
    code: &'static str,
    pub(crate) words: &'static str,
}

const NOTICES: [Notice; 23] = [
    Notice {
        code: "group-acknowledged",
        words: "All of the group is acknowledged. It is not told of again until it gets worse or has ended.",
    },
    Notice { code: "slo-changed", words: "It is stored, and judged anew within seconds." },
    Notice { code: "silenced", words: "Nobody is told of these alerts until then." },
    Notice { code: "unsilenced", words: "The silence has ended." },
    Notice {
        code: "shadowed",
        words: "Nobody is told of these alerts; what would have been told is written down.",
    },
    Notice { code: "promoted", words: "People are told of these alerts from now on." },
    Notice { code: "call-overridden", words: "Somebody else is on call." },
    Notice { code: "call-released", words: "The override has ended." },
    Notice { code: "run-stopped", words: "The run was stopped." },
    Notice {
        code: "run-stop-asked",
        words: "The worker that holds the run will stop it with its next heartbeat.",
    },
    Notice { code: "run-queued", words: "The run is in the queue again." },
    Notice {
        code: "alert-acknowledged",
        words: "The alert is acknowledged. It stays open until health is back.",
    },
    Notice {
        code: "receiver-tested",
        words: "A test notice is on its way; what becomes of it stands below.",
    },
    Notice { code: "app-imported", words: "The app was imported." },
    Notice { code: "runbook-planned", words: "This is what the runbook would do. Nothing was done." },
    Notice { code: "runbook-started", words: "The runbook was started." },
    Notice { code: "frozen", words: "Runbooks are frozen: none starts by itself until they are thawed." },
    Notice { code: "thawed", words: "Runbooks may act again." },
    Notice { code: "override-removed", words: "The provider is back in rotation." },
    Notice {
        code: "provider-drained",
        words: "The provider is out of rotation until somebody puts it back.",
    },
    Notice { code: "provider-failed-over", words: "Its calls go to the other provider first." },
    Notice { code: "provider-failover-undone", words: "Its calls go by their chains again." },
    Notice { code: "nothing", words: "There was nothing to do." },
];

impl Notice {
    pub(crate) fn of(query: Option<&str>) -> Option<&'static Notice> {
        let code = query?.split('&').find_map(|pair| pair.strip_prefix("done="))?;
        NOTICES.iter().find(|notice| notice.code == code)
    }
}
