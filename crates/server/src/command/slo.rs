//! `mainstay slo`: list, show, set, remove, lint, replay, import, export, rules, promote, history, undo.

use std::time::Duration;

use mainstay_control::slo::plan;
use serde_json::{Value, json};

use crate::{
    cli::{Read, Slo, SloChange},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{items, print, segment};

/// Longest file that is imported.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

pub(super) async fn run(slo: Slo) -> Result<Exit, Failure> {
    match slo {
        Slo::List { read } => {
            let answer = Remote::find(&read)?.get("/api/slos").await?;
            print(read.json, &answer, list);
            let is_bad = |slo: &Value| {
                !slo["page"].is_null() || matches!(slo["state"].as_str(), Some("exhausted" | "blind"))
            };
            let is_off = |slo: &Value| slo["document"]["alerting"] != "on";
            let is_sourceless = |slo: &Value| slo["source"].is_null();
            let bad =
                items(&answer, "slos").iter().any(|slo| is_bad(slo) && !is_off(slo) && !is_sourceless(slo));
            Ok(if bad { Exit::Problem } else { Exit::Good })
        }
        Slo::Show { name, read } => get(&format!("/api/slos/{}", segment(&name)), &read, show).await,
        Slo::Set { name, pairs, change } => set(&name, &pairs, &change).await,
        Slo::Import { file, change } => {
            let text = text_of(&file)?;
            post("/api/slos/import", json!({ "text": text }), &change).await
        }
        Slo::Remove { name, change } => act(&name, "remove", &change).await,
        Slo::Promote { name, change } => act(&name, "promote", &change).await,
        Slo::Undo { name, change } => act(&name, "undo", &change).await,
        Slo::Lint { name, since, read } => {
            let mut path = format!("/api/slos/lint?since_seconds={}", since.as_secs());
            if let Some(name) = name {
                path.push_str(&format!("&name={}", segment(&name)));
            }
            let answer = Remote::find(&read)?.patient().get(&path).await?;
            Ok(print(read.json, &answer, lint))
        }
        Slo::Replay { name, since, target, read } => {
            let mut path = format!("/api/slos/{}/replay?since_seconds={}", segment(&name), since.as_secs());
            if let Some(target) = target {
                path.push_str(&format!("&target={target}"));
            }
            let answer = Remote::find(&read)?.patient().get(&path).await?;
            Ok(print(read.json, &answer, replay))
        }
        Slo::Export { name, read } => text("export", "openslo", name, &read).await,
        Slo::Rules { name, read } => text("rules", "rules", name, &read).await,
        Slo::History { name, read } => {
            let query = name.map_or_else(String::new, |name| format!("?name={}", segment(&name)));
            get(&format!("/api/slos/history{query}"), &read, changes).await
        }
    }
}

/// What is printed as it is: all, or only one.
async fn text(what: &str, field: &str, name: Option<String>, read: &Read) -> Result<Exit, Failure> {
    let query = name.map_or_else(String::new, |name| format!("?name={}", segment(&name)));
    get(&format!("/api/slos/{what}{query}"), read, |answer| {
        output::line(answer[field].as_str().unwrap_or_default().trim_end());
    })
    .await
}

async fn get(path: &str, read: &Read, human: impl FnOnce(&Value)) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get(path).await?;
    Ok(print(read.json, &answer, human))
}

async fn act(name: &str, what: &str, change: &SloChange) -> Result<Exit, Failure> {
    post(&format!("/api/slos/{}/{what}", segment(name)), json!({}), change).await
}

async fn post(path: &str, mut body: Value, change: &SloChange) -> Result<Exit, Failure> {
    body["why"] = change.why.clone().into();
    body["dry_run"] = change.dry_run.into();
    let answer = Remote::find(&change.read)?.post(path, body).await?;
    Ok(print(change.read.json, &answer, |answer| planned(answer, change.dry_run)))
}

/// What became of each, or would.
fn planned(answer: &Value, is_dry: bool) {
    let [was, is] = if is_dry { ["is", "would be"] } else { ["was", "is"] };
    let mut table = Table::new(&["slo", "key", was, is]);
    for one in items(answer, "planned") {
        for difference in items(one, "differences") {
            let of = |key: &str| cell(difference, key);
            table.row([cell(one, "/name"), of("/key"), of("/before"), of("/after")]);
        }
    }
    table.print("nothing is different from what is there");
    if is_dry {
        output::line("nothing was stored; without --dry-run it is");
    }
}

