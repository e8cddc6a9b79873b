//! Resolving, judging and connecting: the one place where an address is chosen.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::Uri;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::{guard::AddressRule, resolve::Names};

/// How long one address may take before the next is tried beside it (RFC 8305 advises 250 ms).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Of all the addresses a name resolves to, so many are tried.
const MAX_ADDRESSES: usize = 8;

/// A peer that is gone is noticed after these together: 60 s.
const SILENT_BEFORE_PROBE: Duration = Duration::from_secs(30);
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
const UNANSWERED_PROBES: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the URL names no host")]
    NoHost,
    #[error("cannot resolve `{host}`: {source}")]
    Dns { host: String, source: Arc<std::io::Error> },
    #[error("`{host}` resolves to no address")]
    NoAddress { host: String },
    #[error(
        "`{host}` resolves to {address}, which the address rule refuses; allow it by name if it is meant"
    )]
    Refused { host: String, address: SocketAddr },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
}

/// Connects to http addresses under one rule. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) rule: Arc<AddressRule>,
    pub(crate) names: Arc<Names>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Connector { rule, names } = self.clone();
        Box::pin(async move { connect(&rule, &names, &uri).await.map(TokioIo::new) })
    }
}

async fn connect(rule: &AddressRule, names: &Arc<Names>, uri: &Uri) -> Result<TcpStream, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?.trim_start_matches('[').trim_end_matches(']');
    let default_port = if uri.scheme() == Some(&http::uri::Scheme::HTTPS) { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let addresses = names.addresses(host).await;
    let addresses = addresses.map_err(|source| ConnectError::Dns { host: host.to_owned(), source })?;
    let resolved: Vec<SocketAddr> = addresses.iter().map(|address| SocketAddr::new(*address, port)).collect();
    let permitted = permitted(rule, host, port, &resolved)?;
    let stream = first_to_connect(permitted).await?;
    tune(&stream);
    Ok(stream)
}

/// For sockets that carry exchanges of any length: small pieces leave at once, and a peer that vanished without a word
/// is noticed. A blocking run says nothing for up to twenty minutes; without probes its connection looks the same when
/// the other host is gone, and balancers in between forget a silent one after five.
pub fn tune(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let probes = TcpKeepalive::new()
        .with_time(SILENT_BEFORE_PROBE)
        .with_interval(BETWEEN_PROBES)
        .with_retries(UNANSWERED_PROBES);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "cannot set TCP keep-alive");
    }
}

/// The addresses to try, families in turn, the resolver's preference first.
fn permitted(
    rule: &AddressRule,
    host: &str,
    port: u16,
    resolved: &[SocketAddr],
) -> Result<Vec<SocketAddr>, ConnectError> {
    let first = resolved.first().ok_or_else(|| ConnectError::NoAddress { host: host.to_owned() })?;
    let good = resolved.iter().copied().filter(|address| rule.permits(host, port, address.ip()));
    let (preferred, others): (Vec<_>, Vec<_>) =
        good.partition(|address| address.is_ipv4() == first.is_ipv4());
    let longest = preferred.len().max(others.len());
    let in_turn: Vec<SocketAddr> = (0..longest)
        .flat_map(|index| [preferred.get(index), others.get(index)])
        .flatten()
        .copied()
        .take(MAX_ADDRESSES)
        .collect();
    if in_turn.is_empty() {
        return Err(ConnectError::Refused { host: host.to_owned(), address: *first });
    }
    Ok(in_turn)
}

/// Tries the addresses one after the other, the next one also when the one before is slow; the first to connect wins.
async fn first_to_connect(addresses: Vec<SocketAddr>) -> Result<TcpStream, ConnectError> {
    let mut waiting = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    let mut last_error = None;
    loop {
        match waiting.next() {
            Some(address) => trying.push(try_one(address)),
            None if trying.is_empty() => return Err(last_error.unwrap_or(ConnectError::NoHost)),
            None => {}
        }
        // The caller bounds the whole by the connect timeout; here only the start of the next try is timed.
        let more_to_try = waiting.len() > 0;
        tokio::select! {
            tried = trying.next() => match tried {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last_error = Some(error),
                None => {}
            },
            () = tokio::time::sleep(NEXT_ADDRESS_AFTER), if more_to_try => {}
        }
    }
}

async fn try_one(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    TcpStream::connect(address).await.map_err(|source| ConnectError::Connect { address, source })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::resolve::System;

    #[tokio::test]
    async fn a_silent_connection_is_probed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let stream = connect(&AddressRule::Any, &Names::new(Arc::new(System)), &uri).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENT_BEFORE_PROBE);
    }
}
