//! The listening side: connections, and the memory of what was called.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::json;
use socket2::SockRef;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Body,
    dialect,
    door::{self, Door},
    fault::{Fault, Plan, Running},
    mind::{Mind, echo},
    play::{self, Scene},
    switch,
};

/// Calls that are remembered; older ones are forgotten first.
const MAX_CALLS: usize = 10_000;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How a provider behaves when nothing is wrong with it.
#[derive(Clone)]
pub struct Options {
    /// Port 0 takes a free one.
    pub port: u16,
    pub mind: Mind,
    pub pace: Pace,
    /// The credentials that are accepted; empty: any, and none.
    pub accepts: Vec<String>,
    /// Tells callers another address of it; `None`: nobody can, so [`Fault::Tls`] and [`Fault::Dns`] are refused.
    pub moves: Option<Moves>,
}

/// Where callers are told that a provider is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it is.
    Here,
    /// At its own port, to be spoken to by TLS.
    BehindTls,
    /// Under a name that does not resolve.
    Unresolvable,
}

/// Tells callers the place from now on; an error says in words why it could not.
pub type Moves = Arc<dyn Fn(Place) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl Default for Options {
    /// Echoes as fast as it can, on a free port.
    fn default() -> Options {
        Options { port: 0, mind: Arc::new(echo), pace: Pace::default(), accepts: Vec::new(), moves: None }
    }
}

/// How long a provider thinks, and how fast it writes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    pub first: Duration,
    pub next: Duration,
}

/// A call as it came.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    /// With its query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The credential, wherever the dialect puts it.
    pub credential: String,
    pub at: Instant,
    /// The fault it was hit by.
    pub fault: Fault,
    end: Arc<AtomicU8>,
}

/// How a call ended, as its provider sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    UnderWay,
    /// All that was to be sent was handed over.
    Complete,
    /// The caller left before.
    Abandoned,
}

impl Call {
    pub fn end(&self) -> End {
        match self.end.load(Ordering::Acquire) {
            0 => End::UnderWay,
            1 => End::Complete,
            _ => End::Abandoned,
        }
    }
}

/// Notes how a call ended, when it is dropped.
pub(crate) struct Ended {
    end: Arc<AtomicU8>,
}

impl Ended {
    pub(crate) fn complete(&mut self) {
        self.end.store(1, Ordering::Release);
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.end.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// A running provider. It ends when the last clone is dropped.
#[derive(Clone)]
pub struct Provider {
    address: SocketAddr,
    switch: SocketAddr,
    shared: Arc<Shared>,
    _end: Arc<tokio_util::sync::DropGuard>,
}

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) running: Mutex<Vec<Running>>,
    calls: Mutex<std::collections::VecDeque<Call>>,
    pub(crate) count: AtomicU64,
    /// How connections are to be met.
    wanted: watch::Sender<Door>,
    /// How they are met.
    pub(crate) door: watch::Sender<Door>,
    /// Where callers were told last that it is.
    pub(crate) place: tokio::sync::Mutex<Place>,
}

impl Provider {
    pub async fn start(options: Options) -> io::Result<Provider> {
        let listener = door::bound(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)))?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let switches = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let switch = switches.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            running: Mutex::new(Vec::new()),
            calls: Mutex::default(),
            count: AtomicU64::new(0),
            wanted: watch::Sender::new(Door::Open),
            door: watch::Sender::new(Door::Open),
            place: tokio::sync::Mutex::new(Place::Here),
        });
        let end = CancellationToken::new();
        tokio::spawn(accept(listener, address, Arc::clone(&shared), end.clone()));
        tokio::spawn(switch::accept(switches, Arc::clone(&shared), end.clone()));
        Ok(Provider { address, switch, shared, _end: Arc::new(end.drop_guard()) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its faults are switched: a port of its own, which no fault hits.
    pub fn switch_url(&self) -> String {
        format!("http://{}/faults", self.switch)
    }

    /// One fault instead of what was on. [`Fault::None`] ends all. [`Fault::Refuse`] and
    /// [`Fault::Unreachable`] are in force a moment later; [`Fault::Tls`] and [`Fault::Dns`] are played by the switch only.
    pub fn set(&self, plan: impl Into<Plan>) {
        self.set_all(vec![plan.into()]);
    }

    /// Several at once; the first that hits a call is played.
    pub fn set_all(&self, plans: Vec<Plan>) {
        self.shared.play(plans);
    }

    /// What was called, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().iter().cloned().collect()
    }

    /// What a model was asked for since the start; questions about the models there are do not count.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Provider").field("address", &self.address).finish_non_exhaustive()
    }
}

async fn accept(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>, end: CancellationToken) {
    let mut wanted = shared.wanted.subscribe();
    // Connections die with the provider, so that a stopped provider is a dead peer.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            _ = wanted.wait_for(|wanted| *wanted != Door::Open) => None,
            accepted = listener.accept() => Some(accepted),
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Some(accepted) = accepted else {
            let Ok(held) = door::bound(address) else { return };
            drop(listener);
            connections.shutdown().await;
            tokio::select! {
                () = end.cancelled() => return,
                () = door::away(address, &shared.door, &mut wanted) => {}
            }
            let Ok(back) = held.listen(BACKLOG) else { return };
            listener = back;
            shared.door.send_replace(Door::Open);
            continue;
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if shared.resets() {
                let _ = stream.readable().await;
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
            let service = hyper::service::service_fn(move |request| serve(Arc::clone(&shared), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Shared {
    pub(crate) fn play(&self, plans: Vec<Plan>) {
        let door = Door::of(&plans);
        *self.running.lock() = plans.into_iter().map(Running::of).collect();
        self.wanted.send_replace(door);
    }

    fn resets(&self) -> bool {
        self.running.lock().iter().any(|running| running.plan.fault == Fault::Reset)
    }

    fn fault(&self, credential: &str, model: &str) -> Fault {
        if !self.options.accepts.is_empty() && !self.options.accepts.iter().any(|known| known == credential) {
            return Fault::BadKey;
        }
        let mut running = self.running.lock();
        let mut faults = running.iter_mut().map(|running| running.next(credential, model));
        faults.find(|fault| *fault != Fault::None).unwrap_or_default()
    }

    fn remember(&self, call: Call) {
        if call.method == Method::POST {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        let mut calls = self.calls.lock();
        if calls.len() >= MAX_CALLS {
            calls.pop_front();
        }
        calls.push_back(call);
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let credential = credential(&head.headers);
    let read = dialect::read(&head.method, &path, &body);
    let fault = read.as_ref().map_or_else(Fault::default, |(_, ask)| shared.fault(&credential, ask.model()));
    let end = Arc::new(AtomicU8::new(0));
    shared.remember(Call {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
        credential: credential.clone(),
        at: Instant::now(),
        fault: fault.clone(),
        end: Arc::clone(&end),
    });
    let ended = Ended { end };
    let Some((dialect, ask)) = read else {
        return Ok(plain(StatusCode::NOT_FOUND, json!({"error": {"message": "no such path"}}).to_string()));
    };
    let scene = Scene { dialect, ask, fault, credential, path, pace: shared.options.pace, ended };
    play::answer(scene, &shared.options.mind).await
}

fn credential(headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bearer = text("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    bearer
        .or_else(|| text("x-api-key"))
        .or_else(|| text("api-key"))
        .or_else(|| text("x-goog-api-key"))
        .unwrap_or_default()
}

pub(crate) fn plain(status: StatusCode, body: String) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
