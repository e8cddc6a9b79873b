//! `mainstay explain`: the stages of one request.

use serde_json::Value;

use crate::{
    cli::Explain,
    failure::{Exit, Failure},
    output::{self, Table, cell, took},
    remote::Remote,
};

use super::{items, print, provider::dollars, segment};

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
        ("key", "/key"),
        ("shared", "/shared_with"),
        ("run", "/run_id"),
        ("trace", "/trace_id"),
        ("error", "/error"),
    ] {
        // A call of a model is on behalf of an app of which only the id is told.
        let is_named = pointer != "/app" || !record["app"].is_null();
        let text = cell(record, if is_named { pointer } else { "/app_id" });
        if text != "-" {
            output::line(format!("{label:<9} {text}"));
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
    let is_told = attempts.len() > 1 || attempts.iter().any(|attempt| !attempt["model"].is_null());
    if is_told {
        output::line("");
        print_attempts(attempts);
    }
}

fn print_attempts(attempts: &[Value]) {
    let mut table = Table::new(&[
        "attempt",
        "role",
        "key",
        "class",
        "status",
        "at",
        "first token",
        "took",
        "tokens",
        "cost",
        "error",
    ]);
    for attempt in attempts {
        let us = |key: &str| attempt[key].as_u64().map_or_else(|| "-".to_owned(), took);
        let target = match attempt["model"].as_str() {
            Some(model) => format!("{}/{model}", cell(attempt, "/upstream")),
            None => cell(attempt, "/upstream"),
        };
        let tokens = match (attempt["input_tokens"].as_u64(), attempt["output_tokens"].as_u64()) {
            (None, None) => "-".to_owned(),
            (input, output) => format!("{}+{}", input.unwrap_or(0), output.unwrap_or(0)),
        };
        let haste = if attempt["is_callers_haste"] == true { " (the caller's own deadline)" } else { "" };
        let estimated = if attempt["is_cost_estimated"] == true { " (estimated)" } else { "" };
        table.row([
            target,
            cell(attempt, "/role"),
            cell(attempt, "/key"),
            format!("{}{haste}", cell(attempt, "/class")),
            cell(attempt, "/status"),
            us("started_us"),
            us("first_token_us"),
            us("took_us"),
            tokens,
            format!("{}{estimated}", dollars(&attempt["cost"])),
            cell(attempt, "/error"),
        ]);
    }
    table.print("");
}
