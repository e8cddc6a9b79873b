//! What operators do with queues and workers. A form asks for a dry run first, whose page offers to do it; what cannot be
//! taken back is done only when what it is done to is named once more.

use askama::Template;
use http::StatusCode;
use mainstay_control::{
    Change,
    queue::{Acted, Action as Deed, Done as Deeds, NotActed, Plan, Refused, Undo},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dify;
use crate::{
    App, Failure,
    action::{Action, Done},
    auth::Actor,
    pages::{
        query,
        runbooks::{clipped, truth},
    },
};

/// Fields that hold a number; a form sends all as text.
const NUMBERS: [&str; 3] = ["by", "max", "min"];
/// Fields that hold a truth value.
const TRUTHS: [&str; 1] = ["terminate"];
/// Fields that hold what an action is done to, the first that it has.
const NAMES: [&str; 8] = ["worker", "queue", "task_id", "tag", "file", "tenant", "app", "run"];
/// A longer name is not typed by anybody.
const TYPED_MAX_CHARS: usize = 80;

/// `POST /dify/act`.
pub(crate) struct Act;

#[derive(Deserialize)]
pub(crate) struct Input {
    #[serde(default = "yes", deserialize_with = "truth")]
    dry_run: bool,
    #[serde(default, deserialize_with = "truth")]
    force: bool,
    #[serde(default)]
    why: String,
    /// What it is done to, once more.
    #[serde(default)]
    confirm: String,
    /// The action and what belongs to it.
    #[serde(flatten)]
    fields: Map<String, Value>,
}

fn yes() -> bool {
    true
}

/// A form that asks for the same again.
struct Form<'a> {
    csrf: &'a str,
    why: &'a str,
    force: bool,
    fields: Vec<(String, String)>,
    back: String,
}

#[derive(Template)]
#[template(path = "dify/planned.html")]
struct PlannedHtml<'a> {
    form: Form<'a>,
    plan: &'a Plan,
    /// What has to be typed; `None`: it can be taken back.
    name: Option<String>,
    /// It was typed, and was another.
    is_mistyped: bool,
}

#[derive(Template)]
#[template(path = "dify/refused.html")]
struct RefusedHtml<'a> {
    form: Form<'a>,
    failure: &'a Failure,
}

#[derive(Template)]
#[template(path = "dify/done.html")]
struct DoneHtml<'a> {
    done: &'a Deeds,
    back: String,
}

impl Action for Act {
    type Input = Input;

    async fn perform(app: &App, actor: &Actor, _: &str, input: Input) -> Result<Done, Failure> {
        let dify = dify(app)?;
        let Input { dry_run, force, why, confirm, fields } = input;
        let why = if why.is_empty() { format!("by hand, by {}", actor.name) } else { clipped(&why) };
        let deed = read(fields)?;
        let told = told(&deed);
        let form = || Form {
            csrf: actor.csrf(),
            why: &why,
            force,
            fields: told.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
            back: back(&told),
        };
        let change = |dry_run| Change { actor: actor.name.clone(), why: why.clone(), dry_run, force };
        let planned = match dify.act(deed.clone(), change(true)).await {
            Ok(planned) => planned,
            Err(refusal) => return refused(refusal, form()),
        };
        let name = needs_name(&planned.plan, &told);
        let is_confirmed = name.as_deref().is_none_or(|name| same(name, &confirm));
        if dry_run || !is_confirmed {
            return show(&planned, form(), name, dry_run);
        }
        let Acted { plan, done } = match dify.act(deed, change(false)).await {
            Ok(acted) => acted,
            Err(refusal) => return refused(refusal, form()),
        };
        app.live.forget().await;
        let page = done.as_ref().map(|done| DoneHtml { done, back: back(&told) }.render());
        let page = page.transpose().map_err(|error| Failure::bug(&error))?;
        let body = json!({ "plan": plan, "done": done });
        Ok(Done { status: StatusCode::OK, body, to: back(&told), notice: "nothing", page })
    }
}

