//! One world to look at: a store with something of everything, at a fixed time.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use mainstay_base::{AppMode, Clock, Kind, Micros, Record, Secret, record};
use mainstay_store::{Options, Store, model::*};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{AdminTokens, Apps, Dify, ImportError, ImportFile, ImportProblem, Imported, Ports};

/// 2026-11-23 09:00:00 UTC.
pub(crate) const NOW: Micros = Micros(1_795_424_400_000_000);
pub(crate) const TOKEN: &str = "an-admin-token-of-the-tests";
pub(crate) const OLD_RUN: &str = "01930000-0000-7000-8000-0000000000a1";
pub(crate) const FAILED_RUN: &str = "01930000-0000-7000-8000-0000000000a2";
pub(crate) const DEAD_RUN: &str = "01930000-0000-7000-8000-0000000000a3";
pub(crate) const DURABLE_RUN: &str = "01930000-0000-7000-8000-0000000000a4";
pub(crate) const QUEUED_RUN: &str = "01930000-0000-7000-8000-0000000000a5";
pub(crate) const REQUEST: &str = "01930000-0000-7000-8000-0000000000b1";
pub(crate) const ALERT: &str = "01930000-0000-7000-8000-0000000000c1";
pub(crate) const OLD_ALERT: &str = "01930000-0000-7000-8000-0000000000c2";
pub(crate) const EXECUTION: &str = "01930000-0000-7000-8000-0000000000d1";
/// What a hostile caller might send wherever text is taken.
pub(crate) const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;";

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) app_id: String,
    /// Ids that the store made, and what snapshots call them.
    names: Vec<(String, String)>,
    pub(crate) folder: tempfile::TempDir,
}

