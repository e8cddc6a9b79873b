//! Hostile providers that repeat the key they were called with, in every place where words can stand. It is found nowhere: not
//! in what callers get, not in records, standings and logs.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use mainstay_base::{
    Secret,
    snapshot::{Dialect, Provider, ProviderKey, ProviderSecret},
};
use mainstay_testkit::{HttpServer, Reply};
use parking_lot::Mutex;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record as Values},
};

use crate::{
    call::{self, policy, setup, target},
    rig::Setup,
};

/// None of them looks like a key of a provider that one knows.
const TOKEN: &str = "unlike+any/known_key~7741";
const AWS_SECRET: &str = "neither+is/this=secret8842";
const AWS_SESSION: &str = "nor=is+this/session9953";

/// All that any part of the program logs while these tests run.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().push_str(&format!("{field}={value:?}\n"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Values<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    // Whoever was faster keeps it: then there is nothing to look through, and the other tests saw nothing either.
    let _ = tracing::subscriber::set_global_default(log.clone());
    log
});

/// What a hostile provider answers to a request with this credential.
struct Hostile {
    name: &'static str,
    answer: fn(&str) -> Reply,
}

fn reply(status: u16, kind: &str, body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("content-type", kind).body(body).unwrap()
}

fn with_header(mut reply: Reply, name: &'static str, value: &str) -> Reply {
    reply.headers_mut().insert(name, value.parse().unwrap());
    reply
}

const CONTENT: &str = r#"data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}"#;

