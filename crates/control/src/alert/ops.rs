//! What people do about alerts while the process runs: silences, shadows, and who is on call instead of whom. Each is
//! stored with its line of the story, and found by the acting control at its next look.

use std::time::Duration;

use mainstay_base::{Micros, id, listed};
use mainstay_store::{
    StoreError,
    model::{OnCallOverride, Silence},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Group, Reach, Remark, lint, parse_all, reach,
    shadow::{MAX_SHADOWS, Shadow, Shadows},
};
use crate::{
    Facade, incident,
    oncall::{self, Shift},
};

/// The subjects under which the timeline keeps these.
pub const SILENCES: &str = "silences";
pub const ON_CALL: &str = "on-call";
pub const SHADOWS: &str = "shadows";
/// The longest silence and override; what is to last is configuration.
pub const MAX_SPAN: Duration = Duration::from_secs(92 * 24 * 3600);
const MAX_TEXT_CHARS: usize = 500;
/// Groups that are shown.
const GROUPS_SHOWN: u32 = 100;
/// How far ahead shifts are told.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 3600);

#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// All that is wrong, each with its key.
    #[error("{}", spelled(.0))]
    Wrong(Vec<(String, String)>),
    #[error("there is no such {0}, or it has ended")]
    Gone(&'static str),
    #[error("there are too many {0} that have not ended; end one first")]
    TooMany(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn spelled(problems: &[(String, String)]) -> String {
    problems.iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>().join("; ")
}

/// What is asked for; `None` begins now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSilence {
    pub matchers: Vec<String>,
    pub starts_at: Option<Micros>,
    pub lasts: Duration,
    pub comment: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOverride {
    pub schedule: String,
    pub person: String,
    pub starts_at: Option<Micros>,
    pub lasts: Duration,
    pub comment: String,
}

/// One schedule as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Roster {
    pub schedule: String,
    pub time_zone: String,
    /// The first is the present one.
    pub shifts: Vec<Shift>,
}

impl Facade {
    pub async fn silences(&self, limit: u32) -> Result<Vec<Silence>, StoreError> {
        self.shared.store.silences().list(limit).await
    }

    /// Nobody is told of these alerts from then on, for so long.
    pub async fn silence(&self, new: NewSilence, actor: &str) -> Result<Silence, NotDone> {
        let now = self.shared.clock.now();
        let NewSilence { matchers, starts_at, lasts, comment } = new;
        let mut problems = span_problems(starts_at, lasts, now);
        if matchers.is_empty() {
            problems
                .push(("matchers".to_owned(), "is empty: a silence says which alerts it is for".to_owned()));
        }
        let wrong = parse_all(&matchers).err().unwrap_or_default();
        problems.extend(wrong.into_iter().map(|(place, problem)| (format!("matchers[{place}]"), problem)));
        problems.extend(text_problem("comment", &comment, true));
        if !problems.is_empty() {
            return Err(NotDone::Wrong(problems));
        }
        let starts_at = starts_at.unwrap_or(now);
        let silence = Silence {
            id: id::new(),
            matchers,
            starts_at,
            ends_at: starts_at + lasts,
            author: actor.to_owned(),
            comment,
            created_at: now,
            ended_by: None,
        };
        let text = format!("silence of {}: {}", silence.matchers.join(", "), silence.comment);
        let undo = format!("mainstay alert unsilence {}", silence.id);
        let detail = json!({ "silence": silence, "undo": undo });
        let event = incident::event(SILENCES, "silenced", actor, &text, detail, now);
        if !self.shared.store.silences().add(silence.clone(), event).await? {
            return Err(NotDone::TooMany("silences"));
        }
        self.shared.wake.notify_one();
        Ok(silence)
    }

    /// Ends a silence before its time.
    pub async fn unsilence(&self, id: &str, actor: &str) -> Result<(), NotDone> {
        let text = format!("silence {id} ended before its time");
        let event = incident::event(
            SILENCES,
            "unsilenced",
            actor,
            &text,
            json!({ "silence": id }),
            self.shared.clock.now(),
        );
        if !self.shared.store.silences().end(id, actor, event).await? {
            return Err(NotDone::Gone("silence"));
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    pub async fn shadows(&self) -> Result<Vec<Shadow>, StoreError> {
        Ok(Shadows::read(&self.shared.store).await?.shadows)
    }

    /// Groups that are told of together; of shadows: what would have been told. Those that changed last first.
    pub async fn alert_groups(&self, shadow: bool) -> Result<Vec<Group>, StoreError> {
        let rows = self.shared.store.alerts().groups(shadow, GROUPS_SHOWN).await?;
        Ok(rows.into_iter().filter_map(|row| serde_json::from_value(row.body).ok()).collect())
    }

    /// From now on nobody is told of these alerts; what would have been told is written down.
    pub async fn shadow(&self, matchers: Vec<String>, why: &str, actor: &str) -> Result<(), NotDone> {
        let mut problems: Vec<(String, String)> = parse_all(&matchers)
            .err()
            .unwrap_or_default()
            .into_iter()
            .map(|(place, problem)| (format!("matchers[{place}]"), problem))
            .collect();
        if matchers.is_empty() {
            problems.push(("matchers".to_owned(), "is empty: say which alerts".to_owned()));
        }
        problems.extend(text_problem("why", why, false));
        if !problems.is_empty() {
            return Err(NotDone::Wrong(problems));
        }
        let (since, by, why) = (self.shared.clock.now(), actor.to_owned(), why.to_owned());
        let shadow = Shadow { matchers, by, why, since };
        let (_, after) = Shadows::change(&self.shared.store, actor, |stored| {
            if stored.shadows.len() < MAX_SHADOWS {
                stored.shadows.retain(|known| known.matchers != shadow.matchers);
                stored.shadows.push(shadow.clone());
            }
        })
        .await?;
        if !after.shadows.contains(&shadow) {
            return Err(NotDone::TooMany("shadows"));
        }
        let text = format!("nobody is told of {} for now: {}", shadow.matchers.join(", "), shadow.why);
        let undo = format!("mainstay alert promote {}", shadow.matchers.join(" "));
        self.note(SHADOWS, "shadowed", actor, &text, json!({ "shadow": shadow, "undo": undo })).await?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// From now on people are told of these alerts.
    pub async fn promote(&self, matchers: &[String], actor: &str) -> Result<(), NotDone> {
        let is_it = |shadow: &Shadow| shadow.matchers == matchers;
        let (before, after) =
            Shadows::change(&self.shared.store, actor, |stored| stored.shadows.retain(|one| !is_it(one)))
                .await?;
        if before.shadows.len() == after.shadows.len() {
            return Err(NotDone::Gone("shadow"));
        }
        let text = format!("people are told of {} from now on", matchers.join(", "));
        self.note(SHADOWS, "promoted", actor, &text, json!({ "matchers": matchers })).await?;
        self.shared.wake.notify_one();
        Ok(())
    }

    /// What of routes, policies and schedules is probably not meant.
    pub fn alert_remarks(&self) -> Vec<Remark> {
        let options = self.shared.options.borrow().clone();
        let receivers: Vec<Reach> = options.receivers.iter().map(reach).collect();
        lint(&options.alerting, &receivers, self.shared.clock.now())
    }

    /// Every schedule, with who is on call now and in the next two weeks.
    pub async fn rosters(&self) -> Result<Vec<Roster>, StoreError> {
        let overrides = self.shared.store.on_call().list(0).await?;
        let (plan, now) = (self.shared.options.borrow().alerting.clone(), self.shared.clock.now());
        let roster = |schedule: &oncall::Schedule| Roster {
            schedule: schedule.name.clone(),
            time_zone: schedule.time_zone.iana_name().unwrap_or("UTC").to_owned(),
            shifts: oncall::shifts(schedule, &overrides, now, now + AHEAD),
        };
        Ok(plan.schedules.iter().map(roster).collect())
    }

    /// Somebody is on call from then on, for so long, instead of whoever would be.
    pub async fn override_call(&self, new: NewOverride, actor: &str) -> Result<OnCallOverride, NotDone> {
        let now = self.shared.clock.now();
        let NewOverride { schedule, person, starts_at, lasts, comment } = new;
        let mut problems = span_problems(starts_at, lasts, now);
        let plan = self.shared.options.borrow().alerting.clone();
        if plan.schedule(&schedule).is_none() {
            let known = listed(plan.schedules.iter().map(|known| known.name.as_str()));
            problems.push(("schedule".to_owned(), format!("there is no {schedule}; there are: {known}")));
        }
        if plan.person(&person).is_none() {
            let known = listed(plan.people.iter().map(|known| known.name.as_str()));
            problems.push(("person".to_owned(), format!("there is no {person}; there are: {known}")));
        }
        problems.extend(text_problem("comment", &comment, false));
        if !problems.is_empty() {
            return Err(NotDone::Wrong(problems));
        }
        let starts_at = starts_at.unwrap_or(now);
        let one = OnCallOverride {
            id: id::new(),
            schedule,
            person,
            starts_at,
            ends_at: starts_at + lasts,
            author: actor.to_owned(),
            comment,
            created_at: now,
            ended_by: None,
        };
        let text = format!("{} is on call for {} instead", one.person, one.schedule);
        let undo = format!("mainstay oncall release {}", one.id);
        let event = incident::event(
            ON_CALL,
            "overridden",
            actor,
            &text,
            json!({ "override": one, "undo": undo }),
            now,
        );
        if !self.shared.store.on_call().add(one.clone(), event).await? {
            return Err(NotDone::TooMany("overrides"));
        }
        Ok(one)
    }

    /// Ends an override before its time.
    pub async fn release_call(&self, id: &str, actor: &str) -> Result<(), NotDone> {
        let text = format!("override {id} ended before its time");
        let now = self.shared.clock.now();
        let event = incident::event(ON_CALL, "released", actor, &text, json!({ "override": id }), now);
        match self.shared.store.on_call().end(id, actor, event).await? {
            true => Ok(()),
            false => Err(NotDone::Gone("override")),
        }
    }
}

fn span_problems(starts_at: Option<Micros>, lasts: Duration, now: Micros) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if lasts.is_zero() || lasts > MAX_SPAN {
        let days = MAX_SPAN.as_secs() / 86_400;
        problems.push((
            "lasts".to_owned(),
            format!("allowed is 1s to {days}d; what is to last is configuration"),
        ));
    }
    match starts_at {
        Some(at) if at + lasts <= now => {
            problems.push(("starts_at".to_owned(), "it would be over by now".to_owned()))
        }
        Some(at) if at > now + MAX_SPAN => {
            problems.push(("starts_at".to_owned(), "is too far ahead".to_owned()))
        }
        _ => {}
    }
    problems
}

fn text_problem(key: &str, text: &str, is_needed: bool) -> Option<(String, String)> {
    let why = match text {
        _ if is_needed && text.trim().is_empty() => "is empty: say why, for whoever finds it",
        _ if text.chars().count() > MAX_TEXT_CHARS => "is longer than 500 letters",
        _ if text.contains('\0') => "has a NUL in it",
        _ => return None,
    };
    Some((key.to_owned(), why.to_owned()))
}
