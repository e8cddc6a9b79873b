use std::time::Duration;

use mainstay_base::id;
use mainstay_store::{
    MAX_OPEN_ALERTS, Store,
    model::{
        Alert, AlertFilter, AlertGroup, AlertState, Decided, DeliveryKind, Fence, NewDelivery, NewEvent,
        OnCallOverride, Policy, Severity, Silence, TimelineFilter,
    },
};
use serde_json::json;

use crate::fixture::{LEASE, START, on_each};

const HOUR: Duration = Duration::from_secs(3600);

fn alert(severity: Severity, state: AlertState) -> Alert {
    Alert {
        id: "alert-1".to_owned(),
        rule: "slo".to_owned(),
        subject: "slo:chat".to_owned(),
        severity,
        state,
        summary: "chat burns".to_owned(),
        detail: json!({}),
        suppressed: Some("silence:1".to_owned()),
        acknowledged_by: None,
        acknowledged_at: None,
        opened_at: START,
        updated_at: START,
        resolved_at: None,
    }
}

fn event(subject: &str) -> NewEvent {
    NewEvent {
        at: START,
        subject: subject.to_owned(),
        kind: "told".to_owned(),
        actor: "mainstay".to_owned(),
        text: "told".to_owned(),
        detail: json!({}),
    }
}

fn decided(fence: Option<Fence>) -> Decided {
    Decided {
        fence,
        alerts: vec![alert(Severity::Warning, AlertState::Firing)],
        groups: vec![AlertGroup {
            id: "group-1".to_owned(),
            shadow: false,
            body: json!({"number": 1}),
            updated_at: START,
            ended_at: None,
        }],
        deliveries: vec![NewDelivery {
            id: "delivery-1".to_owned(),
            kind: DeliveryKind::Alert,
            run_id: None,
            receiver: Some("on-call".to_owned()),
            topic: Some("group-1".to_owned()),
            replaces: false,
            url: String::new(),
            payload: Some(json!({})),
        }],
        events: vec![event("alert-1")],
    }
}

async fn counts(store: &Store) -> (usize, usize, i64, usize) {
    let book = store.alerts().book().await.unwrap();
    let events = store.timeline().list(TimelineFilter::default()).await.unwrap().len();
    (book.alerts.len(), book.groups.len(), store.outbox().backlog().await.unwrap().0, events)
}

#[tokio::test]
async fn a_decision_is_stored_whole_or_not_at_all() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let epoch = store.leases().acquire("control", "a", LEASE).await.unwrap().unwrap();
        let fence = |holder: &str, epoch| {
            Some(Fence { lease: "control".to_owned(), holder: holder.to_owned(), epoch })
        };
        for wrong in [fence("b", epoch), fence("a", epoch + 1)] {
            assert!(!store.alerts().commit(decided(wrong)).await.unwrap());
        }
        assert_eq!(counts(&store).await, (0, 0, 0, 0));
        assert!(store.alerts().commit(decided(fence("a", epoch))).await.unwrap());
        assert_eq!(counts(&store).await, (1, 1, 1, 1));
        // The last part cannot be stored: that spoils the others.
        let mut second = decided(None);
        second.alerts[0].id = "alert-2".to_owned();
        second.groups[0].id = "group-2".to_owned();
        second.deliveries[0].id = "delivery-2".to_owned();
        fixture.tamper("ALTER TABLE timeline RENAME TO timeline_away").await;
        assert!(store.alerts().commit(second.clone()).await.is_err());
        fixture.tamper("ALTER TABLE timeline_away RENAME TO timeline").await;
        assert_eq!(counts(&store).await, (1, 1, 1, 1));
        assert!(store.alerts().commit(second).await.unwrap());
        assert_eq!(counts(&store).await, (2, 2, 2, 2));
        fixture.clock.advance(LEASE);
        assert!(!store.alerts().commit(decided(fence("a", epoch))).await.unwrap(), "the lease has run out");
        assert!(store.alerts().book().await.unwrap().alerts.len() <= MAX_OPEN_ALERTS);
    })
    .await;
}

/// How somebody says that they look after several alerts.
enum Way {
    AllAtOnce,
    /// A loop that stores one after the other: what the guarantee is there against.
    OneByOne,
}

/// Alerts that somebody looks after, and lines of the story, after a group of two was acknowledged that can be stored or
/// whose second alert cannot.
async fn acknowledged(store: &Store, way: &Way, is_stored: bool) -> (usize, usize) {
    let alerts = store.alerts();
    let events = ["alert-1", "alert-2"].map(|id| (id.to_owned(), event(id))).to_vec();
    let done = match way {
        Way::AllAtOnce => alerts.acknowledge_all(events, "ann").await.map(drop),
        Way::OneByOne => {
            let mut done = Ok(());
            for (id, event) in events {
                done = done.and(alerts.acknowledge(&id, "ann", event).await.map(drop));
            }
            done
        }
    };
    assert_eq!(done.is_ok(), is_stored, "{done:?}");
    let first = alerts.get("alert-1").await.unwrap().unwrap();
    let lines = store.timeline().list(TimelineFilter::default()).await.unwrap().len();
    (usize::from(first.acknowledged_by.is_some()), lines)
}

