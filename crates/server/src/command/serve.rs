//! `mainstay serve` and `mainstay migrate`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use mainstay_base::Clock;
use mainstay_store::{Options, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::check;
use crate::{
    cli::{ConfigFile, Serve},
    config::{self, Config, Follow, LoadError},
    failure::{Exit, Failure, chain},
    instance::{self, Instance, Published},
    last_good::StateFiles,
    logging, output,
    reload::{Origin, Refused},
    service::Service,
    signals,
};

pub(super) async fn run(serve: Serve) -> Result<Exit, Failure> {
    let hangups = signals::Hangups::listen()?;
    let (config, origin) = load(&serve)?;
    logging::install(config.log.json, &config.log.filter);
    let end = CancellationToken::new();
    signals::cancel_on_end(&end)?;
    if serve.migrate {
        migrate_first(&config).await?;
    }
    let service = Service::start_from(config, origin, serve.role, None).await?;
    hangups.reload(Arc::clone(&service.reloader));
    let _published = publish(&service);
    info!(
        admin = %service.admin,
        app = ?service.app,
        model = ?service.model,
        "mainstay serves; console at {}",
        service.admin_url()
    );
    output::line(ready(&service));
    end.cancelled().await;
    service.shutdown().await;
    Ok(Exit::Good)
}

/// The file; or, when it cannot be used and that was allowed, what was last accepted.
fn load(serve: &Serve) -> Result<(Config, Origin), Failure> {
    let path = serve.config.config.clone();
    let name = path.display().to_string();
    let text = match config::read_file(&path) {
        Ok(text) => text,
        // A file that is gone may be a mount that failed.
        Err(error) => return last_good(serve, path, "", &error),
    };
    match config::parse(&name, &text, &config::environment(), Follow::Yes) {
        Ok(config) => Ok((config, Origin::File { path, text })),
        Err(error) => last_good(serve, path, &text, &error),
    }
}

fn last_good(
    serve: &Serve,
    path: PathBuf,
    text: &str,
    error: &LoadError,
) -> Result<(Config, Origin), Failure> {
    let failure = check::failure(&path.display().to_string(), error);
    if !serve.last_good {
        return Err(failure);
    }
    let place = config::salvage_store(text, &config::environment());
    let kept = StateFiles::of(&place).and_then(|files| Some((files.config()?, files)));
    let Some((kept, files)) = kept else {
        output::note("mainstay: --last-good finds no configuration that was kept");
        return Err(failure);
    };
    let kept_name = files.config_path().display().to_string();
    let config = config::parse(&kept_name, &kept, &config::environment(), Follow::Yes)
        .map_err(|error| check::failure(&kept_name, &error))?;
    output::note(format!("{failure}\n  but:   starting with the last good configuration, {kept_name}"));
    let refused = Refused::new(error, "start", Clock::System.now());
    Ok((config, Origin::LastGood { path, refused }))
}

/// A first start in one step. The folder is made for SQLite only; a server's database is its administrator's.
async fn migrate_first(config: &Config) -> Result<(), Failure> {
    let file = config.store_url.sqlite_path();
    if let Some(folder) = file.and_then(|file| Path::new(file).parent()) {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::unreachable(
                format!("cannot make the folder {}", folder.display()),
                error,
                "check store.url and the rights of this user",
            )
        })?;
    }
    let (before, after) = migrated(config).await?;
    if before != after {
        info!("the store went from schema {before} to {after}");
    }
    Ok(())
}

/// One line for whoever started us, with the ports that port 0 became.
fn ready(service: &Service) -> String {
    let mut line = format!("mainstay ready admin={}", service.admin_url());
    for (name, address) in [("app", service.app), ("model", service.model)] {
        if let Some(address) = address {
            line.push_str(&format!(" {name}=http://{address}"));
        }
    }
    line
}

pub(super) async fn migrate(file: &ConfigFile) -> Result<Exit, Failure> {
    let path = &file.config;
    let config = config::load(path, Follow::Yes)
        .map_err(|error| check::failure(&path.display().to_string(), &error))?;
    match migrated(&config).await? {
        (before, after) if before == after => {
            output::line(format!("the store is up to date (schema {after})"));
        }
        (before, after) => output::line(format!("the store went from schema {before} to {after}")),
    }
    Ok(Exit::Good)
}

/// The versions before and after.
async fn migrated(config: &Config) -> Result<(i64, i64), Failure> {
    let options = Options { url: config.store_url.expose().to_owned(), clock: Clock::System };
    Store::migrate(&options).await.map_err(|error| {
        Failure::unreachable(
            "cannot bring the store up to date",
            chain(&error),
            "check store.url and its permissions",
        )
    })
}

/// Tells this user's commands where the instance is. Without a home folder they need --admin and --token.
pub(crate) fn publish(service: &Service) -> Option<Published> {
    // Commands ask the console's API; a process without it is of no use to them.
    service.facade.as_ref()?;
    let path = instance::path()?;
    let url = |address: Option<std::net::SocketAddr>| address.map(|address| format!("http://{address}"));
    let instance = Instance {
        pid: i32::try_from(std::process::id()).ok()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        admin: service.admin_url(),
        app: url(service.app),
        model: url(service.model),
        token: service.token.expose().to_owned(),
    };
    match instance::publish(&path, &instance) {
        Ok(published) => Some(published),
        Err(error) => {
            tracing::warn!(%error, "cannot write {}; commands need --admin and --token", path.display());
            None
        }
    }
}
