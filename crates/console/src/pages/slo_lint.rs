//! What is to be expected of service levels by their own past: of all of them, or of one.

use std::time::Duration;

use askama::Template;
use mainstay_base::Micros;
use mainstay_control::slo::{
    admin,
    history::{self, Linted},
};
use serde::{Deserialize, Serialize};

use super::{
    given,
    slo_past::{SPANS, number},
};
use crate::{
    App, Failure,
    page::{Chrome, Page},
};

const DEFAULT_SPAN_S: u64 = 30 * 86_400;

#[derive(Serialize)]
pub(crate) struct Lint {
    pub(crate) since: Micros,
    pub(crate) until: Micros,
    pub(crate) slos: Vec<Linted>,
    #[serde(skip)]
    pub(crate) since_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LintQuery {
    /// Only this one.
    name: Option<String>,
    since_seconds: Option<String>,
}

#[derive(Template)]
#[template(path = "slo_lint.html")]
struct LintHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Lint,
}

impl Page for Lint {
    const SECTION: &'static str = "slos";
    const TOPICS: &'static str = "";
    type Query = LintQuery;

    async fn load(app: &App, _: &str, asked: LintQuery) -> Result<Lint, Failure> {
        let store = &app.ports.store;
        let held = admin::documents(store).await?.0.into_iter().map(|held| held.document);
        let name = given(asked.name);
        let documents: Vec<_> =
            held.filter(|held| name.as_ref().is_none_or(|name| *name == held.name)).collect();
        if let Some(name) = name.filter(|_| documents.is_empty()) {
            return Err(Failure::not_found("service level", &name));
        }
        let since_s = number(asked.since_seconds, "since_seconds", DEFAULT_SPAN_S)?;
        let since_s = since_s.min(history::MOST.as_secs());
        let until = app.ports.clock.now();
        let since = until - Duration::from_secs(since_s);
        let dify = app.ports.dify.as_ref().map(|dify| dify.name());
        let slos = history::lint(store, dify.as_deref(), &documents, since, until).await?;
        Ok(Lint { since, until, slos, since_s })
    }

    fn title(&self) -> String {
        "What is to be expected".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        LintHtml { chrome, page: self }.render()
    }
}

impl Lint {
    pub(crate) fn spans(&self) -> [(u64, &'static str, bool); SPANS.len()] {
        SPANS.map(|(seconds, words)| (seconds, words, seconds == self.since_s))
    }
}
