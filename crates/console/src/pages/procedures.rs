//! What operators do with providers: drain, restore, fail over, undo that, test. A form asks for a dry run first and
//! offers to do it; programs do it at once.

use askama::Template;
use http::StatusCode;
use mainstay_control::{Change, Operation, Procedure, ProcedureRefused, TestReport};
use serde::Deserialize;
use serde_json::json;

use super::{
    given,
    runbooks::{clipped, truth},
    segment,
};
use crate::{
    App, Failure,
    action::{Action, Done},
    auth::Actor,
};

#[derive(Deserialize)]
pub(crate) struct ChangeInput {
    #[serde(default)]
    why: String,
    #[serde(default, deserialize_with = "truth")]
    dry_run: bool,
    #[serde(default, deserialize_with = "truth")]
    force: bool,
    /// Of a failover.
    #[serde(default)]
    to: Option<String>,
}

/// What a dry run found, with a form to do it.
#[derive(Template)]
#[template(path = "procedure.html")]
struct ProcedureHtml<'a> {
    csrf: &'a str,
    /// Where the form goes.
    path: String,
    why: &'a str,
    force: bool,
    done: &'a Procedure,
}

async fn perform(
    app: &App,
    actor: &Actor,
    what: Operation,
    path: String,
    input: ChangeInput,
) -> Result<Done, Failure> {
    let ChangeInput { why, dry_run, force, to: _ } = input;
    let why = if why.is_empty() { format!("by hand, by {}", actor.name) } else { clipped(&why) };
    let change = Change { actor: actor.name.clone(), why: why.clone(), dry_run, force };
    let done = app.ports.control.perform(what, change).await.map_err(refused)?;
    app.live.forget().await;
    let planned = ProcedureHtml { csrf: actor.csrf(), path, why: &why, force, done: &done };
    let page = dry_run.then(|| planned.render()).transpose().map_err(|error| Failure::bug(&error))?;
    Ok(Done {
        status: StatusCode::OK,
        body: json!(done),
        to: format!("/providers/{}", segment(&done.provider)),
        notice: notice(&done),
        page,
    })
}

fn notice(done: &Procedure) -> &'static str {
    match (done.changed, done.name) {
        (false, _) => "nothing",
        (true, "drain") => "provider-drained",
        (true, "failover") => "provider-failed-over",
        (true, "failover-undo") => "provider-failover-undone",
        (true, _) => "override-removed",
    }
}

fn refused(refusal: ProcedureRefused) -> Failure {
    let (message, next) = (refusal.to_string(), refusal.next());
    match refusal {
        ProcedureRefused::NoProvider { .. } | ProcedureRefused::NoModel { .. } => {
            Failure::new(StatusCode::NOT_FOUND, "not_found", message, next)
        }
        ProcedureRefused::WhichModel { .. }
        | ProcedureRefused::ToItself
        | ProcedureRefused::NothingShared { .. } => Failure::bad_request("bad_procedure", message, next),
        ProcedureRefused::LeftAlone { .. }
        | ProcedureRefused::CannotTakeOver { .. }
        | ProcedureRefused::FailsOverAlready { .. } => Failure::conflict(message, next),
        ProcedureRefused::Store(error) => error.into(),
    }
}

/// Takes a provider out of rotation.
pub(crate) struct Drain;

impl Action for Drain {
    type Input = ChangeInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: ChangeInput) -> Result<Done, Failure> {
        let what = Operation::Drain { provider: name.to_owned() };
        perform(app, actor, what, format!("/providers/{}/drain", segment(name)), input).await
    }
}

/// Puts it back.
pub(crate) struct Restore;

impl Action for Restore {
    type Input = ChangeInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: ChangeInput) -> Result<Done, Failure> {
        let what = Operation::Restore { provider: name.to_owned() };
        perform(app, actor, what, format!("/providers/{}/restore", segment(name)), input).await
    }
}

/// Sends its calls to another first.
pub(crate) struct Failover;

impl Action for Failover {
    type Input = ChangeInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: ChangeInput) -> Result<Done, Failure> {
        let Some(to) = given(input.to.clone()) else {
            let next = "send {\"to\": \"PROVIDER\"}";
            return Err(Failure::bad_request("bad_body", "it is not said which provider takes over", next));
        };
        let what = Operation::Failover { from: name.to_owned(), to };
        perform(app, actor, what, format!("/providers/{}/failover", segment(name)), input).await
    }
}

/// Takes a failover back.
pub(crate) struct UndoFailover;

impl Action for UndoFailover {
    type Input = ChangeInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: ChangeInput) -> Result<Done, Failure> {
        let what = Operation::UndoFailover { from: name.to_owned() };
        perform(app, actor, what, format!("/providers/{}/failover/undo", segment(name)), input).await
    }
}

/// Makes a real call with each key.
pub(crate) struct Test;

#[derive(Deserialize)]
pub(crate) struct TestInput {
    #[serde(default)]
    model: Option<String>,
}

#[derive(Template)]
#[template(path = "tested.html")]
struct TestedHtml<'a> {
    report: &'a TestReport,
}

impl Action for Test {
    type Input = TestInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: TestInput) -> Result<Done, Failure> {
        let tested = app.ports.control.test(name.to_owned(), given(input.model), actor.name.clone()).await;
        let report = tested.map_err(refused)?;
        app.live.forget().await;
        let page = TestedHtml { report: &report }.render().map_err(|error| Failure::bug(&error))?;
        Ok(Done {
            status: StatusCode::OK,
            body: json!(report),
            to: format!("/providers/{}", segment(name)),
            notice: "nothing",
            page: Some(page),
        })
    }
}
