//! `mainstay alert`: list, ack.

use serde_json::json;

use crate::{
    cli::Alert,
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{items, print, segment};

pub(super) async fn run(alert: Alert) -> Result<Exit, Failure> {
    match alert {
        Alert::List { read } => {
            let answer = Remote::find(&read)?.get("/api/alerts").await?;
            Ok(print(read.json, &answer, |answer| {
                let mut table = Table::new(&["alert", "state", "severity", "subject", "since", "summary"]);
                for alert in items(answer, "open").iter().chain(items(answer, "resolved")) {
                    table.row([
                        cell(alert, "/id"),
                        cell(alert, "/state"),
                        cell(alert, "/severity"),
                        cell(alert, "/subject"),
                        time_cell(alert, "/opened_at"),
                        cell(alert, "/summary"),
                    ]);
                }
                table.print("no alerts");
            }))
        }
        Alert::Ack { alert_id, read } => {
            let path = format!("/api/alerts/{}/ack", segment(&alert_id));
            let answer = Remote::find(&read)?.post(&path, json!({})).await?;
            Ok(print(read.json, &answer, |_| output::line(format!("alert {alert_id} is acknowledged"))))
        }
    }
}
