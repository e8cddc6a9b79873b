//! The client: one pool a rule, every timeout by name, errors by class.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Uri, header::HOST};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_rustls::HttpsConnectorBuilder;
use mainstay_base::snapshot::Timeouts;
use rustls::{RootCertStore, pki_types::CertificateDer};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    body::{Body, BodyError},
    connect::{ConnectError, Connector},
    error::{Class, SendError},
    guard::AddressRule,
    pool::{Driven, Link, Pool, Rest, Unanswered},
    resolve::{Names, Resolver, System},
    timed::Timed,
};

/// Idle connections kept open for one peer; a burst beyond it opens and closes its own. As many as calls to one provider
/// end at a time on a busy gateway: a TLS handshake costs more than the memory of an idle connection.
const MAX_IDLE_PER_PEER: usize = 256;
/// Shorter than what common servers grant an idle connection: nginx 75 s, providers minutes.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);
/// The same for plain http, where the peer may be a Dify without its nginx: gunicorn closes after 2 s, and a run sent
/// at that moment is lost without being known to be. A new connection costs less than that.
const IDLE_PLAIN_CONNECTION: Duration = Duration::from_millis(1500);
/// What one connection may buffer of an answer. Small, because ten thousand streams are relayed at a time.
const MAX_CONNECTION_BUFFER: usize = 16 * 1024;
/// Rules are configuration, so few; a request under one rule more pays for a connection of its own.
const MAX_GUARDED_POOLS: usize = 16;

/// The connections of one rule.
#[derive(Clone)]
struct Pools {
    tls: Pool,
    plain: Pool,
}

#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Certificate authorities trusted besides the public ones (a company's own), DER.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("extra certificate authority number {number} cannot be used: {source}")]
    Root { number: usize, source: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// Cheap to clone; clones share the pools.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    tls: rustls::ClientConfig,
    /// For guarded rules alone: whose hosts are anybody's choice, and many, must not crowd out those that are configured.
    guarded_names: Arc<Names>,
    any: Pools,
    guarded: Mutex<Vec<(AddressRule, Pools)>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Client {
    pub fn new(options: ClientOptions) -> Result<Client, ClientError> {
        Client::with_resolver(options, Arc::new(System))
    }

    /// With another source of addresses than the machine's.
    pub fn with_resolver(options: ClientOptions, resolver: Arc<dyn Resolver>) -> Result<Client, ClientError> {
        let tls = tls_config(&options)?;
        let (names, guarded_names) = (Names::new(resolver.clone()), Names::new(resolver));
        let any = Pools::new(&tls, &names, AddressRule::Any, MAX_IDLE_PER_PEER);
        Ok(Client { inner: Arc::new(Inner { tls, guarded_names, any, guarded: Mutex::default() }) })
    }

    /// Sends a request with an absolute URL. Redirects are not followed: the caller sees them.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        timeouts: &Timeouts,
        rule: AddressRule,
    ) -> Result<Response<Body>, SendError> {
        let uri = std::mem::take(request.uri_mut());
        let (true, Some(authority)) = (is_absolute_http(&uri), uri.authority()) else {
            let message = "the URL is not absolute, or not http or https";
            return Err(SendError::new(Class::InvalidRequest, &origin(&uri), message, true));
        };
        let total_at = Instant::now() + timeouts.total;
        let guarded;
        let pools = match rule {
            AddressRule::Any => &self.inner.any,
            rule => {
                guarded = self.guarded(rule).await;
                &guarded
            }
        };
        let pool = pools.of(&uri);
        address(&mut request, &uri)
            .map_err(|error| SendError::new(Class::InvalidRequest, &origin(&uri), error.to_string(), true))?;
        // Ends: every turn but the last takes one of the connections at rest.
        loop {
            let (link, has_rested) = match pool.rested(authority.as_str()) {
                Some(link) => (link, true),
                // On the heap, because most exchanges make no connection and need no room for it.
                None => (Box::pin(connect(pool, &uri, timeouts)).await?, false),
            };
            let first_byte_at = Instant::now() + timeouts.first_byte;
            match tokio::time::timeout_at(first_byte_at.min(total_at), link.exchange(request)).await {
                Ok(Ok(response)) => return received(response, &uri, timeouts, total_at),
                // Its peer closed it at this moment; nothing was sent.
                Ok(Err(Unanswered { unsent: Some(unsent), .. })) if has_rested => request = unsent,
                Ok(Err(Unanswered { error, .. })) => return Err(unanswered(&origin(&uri), &error)),
                Err(_) => return Err(late(&origin(&uri), timeouts, total_at <= first_byte_at)),
            }
        }
    }

    /// A connection made under one rule is never used under another, so each rule has its pools.
    async fn guarded(&self, rule: AddressRule) -> Pools {
        let mut guarded = self.inner.guarded.lock().await;
        if let Some((_, pools)) = guarded.iter().find(|(known, _)| *known == rule) {
            return pools.clone();
        }
        if guarded.len() >= MAX_GUARDED_POOLS {
            return Pools::new(&self.inner.tls, &self.inner.guarded_names, rule, 0);
        }
        let pools = Pools::new(&self.inner.tls, &self.inner.guarded_names, rule.clone(), MAX_IDLE_PER_PEER);
        guarded.push((rule, pools.clone()));
        pools
    }
}

