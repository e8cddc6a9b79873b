//! Alerts: what somebody has to know, and that somebody knows.

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_control::{Acknowledged, ControlError};
use mainstay_store::model::{Alert, AlertFilter, AlertState, Severity};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    given, query,
    quiet_why::{self, Row},
};
use crate::{
    App, Failure,
    action::{Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, Page},
    show,
};

const ALERTS_SHOWN: u32 = 50;
const OPEN_SHOWN_MAX: u32 = 200;

#[derive(Serialize)]
pub(crate) struct Alerts {
    pub(crate) open: Vec<Row>,
    pub(crate) resolved: Vec<Row>,
    /// The cursor of the next page of resolved ones: give it as `before`.
    pub(crate) next_before: Option<String>,
    #[serde(skip)]
    pub(crate) older: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct AlertsQuery {
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Alerts,
}

impl Page for Alerts {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts";
    type Query = AlertsQuery;

    async fn load(app: &App, _: &str, asked: AlertsQuery) -> Result<Alerts, Failure> {
        let alerts = app.ports.store.alerts();
        let open = AlertFilter { open_only: true, limit: OPEN_SHOWN_MAX, ..AlertFilter::default() };
        let all = AlertFilter { before: given(asked.before), limit: ALERTS_SHOWN, ..AlertFilter::default() };
        let open = alerts.list(open).await?;
        let mut resolved = alerts.list(all).await?;
        let next_before =
            resolved.last().filter(|_| resolved.len() >= ALERTS_SHOWN as usize).map(|alert| alert.id.clone());
        resolved.retain(|alert| alert.state == AlertState::Resolved);
        let older = next_before.as_deref().map(|id| format!("/alerts{}", query(&[("before", Some(id))])));
        let (open, resolved) = (quiet_why::rows(app, open).await?, quiet_why::rows(app, resolved).await?);
        Ok(Alerts { open, resolved, next_before, older })
    }

    fn title(&self) -> String {
        if self.open.is_empty() { "Alerts".to_owned() } else { format!("{} open alerts", self.open.len()) }
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        AlertsHtml { chrome, page: self }.render()
    }
}

/// Which state a severity looks like.
pub(crate) fn severity_tone(severity: &Severity) -> &'static str {
    match severity {
        Severity::Info => "",
        Severity::Warning => "warning",
        Severity::Page => "critical",
    }
}

pub(crate) fn can_acknowledge(alert: &Alert) -> bool {
    alert.state == AlertState::Firing
}

pub(crate) fn open_for(opened: &Micros, resolved: &Micros) -> String {
    show::between(&Some(*opened), &Some(*resolved))
}

/// Says that somebody has taken note.
pub(crate) struct Acknowledge;

impl Action for Acknowledge {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        let acknowledged = acknowledge(app, actor, id).await?;
        app.live.forget().await;
        Ok(Done {
            status: StatusCode::OK,
            body: json!({ "id": id, "acknowledged": acknowledged }),
            to: format!("/incidents/{id}"),
            notice: "alert-acknowledged",
            page: None,
        })
    }
}

async fn acknowledge(app: &App, actor: &Actor, id: &str) -> Result<Acknowledged, Failure> {
    match app.ports.control.acknowledge(id.to_owned(), actor.name.clone()).await {
        Ok(Acknowledged::Resolved) => {
            Err(Failure::conflict("the alert is resolved", "there is nothing to acknowledge"))
        }
        Ok(acknowledged) => Ok(acknowledged),
        Err(ControlError::NotFound(_)) => Err(Failure::not_found("alert", id)),
        Err(ControlError::Store(error)) => Err(error.into()),
    }
}
