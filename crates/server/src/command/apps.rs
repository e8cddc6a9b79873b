//! `mainstay apps`: import, list, show, export.

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::{Apps, Read},
    failure::{Exit, Failure},
    output::{self, Table, cell, time_cell},
    remote::Remote,
};

use super::{items, print, segment};

/// The largest app file that is sent; Dify's own limit is 10 MB.
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;

pub(super) async fn run(apps: Apps) -> Result<Exit, Failure> {
    match apps {
        Apps::Import { files, read } => import(&files, &read).await,
        Apps::List { read } => {
            let answer = Remote::find(&read)?.get("/api/apps").await?;
            Ok(print(read.json, &answer, list))
        }
        Apps::Show { app, read } => {
            let remote = Remote::find(&read)?;
            let id = app_id(&remote, &app).await?;
            let answer = remote.get(&format!("/api/apps/{}", segment(&id))).await?;
            Ok(print(read.json, &answer, show))
        }
        Apps::Export { app, version, read } => {
            let remote = Remote::find(&read)?;
            let id = app_id(&remote, &app).await?;
            let mut path = format!("/api/apps/{}/export", segment(&id));
            if let Some(version) = version {
                path.push_str(&format!("?version={}", segment(&version)));
            }
            output::line(remote.get_text(&path).await?.trim_end());
            Ok(Exit::Good)
        }
    }
}

/// An app's id, given that or its name.
async fn app_id(remote: &Remote, app: &str) -> Result<String, Failure> {
    if mainstay_base::id::is_uuid(app) {
        return Ok(app.to_owned());
    }
    let answer = remote.get("/api/apps").await?;
    let named: Vec<&Value> = items(&answer, "apps").iter().filter(|found| found["name"] == app).collect();
    match named[..] {
        [found] => Ok(cell(found, "/id")),
        [] => Err(Failure::problem(
            format!("there is no app {app}"),
            "no app has this name",
            "see mainstay apps list",
        )),
        _ => Err(Failure::problem(
            format!("{app} is not one app"),
            format!("{} apps have this name", named.len()),
            "give the id, see mainstay apps list",
        )),
    }
}

async fn import(paths: &[PathBuf], read: &Read) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for path in paths {
        files.push(json!({"name": path.display().to_string(), "content": read_file(path)?}));
    }
    let answer = Remote::find(read)?.send(Method::POST, "/api/apps", Some(json!({"files": files}))).await?;
    let body = answer.json();
    if answer.status.is_success() {
        return Ok(print(read.json, &body, imported));
    }
    if read.json {
        output::json(&body);
        return Ok(Exit::Problem);
    }
    let problems: Vec<String> =
        items(&body["error"], "problems").iter().map(|problem| format!("    {}", place(problem))).collect();
    let cause = match problems.is_empty() {
        true => format!("{} {}", answer.status, cell(&body, "/error/message")),
        false => format!("{} problems\n{}", problems.len(), problems.join("\n")),
    };
    Err(Failure::problem(
        "nothing was imported",
        cause,
        "change these in Dify and export again, or leave the app out",
    ))
}

fn place(problem: &Value) -> String {
    let mut text = cell(problem, "/file");
    for pointer in ["/node_id", "/node_type", "/path"] {
        let part = cell(problem, pointer);
        if part != "-" {
            text.push_str(&format!(" {part}"));
        }
    }
    format!("{}: {}", text, cell(problem, "/message"))
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let fail = |cause: String| {
        Failure::usage(format!("cannot read {}", path.display()), cause, "give app files exported by Dify")
    };
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(fail(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))
}

fn imported(answer: &Value) {
    let mut table = Table::new(&["app", "mode", "version", "id", "api key"]);
    for app in items(answer, "imported") {
        table.row([
            cell(app, "/name"),
            cell(app, "/mode"),
            cell(app, "/version_number"),
            cell(app, "/app_id"),
            cell(app, "/api_key"),
        ]);
    }
    table.print("nothing imported");
    if items(answer, "imported").iter().any(|app| app["api_key"].is_string()) {
        output::note("The API key of a new app is shown only now.");
    }
}

fn list(answer: &Value) {
    let mut table = Table::new(&["app", "mode", "version", "id", "updated"]);
    for app in items(answer, "apps") {
        table.row([
            cell(app, "/name"),
            cell(app, "/mode"),
            cell(app, "/version_number"),
            cell(app, "/id"),
            time_cell(app, "/updated_at"),
        ]);
    }
    table.print("no apps; import one with mainstay apps import FILE");
}

fn show(answer: &Value) {
    let app = answer.get("app").unwrap_or(answer);
    for (label, pointer) in [
        ("app", "/name"),
        ("id", "/id"),
        ("mode", "/mode"),
        ("about", "/description"),
        ("version", "/version_id"),
    ] {
        output::line(format!("{label:<8} {}", output::clean(&cell(app, pointer))));
    }
    output::line("");
    let mut table = Table::new(&["version", "id", "published"]);
    for version in items(answer, "versions") {
        table.row([cell(version, "/number"), cell(version, "/id"), time_cell(version, "/created_at")]);
    }
    table.print("no versions");
}
