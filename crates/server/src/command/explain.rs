//! `mainstay explain`: the stages of one request.

use serde_json::Value;

use crate::{
    cli::Explain,
    failure::{Exit, Failure},
    output::{self, Table, cell, took},
    remote::Remote,
};

use super::{items, print, segment};

pub(super) async fn run(explain: &Explain) -> Result<Exit, Failure> {
    let remote = Remote::find(&explain.read)?;
    let answer = remote.get(&format!("/api/requests/{}", segment(&explain.request_id))).await?;
    Ok(print(explain.read.json, &answer, human))
}

fn human(answer: &Value) {
    let record = answer.get("record").unwrap_or(answer);
    let us = |pointer: &str| record.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    output::line(format!("request   {}", cell(record, "/request_id")));
    output::line(format!("call      {} {}", cell(record, "/method"), cell(record, "/target")));
    output::line(format!(
        "answer    {} {} in {}",
        cell(record, "/status"),
        cell(record, "/outcome"),
        took(us("/took_us"))
    ));
    for (label, pointer) in [
        ("app", "/app"),
        ("upstream", "/upstream"),
        ("model", "/model"),
        ("run", "/run_id"),
        ("trace", "/trace_id"),
        ("error", "/error"),
    ] {
        let text = cell(record, pointer);
        if text != "-" {
            output::line(format!("{label:<9} {}", output::clean(&text)));
        }
    }
    output::line("");
    let mut table = Table::new(&["stage", "outcome", "at", "took", "condition"]);
    for stage in items(record, "stages") {
        let us = |key: &str| took(stage[key].as_u64().unwrap_or(0));
        table.row([
            cell(stage, "/name"),
            cell(stage, "/outcome"),
            us("started_us"),
            us("took_us"),
            cell(stage, "/condition"),
        ]);
    }
    table.print("no stages");
    let attempts = items(record, "attempts");
    if attempts.len() > 1 {
        output::line("");
        let mut table = Table::new(&["attempt", "status", "took", "error"]);
        for attempt in attempts {
            table.row([
                cell(attempt, "/upstream"),
                cell(attempt, "/status"),
                took(attempt["took_us"].as_u64().unwrap_or(0)),
                cell(attempt, "/error"),
            ]);
        }
        table.print("");
    }
}
