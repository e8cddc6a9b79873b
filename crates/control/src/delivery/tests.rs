//! Deliveries from a real outbox to receivers that behave and that do not. The store's clock is moved by hand, so
//! that pauses of hours take no time; sockets live in real time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Request;
use mainstay_base::{Clock, Micros, snapshot::Timeouts};
use mainstay_net::{AddressRule, Client, ClientOptions};
use mainstay_store::{
    Store, StoreError,
    model::{Delivery, DeliveryKind, DeliveryState, NewDelivery},
};
use mainstay_testkit::{HttpServer, http_server::whole, raw::RawServer, raw::Step, wait_until};
use mainstay_wire::{
    notify::{Notice, What},
    webhook,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Deliverer, MAX_AGE, MAX_RETRY_AFTER, Next, PAUSES, Verdict, next, retry_after, verdict};
use crate::{
    options::{Options, Receiver},
    ports::CallbackBody,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const RUN: &str = "run-1";
pub(super) const LIMIT: Duration = Duration::from_secs(20);
pub(super) const START: Micros = Micros(1_800_000_000_000_000);

struct Bodies;

impl CallbackBody for Bodies {
    fn body(&self, run_id: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(
            async move { Ok((run_id == RUN).then(|| Bytes::from_static(b"{\"status\":\"succeeded\"}"))) },
        )
    }
}

pub(super) struct Bench {
    _folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) clock: Clock,
    shutdown: CancellationToken,
}

impl Bench {
    /// An outbox with `deliverers` readers of it.
    pub(super) async fn start(deliverers: usize, options: Options) -> Bench {
        Bench::start_with(deliverers, watch::channel(Arc::new(options)).1).await
    }

    pub(super) async fn start_with(deliverers: usize, options: watch::Receiver<Arc<Options>>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(START);
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store_options = mainstay_store::Options { url, clock: clock.clone() };
        Store::migrate(&store_options).await.unwrap();
        let store = Store::open(store_options).await.unwrap();
        let shutdown = CancellationToken::new();
        let short = Duration::from_millis(300);
        let timeouts = Timeouts { connect: LIMIT, first_byte: short, idle: short, total: LIMIT };
        for _ in 0..deliverers {
            let client = Client::new(ClientOptions::default()).unwrap();
            let deliverer =
                Deliverer::new(store.clone(), client, clock.clone(), Arc::new(Bodies), options.clone());
            tokio::spawn(deliverer.with_timeouts(timeouts).run(shutdown.clone()));
        }
        Bench { _folder: folder, store, clock, shutdown }
    }

    async fn enqueue(&self, id: &str, url: &str) {
        let delivery = NewDelivery {
            id: id.to_owned(),
            kind: DeliveryKind::Callback,
            run_id: Some(RUN.to_owned()),
            receiver: None,
            topic: None,
            replaces: false,
            url: url.to_owned(),
            payload: None,
        };
        assert!(self.store.outbox().enqueue(delivery).await.unwrap());
    }

    async fn delivery(&self, id: &str) -> Delivery {
        let all = self.store.outbox().list(RUN).await.unwrap();
        all.into_iter().find(|delivery| delivery.id == id).expect("a delivery")
    }

    /// The delivery once it has been tried `attempts` times and that try has ended.
    async fn after_attempts(&self, id: &str, attempts: i64) -> Delivery {
        wait_until(&format!("{id}: {attempts} attempts"), LIMIT, || async {
            let delivery = self.delivery(id).await;
            let has_ended = delivery.last_status.is_some() || delivery.last_error.is_some();
            // While a try is under way, the delivery is due again at the end of its lease.
            let leases = [60, 30].map(Duration::from_secs);
            let is_settled = delivery.next_at.is_none_or(|at| !leases.contains(&at.since(self.clock.now())));
            (delivery.attempts == attempts && has_ended && is_settled).then_some(delivery)
        })
        .await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn open_options() -> Options {
    Options { callback_rule: AddressRule::Any, ..Options::new("test", "here") }
}

#[tokio::test]
async fn a_callback_is_signed_and_a_receiver_that_fails_once_gets_the_same_id_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let server = HttpServer::start(move |_: Request<Bytes>| {
        let status = if counted.fetch_add(1, Ordering::SeqCst) == 0 { 503 } else { 204 };
        async move { whole(status, "text/plain", "") }
    })
    .await;
    let key = webhook::Key::parse(SECRET).unwrap();
    let bench = Bench::start(1, Options { callback_key: Some(key.clone()), ..open_options() }).await;
    bench.enqueue("hook-1", &server.url()).await;
    let failed = bench.after_attempts("hook-1", 1).await;
    assert_eq!((failed.state, failed.last_status), (DeliveryState::Pending, Some(503)));
    bench.clock.advance(Duration::from_secs(7));
    let delivered = bench.after_attempts("hook-1", 2).await;
    assert_eq!((delivered.state, delivered.next_at), (DeliveryState::Delivered, None));
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for (request, sent_at) in requests.iter().zip([START, START + Duration::from_secs(7)]) {
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("webhook-id"), "hook-1");
        let headers = webhook::Headers {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        };
        assert_eq!(key.verify(headers, request.body(), sent_at.unix_seconds()), Ok(()));
        assert_eq!(headers.timestamp, sent_at.unix_seconds().to_string(), "each try has its own time");
        assert_eq!(request.body().as_ref(), b"{\"status\":\"succeeded\"}");
    }
}

