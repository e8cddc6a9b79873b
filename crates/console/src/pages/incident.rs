//! One incident as a story: what was seen, who was told, what was done, whether it helped.

use askama::Template;
use mainstay_base::Micros;
use mainstay_store::model::{Alert, Execution, ExecutionFilter, TimelineEvent, TimelineFilter};
use serde::Serialize;
use serde_json::Value;

use super::quiet_why;
use crate::{
    App, Failure,
    page::{Chrome, NoQuery, Page},
    show,
    tone::{self, Tone},
};

/// Events of one story that are shown. A story with more is a flapping component.
const STORY_SHOWN_MAX: u32 = 200;
const EXECUTIONS_SHOWN_MAX: u32 = 20;

#[derive(Serialize)]
pub(crate) struct Incident {
    pub(crate) alert: Alert,
    /// `None`: whoever is to know is told.
    pub(crate) quiet: Option<quiet_why::Why>,
    /// Those that it is told of with.
    pub(crate) groups: Vec<String>,
    /// The loop, step by step; a step without a time has not happened yet.
    pub(crate) steps: Vec<Step>,
    pub(crate) story: Vec<Beat>,
    pub(crate) executions: Vec<Execution>,
}

#[derive(Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) at: Option<Micros>,
    #[serde(skip)]
    pub(crate) tone: Tone,
}

/// One event, and how long after the first it was.
#[derive(Serialize)]
pub(crate) struct Beat {
    #[serde(flatten)]
    pub(crate) event: TimelineEvent,
    #[serde(skip)]
    pub(crate) after: String,
    #[serde(skip)]
    pub(crate) tone: Tone,
}

#[derive(Template)]
#[template(path = "incident.html")]
struct IncidentHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Incident,
}

impl Page for Incident {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts timeline runbooks";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<Incident, Failure> {
        let alert = app.ports.store.alerts().get(id).await?;
        let next =
            "a runbook started by hand has its story at /executions; old alerts are removed by retention";
        let missing = || Failure { next: next.to_owned(), ..Failure::not_found("incident", id) };
        let alert = alert.ok_or_else(missing)?;
        let story = story(app, id).await?;
        let filter = ExecutionFilter {
            subject: Some(alert.subject.clone()),
            since: Some(alert.opened_at),
            limit: EXECUTIONS_SHOWN_MAX,
            ..ExecutionFilter::default()
        };
        let mut executions = app.ports.store.runbooks().list(filter).await?;
        executions.retain(|execution| execution.alert_id.as_deref() == Some(id));
        let groups = app.ports.control.alert_groups(false).await?.into_iter();
        let groups = groups.filter(|group| group.members.contains_key(id)).map(|group| group.id).collect();
        let steps = steps(&alert, &story);
        let row = quiet_why::rows(app, vec![alert]).await?.pop().ok_or_else(missing)?;
        Ok(Incident { steps, alert: row.alert, quiet: row.quiet, groups, story, executions })
    }

    fn title(&self) -> String {
        self.alert.summary.clone()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        IncidentHtml { chrome, page: self }.render()
    }
}

/// The events of one story, oldest first.
pub(crate) async fn story(app: &App, subject: &str) -> Result<Vec<Beat>, Failure> {
    let filter = TimelineFilter {
        subject: Some(subject.to_owned()),
        after: Some(0),
        limit: STORY_SHOWN_MAX,
        ..TimelineFilter::default()
    };
    let events = app.ports.store.timeline().list(filter).await?;
    let first = events.first().map(|event| event.event.at);
    let beat = |event: TimelineEvent| {
        let after = show::between(&first, &Some(event.event.at));
        let after =
            if Some(event.event.at) == first { "the beginning".to_owned() } else { format!("+{after}") };
        Beat { after, tone: tone_of(&event), event }
    };
    Ok(events.into_iter().map(beat).collect())
}

/// What an event means to the eye.
fn tone_of(event: &TimelineEvent) -> Tone {
    let event = &event.event;
    match event.kind.as_str() {
        "health" => tone::of(event.detail.get("after").and_then(Value::as_str).unwrap_or_default()),
        "alert" if event.text.starts_with("alert resolved") => Tone::Ok,
        "alert" | "action_failed" | "page" => Tone::Bad,
        "verified" | "action_done" | "action_undone" | "passed" => Tone::Ok,
        "acknowledged" | "undo_failed" | "runbook_ended" => Tone::Warn,
        "action" | "runbook_asked" => Tone::Busy,
        _ => Tone::Idle,
    }
}

/// health → alert → action → verified → resolved.
fn steps(alert: &Alert, story: &[Beat]) -> Vec<Step> {
    let first = |kinds: &[&str]| {
        story
            .iter()
            .find(|beat| kinds.contains(&beat.event.event.kind.as_str()))
            .map(|beat| beat.event.event.at)
    };
    let seen = story.first().map_or(alert.opened_at, |beat| beat.event.event.at);
    let step = |name, at: Option<Micros>, tone| Step {
        name,
        at,
        tone: if at.is_some() { tone } else { Tone::Idle },
    };
    vec![
        step("Seen", Some(seen), Tone::Bad),
        step("Alerted", Some(alert.opened_at), Tone::Warn),
        step("Acted", first(&["action"]), Tone::Busy),
        step("Verified", first(&["verified"]), Tone::Ok),
        step("Resolved", alert.resolved_at, Tone::Ok),
    ]
}
