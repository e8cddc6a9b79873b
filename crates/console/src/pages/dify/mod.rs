//! The Dify that is looked after: its components, its queues and workers, its apps.

pub(crate) mod act;
pub(crate) mod app;
pub(crate) mod apps;
pub(crate) mod components;
pub(crate) mod queue;
pub(crate) mod queues;
pub(crate) mod words;
pub(crate) mod worker;

use std::sync::Arc;

use http::StatusCode;
use mainstay_base::{Finding, Severity};
use mainstay_control::{ingest, queue::Latest};

use crate::{App, Dify, Failure, live};

/// The Dify of the configuration, or how to name one.
fn dify(app: &App) -> Result<&Arc<dyn Dify>, Failure> {
    app.ports.dify.as_ref().ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "no_dify",
            "the configuration names no Dify",
            "write its [dify] section with `mainstay init --dify-env docker/.env`, and start again; see docs/dify.md",
        )
    })
}

/// What was seen of its queues last, or how to name their broker.
fn latest(app: &App) -> Result<Arc<Latest>, Failure> {
    dify(app)?.queues().ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            "no_broker",
            "the configuration names no broker of this Dify, so nothing is known of its queues",
            "set [dify.broker] as CELERY_BROKER_URL says, and start again; see docs/dify.md",
        )
    })
}

/// How many things are broken now, for the navigation; `None`: there is nothing to look at.
pub(crate) struct Broken {
    pub(crate) dify: Option<i64>,
    pub(crate) queues: Option<i64>,
}

impl Broken {
    pub(crate) fn of(app: &App) -> Broken {
        let count = |findings: &[Finding]| {
            let critical = findings.iter().filter(|finding| finding.severity == Severity::Critical);
            i64::try_from(critical.count()).unwrap_or(i64::MAX)
        };
        let Some(dify) = &app.ports.dify else { return Broken { dify: None, queues: None } };
        let diagnosis = dify.diagnosis();
        Broken {
            dify: Some(diagnosis.map_or(0, |diagnosis| count(&diagnosis.findings))),
            queues: dify.queues().map(|latest| count(&latest.verdicts.findings)),
        }
    }
}

/// What changes when the pages do.
pub(crate) async fn marks(app: &App) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(dify) = &app.ports.dify else { return Ok(Vec::new()) };
    let queues = dify.queues();
    let looked_at = queues.as_ref().and_then(|latest| latest.seen.as_ref()).map(|seen| seen.at);
    let findings = queues.as_ref().map(|latest| &latest.verdicts.findings);
    let reading = ingest::view::reading(&app.ports.store, &dify.name()).await?;
    let read = reading.as_ref().map(|(_, reading)| (reading.rows, &reading.last_failure));
    Ok(vec![
        ("queues", live::mark(&(looked_at, findings))),
        ("dify", live::mark(&dify.diagnosis().map(|diagnosis| diagnosis.at))),
        ("dify-apps", live::mark(&read)),
    ])
}
