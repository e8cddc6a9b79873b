//! Workers, deliveries, records, alerts, runbooks, leases, settings, retention.

use std::time::Duration;

use mainstay_base::{
    Record, id,
    record::{Outcome, Path},
};
use mainstay_store::{
    Lane, NoticeFilter, Waiting,
    model::{
        Alert, AlertFilter, AlertState, DeliveryKind, DeliveryState, Execution, ExecutionFilter, Finish,
        Idempotency, NewDelivery, NewJob, Policy, RecordFilter, RunStatus, Severity, Worker,
    },
};
use serde_json::json;

use crate::fixture::{LEASE, START, new_job, on_each, result};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_worker_is_as_old_as_its_last_beat() {
    on_each(|fixture| async move {
        let workers = fixture.store.workers();
        let worker = Worker {
            id: "worker-1".to_owned(),
            slot: 0,
            pid: 4711,
            host: "here".to_owned(),
            started_at: START,
            beat_at: START,
            jobs: 0,
        };
        workers.beat(worker.clone()).await.unwrap();
        fixture.clock.advance(MINUTE);
        workers.beat(Worker { jobs: 3, ..worker.clone() }).await.unwrap();
        let expected = Worker { jobs: 3, beat_at: START + MINUTE, ..worker };
        assert_eq!(workers.list().await.unwrap(), [expected]);
        assert!(workers.remove("worker-1").await.unwrap());
        assert!(!workers.remove("worker-1").await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_delivery_comes_again_until_it_is_delivered_or_given_up() {
    on_each(|fixture| async move {
        let outbox = fixture.store.outbox();
        let all = || Lane::Besides(Vec::new());
        let new = |id: &str| NewDelivery {
            id: id.to_owned(),
            kind: DeliveryKind::Alert,
            run_id: Some("run-1".to_owned()),
            receiver: None,
            topic: None,
            replaces: false,
            url: "https://receiver.example".to_owned(),
            payload: Some(json!({"text": "down"})),
        };
        assert!(outbox.enqueue(new("msg_1")).await.unwrap());
        assert!(!outbox.enqueue(new("msg_1")).await.unwrap(), "once");
        assert!(outbox.enqueue(new("msg_2")).await.unwrap());
        let taken = outbox.due(&all(), 9, LEASE).await.unwrap();
        assert_eq!((taken.len(), taken[0].attempts), (2, 1));
        assert!(outbox.due(&all(), 9, LEASE).await.unwrap().is_empty(), "taken");
        assert_eq!(outbox.backlog().await.unwrap(), (2, 0));

        assert!(outbox.delivered("msg_1", 204).await.unwrap());
        assert!(!outbox.delivered("msg_1", 204).await.unwrap());
        let again = START + MINUTE;
        assert!(outbox.failed("msg_2", Some(503), "busy", Some(again)).await.unwrap());
        fixture.clock.advance(LEASE);
        assert!(outbox.due(&all(), 9, LEASE).await.unwrap().is_empty(), "put off");
        fixture.clock.advance(MINUTE);
        let taken = outbox.due(&all(), 9, LEASE).await.unwrap();
        assert_eq!((taken.len(), taken[0].attempts, taken[0].last_status), (1, 2, Some(503)));
        assert!(!taken[0].may_repeat, "it was put off by somebody who knew");
        fixture.clock.advance(LEASE);
        let taken = outbox.due(&all(), 9, LEASE).await.unwrap();
        assert_eq!((taken[0].attempts, taken[0].may_repeat), (3, true), "its sender died");
        assert!(outbox.failed("msg_2", None, "given up", None).await.unwrap());
        let states: Vec<DeliveryState> =
            outbox.list("run-1").await.unwrap().into_iter().map(|delivery| delivery.state).collect();
        assert_eq!(states, [DeliveryState::Delivered, DeliveryState::Failed]);
        assert_eq!(outbox.backlog().await.unwrap(), (0, 1));
    })
    .await;
}

#[tokio::test]
async fn deliveries_of_one_topic_go_out_in_turn_and_a_later_one_may_replace_them() {
    on_each(|fixture| async move {
        let outbox = fixture.store.outbox();
        let put = async |id: &str, receiver: &str, replaces: bool| {
            let new = NewDelivery {
                id: id.to_owned(),
                kind: DeliveryKind::Alert,
                run_id: Some("run-1".to_owned()),
                receiver: Some(receiver.to_owned()),
                topic: Some("topic".to_owned()),
                replaces,
                url: String::new(),
                payload: None,
            };
            assert!(outbox.enqueue(new).await.unwrap());
        };
        let (pager, others) = (Lane::Receiver("pager".into()), Lane::Besides(vec!["pager".into()]));
        let take = async |lane: &Lane| {
            let taken = outbox.due(lane, 9, LEASE).await.unwrap();
            Vec::from_iter(taken.into_iter().map(|delivery| delivery.id))
        };
        put("firing", "pager", true).await;
        put("acknowledged", "pager", false).await;
        put("chat", "chat", true).await;
        let lanes = vec![pager.clone(), others.clone(), Lane::Receiver("mail".into())];
        assert_eq!(outbox.lanes_due(lanes).await.unwrap(), [pager.clone(), others.clone()]);
        assert_eq!(take(&others).await, ["chat"]);
        assert_eq!(take(&pager).await, ["firing"]);
        assert!(take(&pager).await.is_empty(), "the acknowledgement waits for what it is about");
        assert!(outbox.delivered("firing", 200).await.unwrap());
        assert_eq!(take(&pager).await, ["acknowledged"]);

        // What is in somebody's hands may arrive yet: its successor waits, but not for one that is put off.
        put("escalated", "pager", true).await;
        put("resolved", "pager", true).await;
        assert!(take(&pager).await.is_empty());
        let again = fixture.clock.now() + MINUTE;
        assert!(!outbox.failed("acknowledged", Some(503), "busy", Some(again)).await.unwrap(), "replaced");
        assert_eq!(take(&pager).await, ["resolved"]);
        // Its sender died; when the lease has ended it comes again.
        fixture.clock.advance(LEASE);
        assert_eq!(take(&pager).await, ["resolved"]);
        assert!(outbox.delivered("resolved", 200).await.unwrap());
        let states = outbox.list("run-1").await.unwrap();
        let state = |id: &str| states.iter().find(|one| one.id == id).unwrap().state;
        assert_eq!(state("firing"), DeliveryState::Delivered);
        assert_eq!(state("acknowledged"), DeliveryState::Superseded);
        assert_eq!(state("escalated"), DeliveryState::Superseded);

        // What became of it is seen receiver by receiver.
        let again = fixture.clock.now() + MINUTE;
        assert!(outbox.failed("chat", Some(500), "answered 500", Some(again)).await.unwrap());
        let standings = outbox.standings().await.unwrap();
        let of = |name: &str| standings.iter().find(|one| one.receiver == name).unwrap().clone();
        assert_eq!((of("pager").pending, of("pager").delivered, of("pager").failing_since), (0, 2, None));
        let chat = of("chat");
        assert_eq!((chat.pending, chat.failing_since.is_some()), (1, true));
        assert_eq!(chat.last_error.as_deref(), Some("answered 500"));
        let waiting = async || {
            let all = outbox.waiting().await.unwrap();
            Vec::from_iter(all.into_iter().map(|one| {
                let Waiting { receiver, waiting, oldest_at, failing_since, given_up_at, last_error } = one;
                assert_eq!(oldest_at.is_some(), waiting > 0);
                (receiver, waiting, failing_since.is_some(), given_up_at.is_some(), last_error.is_some())
            }))
        };
        let chat = |waits, fails, gave_up| ("chat".to_owned(), waits, fails, gave_up, fails || gave_up);
        assert_eq!(waiting().await, [chat(1, true, false)]);
        assert!(outbox.failed("chat", Some(410), "answered 410", None).await.unwrap());
        assert_eq!(waiting().await, [chat(0, false, true)], "nothing waits, and nobody was reached");
        fixture.clock.advance(MINUTE);
        put("chat again", "chat", true).await;
        assert_eq!(waiting().await, [chat(1, false, true)]);
        assert_eq!(take(&others).await, ["chat again"]);
        assert!(outbox.delivered("chat again", 200).await.unwrap());
        assert_eq!(waiting().await, []);
        let filter = NoticeFilter { receiver: Some("chat".into()), limit: 9, ..NoticeFilter::default() };
        assert_eq!(outbox.notices(filter).await.unwrap().len(), 2);
    })
    .await;
}

fn record(number: i64, path: Path, outcome: Outcome) -> Record {
    Record {
        request_id: id::new(),
        opened_at: START + std::time::Duration::from_micros(number.unsigned_abs()),
        outcome,
        app_id: Some("app-1".to_owned()),
        ..Record::blank(path)
    }
}

#[tokio::test]
async fn records_are_found_by_id_and_listed_from_the_newest() {
    on_each(|fixture| async move {
        let records = fixture.store.records();
        let all = vec![
            record(0, Path::App, Outcome::Ok),
            record(1, Path::Model, Outcome::Ok),
            record(2, Path::App, Outcome::Failed),
        ];
        records.insert_batch(all.clone()).await.unwrap();
        records.insert_batch(all.clone()).await.unwrap();
        assert_eq!(records.get(&all[1].request_id).await.unwrap().as_ref(), Some(&all[1]));
        let list = async |filter: RecordFilter| records.list(filter).await.unwrap();
        let any = RecordFilter::default;
        assert_eq!(list(any()).await, [all[2].clone(), all[1].clone(), all[0].clone()]);
        assert_eq!(list(RecordFilter { path: Some(Path::Model), ..any() }).await, [all[1].clone()]);
        assert_eq!(list(RecordFilter { outcome: Some(Outcome::Failed), ..any() }).await.len(), 1);
        assert_eq!(list(RecordFilter { before: Some(all[1].opened_at), ..any() }).await, [all[0].clone()]);
        assert_eq!(list(RecordFilter { app_id: Some("app-2".into()), ..any() }).await, []);
    })
    .await;
}

fn alert(subject: &str) -> Alert {
    Alert {
        id: id::new(),
        rule: "component-down".to_owned(),
        subject: subject.to_owned(),
        severity: Severity::Warning,
        state: AlertState::Firing,
        summary: "worker 0 does not answer".to_owned(),
        detail: json!({"tries": 1}),
        suppressed: None,
        acknowledged_by: None,
        acknowledged_at: None,
        opened_at: START,
        updated_at: START,
        resolved_at: None,
    }
}

#[tokio::test]
async fn an_alert_is_replaced_whole_and_leaves_the_open_ones_when_resolved() {
    on_each(|fixture| async move {
        let alerts = fixture.store.alerts();
        let (first, second) = (alert("worker:0"), alert("worker:1"));
        alerts.upsert(first.clone()).await.unwrap();
        alerts.upsert(second.clone()).await.unwrap();
        let first = Alert { state: AlertState::Resolved, resolved_at: Some(START), ..first };
        alerts.upsert(first.clone()).await.unwrap();
        assert_eq!(alerts.get(&first.id).await.unwrap(), Some(first.clone()));
        let open = AlertFilter { open_only: true, ..AlertFilter::default() };
        assert_eq!(alerts.list(open).await.unwrap(), std::slice::from_ref(&second));
        assert_eq!(alerts.list(AlertFilter::default()).await.unwrap(), [second, first]);
    })
    .await;
}

#[tokio::test]
async fn an_ended_runbook_execution_is_not_changed_any_more() {
    on_each(|fixture| async move {
        let runbooks = fixture.store.runbooks();
        let running = Execution {
            id: id::new(),
            runbook: "restart-service".to_owned(),
            subject: "worker:0".to_owned(),
            alert_id: None,
            state: "running".to_owned(),
            ended: false,
            detail: json!({"step": 1}),
            started_at: START,
            updated_at: START,
        };
        assert!(runbooks.insert(running.clone()).await.unwrap());
        assert!(!runbooks.insert(running.clone()).await.unwrap());
        let open = ExecutionFilter { open_only: true, ..ExecutionFilter::default() };
        assert_eq!(runbooks.list(open.clone()).await.unwrap(), std::slice::from_ref(&running));
        let ended = Execution { ended: true, state: "succeeded".to_owned(), ..running.clone() };
        assert!(runbooks.update(ended.clone()).await.unwrap());
        assert!(!runbooks.update(running).await.unwrap());
        assert!(runbooks.list(open).await.unwrap().is_empty());
        assert_eq!(runbooks.get(&ended.id).await.unwrap(), Some(ended));
    })
    .await;
}

#[tokio::test]
async fn a_lease_has_one_holder_and_each_new_holder_a_new_epoch() {
    on_each(|fixture| async move {
        let leases = fixture.store.leases();
        let acquire = async |holder: &str| leases.acquire("leader", holder, LEASE).await.unwrap();
        assert_eq!(acquire("a").await, Some(1));
        assert_eq!(acquire("b").await, None);
        assert_eq!(acquire("a").await, Some(1), "still its own");
        assert!(leases.renew("leader", "a", 1, LEASE).await.unwrap());
        assert!(!leases.renew("leader", "b", 1, LEASE).await.unwrap());
        fixture.clock.advance(LEASE);
        assert!(!leases.renew("leader", "a", 1, LEASE).await.unwrap(), "too late");
        assert_eq!(acquire("b").await, Some(2));
        assert!(!leases.release("leader", "a", 1).await.unwrap());
        assert!(leases.release("leader", "b", 2).await.unwrap());
        assert_eq!(acquire("b").await, Some(3), "it had let go");
        let held = leases.get("leader").await.unwrap().unwrap();
        assert_eq!((held.holder.as_str(), held.epoch), ("b", 3));
    })
    .await;
}

#[tokio::test]
async fn a_setting_is_not_lost_to_somebody_who_was_slower() {
    on_each(|fixture| async move {
        let settings = fixture.store.settings();
        let put = async |value: i64, expected: i64| {
            settings.put("drained", json!(value), expected, "ann").await.unwrap()
        };
        assert!(put(1, 0).await);
        assert!(!put(2, 0).await);
        assert!(put(3, 1).await);
        assert!(!put(4, 1).await);
        let setting = settings.get("drained").await.unwrap().unwrap();
        assert_eq!((setting.value, setting.revision), (json!(3), 2));
        assert_eq!(settings.get("nothing").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_sweep_removes_what_is_old_and_leaves_what_waits() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let idempotency =
            Idempotency { scope: "app-1".to_owned(), key: "k".to_owned(), body_hash: "h".to_owned() };
        let callback_url = Some("https://receiver.example".to_owned());
        let old = NewJob { idempotency: Some(idempotency), callback_url, ..new_job() };
        let old_id = old.run.id.clone();
        store.jobs().submit(old.clone()).await.unwrap();
        let job = store.jobs().claim("worker-1", 1, LEASE).await.unwrap().remove(0);
        store.jobs().finish(&job.id, job.epoch, Finish::Done(result(RunStatus::Succeeded))).await.unwrap();
        store.jobs().submit(new_job()).await.unwrap();
        store.records().insert_batch(vec![record(0, Path::App, Outcome::Ok)]).await.unwrap();
        let resolved = Alert { resolved_at: Some(START), ..alert("worker:0") };
        store.alerts().upsert(resolved).await.unwrap();
        store.alerts().upsert(alert("worker:1")).await.unwrap();

        let policy =
            Policy { runs: MINUTE, records: MINUTE, idempotency: MINUTE, alerts: MINUTE, files: MINUTE };
        let nothing = store.retention().sweep(policy).await.unwrap();
        assert_eq!((nothing.runs, nothing.records, nothing.more), (0, 0, false));
        fixture.clock.advance(2 * MINUTE);
        let swept = store.retention().sweep(policy).await.unwrap();
        assert_eq!((swept.runs, swept.records, swept.idempotency, swept.alerts), (1, 1, 1, 1));
        assert_eq!(store.runs().get(&old_id).await.unwrap(), None);
        assert!(store.outbox().list(&old_id).await.unwrap().is_empty());
        assert_eq!(store.jobs().stats().await.unwrap().queued, 1);
        assert_eq!(store.alerts().list(AlertFilter::default()).await.unwrap().len(), 1);
    })
    .await;
}
