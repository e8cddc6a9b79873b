//! Whatever comes from outside is text on a page and nothing else.

use mainstay_base::{AppMode, Kind};
use mainstay_store::model::{
    Alert, AlertState, DeliveryKind, Execution, NewApp, NewDelivery, NewEvent, OnCallOverride, RunStatus,
    Severity, Silence,
};
use serde_json::json;

use super::world::*;

const RUN: &str = "01930000-0000-7000-8000-0000000000f1";
const HOSTILE_ALERT: &str = "01930000-0000-7000-8000-0000000000f2";
const HOSTILE_EXECUTION: &str = "01930000-0000-7000-8000-0000000000f3";
const HOSTILE_REQUEST: &str = "01930000-0000-7000-8000-0000000000f4";

async fn hostile() -> World {
    let world = World::seeded().await;
    let text = || HOSTILE.to_owned();
    let app = NewApp {
        name: text(),
        mode: AppMode::Workflow,
        description: text(),
        icon: text(),
        icon_background: text(),
        dsl_text: text(),
    };
    let made = world.store.apps().import(vec![(app, None)]).await.unwrap();
    let mut run = world.run(RUN, 5);
    (run.app_id, run.app_name) = (made[0].app.id.clone(), text());
    (run.session_id, run.upstream, run.version) = (text(), Some(text()), text());
    (run.trace_id, run.conversation_id, run.request_id) = (Some(text()), Some(text()), Some(text()));
    run.inputs = json!({ HOSTILE: HOSTILE });
    world.store.runs().insert(run).await.unwrap();
    let mut result = result(RunStatus::Failed, 5, Some(text()));
    (result.error_kind, result.outputs, result.usage) =
        (Some(Kind::Bug), Some(json!([HOSTILE])), Some(json!(HOSTILE)));
    for node in &mut result.nodes {
        (node.id, node.node_id, node.node_type) = (text(), text(), text());
        (node.title, node.status, node.error) = (text(), text(), Some(text()));
        (node.inputs, node.metadata) = (Some(json!(HOSTILE)), Some(json!({ "x": HOSTILE })));
    }
    world.store.runs().finish(RUN, result).await.unwrap();
    let alert = Alert {
        id: HOSTILE_ALERT.to_owned(),
        rule: text(),
        subject: text(),
        severity: Severity::Page,
        state: AlertState::Firing,
        summary: text(),
        detail: json!(HOSTILE),
        suppressed: Some(HOSTILE.to_owned()),
        acknowledged_by: Some(HOSTILE.to_owned()),
        acknowledged_at: Some(NOW),
        opened_at: NOW,
        updated_at: NOW,
        resolved_at: None,
    };
    world.store.alerts().upsert(alert).await.unwrap();
    let event = NewEvent {
        at: NOW,
        subject: text(),
        kind: text(),
        actor: text(),
        text: text(),
        detail: json!(HOSTILE),
    };
    let silence = Silence { comment: text(), id: text(), ..super::control::silence(&[text()], HOSTILE) };
    world.store.silences().add(silence, event.clone()).await.unwrap();
    let swap = OnCallOverride {
        id: text(),
        schedule: text(),
        person: text(),
        starts_at: NOW,
        ends_at: NOW + std::time::Duration::from_secs(60),
        author: text(),
        comment: text(),
        created_at: NOW,
        ended_by: None,
    };
    world.store.on_call().add(swap, event).await.unwrap();
    let delivery = NewDelivery {
        id: text(),
        kind: DeliveryKind::Alert,
        run_id: None,
        receiver: Some(text()),
        topic: Some(text()),
        replaces: false,
        url: text(),
        payload: Some(json!(HOSTILE)),
    };
    world.store.outbox().enqueue(delivery).await.unwrap();
    for subject in [HOSTILE_ALERT, HOSTILE, "run:<script>"] {
        let event = NewEvent {
            at: NOW,
            subject: subject.to_owned(),
            kind: text(),
            actor: text(),
            text: text(),
            detail: json!(HOSTILE),
        };
        world.store.timeline().append(event).await.unwrap();
    }
    let execution = Execution {
        id: HOSTILE_EXECUTION.to_owned(),
        runbook: text(),
        subject: text(),
        alert_id: Some(text()),
        state: text(),
        ended: true,
        detail: json!({ "actor": HOSTILE, "why": HOSTILE, "dry_run": true, "incident": HOSTILE_ALERT }),
        started_at: NOW,
        updated_at: NOW,
    };
    world.store.runbooks().insert(execution).await.unwrap();
    let mut record = request(HOSTILE_REQUEST);
    (record.target, record.method, record.trace_id) = (text(), text(), text());
    (record.app, record.app_id, record.upstream) = (Some(text()), Some(text()), Some(text()));
    (record.model, record.run_id, record.error) = (Some(text()), Some(text()), Some(text()));
    record.run_status = Some(text());
    for stage in &mut record.stages {
        stage.condition = text().into();
    }
    for attempt in &mut record.attempts {
        (attempt.upstream, attempt.error) = (text(), Some(text()));
    }
    world.store.records().insert_batch(vec![record]).await.unwrap();
    world
}

#[tokio::test]
async fn hostile_text_stays_text_on_every_page() {
    let world = hostile().await;
    let app = world.store.runs().get(RUN).await.unwrap().unwrap().summary.app_id;
    let pages = [
        "/overview".to_owned(),
        "/runs".to_owned(),
        format!("/runs/{RUN}"),
        "/alerts".to_owned(),
        "/receivers".to_owned(),
        "/silences".to_owned(),
        "/oncall".to_owned(),
        format!("/incidents/{HOSTILE_ALERT}"),
        "/requests".to_owned(),
        format!("/requests/{HOSTILE_REQUEST}"),
        "/apps".to_owned(),
        format!("/apps/{app}"),
        "/runbooks".to_owned(),
        format!("/executions/{HOSTILE_EXECUTION}"),
        "/timeline".to_owned(),
    ];
    for path in pages {
        let page = world.get(&path).await;
        assert_eq!(page.status.as_u16(), 200, "{path}: {}", page.text);
        assert!(page.text.contains("alert(1)") || path == "/dead", "{path} does not show the text at all");
        for broken in ["<script>", "<img", "\"'>"] {
            assert!(!page.text.contains(broken), "{path} holds {broken}");
        }
    }
}

#[tokio::test]
async fn hostile_text_in_the_address_stays_text() {
    let world = World::empty().await;
    let quoted = "%3Cscript%3Ealert(1)%3C/script%3E%22onx=%22";
    for path in [
        format!("/timeline?subject={quoted}"),
        format!("/runs?app={quoted}"),
        format!("/runs?status={quoted}"),
        format!("/runs/{quoted}"),
        format!("/login?to={quoted}"),
        format!("/overview?done={quoted}"),
        format!("/{quoted}"),
    ] {
        let page = world.get(&path).await;
        assert!(!page.text.contains("<script>") && !page.text.contains("\"onx"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn long_values_are_clipped_on_the_page_and_whole_in_the_twin() {
    let world = World::seeded().await;
    let mut run = world.run(RUN, 5);
    run.inputs = json!({ "text": "é".repeat(100_000) });
    world.store.runs().insert(run).await.unwrap();
    let page = world.get(&format!("/runs/{RUN}")).await;
    assert!(
        page.text.len() < 60_000 && page.text.contains("The first 8,192 of"),
        "{} bytes",
        page.text.len()
    );
    let twin = world.get(&format!("/api/runs/{RUN}")).await;
    assert_eq!(twin.json()["run"]["inputs"]["text"].as_str().unwrap().chars().count(), 100_000);
}
