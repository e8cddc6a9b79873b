//! What receivers are told, as a neutral document: what lies in the outbox until it is sent.

use std::collections::BTreeMap;

use mainstay_base::Micros;
use serde::{Deserialize, Serialize};

/// The most alerts that one notice lists; [`Notice::more`] counts the others.
pub const MAX_ALERTS: usize = 20;

/// One thing worth telling about a group of alerts that belong together (most often: one alert).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub what: What,
    /// Names the group from its first notice to its last, and never another: what receivers join notices by.
    pub key: String,
    /// Counts the notices of this group from 1, so that repeating one is recognised.
    pub number: i64,
    /// The worst of its alerts.
    pub severity: Severity,
    /// One line for people.
    pub title: String,
    pub at: Micros,
    /// Who acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Escalation>,
    /// Worst and oldest first; at most [`MAX_ALERTS`], at least one.
    pub alerts: Vec<Alert>,
    /// How many more alerts belong to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
}

/// Why a notice goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// There is trouble, or more of it than was told.
    Firing,
    /// It is worse than was told, or nobody took care of it in time and others are asked.
    Escalated,
    /// Still there, and nobody takes care of it.
    Reminder,
    /// Somebody takes care of it.
    Acknowledged,
    Resolved,
    /// Nothing is wrong: somebody wants to see whether notices arrive.
    Test,
}

impl What {
    pub const ALL: [What; 6] =
        [What::Firing, What::Escalated, What::Reminder, What::Acknowledged, What::Resolved, What::Test];

    pub fn as_str(self) -> &'static str {
        match self {
            What::Firing => "firing",
            What::Escalated => "escalated",
            What::Reminder => "reminder",
            What::Acknowledged => "acknowledged",
            What::Resolved => "resolved",
            What::Test => "test",
        }
    }

    pub fn parse(text: &str) -> Option<What> {
        What::ALL.into_iter().find(|what| what.as_str() == text)
    }

    /// Whether it says all that earlier notices of its group say, so that those need not be sent any more.
    pub fn replaces_earlier(self) -> bool {
        match self {
            What::Firing | What::Escalated | What::Reminder | What::Resolved => true,
            What::Acknowledged | What::Test => false,
        }
    }
}

/// As the store knows it, by the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Page,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Page => "page",
        }
    }
}

/// Who is asked, and by which policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    pub policy: String,
    /// From 1.
    pub step: u32,
    /// Who is asked now, by name.
    pub people: Vec<String>,
}

/// One alert as receivers are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub alert_id: String,
    pub severity: Severity,
    pub component: String,
    /// `degraded`, `down`, or `ok` when it is resolved.
    pub state: String,
    pub reason: String,
    pub summary: String,
    /// Why, and what to do, where it is known; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    pub opened_at: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Micros>,
}

impl Notice {
    /// Whether it closes what is told here although an alert of it is still open: it went into the shadow, or to others.
    pub fn goes_on(&self) -> bool {
        self.what == What::Resolved && self.alerts.iter().any(|alert| alert.resolved_at.is_none())
    }

    /// What a receiver is shown that somebody tries out: every field is filled.
    pub fn sample(what: What, at: Micros) -> Notice {
        let severity = match what {
            What::Test => Severity::Info,
            _ => Severity::Page,
        };
        let alert = Alert {
            alert_id: "00000000-0000-7000-8000-000000000001".to_owned(),
            severity,
            component: "provider:example".to_owned(),
            state: if what == What::Resolved { "ok" } else { "down" }.to_owned(),
            reason: "12 of 12 attempts failed (5xx) in the last minute".to_owned(),
            summary: "provider:example is down: 12 of 12 attempts failed (5xx) in the last minute".to_owned(),
            cause: "this is no real alert: somebody tries out whether notices arrive".to_owned(),
            remedy: "nothing is to be done".to_owned(),
            labels: BTreeMap::from([("provider".to_owned(), "example".to_owned())]),
            opened_at: at,
            resolved_at: (what == What::Resolved).then_some(at),
        };
        Notice {
            what,
            key: "00000000-0000-7000-8000-000000000000".to_owned(),
            number: 1,
            severity,
            title: "Test: provider:example is down".to_owned(),
            at,
            by: (what == What::Acknowledged).then(|| "somebody".to_owned()),
            escalation: (what == What::Escalated).then(|| Escalation {
                policy: "example".to_owned(),
                step: 2,
                people: vec!["somebody".to_owned()],
            }),
            alerts: vec![alert],
            more: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_read_back_as_it_was_written() {
        for what in What::ALL {
            let written = Notice::sample(what, Micros(1_800_000_000_000_000));
            let text = serde_json::to_string(&written).unwrap();
            assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), written);
            assert_eq!(What::parse(what.as_str()), Some(what));
        }
    }
}
