//! `mainstay model`: list, show, route. `mainstay route simulate`.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    cli::{Model, ModelRoute, Route},
    config,
    failure::{Exit, Failure, chain},
    output::{self, Table, cell},
    remote::Remote,
};

use super::{
    items, joined, print,
    provider::{dollars, targets},
    segment,
};

pub(super) async fn run(model: Model) -> Result<Exit, Failure> {
    match model {
        Model::List { read } => {
            let answer = Remote::find(&read)?.get("/api/models").await?;
            Ok(print(read.json, &answer, list))
        }
        Model::Show { name, read } => {
            let answer = Remote::find(&read)?.get(&format!("/api/models/{}", segment(&name))).await?;
            Ok(print(read.json, &answer, show))
        }
        Model::Route(asked) => route(&asked).await,
    }
}

fn list(answer: &Value) {
    let mut table = Table::new(&["model", "strategy", "chain", "calls", "answered", "failed", "cost"]);
    for row in items(answer, "models") {
        let names = items(row, "targets").iter().map(target_name);
        let recent = &row["recent"];
        table.row([
            cell(row, "/name"),
            cell(row, "/strategy"),
            names.collect::<Vec<_>>().join(" > "),
            cell(recent, "/calls"),
            cell(recent, "/answered"),
            cell(recent, "/failed"),
            dollars(&recent["cost"]),
        ]);
    }
    table.print("no model has a route");
    let others = joined(items(answer, "other_models_to"));
    if !others.is_empty() {
        output::line(format!("names without a route go to {others}"));
    }
}

fn show(answer: &Value) {
    output::line(format!("model     {}", cell(answer, "/name")));
    output::line(format!("strategy  {}", cell(answer, "/strategy")));
    let keys = joined(items(answer, "keys"));
    output::line(format!("keys      {}", if keys.is_empty() { "none" } else { &keys }));
    output::line("");
    targets(answer);
    output::line("");
    let mut table = Table::new(&["policy", "value"]);
    for setting in items(answer, "policy") {
        table.row([cell(setting, "/name"), cell(setting, "/value")]);
    }
    table.print("");
}

/// Exits with 1 when nobody would be asked.
async fn route(asked: &ModelRoute) -> Result<Exit, Failure> {
    let mut query = format!("?input_tokens={}", asked.input_tokens);
    let texts = [
        ("key", asked.key.clone()),
        ("region", asked.region.clone()),
        ("data_class", asked.data_class.clone()),
        ("max_output_tokens", asked.max_output_tokens.map(|tokens| tokens.to_string())),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            query.push_str(&format!("&{name}={}", segment(&text)));
        }
    }
    for (name, is_set) in [
        ("tools", asked.tools),
        ("vision", asked.vision),
        ("structured_output", asked.structured_output),
        ("embeddings", asked.embeddings),
        ("responses", asked.responses),
        ("hosted", asked.hosted),
    ] {
        if is_set {
            query.push_str(&format!("&{name}=true"));
        }
    }
    let path = format!("/api/models/{}/route{query}", segment(&asked.name));
    let answer = Remote::find(&asked.read)?.get(&path).await?;
    print(asked.read.json, &answer, |answer| explained(&answer["route"], asked.explain));
    let is_refused = items(&answer["route"], "candidates").is_empty();
    Ok(if is_refused { Exit::Problem } else { Exit::Good })
}

fn explained(route: &Value, whole: bool) {
    let candidates = items(route, "candidates");
    if !whole {
        match candidates.first() {
            Some(first) => output::line(target_name(first)),
            None => output::line("nobody: the call would be refused (--explain says why)"),
        }
        return;
    }
    let mut table = Table::new(&["place", "target", "why"]);
    for (place, step) in candidates.iter().enumerate() {
        let why = step["why"].as_str().unwrap_or("by its place in the chain");
        table.row([(place + 1).to_string(), target_name(step), why.to_owned()]);
    }
    for step in items(route, "passed_over") {
        table.row(["-".to_owned(), target_name(step), cell(step, "/why")]);
    }
    table.print("no targets");
    for note in items(route, "notes").iter().filter_map(Value::as_str) {
        output::line(format!("note: {}", output::one_line(note)));
    }
}

fn target_name(target: &Value) -> String {
    format!("{}/{}", cell(target, "/provider"), cell(target, "/model"))
}

