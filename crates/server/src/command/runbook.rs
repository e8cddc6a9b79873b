//! `mainstay runbook`: list, show, run.

use serde_json::{Value, json};

use crate::{
    cli::Runbook,
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
            let path = format!("/api/runbooks/{}", segment(&execution_id));
            let answer = Remote::find(&read)?.get(&path).await?;
            Ok(print(read.json, &answer, output::json))
        }
        Runbook::Run { name, target, reason, read } => {
            let path = format!("/api/runbooks/{}/run", segment(&name));
            let answer =
                Remote::find(&read)?.post(&path, json!({"target": target, "reason": reason})).await?;
            Ok(print(read.json, &answer, |answer| {
                output::line(format!("runbook {name} runs on {target}: {}", cell(answer, "/id")));
            }))
        }
    }
}

fn list(answer: &Value) {
    let mut table = Table::new(&["runbook", "does"]);
    for runbook in items(answer, "runbooks") {
        table.row([cell(runbook, "/name"), cell(runbook, "/about")]);
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
