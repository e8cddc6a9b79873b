//! `mainstay alert groups|group`, `mainstay alert ack --group`.

use serde_json::{Value, json};

use super::{items, joined, print, segment};
use crate::{
    cli::Read,
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

pub(super) async fn list(read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get("/api/groups").await?;
    Ok(print(read.json, &answer, |answer| {
        let mut table = Table::new(&[
            "group",
            "alerts",
            "severity",
            "way",
            "told",
            "last told",
            "next",
            "at",
            "looked after by",
            "ended",
        ]);
        for group in items(answer, "groups") {
            table.row([
                cell(group, "/id"),
                joined(&members(group, "component")),
                cell(group, "/severity"),
                way(group),
                joined(items(&group["told"], "")),
                time_cell(group, "/last_notice_at"),
                next(group),
                time_cell(group, "/next/at"),
                looked_after(group),
                time_cell(group, "/ended_at"),
            ]);
        }
        table.print("no groups of alerts");
    }))
}

pub(super) async fn show(id: &str, read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get(&format!("/api/groups/{}", segment(id))).await?;
    Ok(print(read.json, &answer, |group| {
        for (label, text) in [
            ("way", way(group)),
            ("next", format!("{} {}", next(group), time_cell(group, "/next/at"))),
            ("looked after by", looked_after(group)),
            ("opened", time_cell(group, "/opened_at")),
            ("ended", time_cell(group, "/ended_at")),
        ] {
            output::line(format!("{label:<15} {}", output::clean(&text)));
        }
        output::line("");
        let mut table =
            Table::new(&["alert", "severity", "component", "looked after by", "quiet", "resolved"]);
        for (alert, member) in group["members"].as_object().into_iter().flatten() {
            table.row([
                output::clean(alert),
                cell(member, "/severity"),
                cell(member, "/component"),
                cell(member, "/acknowledged_by"),
                cell(member, "/quiet"),
                time_cell(member, "/resolved_at"),
            ]);
        }
        table.print("no alerts");
        output::line("");
        let mut table = Table::new(&["at", "receiver", "what", "step", "people", "delivery", "last error"]);
        for told in items(group, "notices") {
            table.row([
                time_cell(told, "/at"),
                cell(told, "/receiver"),
                cell(told, "/what"),
                cell(told, "/escalation/step"),
                joined(items(&told["escalation"], "people")),
                cell(told, "/state"),
                cell(told, "/last_error"),
            ]);
        }
        table.print("nobody was told anything");
    }))
}

pub(super) async fn acknowledge(id: &str, read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.post(&format!("/api/groups/{}/ack", segment(id)), json!({})).await?;
    Ok(print(read.json, &answer, |answer| {
        let [now, before] = ["acknowledged", "before"].map(|key| items(answer, key).len());
        output::line(format!("{now} alerts of the group are acknowledged; {before} were before"));
    }))
}

fn members(group: &Value, field: &str) -> Vec<Value> {
    let members = group["members"].as_object().into_iter().flat_map(|members| members.values());
    members.map(|member| member[field].clone()).collect()
}

/// `team -> policy primary, step 2 of 3`.
fn way(group: &Value) -> String {
    let way = format!("{} -> {}", cell(group, "/route"), cell(group, "/to"));
    match (group["steps"].as_u64(), group["number"].as_u64()) {
        (Some(1..), Some(1..)) => {
            let step = group["step"].as_u64().unwrap_or(0) + 1;
            format!("{way}, step {step} of {}", cell(group, "/steps"))
        }
        _ => way,
    }
}

fn next(group: &Value) -> String {
    match &group["next"] {
        Value::Null => "-".to_owned(),
        next => format!("{} to {}", cell(next, "/what"), joined(items(next, "receivers"))),
    }
}

fn looked_after(group: &Value) -> String {
    let names = group["acknowledged"].as_object().into_iter().flat_map(|names| names.values().cloned());
    let mut names: Vec<Value> = names.collect();
    names.dedup();
    if names.is_empty() { "-".to_owned() } else { joined(&names) }
}
