//! A page and its JSON twin are one thing: what [`Page::load`] gives is rendered by one and serialized by the other.

use axum::{
    Extension, Json,
    extract::{Query, RawPathParams, State},
    response::{Html, IntoResponse, Response},
};
use http::Uri;
use mainstay_base::Micros;
use serde::{Serialize, de::DeserializeOwned};

use crate::{App, Failure, action::Notice, assets, auth::Actor, pages};

/// The longest id or name in a path.
const KEY_MAX: usize = 200;

pub(crate) trait Page: Serialize + Sized + Send + 'static {
    /// The entry of the navigation it belongs to.
    const SECTION: &'static str;
    /// What it shows changes when one of these marks does (see [`crate::live`]).
    const TOPICS: &'static str;
    type Query: DeserializeOwned + Send + 'static;

    /// `key` is the id or name in the path; empty where the path has none.
    fn load(app: &App, key: &str, query: Self::Query) -> impl Future<Output = Result<Self, Failure>> + Send;

    fn title(&self) -> String;

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error>;
}

/// A query without fields.
#[derive(serde::Deserialize)]
pub(crate) struct NoQuery {}

/// What stands around a page.
pub(crate) struct Chrome {
    pub(crate) title: String,
    pub(crate) actor: String,
    pub(crate) csrf: String,
    pub(crate) now: Micros,
    pub(crate) navigation: Vec<Link>,
    pub(crate) topics: &'static str,
    pub(crate) notice: Option<&'static Notice>,
    pub(crate) twin: String,
}

/// One entry of the navigation, with the number of things in it that wait for somebody.
pub(crate) struct Link {
    pub(crate) label: &'static str,
    pub(crate) href: String,
    pub(crate) current: bool,
    pub(crate) waiting: i64,
}

/// What differs around a page.
pub(crate) struct Around {
    pub(crate) title: String,
    /// See [`Page::SECTION`].
    pub(crate) section: &'static str,
    pub(crate) topics: &'static str,
    pub(crate) notice: Option<&'static Notice>,
    pub(crate) twin: String,
}

impl Chrome {
    pub(crate) async fn new(app: &App, actor: &Actor, around: Around) -> Chrome {
        let Around { title, section, topics, notice, twin } = around;
        // Without the counts a page is still worth reading.
        let (alerts, dead) = app.live.pulse(app).await.map_or((0, 0), |pulse| (pulse.alerts, pulse.dead));
        let broken = pages::dify::Broken::of(app);
        let link = |(name, label): (&'static str, &'static str)| Link {
            label,
            href: format!("/{name}"),
            current: name == section,
            waiting: match name {
                "dead" => dead,
                "alerts" => alerts,
                "dify" => broken.dify.unwrap_or(0),
                "queues" => broken.queues.unwrap_or(0),
                _ => 0,
            },
        };
        let is_there = |(name, _): &(&'static str, &'static str)| match *name {
            "dify" | "dify/apps" => broken.dify.is_some(),
            "queues" => broken.queues.is_some(),
            _ => true,
        };
        Chrome {
            title,
            actor: actor.name.clone(),
            csrf: actor.csrf().to_owned(),
            now: app.ports.clock.now(),
            navigation: SECTIONS.into_iter().filter(is_there).map(link).collect(),
            topics,
            notice,
            twin,
        }
    }
}

/// Those of a Dify are there when there is one.
const SECTIONS: [(&str, &str); 15] = [
    ("overview", "Overview"),
    ("alerts", "Alerts"),
    ("oncall", "On call"),
    ("slos", "Service levels"),
    ("dify", "Dify"),
    ("queues", "Queues"),
    ("dify/apps", "Dify apps"),
    ("runbooks", "Runbooks"),
    ("providers", "Providers"),
    ("models", "Models"),
    ("runs", "Runs"),
    ("dead", "Dead letters"),
    ("requests", "Requests"),
    ("apps", "Apps"),
    ("timeline", "Timeline"),
];

pub(crate) async fn html<P: Page>(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    uri: Uri,
    params: RawPathParams,
) -> Response {
    match render::<P>(&app, &actor, &uri, &key(&params)).await {
        Ok(page) => Html(page).into_response(),
        Err(failure) => bare(&failure),
    }
}

pub(crate) async fn json<P: Page>(State(app): State<App>, uri: Uri, params: RawPathParams) -> Response {
    match load::<P>(&app, &uri, &key(&params)).await {
        Ok(page) => Json(page).into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn render<P: Page>(app: &App, actor: &Actor, uri: &Uri, key: &str) -> Result<String, Failure> {
    let page = load::<P>(app, uri, key).await?;
    let around = Around {
        title: page.title(),
        section: P::SECTION,
        topics: P::TOPICS,
        notice: Notice::of(uri.query()),
        twin: format!("/api{}", uri.path_and_query().map_or(uri.path(), |whole| whole.as_str())),
    };
    let chrome = Chrome::new(app, actor, around).await;
    page.html(&chrome).map_err(|error| Failure::bug(&error))
}

async fn load<P: Page>(app: &App, uri: &Uri, key: &str) -> Result<P, Failure> {
    let Query(query) = Query::try_from_uri(uri).map_err(|error| {
        Failure::bad_request("bad_query", error.body_text(), "check the query of the URL")
    })?;
    P::load(app, key, query).await
}

/// The one id or name that a path may hold.
pub(crate) fn key(params: &RawPathParams) -> String {
    params.iter().next().map(|(_, value)| value.chars().take(KEY_MAX).collect()).unwrap_or_default()
}

#[derive(askama::Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    failure: &'a Failure,
}

/// A failure as a page of its own, without anything that needs the store.
pub(crate) fn bare(failure: &Failure) -> Response {
    use askama::Template;
    match (ErrorPage { failure }).render() {
        Ok(page) => failure.dress(Html(page).into_response()),
        Err(error) => Failure::bug(&error).into_response(),
    }
}

/// A failure in the form that fits the path: JSON for programs, a page for people.
pub(crate) fn failed(path: &str, failure: Failure) -> Response {
    if path.starts_with("/api") || path == "/live" { failure.into_response() } else { bare(&failure) }
}

/// What templates call for their assets.
pub(crate) fn asset(name: &str) -> String {
    assets::url(name)
}
