//! `mainstay oncall`: who, list, override, release.

use serde_json::{Value, json};

use super::{items, print, quiet::from_now, segment};
use crate::{
    cli::{OnCall, Read},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

pub(super) async fn run(asked: OnCall) -> Result<Exit, Failure> {
    match asked {
        OnCall::Who { read } => {
            let answer = Remote::find(&read)?.get("/api/oncall").await?;
            Ok(print(read.json, &answer, |answer| shifts(answer, 1)))
        }
        OnCall::List { read } => {
            let answer = Remote::find(&read)?.get("/api/oncall").await?;
            Ok(print(read.json, &answer, |answer| {
                shifts(answer, usize::MAX);
                overrides(answer);
            }))
        }
        OnCall::Override { schedule, person, lasts, starts_in, comment, read } => {
            let body = json!({
                "schedule": schedule,
                "person": person,
                "lasts_s": lasts.as_secs(),
                "starts_at": starts_in.map(from_now),
                "comment": comment,
            });
            let answer = Remote::find(&read)?.post("/api/oncall/override", body).await?;
            Ok(print(read.json, &answer, |answer| {
                let until = time_cell(answer, "/ends_at");
                let id = cell(answer, "/id");
                output::line(format!("{person} is on call for {schedule} until {until} UTC (override {id})"));
            }))
        }
        OnCall::Release { override_id, read } => {
            let path = format!("/api/oncall/overrides/{}/end", segment(&override_id));
            let answer = Remote::find(&read)?.post(&path, json!({})).await?;
            Ok(print(read.json, &answer, |_| output::line(format!("override {override_id} has ended"))))
        }
    }
}

/// What of routes, policies and schedules is probably not meant.
pub(super) async fn lint(read: &Read) -> Result<Exit, Failure> {
    let answer = Remote::find(read)?.get("/api/oncall").await?;
    let remarks = answer["remarks"].clone();
    print(read.json, &remarks, |remarks| {
        let mut table = Table::new(&["key", "what"]);
        for remark in items(remarks, "") {
            table.row([cell(remark, "/key"), cell(remark, "/message")]);
        }
        table.print("nothing to remark: every route, policy, schedule and receiver is used, and no schedule has a gap");
    });
    Ok(if items(&remarks, "").is_empty() { Exit::Good } else { Exit::Problem })
}

/// The first so many shifts of each schedule.
fn shifts(answer: &Value, most: usize) {
    let mut table = Table::new(&["schedule", "on call", "from", "until", "how"]);
    for roster in items(answer, "schedules") {
        for shift in items(&roster["shifts"], "").iter().take(most) {
            let how = match shift.pointer("/on_call/override_id") {
                Some(Value::String(_)) => "override",
                Some(_) => "turn",
                None => "nobody",
            };
            table.row([
                cell(roster, "/schedule"),
                cell(shift, "/on_call/person"),
                time_cell(shift, "/from"),
                time_cell(shift, "/until"),
                how.to_owned(),
            ]);
        }
    }
    table.print("no schedules; write [[oncall.schedule]] into the configuration");
}

fn overrides(answer: &Value) {
    let mut table = Table::new(&["override", "schedule", "person", "from", "until", "by", "why"]);
    for one in items(answer, "overrides") {
        table.row([
            cell(one, "/id"),
            cell(one, "/schedule"),
            cell(one, "/person"),
            time_cell(one, "/starts_at"),
            time_cell(one, "/ends_at"),
            cell(one, "/author"),
            cell(one, "/comment"),
        ]);
    }
    table.print("no overrides");
}
