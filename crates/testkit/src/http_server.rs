//! An HTTP/1.1 server made from one async function.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinSet};

/// What a handler answers. Its body may fail half-way, which cuts the connection.
pub type Reply = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// A server that lives as long as this value.
pub struct HttpServer {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
    connections: Connections,
    accepting: JoinSet<()>,
}

type Connections = Arc<Mutex<JoinSet<()>>>;

impl HttpServer {
    /// Serves `handler` on a free loopback port. Request bodies are collected before it is called.
    pub async fn start<Handler, Answer>(handler: Handler) -> HttpServer
    where
        Handler: Fn(Request<Bytes>) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Reply> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Connections::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::new(handler), requests.clone(), connections.clone()));
        HttpServer { address, requests, connections, accepting }
    }

    /// Ends the server: when this returns its port is free and its connections are closed. A
    /// server that is only dropped does the same a little later.
    pub async fn stop(mut self) {
        self.accepting.shutdown().await;
        let mut connections = std::mem::take(&mut *self.connections.lock());
        connections.shutdown().await;
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests seen so far, oldest first.
    pub fn requests(&self) -> Vec<Request<Bytes>> {
        self.requests.lock().iter().map(copy).collect()
    }
}

async fn accept<Handler, Answer>(
    listener: TcpListener,
    handler: Arc<Handler>,
    requests: Arc<Mutex<Vec<Request<Bytes>>>>,
    connections: Connections,
) where
    Handler: Fn(Request<Bytes>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = Reply> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (handler, requests) = (handler.clone(), requests.clone());
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (handler, requests) = (handler.clone(), requests.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let request = Request::from_parts(head, body);
                requests.lock().push(copy(&request));
                Ok::<_, Infallible>(handler(request).await)
            }
        });
        connections.lock().spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn copy(request: &Request<Bytes>) -> Request<Bytes> {
    let mut copy = Request::new(request.body().clone());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A JSON answer.
pub fn json(status: u16, body: &serde_json::Value) -> Reply {
    whole(status, "application/json", body.to_string())
}

/// An answer whose body is known at once.
pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("content-type", content_type).body(body).expect("a valid head")
}

/// An answer whose body is a stream of pieces; an `Err` piece cuts the connection.
pub fn streamed(
    status: u16,
    content_type: &str,
    pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
) -> Reply {
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync();
    Response::builder().status(status).header("content-type", content_type).body(body).expect("a valid head")
}

/// Server-sent events, each `(wait before it, bytes)`; after the last the stream ends, or is cut.
pub fn events(pieces: Vec<(Duration, Bytes)>, cut: bool) -> Reply {
    let pieces = futures_util::stream::unfold((pieces.into_iter(), cut), |(mut pieces, cut)| async move {
        match pieces.next() {
            Some((wait, piece)) => {
                tokio::time::sleep(wait).await;
                Some((Ok(piece), (pieces, cut)))
            }
            None if cut => Some((Err(std::io::Error::other("cut on purpose")), (pieces, false))),
            None => None,
        }
    });
    streamed(200, "text/event-stream", pieces)
}
