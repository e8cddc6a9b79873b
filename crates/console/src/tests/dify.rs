//! Pages beside a Dify: what they show, that names in it stay text, and that nothing is done that was not shown first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::StatusCode;
use mainstay_base::{Evidence, Finding, Severity, finding::Subject};
use mainstay_control::{
    Change,
    doctor::{Budget, Diagnosis, Part, SchemaFacts},
    queue::{
        Acted, Action, Done, Drain, Latest, NotActed, Plan, QueueView, Refused, Share, Step, Undo, Verdicts,
    },
};
use mainstay_store::model::{DifyAdd, DifyBatch, DifyItem, DifySeries};
use serde_json::{Value, json};

use super::{names, world::*};
use crate::Dify;

const APP: &str = "5f5f0000-0000-7000-8000-0000000000a1";
const QUIET_APP: &str = "5f5f0000-0000-7000-8000-0000000000a2";

/// A Dify in which everything is called the same, or so that a page can be read.
pub(crate) struct Watched {
    named: Option<String>,
    is_new: bool,
    done: Mutex<Vec<(Value, bool)>>,
}

impl Watched {
    fn new(named: Option<&str>) -> Arc<Watched> {
        Arc::new(Watched { named: named.map(str::to_owned), is_new: false, done: Mutex::default() })
    }

    fn name(&self, otherwise: &str) -> String {
        self.named.clone().unwrap_or_else(|| otherwise.to_owned())
    }

    fn finding(&self, id: &str, severity: Severity, what: &str, subject: Subject) -> Finding {
        Finding {
            id: self.name(id),
            severity,
            component: self.name("queue:workflow_based_app_execution"),
            subject,
            what: self.name(what),
            cause: self.name("the list of queues of the workers lacks it"),
            remedy: self.name("add it to CELERY_QUEUES of a worker"),
            evidence: vec![Evidence::new(self.name("LLEN workflow_based_app_execution"), self.name("17"))],
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let of_queue = Subject {
            queue: Some(self.name("workflow_based_app_execution")),
            app: Some(self.name(APP)),
            ..Subject::default()
        };
        let of_worker = Subject {
            worker: Some(self.name("silent@test")),
            task: Some(self.name("task-1")),
            tenant: Some(self.name("workspace-1")),
            run: Some(self.name("run-1")),
            ..Subject::default()
        };
        let stuck =
            Subject { run: Some(self.name("run-2")), app: Some(self.name(APP)), ..Subject::default() };
        // Its id leads to what can be done.
        let stuck = Finding {
            id: "S23".to_owned(),
            ..self.finding("", Severity::Warning, "3 runs are `running` for over 20 min", stuck)
        };
        vec![
            self.finding("S18", Severity::Critical, "17 messages wait and no worker consumes them", of_queue),
            self.finding("worker-mute", Severity::Warning, "silent@test does not answer", of_worker),
            stuck,
            self.finding("pool-budget", Severity::Note, "worth knowing", Subject::default()),
        ]
    }

    fn queue(&self, name: &str, waiting: u64, consumers: &[&str], drain: Drain) -> QueueView {
        let share = |name: &str| Share { name: self.name(name), count: 12 };
        let rates = json!({
            "over_s": 60.0, "drain": 0.2, "drain_error": 0.01, "arrivals": 1.5, "service": 1.7, "variance": 1.0,
        });
        QueueView {
            name: self.name(name),
            waiting,
            by_step: [waiting.saturating_sub(2), 0, waiting.min(2), 0],
            consumers: consumers.iter().map(|name| self.name(name)).collect(),
            oldest_s: (waiting > 0).then_some(312.4),
            oldest_is_at_least: true,
            rates: (!consumers.is_empty()).then(|| serde_json::from_value(rates).unwrap()),
            drain,
            wait_s: (!consumers.is_empty()).then_some(7.1),
            sampled: 12,
            tasks: vec![share("tasks.document_indexing_task")],
            subjects: vec![share("app 5f5f")],
        }
    }
}

impl Dify for Watched {
    fn name(&self) -> String {
        self.name("production")
    }

