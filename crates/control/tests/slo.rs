//! From what was counted to an alert, on a real database: a service level that ships burns, somebody is told, and a
//! change of it takes effect while it is judged.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mainstay_base::{
    Blame, Clock, Standing,
    snapshot::{Dialect, Provider, Timeouts},
};
use mainstay_control::{
    CallbackBody, Control, Observer, Options, Peers, Ports, ProbeKind, ProviderPeer, Receiver, Served,
    slo::{
        admin::{self, By},
        view,
    },
};
use mainstay_net::{Client, ClientOptions};
use mainstay_store::{
    NoticeFilter, Store, StoreError,
    model::{AlertFilter, SLI_SLOTS, SliBatch, SliCounts, SliRow, SliSeries, TimelineFilter},
};
use mainstay_testkit::{HttpServer, http_server::whole, wait_until};
use tokio::sync::watch;

const LIMIT: Duration = Duration::from_secs(60);
const NAME: &str = "workflow-availability";

struct NoBodies;

impl CallbackBody for NoBodies {
    fn body(&self, _: String) -> BoxFuture<'static, Result<Option<Bytes>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

async fn store(folder: &tempfile::TempDir) -> Store {
    let url = format!("sqlite:{}", folder.path().join("slo.db").display());
    let options = mainstay_store::Options { url, clock: Clock::System };
    Store::migrate(&options).await.unwrap();
    Store::open(options).await.unwrap()
}

fn control(store: &Store) -> Control {
    control_with(store, "one", Vec::new())
}

fn control_with(store: &Store, holder: &str, providers: Vec<ProviderPeer>) -> Control {
    let peers = Peers { providers, ..Peers::default() };
    let peers = watch::Sender::new(Arc::new(peers)).subscribe();
    let receivers = vec![Receiver::webhook("on-call", "http://127.0.0.1:9", None)];
    let options = Options { receivers, ..Options::new(holder, "here") };
    let options = watch::Sender::new(Arc::new(options)).subscribe();
    Control::start(Ports {
        store: store.clone(),
        client: Client::new(ClientOptions::default()).unwrap(),
        clock: Clock::System,
        supervisor: None,
        engine: None,
        peers,
        dify: None,
        observer: Observer::default(),
        callbacks: Arc::new(NoBodies),
        options,
    })
}

/// Two hours of ten runs a minute, the last five minutes of which failed.
async fn an_outage(store: &Store) {
    let series = SliSeries {
        path: "app".to_owned(),
        mode: "workflow".to_owned(),
        endpoint: "workflows/run".to_owned(),
        ..SliSeries::default()
    };
    let series = Arc::new(series.numbered());
    let minute = Clock::System.now().0 / 60_000_000;
    let row = |back: i64| {
        let mut counts = SliCounts { good: if back > 5 { 12 } else { 0 }, ..SliCounts::default() };
        counts.blamed[Blame::Provider.index()] = 12 - counts.good;
        let slot = (u32::from(back > 5), u32::from(back <= 5));
        SliRow { time: minute - back, series: series.id, counts, slots: [slot; SLI_SLOTS] }
    };
    let batch = SliBatch {
        instance: "gateway".to_owned(),
        series: [series.clone()].into(),
        minutes: (1..120).rev().map(row).collect(),
        hours: Arc::default(),
    };
    store.slis().put(batch).await.unwrap();
    store.standings().put("gateway", &Standing::default()).await.unwrap();
}

#[tokio::test]
async fn an_outage_opens_an_alert_and_turning_it_off_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    an_outage(&store).await;
    let control = control(&store);
    let open = || async {
        let filter = AlertFilter { open_only: true, limit: 50, ..AlertFilter::default() };
        let alerts = store.alerts().list(filter).await.unwrap();
        alerts.into_iter().find(|alert| alert.subject == format!("slo:{NAME}"))
    };
    let alert = wait_until("somebody is told", LIMIT, open).await;
    assert!(alert.summary.contains("missed it"), "{}", alert.summary);
    let told = || async {
        let slos = view::list(&store).await.unwrap().slos;
        slos.into_iter().find(|slo| slo.name == NAME && !slo.page.is_null())
    };
    let slo = wait_until("every process can see it", LIMIT, told).await;
    assert_eq!((slo.source.as_deref(), slo.total), (Some("gateway"), 119 * 12));
    let dify = None;
    let detail = view::one(&store, dify, NAME, Clock::System.now()).await.unwrap().unwrap();
    assert!(!detail.paged.is_empty(), "and its replay says the same");

    let mut document = slo.document.clone();
    document["alerting"] = "off".into();
    let by = By { actor: "ann", why: "being mended" };
    admin::set(&store, &Clock::System, &[document], by).await.unwrap();
    wait_until("it is over", LIMIT, || async { open().await.is_none().then_some(()) }).await;
    let filter = TimelineFilter { subject: Some("slo".to_owned()), limit: 10, ..TimelineFilter::default() };
    let events = store.timeline().list(filter).await.unwrap();
    assert!(events.iter().any(|event| event.event.text.contains("being mended")), "{events:?}");
    control.shutdown(Duration::from_secs(10)).await;
}

