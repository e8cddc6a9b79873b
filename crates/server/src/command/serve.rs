//! `mainstay serve` and `mainstay migrate`.

use mainstay_base::Clock;
use mainstay_store::{Options, Store};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::check;
use crate::{
    cli::{ConfigFile, Serve},
    config::{self, Config, Follow},
    failure::{Exit, Failure, chain},
    instance::{self, Instance, Published},
    logging, output,
    service::Service,
    signals,
};

pub(super) async fn run(serve: Serve) -> Result<Exit, Failure> {
    let config = load(&serve.config)?;
    logging::install(config.log.json, &config.log.filter);
    let end = CancellationToken::new();
    signals::cancel_on_end(&end)?;
    let service = Service::start(config, serve.role, None).await?;
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
    let config = load(file)?;
    let options = Options { url: config.store_url.clone(), clock: Clock::System };
    let migrated = Store::migrate(&options).await;
    let (before, after) = migrated.map_err(|error| {
        Failure::unreachable(
            "cannot bring the store up to date",
            chain(&error),
            "check store.url and its permissions",
        )
    })?;
    match before == after {
        true => output::line(format!("the store is up to date (schema {after})")),
        false => output::line(format!("the store went from schema {before} to {after}")),
    }
    Ok(Exit::Good)
}

fn load(file: &ConfigFile) -> Result<Config, Failure> {
    let path = &file.config;
    config::load(path, Follow::Yes).map_err(|error| check::failure(&path.display().to_string(), &error))
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