/// The plan; for one that should have been done and was not confirmed, also why it was not.
fn show(planned: &Acted, form: Form<'_>, name: Option<String>, is_asked: bool) -> Result<Done, Failure> {
    let plan = &planned.plan;
    let (status, body) = if is_asked {
        (StatusCode::OK, json!({ "plan": plan, "done": null, "confirm": name }))
    } else {
        let name = name.as_deref().unwrap_or_default();
        let error = json!({
            "code": "not_confirmed",
            "message": "this cannot be taken back",
            "next": format!("send `confirm` with the value: {name}"),
        });
        (StatusCode::CONFLICT, json!({ "error": error, "plan": plan, "confirm": name }))
    };
    let to = form.back.clone();
    let page = PlannedHtml { form, plan, name, is_mistyped: !is_asked }.render();
    let page = page.map_err(|error| Failure::bug(&error))?;
    Ok(Done { status, body, to, notice: "nothing", page: Some(page) })
}

/// What a guard refuses can be forced, where it says so; anything else is a failure.
fn refused(refusal: NotActed, form: Form<'_>) -> Result<Done, Failure> {
    let can_force = matches!(&refusal, NotActed::Refused(Refused::Guard { can_force: true, .. }));
    let failure = failure(refusal);
    if !can_force {
        return Err(failure);
    }
    let error = json!({ "code": failure.code, "message": failure.message, "next": failure.next });
    let (status, to) = (failure.status, form.back.clone());
    let page = RefusedHtml { form, failure: &failure }.render().map_err(|error| Failure::bug(&error))?;
    Ok(Done { status, body: json!({ "error": error }), to, notice: "nothing", page: Some(page) })
}

fn failure(refusal: NotActed) -> Failure {
    let refused = match refusal {
        NotActed::Store(error) => return error.into(),
        NotActed::Refused(refused) => refused,
    };
    let (message, next) = (refused.to_string(), refused.next());
    match refused {
        Refused::Guard { .. } => Failure::conflict(message, next),
        Refused::File { source, .. } => {
            let message = format!("{message}: {source}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "no_file", message, next)
        }
        // Somebody else was asked, and did not do it.
        _ => Failure::new(StatusCode::BAD_GATEWAY, "refused", message, next),
    }
}

fn read(mut fields: Map<String, Value>) -> Result<Deed, Failure> {
    fields.remove("csrf");
    // A field of a form that was left empty is a field that was not given.
    fields.retain(|_, value| value.as_str() != Some(""));
    for (name, value) in &mut fields {
        let Some(text) = value.as_str() else { continue };
        let parsed = match name.as_str() {
            name if NUMBERS.contains(&name) => text.trim().parse::<u32>().ok().map(Value::from),
            name if TRUTHS.contains(&name) => text.parse::<bool>().ok().map(Value::from),
            _ => None,
        };
        if let Some(parsed) = parsed {
            *value = parsed;
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        Failure::bad_request(
            "bad_action",
            format!("this is no action: {error}"),
            "see docs/queues.md for what there is",
        )
    })
}

/// The action, as it is sent.
fn told(deed: &Deed) -> Map<String, Value> {
    match serde_json::to_value(deed) {
        Ok(Value::Object(fields)) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn named<'a>(told: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    told.get(field).and_then(Value::as_str)
}

/// Where the page of it is.
fn back(told: &Map<String, Value>) -> String {
    let page = |under: &str, name: &str| format!("{under}/{}", segment(name));
    let of = |field, under| named(told, field).map(|name| page(under, name));
    of("worker", "/queues/workers")
        .or_else(|| of("queue", "/queues"))
        .or_else(|| of("app", "/dify/apps"))
        .unwrap_or_else(|| "/queues".to_owned())
}

fn segment(name: &str) -> String {
    query(&[("", Some(name))]).split_off(2)
}

/// What has to be typed before it is done; `None`: it can be taken back.
fn needs_name(plan: &Plan, told: &Map<String, Value>) -> Option<String> {
    let Undo::Irreversible(_) = &plan.undo else { return None };
    let name = NAMES.iter().find_map(|field| named(told, field));
    let can_be_typed = |name: &&str| {
        name.chars().count() <= TYPED_MAX_CHARS && name.chars().all(|letter| letter.is_ascii_graphic())
    };
    let word = named(told, "action").unwrap_or_default();
    Some(name.filter(can_be_typed).unwrap_or(word).to_owned())
}

fn same(name: &str, typed: &str) -> bool {
    name == typed.trim()
}