/// The document that is there, with these keys changed.
async fn set(name: &str, pairs: &[String], change: &SloChange) -> Result<Exit, Failure> {
    let remote = Remote::find(&change.read)?;
    let all = remote.get("/api/slos").await?;
    let known = items(&all, "slos").iter().find(|slo| slo["name"] == name);
    let mut document = known.map_or_else(|| json!({ "name": name }), |slo| slo["document"].clone());
    for (key, value) in parted(pairs)? {
        plan::put(&mut document, key, value);
    }
    post("/api/slos/set", json!({ "documents": [document] }), change).await
}

/// Keys with their values. Of two that cannot both hold, the later would win without a word.
fn parted(pairs: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    let mut parted: Vec<(&str, &str)> = Vec::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::usage(
                format!("cannot read {pair}"),
                "it is not KEY=VALUE",
                "write it as target=99.5 or selector.mode=workflow",
            ));
        };
        let is_rival = |(known, had): &&(&str, &str)| {
            let windows = ["window.rolling_days", "window.calendar"];
            *known == key
                || windows.contains(known) && windows.contains(&key) && !had.is_empty() && !value.is_empty()
        };
        if let Some((known, _)) = parted.iter().find(is_rival) {
            let cause = format!("{known} is given already, and only one of both can hold");
            return Err(Failure::usage(format!("cannot set {pair}"), cause, "leave one of them out"));
        }
        parted.push((key, value));
    }
    Ok(parted)
}

fn text_of(file: &std::path::Path) -> Result<String, Failure> {
    let failed = |cause: String| {
        Failure::usage(
            format!("cannot read {}", file.display()),
            cause,
            "give a file of OpenSLO or our own form",
        )
    };
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("it has {size} bytes; allowed are {MAX_FILE_BYTES}")));
    }
    std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))
}

fn list(answer: &Value) {
    let mut table =
        Table::new(&["slo", "state", "target", "achieved", "of", "budget left", "alerting", "why"]);
    for slo in items(answer, "slos") {
        table.row([
            cell(slo, "/name"),
            state(slo),
            format!("{} %", cell(slo, "/document/target")),
            percent(&slo["achieved"], 1.0),
            cell(slo, "/total"),
            percent(&slo["budget_left"], 100.0),
            cell(slo, "/document/alerting"),
            cell(slo, "/reason"),
        ]);
    }
    table.print("no service levels");
    for problem in items(answer, "problems") {
        output::line(format!("not readable: {}: {}", cell(problem, "/path"), cell(problem, "/message")));
    }
}

fn state(slo: &Value) -> String {
    match (slo["page"].is_null(), slo["ticket"].is_null()) {
        (false, _) => format!("{} (page)", cell(slo, "/state")),
        (true, false) => format!("{} (ticket)", cell(slo, "/state")),
        (true, true) => cell(slo, "/state"),
    }
}

fn percent(value: &Value, scale: f64) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.2} %", share * scale))
}

fn show(slo: &Value) {
    output::line(format!("{}: {}: {}", cell(slo, "/name"), state(slo), cell(slo, "/reason")));
    for (label, text) in [
        ("promise", cell(slo, "/document/description")),
        ("measures", format!("{} by {}", slo["document"]["sli"], cell(slo, "/source"))),
        ("selects", slo["document"]["selector"].to_string()),
        ("target", format!("{} % in {}", cell(slo, "/document/target"), slo["document"]["window"])),
        ("achieved", format!("{} of {}", percent(&slo["achieved"], 1.0), cell(slo, "/total"))),
        ("budget", format!("{} left", percent(&slo["budget_left"], 100.0))),
        ("offers", offers(slo)),
        ("alerting", cell(slo, "/document/alerting")),
        ("owner", cell(slo, "/document/owner")),
        ("pages by", pages_by(&slo["detectors"])),
    ] {
        output::line(format!("  {label:<9} {}", output::clean(&text)));
    }
    output::line("");
    let mut table = Table::new(&["window", "burn", "short", "burn", "fires at", "fires"]);
    for burn in items(slo, "burns") {
        table.row([
            hours(&burn["long_s"]),
            cell(burn, "/long"),
            hours(&burn["short_s"]),
            cell(burn, "/short"),
            cell(burn, "/factor"),
            cell(burn, "/fires"),
        ]);
    }
    table.print("not judged yet");
    if let Some(faults) = slo["faults"].as_object().filter(|faults| !faults.is_empty()) {
        output::line("");
        let words: Vec<String> = faults.iter().map(|(who, count)| format!("{who} {count}")).collect();
        output::line(format!("failures of a day by whose fault: {} (client never counts)", words.join(", ")));
    }
    output::line("");
    pages(slo, "paged", "would not have paged in the last day");
}

/// What the error budget policy offers.
fn offers(slo: &Value) -> String {
    let offers: Vec<&str> = items(slo, "offers").iter().filter_map(Value::as_str).collect();
    if offers.is_empty() { "-".to_owned() } else { offers.join(", ") }
}

