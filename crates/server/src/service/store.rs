//! Opening the store, and what a gateway does that cannot: it starts from the last published state.

use std::{path::Path, time::Duration};

use mainstay_base::Clock;
use mainstay_store::{OpenError, Options, Store};
use tracing::warn;

use crate::{
    cli::Role,
    config::{Config, StoreUrl},
    failure::{Failure, chain},
    last_good::StateFiles,
    routes::Published,
};

/// A server that accepts connections and says nothing is as good as away.
const OPEN_WAIT: Duration = Duration::from_secs(10);

pub(super) struct Opened {
    pub(super) store: Store,
    /// What to route by until the store is back.
    pub(super) instead: Option<Instead>,
}

pub(super) struct Instead {
    pub(super) published: Published,
    /// Why the store cannot be asked.
    pub(super) why: String,
}

/// Only the role gateway does without: control cannot judge, and workers have no runs, without the store.
pub(super) async fn open(
    config: &Config,
    clock: &Clock,
    role: Role,
    files: Option<&StateFiles>,
) -> Result<Opened, Failure> {
    let options = Options { url: config.store_url.expose().to_owned(), clock: clock.clone() };
    let why = match tokio::time::timeout(OPEN_WAIT, Store::open(options.clone())).await {
        Ok(Ok(store)) => return Ok(Opened { store, instead: None }),
        Ok(Err(error)) if role == Role::Gateway && is_away(&error, &config.store_url) => chain(&error),
        Ok(Err(error)) => return Err(refused(chain(&error))),
        Err(_) if role == Role::Gateway => format!("no answer within {OPEN_WAIT:?}"),
        Err(_) => return Err(refused(format!("no answer within {OPEN_WAIT:?}"))),
    };
    let Some((published, at)) = files.and_then(StateFiles::published) else {
        return Err(refused(format!("{why}; and no published state was kept to start from")));
    };
    let store = Store::attach(options).map_err(|error| refused(chain(&error)))?;
    warn!(
        kept_at = at.0,
        apps = published.apps.len(),
        "the store cannot be asked ({why}): serving what was published last, until it is back"
    );
    Ok(Opened { store, instead: Some(Instead { published, why }) })
}

/// A store of another version, or none yet, is not away: somebody has to act.
fn is_away(error: &OpenError, url: &StoreUrl) -> bool {
    let is_missing_file = || url.sqlite_path().is_some_and(|path| !Path::new(path).exists());
    match error {
        OpenError::Open { .. } => true,
        OpenError::Older { found, .. } => *found == 0 && is_missing_file(),
        OpenError::Url(_) | OpenError::Newer { .. } | OpenError::Migration { .. } => false,
    }
}

fn refused(cause: String) -> Failure {
    Failure::unreachable("cannot open the store", cause, "run mainstay migrate, or check store.url")
}
