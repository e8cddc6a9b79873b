//! The timeline: everything that happened and was done, as it stands in the hash chain.

use std::collections::HashSet;

use askama::Template;
use mainstay_base::id::is_uuid;
use mainstay_store::model::{ExecutionFilter, TimelineEvent, TimelineFilter};
use serde::{Deserialize, Serialize};

use super::{given, query, word};
use crate::{
    App, Failure,
    page::{Chrome, Page},
};

const EVENTS_SHOWN: u32 = 100;
/// An event about an execution older than the last so many leads to the incident page, which says where it is.
const EXECUTIONS_KNOWN: u32 = 200;

#[derive(Serialize)]
pub(crate) struct Timeline {
    /// Newest first.
    pub(crate) events: Vec<TimelineEvent>,
    /// The cursor of the next page: give it as `before`.
    pub(crate) next_before: Option<i64>,
    pub(crate) subject: Option<String>,
    #[serde(skip)]
    pub(crate) older: Option<String>,
    /// Which subjects are executions of runbooks: those started by hand have a story of their own.
    #[serde(skip)]
    executions: HashSet<String>,
}

#[derive(Deserialize)]
pub(crate) struct TimelineQuery {
    subject: Option<String>,
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "timeline.html")]
struct TimelineHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Timeline,
}

impl Page for Timeline {
    const SECTION: &'static str = "timeline";
    const TOPICS: &'static str = "timeline";
    type Query = TimelineQuery;

    async fn load(app: &App, _: &str, asked: TimelineQuery) -> Result<Timeline, Failure> {
        let subject = given(asked.subject);
        let before = word("before", asked.before, |text| text.parse().ok(), &["the seq of an event"])?;
        let filter = TimelineFilter {
            subject: subject.clone(),
            before,
            limit: EVENTS_SHOWN,
            ..TimelineFilter::default()
        };
        let events = app.ports.store.timeline().list(filter).await?;
        let full = events.len() >= EVENTS_SHOWN as usize;
        let next_before = events.last().filter(|_| full).map(|event| event.seq);
        let older = next_before.map(|seq| {
            let seq = seq.to_string();
            format!("/timeline{}", query(&[("subject", subject.as_deref()), ("before", Some(&seq))]))
        });
        let recent = ExecutionFilter { limit: EXECUTIONS_KNOWN, ..ExecutionFilter::default() };
        let executions = app.ports.store.runbooks().list(recent).await?;
        let executions = executions.into_iter().map(|execution| execution.id).collect();
        Ok(Timeline { events, next_before, subject, older, executions })
    }

    fn title(&self) -> String {
        "Timeline".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        TimelineHtml { chrome, page: self }.render()
    }
}

impl Timeline {
    /// The way from an event to what it is about.
    pub(crate) fn href(&self, subject: &str) -> String {
        match subject.split_once(':') {
            Some(("run", id)) => format!("/runs/{id}"),
            _ if self.executions.contains(subject) => format!("/executions/{subject}"),
            _ if is_uuid(subject) => format!("/incidents/{subject}"),
            _ => of_subject(subject),
        }
    }
}

/// Everything about one subject.
pub(crate) fn of_subject(subject: &str) -> String {
    format!("/timeline{}", query(&[("subject", Some(subject))]))
}
