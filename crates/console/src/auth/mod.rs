//! Who is asking. A bearer token, or a session made from one; every write by a session also proves that it comes
//! from a page of ours.
//!
//! Promises: tokens are compared in constant time and kept as hashes; a request that does not prove itself reaches
//! no handler but the open ones. Refuses to know roles: every token may do everything.

pub(crate) mod attempts;
pub(crate) mod origin;
pub(crate) mod session;
pub(crate) mod token;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderMap, header};

use crate::{App, Failure, page};
use session::Session;

/// Whoever passed the door.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// The name of the token: what the timeline keeps as the actor.
    pub(crate) name: String,
    /// Set when the request came with a cookie; then writes must carry its `csrf`.
    pub(crate) session: Option<Session>,
}

impl Actor {
    /// What a form must carry; empty for a bearer token, which no browser sends by itself.
    pub(crate) fn csrf(&self) -> &str {
        self.session.as_ref().map_or("", |session| session.csrf.as_str())
    }

    /// Whether a write proves that it comes from a page of ours.
    pub(crate) fn check_csrf(&self, presented: &str) -> Result<(), Failure> {
        match &self.session {
            None => Ok(()),
            Some(session) if token::same(session.csrf.as_bytes(), presented.as_bytes()) => Ok(()),
            Some(_) => Err(Failure::cross_site("its form token is missing or old")),
        }
    }
}

/// Stands before every route that is not open.
pub(crate) async fn door(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    match identify(&app, request.headers()) {
        Some(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        None if is_api || request.uri().path() == "/live" => Failure::unauthorized().into_response(),
        None => Redirect::to(&way_in(&request)).into_response(),
    }
}

/// Stands before everything: no write from another site, with or without a session.
pub(crate) async fn same_origin(request: Request, next: Next) -> Response {
    match origin::check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(cause) => page::failed(request.uri().path(), Failure::cross_site(cause)),
    }
}

pub(crate) fn identify(app: &App, headers: &HeaderMap) -> Option<Actor> {
    if let Some(presented) = bearer(headers) {
        let name = app.ports.tokens.name_of(presented)?;
        return Some(Actor { name, session: None });
    }
    let session = session::read(&app.ports.tokens.now(), headers, app.ports.clock.now())?;
    let ended = app.ended.contains(&session.id);
    (!ended).then(|| Actor { name: session.name.clone(), session: Some(session) })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `/login`, remembering which page was asked for. Only a path of ours is ever remembered.
fn way_in(request: &Request) -> String {
    match request.uri().path() {
        "/" | "/overview" => "/login".to_owned(),
        path if request.method() == http::Method::GET && is_own_path(path) => format!("/login?to={path}"),
        _ => "/login".to_owned(),
    }
}

/// Whether a path leads to a page here and nowhere else: no scheme, no host, nothing that needs quoting.
pub(crate) fn is_own_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.');
    path.starts_with('/') && !path.starts_with("//") && path.len() <= 256 && path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_ours_is_remembered_through_the_login() {
        for good in ["/runs", "/runs/0192f0c1-aaaa", "/apps/x.y_z"] {
            assert!(is_own_path(good), "{good}");
        }
        for bad in
            ["//evil.example", "https://evil.example", "/\\evil.example", "/a?b", "/a%2f", "", "runs", "/a b"]
        {
            assert!(!is_own_path(bad), "{bad}");
        }
    }
}
