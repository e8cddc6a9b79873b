//! `mainstay alert`: list, ack.

use serde_json::json;

use crate::{
    cli::Alert,
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{groups, items, oncall, print, quiet, receivers, segment};

pub(super) async fn run(alert: Alert) -> Result<Exit, Failure> {
    match alert {
        Alert::List { read } => {
            let answer = Remote::find(&read)?.get("/api/alerts").await?;
            Ok(print(read.json, &answer, |answer| {
                let mut table =
                    Table::new(&["alert", "state", "severity", "subject", "since", "quiet", "summary"]);
                for alert in items(answer, "open").iter().chain(items(answer, "resolved")) {
                    table.row([
                        cell(alert, "/id"),
                        cell(alert, "/state"),
                        cell(alert, "/severity"),
                        cell(alert, "/subject"),
                        time_cell(alert, "/opened_at"),
                        cell(alert, "/quiet/words"),
                        cell(alert, "/summary"),
                    ]);
                }
                table.print("no alerts");
            }))
        }
        Alert::Ack { alert_id: Some(alert_id), read, .. } => {
            let path = format!("/api/alerts/{}/ack", segment(&alert_id));
            let answer = Remote::find(&read)?.post(&path, json!({})).await?;
            Ok(print(read.json, &answer, |_| output::line(format!("alert {alert_id} is acknowledged"))))
        }
        Alert::Ack { group, read, .. } => groups::acknowledge(&group.unwrap_or_default(), &read).await,
        Alert::Lint { read } => oncall::lint(&read).await,
        Alert::Groups { read } => groups::list(&read).await,
        Alert::Group { group_id, read } => groups::show(&group_id, &read).await,
        Alert::Silence { matchers, lasts, comment, starts_in, read } => {
            quiet::silence(&matchers, lasts, &comment, starts_in, &read).await
        }
        Alert::Silences { read } => quiet::list(&read).await,
        Alert::Unsilence { silence_id, read } => quiet::unsilence(&silence_id, &read).await,
        Alert::Shadow { matchers, why, read } => quiet::shadow(&matchers, &why, &read).await,
        Alert::Shadows { read } => quiet::shadows(&read).await,
        Alert::Promote { matchers, read } => quiet::promote(&matchers, &read).await,
        Alert::Receivers { read } => receivers::list(&read).await,
        Alert::Deliveries { receiver, state, read } => {
            receivers::deliveries(receiver.as_deref(), state.as_deref(), &read).await
        }
        Alert::Test { receiver, read } => receivers::test(&receiver, &read).await,
        Alert::Preview { receiver, what, file, json } => receivers::preview(&receiver, &what, &file, json),
    }
}
