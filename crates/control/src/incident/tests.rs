//! Alerts over a real store: what is decided outlives whoever decided it.

use std::{sync::Arc, time::Duration};

use mainstay_base::Clock;
use mainstay_store::{
    NoticeFilter,
    model::{AlertFilter, TimelineFilter},
};
use mainstay_wire::notify::Notice;

use super::*;
use crate::{
    Receiver,
    alert::Plan,
    health::{Group as Kind, Told, Trouble},
};

const LEASE: Duration = Duration::from_secs(6);

struct Desk {
    _folder: tempfile::TempDir,
    store: Store,
    clock: Clock,
    options: watch::Sender<Arc<Options>>,
    incidents: Incidents,
    epoch: i64,
}

impl Desk {
    async fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let clock = Clock::manual(Micros(1_800_000_000_000_000));
        let options = mainstay_store::Options { url, clock: clock.clone() };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let receivers = vec![Receiver::webhook("on-call", "http://a", None)];
        let options = watch::Sender::new(Arc::new(Options { receivers, ..Options::new("a", "here") }));
        let incidents = Incidents::new(store.clone(), options.subscribe());
        let mut desk = Desk { _folder: folder, store, clock, options, incidents, epoch: 0 };
        desk.restart().await;
        desk
    }

    /// Another control takes over, knowing nothing but what is stored.
    async fn restart(&mut self) {
        self.clock.advance(2 * LEASE);
        self.epoch = self.store.leases().acquire("control", "a", LEASE).await.unwrap().unwrap();
        self.incidents = Incidents::new(self.store.clone(), self.options.subscribe());
    }

    async fn look(&mut self, components: &[Component]) {
        let fence = Some(Fence { lease: "control".into(), holder: "a".into(), epoch: self.epoch });
        self.clock.advance(Duration::from_secs(1));
        assert!(self.store.leases().renew("control", "a", self.epoch, LEASE).await.unwrap());
        self.incidents.refresh().await.unwrap();
        self.incidents.look(components, &HashMap::new(), fence, self.clock.now()).await.unwrap();
    }

    async fn looks(&mut self, times: usize, components: &[Component]) {
        for _ in 0..times {
            self.look(components).await;
        }
    }

    /// So many seconds and more, each look by another control.
    async fn pass(&mut self, seconds: i64, components: &[Component]) {
        let end = self.clock.now().0 + seconds * 1_000_000;
        while self.clock.now().0 < end {
            self.restart().await;
            self.look(components).await;
        }
    }

    /// `firing slo:chat`, oldest first.
    async fn told(&self) -> Vec<String> {
        let rows = self.store.outbox().notices(NoticeFilter::default()).await.unwrap();
        let mut told: Vec<(Micros, String)> = rows
            .into_iter()
            .map(|row| {
                let notice: Notice = serde_json::from_value(row.payload.unwrap()).unwrap();
                let components: Vec<&str> =
                    notice.alerts.iter().map(|alert| alert.component.as_str()).collect();
                (notice.at, format!("{} {}", notice.what.as_str(), components.join(",")))
            })
            .collect();
        told.sort();
        told.into_iter().map(|(_, line)| line).collect()
    }
}

fn component(group: Kind, name: &str, state: State) -> Component {
    let told = Told { state, reason: "because".to_owned(), at: Micros(0) };
    let mut component = Component::told(group, &told, Micros(0));
    (component.id, component.name) = (format!("{}:{name}", group.as_str()), name.to_owned());
    component
}

fn slo(name: &str, app: &str, state: State) -> Component {
    let mut slo = component(Kind::Slo, name, state);
    slo.labels.insert("app".to_owned(), app.to_owned());
    slo
}

/// A provider in trouble that this app sees.
fn provider(app: &str) -> Component {
    let trouble = Trouble {
        since: Micros(0),
        last_failure: Micros(0),
        attempts: 10,
        failures: 9,
        share_percent: 90,
        classes: Default::default(),
        callers: vec![app.to_owned()],
        callers_failing: 1,
        callers_well: 0,
        detours: Vec::new(),
    };
    Component { trouble: Some(trouble), ..component(Kind::Provider, "openai", State::Down) }
}

/// What was inhibited fires after a restart elsewhere, because what inhibits is not kept.
#[tokio::test]
async fn what_was_inhibited_stays_so_over_a_restart() {
    let mut desk = Desk::new().await;
    desk.looks(4, &[provider("chat")]).await;
    let both = [provider("chat"), slo("chat-availability", "chat", State::Down)];
    desk.looks(3, &both).await;
    // One page about the cause: the provider is as grave as what it explains.
    let expected = ["firing provider:openai", "escalated provider:openai"];
    assert_eq!(desk.told().await, expected);
    for _ in 0..5 {
        desk.restart().await;
        // Nothing is known yet of the provider, nor who sees its failures.
        let unknown = component(Kind::Provider, "openai", State::Unknown);
        desk.looks(2, &[slo("chat-availability", "chat", State::Down), unknown]).await;
        desk.looks(2, &both).await;
    }
    assert_eq!(desk.told().await, expected);
    let filter = AlertFilter { subject: Some("slo:chat-availability".to_owned()), ..AlertFilter::default() };
    let alerts = desk.store.alerts().list(filter).await.unwrap();
    assert_eq!(alerts.len(), 1, "one alert over all restarts");
    assert_eq!(alerts[0].suppressed.as_deref(), Some("inhibited:provider:openai"));
}

/// A default service level, by mode alone, whose failures are blamed so.
fn blamed(labels: &[(&str, &str)]) -> Component {
    let mut slo = component(Kind::Slo, "chat-availability", State::Down);
    slo.labels.insert("mode".to_owned(), "chat".to_owned());
    slo.labels.extend(labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())));
    slo
}

