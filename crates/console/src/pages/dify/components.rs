//! The Dify as a whole: what each component said when it was looked at, and what is wrong.

use askama::Template;
use mainstay_control::doctor::{Diagnosis, Report, State};
use serde::Serialize;

use super::dify;
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
};

#[derive(Serialize)]
pub(crate) struct Components {
    pub(crate) name: String,
    /// `None`: not looked at yet.
    pub(crate) diagnosis: Option<Diagnosis>,
}

#[derive(Template)]
#[template(path = "dify/components.html")]
struct ComponentsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Components,
}

impl Page for Components {
    const SECTION: &'static str = "dify";
    const TOPICS: &'static str = "dify";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Components, Failure> {
        let dify = dify(app)?;
        let diagnosis = dify.diagnosis().map(|diagnosis| Diagnosis::clone(&diagnosis));
        Ok(Components { name: dify.name(), diagnosis })
    }

    fn title(&self) -> String {
        format!("Dify {}", self.name)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ComponentsHtml { chrome, page: self }.render()
    }
}

impl Components {
    /// The worst state of a component.
    pub(crate) fn state(&self) -> State {
        let reports = self.diagnosis.iter().flat_map(|diagnosis| &diagnosis.reports);
        reports.map(|report| report.state).max().unwrap_or(State::Unknown)
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match (&self.diagnosis, self.state()) {
            (None, _) => "Not looked at yet",
            (Some(_), State::Ok | State::NotConfigured) => "Every component that is configured is well",
            (Some(_), State::Unknown) => "Not everything can be judged",
            (Some(_), State::Degraded) => "Degraded",
            (Some(_), State::Down) => "A component is down",
        }
    }

    /// The worst first, those that are not configured last.
    pub(crate) fn reports(&self) -> Vec<&Report> {
        let mut reports: Vec<&Report> =
            self.diagnosis.iter().flat_map(|diagnosis| &diagnosis.reports).collect();
        reports.sort_by_key(|report| std::cmp::Reverse(report.state));
        reports
    }
}

/// As people call it: `plugin daemon`, `PostgreSQL`.
pub(crate) fn called(component: &str) -> String {
    match component {
        "api" => "API".to_owned(),
        "database" => "PostgreSQL".to_owned(),
        "redis" => "Redis".to_owned(),
        "broker" => "broker (Redis)".to_owned(),
        other => other.replace(['-', '_'], " "),
    }
}

pub(crate) fn latency(report: &Report) -> String {
    report.latency_ms.map_or_else(|| "–".to_owned(), |took| format!("{took} ms"))
}