#[tokio::test]
async fn receivers_that_fail_are_tried_again_and_those_that_refuse_are_not() {
    let gone = HttpServer::start(|_| async { whole(410, "text/plain", "") }).await;
    let redirects = HttpServer::start(|_| async { whole(302, "text/plain", "") }).await;
    let hangs = RawServer::start(vec![Step::Hang]).await;
    let hangs_up = RawServer::start(vec![Step::Close]).await;
    let bench = Bench::start(1, open_options()).await;
    for (id, url, state, says) in [
        ("gone", gone.url(), DeliveryState::Failed, "410"),
        ("redirects", redirects.url(), DeliveryState::Pending, "redirects are not followed"),
        ("hangs", hangs.url(), DeliveryState::Pending, "first byte timeout"),
        ("hangs-up", hangs_up.url(), DeliveryState::Pending, "closed the connection"),
        ("nonsense", "not a url at all".to_owned(), DeliveryState::Failed, "cannot be called"),
        ("scheme", "ftp://127.0.0.1/".to_owned(), DeliveryState::Failed, "http or https"),
    ] {
        bench.enqueue(id, &url).await;
        let delivery = bench.after_attempts(id, 1).await;
        let error = delivery.last_error.unwrap_or_default();
        assert_eq!(delivery.state, state, "{id}: {error}");
        assert!(error.contains(says), "{id}: {error}");
    }
}

#[tokio::test]
async fn a_callback_never_reaches_a_private_address_unless_it_is_allowed() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let options = |rule| Options { callback_rule: rule, ..Options::new("test", "here") };
    let strict = Bench::start(1, options(AddressRule::default())).await;
    strict.enqueue("hook", &server.url()).await;
    let refused = strict.after_attempts("hook", 1).await;
    assert!(refused.last_error.unwrap().contains("address rule refuses"));
    assert!(server.requests().is_empty());

    let allowed = AddressRule::public_only([server.address.to_string().parse().unwrap()]);
    let lenient = Bench::start(1, options(allowed)).await;
    lenient.enqueue("hook", &server.url()).await;
    assert_eq!(lenient.after_attempts("hook", 1).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn a_receiver_may_ask_for_more_time() {
    let server = HttpServer::start(|_| async {
        let mut reply = whole(429, "text/plain", "");
        reply.headers_mut().insert("retry-after", "900".parse().unwrap());
        reply
    })
    .await;
    let bench = Bench::start(1, open_options()).await;
    bench.enqueue("hook", &server.url()).await;
    let delivery = bench.after_attempts("hook", 1).await;
    assert_eq!(delivery.next_at, Some(START + Duration::from_secs(900)));
}

#[tokio::test]
async fn a_delivery_is_given_up_after_its_last_pause() {
    let server = HttpServer::start(|_| async { whole(500, "text/plain", "") }).await;
    let bench = Bench::start(1, open_options()).await;
    bench.enqueue("hook", &server.url()).await;
    for (index, pause) in PAUSES.iter().enumerate() {
        let delivery = bench.after_attempts("hook", index as i64 + 1).await;
        assert_eq!(delivery.state, DeliveryState::Pending, "after attempt {}", index + 1);
        bench.clock.advance(*pause + *pause / 5);
    }
    let last = bench.after_attempts("hook", PAUSES.len() as i64 + 1).await;
    assert_eq!((last.state, last.next_at), (DeliveryState::Failed, None));
    assert_eq!(server.requests().len(), PAUSES.len() + 1);
}

#[tokio::test]
async fn two_deliverers_send_each_delivery_once() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let bench = Bench::start(2, open_options()).await;
    for number in 0..60 {
        bench.enqueue(&format!("hook-{number}"), &server.url()).await;
    }
    wait_until("all are delivered", LIMIT, || async {
        (bench.store.outbox().backlog().await.unwrap() == (0, 0)).then_some(())
    })
    .await;
    let mut ids: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.headers()["webhook-id"].to_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), server.requests().len()), (60, 60));
}

