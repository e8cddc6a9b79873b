//! `mainstay dify`: what was read of a Dify's database: status, apps, runs, errors.

use std::time::Duration;

use serde_json::Value;

use crate::{
    cli::{DifyCommand, Read},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell, took},
    remote::Remote,
};

use super::{items, print, segment};

pub(super) async fn run(command: DifyCommand) -> Result<Exit, Failure> {
    match command {
        DifyCommand::Status { read } => {
            let answer = Remote::find(&read)?.get("/api/dify/ingest").await?;
            print(read.json, &answer, status);
            Ok(if answer["state"] == "ok" { Exit::Good } else { Exit::Problem })
        }
        DifyCommand::Apps { since, read } => {
            let path = format!("/api/dify/ingest/apps?since_seconds={}", since.as_secs());
            ask(&path, &read, apps).await
        }
        DifyCommand::Usage { by, app, since, read } => {
            let mut path = format!("/api/dify/ingest/usage?by={by}&since_seconds={}", since.as_secs());
            add(&mut path, [("app", app)]);
            ask(&path, &read, used).await
        }
        DifyCommand::Runs { app, class, failed, since, limit, read } => {
            let mut path = format!("/api/dify/ingest/runs?limit={limit}&failed={failed}");
            add(&mut path, [("app", app), ("class", class), ("since_seconds", since.map(seconds))]);
            ask(&path, &read, runs).await
        }
        DifyCommand::Errors { app, since, read } => {
            let mut path = format!("/api/dify/ingest/errors?since_seconds={}", since.as_secs());
            add(&mut path, [("app", app)]);
            ask(&path, &read, errors).await
        }
    }
}

async fn ask(path: &str, read: &Read, human: impl FnOnce(&Value)) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get(path).await?;
    Ok(print(read.json, &answer, human))
}

fn seconds(span: Duration) -> String {
    span.as_secs().to_string()
}

fn add<const N: usize>(path: &mut String, parts: [(&str, Option<String>); N]) {
    for (name, value) in parts {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(&value)));
        }
    }
}

fn status(answer: &Value) {
    output::line(format!(
        "{}: {}: {}",
        cell(answer, "/dify"),
        cell(answer, "/state"),
        cell(answer, "/reason")
    ));
    let reading = &answer["reading"];
    if reading.is_null() {
        return;
    }
    for (label, pointer) in [
        ("database", "/at"),
        ("release", "/release"),
        ("revision", "/revision"),
        ("rows read", "/rows"),
        ("queries", "/queries"),
        ("opened", "/connections"),
        ("slowest ms", "/slowest_query_ms"),
        ("failure", "/last_failure"),
        ("remedy", "/remedy"),
    ] {
        output::line(format!("  {label:<11} {}", cell(reading, pointer)));
    }
    for missing in items(reading, "missing").iter().filter_map(Value::as_str) {
        output::line(format!("  not read    {}", output::clean(missing)));
    }
    output::line("");
    let mut table = Table::new(&["table", "read up to", "behind then"]);
    for row in items(reading, "tables") {
        let behind = row["lag_seconds"].as_f64().map_or_else(|| "-".to_owned(), |lag| format!("{lag:.0} s"));
        table.row([cell(row, "/kind"), time_cell(row, "/read_to"), behind]);
    }
    table.print("nothing was read yet");
}

fn apps(answer: &Value) {
    let mut table =
        Table::new(&["app", "mode", "runs", "failed", "p50", "p95", "wait", "tokens", "price", "failures"]);
    for row in items(answer, "apps") {
        let named = row["name"].as_str().is_some_and(|name| !name.is_empty());
        let first =
            [cell(row, if named { "/name" } else { "/app_id" }), cell(row, "/mode"), cell(row, "/runs")];
        table.row(first.into_iter().chain(figures(row)));
    }
    table.print("no app did anything in this time");
}

/// Under `failed`, `p50`, `p95`, `wait`, `tokens`, `price` and `failures`.
fn figures(row: &Value) -> [String; 7] {
    [
        cell(row, "/failed"),
        millis(&row["p50_ms"]),
        millis(&row["p95_ms"]),
        millis(&row["mean_wait_ms"]),
        cell(row, "/tokens"),
        prices(&row["cost_micros"]),
        counts(&row["failures"]),
    ]
}

fn used(answer: &Value) {
    let by = answer["by"].as_str().unwrap_or_default();
    let mut table = Table::new(&[by, "count", "failed", "p50", "p95", "wait", "tokens", "price", "failures"]);
    for row in items(answer, "usage") {
        let named = row["value"].as_str().is_some_and(|value| !value.is_empty());
        let first = [if named { cell(row, "/value") } else { "(none)".to_owned() }, cell(row, "/count")];
        table.row(first.into_iter().chain(figures(row)));
    }
    table.print("nothing was counted in this time");
}

fn runs(answer: &Value) {
    let mut table =
        Table::new(&["run", "app", "status", "created", "took", "wait", "tokens", "class", "error"]);
    for row in items(answer, "runs") {
        let micros = |key: &str| row["detail"][key].as_u64().map_or_else(|| "-".to_owned(), took);
        table.row([
            cell(row, "/id"),
            cell(row, "/app_id"),
            cell(row, "/status"),
            time_cell(row, "/created_at"),
            micros("took_us"),
            micros("wait_us"),
            cell(row, "/detail/tokens"),
            cell(row, "/class"),
            cell(row, "/detail/error"),
        ]);
    }
    table.print("no runs");
}

fn errors(answer: &Value) {
    let all = items(answer, "errors");
    for row in all {
        output::line(format!(
            "{} x {} ({}), last {}, {} apps",
            cell(row, "/count"),
            cell(row, "/class"),
            cell(row, "/signature/id"),
            time_cell(row, "/newest_at"),
            row["apps"].as_object().map_or(0, serde_json::Map::len),
        ));
        let lines = [
            ("error", "/sample/error"),
            ("cause", "/signature/cause"),
            ("remedy", "/signature/remedy"),
            ("run", "/sample/id"),
        ];
        for (label, pointer) in lines {
            output::line(format!("  {label:<7} {}", cell(row, pointer)));
        }
    }
    if all.is_empty() {
        output::line("no failures in this time");
    }
    if answer["is_cut"] == true {
        output::note("only the newest failures are counted here; mainstay dify apps counts all");
    }
}

fn millis(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |millis| took(millis.saturating_mul(1_000)))
}

/// Millionths by currency, as `0.7200 USD`.
fn prices(value: &Value) -> String {
    let prices = value.as_object().into_iter().flatten();
    let words: Vec<String> = prices
        .filter_map(|(currency, micros)| {
            let micros = micros.as_i64()?;
            Some(format!("{}.{:04} {currency}", micros / 1_000_000, micros % 1_000_000 / 100))
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" + ") }
}

/// The most first: `http_request 15, tool 2`.
fn counts(value: &Value) -> String {
    let mut counts: Vec<(&String, i64)> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, count)| Some((name, count.as_i64()?)))
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}
