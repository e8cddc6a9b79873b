//! Groups of alerts: who was told what and when, by which way, what comes next, and who looks after it.

use askama::Template;
use http::StatusCode;
use mainstay_base::Micros;
use mainstay_control::{
    ControlError,
    alert::{AcknowledgedGroup, GroupDetail, GroupView, Next, Told},
};
use serde::Serialize;
use serde_json::json;

use super::{alerts, quiet, segment};
use crate::{
    App, Failure,
    action::{Action, Done, NoInput},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
    show::{self, Html},
};

#[derive(Serialize)]
pub(crate) struct Groups {
    /// Open ones and ended ones, those that changed last first.
    pub(crate) groups: Vec<GroupView>,
}

#[derive(Template)]
#[template(path = "groups.html")]
struct GroupsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Groups,
}

impl Page for Groups {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Groups, Failure> {
        Ok(Groups { groups: app.ports.control.group_views().await? })
    }

    fn title(&self) -> String {
        "Groups of alerts".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        GroupsHtml { chrome, page: self }.render()
    }
}

impl Groups {
    pub(crate) fn open(&self) -> Vec<&GroupView> {
        self.groups.iter().filter(|one| one.group.ended_at.is_none()).collect()
    }

    pub(crate) fn ended(&self) -> Vec<&GroupView> {
        self.groups.iter().filter(|one| one.group.ended_at.is_some()).collect()
    }
}

#[derive(Serialize)]
pub(crate) struct GroupPage {
    #[serde(flatten)]
    pub(crate) group: GroupDetail,
}

#[derive(Template)]
#[template(path = "group.html")]
struct GroupHtml<'a> {
    chrome: &'a Chrome,
    page: &'a GroupPage,
}

impl Page for GroupPage {
    const SECTION: &'static str = "alerts";
    const TOPICS: &'static str = "alerts";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<GroupPage, Failure> {
        let found = app.ports.control.group_view(id.to_owned()).await?;
        Ok(GroupPage { group: found.ok_or_else(|| Failure::not_found("group of alerts", id))? })
    }

    fn title(&self) -> String {
        format!("Group of {}", self.group.view.group.members.len())
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        GroupHtml { chrome, page: self }.render()
    }
}

/// `ended`, `acknowledged`, `quiet`, `waits` (nobody was told yet) or `told`.
pub(crate) fn state(one: &GroupView) -> Html {
    let group = &one.group;
    let mut open = group.members.values().filter(|member| member.resolved_at.is_none());
    match group {
        _ if group.ended_at.is_some() => show::state("resolved"),
        _ if group.acknowledged_by.is_some() || can_acknowledge(one).is_none() => show::state("acknowledged"),
        _ if open.all(|member| member.quiet.is_some()) => show::state("quiet"),
        _ if group.number == 0 => show::state("waits"),
        _ => show::state("firing"),
    }
}

/// How many of its alerts nobody looks after; `None`: none.
pub(crate) fn can_acknowledge(one: &GroupView) -> Option<usize> {
    let open = one.group.members.values().filter(|member| member.resolved_at.is_none());
    Some(open.filter(|member| member.acknowledged_by.is_none()).count()).filter(|count| *count > 0)
}

pub(crate) fn severity(one: &GroupView) -> Html {
    let worst = one.group.members.values().map(|member| member.severity).max();
    worst.map_or_else(Html::default, |worst| show::state_as(alerts::severity_tone(&worst), worst.as_str()))
}

pub(crate) fn components(one: &GroupView) -> Html {
    quiet::components(&one.group)
}

/// `team → policy primary, step 2 of 3, again 1`.
pub(crate) fn way(one: &GroupView) -> Html {
    let GroupView { group, to, steps, .. } = one;
    let mut words = format!("{} → {to}", group.route);
    if *steps > 0 && group.number > 0 {
        words.push_str(&format!(", step {} of {steps}", group.step + 1));
    }
    if group.round > 0 {
        words.push_str(&format!(", again {}", group.round));
    }
    show::text(&words)
}

/// `escalated to ana (ana-telegram)`.
pub(crate) fn next(next: &Next) -> Html {
    let people = next.escalation.as_ref().map(|step| step.people.join(", ")).filter(|text| !text.is_empty());
    let receivers = next.receivers.join(", ");
    let whom = people.map_or_else(|| receivers.clone(), |people| format!("{people} ({receivers})"));
    show::text(&format!("{} to {whom}", next.what.as_str()))
}

/// From now: `in 4 min 12 s`.
pub(crate) fn ahead(now: &Micros, at: &Micros) -> String {
    if at <= now { "now".to_owned() } else { format!("in {}", show::between(&Some(*now), &Some(*at))) }
}

pub(crate) fn told(one: &GroupView) -> Html {
    let names: Vec<&str> = one.group.told.iter().map(String::as_str).collect();
    if names.is_empty() { show::text("nobody") } else { show::text(&names.join(", ")) }
}

pub(crate) fn looked_after(one: &GroupView) -> Html {
    let mut names: Vec<&str> = one.acknowledged.values().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { show::text("nobody") } else { show::text(&names.join(", ")) }
}

/// `policy primary, step 2: ana`.
pub(crate) fn step(told: &Told) -> Html {
    match &told.escalation {
        Some(step) if step.people.is_empty() => show::text(&format!("{}, step {}", step.policy, step.step)),
        Some(step) => show::text(&format!("{}, step {}: {}", step.policy, step.step, step.people.join(", "))),
        None => show::text("–"),
    }
}

pub(crate) fn what(told: &Told) -> &'static str {
    told.what.map_or("?", mainstay_control::alert::What::as_str)
}

/// Says that somebody looks after all of it.
pub(crate) struct AcknowledgeGroup;

impl Action for AcknowledgeGroup {
    type Input = NoInput;

    async fn perform(app: &App, actor: &Actor, id: &str, _: NoInput) -> Result<Done, Failure> {
        let done = app.ports.control.acknowledge_group(id.to_owned(), actor.name.clone()).await;
        let done = done.map_err(|error| match error {
            ControlError::NotFound(_) => Failure::not_found("group of alerts", id),
            ControlError::Store(error) => error.into(),
        })?;
        app.live.forget().await;
        let AcknowledgedGroup { acknowledged, before } = &done;
        if acknowledged.is_empty() && before.is_empty() {
            return Err(Failure::conflict("all of the group is resolved", "there is nothing to acknowledge"));
        }
        let notice = if acknowledged.is_empty() { "nothing" } else { "group-acknowledged" };
        let to = format!("/groups/{}", segment(id));
        Ok(Done { status: StatusCode::OK, body: json!(done), to, notice, page: None })
    }
}
