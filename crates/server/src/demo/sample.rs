//! The demo's own apps, and the keys under which they are called.

use std::path::Path;

use mainstay_base::{AppMode, Secret, id::KeyHash};
use mainstay_standby::{Standby, apps::AppFile};
use mainstay_store::{Store, model::NewKey};
use serde::{Deserialize, Serialize};

use crate::instance::write_private;

pub(super) const QUOTE: &str = "order-quote";
pub(super) const TRIAGE: &str = "ticket-triage";
pub(super) const HELP: &str = "help-desk";

/// Sample apps, as Dify exports its own.
const FILES: [(&str, AppMode, &str); 3] = [
    (QUOTE, AppMode::Workflow, include_str!("apps/order-quote.yml")),
    (TRIAGE, AppMode::Workflow, include_str!("apps/ticket-triage.yml")),
    (HELP, AppMode::AdvancedChat, include_str!("apps/help-desk.yml")),
];

/// What a demo keeps in its data folder, so that the same folder means the same keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) admin_token: String,
    pub(super) callback_secret: String,
    pub(super) quote: String,
    pub(super) triage: String,
    pub(super) help: String,
    /// The virtual key of the model listener.
    #[serde(default = "model_key")]
    pub(super) model: String,
}

impl Keys {
    /// Those in the folder, or new ones.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Keys> {
        use anyhow::Context;
        let path = folder.join("demo-keys.json");
        let keys: Keys = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not readable", path.display()))?,
            Err(_) => Keys {
                admin_token: random("mt-"),
                callback_secret: callback_secret(),
                quote: random("app-"),
                triage: random("app-"),
                help: random("app-"),
                model: model_key(),
            },
        };
        // Also what was read: an older demo had fewer keys.
        write_private(&path, &serde_json::to_vec_pretty(&keys)?)?;
        Ok(keys)
    }

    pub(super) fn admin_token(&self) -> Secret {
        Secret::new(self.admin_token.clone())
    }
}

fn random(prefix: &str) -> String {
    format!("{prefix}{}", &uuid::Uuid::new_v4().simple().to_string()[..24])
}

fn model_key() -> String {
    random("mk-")
}

fn callback_secret() -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = [uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat();
    format!("whsec_{}", STANDARD.encode(bytes))
}

/// Imports the sample apps that the store does not have yet in this form, and sees to their keys.
pub(super) async fn import(standby: &Standby, store: &Store, keys: &Keys) -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (name, mode, text) in FILES {
        let current = match store.apps().get_by_name(name, Some(mode)).await? {
            Some(app) => store.apps().version(&app.version_id).await?.map(|version| version.dsl_text),
            None => None,
        };
        if current.as_deref() != Some(text) {
            missing.push(AppFile { path: format!("{name}.yml"), text: text.to_owned() });
        }
    }
    if !missing.is_empty() {
        standby.import(missing).await?;
    }
    for ((name, mode, _), key) in FILES.iter().zip([&keys.quote, &keys.triage, &keys.help]) {
        let Some(app) = store.apps().get_by_name(name, Some(*mode)).await? else { continue };
        let key = NewKey { hash: KeyHash::of(key), prefix: key.chars().take(8).collect() };
        store.apps().add_key(&app.id, key).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_app_is_one_that_the_engine_runs() {
        for (name, mode, text) in FILES {
            let app =
                mainstay_wire::dsl::parse(text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            assert_eq!((app.name.as_str(), app.mode), (name, mode));
            if let Err(problems) = mainstay_engine::check(&app) {
                panic!("{name}: {problems:?}");
            }
        }
    }

    #[test]
    fn the_same_folder_means_the_same_keys() {
        let folder = tempfile::tempdir().unwrap();
        let first = Keys::of(folder.path()).unwrap();
        let second = Keys::of(folder.path()).unwrap();
        assert_eq!(first.quote, second.quote);
        assert!(mainstay_wire::webhook::Key::parse(&first.callback_secret).is_ok());
    }
}
