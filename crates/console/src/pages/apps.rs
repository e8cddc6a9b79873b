//! Apps of the embedded engine: the list, one app, import and export.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, Uri, header};
use mainstay_store::model::{self, RunFilter, RunSummary, VersionInfo};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::runs;
use crate::{
    App, Failure, ImportError, ImportFile, Imported,
    action::{self, Action, Done},
    auth::Actor,
    page::{Chrome, NoQuery, Page},
};

/// The longest body of an import: all files of it.
pub(crate) const IMPORT_BODY_MAX: usize = 8 * 1024 * 1024;
/// The most files of one import.
pub(crate) const IMPORT_FILES_MAX: usize = 64;
const RUNS_SHOWN: u32 = 10;

#[derive(Serialize)]
pub(crate) struct Apps {
    pub(crate) apps: Vec<Row>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) app: model::App,
    pub(crate) runs_day: i64,
    pub(crate) failed_day: i64,
}

#[derive(Template)]
#[template(path = "apps.html")]
struct AppsHtml<'a> {
    chrome: &'a Chrome,
    page: &'a Apps,
}

impl Page for Apps {
    const SECTION: &'static str = "apps";
    const TOPICS: &'static str = "apps";
    type Query = NoQuery;

    async fn load(app: &App, _: &str, _: NoQuery) -> Result<Apps, Failure> {
        let days = runs::day(app).await?;
        let row = |app: model::App| {
            let day = days.get(&app.id).copied().unwrap_or_default();
            Row { app, runs_day: day.runs, failed_day: day.failed }
        };
        Ok(Apps { apps: app.ports.store.apps().list().await?.into_iter().map(row).collect() })
    }

    fn title(&self) -> String {
        "Apps".to_owned()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        AppsHtml { chrome, page: self }.render()
    }
}

/// One app.
#[derive(Serialize)]
pub(crate) struct AppPage {
    pub(crate) app: model::App,
    pub(crate) versions: Vec<VersionInfo>,
    pub(crate) runs: Vec<RunSummary>,
    pub(crate) runs_day: i64,
    pub(crate) failed_day: i64,
    pub(crate) tokens_day: i64,
}

#[derive(Template)]
#[template(path = "app.html")]
struct AppHtml<'a> {
    chrome: &'a Chrome,
    page: &'a AppPage,
}

impl Page for AppPage {
    const SECTION: &'static str = "apps";
    const TOPICS: &'static str = "apps runs";
    type Query = NoQuery;

    async fn load(app: &App, id: &str, _: NoQuery) -> Result<AppPage, Failure> {
        let found = find(app, id).await?;
        let recent = RunFilter { app_id: Some(id.to_owned()), limit: RUNS_SHOWN, ..RunFilter::default() };
        let day = runs::day(app).await?.get(id).copied().unwrap_or_default();
        Ok(AppPage {
            versions: app.ports.store.apps().versions(id).await?,
            runs: app.ports.store.runs().list(recent).await?,
            app: found,
            runs_day: day.runs,
            failed_day: day.failed,
            tokens_day: day.tokens,
        })
    }

    fn title(&self) -> String {
        self.app.name.clone()
    }

    fn html(&self, chrome: &Chrome) -> Result<String, askama::Error> {
        AppHtml { chrome, page: self }.render()
    }
}

async fn find(app: &App, id: &str) -> Result<model::App, Failure> {
    app.ports.store.apps().get(id).await?.ok_or_else(|| Failure::not_found("app", id))
}

/// `GET /api/apps/{id}/export`: the YAML of its current version, or of `?version=ID`.
pub(crate) async fn export(State(app): State<App>, Path(id): Path<String>, uri: Uri) -> Response {
    match dsl(&app, &id, &uri).await {
        Ok((name, text)) => {
            let mut response = text.into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml; charset=utf-8"));
            if let Ok(file) = HeaderValue::from_str(&format!("attachment; filename=\"{name}.yml\"")) {
                headers.insert(header::CONTENT_DISPOSITION, file);
            }
            response
        }
        Err(failure) => failure.into_response(),
    }
}

async fn dsl(app: &App, id: &str, uri: &Uri) -> Result<(String, String), Failure> {
    let found = find(app, id).await?;
    let asked = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("version="));
    let version_id = asked.filter(|id| !id.is_empty()).unwrap_or(&found.version_id);
    let version = app.ports.store.apps().version(version_id).await?;
    let version = version
        .filter(|version| version.app_id == found.id)
        .ok_or_else(|| Failure::not_found("version of this app", version_id))?;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = found.name.chars().take(60).map(plain).collect();
    Ok((format!("{name}-v{}", version.number), version.dsl_text))
}

/// Imports apps: all files or none.
pub(crate) struct Import;

/// `/api` sends files; the form of the page sends one text.
#[derive(Deserialize)]
pub(crate) struct ImportInput {
    #[serde(default)]
    files: Vec<ImportFile>,
    content: Option<String>,
}

#[derive(Template)]
#[template(path = "imported.html")]
struct ImportedHtml<'a> {
    imported: &'a [Imported],
}

impl Action for Import {
    type Input = ImportInput;
    const BODY_MAX: usize = IMPORT_BODY_MAX;

    async fn perform(app: &App, actor: &Actor, _: &str, input: ImportInput) -> Result<Done, Failure> {
        let pasted = input.content.map(|content| ImportFile { name: "pasted.yml".to_owned(), content });
        let files: Vec<ImportFile> = input.files.into_iter().chain(pasted).collect();
        if files.is_empty() || files.len() > IMPORT_FILES_MAX {
            return Err(Failure::bad_request(
                "bad_import",
                format!("an import has 1 to {IMPORT_FILES_MAX} files; this one has {}", files.len()),
                "send {\"files\": [{\"name\": \"app.yml\", \"content\": \"…\"}]}",
            ));
        }
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let text = format!("{} imports {}", actor.name, counted(names.len(), "file"));
        action::audit(app, actor, "apps".to_owned(), "app.import", text, json!({ "files": names })).await?;
        let imported = app.ports.apps.import(files).await.map_err(refused)?;
        app.live.forget().await;
        let page = ImportedHtml { imported: &imported }.render().map_err(|error| Failure::bug(&error))?;
        Ok(Done {
            status: StatusCode::CREATED,
            body: json!({ "imported": imported }),
            to: "/apps".to_owned(),
            notice: "app-imported",
            page: Some(page),
        })
    }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn refused(error: ImportError) -> Failure {
    match error {
        ImportError::Problems(problems) => {
            let message = format!("nothing was imported: {}", counted(problems.len(), "problem"));
            let failure = Failure::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not_importable",
                message,
                "take out or replace what is named, and import again",
            );
            Failure { problems: problems.into_iter().map(|problem| json!(problem)).collect(), ..failure }
        }
        ImportError::Unavailable(cause) => Failure::unavailable("the app store", cause.as_ref()),
    }
}
