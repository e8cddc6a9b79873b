//! Where a database is, read from its URL.

use std::{path::PathBuf, sync::Arc, time::Duration};

use mainstay_base::Clock;
use postgres::config::SslMode;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{OpenError, StoreError};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the network may swallow what was sent before the connection counts as lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(super) enum Target {
    Sqlite(SqliteFile),
    Postgres(Box<PostgresServer>),
}

#[derive(Clone)]
pub(super) struct SqliteFile {
    pub(super) path: PathBuf,
    pub(super) create: bool,
    pub(super) clock: Clock,
}

#[derive(Clone)]
pub(super) struct PostgresServer {
    pub(super) config: postgres::Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) clock: Clock,
}

impl Target {
    pub(super) fn parse(url: &str, clock: &Clock, create: bool) -> Result<Target, OpenError> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path == ":memory:" {
                return Err(OpenError::Url("sqlite: needs the path of a file".to_owned()));
            }
            return Ok(Target::Sqlite(SqliteFile { path: path.into(), create, clock: clock.clone() }));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return postgres(url, clock).map(|server| Target::Postgres(Box::new(server)));
        }
        Err(OpenError::Url(without_password(url)))
    }
}

fn postgres(url: &str, clock: &Clock) -> Result<PostgresServer, OpenError> {
    let (url, roots) = take_parameter(url, "sslrootcert");
    // The client knows fewer words than libpq; ours always verifies when it encrypts, as `verify-full` does.
    let (url, mode) = take_parameter(&url, "sslmode");
    let mut config: postgres::Config = url
        .parse()
        .map_err(|error: postgres::Error| OpenError::Url(format!("{}: {error}", without_password(&url))))?;
    let encrypts = match mode.as_deref() {
        None | Some("disable" | "allow" | "prefer") => false,
        Some("require" | "verify-ca" | "verify-full") => true,
        Some(other) => {
            return Err(OpenError::Url(format!("sslmode={other} is none of disable, require, verify-full")));
        }
    };
    config.ssl_mode(if encrypts { SslMode::Require } else { SslMode::Disable });
    config.connect_timeout(CONNECT_LIMIT).tcp_user_timeout(SILENCE_LIMIT);
    if config.get_application_name().is_none() {
        config.application_name("mainstay");
    }
    let tls = if encrypts { Some(tls(&url, roots.as_deref())?) } else { None };
    Ok(PostgresServer { config, tls, clock: clock.clone() })
}

/// Trusts the authorities in the file, or those of the public web when none is given.
fn tls(url: &str, roots_file: Option<&str>) -> Result<MakeRustlsConnect, OpenError> {
    let bad = |message: String| OpenError::Open {
        url: without_password(url),
        source: StoreError::Unavailable(message),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let Some(path) = roots_file else {
        // The ready-made connector takes the process's provider; a second installation is no mistake.
        let _ = rustls::crypto::ring::default_provider().install_default();
        return Ok(MakeRustlsConnect::with_webpki_roots());
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| bad(format!("sslrootcert {path} cannot be read: {error}")))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(format!("sslrootcert {path}: {error}")))?;
        roots.add(certificate).map_err(|error| bad(format!("sslrootcert {path}: {error}")))?;
    }
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Cuts `name=value` out of the query of a URL.
fn take_parameter(url: &str, name: &str) -> (String, Option<String>) {
    let Some((address, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (mine, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|parameter| parameter.split_once('=').is_some_and(|(key, _)| key == name));
    let value =
        mine.first().and_then(|parameter| parameter.split_once('=')).map(|(_, value)| value.to_owned());
    let rest = if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) };
    (rest, value)
}

/// The URL as messages may show it.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let name = user.split(':').next().unwrap_or_default();
    format!("{scheme}://{name}@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        for (url, shown) in [
            ("postgres://ann:p@ss@db/x?a=b", "postgres://ann@db/x?a=b"),
            ("postgres://db/x", "postgres://db/x"),
            ("sqlite:/a/b.db", "sqlite:/a/b.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn urls_we_cannot_use_are_refused_with_a_sentence() {
        for url in ["", "mysql://x", "sqlite:", "sqlite::memory:", "postgres://h/d?sslmode=maybe", "/a/path"]
        {
            let refused = Target::parse(url, &Clock::System, false).err();
            assert!(matches!(refused, Some(OpenError::Url(_))), "{url}: {refused:?}");
        }
    }

    #[test]
    fn encryption_is_on_when_the_url_asks_for_it() {
        for (query, on) in
            [("", false), ("?sslmode=disable", false), ("?sslmode=verify-full&connect_timeout=3", true)]
        {
            let url = format!("postgres://u:p@h:5432/d{query}");
            let Ok(Target::Postgres(server)) = Target::parse(&url, &Clock::System, false) else {
                panic!("{url}")
            };
            assert_eq!(server.tls.is_some(), on, "{url}");
        }
    }
}
