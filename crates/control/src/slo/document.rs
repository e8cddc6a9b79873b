//! A service level as operators write it down.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

/// One objective. Written as JSON (see [`Document::json`]), read by [`super::read::document`].
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub name: String,
    pub description: String,
    pub sli: Sli,
    pub source: Source,
    pub selector: Selector,
    /// Percent that must be good.
    pub target: f64,
    pub window: Window,
    /// Who is told and who may change it; a label of its alerts.
    pub owner: String,
    pub alerting: Alerting,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sli {
    /// Requests and runs that ended well, of all that are not the caller's own mistake.
    Availability,
    /// Good ones that took no longer than this.
    Latency { threshold: Duration },
    /// Good ones whose first token came no later than this.
    FirstToken { threshold: Duration },
    /// Triggered runs that waited in Dify's queues no longer than this.
    QueueWait { threshold: Duration },
    /// Retrievals that found something.
    RetrievalEmptiness,
    /// Runs by a schedule that began no later after their time than this.
    SchedulePunctuality { threshold: Duration },
    /// Minutes before which something succeeded no longer ago than this.
    RunFreshness { max_age: Duration },
}

/// Where figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// What was read of Dify's database where one is configured and the SLI is in it, else the gateway.
    Auto,
    Gateway,
    Dify,
}

/// What of it; what is `None` is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// `app` or `model`.
    pub path: Option<String>,
    /// Name or id.
    pub app: Option<String>,
    pub mode: Option<String>,
    /// `None` on the app path: those that execute an app. `any`: all.
    pub endpoint: Option<String>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub version: Option<String>,
}

/// Over which time the target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many days.
    Rolling {
        days: u32,
    },
    Calendar(Calendar),
}

/// UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// From Monday.
    Week,
    Month,
    Quarter,
}

/// Whether anybody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alerting {
    On,
    /// Only said that somebody would have been.
    Shadow,
    /// Judged and shown.
    Off,
}

pub(super) const MODES: [&str; 6] =
    ["workflow", "advanced-chat", "chat", "agent-chat", "completion", "rag-pipeline"];
pub(super) const SLIS: [&str; 7] = [
    "availability",
    "latency",
    "first_token",
    "queue_wait",
    "retrieval_emptiness",
    "schedule_punctuality",
    "run_freshness",
];

impl Document {
    pub fn json(&self) -> Value {
        let Document { name, description, sli, source, selector, target, window, owner, alerting } = self;
        json!({
            "name": name,
            "description": description,
            "sli": sli.json(),
            "source": source.as_str(),
            "selector": selector.json(),
            "target": target,
            "window": window.json(),
            "owner": owner,
            "alerting": alerting.as_str(),
        })
    }

    /// The share that must be good.
    pub fn share(&self) -> f64 {
        self.target / 100.0
    }
}

impl Sli {
    pub fn kind(self) -> &'static str {
        match self {
            Sli::Availability => "availability",
            Sli::Latency { .. } => "latency",
            Sli::FirstToken { .. } => "first_token",
            Sli::QueueWait { .. } => "queue_wait",
            Sli::RetrievalEmptiness => "retrieval_emptiness",
            Sli::SchedulePunctuality { .. } => "schedule_punctuality",
            Sli::RunFreshness { .. } => "run_freshness",
        }
    }

    /// What of the figures it looks at: milliseconds, where it has a threshold.
    pub fn threshold(self) -> Option<Duration> {
        match self {
            Sli::Availability | Sli::RetrievalEmptiness => None,
            Sli::Latency { threshold }
            | Sli::FirstToken { threshold }
            | Sli::QueueWait { threshold }
            | Sli::SchedulePunctuality { threshold } => Some(threshold),
            Sli::RunFreshness { max_age } => Some(max_age),
        }
    }

    fn json(self) -> Value {
        match self {
            Sli::RunFreshness { max_age } => {
                json!({ "kind": self.kind(), "max_age_s": max_age.as_secs() })
            }
            _ => match self.threshold() {
                Some(threshold) => {
                    let millis = u64::try_from(threshold.as_millis()).unwrap_or(u64::MAX);
                    json!({ "kind": self.kind(), "threshold_ms": millis })
                }
                None => json!({ "kind": self.kind() }),
            },
        }
    }

    /// In words: `took at most 30 s`.
    pub fn words(self) -> String {
        match self {
            Sli::Availability => "ended well".to_owned(),
            Sli::Latency { threshold } => format!("took at most {threshold:?}"),
            Sli::FirstToken { threshold } => format!("first token within {threshold:?}"),
            Sli::QueueWait { threshold } => format!("waited at most {threshold:?}"),
            Sli::RetrievalEmptiness => "found something".to_owned(),
            Sli::SchedulePunctuality { threshold } => format!("began within {threshold:?} of its time"),
            Sli::RunFreshness { max_age } => format!("a success not older than {max_age:?}"),
        }
    }
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Auto => "auto",
            Source::Gateway => "gateway",
            Source::Dify => "dify",
        }
    }
}

impl Selector {
    pub(super) fn json(&self) -> Value {
        let pairs = self
            .pairs()
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value.clone()?))));
        Value::Object(pairs.collect())
    }

    pub(super) fn pairs(&self) -> [(&'static str, &Option<String>); 7] {
        let Selector { path, app, mode, endpoint, model, provider, version } = self;
        [
            ("path", path),
            ("app", app),
            ("mode", mode),
            ("endpoint", endpoint),
            ("model", model),
            ("provider", provider),
            ("version", version),
        ]
    }

    /// `mode=workflow, provider=openai`.
    pub fn words(&self) -> String {
        let pairs =
            self.pairs().into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        pairs.collect::<Vec<_>>().join(", ")
    }
}

impl Window {
    fn json(self) -> Value {
        match self {
            Window::Rolling { days } => json!({ "rolling_days": days }),
            Window::Calendar(calendar) => json!({ "calendar": calendar.as_str() }),
        }
    }

    /// How long it is; a month counts as 30 days and a quarter as 91.
    pub fn length(self) -> Duration {
        let days = match self {
            Window::Rolling { days } => u64::from(days),
            Window::Calendar(Calendar::Week) => 7,
            Window::Calendar(Calendar::Month) => 30,
            Window::Calendar(Calendar::Quarter) => 91,
        };
        Duration::from_secs(days * 86_400)
    }

    pub fn words(self) -> String {
        match self {
            Window::Rolling { days } => format!("{days}d"),
            Window::Calendar(calendar) => calendar.as_str().to_owned(),
        }
    }
}

impl Calendar {
    pub(super) const ALL: [Calendar; 3] = [Calendar::Week, Calendar::Month, Calendar::Quarter];

    pub fn as_str(self) -> &'static str {
        match self {
            Calendar::Week => "week",
            Calendar::Month => "month",
            Calendar::Quarter => "quarter",
        }
    }
}

impl Alerting {
    pub(super) const ALL: [Alerting; 3] = [Alerting::On, Alerting::Shadow, Alerting::Off];

    pub fn as_str(self) -> &'static str {
        match self {
            Alerting::On => "on",
            Alerting::Shadow => "shadow",
            Alerting::Off => "off",
        }
    }
}