pub(super) async fn simulate(route: Route) -> Result<Exit, Failure> {
    let Route::Simulate { policy, since, model, seed, read } = route;
    let text = policy_text(&policy)?;
    let body = body(&text, since, model.as_deref(), seed);
    let answer = Remote::find(&read)?.patient().post("/api/route/simulate", body).await?;
    Ok(print(read.json, &answer, compared))
}

fn policy_text(path: &Path) -> Result<String, Failure> {
    config::read_file(path).map_err(|error| {
        let thing = format!("cannot try the policy {}", path.display());
        Failure::usage(thing, chain(&error), "give --policy the changed configuration file")
    })
}

fn body(policy: &str, since: Duration, model: Option<&str>, seed: u64) -> Value {
    json!({ "policy": policy, "since_s": since.as_secs(), "model": model, "seed": seed })
}

fn compared(answer: &Value) {
    let (read, report) = (&answer["read"], &answer["report"]);
    output::line(format!(
        "{} calls replayed{}",
        cell(read, "/calls"),
        if read["is_whole"] == true { "" } else { ", not all of the time asked for: name a shorter one" }
    ));
    let mut table = Table::new(&["", "recorded", "current, replayed", "changed"]);
    let sides = ["/recorded", "/baseline", "/changed"];
    let share = |value: &Value| value.as_f64().map(|share| format!("{:.2} %", share * 100.0));
    let ms = |value: &Value| value.as_f64().map(|ms| format!("{ms:.0} ms"));
    let number = |value: &Value| value.as_f64().map(|number| format!("{number:.3}"));
    let whole = |value: &Value| value.as_u64().map(|number| number.to_string());
    let cost = |value: &Value| value.as_i64().map(|_| dollars(value));
    type Show<'a> = &'a dyn Fn(&Value) -> Option<String>;
    let rows: [(&str, &str, Show<'_>); 11] = [
        ("answered", "/success_share", &share),
        ("failed", "/failed", &whole),
        ("cannot be told", "/unanswerable", &whole),
        ("first token p50", "/first_token/p50_ms", &ms),
        ("first token p95", "/first_token/p95_ms", &ms),
        ("first token p99", "/first_token/p99_ms", &ms),
        ("total p50", "/total/p50_ms", &ms),
        ("total p95", "/total/p95_ms", &ms),
        ("total p99", "/total/p99_ms", &ms),
        ("attempts a call", "/attempts_per_call", &number),
        ("cost", "/cost", &cost),
    ];
    for (label, pointer, show) in rows {
        let value = |side: &str| {
            let found = report.pointer(&format!("{side}/whole{pointer}"));
            found.and_then(show).unwrap_or_else(|| "-".to_owned())
        };
        let [recorded, baseline, changed] = sides.map(value);
        table.row([label.to_owned(), recorded, baseline, changed]);
    }
    table.print("");
    output::line("");
    served(report);
    let unknown = joined(items(&report["changed"], "unknown_targets"));
    if !unknown.is_empty() {
        output::line(format!("never recorded, so calls that went there cannot be told: {unknown}"));
    }
    if read["needs_unknown"].as_u64().is_some_and(|calls| calls > 0) {
        let calls = cell(read, "/needs_unknown");
        output::line(format!("{calls} calls were recorded by an older version: conditions let them pass"));
    }
    for note in items(read, "notes").iter().filter_map(Value::as_str) {
        output::line(format!("note: {}", output::one_line(note)));
    }
    output::line(match report["fidelity"]["is_faithful"] == false {
        true => {
            "warning: `current, replayed` is not like `recorded`, so do not trust the change: the policy was another one \
                 for a part of this time (a drained provider, a reload), or the calls are too few"
        }
        false => "trust the change as far as `current, replayed` is like `recorded`",
    });
}

/// Who answered how many calls, under each policy.
fn served(report: &Value) {
    let sides = ["recorded", "baseline", "changed"];
    let targets = |side: &str| report[side]["targets"].as_object();
    let mut names: Vec<&String> =
        sides.iter().filter_map(|side| targets(side)).flat_map(|targets| targets.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut table = Table::new(&["answered by", "recorded", "current, replayed", "changed"]);
    for name in names {
        let answers = |side: &str| {
            let target = targets(side).and_then(|targets| targets.get(name));
            target.map_or_else(|| "-".to_owned(), |target| cell(target, "/answers"))
        };
        let [recorded, baseline, changed] = sides.map(answers);
        table.row([name.clone(), recorded, baseline, changed]);
    }
    table.print("no target answered");
}
