//! A standby over a temporary SQLite store, a fake model and the recorded apps.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use mainstay_base::{Clock, Secret, TraceParent, id, snapshot::Timeouts};
use mainstay_engine::{Engine, Limits, ModelEndpoint, Ports as EnginePorts};
use mainstay_net::{AddressRule, Client, ClientOptions, collect};
use mainstay_standby::{
    Options, Ports, ServiceCall, Standby, Upstream,
    apps::{AppFile, Imported},
};
use mainstay_store::{Options as StoreOptions, Store};
use mainstay_testkit::HttpServer;
use serde_json::Value;

pub(crate) const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

pub(crate) struct Stage {
    pub(crate) standby: Standby,
    pub(crate) store: Store,
    /// Answers as long as it is held.
    _model: HttpServer,
    pub(crate) apps: HashMap<String, Imported>,
    _folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of each `data:` frame.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let frames = text.split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
        frames.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Stage {
    /// All apps of `fixtures/dsl`.
    pub(crate) async fn new() -> Stage {
        Stage::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Options)) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("mainstay.db").display());
        let options = StoreOptions { url, clock: Clock::System };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let model = mainstay_testkit::model::start().await;
        let client = Client::new(ClientOptions::default()).unwrap();
        let engine = Engine::new(EnginePorts {
            client: client.clone(),
            model: ModelEndpoint { base_url: format!("{}/v1", model.url()), key: Secret::new("model-key") },
            http_rule: AddressRule::Any,
            limits: Limits::default(),
            clock: Clock::System,
        });
        let mut options = Options { author_name: "admin".to_owned(), ..Options::default() };
        change(&mut options);
        let ports = Ports { store: store.clone(), engine, client, clock: Clock::System };
        let standby = Standby::new(ports, options);
        let names = ["wf-plain", "wf-llm", "wf-http", "cf-llm", "wf-form"];
        let files = names.map(|name| AppFile { path: format!("{name}.yml"), text: dsl(name) });
        let imported = standby.import(files.into()).await.unwrap();
        let apps = names.map(str::to_owned).into_iter().zip(imported).collect();
        Stage { standby, store, apps, _model: model, _folder: folder }
    }

    pub(crate) fn app_id(&self, name: &str) -> String {
        self.apps[name].app.id.clone()
    }

    pub(crate) async fn get(&self, app: &str, target: &str) -> Answer {
        self.send(app, Method::GET, target, None, Bytes::new()).await
    }

    pub(crate) async fn post(&self, app: &str, target: &str, body: &Value) -> Answer {
        let body = Bytes::from(body.to_string());
        self.send(app, Method::POST, target, Some("application/json"), body).await
    }

    pub(crate) async fn send(
        &self,
        app: &str,
        method: Method,
        target: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> Answer {
        let call = self.call(app, method, target, content_type, body);
        answer(self.standby.call(call).await).await
    }

    pub(crate) fn call(
        &self,
        app: &str,
        method: Method,
        target: &str,
        content_type: Option<&str>,
        body: Bytes,
    ) -> ServiceCall {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut headers = HeaderMap::new();
        if let Some(kind) = content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
        }
        ServiceCall {
            app_id: self.app_id(app),
            method,
            path: path.to_owned(),
            query,
            headers,
            body,
            request_id: id::new(),
            trace: TraceParent::new_root(),
        }
    }

    /// How many runs, conversations and messages the store holds.
    pub(crate) async fn stored_runs(&self) -> usize {
        self.store.runs().list(Default::default()).await.unwrap().len()
    }
}

pub(crate) async fn answer(response: http::Response<mainstay_net::Body>) -> Answer {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(Duration::from_secs(30), collect(body, ANSWER_LIMIT)).await;
    Answer { status: head.status, headers: head.headers, body: body.unwrap().unwrap() }
}

pub(crate) fn dsl(name: &str) -> String {
    let path = format!("{}/tests/fixtures/dsl/{name}.yml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Timeouts short enough for a test.
pub(crate) fn upstream(base_url: String) -> Upstream {
    let timeouts = Timeouts {
        connect: Duration::from_secs(2),
        first_byte: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        total: Duration::from_secs(20),
    };
    Upstream { base_url, timeouts }
}
