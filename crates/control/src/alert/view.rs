//! What people see of groups: who was told what and when, by which way, what comes next, and who looks after it. And the
//! acknowledgement of a whole group.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use mainstay_store::{
    NoticeFilter, StoreError,
    model::{AlertState, Delivery, DeliveryState, OnCallOverride},
};
use mainstay_wire::notify::{Escalation, Notice, What};
use serde::Serialize;
use serde_json::json;

use super::{
    Group, Plan, Reach, To,
    dispatch::{self, Input},
    reach,
};
use crate::{ControlError, Facade, incident};

/// Groups that are shown.
const GROUPS_SHOWN: u32 = 100;
/// Notices to one receiver that are shown of one group, the latest.
const NOTICES_SHOWN: u32 = 50;

/// A group as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupView {
    #[serde(flatten)]
    pub group: Group,
    /// `policy primary`, `receivers a, b`, `everybody`, `nobody`; of a route that is gone: nothing.
    pub to: String,
    /// Steps of its policy.
    pub steps: usize,
    /// What is told next, if nothing else happens.
    pub next: Option<Next>,
    /// Who has acknowledged, by alert.
    pub acknowledged: BTreeMap<String, String>,
}

/// What is told next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    pub at: Micros,
    pub what: What,
    pub receivers: Vec<String>,
    pub escalation: Option<Escalation>,
}

/// One notice to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub at: Micros,
    pub receiver: String,
    pub what: Option<What>,
    pub number: i64,
    pub title: String,
    pub escalation: Option<Escalation>,
    pub state: DeliveryState,
    pub delivered_at: Option<Micros>,
    pub last_error: Option<String>,
}

/// A group with its notices, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupDetail {
    #[serde(flatten)]
    pub view: GroupView,
    pub notices: Vec<Told>,
}

/// What became of the acknowledgement of a group: the alerts that nobody had looked after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcknowledgedGroup {
    pub acknowledged: Vec<String>,
    /// Somebody looks after these already.
    pub before: Vec<String>,
}

impl Facade {
    /// Those that changed last first, ended ones included.
    pub async fn group_views(&self) -> Result<Vec<GroupView>, StoreError> {
        let store = &self.shared.store;
        let rows = store.alerts().groups(false, GROUPS_SHOWN).await?;
        let overrides = store.on_call().list(0).await?;
        let groups = rows.into_iter().filter_map(|row| serde_json::from_value(row.body).ok());
        Ok(groups.map(|group| self.view(group, &overrides)).collect())
    }

    /// `None`: there is none, or it was removed.
    pub async fn group_view(&self, id: &str) -> Result<Option<GroupDetail>, StoreError> {
        let store = &self.shared.store;
        let Some(group) = self.group(id).await? else { return Ok(None) };
        let overrides = store.on_call().list(0).await?;
        let mut notices = Vec::new();
        for receiver in &group.told {
            let filter = NoticeFilter {
                receiver: Some(receiver.clone()),
                topic: Some(group.id.clone()),
                limit: NOTICES_SHOWN,
                ..NoticeFilter::default()
            };
            notices.extend(store.outbox().notices(filter).await?.into_iter().map(told));
        }
        notices.sort_by(|one, other| (one.number, &one.receiver).cmp(&(other.number, &other.receiver)));
        Ok(Some(GroupDetail { view: self.view(group, &overrides), notices }))
    }

    /// Says that somebody looks after all of it, whole or not at all.
    pub async fn acknowledge_group(
        &self,
        id: &str,
        actor: &str,
        note: &str,
    ) -> Result<AcknowledgedGroup, ControlError> {
        let group = self.group(id).await?.ok_or(ControlError::NotFound("group"))?;
        let now = self.shared.clock.now();
        let text = match note {
            "" => "alert acknowledged with its group".to_owned(),
            note => format!("alert acknowledged with its group: {note}"),
        };
        let open = group.members.iter().filter(|(_, member)| member.resolved_at.is_none());
        let event = |alert: &String| {
            let detail = json!({ "before": "firing", "after": "acknowledged", "group": id });
            (alert.clone(), incident::event(alert, "acknowledged", actor, &text, detail, now))
        };
        let events = open.map(|(id, _)| event(id)).collect();
        let states = self.shared.store.alerts().acknowledge_all(events, actor).await?;
        let mut done = AcknowledgedGroup { acknowledged: Vec::new(), before: Vec::new() };
        for (alert, before) in states {
            match before {
                AlertState::Firing => done.acknowledged.push(alert),
                AlertState::Acknowledged => done.before.push(alert),
                AlertState::Resolved => {}
            }
        }
        if !done.acknowledged.is_empty() {
            self.shared.wake.notify_one();
        }
        Ok(done)
    }

    async fn group(&self, id: &str) -> Result<Option<Group>, StoreError> {
        let row = self.shared.store.alerts().group(id).await?;
        Ok(row.and_then(|row| serde_json::from_value(row.body).ok()))
    }

    fn view(&self, group: Group, overrides: &[OnCallOverride]) -> GroupView {
        let (options, now) = (self.shared.options.borrow().clone(), self.shared.clock.now());
        let receivers: Vec<Reach> = options.receivers.iter().map(reach).collect();
        view(&options.alerting, &receivers, overrides, group, now)
    }
}

fn view(
    plan: &Plan,
    receivers: &[Reach],
    overrides: &[OnCallOverride],
    group: Group,
    now: Micros,
) -> GroupView {
    let input = Input { plan, receivers, alerts: &[], silences: &[], overrides };
    let next = dispatch::ahead(&input, &group, now).map(|(at, outgoing)| Next {
        at,
        what: outgoing.notice.what,
        receivers: outgoing.receivers,
        escalation: outgoing.notice.escalation,
    });
    let route = plan.route(&group.route);
    let steps = match route.map(|route| &route.to) {
        Some(To::Policy(name)) => plan.policy(name).map_or(0, |policy| policy.steps.len()),
        _ => 0,
    };
    let acknowledged = group.members.iter().filter_map(|(id, member)| {
        let by = member.acknowledged_by.clone().filter(|_| member.resolved_at.is_none())?;
        Some((id.clone(), by))
    });
    GroupView {
        to: route.map_or_else(String::new, |route| words(&route.to)),
        steps,
        next,
        acknowledged: acknowledged.collect(),
        group,
    }
}

fn words(to: &To) -> String {
    match to {
        To::Everybody => "everybody".to_owned(),
        To::Receivers(names) if names.is_empty() => "nobody".to_owned(),
        To::Receivers(names) => format!("receivers {}", names.join(", ")),
        To::Policy(name) => format!("policy {name}"),
    }
}

fn told(delivery: Delivery) -> Told {
    let Delivery { receiver, payload, state, last_error, created_at, ended_at, .. } = delivery;
    let notice: Option<Notice> = payload.and_then(|payload| serde_json::from_value(payload).ok());
    Told {
        at: notice.as_ref().map_or(created_at, |notice| notice.at),
        receiver: receiver.unwrap_or_default(),
        what: notice.as_ref().map(|notice| notice.what),
        number: notice.as_ref().map_or(0, |notice| notice.number),
        title: notice.as_ref().map_or_else(String::new, |notice| notice.title.clone()),
        escalation: notice.and_then(|notice| notice.escalation),
        state,
        delivered_at: ended_at.filter(|_| state == DeliveryState::Delivered),
        last_error,
    }
}