    fn queues(&self) -> Option<Arc<Latest>> {
        if self.is_new {
            return Some(Arc::default());
        }
        let within = Drain::Within { expected_s: 130.0, earliest_s: 90.0, latest_s: Some(200.0) };
        let mut queues = vec![self.queue("workflow_based_app_execution", 17, &[], Drain::TooSoon)];
        if self.named.is_none() {
            queues.push(self.queue("dataset", 12, &["busy@test"], within));
            queues.push(self.queue("mail", 0, &["busy@test"], Drain::Empty));
        }
        let seen = serde_json::from_value(self.seen()).unwrap();
        let verdicts = Verdicts { findings: self.findings(), queues };
        Some(Arc::new(Latest { seen: Some(seen), verdicts }))
    }

    fn diagnosis(&self) -> Option<Arc<Diagnosis>> {
        if self.is_new {
            return None;
        }
        let report = |component: &str, state: &str, reason: &str, latency: Option<u64>| {
            json!({
                "component": component, "state": state, "reason": self.name(reason), "latency_ms": latency,
                "proves": self.name("it answers"), "leaves_open": self.name("whether runs end"),
                "facts": { "version": self.name("1.13.3") }, "findings": [],
            })
        };
        let reports = json!([
            report("api", "ok", "answers", Some(12)),
            report("database", "degraded", "96 of 100 connections are open", Some(3)),
            report("plugin-daemon", "down", "connection refused", None),
            report("sandbox", "not_configured", "", None),
        ]);
        let part = |who: &str, formula: &str, connections| Part {
            who: self.name(who),
            formula: formula.to_owned(),
            connections,
        };
        Some(Arc::new(Diagnosis {
            at: NOW - Duration::from_secs(9),
            deployment: self.name("production"),
            version: Some(self.name("1.13.3")),
            findings: self.findings(),
            reports: serde_json::from_value(reports).unwrap(),
            workers: Vec::new(),
            schema: Some(SchemaFacts {
                revision: Some(self.name("f6e4c5ed1234")),
                release: Some(self.name("1.13")),
                missing: vec![(
                    self.name("triggers are not read"),
                    self.name("grant select on app_triggers"),
                )],
            }),
            budget: Some(Budget {
                parts: vec![part("api", "2 × (30 + 10)", 80), part("workers", "1 × (30 + 10)", 40)],
                at_most: 120,
                allowed: 100,
            }),
            queues: Vec::new(),
            missed: vec![self.name("the plugin references were not compared")],
        }))
    }

    fn meaning(&self, signature: &str) -> Option<(String, String)> {
        let is_known = signature == self.name("S54");
        is_known.then(|| (self.name("the provider counts requests"), self.name("ask for a higher limit")))
    }

    fn act(&self, action: Action, change: Change) -> BoxFuture<'_, Result<Acted, NotActed>> {
        let told = serde_json::to_value(&action).unwrap();
        let is_guarded = told["action"] == "cancel-consumer" && !change.force;
        let is_final = ["revoke", "shutdown", "requeue"].contains(&told["action"].as_str().unwrap());
        self.done.lock().unwrap().push((told, change.dry_run));
        let words = self.name("busy@test takes nothing more from dataset");
        let undo = if is_final {
            Undo::Irreversible(self.name("a worker does not unlearn it"))
        } else {
            Undo::By(self.name("mainstay queue act undo"))
        };
        let plan = json!({ "sends": self.name("cancel_consumer {}"), "to": self.name("busy@test"), "changes": words });
        Box::pin(async move {
            if is_guarded {
                let next = "add another consumer first".to_owned();
                return Err(Refused::Guard {
                    why: "nobody else consumes dataset".to_owned(),
                    next,
                    can_force: true,
                }
                .into());
            }
            let plan = plan_of(action, &plan, undo.clone());
            let done = Done {
                text: words.clone(),
                undo,
                said: vec![(words.clone(), words.clone())],
                file: Some(words.into()),
            };
            Ok(Acted { plan, done: (!change.dry_run).then_some(done) })
        })
    }
}

fn plan_of(action: Action, step: &Value, undo: Undo) -> Plan {
    let text = |name: &str| step[name].as_str().unwrap().to_owned();
    let step = Step { sends: text("sends"), to: text("to"), changes: text("changes") };
    Plan { action, steps: vec![step], undo, warnings: vec![text("to")], seen_at: NOW }
}

