//! Opens the connection and makes it read-only.

use std::{sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{CONNECT_LIMIT, Failure};
use crate::deployment::{Database, Tls};

/// How often a connection that nobody uses is tried, so that a firewall keeps it and a dead peer is noticed.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long the network may swallow what was sent before the connection counts as lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// How Dify's operators see us in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "mainstay";

/// Read-only by the server's own word, whatever the role may do. UTC, as Dify's own sessions. No parallel workers:
/// they would count against the server's limit and take what Dify needs. No scan of a whole table where an index can
/// do, whatever the statistics say.
const SETTINGS: &str = "SET default_transaction_read_only = on; SET timezone = 'UTC'; SET lock_timeout = '1s'; \
     SET idle_in_transaction_session_timeout = '10s'; SET max_parallel_workers_per_gather = 0; SET jit = off; \
     SET enable_seqscan = off; \
     SET statement_timeout = '5s'";

pub(super) struct Session {
    pub(super) client: Client,
    /// `None`: not known.
    limit: Option<Duration>,
    driver: JoinHandle<()>,
}

impl Session {
    /// Tells the server when to end a query, where it was told otherwise before.
    pub(super) async fn limit(&mut self, within: Duration) -> Result<(), Failure> {
        if self.limit == Some(within) {
            return Ok(());
        }
        self.limit = None;
        let sql = format!("SET statement_timeout = {}", within.as_millis().max(1));
        self.client.batch_execute(&sql).await.map_err(|error| Failure::read(&error))?;
        self.limit = Some(within);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A session that may write, for who has the right to; everything else about it is as in the others.
const WRITABLE: &str = "SET default_transaction_read_only = off";

pub(super) async fn open(database: &Database) -> Result<Session, Failure> {
    let config = config(database);
    let session = match tls(database.tls)? {
        None => start(config.connect(NoTls).await),
        Some(tls) => start(config.connect(tls).await),
    }?;
    session.client.batch_execute(SETTINGS).await.map_err(|error| Failure::read(&error))?;
    Ok(session)
}

pub(super) async fn open_to_write(database: &Database) -> Result<Session, Failure> {
    let session = open(database).await?;
    session.client.batch_execute(WRITABLE).await.map_err(|error| Failure::read(&error))?;
    Ok(session)
}

fn start<S>(
    opened: Result<(Client, Connection<Socket, S>), tokio_postgres::Error>,
) -> Result<Session, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = opened.map_err(|error| Failure::connect(&error))?;
    // Ends with the session: with its client, or aborted. What breaks it is told to the query that waits.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Session { client, limit: None, driver })
}

fn config(database: &Database) -> Config {
    let Database { host, port, user, password, name, tls } = database;
    let mut config = Config::new();
    config.host(host).port(*port).user(user).dbname(name).application_name(APPLICATION);
    if let Some(password) = password {
        config.password(password.expose());
    }
    config.ssl_mode(if *tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
    config.connect_timeout(CONNECT_LIMIT).tcp_user_timeout(SILENCE_LIMIT).keepalives_idle(KEEPALIVE);
    config
}

fn tls(tls: Tls) -> Result<Option<MakeRustlsConnect>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifies = match tls {
        Tls::Off => return Ok(None),
        Tls::Checked => {
            // The ready-made connector takes the process's provider; a second installation is no mistake.
            let _ = rustls::crypto::ring::default_provider().install_default();
            return Ok(Some(MakeRustlsConnect::with_webpki_roots()));
        }
        Tls::Unchecked => Arc::new(Anybody(provider.clone())),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifies)
        .with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(config)))
}

/// Takes any certificate, as `sslmode=require` says; that the peer holds its key is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
