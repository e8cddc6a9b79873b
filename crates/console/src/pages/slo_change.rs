//! Changes of service levels: a form says first what is wrong with it, key by key, and what it would change, and offers to
//! do it; programs do it at once, unless they ask for a dry run.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use mainstay_control::slo::{
    admin::{self, By, Refused},
    openslo,
    plan::{self, Asked, Planned},
};
use mainstay_store::StoreError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    given,
    runbooks::{clipped, truth},
    slos,
};
use crate::{
    App, Failure,
    action::{Action, Done},
    auth::Actor,
    failure,
    page::{Around, Chrome},
};

/// The longest text of documents.
const TEXT_MAX: usize = 1024 * 1024;
/// What fields of a form that change one key begin with: `set.target`.
const KEY: &str = "set.";

/// Documents, as values or as text, or some keys of one that is there.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SetInput {
    documents: Vec<Value>,
    /// OpenSLO or our own form, YAML or JSON.
    text: String,
    why: String,
    #[serde(deserialize_with = "truth")]
    dry_run: bool,
    /// The one whose keys are changed.
    name: String,
    #[serde(flatten)]
    keys: BTreeMap<String, Value>,
}

/// Stores documents, all or none.
pub(crate) struct Set;

impl Action for Set {
    type Input = SetInput;
    const BODY_MAX: usize = TEXT_MAX;

    async fn perform(app: &App, actor: &Actor, _: &str, input: SetInput) -> Result<Done, Failure> {
        let is_known = |key: &&String| key.starts_with(KEY) || *key == "csrf";
        if let Some(key) = input.keys.keys().find(|key| !is_known(key)) {
            let next = "send documents or text, why and dry_run";
            return Err(Failure::bad_request("bad_body", format!("there is no field {key}"), next));
        }
        let form = Form::default().by(actor, "/slos/set", &input.why);
        let (documents, text) = match documents(app, input).await {
            Ok(Written { documents, text, dry_run }) if dry_run => (Dry(documents), text),
            Ok(Written { documents, text, .. }) => (Do(documents), text),
            Err((Refused::Problems(problems), text)) => {
                let form = Form { text, ..form };
                return Err(form.refused(app, actor, Refused::Problems(problems)).await);
            }
            Err((why, _)) => return Err(refused(&why)),
        };
        let form = Form { text, ..form };
        change(app, actor, form, documents).await
    }
}

use How::{Do, Dry};

/// How seriously.
enum How {
    Do(Asked),
    Dry(Asked),
}

struct Written {
    documents: Asked,
    text: String,
    dry_run: bool,
}

/// What is asked for, with the text in which it is edited.
async fn documents(app: &App, input: SetInput) -> Result<Written, (Refused, String)> {
    let SetInput { documents, text, dry_run, name, keys, .. } = input;
    let changed = keys.iter().filter_map(|(key, value)| Some((key.strip_prefix(KEY)?, value.as_str()?)));
    let changed: Vec<(&str, &str)> = changed.collect();
    let documents = match (documents.is_empty(), given(Some(name))) {
        (false, _) => documents,
        (true, Some(name)) => {
            let held =
                admin::documents(&app.ports.store).await.map_err(|error| (error.into(), text.clone()))?.0;
            let held = held.into_iter().find(|held| held.document.name == name);
            let Some(held) = held else { return Err((Refused::NotFound(name), text)) };
            let mut document = held.document.json();
            changed.into_iter().for_each(|(key, value)| plan::put(&mut document, key, value));
            vec![document]
        }
        (true, None) => openslo::read(&text).map_err(|why| (Refused::Problems(why), text.clone()))?,
    };
    let text = if text.is_empty() { plan::text(&documents) } else { text };
    Ok(Written { documents: Asked::Set(documents), text, dry_run })
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct OneInput {
    why: String,
    #[serde(deserialize_with = "truth")]
    dry_run: bool,
}

async fn one(app: &App, actor: &Actor, asked: Asked, path: String, input: OneInput) -> Result<Done, Failure> {
    let form = Form::default().by(actor, &path, &input.why);
    change(app, actor, form, if input.dry_run { Dry(asked) } else { Do(asked) }).await
}

/// Lets one that was only watched tell people.
pub(crate) struct Promote;

impl Action for Promote {
    type Input = OneInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: OneInput) -> Result<Done, Failure> {
        one(app, actor, Asked::Promote(name.to_owned()), slos::path(name, "/promote"), input).await
    }
}

/// Takes the last change back.
pub(crate) struct Undo;

impl Action for Undo {
    type Input = OneInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: OneInput) -> Result<Done, Failure> {
        one(app, actor, Asked::Undo(name.to_owned()), slos::path(name, "/undo"), input).await
    }
}

