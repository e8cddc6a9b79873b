//! Streams of the model path over real sockets: what reaches a caller whatever its provider does.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request};
use http_body_util::BodyExt;
use mainstay_base::{
    Usd,
    id::KeyHash,
    snapshot::{CallPolicy, LogicalModel, ModelKey, ModelTarget, Price, Strategy},
};
use mainstay_net::Body;
use mainstay_testkit::{
    HttpServer, Reply,
    http_server::{streamed, whole},
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::rig::{MODEL_KEY, PATIENCE, Rig, Setup, provider};

mod continuing;
mod dify;
mod ends;
mod gone;
mod responses;
mod sharing;
mod window;

pub(crate) const OPENING: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
pub(crate) const STOP: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":30,\"completion_tokens\":10,\"total_tokens\":40}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

pub(crate) fn said(text: &str) -> String {
    let content = serde_json::to_string(text).unwrap();
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{content}}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// One thing a provider does in its stream.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Bytes),
    /// Waits until the test opens the gate.
    Gate,
    /// Breaks the connection.
    Cut,
    /// Says nothing more and stays.
    Silence,
}

pub(crate) fn send(text: impl Into<String>) -> Step {
    Step::Send(Bytes::from(text.into()))
}

/// What one call gets.
#[derive(Clone)]
pub(crate) enum Script {
    Stream(Vec<Step>),
    Document(&'static str, &'static str),
}

/// A provider that plays a script for each call; the last one again and again.
pub(crate) struct Player {
    pub(crate) server: HttpServer,
    pub(crate) gate: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
}

/// A stream that the provider still has under way.
struct Under(Arc<AtomicUsize>);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Player {
    pub(crate) async fn start(scripts: Vec<Script>) -> Player {
        let gate = Arc::new(Semaphore::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (for_calls, for_streams) = (gate.clone(), open.clone());
        let scripts = Mutex::new(scripts);
        let server = HttpServer::start(move |_| {
            let mut left = scripts.lock();
            let script = if left.len() > 1 { left.remove(0) } else { left[0].clone() };
            drop(left);
            let (gate, open) = (for_calls.clone(), for_streams.clone());
            async move { play(script, gate, open) }
        })
        .await;
        Player { server, gate, open }
    }

    pub(crate) async fn streaming(steps: Vec<Step>) -> Player {
        Player::start(vec![Script::Stream(steps)]).await
    }

    pub(crate) fn calls(&self) -> usize {
        self.server.requests().len()
    }

    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    /// Until every stream was read to its end or let go of.
    pub(crate) async fn nobody_listens(&self) {
        mainstay_testkit::wait_until("the provider's streams are over", PATIENCE, || async {
            (self.open.load(Ordering::SeqCst) == 0).then_some(())
        })
        .await;
    }
}

fn play(script: Script, gate: Arc<Semaphore>, open: Arc<AtomicUsize>) -> Reply {
    let steps = match script {
        Script::Document(content_type, body) => return whole(200, content_type, body),
        Script::Stream(steps) => steps,
    };
    open.fetch_add(1, Ordering::SeqCst);
    let state = (steps.into_iter(), gate, Under(open));
    let pieces = stream::unfold(state, |(mut steps, gate, under)| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => {
                    // One turn in which the server sends what it has: it drops what is unsent when it cuts.
                    tokio::task::yield_now().await;
                    return Some((Ok(bytes), (steps, gate, under)));
                }
                Step::Gate => gate.acquire().await.unwrap().forget(),
                Step::Cut => {
                    tokio::task::yield_now().await;
                    return Some((Err(std::io::Error::other("cut on purpose")), (steps, gate, under)));
                }
                Step::Silence => std::future::pending().await,
            }
        }
    });
    streamed(200, "text/event-stream", pieces)
}

/// One model `small` with these providers in order; a token costs one micro-dollar.
pub(crate) fn setup(players: &[&Player], policy: CallPolicy) -> Setup {
    let price = Price { input: Usd(1_000_000), output: Usd(1_000_000), cached_input: None };
    let targets = players.iter().enumerate().map(|(index, player)| {
        let provider = provider(&format!("p{index}"), &player.server.url());
        ModelTarget { price: Some(price), ..ModelTarget::new(provider, "real-small") }
    });
    let model = LogicalModel {
        name: "small".to_owned(),
        app: None,
        strategy: Strategy::Ordered,
        targets: targets.collect(),
        policy,
    };
    let mut setup = Setup::default();
    let routes = &mut setup.snapshot.model;
    routes.keys.insert(KeyHash::of(MODEL_KEY), Arc::new(ModelKey::named("engine")));
    routes.models.insert("small".to_owned(), Arc::new(model));
    setup
}

pub(crate) fn asking(rig: &Rig, more: &str) -> Request<Body> {
    let body = format!(
        "{{\"model\":\"small\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]{more}}}"
    );
    rig.model_request(Method::POST, "/v1/chat/completions", body)
}

pub(crate) const WITH_USAGE: &str = ",\"stream_options\":{\"include_usage\":true}";

/// The next piece of a body, as text.
pub(crate) async fn next(body: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("a piece in time")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

/// Reads until this text has come.
pub(crate) async fn read_to(body: &mut Body, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        read.push_str(&next(body).await.expect("the text before the end"));
    }
    read
}

/// The JSON of the last event.
pub(crate) fn last_event(text: &str) -> serde_json::Value {
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON: {last}"))
}