impl Watched {
    /// One look: a worker that answers, and one that does not any more.
    fn seen(&self) -> Value {
        let at = |ago_s: u64| (NOW - Duration::from_secs(ago_s)).0;
        let about =
            json!({ "app": self.name(APP), "run": self.name("run-7"), "dataset": self.name("dataset-1") });
        let task = |id: &str, started_at: Option<i64>| {
            json!({
                "id": self.name(id), "task": self.name("tasks.document_indexing_task"),
                "queue": self.name("dataset"), "started_at": started_at, "about": about,
            })
        };
        let peek = |id: &str| {
            json!({ "task": {
                "id": self.name(id), "task": self.name("tasks.document_indexing_task"), "about": about,
                "redelivered": false, "bytes": 1_234,
            } })
        };
        let broken = json!({ "broken": { "why": self.name("no JSON"), "bytes": 3 } });
        let large = json!({ "too_large": { "bytes": 40_000_000 } });
        let queue = |name: &str| {
            let ends = if self.named.is_some() || name == "dataset" {
                [vec![peek("m-1"), broken.clone()], vec![large.clone()]]
            } else {
                Default::default()
            };
            json!({ "name": self.name(name), "waiting": [10, 0, 2, 0], "oldest": ends[0], "newest": ends[1] })
        };
        let busy = json!({
            "name": self.name("busy@test"),
            "heard": { "at": at(1), "every_s": 2.0, "active": 1, "processed": 1_042, "load": [0.5, 0.4, 0.3], "pid": 7 },
            "answer": {
                "at": at(4), "pool": "gevent", "concurrency": 10, "prefetch": 10,
                "queues": [self.name("dataset"), self.name("mail")],
                "active": [task("t-1", Some(at(65)))], "reserved": [task("t-2", None)],
                "done": [[self.name("tasks.document_indexing_task"), 1_042]], "uptime_s": 86_400, "autoscale": null,
            },
            "silent_rounds": 0, "silent_since": null, "said_goodbye": false,
        });
        let silent = json!({
            "name": self.name("silent@test"), "heard": null, "answer": null,
            "silent_rounds": 4, "silent_since": at(80), "said_goodbye": false,
        });
        json!({
            "at": at(2), "queues": [queue("workflow_based_app_execution"), queue("dataset"), queue("mail")],
            "unacked": { "count": 41, "oldest": [{
                "tag": self.name("tag-1"), "delivered_at": at(4_000), "queue": self.name("dataset"),
                "eta": self.name("2026-11-23T10:00:00"), "message": peek("m-9"),
            }] },
            "workers": [busy, silent], "listeners": 2, "asked_at": at(4), "listening_since": at(900),
            "tenants": [
                { "kind": self.name("document_indexing"), "tenant": self.name("workspace-1"), "waiting": 5, "flag": false, "flag_ttl_s": null },
                { "kind": self.name("pipeline"), "tenant": self.name("workspace-2"), "waiting": 2, "flag": true, "flag_ttl_s": 1_800 },
            ],
            "bound": [], "missed": [],
        })
    }
}

/// A world beside a Dify of which something was read.
async fn world(named: Option<&str>) -> (World, Arc<Watched>) {
    let dify = Watched::new(named);
    let world = World::beside(named, Some(dify.clone())).await;
    let source = dify.name("production");
    let text = |otherwise: &str| named.unwrap_or(otherwise).to_owned();
    let app = json!({ "tenant": "w", "name": text("Support bot"), "mode": "workflow", "status": "normal" });
    world.store.dify().put_state(&source, &format!("app:{}", text(APP)), app.to_string()).await.unwrap();
    if named.is_none() {
        let app = json!({ "name": "Nobody asks it", "mode": "chat" }).to_string();
        world.store.dify().put_state(&source, &format!("app:{QUIET_APP}"), app).await.unwrap();
    }
    let reading = json!({
        "at": text("postgres.internal:5432"), "rows": 9_000, "missing": [text("triggers are not read")],
        "tables": [{ "kind": "run", "lag_seconds": 3.2 }], "last_failure": text("a query was too slow"),
    });
    world.store.dify().put_state(&source, "reading", reading.to_string()).await.unwrap();
    let series = |kind: &str, status: &str, class: &str, currency: &str| {
        let labels = DifySeries {
            kind: kind.to_owned(),
            app_id: text(APP),
            mode: text("workflow"),
            status: status.to_owned(),
            class: class.to_owned(),
            currency: currency.to_owned(),
            ..DifySeries::default()
        };
        Arc::new(labels.numbered())
    };
    let good = series("run", "succeeded", "", "");
    let bad = series("run", "failed", &text("provider_rate_limited"), "");
    let node = series("node", "succeeded", "", &text("USD"));
    let item = |number: u64, series: &Arc<DifySeries>, error: Option<&str>| {
        let at = NOW - Duration::from_secs(60 * (number + 1));
        let add = |series: &Arc<DifySeries>, took_ms: u64, tokens: i64| DifyAdd {
            series: Arc::clone(series),
            at,
            took_us: Some(i64::try_from(took_ms * 1_000).unwrap()),
            wait_us: (series.kind == "run").then_some(250_000),
            tokens,
            input_tokens: 0,
            output_tokens: 0,
            price_nanos: tokens * 2_500,
        };
        let body = json!({
            "origin": text("service-api"), "took_us": 1_500_000, "wait_us": 250_000, "tokens": 900,
            "error": error, "signature": error.map(|_| text("S54")),
        });
        DifyItem {
            id: format!("5f5f0000-0000-7000-8000-00000000r{number:03}"),
            created_at: at,
            app_id: text(APP),
            status: text(&series.status),
            class: series.class.clone(),
            look_at: None,
            body: body.to_string(),
            adds: vec![add(series, 1_500 + number * 100, 0), add(&node, 900, 900)],
        }
    };
    let error = text("[openai] Error: RateLimitError, 429 Too Many Requests");
    let items = [item(0, &good, None), item(1, &bad, Some(&error)), item(2, &good, None)];
    let batch = DifyBatch {
        source,
        kind: "run",
        after: 0,
        next: None,
        items: items.into(),
        series: [good, bad, node].into(),
    };
    world.store.dify().take(batch).await.unwrap();
    (world, dify)
}

