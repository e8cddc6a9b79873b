//! `mainstay provider`: list, show, test, drain, restore, failover.

use serde_json::{Value, json};

use crate::{
    cli::{Change, Provider, Read},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{items, joined, print, segment};

pub(super) async fn run(provider: Provider) -> Result<Exit, Failure> {
    match provider {
        Provider::List { read } => {
            let answer = Remote::find(&read)?.get("/api/providers").await?;
            print(read.json, &answer, list);
            let in_trouble = |row: &Value| matches!(row["state"].as_str(), Some("degraded" | "down"));
            let is_bad = items(&answer, "providers").iter().any(in_trouble);
            Ok(if is_bad { Exit::Problem } else { Exit::Good })
        }
        Provider::Show { name, read } => {
            let answer = Remote::find(&read)?.get(&format!("/api/providers/{}", segment(&name))).await?;
            Ok(print(read.json, &answer, show))
        }
        Provider::Test { name, model, read } => test(&name, model, &read).await,
        Provider::Drain { name, change, read } => act(&name, "drain", None, &change, &read).await,
        Provider::Restore { name, change, read } => act(&name, "restore", None, &change, &read).await,
        Provider::Failover { from, to: Some(to), change, read, .. } => {
            act(&from, "failover", Some(&to), &change, &read).await
        }
        Provider::Failover { from, to: None, change, read, .. } => {
            act(&from, "failover/undo", None, &change, &read).await
        }
    }
}

fn list(answer: &Value) {
    let mut table = Table::new(&[
        "provider", "state", "rotation", "dialect", "keys", "answers", "p50/p95", "cost", "why",
    ]);
    for row in items(answer, "providers") {
        let rotation = match (row["drained"].as_str(), row["fails_over_to"]["to"].as_str()) {
            (Some(_), _) => "out".to_owned(),
            (None, Some(to)) => format!("fails over to {to}"),
            (None, None) => "in".to_owned(),
        };
        let recent = &row["recent"];
        table.row([
            cell(row, "/name"),
            cell(row, "/state"),
            rotation,
            cell(row, "/dialect"),
            cell(row, "/key_count"),
            format!("{} of {}", cell(recent, "/answers"), cell(recent, "/attempts")),
            quantiles(recent),
            dollars(&recent["cost"]),
            cell(row, "/reason"),
        ]);
    }
    table.print("no providers");
}

fn show(answer: &Value) {
    for (label, pointer) in [
        ("provider", "/name"),
        ("address", "/base_url"),
        ("state", "/state"),
        ("why", "/reason"),
        ("drained", "/drained"),
        ("failover", "/fails_over_to/to"),
    ] {
        let text = cell(answer, pointer);
        if text != "-" {
            output::line(format!("{label:<9} {text}"));
        }
    }
    let is_in_trouble = matches!(answer["state"].as_str(), Some("degraded" | "down"));
    if let Some(words) = trouble(&answer["trouble"]) {
        output::line(format!("{:<9} {words}", if is_in_trouble { "trouble" } else { "before" }));
    }
    for alert in items(answer, "open_alerts") {
        let (summary, id) = (cell(alert, "/summary"), cell(alert, "/id"));
        output::line(format!("incident  {summary} (mainstay alert ack {id})"));
    }
    output::line("");
    let mut table = Table::new(&["key", "state", "until", "why"]);
    for key in items(answer, "keys") {
        // What was once wrong with a key that is in use says nothing of now.
        let now = |pointer: &str, show: fn(&Value, &str) -> String| match key["state"].as_str() {
            Some("in use") => "-".to_owned(),
            _ => show(key, pointer),
        };
        let (until, why) = (now("/standing/rests_until", time_cell), now("/standing/why", cell));
        table.row([cell(key, "/name"), cell(key, "/state"), until, why]);
    }
    table.print("no keys: it is called without credentials");
    output::line("");
    targets(answer);
}

/// A run of failures in one line: since when, how many of how many, which, who saw it, who answered instead.
fn trouble(trouble: &Value) -> Option<String> {
    let since = trouble["since"].as_str()?;
    let named = |counts: &Value| {
        let counts = counts.as_object().into_iter().flatten();
        counts.map(|(class, count)| format!("{count} {class}")).collect::<Vec<_>>().join(", ")
    };
    let detours: Vec<String> = items(trouble, "detours")
        .iter()
        .map(|detour| match detour["model"].as_str() {
            Some(model) => format!("{}/{model} ({})", cell(detour, "/provider"), cell(detour, "/calls")),
            None => format!("{} ({})", cell(detour, "/provider"), cell(detour, "/calls")),
        })
        .collect();
    let callers = joined(items(trouble, "callers"));
    let text = format!(
        "since {since}: {} of {} attempts failed ({} %): {}{}{}; {}",
        cell(trouble, "/failures"),
        cell(trouble, "/attempts"),
        cell(trouble, "/share_percent"),
        named(&trouble["classes"]),
        if callers.is_empty() { "" } else { "; seen by " },
        callers,
        match detours.is_empty() {
            true => "nobody answered instead".to_owned(),
            false => format!("answered instead: {}", detours.join(", ")),
        },
    );
    Some(output::one_line(&text))
}

/// Targets of a provider or a model, with what is known of them. Those of a model have a place in its chain.
pub(super) fn targets(answer: &Value) {
    let is_chain = answer["strategy"].is_string();
    let places: &[&str] = if is_chain { &["priority", "weight"] } else { &[] };
    let head: Vec<&str> = ["target"]
        .iter()
        .chain(places)
        .chain(&["breaker", "in flight", "p50/p95", "share", "answers", "failures", "left", "cost"])
        .copied()
        .collect();
    let mut table = Table::new(&head);
    for target in items(answer, "targets") {
        let (recent, standing) = (&target["recent"], &target["standing"]);
        let failures = recent["failures"].as_object().map_or_else(String::new, |failures| {
            let words = failures.iter().map(|(class, count)| format!("{count} {class}"));
            words.collect::<Vec<_>>().join(", ")
        });
        let breaker = match target["drained"].as_str() {
            Some(_) => format!("{} (drained)", cell(standing, "/breaker")),
            None => cell(standing, "/breaker"),
        };
        let name = format!("{}/{}", cell(target, "/provider"), cell(target, "/model"));
        let place = places.iter().map(|place| cell(target, &format!("/{place}")));
        let facts = [
            breaker,
            cell(standing, "/in_flight"),
            quantiles(if standing["first_token_ms_p50"].is_null() { recent } else { standing }),
            format!("{} %", cell(recent, "/share_percent")),
            format!("{} of {}", cell(recent, "/answers"), cell(recent, "/attempts")),
            if failures.is_empty() { "-".to_owned() } else { failures },
            left(standing),
            dollars(&recent["cost"]),
        ];
        table.row([name].into_iter().chain(place).chain(facts));
    }
    table.print("no targets");
}

/// What is left of the grants of this minute.
fn left(standing: &Value) -> String {
    let of = |field: &str, unit: &str| standing[field].as_u64().map(|left| format!("{left} {unit}"));
    let known = [of("requests_left", "requests"), of("tokens_left", "tokens")].into_iter().flatten();
    let words = known.collect::<Vec<_>>().join(", ");
    if words.is_empty() { "-".to_owned() } else { words }
}

fn quantiles(of: &Value) -> String {
    match (of["first_token_ms_p50"].as_u64(), of["first_token_ms_p95"].as_u64()) {
        (Some(p50), Some(p95)) => format!("{p50}/{p95} ms"),
        _ => "-".to_owned(),
    }
}

/// Micro-dollars of the API.
pub(super) fn dollars(cost: &Value) -> String {
    cost.as_i64().map_or_else(|| "-".to_owned(), |cost| mainstay_base::Usd(cost).to_string())
}

async fn test(name: &str, model: Option<String>, read: &Read) -> Result<Exit, Failure> {
    let path = format!("/api/providers/{}/test", segment(name));
    let answer = Remote::find(read)?.post(&path, json!({ "model": model })).await?;
    print(read.json, &answer, |answer| {
        output::line(format!("{name} {}, cost {}", cell(answer, "/model"), dollars(&answer["cost"])));
        let mut table = Table::new(&["key", "outcome", "status", "took", "class", "said"]);
        for call in items(answer, "calls") {
            let outcome = if call["ok"] == true { "answered" } else { "failed" };
            table.row([
                cell(call, "/key"),
                outcome.to_owned(),
                cell(call, "/status"),
                format!("{} ms", cell(call, "/took_ms")),
                cell(call, "/class"),
                cell(call, "/said"),
            ]);
        }
        table.print("nothing was called");
        for key in items(answer, "woken").iter().filter_map(Value::as_str) {
            output::line(format!(
                "key {} works again: the gateways use it from now on",
                output::one_line(key)
            ));
        }
    });
    Ok(if answer["ok"] == true { Exit::Good } else { Exit::Problem })
}

async fn act(
    name: &str,
    what: &str,
    to: Option<&str>,
    change: &Change,
    read: &Read,
) -> Result<Exit, Failure> {
    let Change { why, dry_run, force } = change;
    let path = format!("/api/providers/{}/{what}", segment(name));
    let body = json!({ "to": to, "why": why, "dry_run": dry_run, "force": force });
    let answer = Remote::find(read)?.post(&path, body).await?;
    Ok(print(read.json, &answer, told))
}

fn told(done: &Value) {
    let would = if done["dry_run"] == true { "dry run: " } else { "" };
    output::line(format!("{would}{}", cell(done, "/text")));
    for warning in items(done, "warnings").iter().filter_map(Value::as_str) {
        output::line(format!("warning: {}", output::one_line(warning)));
    }
    let mut table = Table::new(&["model", "answered by"]);
    for effect in items(done, "models") {
        let names = joined(items(effect, "answered_by"));
        table.row([cell(effect, "/model"), if names.is_empty() { "nobody else".to_owned() } else { names }]);
    }
    if !table.is_empty() {
        table.print("");
    }
    if done["changed"] == true {
        output::line(format!("undo: {}", cell(done, "/undo")));
    }
}