/// An answer, whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl World {
    /// Nothing has happened yet.
    pub(crate) async fn empty() -> World {
        World::named(None).await
    }

    /// Nothing has happened yet, and providers, models, keys and whoever acts are called so.
    pub(crate) async fn named(name: Option<&str>) -> World {
        World::beside(name, None).await
    }

    /// Beside a Dify.
    pub(crate) async fn beside(name: Option<&str>, dify: Option<Arc<dyn Dify>>) -> World {
        let named = || name.map(str::to_owned);
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let url = format!("sqlite:{}", folder.path().join("console.db").display());
        let options = Options { url, clock: clock.clone() };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let router = crate::router(Ports {
            store: store.clone(),
            control: Arc::new(super::control::Judge::named(named())),
            apps: Arc::new(FakeApps),
            routes: Arc::new(super::routing::Signpost { named: named() }),
            dify,
            tokens: AdminTokens::new(&[
                ("ops".to_owned(), Secret::new(TOKEN)),
                ("empty".to_owned(), Secret::new("")),
            ]),
            clock: clock.clone(),
            secure_cookies: false,
            shutdown: CancellationToken::new(),
        });
        World { router, store, clock, app_id: String::new(), names: Vec::new(), folder }
    }

    pub(crate) async fn seeded() -> World {
        let mut world = World::empty().await;
        world.seed_apps().await;
        world.seed_runs().await;
        world.seed_jobs().await;
        world.seed_operations().await;
        let records = vec![request(REQUEST), super::routing::call()];
        world.store.records().insert_batch(records).await.unwrap();
        world.store.standings().put("ops-1:4100", &super::routing::standing()).await.unwrap();
        world
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A GET with the good token.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {TOKEN}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A POST of JSON with the good token.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("authorization", format!("Bearer {TOKEN}"));
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// A form with the good token.
    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let pairs: Vec<(&str, Option<&str>)> =
            fields.iter().map(|(name, value)| (*name, Some(*value))).collect();
        let body = crate::pages::query(&pairs).trim_start_matches('?').to_owned();
        let request = Request::post(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    /// With ids that differ from time to time replaced by names that do not.
    pub(crate) fn fixed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (id, name) in &self.names {
            text = text.replace(id, name).replace(&format!("…{}", &id[id.len() - 8..]), &format!("…{name}"));
        }
        for asset in ["console.css", "console.js", "icon.svg"] {
            text = text.replace(&crate::page::asset(asset), &format!("/assets/{asset}?v=HASH"));
        }
        text
    }

    async fn seed_apps(&mut self) {
        let app = |name: &str, description: &str, mode| NewApp {
            name: name.to_owned(),
            mode,
            description: description.to_owned(),
            icon: "🤖".to_owned(),
            icon_background: "#FFEAD5".to_owned(),
            dsl_text: format!("app:\n  name: {name}\nkind: app\n"),
        };
        let triage = app("Triage", "Sorts tickets by urgency", AppMode::Workflow);
        let guide = app("Guide", "", AppMode::AdvancedChat);
        let apps = self.store.apps();
        let made = apps.import(vec![(triage.clone(), None), (guide, None)]).await.unwrap();
        let again = apps.import(vec![(triage, None)]).await.unwrap();
        self.app_id = made[0].app.id.clone();
        for (id, name) in [
            (&made[0].app.id, "APP-TRIAGE"),
            (&made[0].version.id, "VERSION-1"),
            (&again[0].version.id, "VERSION-2"),
            (&made[1].app.id, "APP-GUIDE"),
            (&made[1].version.id, "VERSION-GUIDE"),
        ] {
            self.names.push((id.clone(), name.to_owned()));
        }
    }

    pub(crate) fn run(&self, id: &str, ago_s: u64) -> NewRun {
        NewRun {
            id: id.to_owned(),
            app_id: self.app_id.clone(),
            app_name: "Triage".to_owned(),
            mode: AppMode::Workflow,
            kind: JobKind::Embedded,
            upstream: None,
            version_id: "VERSION-2".to_owned(),
            version: "2".to_owned(),
            end_user_id: None,
            session_id: "user-7".to_owned(),
            task_id: None,
            conversation_id: None,
            request_id: Some(REQUEST.to_owned()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            inputs: json!({ "ticket": "The printer is on fire" }),
            created_at: NOW - Duration::from_secs(ago_s),
        }
    }

    async fn seed_runs(&self) {
        let runs = self.store.runs();
        runs.insert(self.run(OLD_RUN, 600)).await.unwrap();
        runs.finish(OLD_RUN, result(RunStatus::Succeeded, 600, None)).await.unwrap();
        runs.insert(self.run(FAILED_RUN, 300)).await.unwrap();
        let error = "model gpt-4o answered 503: overloaded".to_owned();
        runs.finish(FAILED_RUN, result(RunStatus::Failed, 300, Some(error))).await.unwrap();
    }

    async fn seed_jobs(&self) {
        let job = |id: &str, ago_s, callback_url: Option<&str>| NewJob {
            run: self.run(id, ago_s),
            payload: json!({}),
            repeatable: true,
            idempotency: None,
            callback_url: callback_url.map(str::to_owned),
        };
        let jobs = self.store.jobs();
        let batch = vec![job(DEAD_RUN, 200, None), job(DURABLE_RUN, 90, Some("https://hooks.example/done"))];
        jobs.submit_batch(batch).await.unwrap();
        for held in jobs.claim("worker-a", 10, Duration::from_secs(10)).await.unwrap() {
            let finish = if held.id == DEAD_RUN {
                let message = "the app has no version that runs".to_owned();
                Finish::Dead { class: "not_runnable".to_owned(), message, kind: Kind::Bug, result: None }
            } else {
                Finish::Done(result(RunStatus::Succeeded, 90, None))
            };
            jobs.finish(&held.id, held.epoch, finish).await.unwrap();
        }
        jobs.submit(job(QUEUED_RUN, 12, None)).await.unwrap();
        for (slot, pid, jobs) in [(0, 4_101, 1), (1, 4_102, 0)] {
            let worker = Worker {
                id: format!("01930000-0000-7000-8000-0000000000e{slot}"),
                slot,
                pid,
                host: "ops-1".to_owned(),
                started_at: NOW - Duration::from_secs(3_600),
                beat_at: NOW,
                jobs,
            };
            self.store.workers().beat(worker).await.unwrap();
        }
    }

    async fn seed_quiet(&self) {
        let event = |subject: &str| NewEvent {
            at: NOW - Duration::from_secs(86_400),
            subject: subject.to_owned(),
            kind: "silenced".to_owned(),
            actor: "ana".to_owned(),
            text: "silence of app=chat: upgrade".to_owned(),
            detail: json!({}),
        };
        let silence = super::control::silence(&["app=chat".to_owned()], "ana");
        assert!(self.store.silences().add(silence, event("silences")).await.unwrap());
        let swap = OnCallOverride {
            id: "01930000-0000-7000-8000-0000000000e2".to_owned(),
            schedule: "primary".to_owned(),
            person: "ben".to_owned(),
            starts_at: NOW,
            ends_at: NOW + Duration::from_secs(7200),
            author: "ana".to_owned(),
            comment: "dentist".to_owned(),
            created_at: NOW,
            ended_by: None,
        };
        assert!(self.store.on_call().add(swap, event("on-call")).await.unwrap());
    }

    async fn seed_operations(&self) {
        let alert = |id: &str, state, resolved_at, opened_s| Alert {
            id: id.to_owned(),
            rule: "component-down".to_owned(),
            subject: "worker:0".to_owned(),
            severity: Severity::Warning,
            state,
            summary: "worker:0 is down: no heartbeat for 3.2 s".to_owned(),
            detail: json!({}),
            suppressed: None,
            acknowledged_by: None,
            acknowledged_at: None,
            opened_at: NOW - Duration::from_secs(opened_s),
            updated_at: NOW,
            resolved_at,
        };
        let alerts = self.store.alerts();
        let ended = Some(NOW - Duration::from_secs(7_180));
        alerts.upsert(alert(OLD_ALERT, AlertState::Resolved, ended, 7_200)).await.unwrap();
        alerts.upsert(alert(ALERT, AlertState::Firing, None, 20)).await.unwrap();
        self.seed_quiet().await;
        for (ago_s, kind, actor, text) in [
            (21, "health", "mainstay", "worker:0 is down: no heartbeat for 3.2 s"),
            (20, "alert", "mainstay", "alert firing (warning): worker:0 is down: no heartbeat for 3.2 s"),
            (20, "action", "restart-service", "Restart a sick worker process, try 1: the alert fired"),
            (18, "action_done", "restart-service", "process 4100 was ended, 4101 is in its place"),
            (14, "verified", "restart-service", "verified: well again"),
        ] {
            let event = NewEvent {
                at: NOW - Duration::from_secs(ago_s),
                subject: ALERT.to_owned(),
                kind: kind.to_owned(),
                actor: actor.to_owned(),
                text: text.to_owned(),
                detail: json!({ "component": "worker:0", "after": "down" }),
            };
            self.store.timeline().append(event).await.unwrap();
        }
        let execution = Execution {
            id: EXECUTION.to_owned(),
            runbook: "restart-service".to_owned(),
            subject: "worker:0".to_owned(),
            alert_id: Some(ALERT.to_owned()),
            state: "healthy".to_owned(),
            ended: true,
            detail: json!({
                "actor": "mainstay", "why": "worker:0 is down", "incident": ALERT,
                "dry_run": false, "by_hand": false,
            }),
            started_at: NOW - Duration::from_secs(20),
            updated_at: NOW - Duration::from_secs(14),
        };
        self.store.runbooks().insert(execution).await.unwrap();
    }
}

pub(crate) fn result(status: RunStatus, ago_s: u64, error: Option<String>) -> RunResult {
    let started_at = NOW - Duration::from_secs(ago_s);
    let node = |index: u64, node_id: &str, node_type: &str, took_ms: u64, status: &str| NodeExecution {
        id: format!("node-{index}"),
        node_id: node_id.to_owned(),
        node_type: node_type.to_owned(),
        title: node_id.to_owned(),
        index: i64::try_from(index).unwrap(),
        predecessor_node_id: None,
        iteration_id: None,
        status: status.to_owned(),
        inputs: Some(json!({ "ticket": "The printer is on fire" })),
        process_data: None,
        outputs: Some(json!({ "urgency": "high" })),
        error: None,
        metadata: None,
        started_at: started_at + Duration::from_millis(index * 400),
        finished_at: started_at + Duration::from_millis(index * 400 + took_ms),
        elapsed_us: i64::try_from(took_ms * 1_000).unwrap(),
    };
    let last = if error.is_some() { "failed" } else { "succeeded" };
    RunResult {
        status,
        outputs: error.is_none().then(|| json!({ "urgency": "high" })),
        error_kind: error.is_some().then_some(Kind::Upstream),
        error,
        total_tokens: 1_234,
        total_steps: 3,
        exceptions_count: 0,
        started_at,
        finished_at: started_at + Duration::from_millis(2_000),
        elapsed_us: 2_000_000,
        nodes: vec![
            node(0, "start", "start", 2, "succeeded"),
            node(1, "classify", "llm", 1_500, last),
            node(4, "end", "end", 1, "succeeded"),
        ],
        upstream_run_id: None,
        usage: None,
        chat: None,
    }
}

pub(crate) fn request(id: &str) -> Record {
    let stage = |name, outcome, condition: &str, started_us, took_us| record::Stage {
        name,
        outcome,
        condition: condition.to_owned().into(),
        started_us,
        took_us,
    };
    use record::{StageName, StageOutcome::Passed};
    Record {
        request_id: id.to_owned(),
        method: "POST".to_owned(),
        target: "/v1/workflows/run".to_owned(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        snapshot_generation: 7,
        opened_at: NOW - Duration::from_secs(300),
        took_us: 2_012_000,
        outcome: record::Outcome::Ok,
        status: 200,
        app_id: Some("APP-TRIAGE".to_owned()),
        app: Some("Triage".to_owned()),
        upstream: Some("embedded".to_owned()),
        run_id: Some(OLD_RUN.to_owned()),
        run_status: Some("succeeded".to_owned()),
        streamed: true,
        first_byte_us: Some(4_000),
        events: 8,
        bytes_in: 120,
        bytes_out: 4_096,
        input_tokens: Some(1_000),
        output_tokens: Some(234),
        total_tokens: Some(1_234),
        attempts: vec![
            record::Attempt {
                upstream: "dify".to_owned(),
                status: None,
                error: Some("connection refused".to_owned()),
                took_us: 800,
                ..record::Attempt::default()
            },
            record::Attempt {
                upstream: "embedded".to_owned(),
                status: Some(200),
                took_us: 2_009_000,
                ..record::Attempt::default()
            },
        ],
        stages: vec![
            stage(StageName::Bootstrap, Passed, "key of app Triage, snapshot 7", 0, 20),
            stage(StageName::Normalize, Passed, "workflow run, streaming, 120 bytes", 20, 60),
            stage(StageName::Admit, Passed, "3 of 256 requests under way", 80, 5),
            stage(StageName::Execute, Passed, "embedded answered 200 after dify refused", 85, 2_010_000),
            stage(StageName::Check, Passed, "permit settled at the end of the stream", 2_010_085, 10),
            stage(StageName::Compose, Passed, "relayed as it came", 2_010_095, 5),
            stage(StageName::Telemetry, Passed, "kept: one of the samples", 2_010_100, 3),
        ],
        ..Record::blank(record::Path::App)
    }
}

struct FakeApps;

impl Apps for FakeApps {
    fn import(&self, files: Vec<ImportFile>) -> BoxFuture<'static, Result<Vec<Imported>, ImportError>> {
        Box::pin(async move {
            let bad = files.iter().filter(|file| !file.content.starts_with("kind: app"));
            let problems: Vec<ImportProblem> = bad
                .map(|file| ImportProblem {
                    file: file.name.clone(),
                    path: "kind".to_owned(),
                    node_id: None,
                    node_type: None,
                    message: format!("is not an app: {}", file.content),
                })
                .collect();
            if !problems.is_empty() {
                return Err(ImportError::Problems(problems));
            }
            let imported = |file: ImportFile| Imported {
                file: file.name,
                app_id: "APP-NEW".to_owned(),
                name: "New".to_owned(),
                mode: AppMode::Workflow,
                version_id: "VERSION-NEW".to_owned(),
                version_number: 1,
                is_new_app: true,
                api_key: Some("app-shown-once".to_owned()),
            };
            Ok(files.into_iter().map(imported).collect())
        })
    }
}
