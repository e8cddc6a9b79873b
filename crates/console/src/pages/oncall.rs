//! Who is on call, now and next, and who stands in for whom.

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_control::{
    alert::{NewOverride, Remark, Roster},
    oncall::Shift,
};
use mainstay_store::model::OnCallOverride;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::quiet::{Number, done, not_done};
use crate::{
    App, Failure,
    action::{Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
};

const OVERRIDES_SHOWN: u32 = 100;

#[derive(Serialize)]
pub(crate) struct OnCall {
    /// Each with its present shift first.
    pub(crate) schedules: Vec<Roster>,
    /// Those that end last first, ended ones included.
    pub(crate) overrides: Vec<OnCallOverride>,
    /// What of routes, policies and schedules is probably not meant.
    pub(crate) remarks: Vec<Remark>,
}

#[derive(Template)]
#[template(path = "oncall.html")]
struct OnCallHtml<'a> {
    chrome: &'a Chrome,
    page: &'a OnCall,
}

impl Page for OnCall {
    const SECTION: &'static str = "oncall";
    const TOPICS: &'static str = "alerts";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<OnCall, Failure> {
        Ok(OnCall {
            schedules: app.ports.control.rosters().await?,
            overrides: app.ports.store.on_call().list(OVERRIDES_SHOWN).await?,
            remarks: app.ports.control.alert_remarks(),
        })
    }

    fn title(&self) -> String {
        "On call".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        OnCallHtml { chrome, page: self }.render()
    }
}

pub(crate) fn person(shift: &Shift) -> &str {
    shift.on_call.as_ref().map_or("nobody", |on_call| on_call.person.as_str())
}

pub(crate) fn how(shift: &Shift) -> &'static str {
    match &shift.on_call {
        None => "a gap",
        Some(on_call) if on_call.override_id.is_some() => "by an override",
        Some(_) => "by turn",
    }
}

pub(crate) fn has_ended(one: &OnCallOverride, now: &Micros) -> bool {
    one.ends_at <= *now
}

/// Somebody stands in for whoever would be on call.
pub(crate) struct OverrideCall;

#[derive(Deserialize)]
pub(crate) struct OverrideInput {
    #[serde(default)]
    schedule: String,
    #[serde(default)]
    person: String,
    /// Seconds.
    #[serde(default)]
    lasts_s: Option<Number>,
    /// Microseconds; without it, now.
    #[serde(default)]
    starts_at: Option<Micros>,
    #[serde(default)]
    comment: String,
}

impl Action for OverrideCall {
    type Input = OverrideInput;

    async fn perform(app: &App, actor: &Actor, _: &str, input: OverrideInput) -> Result<Done, Failure> {
        let OverrideInput { schedule, person, lasts_s, starts_at, comment } = input;
        let new = NewOverride { schedule, person, starts_at, lasts: Number::seconds(lasts_s), comment };
        let made = app.ports.control.override_call(new, actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::CREATED, json!(made), "/oncall", "call-overridden")
    }
}

/// Ends it before its time.
pub(crate) struct ReleaseCall;

impl Action for ReleaseCall {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        app.ports.control.release_call(id.to_owned(), actor.name.clone()).await.map_err(not_done)?;
        done(StatusCode::OK, json!({ "id": id, "ended": true }), "/oncall", "call-released")
    }
}