impl Pools {
    fn new(
        tls: &rustls::ClientConfig,
        names: &Arc<Names>,
        rule: AddressRule,
        max_idle_per_peer: usize,
    ) -> Pools {
        let connector = Connector { rule: Arc::new(rule), names: names.clone() };
        Pools {
            tls: pool(tls, connector.clone(), max_idle_per_peer, IDLE_CONNECTION),
            plain: pool(tls, connector, max_idle_per_peer, IDLE_PLAIN_CONNECTION),
        }
    }

    fn of(&self, uri: &Uri) -> &Pool {
        match uri.scheme_str() {
            Some("https") => &self.tls,
            _ => &self.plain,
        }
    }
}

async fn connect(pool: &Pool, uri: &Uri, timeouts: &Timeouts) -> Result<Link, SendError> {
    match tokio::time::timeout(timeouts.connect.min(timeouts.total), pool.connect(uri)).await {
        Ok(connected) => connected.map_err(|error| unconnected(&origin(uri), &*error)),
        Err(_) => {
            let message =
                format!("no connection within {} ms (connect timeout)", timeouts.connect.as_millis());
            Err(SendError::new(Class::ConnectTimeout, &origin(uri), message, true))
        }
    }
}

fn received(
    response: Response<Driven>,
    uri: &Uri,
    timeouts: &Timeouts,
    total_at: Instant,
) -> Result<Response<Body>, SendError> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let message = "the peer switched to another protocol, which nobody asked for";
        return Err(SendError::new(Class::Closed, &origin(uri), message, false));
    }
    Ok(response.map(|body| Timed::new(body, timeouts.idle, timeouts.total, total_at).boxed_unsync()))
}

/// From an absolute URL to what is sent on a connection to its host.
fn address(request: &mut Request<Body>, uri: &Uri) -> Result<(), http::Error> {
    if !request.headers().contains_key(HOST) {
        let host = uri.host().unwrap_or_default();
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = match uri.port_u16().filter(|port| *port != default_port) {
            Some(port) => HeaderValue::try_from(format!("{host}:{port}"))?,
            None => HeaderValue::from_str(host)?,
        };
        request.headers_mut().insert(HOST, host);
    }
    if let Some(path_and_query) = uri.path_and_query() {
        *request.uri_mut() = Uri::from(path_and_query.clone());
    }
    Ok(())
}

fn tls_config(options: &ClientOptions) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for (index, root) in options.extra_roots.iter().enumerate() {
        roots.add(root.clone()).map_err(|source| ClientError::Root { number: index + 1, source })?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn pool(
    tls: &rustls::ClientConfig,
    connector: Connector,
    max_idle_per_peer: usize,
    idle_connection: Duration,
) -> Pool {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let mut http = http1::Builder::new();
    // An answer's head has 100 fields at most: hyper's own bound, for which it keeps room on the stack. Another one is two
    // allocations of 4 KB for each answer.
    http.max_buf_size(MAX_CONNECTION_BUFFER);
    Pool::new(connector, http, Rest { most: max_idle_per_peer, at_most: idle_connection })
}

fn is_absolute_http(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

/// Scheme, host and port: what an operator needs to know of a URL, and nothing that might be personal or secret.
fn origin(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("(no scheme)");
    let host = uri.host().unwrap_or("(no host)");
    match uri.port_u16() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

fn late(peer: &str, timeouts: &Timeouts, total_first: bool) -> SendError {
    if total_first {
        let message = format!("no answer within {} ms (total timeout)", timeouts.total.as_millis());
        return SendError::new(Class::TotalTimeout, peer, message, false);
    }
    let message = format!("no answer within {} ms (first byte timeout)", timeouts.first_byte.as_millis());
    SendError::new(Class::FirstByteTimeout, peer, message, false)
}

fn unconnected(peer: &str, error: &(dyn StdError + 'static)) -> SendError {
    let Some(connect) = find::<ConnectError>(error) else {
        let message = format!("the TLS handshake failed: {}", root_cause(error));
        return SendError::new(Class::Tls, peer, message, true);
    };
    let class = match connect {
        ConnectError::NoHost => Class::InvalidRequest,
        ConnectError::Dns { .. } | ConnectError::NoAddress { .. } => Class::Dns,
        ConnectError::Refused { .. } => Class::AddressRefused,
        ConnectError::Connect { .. } => Class::Connect,
    };
    SendError::new(class, peer, connect.to_string(), true)
}

fn unanswered(peer: &str, error: &hyper::Error) -> SendError {
    if let Some(body) = find::<BodyError>(error) {
        let message = format!("the request's body failed while it was sent: {}", root_cause(body));
        return SendError::new(Class::RequestBody, peer, message, false);
    }
    let message = format!("the peer closed the connection without an answer: {}", root_cause(error));
    SendError::new(Class::Closed, peer, message, false)
}

/// The first error of type `E` in the chain of causes.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}
