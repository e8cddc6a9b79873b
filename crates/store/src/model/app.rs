//! Apps of the embedded engine and their immutable versions.

use mainstay_base::{AppMode, Micros, id::KeyHash};
use serde::{Deserialize, Serialize};

/// What an import brings. An app with the same name and mode gets a new version instead of a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    pub name: String,
    pub mode: AppMode,
    pub description: String,
    pub icon: String,
    pub icon_background: String,
    pub dsl_text: String,
}

/// An API key as it is kept: its hash, and its first letters so that people can tell keys apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub hash: KeyHash,
    pub prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    pub id: String,
    pub name: String,
    pub mode: AppMode,
    pub description: String,
    pub icon: String,
    pub icon_background: String,
    /// The version that runs when a caller names none.
    pub version_id: String,
    pub version_number: i64,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// One publish of an app; never changed, runnable by its id (Dify's `workflow_id`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub id: String,
    pub app_id: String,
    /// 1, 2, 3, … within the app.
    pub number: i64,
    pub dsl_text: String,
    pub created_at: Micros,
}

/// A version without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    pub id: String,
    pub app_id: String,
    pub number: i64,
    pub created_at: Micros,
}

/// What an import made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub app: App,
    pub version: Version,
    /// Whether the app itself is new.
    pub is_new_app: bool,
}
