//! What is answered when what was asked cannot be: the thing, the cause, the next step. As JSON under `/api`, as a
//! page elsewhere; the caller of [`Failure`] decides which.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

/// Fixed code for programs, message and next step for people. Never an internal message of another crate.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) next: String,
    pub(crate) retry_after_s: Option<u64>,
    /// Several problems at once, as an import has.
    pub(crate) problems: Vec<serde_json::Value>,
    /// What people are shown instead of the bare failure.
    pub(crate) page: Option<Box<Form>>,
}

/// The page of a form, with what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Form(pub(crate) String);

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        next: impl Into<String>,
    ) -> Failure {
        Failure {
            status,
            code,
            message: message.into(),
            next: next.into(),
            retry_after_s: None,
            problems: Vec::new(),
            page: None,
        }
    }

    pub(crate) fn unauthorized() -> Failure {
        Failure::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "this needs an admin token",
            "send `Authorization: Bearer TOKEN`, or log in at /login",
        )
    }

    pub(crate) fn cross_site(cause: &str) -> Failure {
        Failure::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            format!("the request is not from a page of this console: {cause}"),
            "reload the page and try again; programs send a bearer token instead of a session",
        )
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Failure {
        let id: String = id.chars().take(64).collect();
        let next = match what {
            "receiver" => "check the name: `mainstay alert receivers` lists them",
            "service level" => "check the name: `mainstay slo list` lists them",
            _ => "check the id; old rows are removed by retention",
        };
        Failure::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} {id}"), next)
    }

    pub(crate) fn no_page() -> Failure {
        Failure::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such page",
            "start at /overview, or at /api/overview",
        )
    }

    pub(crate) fn bad_request(
        code: &'static str,
        message: impl Into<String>,
        next: impl Into<String>,
    ) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, code, message, next)
    }

    pub(crate) fn conflict(message: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, "conflict", message, next)
    }

    pub(crate) fn too_many(code: &'static str, message: impl Into<String>, retry_after_s: u64) -> Failure {
        let next = format!("wait {retry_after_s} s and try again");
        let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, code, message, next);
        Failure { retry_after_s: Some(retry_after_s), ..failure }
    }

    /// The store or control did not answer. The cause goes to the log, once, here.
    pub(crate) fn unavailable(what: &'static str, cause: &dyn std::error::Error) -> Failure {
        tracing::warn!(what, cause = %chain(cause), "the console could not read or write");
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            format!("{what} could not be reached"),
            "try again; the log of this process has the cause",
        )
    }

    pub(crate) fn bug(cause: &dyn std::error::Error) -> Failure {
        tracing::error!(cause = %chain(cause), "the console failed");
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "bug",
            "the console made a mistake",
            "the log of this process has the cause; please report it",
        )
    }

    /// Puts what every form of the answer needs on it.
    pub(crate) fn dress(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mainstay\""));
        }
        response
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message, "next": self.next });
        if !self.problems.is_empty() {
            error["problems"] = self.problems.clone().into();
        }
        self.dress(Json(json!({ "error": error })).into_response())
    }
}

impl From<mainstay_store::StoreError> for Failure {
    fn from(error: mainstay_store::StoreError) -> Failure {
        match error.kind() {
            mainstay_base::Kind::Unavailable => Failure::unavailable("the database", &error),
            mainstay_base::Kind::Caller => {
                Failure::bad_request("too_large", error.to_string(), "send less at once")
            }
            _ => Failure::bug(&error),
        }
    }
}