// Reported of another system: what was inhibited fires after a restart, because what inhibits was not known yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_out_keeps_what_is_blamed_on_it_quiet_and_so_does_the_control_that_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let out = HttpServer::start(|_| async { whole(503, "application/json", "{}") }).await;
    let provider = Provider {
        name: "only".to_owned(),
        dialect: Dialect::OpenAi,
        base_url: out.url(),
        keys: Vec::new(),
        timeouts: Timeouts::default(),
        first_token: Duration::from_secs(10),
        speaks_responses: true,
    };
    let served = Served { model: "rare".to_owned(), target: None, price: None };
    let peer = ProviderPeer { provider: Arc::new(provider), serves: vec![served], probe: ProbeKind::Models };
    let open = async |subject: &str| {
        let filter = AlertFilter { open_only: true, limit: 50, ..AlertFilter::default() };
        let alerts = store.alerts().list(filter).await.unwrap();
        alerts.into_iter().find(|alert| alert.subject == subject)
    };
    let quiet = async |id: Option<&str>| {
        let alert = open(&format!("slo:{NAME}")).await?;
        let is_it = id.is_none_or(|id| id == alert.id);
        (is_it && alert.suppressed.as_deref() == Some("inhibited:provider:only")).then_some(alert)
    };
    let first = control_with(&store, "one", vec![peer.clone()]);
    wait_until("its provider is down", LIMIT, || open("provider:only")).await;
    an_outage(&store).await;
    let alert = wait_until("its alert is explained", LIMIT, || quiet(None)).await;
    first.shutdown(Duration::from_secs(10)).await;

    let second = control_with(&store, "two", vec![peer]);
    let judged_again = || async {
        let slos = view::list(&store).await.unwrap().slos;
        slos.into_iter().find(|slo| slo.name == NAME && slo.judged_at > Some(alert.updated_at))
    };
    let facade = second.facade();
    let leads = || async { facade.is_leader().then_some(()) };
    wait_until("another acts", LIMIT, leads).await;
    wait_until("it was judged again", LIMIT, judged_again).await;
    wait_until("its alert is explained again", LIMIT, || quiet(Some(&alert.id))).await;
    let notices =
        store.outbox().notices(NoticeFilter { limit: 100, ..NoticeFilter::default() }).await.unwrap();
    let told: Vec<String> = notices.iter().map(|row| row.payload.as_ref().unwrap().to_string()).collect();
    assert!(told.iter().any(|notice| notice.contains("provider:only")), "{told:?}");
    assert!(!told.iter().any(|notice| notice.contains(&alert.id)), "{told:?}");
    second.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn documents_are_changed_undone_and_promoted_with_who_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let by = |why| By { actor: "ann", why };
    let document = async |name: &str| {
        let (held, problems) = admin::documents(&store).await.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        held.into_iter().find(|held| held.document.name == name)
    };
    let shipped = document(NAME).await.unwrap();
    assert!(shipped.is_default);
    let mut value = shipped.document.json();
    value["target"] = 99.9.into();
    value["alerting"] = "shadow".into();
    let changed = admin::set(&store, &Clock::System, &[value.clone()], by("stricter")).await.unwrap();
    assert_eq!(changed.names, [NAME]);
    let again = admin::set(&store, &Clock::System, &[value], by("the same")).await.unwrap();
    assert!(again.names.is_empty(), "nothing is different");
    admin::promote(&store, &Clock::System, NAME, by("watched for a week")).await.unwrap();
    assert_eq!(document(NAME).await.unwrap().document.alerting.as_str(), "on");
    admin::undo(&store, &Clock::System, NAME, by("too early")).await.unwrap();
    assert_eq!(document(NAME).await.unwrap().document.alerting.as_str(), "shadow");
    admin::remove(&store, &Clock::System, NAME, by("as it ships")).await.unwrap();
    assert_eq!(document(NAME).await.unwrap().document, shipped.document);
    let history = admin::history(&store, Some(NAME)).await.unwrap();
    let whys: Vec<&str> = history.iter().map(|change| change.why.as_str()).collect();
    assert_eq!(whys, ["as it ships", "too early", "watched for a week", "stricter"]);

    let mut bad = shipped.document.json();
    bad["window"]["rolling_days"] = 0.into();
    let good = serde_json::json!({ "name": "new", "target": 95, "sli": { "kind": "availability" } });
    let refused = admin::set(&store, &Clock::System, &[good, bad], by("both")).await.unwrap_err();
    assert!(refused.to_string().starts_with("[1].window.rolling_days"), "{refused}");
    assert!(document("new").await.is_none(), "all or none");
    assert!(admin::undo(&store, &Clock::System, "new", by("?")).await.is_err());
    assert!(admin::remove(&store, &Clock::System, "nobody", by("?")).await.is_err());
}