fn hostile() -> Vec<Hostile> {
    type Answers = fn(&str) -> Reply;
    let all: [(&'static str, Answers); 14] = [
        ("401 in words", |key| reply(401, "text/plain", format!("no such key: {key}"))),
        ("401 in JSON", |key| {
            reply(401, "application/json", format!(r#"{{"error":{{"message":"Incorrect key {key}"}}}}"#))
        }),
        ("401 as a code", |key| {
            reply(
                401,
                "application/json",
                format!(r#"{{"error":{{"code":"{key}","message":"no","param":"{key}"}}}}"#),
            )
        }),
        ("a caller's mistake", |key| {
            reply(
                400,
                "application/json",
                format!(r#"{{"error":{{"message":"you sent {key}","code":"{key}"}}}}"#),
            )
        }),
        ("a mistake with a param", |key| {
            let error = format!(r#"{{"error":{{"message":"no","param":"{key}","type":"{key}"}}}}"#);
            reply(422, "application/json", error)
        }),
        ("too long", |key| {
            let error = format!(r#"{{"error":{{"code":"context_length_exceeded","message":"{key}"}}}}"#);
            reply(400, "application/json", error)
        }),
        ("500 as a page", |key| reply(500, "text/html", format!("<html><title>{key}</title></html>"))),
        ("200 with an error", |key| {
            reply(
                200,
                "application/json",
                format!(r#"{{"error":{{"message":"you are {key}","code":"{key}"}}}}"#),
            )
        }),
        ("200 that is no JSON", |key| reply(200, "application/json", format!("{{\"choices\": {key}"))),
        ("an error as the first event", |key| {
            let event = format!("data: {{\"error\":{{\"message\":\"{key}\",\"code\":\"{key}\"}}}}\n\n");
            reply(200, "text/event-stream", event)
        }),
        ("an error after content", |key| {
            let event =
                format!("{CONTENT}\n\ndata: {{\"error\":{{\"message\":\"{key}\",\"code\":\"{key}\"}}}}\n\n");
            reply(200, "text/event-stream", event)
        }),
        ("a redirect", |key| {
            with_header(
                reply(302, "text/plain", key.to_owned()),
                "location",
                &format!("https://example.com/?key={key}"),
            )
        }),
        ("headers", |key| {
            let reply = with_header(reply(429, "text/plain", ""), "retry-after", key);
            with_header(with_header(reply, "x-request-id", key), "x-ratelimit-remaining-requests", key)
        }),
        ("the kind of a body", |key| {
            let kind = format!("application/json; key=\"{key}\"");
            let reply = reply(200, &kind, format!(r#"{{"error":{{"type":"{key}"}}}}"#));
            with_header(reply, "content-disposition", &format!("attachment; filename=\"{key}\""))
        }),
    ];
    all.into_iter().map(|(name, answer)| Hostile { name, answer }).collect()
}

/// The credential that came: what a peer repeats. Of a signature it repeats the secrets that it could not even have.
fn credential(request: &Request<Bytes>) -> String {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    match header("x-amz-security-token") {
        Some(session) => format!("{AWS_SECRET} {session}"),
        None => header("x-api-key").unwrap_or(header("authorization").unwrap_or_default()).to_owned(),
    }
}

fn dialects() -> Vec<(Dialect, ProviderSecret)> {
    let token = || ProviderSecret::Token(Secret::new(TOKEN));
    let aws = ProviderSecret::Aws {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new(AWS_SECRET),
        session_token: Some(Secret::new(AWS_SESSION)),
    };
    vec![
        (Dialect::OpenAi, token()),
        (Dialect::Anthropic, token()),
        (Dialect::Bedrock { region: "eu-central-1".to_owned() }, aws),
    ]
}

fn assert_no_key(text: &str, cell: &str) {
    for key in [TOKEN, AWS_SECRET, AWS_SESSION] {
        // A word that nobody writes by chance would give it away as well.
        for part in [key, &key[..16], &key[key.len() - 12..]] {
            assert!(!text.contains(part), "{cell}: {part} in {text}");
        }
    }
}

#[tokio::test]
async fn a_key_that_a_provider_repeats_is_found_nowhere() {
    let log = LOG.clone();
    let mut seen = 0;
    for Hostile { name, answer } in hostile() {
        for (dialect, secret) in dialects() {
            for stream in [false, true] {
                let peer =
                    HttpServer::start(move |request| async move { answer(&credential(&request)) }).await;
                let known = Provider {
                    name: "hostile".to_owned(),
                    dialect: dialect.clone(),
                    base_url: peer.url(),
                    keys: vec![ProviderKey { name: "k".to_owned(), secret: secret.clone() }],
                    ..call::provider("hostile", &call::faulty().await, 0)
                };
                let setup: Setup = setup(vec![target(known)], policy());
                let cell = format!("{name} {dialect:?} stream {stream}");
                assert_no_key(&format!("{:?}", setup.snapshot), &cell);
                let mut rig = setup.start().await;
                let request = rig.model_request(Method::POST, call::CHAT, call::body(stream));
                let got = rig.got(request).await;
                let record = rig.record().await;
                let sent = peer.requests();
                assert!(sent.iter().all(|request| !credential(request).is_empty()), "{cell}: it had the key");
                seen += sent.len();
                assert_no_key(&format!("{got:?}"), &cell);
                let json = serde_json::to_string(&record).unwrap();
                assert_no_key(&format!("{record:?} {json}"), &cell);
                let standing = serde_json::to_string(&rig.gateway.standing()).unwrap();
                assert_no_key(&standing, &cell);
                // Names stand there instead of keys.
                assert!(standing.contains("\"key\":\"k\"") && record.attempts[0].key.as_deref() == Some("k"));
            }
        }
    }
    assert!(seen >= 14 * 3 * 2);
    assert_no_key(&log.0.lock(), "the log");
}

/// A body that is passed on as it comes: what describes it comes from the provider too.
#[tokio::test]
async fn a_head_that_repeats_the_key_is_not_passed_on() {
    let answer = r#"{"object":"list","data":[{"embedding":[0.5],"index":0}],"usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let peer = HttpServer::start(move |request| async move {
        let key = credential(&request);
        let reply = reply(200, &format!("application/json; key=\"{key}\""), answer);
        with_header(reply, "content-disposition", &format!("attachment; filename=\"{key}\""))
    })
    .await;
    let keys = vec![ProviderKey::token("k", Secret::new(TOKEN))];
    let known =
        Provider { base_url: peer.url(), keys, ..call::provider("hostile", &call::faulty().await, 0) };
    let rig = setup(vec![target(known)], policy()).start().await;
    let body = r#"{"model":"small","input":"hi"}"#;
    let got = rig.got(rig.model_request(Method::POST, "/v1/embeddings", body)).await;
    assert_eq!((got.status, got.text()), (200, answer));
    assert_eq!(got.headers["content-type"], "application/json");
    assert_no_key(&format!("{got:?}"), "the head");
}
