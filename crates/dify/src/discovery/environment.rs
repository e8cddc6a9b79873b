//! What the API of a Dify is given: the `.env`, the files under `envs/` (1.14 and later), what the compose file sets,
//! and what Dify's own compose file would set where nobody says anything.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    compose::{self, Compose},
    defaults, dotenv, files,
};

/// Dify's own example has 60 KB.
const MAX_ENV_BYTES: u64 = 1024 * 1024;
/// The service whose environment is that of Dify.
const API: &str = "api";
/// Of `envs/core-services`, the files that the API is given; the others are for other containers.
const CORE_FILES: [&str; 3] = ["shared.env", "api.env", "worker.env"];

/// Holds secrets: it is not printed.
pub(super) struct Environment {
    pub(super) env_file: PathBuf,
    own: BTreeMap<String, String>,
    /// Later ones win.
    overlays: Vec<(PathBuf, BTreeMap<String, String>)>,
    pub(super) compose: Option<Compose>,
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) text: String,
    pub(super) source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `.env` that was given.
    EnvFile,
    /// A file under `envs/`.
    Overlay(PathBuf),
    /// `environment:` of the API in a compose file.
    Compose(PathBuf),
    /// Said nowhere: what Dify's own compose file gives.
    Default,
}

impl Environment {
    /// Reads everything there is; problems are added with their file and line, never with a value.
    pub(super) fn read(env_file: &Path, problems: &mut Vec<String>) -> Environment {
        let folder = env_file.parent().unwrap_or(Path::new("."));
        let own = variables(env_file, &|_| None, problems);
        let lookup = |name: &str| own.get(name).cloned();
        let paths = compose::files(folder, own.get("COMPOSE_FILE").map(String::as_str));
        let compose = (!paths.is_empty()).then(|| compose::read(&paths, &lookup, problems));
        let overlays = overlay_files(folder, compose.as_ref(), env_file)
            .into_iter()
            .map(|path| (path.clone(), variables(&path, &lookup, problems)))
            .collect();
        Environment { env_file: env_file.to_owned(), own, overlays, compose }
    }

    /// What Dify's API has under this name, empty values included.
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let own = self.own.get(name);
        if let Some(compose) = &self.compose
            && let Some(text) = compose.services.get(API).and_then(|api| api.environment.get(name))
        {
            let source = match own == Some(text) {
                true => Source::EnvFile,
                false => Source::Compose(compose.files.first().cloned().unwrap_or_default()),
            };
            return Some(Value { text: text.clone(), source });
        }
        if let Some(text) = own {
            return Some(Value { text: text.clone(), source: Source::EnvFile });
        }
        let overlay = self.overlays.iter().rev().find_map(|(path, said)| Some((path, said.get(name)?)));
        if let Some((path, text)) = overlay {
            return Some(Value { text: text.clone(), source: Source::Overlay(path.clone()) });
        }
        let text = defaults::of(name)?;
        Some(Value { text: text.to_owned(), source: Source::Default })
    }

    /// As [`Environment::get`], but an empty value is none.
    pub(super) fn said(&self, name: &str) -> Option<Value> {
        self.get(name).filter(|value| !value.text.trim().is_empty())
    }

    /// Whether somebody says it, not only Dify's own compose file.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.said(name).is_some_and(|value| value.source != Source::Default)
    }

    /// Whether the `.env` says nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// What the `.env` itself says, for what compose takes from there alone.
    pub(super) fn own(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(super) fn overlay_paths(&self) -> impl Iterator<Item = &Path> {
        self.overlays.iter().map(|(path, _)| path.as_path())
    }

    pub(super) fn folder(&self) -> &Path {
        self.env_file.parent().unwrap_or(Path::new("."))
    }
}

fn variables(
    path: &Path,
    before: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> BTreeMap<String, String> {
    match files::read(path, MAX_ENV_BYTES) {
        Ok(text) => {
            let parsed = dotenv::parse(&text, before);
            problems.extend(parsed.problems.into_iter().map(|why| format!("{}, {why}", path.display())));
            parsed.variables
        }
        Err(why) => {
            problems.push(format!("{} {why}", path.display()));
            BTreeMap::new()
        }
    }
}

/// The files that the API is given besides the `.env`, in the order of the compose file where it names them.
fn overlay_files(folder: &Path, compose: Option<&Compose>, env_file: &Path) -> Vec<PathBuf> {
    let named = compose.and_then(|compose| compose.services.get(API)).map(|api| &api.env_files);
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let paths = named.iter().map(|name| folder.join(name.trim_start_matches("./")));
        return paths.filter(|path| path != env_file && path.is_file()).collect();
    }
    let is_for_others = |path: &PathBuf| {
        let is_core = path.parent().is_some_and(|parent| parent.ends_with("core-services"));
        is_core && !CORE_FILES.iter().any(|name| path.ends_with(name))
    };
    files::env_files(&folder.join("envs")).into_iter().filter(|path| !is_for_others(path)).collect()
}
