//! `mainstay health` and `mainstay status`.

use http::{Method, StatusCode};
use serde_json::Value;

use crate::{
    cli::Read,
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::items;

pub(super) async fn health(read: &Read) -> Result<Exit, Failure> {
    let remote = Remote::find(read)?;
    let report = report(&remote).await?;
    match read.json {
        true => output::json(&report),
        false => print(&report),
    }
    Ok(if report["state"] == "ok" { Exit::Good } else { Exit::Problem })
}

/// The health report comes with 503 when the service is down: still an answer.
async fn report(remote: &Remote) -> Result<Value, Failure> {
    let answer = remote.send(Method::GET, "/health", None).await?;
    let report = answer.json();
    let known = matches!(answer.status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE);
    if !known || !report["state"].is_string() {
        return Err(Failure::unreachable(
            "cannot read the health report",
            format!("/health answered {}", answer.status),
            "check that --admin is the admin address of a Mainstay",
        ));
    }
    Ok(report)
}

fn print(report: &Value) {
    output::line(format!(
        "health: {} since {} ({})",
        cell(report, "/state"),
        cell(report, "/since"),
        cell(report, "/reason")
    ));
    output::line("");
    let mut table = Table::new(&["component", "state", "since", "reason"]);
    for component in items(report, "components") {
        table.row([
            cell(component, "/id"),
            cell(component, "/state"),
            cell(component, "/since"),
            cell(component, "/reason"),
        ]);
    }
    table.print("nothing was checked yet");
}

pub(super) async fn status(read: &Read) -> Result<Exit, Failure> {
    let remote = Remote::find(read)?;
    let mut overview = remote.get("/api/overview").await?;
    if read.json {
        overview["config"] = remote.get("/api/config").await?;
        output::json(&overview);
        return Ok(Exit::Good);
    }
    output::line(format!("instance {}", remote.base_url()));
    let config = remote.get("/api/config").await?;
    output::line(format!(
        "configuration: {} since {} (by {})",
        cell(&config, "/revision"),
        time_cell(&config, "/applied_at"),
        cell(&config, "/applied_by")
    ));
    if config["refused"].is_object() {
        output::line(format!("configuration refused: {}", cell(&config, "/refused/reason")));
    }
    print(&overview["health"]);
    output::line("");
    let queue = &overview["queue"];
    output::line(format!(
        "queue: {} queued, {} delayed, {} with workers, {} dead; {} done and {} failed in the last minute",
        cell(queue, "/queued"),
        cell(queue, "/delayed"),
        cell(queue, "/leased"),
        cell(queue, "/dead"),
        cell(queue, "/done_last_minute"),
        cell(queue, "/failed_last_minute"),
    ));
    let mut table = Table::new(&["worker", "pid", "host", "runs", "last beat"]);
    for worker in items(&overview, "workers") {
        table.row([
            cell(worker, "/slot"),
            cell(worker, "/pid"),
            cell(worker, "/host"),
            cell(worker, "/jobs"),
            time_cell(worker, "/beat_at"),
        ]);
    }
    table.print("no workers");
    output::line(format!("{} open alerts", items(&overview, "open_alerts").len()));
    Ok(Exit::Good)
}
