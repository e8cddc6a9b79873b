//! The plugin daemon: that it lives, that it takes our key, and which plugins do not run.

use mainstay_base::Severity;
use serde::Deserialize;

use super::{
    Component,
    ask::{Answer, Ask},
    report::{Problem, Report, State},
};
use crate::deployment::Service;

/// A workspace that does not exist: the daemon checks the key first and finds no models.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// Plugins that a finding names.
const MAX_NAMED: usize = 5;

#[derive(Deserialize)]
struct Health {
    status: String,
    version: Option<String>,
    #[serde(default)]
    active_requests: i64,
    pool_status: Option<Pool>,
}

#[derive(Deserialize)]
struct Pool {
    free: i64,
    busy: i64,
    total: i64,
}

/// Every answer of the daemon's, with status 200 also for errors.
#[derive(Deserialize)]
struct Envelope {
    code: i64,
    #[serde(default)]
    message: String,
}

pub(super) async fn look(ask: Ask<'_>, daemon: &Service) -> Report {
    let mut report = Report::of(Component::PluginDaemon);
    let url = daemon.url.trim_end_matches('/');
    let health = match ask.get(&format!("{url}/health/check"), None).await {
        Ok(answer) => answer,
        Err(no_answer) => {
            return report.failed(Problem {
                id: "plugin-daemon-down",
                severity: Severity::Critical,
                what: "the plugin daemon gives no answer".to_owned(),
                cause: match no_answer.is_silent {
                    true => "It accepts and does not answer: starting plugins, or stuck.",
                    false => {
                        "Its process is down, or the address is wrong: no model and no tool can be called."
                    }
                },
                remedy: "Look at the container plugin_daemon and its log; check PLUGIN_DAEMON_URL.",
                asked: no_answer.asked,
                answered: no_answer.why,
            });
        }
    };
    report.took(health.took);
    let Some(said) = health.json::<Health>().filter(|said| health.is_success() && said.status == "ok") else {
        return report.failed(Problem {
            id: "plugin-daemon-down",
            severity: Severity::Critical,
            what: "what answers at the plugin daemon's address does not say that it is well".to_owned(),
            cause: "The address leads elsewhere, or the daemon fails.",
            remedy: "Check PLUGIN_DAEMON_URL (port 5002) and the daemon's log.",
            asked: health.asked.clone(),
            answered: health.said(),
        });
    };
    report.fact("version", said.version.unwrap_or_default());
    report.fact("active_requests", said.active_requests);
    if let Some(Pool { free, busy, total }) = said.pool_status {
        report.fact("pool", format!("{busy} of {total} busy, {free} free"));
    }
    let takes_key = match &daemon.key {
        Some(key) => {
            let url = format!("{url}/plugin/{NOBODY}/management/models?page=1&page_size=1");
            match ask.get(&url, Some(("x-api-key", key))).await {
                Ok(answer) => management(&mut report, &answer),
                Err(no_answer) => {
                    report.problem(Problem {
                        id: "plugin-daemon-stuck",
                        severity: Severity::Critical,
                        what: "the plugin daemon lives, and gives no answer to a question that needs its database".to_owned(),
                        cause: "Its database or its Redis does not answer it, or its pool is used up.",
                        remedy: "Look at the plugin database's findings and at the daemon's log.",
                        asked: no_answer.asked,
                        answered: no_answer.why,
                    });
                    false
                }
            }
        }
        None => false,
    };
    if let Ok(metrics) = ask.get(&format!("{url}/metrics/"), None).await
        && metrics.is_success()
    {
        plugins(&mut report, &metrics);
    }
    if report.state == State::Ok {
        let version = report.facts.get("version").cloned().unwrap_or_default();
        let key = if takes_key { "takes our key" } else { "key not tried" };
        report.reason = format!("version {version}, {key}");
    }
    report
}

/// Whether the key was taken.
fn management(report: &mut Report, answer: &Answer) -> bool {
    let envelope = answer.json::<Envelope>();
    let refused = matches!(answer.status, 401 | 403)
        || envelope.as_ref().is_some_and(|said| said.message.to_lowercase().contains("unauthorized"));
    if refused {
        report.problem(Problem {
            id: "plugin-daemon-key",
            severity: Severity::Critical,
            what: "the plugin daemon refuses the key".to_owned(),
            cause: "PLUGIN_DAEMON_KEY of the API is not SERVER_KEY of the daemon, or ours is neither.",
            remedy: "Let PLUGIN_DAEMON_KEY equal the daemon's SERVER_KEY, in Dify's .env and here.",
            asked: answer.asked.clone(),
            answered: answer.said(),
        });
        return false;
    }
    match envelope {
        Some(said) if said.code == 0 => true,
        Some(_) | None if answer.status < 500 && answer.status != 404 => true,
        _ => {
            report.problem(Problem {
                id: "plugin-daemon-stuck",
                severity: Severity::Critical,
                what: "the plugin daemon fails where it needs its database".to_owned(),
                cause: "Its database does not answer it, or its schema is not its own version's.",
                remedy: "Look at the plugin database's findings; let API and daemon be of one release.",
                asked: answer.asked.clone(),
                answered: answer.said(),
            });
            false
        }
    }
}

/// `plugin_runtime_status{plugin_id="…"} 0` (1 active, 0.5 starting, 0 stopped), since 0.5.7.
fn plugins(report: &mut Report, metrics: &Answer) {
    let text = metrics.text();
    let lines = text.lines().filter(|line| line.starts_with("plugin_runtime_status"));
    let mut stopped = Vec::new();
    let mut all = 0;
    for line in lines {
        let Some((labels, value)) = line.rsplit_once(' ') else { continue };
        all += 1;
        if value.parse::<f64>() == Ok(0.0) {
            stopped.push(label(labels).unwrap_or(labels).to_owned());
        }
    }
    report.fact("plugins", all);
    if stopped.is_empty() {
        return;
    }
    report.fact("plugins_stopped", stopped.len());
    let named = stopped.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    report.problem(Problem {
        id: "S42",
        severity: Severity::Warning,
        what: format!("{} of {all} plugins do not run: {named}", stopped.len()),
        cause: "",
        remedy: "",
        asked: metrics.asked.clone(),
        answered: format!("plugin_runtime_status is 0 for {named}"),
    });
}

fn label(labels: &str) -> Option<&str> {
    let rest = labels.split_once("plugin")?.1.split_once("=\"")?.1;
    rest.split_once('"').map(|(name, _)| name)
}
