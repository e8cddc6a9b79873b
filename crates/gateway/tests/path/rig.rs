//! A gateway with its two listeners, a routing table made for the test, and callers from tame to raw.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use mainstay_base::{
    AppMode, Clock, Record, Secret, Snapshot,
    id::KeyHash,
    snapshot::{
        AppRoute, Dialect, LogicalModel, ModelKey, ModelTarget, Provider, ProviderKey, Target, Timeouts,
        Upstream,
    },
};
use mainstay_gateway::{
    Allowance, BoxFuture, Durable, Embedded, EmbeddedCall, Gateway, Limits, ListenLimits, Ports,
    RecordReceiver, Submission, listen, records,
};
use mainstay_net::{AddressRule, Body, Client, ClientOptions};
use mainstay_testkit::{HttpServer, http_server::streamed};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

pub(crate) const APP_KEY: &str = "app-KNOWN";
pub(crate) const MODEL_KEY: &str = "vk-KNOWN";
/// Longer than anything here takes; a test that reaches it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Rig {
    pub(crate) gateway: Gateway,
    pub(crate) app: SocketAddr,
    pub(crate) model: SocketAddr,
    pub(crate) records: RecordReceiver,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) shutdown: CancellationToken,
    client: Client,
}

/// What a test varies.
pub(crate) struct Setup {
    pub(crate) snapshot: Snapshot,
    pub(crate) embedded: Option<Arc<dyn Embedded>>,
    pub(crate) durable: Option<Arc<dyn Durable>>,
    pub(crate) allowance: Option<Arc<dyn Allowance>>,
    pub(crate) limits: Limits,
    pub(crate) listen: ListenLimits,
    pub(crate) records: usize,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            snapshot: Snapshot::default(),
            embedded: None,
            durable: None,
            allowance: None,
            limits: Limits::default(),
            listen: ListenLimits { shutdown_grace: Duration::from_millis(200), ..ListenLimits::default() },
            records: records::QUEUE,
        }
    }
}

impl Setup {
    /// One app of which these answer.
    pub(crate) fn app(candidates: Vec<Arc<Upstream>>) -> Setup {
        let mut setup = Setup::default();
        setup.snapshot.app.keys.insert(KeyHash::of(APP_KEY), route(candidates, false));
        setup
    }

    pub(crate) fn durable_app(candidates: Vec<Arc<Upstream>>, durable: Arc<dyn Durable>) -> Setup {
        let mut setup = Setup { durable: Some(durable), ..Setup::default() };
        setup.snapshot.app.keys.insert(KeyHash::of(APP_KEY), route(candidates, true));
        setup
    }

    /// One model `small`, served by these as `real-small`.
    pub(crate) fn model(providers: &[Arc<Provider>]) -> Setup {
        let mut setup = Setup::default();
        let routes = &mut setup.snapshot.model;
        routes.keys.insert(KeyHash::of(MODEL_KEY), Arc::new(ModelKey::named("engine")));
        let targets =
            providers.iter().map(|provider| ModelTarget::new(provider.clone(), "real-small")).collect();
        routes.models.insert("small".to_owned(), Arc::new(LogicalModel::ordered("small", targets)));
        setup
    }

    pub(crate) async fn start(self) -> Rig {
        let (sender, records) = records::channel(self.records);
        let client = Client::new(ClientOptions::default()).expect("a client");
        let snapshot = Arc::new(ArcSwap::from_pointee(self.snapshot));
        let gateway = Gateway::new(Ports {
            snapshot: snapshot.clone(),
            client: client.clone(),
            embedded: self.embedded,
            durable: self.durable,
            allowance: self.allowance,
            records: sender,
            clock: Clock::System,
            limits: self.limits,
        });
        let shutdown = CancellationToken::new();
        let app = bind().await;
        let model = bind().await;
        let addresses = (app.local_addr().unwrap(), model.local_addr().unwrap());
        let on_app = gateway.clone();
        tokio::spawn(listen(
            app,
            move |request, peer| {
                let gateway = on_app.clone();
                async move { gateway.app(request, Some(peer.ip())).await }
            },
            shutdown.clone(),
            watch::channel(self.listen).1,
        ));
        let on_model = gateway.clone();
        tokio::spawn(listen(
            model,
            move |request, _peer| {
                let gateway = on_model.clone();
                async move { gateway.model(request).await }
            },
            shutdown.clone(),
            watch::channel(self.listen).1,
        ));
        Rig { gateway, app: addresses.0, model: addresses.1, records, snapshot, shutdown, client }
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) fn route(candidates: Vec<Arc<Upstream>>, durable: bool) -> Arc<AppRoute> {
    Arc::new(AppRoute {
        app_id: "0193f1c0-0000-7000-8000-000000000001".to_owned(),
        name: "orders".to_owned(),
        mode: AppMode::Workflow,
        candidates,
        durable,
        idempotent: false,
        standby: None,
        callbacks: true,
    })
}

pub(crate) fn upstream(name: &str, base_url: &str) -> Arc<Upstream> {
    let target = Target::Http { base_url: base_url.to_owned() };
    Arc::new(Upstream { name: name.to_owned(), target, timeouts: short() })
}

pub(crate) fn embedded() -> Arc<Upstream> {
    Arc::new(Upstream { name: "embedded".to_owned(), target: Target::Embedded, timeouts: short() })
}

pub(crate) fn provider(name: &str, base_url: &str) -> Arc<Provider> {
    let (name, base_url) = (name.to_owned(), format!("{base_url}/v1"));
    let keys = vec![ProviderKey::token("first", Secret::new(format!("sk-{name}")))];
    let dialect = Dialect::OpenAi;
    Arc::new(Provider {
        name,
        dialect,
        base_url,
        keys,
        timeouts: short(),
        first_token: Duration::from_secs(5),
        speaks_responses: true,
    })
}

pub(crate) fn short() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        total: Duration::from_secs(30),
    }
}

