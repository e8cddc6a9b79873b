//! Notices from a real outbox to peers that speak as each kind of receiver does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use mainstay_base::Secret;
use mainstay_store::{
    NoticeFilter,
    model::{Delivery, DeliveryState, Severity},
};
use mainstay_testkit::{HttpServer, http_server::whole, wait_until};
use mainstay_wire::notify::{Channel, Notice, What};

use super::{
    Receiver, Templates,
    tests::{Bench, LIMIT, START},
};
use crate::{alert, options::Options};

pub(super) fn receiver(name: &str, channel: Channel) -> Receiver {
    let (templates, trust) = (Templates::default(), None);
    Receiver { name: name.to_owned(), channel, min_severity: Severity::Info, templates, trust }
}

pub(super) async fn enqueue(bench: &Bench, receiver: &str, notice: &Notice) -> String {
    let made = alert::deliveries(notice, &[receiver.to_owned()]).remove(0);
    let id = made.id.clone();
    assert!(bench.store.outbox().enqueue(made).await.unwrap());
    id
}

pub(super) async fn until(bench: &Bench, id: &str, state: DeliveryState) -> Delivery {
    wait_until(&format!("{id} is {state:?}"), LIMIT, || async {
        let filter = NoticeFilter { id: Some(id.to_owned()), limit: 1, ..NoticeFilter::default() };
        let found = bench.store.outbox().notices(filter).await.unwrap().pop()?;
        let is_there =
            found.state == state && (state != DeliveryState::Pending || found.last_error.is_some());
        is_there.then_some(found)
    })
    .await
}

