//! `mainstay runs`: list, show, cancel, retry, dead.

use serde_json::{Value, json};

use crate::{
    cli::{Read, Runs},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell, took},
    remote::Remote,
};

use super::{items, print, segment};

pub(super) async fn run(runs: Runs) -> Result<Exit, Failure> {
    match runs {
        Runs::List { app, status, limit, read } => list(app, status, limit, &read).await,
        Runs::Show { run_id, read } => {
            let answer = Remote::find(&read)?.get(&format!("/api/runs/{}", segment(&run_id))).await?;
            Ok(print(read.json, &answer, show))
        }
        Runs::Cancel { run_id, read } => act(&run_id, "cancel", &read).await,
        Runs::Retry { run_id, read } => act(&run_id, "retry", &read).await,
        Runs::Dead { read } => {
            let answer = Remote::find(&read)?.get("/api/dead").await?;
            Ok(print(read.json, &answer, dead))
        }
    }
}

async fn list(app: Option<String>, status: Option<String>, limit: u32, read: &Read) -> Result<Exit, Failure> {
    let mut path = format!("/api/runs?limit={limit}");
    for (name, value) in [("app", app), ("status", status)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(&value)));
        }
    }
    let answer = Remote::find(read)?.get(&path).await?;
    Ok(print(read.json, &answer, |answer| {
        let mut table = Table::new(&["run", "app", "status", "created", "took", "tokens", "error"]);
        for run in items(answer, "runs") {
            table.row([
                cell(run, "/id"),
                cell(run, "/app_name"),
                cell(run, "/status"),
                time_cell(run, "/created_at"),
                run["elapsed_us"].as_u64().map_or_else(|| "-".to_owned(), took),
                cell(run, "/total_tokens"),
                cell(run, "/error"),
            ]);
        }
        table.print("no runs");
    }))
}

fn show(answer: &Value) {
    let run = answer.get("run").unwrap_or(answer);
    for (label, pointer) in [
        ("run", "/id"),
        ("app", "/app_name"),
        ("status", "/status"),
        ("request", "/request_id"),
        ("tokens", "/total_tokens"),
        ("error", "/error"),
        ("inputs", "/inputs"),
        ("outputs", "/outputs"),
    ] {
        output::line(format!("{label:<8} {}", cell(run, pointer).replace(char::is_control, " ")));
    }
    output::line("");
    let mut table = Table::new(&["node", "type", "status", "took", "error"]);
    for node in items(answer, "nodes") {
        table.row([
            cell(node, "/title"),
            cell(node, "/node_type"),
            cell(node, "/status"),
            node["elapsed_us"].as_u64().map_or_else(|| "-".to_owned(), took),
            cell(node, "/error"),
        ]);
    }
    table.print("no nodes yet");
    let deliveries = items(answer, "deliveries");
    if !deliveries.is_empty() {
        output::line("");
        let mut table = Table::new(&["callback", "state", "attempts", "status", "error"]);
        for delivery in deliveries {
            table.row([
                cell(delivery, "/url"),
                cell(delivery, "/state"),
                cell(delivery, "/attempts"),
                cell(delivery, "/last_status"),
                cell(delivery, "/last_error"),
            ]);
        }
        table.print("");
    }
}

fn dead(answer: &Value) {
    let mut table = Table::new(&["run", "app", "attempts", "class", "error", "since"]);
    for job in items(answer, "dead") {
        table.row([
            cell(job, "/id"),
            cell(job, "/app_id"),
            cell(job, "/attempt"),
            cell(job, "/class"),
            cell(job, "/error"),
            time_cell(job, "/died_at"),
        ]);
    }
    table.print("no dead runs");
}

async fn act(run_id: &str, action: &str, read: &Read) -> Result<Exit, Failure> {
    let path = format!("/api/runs/{}/{action}", segment(run_id));
    let answer = Remote::find(read)?.post(&path, json!({})).await?;
    Ok(print(read.json, &answer, |answer| {
        let said = ["/cancelled", "/replayed"].iter().find_map(|pointer| answer.pointer(pointer)?.as_str());
        output::line(format!("run {run_id}: {}", said.unwrap_or("accepted")));
    }))
}