/// Removes it; one that ships is as it ships again.
pub(crate) struct Remove;

impl Action for Remove {
    type Input = OneInput;

    async fn perform(app: &App, actor: &Actor, name: &str, input: OneInput) -> Result<Done, Failure> {
        one(app, actor, Asked::Remove(name.to_owned()), slos::path(name, "/remove"), input).await
    }
}

async fn change(app: &App, actor: &Actor, form: Form, how: How) -> Result<Done, Failure> {
    let store = &app.ports.store;
    let (Do(asked) | Dry(asked)) = &how;
    let planned = match plan::plan(store, asked).await {
        Ok(planned) => planned,
        Err(why) => return Err(form.refused(app, actor, why).await),
    };
    let names: Vec<&str> = planned.iter().map(|one| one.name.as_str()).collect();
    let to = match names.as_slice() {
        [name] => slos::path(name, ""),
        _ => "/slos".to_owned(),
    };
    if matches!(how, Dry(_)) {
        let body = json!({ "names": names, "dry_run": true, "planned": planned });
        let page = Some(form.page(app, actor, &planned, &[]).await?);
        return Ok(Done { status: StatusCode::OK, body, to, notice: "nothing", page });
    }
    let why = if form.why.is_empty() { "by hand" } else { &form.why };
    let by = By { actor: &actor.name, why };
    let changed = match plan::perform(store, &app.ports.clock, asked, by).await {
        Ok(changed) => changed,
        Err(why) => return Err(form.refused(app, actor, why).await),
    };
    app.live.forget().await;
    let removed = planned.iter().all(|one| one.effect == plan::Effect::Removed);
    let to = if removed { "/slos".to_owned() } else { to };
    let notice = if changed.names.is_empty() { "nothing" } else { "slo-changed" };
    Ok(Done {
        status: StatusCode::OK,
        body: json!({ "names": changed.names, "planned": planned }),
        to,
        notice,
        page: None,
    })
}

/// What was asked, so that it can be done, or corrected and asked again.
#[derive(Default)]
pub(crate) struct Form {
    csrf: String,
    path: String,
    why: String,
    /// Documents; empty where none are asked for.
    text: String,
}

/// One problem at its key.
struct Problem {
    key: String,
    message: String,
}

#[derive(Template)]
#[template(path = "slo_planned.html")]
struct PlannedHtml<'a> {
    chrome: &'a Chrome,
    form: &'a Form,
    planned: &'a [Planned],
    problems: &'a [Problem],
}

impl Form {
    fn by(self, actor: &Actor, path: &str, why: &str) -> Form {
        Form { csrf: actor.csrf().to_owned(), path: path.to_owned(), why: clipped(why), ..self }
    }

    /// For programs every problem; for people their text with it.
    async fn refused(&self, app: &App, actor: &Actor, why: Refused) -> Failure {
        let failure = refused(&why);
        let Refused::Problems(problems) = why else { return failure };
        let problem = |one: mainstay_control::slo::Problem| Problem { key: one.path, message: one.message };
        let problems: Vec<Problem> = problems.into_iter().map(problem).collect();
        let page = self.page(app, actor, &[], &problems).await.ok();
        Failure { page: page.map(|page| Box::new(failure::Form(page))), ..failure }
    }

    async fn page(
        &self,
        app: &App,
        actor: &Actor,
        planned: &[Planned],
        problems: &[Problem],
    ) -> Result<String, Failure> {
        let title = "Change of service levels".to_owned();
        let around = Around { title, section: "slos", topics: "", notice: None, twin: String::new() };
        let chrome = Chrome::new(app, actor, around).await;
        let page = PlannedHtml { chrome: &chrome, form: self, planned, problems };
        page.render().map_err(|error| Failure::bug(&error))
    }
}

/// A value of a document on a page.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.is_empty() => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn refused(why: &Refused) -> Failure {
    let message = why.to_string();
    match why {
        Refused::Problems(problems) => Failure {
            problems: problems.iter().map(|problem| json!(problem)).collect(),
            ..Failure::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "slo_refused",
                message,
                "mend what is named and try again",
            )
        },
        Refused::NotFound(_) => Failure::new(StatusCode::NOT_FOUND, "not_found", message, "see /slos"),
        Refused::Nothing(_) => {
            Failure::new(StatusCode::CONFLICT, "nothing", message, "see how it is under /slos")
        }
        Refused::Raced => {
            Failure::new(StatusCode::CONFLICT, "raced", message, "look at it again and try again")
        }
        Refused::Store(error) => store(error),
    }
}

fn store(error: &StoreError) -> Failure {
    match error.kind() {
        mainstay_base::Kind::Caller => {
            Failure::bad_request("too_large", error.to_string(), "send less at once")
        }
        _ => Failure::unavailable("the database", error),
    }
}
