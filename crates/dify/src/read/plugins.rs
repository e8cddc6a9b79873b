//! Which plugin versions published workflows name, and which are installed. Read before an upgrade only.

use std::{collections::BTreeSet, time::Duration};

use crate::db::{Bound, Failure, Id, Reader, Value};

const WITHIN: Duration = Duration::from_secs(2);
/// Workflows whose graphs are read in one query: graphs are large, and the server unpacks each.
const PAGE: usize = 10;
/// Apps that are looked at, by id.
const MAX_APPS: usize = 500;
const MAX_INSTALLED: usize = 5_000;

/// A plugin version that the published workflow of an app names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    pub app: String,
    /// `author/name:version@checksum`.
    pub plugin: String,
}

/// What was read, and whether it was all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub found: Vec<Reference>,
    pub apps: usize,
    /// There are more apps than were looked at.
    pub is_part: bool,
}

/// The references of published workflows, page by page along the primary key of `apps`.
pub async fn references(reader: &Reader) -> Result<References, Failure> {
    const SQL: &str = "SELECT a.id, a.name, (SELECT string_agg(DISTINCT m[1], ' ') FROM workflows w, \
        regexp_matches(w.graph, '\"plugin_unique_identifier\": ?\"([^\"]{1,300})\"', 'g') AS m \
        WHERE w.id = a.workflow_id) FROM apps a WHERE a.id > $1 ORDER BY a.id LIMIT 10";
    let mut references = References::default();
    let mut after = Id::default();
    while references.apps < MAX_APPS {
        let rows = reader.rows(SQL, &[Value::Id(after)], Bound::new(PAGE, WITHIN)).await?;
        for row in &rows {
            after = row.id(0)?.unwrap_or_default();
            let app = row.word(1)?;
            for plugin in row.word(2)?.split_whitespace() {
                references.found.push(Reference { app: app.clone(), plugin: plugin.to_owned() });
            }
        }
        references.apps += rows.len();
        if rows.len() < PAGE {
            return Ok(references);
        }
    }
    references.is_part = true;
    Ok(references)
}

/// What the plugin daemon has installed for any workspace.
pub async fn installed(reader: &Reader) -> Result<BTreeSet<String>, Failure> {
    const SQL: &str = "SELECT DISTINCT plugin_unique_identifier FROM plugin_installations LIMIT 5000";
    let rows = reader.rows(SQL, &[], Bound::new(MAX_INSTALLED, WITHIN)).await?;
    rows.iter().map(|row| row.word(0)).collect()
}