// A default service level has neither app nor provider: what its failures are blamed on says what explains it.
#[tokio::test]
async fn what_is_blamed_on_a_provider_is_quiet_while_that_is_in_trouble_over_restarts_and_pages_when_it_goes_on()
 {
    for labels in [vec![("fault", "provider")], vec![("fault", "provider"), ("fault_provider", "openai")]] {
        let mut desk = Desk::new().await;
        desk.looks(4, &[provider("somebody")]).await;
        let both = [provider("somebody"), blamed(&labels)];
        desk.looks(3, &both).await;
        let expected = ["firing provider:openai", "escalated provider:openai"];
        for _ in 0..3 {
            desk.restart().await;
            // Not judged yet: what was told of it is what is stored.
            desk.incidents.refresh().await.unwrap();
            let stored =
                desk.incidents.firing().find(|one| one.component.starts_with("slo:")).unwrap().labels();
            let unjudged = crate::slo::unjudged("slo:chat-availability", stored).unwrap();
            desk.looks(2, &[provider("somebody"), unjudged]).await;
            desk.looks(2, &both).await;
            assert_eq!(desk.told().await, expected, "{labels:?}");
        }
        // It ends, and the service level only waits for its windows.
        let well = component(Kind::Provider, "openai", State::Ok);
        let passing: Vec<_> = labels.iter().copied().chain([("passing", "yes")]).collect();
        desk.pass(420, &[well.clone(), blamed(&passing)]).await;
        let expected = [&expected[..], &["resolved provider:openai"]].concat();
        assert_eq!(desk.told().await, expected, "{labels:?}");
        // It burns again, without its provider.
        desk.pass(330, &[well, blamed(&labels)]).await;
        let expected = [&expected[..], &["firing slo:chat-availability"]].concat();
        assert_eq!(desk.told().await, expected, "{labels:?}");
    }
}

#[tokio::test]
async fn what_is_blamed_on_others_too_pages_beside_the_provider() {
    for labels in [vec![], vec![("fault", "dify")], vec![("fault", "provider"), ("fault_provider", "azure")]]
    {
        let mut desk = Desk::new().await;
        desk.looks(4, &[provider("somebody")]).await;
        desk.looks(3, &[provider("somebody"), blamed(&labels)]).await;
        let expected = ["firing provider:openai", "firing slo:chat-availability"];
        assert_eq!(desk.told().await, expected, "{labels:?}");
    }
}

#[tokio::test]
async fn a_control_that_does_not_lead_any_more_stores_nothing() {
    let mut desk = Desk::new().await;
    let sick = [slo("chat", "chat", State::Down)];
    desk.look(&sick).await;
    assert_eq!(desk.told().await, ["firing slo:chat"]);
    let mut late = Incidents::new(desk.store.clone(), desk.options.subscribe());
    late.refresh().await.unwrap();
    let fence = Some(Fence { lease: "control".into(), holder: "a".into(), epoch: desk.epoch });
    desk.restart().await;
    let well = [slo("chat", "chat", State::Ok)];
    desk.clock.advance(Duration::from_secs(61));
    late.look(&well, &HashMap::new(), fence.clone(), desk.clock.now()).await.unwrap();
    desk.clock.advance(Duration::from_secs(61));
    late.look(&well, &HashMap::new(), fence, desk.clock.now()).await.unwrap();
    assert_eq!(desk.told().await, ["firing slo:chat"]);
    assert_eq!(desk.store.alerts().book().await.unwrap().alerts.len(), 1);
}

#[tokio::test]
async fn a_shadow_tells_nobody_and_writes_down_what_it_would_have() {
    let mut desk = Desk::new().await;
    let mut sick = slo("chat", "chat", State::Down);
    sick.labels.insert("alerting".to_owned(), "shadow".to_owned());
    desk.looks(3, std::slice::from_ref(&sick)).await;
    assert!(desk.told().await.is_empty());
    let book = desk.store.alerts().book().await.unwrap();
    assert_eq!(book.alerts[0].suppressed.as_deref(), Some("shadow"));
    let filter = TimelineFilter { subject: Some(book.alerts[0].id.clone()), ..TimelineFilter::default() };
    let story = desk.store.timeline().list(filter).await.unwrap();
    let would: Vec<&str> = story
        .iter()
        .filter(|line| line.event.kind == "would_tell")
        .map(|line| line.event.text.as_str())
        .collect();
    assert_eq!(would, ["would have told on-call: firing (page)"]);
    sick.labels.clear();
    desk.restart().await;
    desk.looks(3, &[sick]).await;
    assert_eq!(desk.told().await, ["firing slo:chat"]);
}

#[tokio::test]
async fn many_at_once_are_told_one_by_one_without_losing_any_and_as_one_where_they_belong_together() {
    let mut desk = Desk::new().await;
    let many: Vec<Component> = (0..700).map(|place| slo(&format!("s{place}"), "chat", State::Down)).collect();
    desk.looks(4, &many).await;
    assert_eq!(desk.store.alerts().book().await.unwrap().alerts.len(), 700);
    assert_eq!(desk.store.outbox().backlog().await.unwrap().0, 700);

    let mut desk = Desk::new().await;
    let mut plan = Plan::default();
    plan.default.grouping = crate::alert::Grouping::By(vec!["app".to_owned()]);
    desk.options.send_modify(|options| {
        *options = Arc::new(Options { alerting: Arc::new(plan), ..Options::clone(options) });
    });
    desk.looks(4, &many).await;
    let told = desk.store.outbox().backlog().await.unwrap().0;
    assert!((1..=6).contains(&told), "{told} notices");
}
