//! `mainstay alert silence|silences|unsilence|shadow|shadows|promote`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{items, joined, print, segment};
use crate::{
    cli::Read,
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

pub(super) async fn silence(
    matchers: &[String],
    lasts: Duration,
    comment: &str,
    starts_in: Option<Duration>,
    read: &Read,
) -> Result<Exit, Failure> {
    let body = json!({
        "matchers": matchers,
        "lasts_s": lasts.as_secs(),
        "starts_at": starts_in.map(from_now),
        "comment": comment,
    });
    let answer = Remote::find(read)?.post("/api/silences", body).await?;
    Ok(print(read.json, &answer, |answer| {
        output::line(format!(
            "silence {} holds until {} UTC",
            cell(answer, "/id"),
            time_cell(answer, "/ends_at")
        ));
    }))
}

/// In microseconds since 1970, by the clock here.
pub(super) fn from_now(wait: Duration) -> i64 {
    (mainstay_base::Clock::System.now() + wait).0
}

pub(super) async fn list(read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get("/api/silences").await?;
    Ok(print(read.json, &answer, |answer| {
        let now = mainstay_base::Clock::System.now().0;
        let mut table = Table::new(&["silence", "state", "from", "until", "by", "matchers", "why"]);
        for silence in items(answer, "silences") {
            let at = |pointer: &str| silence.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
            let state = match (at("/starts_at") > now, at("/ends_at") <= now) {
                (_, true) => "ended",
                (true, _) => "waits",
                _ => "holds",
            };
            table.row([
                cell(silence, "/id"),
                state.to_owned(),
                time_cell(silence, "/starts_at"),
                time_cell(silence, "/ends_at"),
                cell(silence, "/author"),
                joined(items(&silence["matchers"], "")),
                cell(silence, "/comment"),
            ]);
        }
        table.print("no silences");
    }))
}

pub(super) async fn unsilence(id: &str, read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.post(&format!("/api/silences/{}/end", segment(id)), json!({})).await?;
    Ok(print(read.json, &answer, |_| output::line(format!("silence {id} has ended"))))
}

pub(super) async fn shadow(matchers: &[String], why: &str, read: &Read) -> Result<Exit, Failure> {
    let body = json!({ "matchers": matchers, "why": why });
    let answer = Remote::find(read)?.post("/api/shadows", body).await?;
    let said = format!("nobody is told of {}; see mainstay alert shadows", matchers.join(", "));
    Ok(print(read.json, &answer, |_| output::line(said)))
}

pub(super) async fn shadows(read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get("/api/silences").await?;
    Ok(print(read.json, &answer, |answer| {
        let mut table = Table::new(&["shadow", "since", "by", "why"]);
        for shadow in items(answer, "shadows") {
            table.row([
                joined(items(&shadow["matchers"], "")),
                time_cell(shadow, "/since"),
                cell(shadow, "/by"),
                cell(shadow, "/why"),
            ]);
        }
        table.print("no matchers are in the shadow");
        let mut table = Table::new(&["would have told of", "severity", "began", "ended", "notices"]);
        for group in items(answer, "would_tell") {
            let members = group["members"].as_object().into_iter().flat_map(|members| members.values());
            let names: Vec<Value> = members.map(|member| member["component"].clone()).collect();
            table.row([
                joined(&names),
                cell(group, "/severity"),
                time_cell(group, "/opened_at"),
                time_cell(group, "/ended_at"),
                cell(group, "/number"),
            ]);
        }
        table.print("nothing would have been told");
    }))
}

pub(super) async fn promote(matchers: &[String], read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.post("/api/shadows/promote", json!({ "matchers": matchers })).await?;
    let said = format!("people are told of {} from now on", matchers.join(", "));
    Ok(print(read.json, &answer, |_| output::line(said)))
}