const PAGES: [(&str, &str); 10] = [
    ("dify", "/dify"),
    ("queues", "/queues"),
    ("queue_stuck", "/queues/workflow_based_app_execution"),
    ("queue_dataset", "/queues/dataset"),
    ("worker", "/queues/workers/busy%40test"),
    ("worker_silent", "/queues/workers/silent%40test"),
    ("dify_apps", "/dify/apps"),
    ("dify_apps_day", "/dify/apps?span=day"),
    ("dify_app", "/dify/apps/5f5f0000-0000-7000-8000-0000000000a1"),
    ("dify_app_quiet", "/dify/apps/5f5f0000-0000-7000-8000-0000000000a2"),
];

#[tokio::test]
async fn every_page_beside_a_dify_looks_as_it_did() {
    let (world, _) = world(None).await;
    for (name, path) in PAGES {
        let page = world.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        insta::assert_snapshot!(format!("page_{name}"), world.fixed(&page.text));
        let twin = world.get(&format!("/api{path}")).await;
        assert_eq!(twin.status, StatusCode::OK, "{path}: {}", twin.text);
        let pretty = serde_json::to_string_pretty(&twin.json()).unwrap();
        insta::assert_snapshot!(format!("twin_{name}"), world.fixed(&pretty));
    }
}

#[tokio::test]
async fn without_a_dify_its_pages_say_how_to_name_one_and_are_not_in_the_navigation() {
    let world = World::empty().await;
    for (_, path) in PAGES {
        let page = world.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.text.contains("mainstay init --dify-env"), "{path}: {}", page.text);
        assert_eq!(world.get(&format!("/api{path}")).await.json()["error"]["code"], "no_dify");
    }
    let refused = world.post("/api/dify/act", &json!({ "action": "purge", "queue": "dataset" })).await;
    assert_eq!(refused.json()["error"]["code"], "no_dify");
    assert!(!world.get("/overview").await.text.contains("href=\"/queues\""));
}

