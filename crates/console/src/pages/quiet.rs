//! What nobody is told of: silences, and shadows with what they would have told.

use std::time::Duration;

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_control::alert::{Group, NewSilence, NotDone, Shadow};
use mainstay_store::model::Silence;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    App, Failure,
    action::{Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
    show::{self, Html},
};

const SILENCES_SHOWN: u32 = 100;
const HOUR_S: u64 = 3600;

#[derive(Serialize)]
pub(crate) struct Silences {
    /// Those that end last first, ended ones included.
    pub(crate) silences: Vec<Silence>,
    pub(crate) shadows: Vec<Shadow>,
    /// What shadows would have told, the latest first.
    pub(crate) would_tell: Vec<Group>,
}

#[derive(Template)]
#[template(path = "silences.html")]
struct SilencesHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Silences,
}

impl Page for Silences {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Silences, Failure> {
        let control = &app.ports.control;
        let mut would_tell = control.alert_groups(true).await?;
        would_tell.retain(|group| group.number > 0);
        Ok(Silences {
            silences: app.ports.store.silences().list(SILENCES_SHOWN).await?,
            shadows: control.shadows().await?,
            would_tell,
        })
    }

    fn title(&self) -> String {
        "Silences".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        SilencesHtml { chrome, page: self }.render()
    }
}

/// `holds`, `waits` or `ended`.
pub(crate) fn standing(silence: &Silence, now: &Micros) -> &'static str {
    match silence {
        _ if silence.ends_at <= *now => "ended",
        _ if silence.starts_at > *now => "waits",
        _ => "holds",
    }
}

pub(crate) fn joined(matchers: &[String]) -> String {
    matchers.join(", ")
}

pub(crate) fn shown(matchers: &[String]) -> Html {
    show::text(&joined(matchers))
}

/// The components of a group, a few by name.
pub(crate) fn components(group: &Group) -> Html {
    const NAMED: usize = 5;
    let names: Vec<&str> = group.members.values().map(|member| member.component.as_str()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => show::text(&names.join(", ")),
        more => show::text(&format!("{} and {more} more", names[..NAMED].join(", "))),
    }
}

pub(crate) fn severity(group: &Group) -> &'static str {
    group.severity.map_or("info", |severity| severity.as_str())
}

/// Nobody is told of these alerts for a while.
pub(crate) struct AddSilence;

#[derive(Deserialize)]
pub(crate) struct SilenceInput {
    #[serde(default)]
    matchers: Texts,
    /// Seconds.
    #[serde(default)]
    lasts_s: Option<Number>,
    /// Microseconds; without it, now.
    #[serde(default)]
    starts_at: Option<Micros>,
    #[serde(default)]
    comment: String,
}

/// A list, or a text of a form with one in each line.
#[derive(Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    #[default]
    None,
    List(Vec<String>),
    Lines(String),
}

impl Texts {
    pub(crate) fn list(self) -> Vec<String> {
        let texts = match self {
            Texts::None => Vec::new(),
            Texts::List(list) => list,
            Texts::Lines(text) => text.lines().map(str::to_owned).collect(),
        };
        texts.into_iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
    }
}

/// A number, or the text of one that a form has.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    pub(crate) fn seconds(given: Option<Number>) -> Duration {
        let seconds = match given {
            Some(Number::Number(seconds)) => seconds,
            // What is no number is nothing, which is refused by its key.
            Some(Number::Text(text)) => text.trim().parse().unwrap_or(0),
            None => HOUR_S,
        };
        Duration::from_secs(seconds)
    }
}

impl Action for AddSilence {
    type Input = SilenceInput;

    async fn perform(app: &App, actor: &Actor, _: &str, input: SilenceInput) -> Result<Done, Failure> {
        let SilenceInput { matchers, lasts_s, starts_at, comment } = input;
        let new =
            NewSilence { matchers: matchers.list(), starts_at, lasts: Number::seconds(lasts_s), comment };
        let silence = app.ports.control.silence(new, actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::CREATED, json!(silence), "/silences", "silenced")
    }
}

/// Ends a silence before its time.
pub(crate) struct Unsilence;

impl Action for Unsilence {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        app.ports.control.unsilence(id.to_owned(), actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::OK, json!({ "id": id, "ended": true }), "/silences", "unsilenced")
    }
}

#[derive(Deserialize)]
pub(crate) struct ShadowInput {
    #[serde(default)]
    matchers: Texts,
    #[serde(default)]
    why: String,
}

/// From now on nobody is told of these alerts.
pub(crate) struct SetShadow;

impl Action for SetShadow {
    type Input = ShadowInput;

    async fn perform(app: &App, actor: &Actor, _: &str, input: ShadowInput) -> Result<Done, Failure> {
        let (matchers, why) = (input.matchers.list(), input.why);
        app.ports.control.shadow(matchers.clone(), why, actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::OK, json!({ "shadow": matchers }), "/silences", "shadowed")
    }
}

/// From now on people are told of them.
pub(crate) struct Promote;

impl Action for Promote {
    type Input = ShadowInput;

    async fn perform(app: &App, actor: &Actor, _: &str, input: ShadowInput) -> Result<Done, Failure> {
        let matchers = input.matchers.list();
        app.ports.control.promote(matchers.clone(), actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::OK, json!({ "promoted": matchers }), "/silences", "promoted")
    }
}

pub(super) fn done(
    status: StatusCode,
    body: Value,
    to: &'static str,
    notice: &'static str,
) -> Result<Done, Failure> {
    Ok(Done { status, body, to: to.to_owned(), notice, page: None })
}

pub(super) fn not_done(refusal: NotDone) -> Failure {
    let message = refusal.to_string();
    match refusal {
        NotDone::Wrong(_) => Failure::bad_request("bad_input", message, "see docs/alerts.md"),
        NotDone::Gone(what) => {
            Failure::new(StatusCode::NOT_FOUND, "not_found", message, format!("list the {what}s"))
        }
        NotDone::TooMany(_) => Failure::conflict(message, "end what is not needed any more"),
        NotDone::Store(error) => error.into(),
    }
}
