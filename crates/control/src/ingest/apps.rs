//! Names and modes of apps, read once in a while.

use std::{collections::HashMap, time::Duration};

use mainstay_dify::{
    db::Id,
    read::{AppRow, Source},
    schema::Capability,
};
use serde_json::json;
use tokio::time::Instant;

use super::{Ingest, IngestError};

const EVERY: Duration = Duration::from_secs(120);
const PAGE: usize = 500;
/// Of more apps than this the rest is nameless.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Apps {
    all: HashMap<Id, AppRow>,
    next_at: Option<Instant>,
}

impl Apps {
    /// `fallback` where the app is not known.
    pub(super) fn mode(&self, app: Id, fallback: &str) -> String {
        self.all.get(&app).map_or(fallback, |app| app.mode.as_str()).to_owned()
    }
}

impl Ingest {
    pub(super) async fn refresh_apps(&mut self, source: Source<'_>) -> Result<(), IngestError> {
        let is_due = self.apps.next_at.is_none_or(|at| Instant::now() >= at);
        if !is_due || !source.schema.can(Capability::Apps) {
            return Ok(());
        }
        let mut after = None;
        while self.apps.all.len() < MOST {
            let page = source.apps(after, PAGE).await?;
            after = page.last().map(|app| app.id);
            let is_full = page.len() == PAGE;
            for app in page {
                if self.apps.all.get(&app.id) != Some(&app) {
                    let AppRow { id, tenant_id, name, mode, status } = &app;
                    let body = json!({ "tenant": tenant_id.to_string(), "name": name, "mode": mode, "status": status });
                    let key = format!("app:{id}");
                    self.store.dify().put_state(&self.options.source, &key, body.to_string()).await?;
                    self.apps.all.insert(app.id, app);
                }
            }
            if !is_full {
                break;
            }
        }
        self.apps.next_at = Some(Instant::now() + EVERY);
        Ok(())
    }
}
