//! One app of the Dify.

use std::time::Duration;

use askama::Template;
use mainstay_base::Finding;
use mainstay_control::ingest::{
    By, Figures, usage,
    view::{self, AppView},
};
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
/// What it did is shown by these, the parts with most failures first, then the largest.
const PARTS: [(&str, By, &str); 4] = [
    ("endpoint", By::Endpoint, "Asked by"),
    ("version", By::Version, "Version"),
    ("node", By::Node, "Node"),
    ("model", By::Model, "Model"),
];
const PARTS_SHOWN: usize = 12;

#[derive(Serialize)]
pub(crate) struct AppPage {
    pub(crate) span: &'static str,
    #[serde(flatten)]
    pub(crate) view: AppView,
    /// Of its queues and workers, where the task told the app.
    pub(crate) findings: Vec<Finding>,
    pub(crate) usage: Vec<Usage>,
    pub(crate) failures: Vec<Item>,
    pub(crate) newest: Vec<Item>,
    pub(crate) reading: Option<Read>,
    #[serde(skip)]
    place: usize,
}

#[derive(Serialize)]
pub(crate) struct Usage {
    pub(crate) by: &'static str,
    #[serde(skip)]
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<Figures>,
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
        let mut parts = Vec::new();
        for (by, label, title) in PARTS {
            let mut rows = usage(store, &source, label, Some(id), now - span, now).await?;
            rows.truncate(PARTS_SHOWN);
            parts.push(Usage { by, title, rows });
        }
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
            usage: parts,
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

/// Failures that say the same.
pub(crate) struct Alike<'a> {
    pub(crate) newest: &'a Item,
    pub(crate) count: usize,
}

impl AppPage {
    /// The failures shown, each kind once, in the order of the newest of it. One that was marked by hand stands for itself: that
    /// can be taken back.
    pub(crate) fn failures_alike(&self) -> Vec<Alike<'_>> {
        let mut kinds: Vec<Alike<'_>> = Vec::new();
        for item in &self.failures {
            let is_alike = |other: &&mut Alike<'_>| {
                let other = other.newest;
                !item.was_marked()
                    && (&item.class, &item.signature, &item.error)
                        == (&other.class, &other.signature, &other.error)
            };
            match kinds.iter_mut().find(is_alike) {
                Some(kind) => kind.count += 1,
                None => kinds.push(Alike { newest: item, count: 1 }),
            }
        }
        kinds
    }

    pub(crate) fn is_span(&self, name: &str) -> bool {
        SPANS[self.place].0 == name
    }

    pub(crate) fn span_words(&self) -> &'static str {
        SPANS[self.place].1
    }
}

#[cfg(test)]
mod tests {
    use mainstay_base::Micros;
    use mainstay_control::queue::MARKED_FAILED;

    use super::*;

    fn item(id: &str, class: &str, error: &str) -> Item {
        Item {
            id: id.to_owned(),
            at: Micros(0),
            status: "failed".to_owned(),
            class: class.to_owned(),
            error: Some(error.to_owned()),
            signature: None,
            cause: None,
            remedy: None,
            took_us: None,
            wait_us: None,
            tokens: None,
            origin: None,
        }
    }

    #[test]
    fn failures_that_say_the_same_are_shown_once_but_for_what_can_be_taken_back() {
        let failures = vec![
            item("1", "code", "x is not defined"),
            item("2", "unknown", MARKED_FAILED),
            item("3", "code", "x is not defined"),
            item("4", "bug", "x is not defined"),
            item("5", "unknown", MARKED_FAILED),
            item("6", "code", "x is not defined"),
        ];
        let page = AppPage {
            span: "day",
            view: AppView::default(),
            findings: Vec::new(),
            usage: Vec::new(),
            failures,
            newest: Vec::new(),
            reading: None,
            place: 0,
        };
        let shown: Vec<(&str, usize)> =
            page.failures_alike().iter().map(|kind| (kind.newest.id.as_str(), kind.count)).collect();
        assert_eq!(shown, [("1", 3), ("2", 1), ("4", 1), ("5", 1)]);
    }
}
