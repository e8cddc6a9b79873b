//! The API: `/health` answers ok whatever is broken, so two more are asked that touch its pool and its database.

use std::time::Duration;

use mainstay_base::Severity;
use serde::Deserialize;

use super::{
    Component,
    ask::{Answer, Ask, NoAnswer},
    report::{Problem, Report, State},
};
use crate::deployment::Sizes;

/// A static answer that takes so long shows that the process cannot serve.
const SLOW: Duration = Duration::from_secs(2);
/// SQLAlchemy's and Dify's default.
const MAX_OVERFLOW: i64 = 10;

#[derive(Deserialize)]
struct Health {
    status: String,
    version: Option<String>,
}

/// Of the one gunicorn worker that answers.
#[derive(Deserialize)]
struct PoolStat {
    pool_size: i64,
    checked_out_connections: i64,
}

#[derive(Deserialize)]
struct Setup {
    step: String,
}

pub(super) async fn look(ask: Ask<'_>, url: &str, sizes: &Sizes) -> Report {
    let mut report = Report::of(Component::Api);
    let health = match ask.get(&format!("{url}/health"), None).await {
        Ok(answer) => answer,
        Err(no_answer) => return report.failed(unreachable(no_answer)),
    };
    report.took(health.took);
    if let Some(version) = health.header("x-version") {
        report.fact("version", version);
    }
    let setup = ask.get(&format!("{url}/console/api/setup"), None).await;
    match health.json::<Health>() {
        Some(said) if health.is_success() && said.status == "ok" => {
            if let Some(version) = said.version {
                report.fact("version", version);
            }
        }
        // nginx in front of Dify passes no `/health`, and the page of the web server comes back.
        _ if setup.as_ref().is_ok_and(|setup| setup.json::<Setup>().is_some()) => {
            report.fact("health", "not routed here, so only the database-backed question was asked");
        }
        _ => return report.failed(not_dify(&health)),
    }
    if health.took > SLOW {
        report.problem(Problem {
            id: "api-slow",
            severity: Severity::Warning,
            what: format!("the API took {} ms for an answer that costs nothing", health.took.as_millis()),
            cause: "All connections of its gevent workers are taken (SERVER_WORKER_CONNECTIONS, 10 by default), or its loop is blocked.",
            remedy: "Raise SERVER_WORKER_CONNECTIONS or SERVER_WORKER_AMOUNT within the pool budget.",
            asked: health.asked.clone(),
            answered: health.said(),
        });
    }
    database(&mut report, setup);
    if let Ok(answer) = ask.get(&format!("{url}/db-pool-stat"), None).await {
        pool(&mut report, &answer, sizes);
    }
    if report.state == State::Ok {
        let version =
            report.facts.get("version").map_or(String::new(), |version| format!("Dify {version}, "));
        report.reason = format!("{version}reads its database");
    }
    report
}

/// `/console/api/setup` reads a row of `dify_setups`.
fn database(report: &mut Report, setup: Result<Answer, NoAnswer>) {
    match setup {
        Ok(answer) => match answer.json::<Setup>() {
            Some(setup) => report.fact("setup", setup.step),
            None if answer.status >= 500 => report.problem(Problem {
                id: "api-database",
                severity: Severity::Critical,
                what: format!("the API answers {} where it needs its database", answer.status),
                cause: "The API cannot read its database, or its schema is not the code's.",
                remedy: "Look at the API's log and at the database's findings; compare alembic_version with the image.",
                asked: answer.asked.clone(),
                answered: answer.said(),
            }),
            None => report.fact("setup", format!("not asked: {}", answer.status)),
        },
        Err(no_answer) => report.problem(Problem {
            id: "api-database",
            severity: Severity::Critical,
            what: "the API gives no answer where it needs its database".to_owned(),
            cause: "It waits for a connection: its pool is used up, or PostgreSQL does not answer it.",
            remedy: "Look at the database's findings and at /db-pool-stat; restart the API when the pool leaks.",
            asked: no_answer.asked,
            answered: no_answer.why,
        }),
    }
}

fn pool(report: &mut Report, answer: &Answer, sizes: &Sizes) {
    let Some(stat) = answer.json::<PoolStat>().filter(|_| answer.is_success()) else { return };
    let most = stat.pool_size + sizes.max_overflow.map_or(MAX_OVERFLOW, i64::from);
    report.fact("pool", format!("{} of {most} connections in use", stat.checked_out_connections));
    if stat.checked_out_connections >= stat.pool_size.max(1) {
        report.problem(Problem {
            id: "S02",
            severity: Severity::Warning,
            what: format!(
                "the API uses {} database connections of a pool of {} (and {most} at the most)",
                stat.checked_out_connections, stat.pool_size
            ),
            cause: "",
            remedy: "",
            asked: answer.asked.clone(),
            answered: answer.said(),
        });
    }
}

fn unreachable(no_answer: NoAnswer) -> Problem<'static> {
    Problem {
        id: "api-down",
        severity: Severity::Critical,
        what: "the API gives no answer".to_owned(),
        cause: match no_answer.is_silent {
            true => "It accepts and does not answer: all its connections are taken, or its loop is blocked.",
            false => "Its process is down or restarts, or the address is wrong.",
        },
        remedy: "Look at the API's container and log (`docker compose ps api`), and check api_url.",
        asked: no_answer.asked,
        answered: no_answer.why,
    }
}

fn not_dify(answer: &Answer) -> Problem<'static> {
    let is_failing = answer.status >= 500;
    Problem {
        id: if is_failing { "api-failing" } else { "api-not-dify" },
        severity: Severity::Critical,
        what: match is_failing {
            true => format!("the API answers {}", answer.status),
            false => "what answers at the API's address is not Dify's API".to_owned(),
        },
        cause: match is_failing {
            true => "The API, or a proxy before it, fails.",
            false => {
                "The address leads to the web server or something else: nginx passes /console/api, /api, /v1 and /files only."
            }
        },
        remedy: "Set api_url to the API itself (port 5001), or to the address where /console/api is served.",
        asked: answer.asked.clone(),
        answered: answer.said(),
    }
}
