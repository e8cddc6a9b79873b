//! Runbooks: what each does and never does, its executions, running one by hand, and the freeze switch.

use std::time::Duration;

use askama::Template;
use http::StatusCode;
use mainstay_control::{
    Component, Freeze, Overrides, RunRefused, RunRequest,
    runbook::{BUILT_IN, Definition},
};
use mainstay_store::model::{Execution, ExecutionFilter};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{
    incident::{self, Beat},
    overview,
};
use crate::{
    App, Failure,
    action::{Action, Done},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
};

const EXECUTIONS_SHOWN: u32 = 50;
/// The longest reason that is kept.
const WHY_MAX_CHARS: usize = 200;

#[derive(Serialize)]
pub(crate) struct Runbooks {
    pub(crate) runbooks: Vec<Row>,
    pub(crate) freeze: Freeze,
    /// Providers out of rotation.
    pub(crate) overrides: Overrides,
    pub(crate) executions: Vec<Execution>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) definition: Definition,
    /// The components it could be run on now.
    pub(crate) targets: Vec<Target>,
}

#[derive(Serialize)]
pub(crate) struct Target {
    pub(crate) id: String,
    pub(crate) state: &'static str,
}

#[derive(Template)]
#[template(path = "runbooks.html")]
struct RunbooksHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Runbooks,
}

impl Page for Runbooks {
    const SECTION: &'static str = "runbooks";
    const TOPICS: &'static str = "runbooks";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Runbooks, Failure> {
        let health = overview::report(app);
        let row = |definition: &Definition| {
            let fit = health.components.iter().filter(|component| component.group == definition.group);
            let target =
                |component: &Component| Target { id: component.id.clone(), state: component.state.as_str() };
            Row { definition: *definition, targets: fit.map(target).collect() }
        };
        let recent = ExecutionFilter { limit: EXECUTIONS_SHOWN, ..ExecutionFilter::default() };
        Ok(Runbooks {
            runbooks: BUILT_IN.iter().map(row).collect(),
            freeze: Freeze::clone(&app.ports.control.freeze_state()),
            overrides: Overrides::clone(&app.ports.control.overrides()),
            executions: app.ports.store.runbooks().list(recent).await?,
        })
    }

    fn title(&self) -> String {
        "Runbooks".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        RunbooksHtml { chrome, page: self }.render()
    }
}

/// One execution and its story.
#[derive(Serialize)]
pub(crate) struct ExecutionPage {
    pub(crate) execution: Execution,
    pub(crate) story: Vec<Beat>,
}

#[derive(Template)]
#[template(path = "execution.html")]
struct ExecutionHtml<'a> {
    chrome: &'a Chrome,
    page: &'a ExecutionPage,
}

impl Page for ExecutionPage {
    const SECTION: &'static str = "runbooks";
    const TOPICS: &'static str = "runbooks timeline";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<ExecutionPage, Failure> {
        let execution = app.ports.store.runbooks().get(id).await?;
        let execution = execution.ok_or_else(|| Failure::not_found("execution", id))?;
        let story = incident::story(app, detail(&execution, "incident")).await?;
        Ok(ExecutionPage { execution, story })
    }

    fn title(&self) -> String {
        format!("{} on {}", self.execution.runbook, self.execution.subject)
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        ExecutionHtml { chrome, page: self }.render()
    }
}

impl ExecutionPage {
    pub(crate) fn is_dry_run(&self) -> bool {
        self.execution.detail.get("dry_run").and_then(Value::as_bool).unwrap_or(false)
    }
}

/// One field of what control keeps with an execution.
pub(crate) fn detail<'a>(execution: &'a Execution, name: &str) -> &'a str {
    execution.detail.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A duration of configuration in words.
pub(crate) fn span(duration: &Duration) -> String {
    match duration.as_secs() {
        seconds if seconds >= 120 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Runs a runbook by hand. Says only what it would do unless told otherwise.
pub(crate) struct Run;

#[derive(Deserialize)]
pub(crate) struct RunInput {
    target: String,
    #[serde(default = "yes", deserialize_with = "truth")]
    dry_run: bool,
    #[serde(default)]
    why: String,
}

/// Stops runbooks from acting by themselves, or lets them again.
pub(crate) struct SetFreeze;

#[derive(Deserialize)]
pub(crate) struct FreezeInput {
    #[serde(deserialize_with = "truth")]
    frozen: bool,
    #[serde(default)]
    why: String,
}

fn yes() -> bool {
    true
}

/// A truth value of JSON, or of a form, where all is text.
pub(super) fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Bool(value) => Ok(value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(serde::de::Error::custom("expected true or false")),
    }
}

pub(super) fn clipped(why: &str) -> String {
    why.chars().take(WHY_MAX_CHARS).collect()
}

impl Action for Run {
    type Input = RunInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: RunInput) -> Result<Done, Failure> {
        let RunInput { target, dry_run, why } = input;
        let why = if why.is_empty() { format!("by hand, by {}", actor.name) } else { clipped(&why) };
        let (runbook, actor) = (name.to_owned(), actor.name.clone());
        let request = RunRequest { runbook, component: target, actor, why, dry_run };
        let id = app.ports.control.run(request).await.map_err(refused)?;
        app.live.forget().await;
        Ok(Done {
            status: StatusCode::ACCEPTED,
            body: json!({ "execution_id": id, "dry_run": dry_run, "at": format!("/api/executions/{id}") }),
            to: format!("/executions/{id}"),
            notice: if dry_run { "runbook-planned" } else { "runbook-started" },
            page: None,
        })
    }
}

fn refused(refusal: RunRefused) -> Failure {
    let message = refusal.to_string();
    match refusal {
        RunRefused::NoRunbook(..) => {
            Failure::new(StatusCode::NOT_FOUND, "not_found", message, "see /runbooks")
        }
        RunRefused::NoComponent { .. } => {
            Failure::bad_request("no_such_target", message, "see the components at /overview")
        }
        RunRefused::UnderWay(id) => Failure::conflict(message, format!("follow it at /executions/{id}")),
        RunRefused::Store(error) => error.into(),
    }
}

impl Action for SetFreeze {
    type Input = FreezeInput;

    async fn perform(app: &App, actor: &Actor, _: &str, input: FreezeInput) -> Result<Done, Failure> {
        let FreezeInput { frozen, why } = input;
        app.ports.control.set_freeze(frozen, actor.name.clone(), clipped(&why)).await?;
        app.live.forget().await;
        let notice = if frozen { "frozen" } else { "thawed" };
        let to = "/runbooks".to_owned();
        Ok(Done { status: StatusCode::OK, body: json!({ "frozen": frozen }), to, notice, page: None })
    }
}
