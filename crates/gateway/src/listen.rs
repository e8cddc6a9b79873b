//! An HTTP/1.1 listener that stays small with ten thousand open streams, and ends within a bound.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mainstay_net::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::limits::ListenLimits;

mod stall;

/// How long to wait after the system refused to accept (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets answers in progress end for [`ListenLimits::shutdown_grace`]. New limits hold for new
/// connections: one that is open is never cut for them. `handler` is given each request and where it comes from.
pub async fn listen<Handler, Answer>(
    listener: TcpListener,
    handler: Handler,
    shutdown: CancellationToken,
    mut limits: watch::Receiver<ListenLimits>,
) where
    Handler: Fn(Request<Incoming>, SocketAddr) -> Answer + Clone + Send + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    let open = Arc::new(Open::default());
    while let Some((stream, peer, place)) = next_connection(&listener, &open, &mut limits, &shutdown).await {
        let limits = *limits.borrow();
        let (handler, shutdown, abort) = (handler.clone(), shutdown.clone(), abort.clone());
        mainstay_net::tune(&stream);
        connections.spawn(async move {
            tokio::select! {
                () = serve_connection(stream, peer, handler, shutdown, limits) => {}
                () = abort.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    let grace = limits.borrow().shutdown_grace;
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        let open = connections.len();
        info!(open, "shutdown: cutting {open} connections that did not end within {grace:?}");
        abort.cancel();
        connections.wait().await;
    }
}

/// The open connections, counted.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    ended: Notify,
}

/// One connection among them, until it is dropped.
struct Place(Arc<Open>);

impl Place {
    /// Waits until one more may be open. Only the accepting loop waits here.
    async fn take(open: &Arc<Open>, limits: &mut watch::Receiver<ListenLimits>) -> Place {
        while open.count.load(Ordering::Acquire) >= limits.borrow_and_update().max_connections {
            tokio::select! {
                () = open.ended.notified() => {}
                () = changed(limits) => {}
            }
        }
        open.count.fetch_add(1, Ordering::AcqRel);
        Place(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

/// Never, when nobody can change them any more.
async fn changed(limits: &mut watch::Receiver<ListenLimits>) {
    if limits.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn next_connection(
    listener: &TcpListener,
    open: &Arc<Open>,
    limits: &mut watch::Receiver<ListenLimits>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, Place)> {
    loop {
        let accepted = async {
            let place = Place::take(open, limits).await;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, place))
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
    Handler: Fn(Request<Incoming>, SocketAddr) -> Answer + Send + 'static,
    Answer: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        // On the heap only while there is a request: a connection at rest is smaller for it, and what is moved is a pointer.
        // The place comes first, so that what is made for the request is written there and not moved: it is some 9 KB.
        let place = Box::new_uninit();
        let answer = Box::into_pin(Box::write(place, handler(request, peer)));
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
