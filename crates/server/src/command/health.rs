//! `mainstay health` and `mainstay status`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

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
    Ok(if report["status"] == "ok" { Exit::Good } else { Exit::Problem })
}

/// The health report comes with 503 when the service is down: still an answer.
async fn report(remote: &Remote) -> Result<Value, Failure> {
    let answer = remote.send(Method::GET, "/health", None).await?;
    let report = answer.json();
    let known = matches!(answer.status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE);
    if !known || !report["status"].is_string() {
        return Err(Failure::unreachable(
            "cannot read the health report",
            format!("/health answered {}", answer.status),
            "check that --admin is the admin address of a Mainstay",
        ));
    }
    Ok(report)
}

fn print(report: &Value) {
    output::line(format!("health: {}", cell(report, "/status")));
    let mut table = Table::new(&["component", "state", "since", "reason"]);
    for component in items(report, "components") {
        table.row([
            cell(component, "/name"),
            cell(component, "/state"),
            time_cell(component, "/since"),
            cell(component, "/reason"),
        ]);
    }
    table.print("no components");
}

pub(super) async fn status(read: &Read) -> Result<Exit, Failure> {
    let remote = Remote::find(read)?;
    let report = report(&remote).await?;
    let overview = remote.get("/api").await?;
    if read.json {
        output::json(&json!({"health": report, "overview": overview}));
        return Ok(Exit::Good);
    }
    print(&report);
    Ok(Exit::Good)
}