/// A port at which nobody listens.
pub(crate) async fn nobody() -> String {
    format!("http://{}", bind().await.local_addr().unwrap())
}

/// A peer that streams these bytes and then cuts the connection.
pub(crate) async fn cut_after(bytes: &'static [u8]) -> HttpServer {
    HttpServer::start(move |_| async move {
        let cut = stream::once(async {
            // One turn in which the server sends what it has: it drops what is unsent when it cuts.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut on purpose"))
        });
        streamed(200, "text/event-stream", stream::iter([Ok(Bytes::from_static(bytes))]).chain(cut))
    })
    .await
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Rig {
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        let timeouts = Timeouts { first_byte: PATIENCE, idle: PATIENCE, ..short() };
        self.client.send(request, &timeouts, AddressRule::Any).await.expect("the gateway answers")
    }

    pub(crate) async fn got(&self, request: Request<Body>) -> Got {
        let (head, body) = self.send(request).await.into_parts();
        let body = mainstay_net::collect(body, 64 << 20).await.expect("a whole body");
        Got { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// A run with the known key.
    pub(crate) async fn run(&self, body: &'static str) -> Got {
        self.got(self.app_request(Method::POST, "/v1/workflows/run", body)).await
    }

    pub(crate) fn app_request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        request(self.app, method, path, APP_KEY, body.into())
    }

    pub(crate) fn model_request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
        request(self.model, method, path, MODEL_KEY, body.into())
    }

    /// The next record.
    pub(crate) async fn record(&mut self) -> Record {
        tokio::time::timeout(PATIENCE, self.records.recv())
            .await
            .expect("a record in time")
            .expect("a record")
    }

    /// The one record, checked to be the only one and to leave no permit out.
    pub(crate) async fn only_record(&mut self) -> Record {
        let record = self.record().await;
        assert!(self.records.try_recv().is_none(), "a second record");
        self.nothing_is_out().await;
        record
    }

    pub(crate) async fn nothing_is_out(&self) {
        mainstay_testkit::wait_until("every permit came back", PATIENCE, || async {
            let stats = self.gateway.stats();
            (stats.in_flight == 0 && stats.admitted == stats.settled + stats.settled_early).then_some(())
        })
        .await;
    }

    /// Writes raw bytes to the app listener.
    pub(crate) async fn raw(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.app).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// A streaming run, as raw bytes.
    pub(crate) async fn raw_run(&self) -> TcpStream {
        let body = "{\"inputs\":{},\"response_mode\":\"streaming\",\"user\":\"u\"}";
        let length = body.len();
        self.raw(&format!(
            "POST /v1/workflows/run HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {APP_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

fn request(to: SocketAddr, method: Method, path: &str, key: &str, body: Bytes) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://{to}{path}"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(mainstay_net::full(body))
        .unwrap()
}

/// Reads until `done` says so of what came, or the peer closes.
pub(crate) async fn read_until(stream: &mut TcpStream, done: impl Fn(&str) -> bool) -> String {
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while !done(&String::from_utf8_lossy(&bytes)) {
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                break;
            }
        }
    })
    .await
    .expect("the bytes came in time");
    String::from_utf8(bytes).unwrap()
}

/// An embedded engine made of one function; remembers what it was asked.
pub(crate) struct FakeEngine<F> {
    pub(crate) calls: Mutex<Vec<EmbeddedCall>>,
    answer: F,
}

impl<F> FakeEngine<F> {
    pub(crate) fn new(answer: F) -> Arc<FakeEngine<F>> {
        Arc::new(FakeEngine { calls: Mutex::default(), answer })
    }
}

impl<F> Embedded for FakeEngine<F>
where
    F: Fn() -> Response<Body> + Send + Sync + Clone + 'static,
{
    fn call(&self, call: EmbeddedCall) -> BoxFuture<'static, Response<Body>> {
        self.calls.lock().push(call);
        let answer = self.answer.clone();
        Box::pin(async move { answer() })
    }
}

/// Stored runs that remember what was submitted and know one run.
#[derive(Default)]
pub(crate) struct FakeRuns {
    pub(crate) submitted: Mutex<Vec<Submission>>,
}

impl Durable for FakeRuns {
    fn submit(&self, submission: Submission) -> BoxFuture<'static, Response<Body>> {
        self.submitted.lock().push(submission);
        Box::pin(async { json(202, "{\"workflow_run_id\":\"stored\",\"task_id\":\"t\"}") })
    }

    fn find(&self, _route: Arc<AppRoute>, run_id: String) -> BoxFuture<'static, Option<Response<Body>>> {
        Box::pin(async move { (run_id == "stored").then(|| json(200, "{\"id\":\"stored\"}")) })
    }
}

pub(crate) fn json(status: u16, body: &'static str) -> Response<Body> {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .body(mainstay_net::full(body))
        .unwrap()
}
