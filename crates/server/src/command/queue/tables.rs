//! What `mainstay queue` prints for people.

use serde_json::Value;

use crate::{
    command::items,
    output::{self, Table, cell},
};

pub(super) fn list(answer: &Value) {
    let mut table = Table::new(&[
        "queue",
        "waiting",
        "oldest",
        "consumers",
        "in/min",
        "out/min",
        "empty in",
        "most of it",
    ]);
    for row in items(answer, "queues") {
        let consumers = items(row, "consumers").len();
        let most = items(row, "subjects").first().or_else(|| items(row, "tasks").first());
        table.row([
            cell(row, "/name"),
            cell(row, "/waiting"),
            oldest(row),
            if consumers == 0 { "nobody".to_owned() } else { consumers.to_string() },
            a_minute(&row["rates"]["arrivals"]),
            a_minute(&row["rates"]["service"]),
            empty_in(&row["drain"]),
            most.map_or_else(|| "-".to_owned(), |most| cell(most, "/name")),
        ]);
    }
    table.print("no queues");
    findings(answer);
}

pub(super) fn workers(answer: &Value) {
    let mut table =
        Table::new(&["worker", "answers", "pool", "places", "active", "reserved", "done", "load", "queues"]);
    for row in items(answer, "workers") {
        let said = &row["answer"];
        let answers = match (row["said_goodbye"] == true, row["silent_rounds"].as_u64()) {
            (true, _) => "ends".to_owned(),
            (false, Some(0)) if !said.is_null() => "yes".to_owned(),
            (false, rounds) => format!("not for {} rounds", rounds.unwrap_or(0)),
        };
        let names = items(said, "queues").iter().filter_map(Value::as_str).collect::<Vec<_>>();
        table.row([
            cell(row, "/name"),
            answers,
            cell(said, "/pool"),
            cell(said, "/concurrency"),
            items(said, "active").len().to_string(),
            items(said, "reserved").len().to_string(),
            cell(row, "/heard/processed"),
            cell(row, "/heard/load/0"),
            names.join(","),
        ]);
    }
    table.print("no worker was heard or answered");
    findings(answer);
}

pub(super) fn tasks(answer: &Value) {
    let mut table = Table::new(&["state", "queue", "task", "id", "worker", "about"]);
    for row in items(answer, "tasks") {
        let message = &row["message"]["task"];
        let (task, about) =
            if message.is_null() { (row, &row["about"]) } else { (message, &message["about"]) };
        let about = ["app", "run", "dataset", "tenant"]
            .into_iter()
            .find_map(|name| Some(format!("{name} {}", about[name].as_str()?)));
        let name = match row["message"].as_object().and_then(|message| message.keys().next()) {
            Some(kind) if kind != "task" => format!("({})", kind.replace('_', " ")),
            _ => cell(task, "/task"),
        };
        let broken = &row["message"]["broken"];
        table.row([
            cell(row, "/state"),
            cell(row, "/queue"),
            name,
            if broken.is_null() { cell(task, "/id") } else { cell(broken, "/name") },
            cell(row, "/worker"),
            about.unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.print("no tasks");
}

pub(super) fn forecast(answer: &Value) {
    let mut table = Table::new(&["queue", "waiting", "in/min", "out/min", "over", "empty in"]);
    for row in items(answer, "queues").iter().filter(|row| row["waiting"].as_u64().unwrap_or(0) > 0) {
        let over = row["rates"]["over_s"].as_f64();
        table.row([
            cell(row, "/name"),
            cell(row, "/waiting"),
            a_minute(&row["rates"]["arrivals"]),
            a_minute(&row["rates"]["service"]),
            over.map_or_else(|| "-".to_owned(), seconds),
            empty_in(&row["drain"]),
        ]);
    }
    table.print("every queue is empty");
}

fn findings(answer: &Value) {
    for finding in items(answer, "findings") {
        output::line("");
        let line = |label: &str, pointer: &str| {
            let text = cell(finding, pointer);
            if text != "-" && !text.is_empty() {
                output::line(format!("{label}{}", output::clean(&text)));
            }
        };
        output::line(format!("{} {}", cell(finding, "/severity"), output::clean(&cell(finding, "/what"))));
        line("  why: ", "/cause");
        line("  do:  ", "/remedy");
    }
}

fn oldest(row: &Value) -> String {
    let Some(age) = row["oldest_s"].as_f64() else { return "-".to_owned() };
    let least = if row["oldest_is_at_least"] == true { "> " } else { "" };
    format!("{least}{}", seconds(age))
}

fn a_minute(rate: &Value) -> String {
    rate.as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", rate * 60.0))
}

fn empty_in(drain: &Value) -> String {
    let number = |name: &str| drain[name].as_f64();
    match drain["state"].as_str() {
        Some("empty") => "empty".to_owned(),
        Some("growing") => format!("never: grows {:.1}/min", number("per_s").unwrap_or(0.0) * 60.0),
        Some("uncertain") => format!("not before {}", seconds(number("not_before_s").unwrap_or(0.0))),
        Some("within") => {
            let latest = number("latest_s").map_or_else(|| "?".to_owned(), seconds);
            let (expected, earliest) =
                (number("expected_s").unwrap_or(0.0), number("earliest_s").unwrap_or(0.0));
            format!("{} ({} to {latest})", seconds(expected), seconds(earliest))
        }
        _ => "too soon to say".to_owned(),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3_600.0),
    }
}
