//! The way in and the way out.

use std::net::{IpAddr, SocketAddr};

use askama::Template;
use axum::{
    Extension,
    extract::{ConnectInfo, FromRequestParts, Request, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{HeaderValue, Uri, header};

use crate::{
    App, Failure, action,
    auth::{self, Actor, session},
    page,
};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    to: &'a str,
    failure: Option<&'a Failure>,
    left: bool,
}

/// `GET /login`.
pub(crate) async fn form(uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let to = query.split('&').find_map(|pair| pair.strip_prefix("to=")).unwrap_or_default();
    let page = LoginPage { to: own_path_or_empty(to), failure: None, left: query.contains("left") };
    show(&page)
}

/// `POST /login`: a token for a session.
pub(crate) async fn enter(State(app): State<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let peer = ConnectInfo::<SocketAddr>::from_request_parts(&mut parts, &()).await.ok();
    let address = peer.map(|ConnectInfo(peer)| peer.ip());
    match action::form_pairs(Request::from_parts(parts, body), action::ACTION_BODY_MAX).await {
        Ok(pairs) => try_token(&app, address, &pairs),
        Err(failure) => page::bare(&failure),
    }
}

fn try_token(app: &App, address: Option<IpAddr>, pairs: &[(String, String)]) -> Response {
    let field = |name| pairs.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str());
    let to = own_path_or_empty(field("to"));
    let now = app.ports.clock.now();
    // Nothing is compared for somebody who failed too often, or waiting would not slow guessing.
    if let Err(seconds) = app.attempts.check(address, now) {
        let failure =
            Failure::too_many("too_many_logins", "too many failed logins from this address", seconds);
        return failure.dress(show(&LoginPage { to, failure: Some(&failure), left: false }));
    }
    let tokens = app.ports.tokens.now();
    let Some(token) = tokens.find(field("token").trim()) else {
        app.attempts.failed(address, now);
        tracing::warn!(address = ?address, "a login failed");
        let failure =
            Failure { message: "This is not an admin token.".to_owned(), ..Failure::unauthorized() };
        return failure.dress(show(&LoginPage { to, failure: Some(&failure), left: false }));
    };
    tracing::info!(actor = %token.name, "a session was opened");
    let cookie = session::set_cookie(&session::open(token, now), app.ports.secure_cookies);
    with_cookie(Redirect::to(if to.is_empty() { "/overview" } else { to }).into_response(), &cookie)
}

/// `POST /logout`.
pub(crate) async fn leave(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    request: Request,
) -> Response {
    let csrf = match action::form_pairs(request, action::ACTION_BODY_MAX).await {
        Ok(pairs) => {
            pairs.into_iter().find(|(name, _)| name == "csrf").map_or_else(String::new, |(_, value)| value)
        }
        Err(failure) => return page::bare(&failure),
    };
    if let Err(failure) = actor.check_csrf(&csrf) {
        return page::bare(&failure);
    }
    if let Some(session) = &actor.session {
        app.ended.add(&session.id);
    }
    let gone = Redirect::to("/login?left").into_response();
    with_cookie(gone, &session::clear_cookie(app.ports.secure_cookies))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn own_path_or_empty(path: &str) -> &str {
    if auth::is_own_path(path) { path } else { "" }
}

fn show(page: &LoginPage<'_>) -> Response {
    match page.render() {
        Ok(page) => Html(page).into_response(),
        Err(error) => Failure::bug(&error).into_response(),
    }
}
