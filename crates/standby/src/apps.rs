//! Apps: import (all or none), export, list.

use mainstay_base::{AppMode, id::KeyHash};
use mainstay_store::{
    StoreError,
    model::{App, NewApp, NewKey, VersionInfo},
};
use mainstay_wire::dsl;

use crate::Standby;

/// Files of one import.
pub const MAX_FILES: usize = 100;
const KEY_CHARACTERS: usize = 24;
/// How much of a key is kept in clear, so that people can tell keys apart.
const KEY_PREFIX: usize = 8;

/// A DSL file, as read by whoever may read files.
#[derive(Clone, Debug)]
pub struct AppFile {
    /// For messages only.
    pub path: String,
    pub text: String,
}

/// What an import made of one file.
#[derive(Clone, Debug)]
pub struct Imported {
    pub path: String,
    pub app: App,
    pub version_id: String,
    pub version_number: i64,
    pub is_new_app: bool,
    /// The API key of a new app, told this once; only its hash is kept.
    pub key: Option<String>,
}

/// One thing that keeps a file from being imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {path}: {message}")]
pub struct FileProblem {
    pub file: String,
    /// Where in the file.
    pub path: String,
    pub node_id: Option<String>,
    pub node_type: Option<String>,
    pub message: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// All problems of all files. Nothing was changed.
    #[error("{} problems in the files; nothing was imported", .0.len())]
    Problems(Vec<FileProblem>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An app with its versions.
#[derive(Clone, Debug)]
pub struct Shown {
    pub app: App,
    pub versions: Vec<VersionInfo>,
}

impl Standby {
    /// Checks all files and imports all or none. The same name and mode make a new version of the same app; a new app
    /// gets an API key.
    pub async fn import(&self, files: Vec<AppFile>) -> Result<Vec<Imported>, ImportError> {
        let checked = tokio::task::spawn_blocking(move || check(files)).await;
        let checked =
            checked.map_err(|_| StoreError::Bug("the check of the files was cut short".to_owned()))?;
        let apps = checked.map_err(ImportError::Problems)?;
        let mut rows = Vec::with_capacity(apps.len());
        let mut told = Vec::with_capacity(apps.len());
        for (path, app) in apps {
            let exists = self.inner.store.apps().get_by_name(&app.name, Some(app.mode)).await?.is_some();
            let key = (!exists).then(new_key);
            let kept = key
                .as_deref()
                .map(|key| NewKey { hash: KeyHash::of(key), prefix: key.chars().take(KEY_PREFIX).collect() });
            rows.push((app, kept));
            told.push((path, key));
        }
        let imported = self.inner.store.apps().import(rows).await?;
        self.inner.catalog.refresh();
        let describe =
            |((path, key), row): ((String, Option<String>), mainstay_store::model::Imported)| Imported {
                path,
                version_id: row.version.id,
                version_number: row.version.number,
                is_new_app: row.is_new_app,
                app: row.app,
                key,
            };
        Ok(told.into_iter().zip(imported).map(describe).collect())
    }

    /// A new API key for an app, told this once. `None` when there is no such app.
    pub async fn add_key(&self, app_id: &str) -> Result<Option<String>, StoreError> {
        let key = new_key();
        let prefix = key.chars().take(KEY_PREFIX).collect();
        let added =
            self.inner.store.apps().add_key(app_id, NewKey { hash: KeyHash::of(&key), prefix }).await?;
        Ok(added.then_some(key))
    }

    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        self.inner.store.apps().list().await
    }

    /// An app by its id or name.
    pub async fn show(&self, app: &str) -> Result<Option<Shown>, StoreError> {
        let apps = self.inner.store.apps();
        let found = match apps.get(app).await? {
            Some(found) => Some(found),
            None => apps.get_by_name(app, None).await?,
        };
        let Some(app) = found else { return Ok(None) };
        let versions = apps.versions(&app.id).await?;
        Ok(Some(Shown { app, versions }))
    }

    /// The DSL of an app (by id or name) or of one version (by id), byte for byte as it was imported.
    pub async fn export(&self, app: &str, version_id: Option<&str>) -> Result<Option<String>, StoreError> {
        let Some(Shown { app, .. }) = self.show(app).await? else { return Ok(None) };
        let version = self.inner.store.apps().version(version_id.unwrap_or(&app.version_id)).await?;
        Ok(version.filter(|version| version.app_id == app.id).map(|version| version.dsl_text))
    }
}

fn check(files: Vec<AppFile>) -> Result<Vec<(String, NewApp)>, Vec<FileProblem>> {
    let mut problems = Vec::new();
    let mut apps: Vec<(String, NewApp)> = Vec::new();
    if files.len() > MAX_FILES {
        let message = format!("{} files were given; at most {MAX_FILES} are imported at once", files.len());
        return Err(vec![whole("(all files)", message)]);
    }
    for AppFile { path, text } in files {
        let app = match dsl::parse(&text) {
            Ok(app) => app,
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| of_file(&path, problem.into())));
                continue;
            }
        };
        if let Err(found) = mainstay_engine::check(&app) {
            problems.extend(found.into_iter().map(|problem| of_file(&path, problem)));
            continue;
        }
        let is_twin = |(_, other): &(String, NewApp)| other.name == app.name && other.mode == app.mode;
        if let Some((other, _)) = apps.iter().find(|entry| is_twin(entry)) {
            problems.push(whole(
                &path,
                format!("{other} is also app `{}` of mode {}", app.name, spelled(app.mode)),
            ));
            continue;
        }
        apps.push((path, row(app)));
    }
    if problems.is_empty() { Ok(apps) } else { Err(problems) }
}

fn row(app: dsl::App) -> NewApp {
    NewApp {
        name: app.name,
        mode: app.mode,
        description: app.description,
        icon: app.icon,
        icon_background: app.icon_background.unwrap_or_default(),
        dsl_text: app.text.to_string(),
    }
}

fn spelled(mode: AppMode) -> &'static str {
    mode.as_str()
}

fn of_file(file: &str, problem: mainstay_engine::Problem) -> FileProblem {
    let mainstay_engine::Problem { path, node_id, node_type, message } = problem;
    FileProblem { file: file.to_owned(), path, node_id, node_type, message }
}

fn whole(file: &str, message: String) -> FileProblem {
    FileProblem { file: file.to_owned(), path: "app".to_owned(), node_id: None, node_type: None, message }
}

/// `app-` and 24 letters and digits, about 140 bits, as Dify's keys look.
fn new_key() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ab";
    // Two version 4 UUIDs carry 244 random bits; the six bits that are fixed lie in bytes that are left out.
    let (first, second) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    let is_random = |index: &usize| !matches!(index, 6 | 8);
    let random = |bytes: &[u8; 16]| (0..16).filter(is_random).map(|index| bytes[index]).collect::<Vec<u8>>();
    let bytes = [random(first.as_bytes()), random(second.as_bytes())].concat();
    let letters = bytes.iter().take(KEY_CHARACTERS).map(|byte| char::from(LETTERS[usize::from(byte & 63)]));
    format!("app-{}", letters.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_look_like_those_of_dify_and_never_repeat() {
        let keys: std::collections::HashSet<String> = (0..1000).map(|_| new_key()).collect();
        assert_eq!(keys.len(), 1000);
        for key in keys {
            assert_eq!(key.len(), 28);
            assert!(key.strip_prefix("app-").unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        }
    }
}