#[tokio::test]
async fn a_group_is_acknowledged_whole_or_not_at_all() {
    for way in [Way::AllAtOnce, Way::OneByOne] {
        let way = &way;
        on_each(|fixture| async move {
            let store = fixture.store.clone();
            for id in ["alert-1", "alert-2"] {
                let firing = alert(Severity::Page, AlertState::Firing);
                store.alerts().upsert(Alert { id: id.to_owned(), ..firing }).await.unwrap();
            }
            fixture.tamper("UPDATE alerts SET state = 'unreadable' WHERE id = 'alert-2'").await;
            match (way, acknowledged(&store, way, false).await) {
                (Way::AllAtOnce, left) => assert_eq!(left, (0, 0), "half of a group is looked after"),
                (Way::OneByOne, left) => assert_eq!(left, (1, 1), "the broken twin is not seen"),
            }
            fixture.tamper("UPDATE alerts SET state = 'firing' WHERE id = 'alert-2'").await;
            assert_eq!(acknowledged(&store, way, true).await, (1, 2));
        })
        .await;
    }
}

#[tokio::test]
async fn an_acknowledgement_stands_until_the_alert_gets_worse() {
    on_each(|fixture| async move {
        let alerts = fixture.store.alerts();
        assert_eq!(alerts.acknowledge("alert-1", "ann", event("alert-1")).await.unwrap(), None);
        alerts.upsert(alert(Severity::Warning, AlertState::Firing)).await.unwrap();
        let acknowledge = async |by: &str| alerts.acknowledge("alert-1", by, event("alert-1")).await.unwrap();
        assert_eq!(acknowledge("ann").await, Some(AlertState::Firing));
        assert_eq!(acknowledge("ben").await, Some(AlertState::Acknowledged));
        // Whoever had read it before that writes it again.
        alerts.upsert(alert(Severity::Warning, AlertState::Firing)).await.unwrap();
        let state = async || {
            let alert = alerts.get("alert-1").await.unwrap().unwrap();
            (alert.state, alert.acknowledged_by)
        };
        assert_eq!(state().await, (AlertState::Acknowledged, Some("ann".to_owned())));
        alerts.upsert(alert(Severity::Page, AlertState::Firing)).await.unwrap();
        assert_eq!(state().await, (AlertState::Firing, None));
        assert_eq!(acknowledge("ben").await, Some(AlertState::Firing));
        let resolved = Alert { resolved_at: Some(START), ..alert(Severity::Page, AlertState::Resolved) };
        alerts.upsert(resolved).await.unwrap();
        assert_eq!(state().await, (AlertState::Resolved, Some("ben".to_owned())));
        assert_eq!(acknowledge("ann").await, Some(AlertState::Resolved));
        let stories = fixture.store.timeline().list(TimelineFilter::default()).await.unwrap();
        assert_eq!(stories.len(), 2, "one line for each that counted");
        assert_eq!(alerts.list(AlertFilter::default()).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn silences_and_overrides_end_by_themselves_or_earlier_and_are_forgotten_later() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let silence = |hours: u32| Silence {
            id: id::new(),
            matchers: vec!["app=chat".to_owned()],
            starts_at: START,
            ends_at: START + hours * HOUR,
            author: "ann".to_owned(),
            comment: "upgrade".to_owned(),
            created_at: START,
            ended_by: None,
        };
        let (one, two) = (silence(1), silence(3));
        for silence in [&one, &two] {
            assert!(store.silences().add(silence.clone(), event("silences")).await.unwrap());
        }
        let swap = OnCallOverride {
            id: id::new(),
            schedule: "primary".to_owned(),
            person: "ben".to_owned(),
            starts_at: START + HOUR,
            ends_at: START + 3 * HOUR,
            author: "ann".to_owned(),
            comment: String::new(),
            created_at: START,
            ended_by: None,
        };
        assert!(store.on_call().add(swap.clone(), event("on-call")).await.unwrap());
        let open = async || {
            let book = store.alerts().book().await.unwrap();
            (book.silences.len(), book.overrides.len())
        };
        assert_eq!(open().await, (2, 1));
        fixture.clock.advance(2 * HOUR);
        assert_eq!(open().await, (1, 1));
        assert!(!store.silences().end(&one.id, "ann", event("silences")).await.unwrap(), "it is over");
        assert!(store.silences().end(&two.id, "ann", event("silences")).await.unwrap());
        assert!(store.on_call().end(&swap.id, "ann", event("on-call")).await.unwrap());
        assert_eq!(open().await, (0, 0));
        let ended = store.silences().get(&two.id).await.unwrap().unwrap();
        assert_eq!((ended.ended_by, ended.ends_at), (Some("ann".to_owned()), START + 2 * HOUR));
        assert_eq!(store.silences().list(10).await.unwrap().len(), 2);
        assert_eq!(store.on_call().list(10).await.unwrap()[0].ended_by.as_deref(), Some("ann"));

        fixture.clock.advance(HOUR);
        let policy = Policy { alerts: Duration::from_secs(60), ..Policy::default() };
        store.retention().sweep(policy).await.unwrap();
        assert!(store.silences().list(10).await.unwrap().is_empty());
        assert!(store.on_call().list(10).await.unwrap().is_empty());
    })
    .await;
}