#[tokio::test]
async fn receivers_that_hang_do_not_hold_up_the_others() {
    let hangs = RawServer::start(vec![Step::Hang]).await;
    let quick = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let bench = Bench::start(1, open_options()).await;
    for number in 0..80 {
        bench.enqueue(&format!("slow-{number}"), &hangs.url()).await;
    }
    bench.enqueue("quick", &quick.url()).await;
    assert_eq!(bench.after_attempts("quick", 1).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn an_alert_goes_to_its_configured_receiver_signed_with_its_key() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let key = webhook::Key::parse(SECRET).unwrap();
    let receiver = Receiver::webhook("on-call", &server.url(), Some(SECRET));
    // The strict rule is for callbacks: a receiver was configured by an operator.
    let options = Options { receivers: vec![receiver], ..Options::new("test", "here") };
    let bench = Bench::start(1, options).await;
    let id = format!("alert-{}-firing-1-on-call", mainstay_base::id::new());
    let alert = NewDelivery {
        id: id.clone(),
        kind: DeliveryKind::Alert,
        run_id: Some(RUN.to_owned()),
        receiver: Some("on-call".to_owned()),
        topic: None,
        replaces: false,
        // Where the receiver was when it was told; it has moved since.
        url: "http://127.0.0.1:9/".to_owned(),
        payload: serde_json::to_value(Notice::sample(What::Firing, START)).ok(),
    };
    bench.store.outbox().enqueue(alert).await.unwrap();
    assert_eq!(bench.after_attempts(&id, 1).await.state, DeliveryState::Delivered);
    let request = server.requests().remove(0);
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    let headers = webhook::Headers {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
    };
    assert_eq!(key.verify(headers, request.body(), START.unix_seconds()), Ok(()));
}

// A reload changes how things are signed and where they may go; what waits is not lost by it.
#[tokio::test]
async fn what_is_queued_is_sent_by_the_options_of_the_moment() {
    let server = HttpServer::start(|_| async { whole(200, "text/plain", "") }).await;
    let (options, seen) = watch::channel(Arc::new(open_options()));
    let bench = Bench::start_with(1, seen).await;
    let is_signed = || server.requests().pop().unwrap().headers().contains_key("webhook-signature");
    bench.enqueue("hook-1", &server.url()).await;
    bench.after_attempts("hook-1", 1).await;
    assert!(!is_signed());
    let key = Some(webhook::Key::parse(SECRET).unwrap());
    options.send_replace(Arc::new(Options { callback_key: key, ..open_options() }));
    bench.enqueue("hook-2", &server.url()).await;
    bench.after_attempts("hook-2", 1).await;
    assert!(is_signed());

    // A receiver that is not known here is not called by the address that it once had.
    let id = format!("alert-{}-firing-1-gone", mainstay_base::id::new());
    let alert = NewDelivery {
        id: id.clone(),
        kind: DeliveryKind::Alert,
        run_id: Some(RUN.to_owned()),
        receiver: Some("gone".to_owned()),
        topic: None,
        replaces: false,
        url: server.url(),
        payload: serde_json::to_value(Notice::sample(What::Firing, START)).ok(),
    };
    bench.store.outbox().enqueue(alert).await.unwrap();
    let waits = bench.after_attempts(&id, 1).await;
    assert_eq!((waits.state, server.requests().len()), (DeliveryState::Pending, 2), "{waits:?}");
    let receiver = Receiver::webhook("gone", &server.url(), None);
    options.send_replace(Arc::new(Options { receivers: vec![receiver], ..open_options() }));
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(bench.after_attempts(&id, 2).await.state, DeliveryState::Delivered);
}

#[test]
fn answers_are_judged_by_table() {
    for (status, expected) in [
        (200, "delivered"),
        (204, "delivered"),
        (301, "failed"),
        (400, "failed"),
        (404, "failed"),
        (410, "refused"),
        (429, "failed"),
        (500, "failed"),
        (503, "failed"),
    ] {
        let word = match verdict(status, None) {
            Verdict::Delivered => "delivered",
            Verdict::Refused(_) => "refused",
            Verdict::Failed { .. } => "failed",
        };
        assert_eq!(word, expected, "{status}");
    }
}

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date_and_bounded() {
    let seconds = |text| retry_after(text, START).map(|wait| wait.as_secs());
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds(" 0 "), Some(0));
    assert_eq!(seconds("Fri, 15 Jan 2027 08:02:00 GMT"), Some(120));
    assert_eq!(seconds("Fri, 15 Jan 2027 07:00:00 GMT"), Some(0), "in the past: now");
    for bad in ["", "soon", "-5", "1.5"] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
    let far = next(1, START, Some(Duration::from_secs(1_000_000)), 0, START);
    assert_eq!(far, Next::At(START + MAX_RETRY_AFTER));
}

#[test]
fn pauses_grow_jitter_is_bounded_and_age_ends_it() {
    for (attempts, pause) in (1i64..).zip(PAUSES) {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let Next::At(at) = next(attempts, START, None, random, START) else {
                panic!("attempt {attempts}")
            };
            let waits = at.since(START);
            assert!(waits >= *pause && waits <= *pause + *pause / 5, "attempt {attempts}: {waits:?}");
        }
    }
    assert_eq!(next(PAUSES.len() as i64 + 1, START, None, 0, START), Next::GiveUp);
    assert_eq!(next(i64::MAX, START, None, 0, START), Next::GiveUp);
    assert_eq!(next(1, START, None, 0, START + MAX_AGE), Next::GiveUp);
    assert!(PAUSES.iter().sum::<Duration>() < MAX_AGE, "the schedule ends by itself");
}
