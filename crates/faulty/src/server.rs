//! The listening side: connections, the switch of faults, and the memory of what was called.

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
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    connection::Body,
    dialect,
    fault::{Fault, Plan, Running},
    mind::{Mind, echo},
    play::{self, Scene},
};

/// Calls that are remembered; older ones are forgotten first.
const MAX_CALLS: usize = 10_000;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// How long a connection that is to be reset may say nothing, and how much of its start is looked at.
const SWITCH_WAIT: Duration = Duration::from_secs(1);
const SWITCH_START_BYTES: usize = 12;

/// How a provider behaves when nothing is wrong with it.
#[derive(Clone)]
pub struct Options {
    /// Port 0 takes a free one.
    pub port: u16,
    pub mind: Mind,
    pub pace: Pace,
    /// The credentials that are accepted; empty: any, and none.
    pub accepts: Vec<String>,
}

impl Default for Options {
    /// Echoes as fast as it can, on a free port.
    fn default() -> Options {
        Options { port: 0, mind: Arc::new(echo), pace: Pace::default(), accepts: Vec::new() }
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
    shared: Arc<Shared>,
    _end: Arc<tokio_util::sync::DropGuard>,
}

struct Shared {
    options: Options,
    running: Mutex<Vec<Running>>,
    calls: Mutex<std::collections::VecDeque<Call>>,
    count: AtomicU64,
}

impl Provider {
    pub async fn start(options: Options) -> io::Result<Provider> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, options.port))).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            running: Mutex::new(Vec::new()),
            calls: Mutex::default(),
            count: AtomicU64::new(0),
        });
        let end = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&shared), end.clone()));
        Ok(Provider { address, shared, _end: Arc::new(end.drop_guard()) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One fault instead of what was on. [`Fault::None`] ends all.
    pub fn set(&self, plan: impl Into<Plan>) {
        self.set_all(vec![plan.into()]);
    }

    /// Several at once; the first that hits a call is played.
    pub fn set_all(&self, plans: Vec<Plan>) {
        *self.shared.running.lock() = plans.into_iter().map(Running::of).collect();
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

async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    // Connections die with the provider, so that a stopped provider is a dead peer.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if shared.resets() && !is_for_the_switch(&stream).await {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                return;
            }
            let service = hyper::service::service_fn(move |request| serve(Arc::clone(&shared), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Whether a connection begins with a request to the switch of faults: a fault that could not be ended is none to rehearse.
async fn is_for_the_switch(stream: &TcpStream) -> bool {
    let mut start = [0; SWITCH_START_BYTES];
    let peeked = tokio::time::timeout(SWITCH_WAIT, stream.peek(&mut start)).await;
    let start = peeked.ok().and_then(Result::ok).map_or(&[][..], |read| &start[..read]);
    [&b"POST /faults"[..], b"GET /faults"].iter().any(|switch| start.starts_with(switch))
}

impl Shared {
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
    if path == "/faults" {
        return Ok(switch(&shared, &head.method, &body));
    }
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

/// `GET` tells, `POST` switches: one plan or a list of plans.
fn switch(shared: &Shared, method: &Method, body: &[u8]) -> Response<Body> {
    if method == Method::POST {
        let read = serde_json::from_slice(body).map_err(|error| error.to_string());
        let plans: Result<Vec<Plan>, String> = read.and_then(|value| match &value {
            Value::Array(plans) => plans.iter().map(Plan::read).collect(),
            plan => Ok(vec![Plan::read(plan)?]),
        });
        match plans {
            Ok(plans) => *shared.running.lock() = plans.into_iter().map(Running::of).collect(),
            Err(error) => {
                let message = format!("the body is neither a plan nor a list of plans: {error}");
                let said =
                    json!({ "error": message, "example": example(), "to end all faults": {"mode": "none"} });
                return plain(StatusCode::BAD_REQUEST, said.to_string());
            }
        }
    }
    let plans: Vec<Plan> = shared.running.lock().iter().map(|running| running.plan.clone()).collect();
    let count = shared.count.load(Ordering::Relaxed);
    plain(StatusCode::OK, json!({ "plans": plans, "calls": count }).to_string())
}

fn example() -> [Plan; 2] {
    let half = Plan { share: 0.5, ..Plan::from(Fault::Status { status: 500 }) };
    let twice = Plan { times: Some(2), ..Plan::from(Fault::Stall { after_events: 3 }) };
    [half, twice]
}

fn plain(status: StatusCode, body: String) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
