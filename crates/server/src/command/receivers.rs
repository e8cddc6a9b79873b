//! `mainstay alert receivers|deliveries|test|preview`.

use std::time::{Duration, Instant};

use mainstay_base::Clock;
use mainstay_control::delivery;
use mainstay_wire::notify::What;
use serde_json::{Value, json};

use super::{check, items, print, segment};
use crate::{
    cli::{ConfigFile, Read},
    config::{self, Follow},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
    wiring,
};

/// Longer than one attempt can take.
const TEST_PATIENCE: Duration = Duration::from_secs(40);
const TEST_LOOK: Duration = Duration::from_millis(300);

pub(super) async fn list(read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get("/api/receivers").await?;
    Ok(print(read.json, &answer, |answer| {
        let mut table = Table::new(&[
            "receiver",
            "kind",
            "state",
            "from",
            "failing since",
            "waiting",
            "given up",
            "last reached",
            "last error",
        ]);
        for receiver in items(answer, "receivers") {
            table.row([
                cell(receiver, "/name"),
                cell(receiver, "/kind"),
                cell(receiver, "/state"),
                cell(receiver, "/min_severity"),
                time_cell(receiver, "/failing_since"),
                cell(receiver, "/pending"),
                cell(receiver, "/failed"),
                time_cell(receiver, "/last_delivered_at"),
                cell(receiver, "/last_error"),
            ]);
        }
        table.print("no receivers: alerts stand in the console, the log and the timeline only");
    }))
}

pub(super) async fn deliveries(
    receiver: Option<&str>,
    state: Option<&str>,
    read: &Read,
) -> Result<Exit, Failure> {
    let mut path = "/api/receivers?".to_owned();
    for (name, value) in [("receiver", receiver), ("state", state)] {
        if let Some(value) = value {
            path.push_str(&format!("{name}={}&", segment(value)));
        }
    }
    let answer = Remote::find(read)?.get(path.trim_end_matches(['?', '&'])).await?;
    Ok(print(read.json, &answer, |answer| {
        let mut table =
            Table::new(&["enqueued", "receiver", "state", "attempts", "next", "last error", "delivery"]);
        for delivery in items(answer, "deliveries") {
            table.row([
                time_cell(delivery, "/created_at"),
                cell(delivery, "/receiver"),
                cell(delivery, "/state"),
                cell(delivery, "/attempts"),
                time_cell(delivery, "/next_at"),
                cell(delivery, "/last_error"),
                cell(delivery, "/id"),
            ]);
        }
        table.print("no notices");
    }))
}

/// Exits well only when the receiver has taken it.
pub(super) async fn test(receiver: &str, read: &Read) -> Result<Exit, Failure> {
    let remote = Remote::find(read)?;
    let asked = remote.post(&format!("/api/receivers/{}/test", segment(receiver)), json!({})).await?;
    let id = asked["delivery"].as_str().unwrap_or_default().to_owned();
    let until = Instant::now() + TEST_PATIENCE;
    loop {
        let answer = remote.get(&format!("/api/receivers?id={}", segment(&id))).await?;
        let delivery = items(&answer, "deliveries").first().cloned().unwrap_or(Value::Null);
        match delivery["state"].as_str() {
            Some("delivered") => {
                return Ok(print(read.json, &delivery, |_| {
                    output::line(format!("{receiver} has taken the test notice {id}"));
                }));
            }
            Some("pending") | None if Instant::now() < until => tokio::time::sleep(TEST_LOOK).await,
            Some("pending") | None => {
                return Err(Failure::problem(
                    format!("nothing is known of the test notice to {receiver} yet"),
                    "no control has sent it, or its answer takes long".to_owned(),
                    "mainstay alert deliveries shows what becomes of it",
                ));
            }
            Some(_) => {
                return Err(Failure::problem(
                    format!("{receiver} has not taken the test notice"),
                    cell(&delivery, "/last_error"),
                    "correct its section in the configuration, then mainstay reload; docs/receivers.md has each kind",
                ));
            }
        }
    }
}

/// From the file alone: what it says need not be in force yet.
pub(super) fn preview(receiver: &str, what: &str, file: &ConfigFile, is_json: bool) -> Result<Exit, Failure> {
    let path = &file.config;
    let config = config::load(path, Follow::FormOnly)
        .map_err(|error| check::failure(&path.display().to_string(), &error))?;
    let Some(what) = What::parse(what) else {
        let words = What::ALL.map(What::as_str).join(", ");
        return Err(Failure::usage(
            format!("there is no notice `{what}`"),
            String::new(),
            format!("give one of {words}"),
        ));
    };
    let receivers = wiring::receivers(&config);
    let Some(found) = receivers.iter().find(|known| known.name == receiver) else {
        let names: Vec<&str> = receivers.iter().map(|known| known.name.as_str()).collect();
        return Err(Failure::usage(
            format!("{} has no receiver `{receiver}`", path.display()),
            format!("it has: {}", names.join(", ")),
            "mainstay check --print-example shows how one is written",
        ));
    };
    let shown = delivery::preview(found, what, Clock::System.now());
    if is_json {
        output::json(&json!(shown));
        return Ok(Exit::Good);
    }
    output::line(format!("title: {}", shown.title));
    output::line("");
    for line in shown.body.lines() {
        output::line(line);
    }
    if !shown.call.is_empty() {
        output::line("");
        output::line(&shown.call);
    }
    Ok(Exit::Good)
}
