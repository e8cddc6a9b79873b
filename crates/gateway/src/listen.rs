//! An HTTP/1.1 listener that stays small with ten thousand open streams, and ends within a bound.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_net::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::limits::ListenLimits;

mod stall;

/// How long to wait after the system refused to accept (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The other end of the connection, among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Serves until `shutdown`, then lets answers in progress end for [`ListenLimits::shutdown_grace`].
pub async fn listen<Handler, Answer>(
    listener: TcpListener,
    handler: Handler,
    shutdown: CancellationToken,
    limits: ListenLimits,
) where
    Handler: Fn(Request<Incoming>) -> Answer + Clone + Send + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    while let Some((stream, peer, slot)) = next_connection(&listener, &slots, &shutdown).await {
        let (handler, shutdown, abort) = (handler.clone(), shutdown.clone(), abort.clone());
        mainstay_net::tune(&stream);
        connections.spawn(async move {
            tokio::select! {
                () = serve_connection(stream, peer, handler, shutdown, limits) => {}
                () = abort.cancelled() => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.shutdown_grace, connections.wait()).await.is_err() {
        let open = connections.len();
        info!(
            open,
            "shutdown: cutting {open} connections that did not end within {:?}", limits.shutdown_grace
        );
        abort.cancel();
        connections.wait().await;
    }
}

async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, slot))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => {
                warn!(%error, "cannot accept a connection; trying again in {ACCEPT_PAUSE:?}");
                tokio::select! {
                    () = shutdown.cancelled() => return None,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
}

/// Serves one connection, over whatever carries it, until it ends or `shutdown` lets its last answer end.
pub async fn serve_connection<Stream, Handler, Answer>(
    stream: Stream,
    peer: SocketAddr,
    handler: Handler,
    shutdown: CancellationToken,
    limits: ListenLimits,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Handler: Fn(Request<Incoming>) -> Answer + Send + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read)
        .max_buf_size(limits.max_head_bytes)
        .keep_alive(true)
        // A caller that closes its side has left: its request is cancelled.
        .half_close(false)
        .serve_connection(TokioIo::new(stall::Guarded::new(stream, limits.write_stall)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection ended early");
    }
}