fn pages_by(detectors: &Value) -> String {
    let on = ["burn", "sequence", "outage"].into_iter().filter(|name| detectors[name] == true);
    on.collect::<Vec<_>>().join(", ")
}

fn pages(answer: &Value, key: &str, none: &str) {
    let mut table = Table::new(&["would have paged", "by", "trouble since", "until", "bad", "of"]);
    for page in items(answer, key) {
        let count = |key: &str| page["counts"][key].as_u64().unwrap_or(0);
        table.row([
            time_cell(page, "/at"),
            cell(page, "/by"),
            time_cell(page, "/since"),
            time_cell(page, "/until"),
            count("total").saturating_sub(count("good")).to_string(),
            count("total").to_string(),
        ]);
    }
    table.print(none);
}

fn hours(seconds: &Value) -> String {
    let seconds = seconds.as_u64().unwrap_or(0);
    if seconds >= 3_600 { format!("{} h", seconds / 3_600) } else { format!("{} min", seconds / 60) }
}

fn lint(answer: &Value) {
    let mut table = Table::new(&[
        "slo",
        "days",
        "runs/h",
        "burn",
        "pages/month",
        "false/month",
        "smallest outage",
        "seen p50",
        "p95",
    ]);
    for slo in items(answer, "slos") {
        let lint = &slo["lint"];
        let number =
            |key: &str| lint[key].as_f64().map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
        table.row([
            cell(slo, "/name"),
            number("days"),
            number("runs_an_hour"),
            number("burn"),
            number("pages_a_month"),
            number("false_pages_a_month"),
            percent(&lint["smallest_outage"], 100.0),
            minutes(&lint["outage_p50"]),
            minutes(&lint["outage_p95"]),
        ]);
    }
    table.print("no service levels");
    for slo in items(answer, "slos") {
        for note in items(slo, "notes").iter().filter_map(Value::as_str) {
            output::line(format!("{}: {}", cell(slo, "/name"), output::clean(note)));
        }
    }
}

/// A duration as serde writes it.
fn minutes(duration: &Value) -> String {
    match duration["secs"].as_u64().map(Duration::from_secs) {
        Some(took) => format!("{:.1} min", took.as_secs_f64() / 60.0),
        None => "-".to_owned(),
    }
}

fn replay(answer: &Value) {
    if let Some(blind) = answer["blind"].as_str() {
        output::line(format!("it is blind: {}", output::clean(blind)));
        return;
    }
    output::line(format!(
        "{}: {} of {} were good",
        cell(answer, "/name"),
        cell(answer, "/good"),
        cell(answer, "/total"),
    ));
    pages(answer, "pages", "it would not have paged");
    let choice = &answer["choice"];
    output::line(format!("by its history these page: {}", pages_by(&choice["detectors"])));
}

fn changes(answer: &Value) {
    let mut table = Table::new(&["at", "slo", "by", "why", "what"]);
    for change in items(answer, "changes") {
        table.row([
            time_cell(change, "/at"),
            cell(change, "/name"),
            cell(change, "/actor"),
            cell(change, "/why"),
            difference(&change["before"], &change["after"]),
        ]);
    }
    table.print("nobody changed anything");
}

/// `target 99.0 -> 99.5, alerting "on" -> "off"`.
fn difference(before: &Value, after: &Value) -> String {
    match (before, after) {
        (_, Value::Null) => "removed".to_owned(),
        (Value::Null, _) => "written".to_owned(),
        (before, Value::Object(after)) => {
            let changed = after.iter().filter(|(key, value)| before[key.as_str()] != **value);
            let words: Vec<String> =
                changed.map(|(key, value)| format!("{key} {} -> {value}", before[key.as_str()])).collect();
            words.join(", ")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_pairs_that_contradict_each_other_none_wins() {
        let read = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            parted(&pairs).map(|parted| parted.len()).map_err(|failure| failure.to_string())
        };
        assert_eq!(read(&["target=99", "owner=a=b", "window.rolling_days="]), Ok(3));
        assert_eq!(read(&["window.rolling_days=", "window.calendar=month"]), Ok(2));
        for (pairs, says) in [
            (["target=99", "target=98"], "target is given already"),
            (["window.calendar=month", "window.rolling_days=3"], "window.calendar is given already"),
            (["target=99", "owner"], "it is not KEY=VALUE"),
        ] {
            assert!(read(&pairs).unwrap_err().contains(says), "{pairs:?}");
        }
    }

    #[test]
    fn a_change_is_told_by_what_is_different() {
        let before = json!({ "target": 99.0, "owner": "" });
        let after = json!({ "target": 99.5, "owner": "" });
        assert_eq!(difference(&before, &after), "target 99.0 -> 99.5");
        assert_eq!(difference(&before, &Value::Null), "removed");
    }
}