/// As each vendor answers when it has taken a notice.
fn taken(path: &str) -> (u16, &'static str) {
    match path {
        path if path.starts_with("/v2/enqueue") => {
            (202, r#"{"status":"success","message":"Event processed"}"#)
        }
        path if path.starts_with("/v2/alerts") => (202, r#"{"result":"Request will be processed"}"#),
        path if path.starts_with("/feishu") => (200, r#"{"code":0,"msg":"success"}"#),
        path if path.starts_with("/dingtalk") || path.starts_with("/wecom") => (200, r#"{"errcode":0}"#),
        path if path.starts_with("/bot") => (200, r#"{"ok":true,"result":{}}"#),
        _ => (200, "ok"),
    }
}

fn channels(url: &str) -> Vec<Channel> {
    let hidden = |path: &str| Secret::new(format!("{url}{path}"));
    let word = |text: &str| Some(Secret::new(text));
    vec![
        Channel::Webhook { url: hidden("/hook"), secret: word("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") },
        Channel::Slack { url: hidden("/slack/SECRET-PATH") },
        Channel::Teams { url: hidden("/teams/SECRET-PATH?sig=x") },
        Channel::Pagerduty { url: url.to_owned(), routing_key: Secret::new("SECRET-KEY") },
        Channel::Opsgenie { url: url.to_owned(), api_key: Secret::new("SECRET-KEY") },
        Channel::Feishu { url: hidden("/feishu/SECRET-PATH"), secret: word("SECRET-KEY") },
        Channel::Dingtalk { url: hidden("/dingtalk?access_token=SECRET-PATH"), secret: word("SECRET-KEY") },
        Channel::Wecom { url: hidden("/wecom?key=SECRET-PATH") },
        Channel::Telegram {
            url: url.to_owned(),
            token: Secret::new("1:SECRET-KEY"),
            chat: "-1".to_owned(),
            topic: None,
        },
        Channel::Alertmanager { url: url.to_owned(), token: None },
    ]
}

#[tokio::test]
async fn every_kind_is_told_and_what_it_answers_decides() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = HttpServer::start(move |request: Request<Bytes>| {
        // A server that repeats in its error all that it was told.
        let said = format!("{} {:?} {:?}", request.uri(), request.headers(), request.body());
        let (status, body) = taken(request.uri().path());
        let is_down = down.load(Ordering::SeqCst);
        async move { if is_down { whole(500, "text/plain", said) } else { whole(status, "text/plain", body) } }
    })
    .await;
    let channels = channels(&server.url());
    let names: Vec<&str> = channels.iter().map(|channel| channel.kind().as_str()).collect();
    let receivers = channels.iter().map(|channel| receiver(channel.kind().as_str(), channel.clone()));
    let options = Options { receivers: receivers.collect(), ..Options::new("test", "here") };
    let bench = Bench::start(1, options).await;
    let mut ids = Vec::new();
    for name in &names {
        ids.push(enqueue(&bench, name, &Notice::sample(What::Firing, START)).await);
    }
    for id in &ids {
        let failed = until(&bench, id, DeliveryState::Pending).await;
        let error = failed.last_error.unwrap();
        assert!(error.contains("500") && !error.contains("SECRET"), "{error}");
        assert!(failed.next_at.unwrap().since(START) <= Duration::from_secs(3), "it is tried again soon");
    }
    is_down.store(false, Ordering::SeqCst);
    bench.clock.advance(Duration::from_secs(5));
    for id in &ids {
        assert_eq!(until(&bench, id, DeliveryState::Delivered).await.attempts, 2, "{id}");
    }
    assert_eq!(server.requests().len(), 2 * names.len());
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_rests_and_no_other_does() {
    let busy = HttpServer::start(|_| async {
        whole(429, "application/json", r#"{"ok":false,"parameters":{"retry_after":600}}"#)
    })
    .await;
    let quick = HttpServer::start(|_| async { whole(200, "text/plain", "ok") }).await;
    let token = Secret::new("1:T");
    let telegram = Channel::Telegram { url: busy.url(), token, chat: "-1".to_owned(), topic: None };
    let receivers = vec![receiver("busy", telegram), Receiver::webhook("quick", &quick.url(), None)];
    let bench = Bench::start(1, Options { receivers, ..Options::new("test", "here") }).await;
    let notice = |key: &str| Notice { key: key.to_owned(), ..Notice::sample(What::Firing, START) };
    let first = enqueue(&bench, "busy", &notice("a")).await;
    let rests = until(&bench, &first, DeliveryState::Pending).await;
    assert_eq!(rests.next_at, Some(START + Duration::from_secs(600)));
    let second = enqueue(&bench, "busy", &notice("b")).await;
    let other = enqueue(&bench, "quick", &notice("b")).await;
    until(&bench, &other, DeliveryState::Delivered).await;
    let waits = until(&bench, &second, DeliveryState::Pending).await;
    let error = waits.last_error.unwrap();
    assert!(error.contains("wants none now: answered 429"), "what it said is not forgotten: {error}");
    assert_eq!(busy.requests().len(), 1, "it was asked for ten minutes");
    let test = enqueue(&bench, "busy", &notice("test-1")).await;
    until(&bench, &test, DeliveryState::Failed).await;
    assert_eq!(busy.requests().len(), 2, "whoever tries it out wants to know");
    bench.clock.advance(Duration::from_secs(601));
    until(&bench, &second, DeliveryState::Pending).await;
}

// A trigger that comes after its resolve would leave an incident open for ever.
#[tokio::test]
async fn an_end_replaces_what_was_not_delivered_and_never_comes_before_it() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = HttpServer::start(move |_: Request<Bytes>| {
        let status = if down.load(Ordering::SeqCst) { 503 } else { 200 };
        async move { whole(status, "text/plain", "") }
    })
    .await;
    let receivers = vec![Receiver::webhook("pager", &server.url(), None)];
    let bench = Bench::start(1, Options { receivers, ..Options::new("test", "here") }).await;
    let firing = enqueue(&bench, "pager", &Notice::sample(What::Firing, START)).await;
    until(&bench, &firing, DeliveryState::Pending).await;
    let end = Notice { number: 2, ..Notice::sample(What::Resolved, START) };
    is_down.store(false, Ordering::SeqCst);
    let resolved = enqueue(&bench, "pager", &end).await;
    until(&bench, &resolved, DeliveryState::Delivered).await;
    until(&bench, &firing, DeliveryState::Superseded).await;
    bench.clock.advance(Duration::from_secs(3600));
    let later = Notice { key: "other".to_owned(), ..Notice::sample(What::Firing, START) };
    let later = enqueue(&bench, "pager", &later).await;
    until(&bench, &later, DeliveryState::Delivered).await;
    let bodies = server.requests();
    let types: Vec<String> = bodies
        .iter()
        .map(|request| {
            serde_json::from_slice::<serde_json::Value>(request.body()).unwrap()["type"].to_string()
        })
        .collect();
    assert_eq!(types, ["\"alert.firing\"", "\"alert.resolved\"", "\"alert.firing\""]);
}

#[tokio::test]
async fn a_receiver_that_hangs_with_many_notices_holds_up_no_other() {
    let hangs = HttpServer::start(|_| async { std::future::pending().await }).await;
    let quick = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let receivers =
        vec![Receiver::webhook("hangs", &hangs.url(), None), Receiver::webhook("quick", &quick.url(), None)];
    let bench = Bench::start(1, Options { receivers, ..Options::new("test", "here") }).await;
    for number in 0..300 {
        let notice = Notice { key: format!("k-{number}"), ..Notice::sample(What::Firing, START) };
        enqueue(&bench, "hangs", &notice).await;
    }
    let id = enqueue(&bench, "quick", &Notice::sample(What::Firing, START)).await;
    until(&bench, &id, DeliveryState::Delivered).await;
}

#[tokio::test]
async fn a_test_is_tried_once() {
    let server = HttpServer::start(|_| async { whole(404, "text/plain", "no_service") }).await;
    let receivers = vec![receiver("chat", Channel::Slack { url: Secret::new(server.url()) })];
    let bench = Bench::start(1, Options { receivers, ..Options::new("test", "here") }).await;
    let test = Notice { key: "test-1".to_owned(), ..Notice::sample(What::Test, START) };
    let id = enqueue(&bench, "chat", &test).await;
    let failed = until(&bench, &id, DeliveryState::Failed).await;
    assert_eq!(failed.last_error.as_deref(), Some("answered 404: no_service"));
    assert_eq!(bench.store.outbox().waiting().await.unwrap(), [], "whoever asked for it knows");
}

// A webhook has its id; whoever reads a chat has only what is written there.
#[tokio::test]
async fn what_may_have_arrived_is_marked_as_a_repeat_where_nobody_could_tell() {
    let turn = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let turns = turn.clone();
    let server = HttpServer::start(move |request: Request<Bytes>| {
        let turn = match request.uri().path() {
            "/chat" => turns.fetch_add(1, Ordering::SeqCst),
            _ => 1,
        };
        async move {
            match turn {
                // Taken, and nothing is heard of it.
                0 => std::future::pending().await,
                2 => whole(503, "text/plain", "not taken"),
                _ => whole(200, "text/plain", "ok"),
            }
        }
    })
    .await;
    let url = |path: &str| Secret::new(format!("{}{path}", server.url()));
    let chat = receiver("chat", Channel::Slack { url: url("/chat") });
    let bench = Bench::start(1, Options { receivers: vec![chat], ..Options::new("test", "here") }).await;
    let texts = || {
        let bodies = server.requests().into_iter().map(|request| {
            let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
            body["text"].as_str().unwrap().starts_with("(may be a repeat) [page]")
        });
        Vec::from_iter(bodies)
    };
    for (key, expected) in [("lost", vec![false, true]), ("not taken", vec![false, true, false, false])] {
        let notice = Notice { key: key.to_owned(), ..Notice::sample(What::Firing, START) };
        let id = enqueue(&bench, "chat", &notice).await;
        until(&bench, &id, DeliveryState::Pending).await;
        bench.clock.advance(Duration::from_secs(5));
        let told = until(&bench, &id, DeliveryState::Delivered).await;
        assert_eq!((texts(), told.may_repeat), (expected, key == "lost"), "{key}");
    }
}
