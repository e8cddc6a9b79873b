//! What the past of a service level says: what is to be expected of it, and when it would have paged, also with another target.

use std::time::Duration;

use askama::Template;
use mainstay_base::Micros;
use mainstay_control::slo::{
    admin,
    history::{self, Linted, Replayed},
};
use serde::{Deserialize, Serialize};

use super::given;
use crate::{
    App, Failure,
    page::{Chrome, Page},
    show,
};

const DAY_S: u64 = 86_400;
/// How far back it is linted.
const LINTED: Duration = Duration::from_secs(30 * DAY_S);
/// Spans that the form offers, in seconds.
pub(crate) const SPANS: [(u64, &str); 4] =
    [(DAY_S, "1 day"), (3 * DAY_S, "3 days"), (7 * DAY_S, "7 days"), (30 * DAY_S, "30 days")];

#[derive(Serialize)]
pub(crate) struct Past {
    pub(crate) name: String,
    /// Of the last 30 days, with its own target.
    pub(crate) linted: Option<Linted>,
    /// Of the time asked for, with the target asked for.
    pub(crate) replayed: Option<Replayed>,
    pub(crate) since_s: u64,
    pub(crate) target: f64,
}

#[derive(Deserialize)]
pub(crate) struct PastQuery {
    since_s: Option<String>,
    /// Percent.
    target: Option<String>,
}

#[derive(Template)]
#[template(path = "slo_past.html")]
struct PastHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Past,
}

impl Page for Past {
    const SECTION: &'static str = "slos";
    const TOPICS: &'static str = "";
    type Query = PastQuery;

    async fn load(app: &App, name: &str, asked: PastQuery) -> Result<Past, Failure> {
        let store = &app.ports.store;
        let dify = app.ports.dify.as_ref().map(|dify| dify.name());
        let held = admin::documents(store).await?.0.into_iter().find(|held| held.document.name == name);
        let document = held.ok_or_else(|| Failure::not_found("service level", name))?.document;
        let since_s = number(asked.since_s, "since_s", 7 * DAY_S)?.min(history::MOST.as_secs());
        let target = number(asked.target, "target", document.target)?;
        let mut tried = document.json();
        tried["target"] = target.into();
        let tried = admin::check(&[tried]).map_err(|why| {
            Failure::bad_request("bad_filter", why.to_string(), "give a target in percent, as 99.5")
        })?;
        let until = app.ports.clock.now();
        let since = until - Duration::from_secs(since_s);
        let dify = dify.as_deref();
        let linted = history::lint(store, dify, &[document], until - LINTED, until).await?.pop();
        let replayed = history::replay(store, dify, &tried, since, until).await?.pop();
        Ok(Past { name: name.to_owned(), linted, replayed, since_s, target })
    }

    fn title(&self) -> String {
        format!("The past of {}", self.name)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        PastHtml { chrome, page: self }.render()
    }
}

impl Past {
    pub(crate) fn is_span(&self, seconds: &u64) -> bool {
        self.since_s == *seconds
    }

    /// Who would page by this past.
    pub(crate) fn chosen(&self) -> String {
        let Some(replayed) = &self.replayed else { return "nobody".to_owned() };
        let detectors = replayed.choice.detectors;
        let all = [("burn", detectors.burn), ("sequence", detectors.sequence), ("outage", detectors.outage)];
        let names: Vec<&str> = all.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| name).collect();
        names.join(", ")
    }
}

pub(super) fn number<T: std::str::FromStr>(
    field: Option<String>,
    name: &str,
    otherwise: T,
) -> Result<T, Failure> {
    let Some(text) = given(field) else { return Ok(otherwise) };
    text.trim().parse().map_err(|_| {
        Failure::bad_request("bad_filter", format!("`{name}` is no number"), "leave it out for the default")
    })
}

pub(crate) fn figure(number: &f64) -> String {
    format!("{number:.1}")
}

pub(crate) fn share(share: &Option<f64>) -> String {
    share.map_or_else(|| "none within an hour".to_owned(), |share| format!("{:.0} % fail", share * 100.0))
}

pub(crate) fn span(took: &Option<Duration>) -> String {
    took.map_or_else(
        || "longer than a day".to_owned(),
        |took| show::took(&u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
    )
}

pub(crate) fn lasted(since: &Micros, at: &Micros) -> String {
    show::between(&Some(*since), &Some(*at))
}
