//! Where the demo's callbacks arrive: counts each run's deliveries and verifies their signatures. And where its people are
//! paged.

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use mainstay_base::{Clock, Secret};
use mainstay_wire::webhook::{self, Headers, Key};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Runs that are remembered: hours of a demo's traffic. Beyond it, arrivals are still verified and counted.
const MAX_REMEMBERED: usize = 1_000_000;
/// Notices that are remembered; later ones are taken and forgotten.
const MAX_NOTICES: usize = 10_000;

/// What arrived for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) deliveries: u32,
    /// More than one webhook id means that a run was reported as two results.
    pub(crate) ids: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Seen {
    runs: HashMap<String, Arrived>,
    verified: u64,
    rejected: u64,
    /// Who was told, of which component, what.
    notices: Vec<[String; 3]>,
}

/// A running receiver.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    /// People are paged at `/NAME` below it.
    pub(crate) pagers: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Clone)]
struct Verifying {
    key: Key,
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    pub(crate) async fn start(
        secret: &Secret,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> anyhow::Result<Receiver> {
        let key = Key::parse(secret.expose())?;
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let verifying = Verifying { key, clock, seen: Arc::clone(&seen) };
        let router = Router::new()
            .route("/callback", post(receive))
            .route("/pager/{name}", post(page))
            .with_state(verifying);
        tasks.spawn(async move {
            let _ = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
        });
        let [url, pagers] = ["callback", "pager"].map(|path| format!("http://{address}/{path}"));
        Ok(Receiver { address, url, pagers, seen })
    }

    /// What somebody was told of a component, in order, as `alert.firing`.
    pub(crate) fn pager(&self, name: &str, component: &str) -> Vec<String> {
        let seen = self.seen.lock();
        let theirs = seen.notices.iter().filter(|[who, about, _]| who == name && about == component);
        theirs.map(|[_, _, what]| what.clone()).collect()
    }

    pub(crate) fn arrived(&self, run_id: &str) -> Option<Arrived> {
        self.seen.lock().runs.get(run_id).cloned()
    }

    /// Deliveries with a good signature, and those without.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let seen = self.seen.lock();
        (seen.verified, seen.rejected)
    }
}

async fn receive(State(verifying): State<Verifying>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = Headers {
        id: header(webhook::HEADER_ID),
        timestamp: header(webhook::HEADER_TIMESTAMP),
        signature: header(webhook::HEADER_SIGNATURE),
    };
    let now_seconds = verifying.clock.now().unix_seconds();
    let verified = verifying.key.verify(signed, &body, now_seconds).is_ok();
    let run_id = run_id(&body).filter(|_| verified);
    let mut seen = verifying.seen.lock();
    let Some(run_id) = run_id else {
        seen.rejected += 1;
        return StatusCode::BAD_REQUEST;
    };
    seen.verified += 1;
    if seen.runs.len() < MAX_REMEMBERED || seen.runs.contains_key(&run_id) {
        let arrived = seen.runs.entry(run_id).or_default();
        arrived.deliveries += 1;
        arrived.ids.insert(signed.id.to_owned());
    }
    StatusCode::NO_CONTENT
}

async fn page(State(verifying): State<Verifying>, Path(name): Path<String>, body: Bytes) -> StatusCode {
    let Ok(notice) = serde_json::from_slice::<Value>(&body) else { return StatusCode::BAD_REQUEST };
    let text = |pointer: &str| notice.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut seen = verifying.seen.lock();
    if seen.notices.len() < MAX_NOTICES {
        seen.notices.push([name, text("/data/component"), text("/type")]);
    }
    StatusCode::NO_CONTENT
}

/// Which run a callback is about.
fn run_id(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let places = ["/workflow_run_id", "/data/workflow_run_id", "/data/id", "/run_id"];
    places.iter().find_map(|place| body.pointer(place)?.as_str()).map(str::to_owned)
}
