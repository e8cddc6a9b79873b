//! Why nobody is told of an alert: which silence and whose, what explains it, or a shadow.

use mainstay_store::model::{Alert, AlertFilter, Silence};
use serde::Serialize;

use crate::{App, Failure, show};

/// Causes that are looked up among the open alerts.
const OPEN_MAX: u32 = 200;
const SILENCES_MAX: u32 = 200;

/// An alert, and why nobody is told of it.
#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) alert: Alert,
    /// `None`: whoever is to know is told.
    pub(crate) quiet: Option<Why>,
}

#[derive(Serialize)]
pub(crate) struct Why {
    /// `silence`, `inhibited` or `shadow`.
    pub(crate) kind: &'static str,
    /// In a sentence.
    pub(crate) words: String,
    /// Where it can be looked at.
    pub(crate) at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) silence: Option<Silence>,
    /// The alert of what explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
}

pub(crate) async fn rows(app: &App, alerts: Vec<Alert>) -> Result<Vec<Row>, Failure> {
    let store = &app.ports.store;
    let is_quiet = |how: &str| {
        alerts.iter().any(|alert| alert.suppressed.as_deref().is_some_and(|why| why.starts_with(how)))
    };
    let silences = if is_quiet(SILENCE) { store.silences().list(SILENCES_MAX).await? } else { Vec::new() };
    let open = if is_quiet(INHIBITED) {
        let filter = AlertFilter { open_only: true, limit: OPEN_MAX, ..AlertFilter::default() };
        store.alerts().list(filter).await?
    } else {
        Vec::new()
    };
    let row = |alert: Alert| Row { quiet: why(&alert, &silences, &open), alert };
    Ok(alerts.into_iter().map(row).collect())
}

const SILENCE: &str = "silence:";
const INHIBITED: &str = "inhibited:";

fn why(alert: &Alert, silences: &[Silence], open: &[Alert]) -> Option<Why> {
    let suppressed = alert.suppressed.as_deref()?;
    if let Some(id) = suppressed.strip_prefix(SILENCE) {
        let silence = silences.iter().find(|silence| silence.id == id).cloned();
        let words = match &silence {
            Some(silence) => format!(
                "silenced by {} until {}: {}",
                silence.author,
                show::utc(&silence.ends_at),
                silence.comment
            ),
            None => format!("silenced by {id}"),
        };
        return Some(Why { kind: "silence", words, at: "/silences".to_owned(), silence, cause: None });
    }
    if let Some(component) = suppressed.strip_prefix(INHIBITED) {
        let cause = open.iter().find(|open| open.subject == component);
        let words = match cause {
            Some(cause) => format!("explained by {component}: {}", cause.summary),
            None => format!("explained by {component}"),
        };
        let cause = cause.map(|cause| cause.id.clone());
        let at = cause
            .as_ref()
            .map_or_else(|| "/alerts".to_owned(), |id| format!("/incidents/{}", super::segment(id)));
        return Some(Why { kind: "inhibited", words, at, silence: None, cause });
    }
    let (words, at) = match alert.subject.strip_prefix("slo:") {
        Some(name) => {
            ("in the shadow: nobody is told until it is promoted".to_owned(), super::slos::path(name, ""))
        }
        None => ("in the shadow: nobody is told".to_owned(), "/silences".to_owned()),
    };
    Some(Why { kind: "shadow", words, at, silence: None, cause: None })
}
