//! `mainstay runbook`: list, show, run.

use serde_json::{Value, json};

use crate::{
    cli::{Read, Runbook},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{items, print, segment};

pub(super) async fn run(runbook: Runbook) -> Result<Exit, Failure> {
    match runbook {
        Runbook::List { read } => {
            let answer = Remote::find(&read)?.get("/api/runbooks").await?;
            Ok(print(read.json, &answer, list))
        }
        Runbook::Show { execution_id, read } => {
            let path = format!("/api/executions/{}", segment(&execution_id));
            let answer = Remote::find(&read)?.get(&path).await?;
            Ok(print(read.json, &answer, output::json))
        }
        Runbook::Run { name, target, why, dry_run, read } => {
            let path = format!("/api/runbooks/{}/run", segment(&name));
            let body = json!({"target": target, "why": why, "dry_run": dry_run});
            let answer = Remote::find(&read)?.post(&path, body).await?;
            Ok(print(read.json, &answer, |answer| {
                let id = cell(answer, "/execution_id");
                output::line(format!("{name} on {target} is execution {id}; see mainstay runbook show {id}"));
            }))
        }
        Runbook::Freeze { why, read } => freeze(true, &why, &read).await,
        Runbook::Unfreeze { why, read } => freeze(false, &why, &read).await,
    }
}

async fn freeze(frozen: bool, why: &str, read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.post("/api/freeze", json!({"frozen": frozen, "why": why})).await?;
    Ok(print(read.json, &answer, |_| {
        output::line(if frozen { "runbooks are frozen" } else { "runbooks act by themselves again" });
    }))
}

fn list(answer: &Value) {
    let mut table = Table::new(&["runbook", "does"]);
    for runbook in items(answer, "runbooks") {
        table.row([cell(runbook, "/name"), cell(runbook, "/does")]);
    }
    table.print("no runbooks");
    output::line("");
    let mut table = Table::new(&["execution", "runbook", "target", "state", "started"]);
    for execution in items(answer, "executions") {
        table.row([
            cell(execution, "/id"),
            cell(execution, "/runbook"),
            cell(execution, "/subject"),
            cell(execution, "/state"),
            time_cell(execution, "/started_at"),
        ]);
    }
    table.print("none was run yet");
}
