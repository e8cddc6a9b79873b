//! One app of the Dify.

use std::time::Duration;

use askama::Template;
use mainstay_base::Finding;
use mainstay_control::ingest::view::{self, AppView};
use mainstay_store::model::DifyFilter;
use serde::Serialize;
use serde_json::Value;

use super::{
    apps::{self, Item, Query, Read, SPANS},
    dify,
};
use crate::{
    App, Failure,
    page::{Chrome, Page},
};

/// An app whose name was not told for so long is forgotten.
const NAME_KEPT: Duration = Duration::from_secs(365 * 24 * 3600);
const FAILURES_SHOWN: u32 = 20;
const ITEMS_SHOWN: u32 = 20;

#[derive(Serialize)]
pub(crate) struct AppPage {
    pub(crate) span: &'static str,
    #[serde(flatten)]
    pub(crate) view: AppView,
    /// Of its queues and workers, where the task told the app.
    pub(crate) findings: Vec<Finding>,
    pub(crate) failures: Vec<Item>,
    pub(crate) newest: Vec<Item>,
    pub(crate) reading: Option<Read>,
    #[serde(skip)]
    place: usize,
}

#[derive(Template)]
#[template(path = "dify/app.html")]
struct AppHtml<'a> {
    chrome: &'a Chrome,
    page: &'a AppPage,
}

impl Page for AppPage {
    const SECTION: &'static str = "dify/apps";
    const TOPICS: &'static str = "dify-apps queues";
    type Query = Query;

    async fn load(app: &App, id: &str, query: Query) -> Result<AppPage, Failure> {
        let dify = dify(app)?;
        let (source, store) = (dify.name(), &app.ports.store);
        let place = query.span()?;
        let (now, (span_name, _, span)) = (app.ports.clock.now(), SPANS[place]);
        let views = view::apps(store, &source, now - span, now).await?;
        let view = match views.into_iter().find(|view| view.app_id == id) {
            Some(view) => view,
            None => resting(app, &source, id).await?,
        };
        let failed = DifyFilter { failed_only: true, limit: FAILURES_SHOWN, ..apps::of(&view) };
        let newest = DifyFilter { limit: ITEMS_SHOWN, ..apps::of(&view) };
        let failures = view::latest(store, &source, failed).await?;
        let newest = view::latest(store, &source, newest).await?;
        let item = |listed| Item::of(listed, &**dify);
        let queues = dify.queues();
        let findings = queues.iter().flat_map(|latest| &latest.verdicts.findings);
        let is_about = |finding: &&Finding| finding.subject.app.as_deref() == Some(id);
        Ok(AppPage {
            span: span_name,
            findings: findings.filter(is_about).cloned().collect(),
            failures: failures.into_iter().map(item).collect(),
            newest: newest.into_iter().map(item).collect(),
            reading: apps::reading(app, &source).await?,
            view,
            place,
        })
    }

    fn title(&self) -> String {
        apps::named(&self.view).to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        AppHtml { chrome, page: self }.render()
    }
}

/// An app that is known and did nothing in this time.
async fn resting(app: &App, source: &str, id: &str) -> Result<AppView, Failure> {
    let name = format!("app:{id}");
    let states = app.ports.store.dify().states(source, &name, NAME_KEPT).await?;
    let Some(state) = states.into_iter().find(|state| state.name == name) else {
        return Err(Failure {
            next: "see /dify/apps".to_owned(),
            ..Failure::not_found("app of this Dify", id)
        });
    };
    let body: Value = serde_json::from_str(&state.body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Ok(AppView { app_id: id.to_owned(), name: text("name"), mode: text("mode"), ..AppView::default() })
}

impl AppPage {
    pub(crate) fn is_span(&self, name: &str) -> bool {
        SPANS[self.place].0 == name
    }

    pub(crate) fn span_words(&self) -> &'static str {
        SPANS[self.place].1
    }
}
