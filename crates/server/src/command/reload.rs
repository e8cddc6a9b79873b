//! `mainstay reload`: puts the changed configuration file of the running instance in force.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::Read,
    failure::{Exit, Failure},
    output::{self, cell},
    remote::Remote,
};

use super::items;

pub(super) async fn run(read: &Read) -> Result<Exit, Failure> {
    let remote = Remote::find(read)?;
    let answer = remote.send(Method::POST, "/api/reload", Some(json!({}))).await?;
    let body = answer.json();
    if answer.status != StatusCode::UNPROCESSABLE_ENTITY {
        let answer = remote.refuse("/api/reload", answer)?;
        let applied = answer.json();
        return Ok(super::print(read.json, &applied, told));
    }
    if read.json {
        output::json(&body);
        return Ok(Exit::Usage);
    }
    let lines: Vec<String> = items(&body["error"], "problems").iter().map(line).collect();
    let cause = [vec![cell(&body, "/error/message")], lines].concat().join("\n");
    Err(Failure::usage("nothing was changed", cause, cell(&body, "/error/next")))
}

fn told(applied: &Value) {
    output::line(format!(
        "configuration {} is in force (the {}. since the start)",
        cell(applied, "/revision"),
        cell(applied, "/generation")
    ));
    for reference in items(&applied["secrets"], "changed").iter().filter_map(Value::as_str) {
        output::line(format!("another secret than before: {reference}"));
    }
    for warning in items(applied, "warnings") {
        output::line(format!("warning: {}", line(warning).trim()));
    }
    let waiting: Vec<&str> = items(applied, "restart_needed").iter().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        output::line(format!("a restart is needed for: {}", waiting.join(", ")));
    }
}

fn line(problem: &Value) -> String {
    format!("    {} {}", cell(problem, "/path"), cell(problem, "/message"))
}