#[tokio::test]
async fn before_the_first_look_pages_say_so() {
    let dify = Arc::new(Watched { named: None, is_new: true, done: Mutex::default() });
    let world = World::beside(None, Some(dify)).await;
    for (path, words) in [
        ("/dify", "Not looked at yet"),
        ("/queues", "was not looked at yet"),
        ("/dify/apps", "Nobody has read"),
    ] {
        let page = world.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.text.contains(words), "{path}: {}", page.text);
    }
    assert_eq!(world.get("/queues/dataset").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.get("/dify/apps?span=year").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn nothing_is_done_that_was_not_shown_first() {
    let (world, dify) = world(None).await;
    let grow = [("action", "grow-pool"), ("worker", "busy@test"), ("by", "2"), ("why", "a < b")];
    let shown = world.form("/dify/act", &grow).await;
    assert_eq!(shown.status, StatusCode::OK, "{}", shown.text);
    insta::assert_snapshot!("page_dify_planned", world.fixed(&shown.text));
    let again = [&grow[..], &[("force", "false"), ("dry_run", "false")]].concat();
    let done = world.form("/dify/act", &again).await;
    insta::assert_snapshot!("page_dify_done", world.fixed(&done.text));
    let action = json!({ "action": "grow-pool", "worker": "busy@test", "by": 2 });
    let steps = [(action.clone(), true), (action.clone(), true), (action, false)];
    assert_eq!(*dify.done.lock().unwrap(), steps, "shown; looked at again and done");
}

#[tokio::test]
async fn a_stuck_run_is_marked_failed_from_what_was_found_of_it_and_that_is_taken_back() {
    let (world, dify) = world(None).await;
    for page in ["/dify", "/queues", "/dify/apps/5f5f0000-0000-7000-8000-0000000000a1"] {
        let text = world.get(page).await.text;
        let form =
            text.split("<form ").find(|form| form.contains("value=\"fail-run\"") && form.contains("run-2"));
        assert!(form.is_some_and(|form| form.contains("action=\"/dify/act\"")), "{page}: {text}");
    }
    let fields =
        |action: &'static str| [("action", action), ("run", "run-2"), ("worker", ""), ("why", "it is dead")];
    for action in ["fail-run", "reopen-run"] {
        let shown = world.form("/dify/act", &fields(action)).await;
        assert!(shown.text.contains("<h1>What it would do</h1>"), "{}", shown.text);
        let done = world.form("/dify/act", &[&fields(action)[..], &[("dry_run", "false")]].concat()).await;
        assert!(done.text.contains("<h1>Done</h1>"), "{}", done.text);
    }
    let step = |action: &str, is_dry| (json!({ "action": action, "run": "run-2" }), is_dry);
    let steps = [
        step("fail-run", true),
        step("fail-run", true),
        step("fail-run", false),
        step("reopen-run", true),
        step("reopen-run", true),
        step("reopen-run", false),
    ];
    assert_eq!(*dify.done.lock().unwrap(), steps);
}

#[tokio::test]
async fn what_cannot_be_taken_back_needs_its_name_typed() {
    let (world, dify) = world(None).await;
    let shutdown = [("action", "shutdown"), ("worker", "busy@test")];
    let shown = world.form("/dify/act", &shutdown).await;
    assert!(
        shown.text.contains("cannot be taken back") && shown.text.contains("name=\"confirm\""),
        "{}",
        shown.text
    );
    let did = || dify.done.lock().unwrap().iter().filter(|(_, is_dry)| !is_dry).count();
    for typed in ["", "busy", "BUSY@TEST", "silent@test"] {
        let fields = [&shutdown[..], &[("dry_run", "false"), ("confirm", typed)]].concat();
        let page = world.form("/dify/act", &fields).await;
        assert!(page.text.contains("Nothing was done"), "{}", page.text);
        let body = json!({ "action": "shutdown", "worker": "busy@test", "dry_run": false, "confirm": typed });
        let answer = world.post("/api/dify/act", &body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.json()["error"]["code"], "not_confirmed");
    }
    assert_eq!(did(), 0);
    let fields = [&shutdown[..], &[("dry_run", "false"), ("confirm", " busy@test ")]].concat();
    let page = world.form("/dify/act", &fields).await;
    assert!(page.text.contains("<h1>Done</h1>"), "{}", page.text);
    assert_eq!(did(), 1);
}

#[tokio::test]
async fn what_a_guard_refuses_can_be_forced_after_a_look_at_it() {
    let (world, dify) = world(None).await;
    let cancel = [("action", "cancel-consumer"), ("queue", "dataset"), ("worker", "")];
    let refused = world.form("/dify/act", &cancel).await;
    assert!(refused.text.contains("nobody else consumes dataset"), "{}", refused.text);
    assert!(refused.text.contains("name=\"force\" value=\"true\"") && !refused.text.contains("dry_run"));
    let api = world.post("/api/dify/act", &json!({ "action": "cancel-consumer", "queue": "dataset" })).await;
    assert_eq!((api.status, api.json()["error"]["code"].clone()), (StatusCode::CONFLICT, json!("conflict")));
    let forced = world.form("/dify/act", &[&cancel[..], &[("force", "true")]].concat()).await;
    assert!(forced.text.contains("What it would do"), "{}", forced.text);
    assert!(dify.done.lock().unwrap().iter().all(|(_, is_dry)| *is_dry));
}

#[tokio::test]
async fn what_is_no_action_is_refused_with_a_reason() {
    let (world, dify) = world(None).await;
    for body in [
        json!({}),
        json!({ "action": "explode" }),
        json!({ "action": "purge" }),
        json!({ "action": "purge", "queue": "dataset", "extra": 1 }),
        json!({ "action": "grow-pool", "worker": "busy@test", "by": "many" }),
        json!({ "action": "grow-pool", "worker": "busy@test", "by": "-1" }),
        json!({ "action": "revoke", "task_id": "t-1", "terminate": "perhaps" }),
    ] {
        let answer = world.post("/api/dify/act", &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}: {}", answer.text);
        assert_eq!(answer.json()["error"]["code"], "bad_action", "{body}");
    }
    assert!(dify.done.lock().unwrap().is_empty());
}

/// Every form of a page and the fields that it sends without script, checked boxes left out.
#[tokio::test]
async fn forms_work_without_script() {
    let (world, _) = world(None).await;
    for (_, path) in PAGES {
        let page = world.get(path).await.text;
        for form in page.split("<form ").skip(1).map(|form| form.split("</form>").next().unwrap()) {
            assert!(form.contains("<button"), "{path}: {form}");
            if !form.contains("action=\"/dify/act\"") {
                continue;
            }
            let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
            for tag in form.split('<').filter(|tag| tag.starts_with("input") || tag.starts_with("button")) {
                let value = attribute(tag, "value");
                match (attribute(tag, "name"), attribute(tag, "type")) {
                    (Some(_), Some("checkbox")) | (None, _) => {}
                    (Some(name), _) => drop(fields.insert(name, value.unwrap_or("x"))),
                }
            }
            for select in form.split("<select ").skip(1) {
                let first = select.split("<option ").nth(1).unwrap_or_default();
                fields.insert(attribute(select, "name").unwrap(), attribute(first, "value").unwrap());
            }
            let pairs: Vec<(&str, &str)> = fields.into_iter().collect();
            let answer = world.form("/dify/act", &pairs).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {pairs:?}: {}", answer.text);
        }
    }
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = tag.split_once(&format!("{name}=\""))?;
    value.split('"').next()
}

#[tokio::test]
async fn names_in_a_dify_stay_text() {
    let plain = "plain";
    let path = |path: &str, name: &str| path.replace("NAME", &names::encoded(name));
    let pages = ["/dify", "/queues", "/queues/NAME", "/queues/workers/NAME", "/dify/apps", "/dify/apps/NAME"];
    let act = |name: &str, action: &str| {
        vec![("action", action.to_owned()), ("worker", name.to_owned()), ("why", name.to_owned())]
    };
    let (expected, _) = world(Some(plain)).await;
    for name in names::hostile_names() {
        let (world, _) = world(Some(&name)).await;
        for page in pages {
            if page.contains("NAME") && name.chars().count() > 200 {
                continue;
            }
            let (answer, wanted) =
                (world.get(&path(page, &name)).await, expected.get(&path(page, plain)).await);
            assert_eq!(answer.status, StatusCode::OK, "{page} of {name:?}: {}", answer.text);
            let ((elements, texts), wanted) = (names::read(&answer.text), names::read(&wanted.text).0);
            assert_eq!(elements, wanted, "{page} of {name:?}");
            assert_eq!(
                texts.iter().find(|text| text.chars().any(names::turns_text)),
                None,
                "{page} of {name:?}"
            );
        }
        for (action, more) in [
            ("shutdown", None),
            ("shutdown", Some(("dry_run", "false"))),
            ("grow-pool", Some(("dry_run", "false"))),
        ] {
            let asked = |name: &str| {
                let mut fields = act(name, action);
                fields.extend(more.map(|(field, value)| (field, value.to_owned())));
                fields.extend((action == "grow-pool").then(|| ("by", "1".to_owned())));
                fields
            };
            let send = async |world: &World, name: &str| {
                let fields = asked(name);
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(field, value)| (*field, value.as_str())).collect();
                world.form("/dify/act", &fields).await
            };
            let (answer, wanted) = (send(&world, &name).await, send(&expected, plain).await);
            assert_eq!(answer.status, StatusCode::OK, "{action} of {name:?}: {}", answer.text);
            assert_eq!(names::read(&answer.text).0, names::read(&wanted.text).0, "{action} of {name:?}");
        }
    }
}
