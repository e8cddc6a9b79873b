//! Runs that outlive their request.

use std::{sync::Arc, time::Duration};

use crate::stage::{Answer, Stage};
use mainstay_base::{AppMode, Secret, TraceParent, id};
use mainstay_standby::{Endpoint, Submission, Target};
use mainstay_store::model::{Finish, Finished, Job, RunStatus};
use mainstay_testkit::{HttpServer, http_server, wait_until};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const LEASE: Duration = Duration::from_secs(30);

fn submission(app_id: &str, endpoint: Endpoint, body: Value) -> Submission {
    Submission {
        app_id: app_id.to_owned(),
        target: Target::Embedded,
        endpoint,
        body_hash: body.to_string(),
        body,
        idempotency_key: None,
        callback_url: None,
        request_id: id::new(),
        trace: TraceParent::new_root(),
    }
}

async fn submit(stage: &Stage, submission: Submission) -> Answer {
    crate::stage::answer(stage.standby.submit(submission).await).await
}

async fn claim(stage: &Stage) -> Job {
    let mut jobs = stage.store.jobs().claim("w1", 1, LEASE).await.unwrap();
    jobs.pop().expect("a job is due")
}

/// Claims one job, executes it and stores its end.
async fn work(stage: &Stage) -> (Job, Finished) {
    let job = claim(stage).await;
    let finish = stage.standby.execute(&job, CancellationToken::new()).await;
    let finished = stage.store.jobs().finish(&job.id, job.epoch, finish).await.unwrap();
    (job, finished)
}

#[tokio::test]
async fn an_accepted_run_is_queued_executed_and_found() {
    let stage = Stage::new().await;
    let body = json!({"inputs": {"name": "Ann"}, "user": "u"});
    let accepted = submit(&stage, submission(&stage.app_id("wf-form"), Endpoint::Workflow, body)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let run = accepted.json();
    let run_id = run["workflow_run_id"].as_str().unwrap().to_owned();
    assert_eq!(run["data"]["status"], "queued");
    assert_eq!(accepted.headers["location"], format!("/v1/workflows/run/{run_id}"));
    assert_eq!(accepted.headers["preference-applied"], "respond-async");
    assert_eq!(accepted.headers["x-version"], "1.12.1");
    let target = format!("/v1/workflows/run/{run_id}");
    assert_eq!(stage.get("wf-form", &target).await.json()["status"], "queued");

    assert_eq!(work(&stage).await.1, Finished::Stored);
    let detail = stage.get("wf-form", &target).await.json();
    assert_eq!(detail["status"], "succeeded");
    assert!(detail["outputs"].as_str().unwrap().contains("Hello Ann!"), "{detail}");
    assert!(!stage.store.runs().nodes(&run_id).await.unwrap().is_empty());
    let found = stage.standby.find(&stage.app_id("wf-form"), &run_id).await.unwrap();
    assert_eq!(crate::stage::answer(found).await.json()["status"], "succeeded");
    assert!(stage.standby.find(&stage.app_id("wf-llm"), &run_id).await.is_none());

    let callback = stage.standby.callback(&run_id).await.unwrap().unwrap();
    assert_eq!(callback["type"], "workflow.run.finished");
    assert_eq!(callback["data"]["id"], run_id);
    assert_eq!(callback["data"]["status"], "succeeded");
}

#[tokio::test]
async fn an_idempotency_key_means_one_run() {
    let stage = Stage::new().await;
    let with_key = |name: &str| Submission {
        idempotency_key: Some("key-1".to_owned()),
        ..submission(
            &stage.app_id("wf-form"),
            Endpoint::Workflow,
            json!({"inputs": {"name": name}, "user": "u"}),
        )
    };
    let first = submit(&stage, with_key("Ann")).await;
    assert!(first.headers.get("idempotency-replayed").is_none());
    let second = submit(&stage, with_key("Ann")).await;
    assert_eq!(
        (second.status.as_u16(), &second.headers["idempotency-replayed"]),
        (202, &http::HeaderValue::from_static("true"))
    );
    assert_eq!(second.json()["workflow_run_id"], first.json()["workflow_run_id"]);
    let conflict = submit(&stage, with_key("Bob")).await;
    assert_eq!(conflict.status, 422);
    assert_eq!(conflict.json()["code"], "idempotency_key_reused");
    assert_eq!(stage.stored_runs().await, 1);
    work(&stage).await;
    assert_eq!(submit(&stage, with_key("Ann")).await.json()["data"]["status"], "succeeded");
    let mut bad = with_key("Ann");
    bad.idempotency_key = Some("x".repeat(256));
    assert_eq!(submit(&stage, bad).await.status, 400);
}

#[tokio::test]
async fn a_hundred_callers_with_one_key_share_one_run() {
    let stage = Stage::new().await;
    let body = json!({"inputs": {"name": "Ann"}, "user": "u"});
    let one = || Submission {
        idempotency_key: Some("key-1".to_owned()),
        ..submission(&stage.app_id("wf-form"), Endpoint::Workflow, body.clone())
    };
    let answers = futures_util::future::join_all((0..100).map(|_| submit(&stage, one()))).await;
    let new = answers.iter().filter(|answer| !answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(new.count(), 1);
    let id = answers[0].json()["workflow_run_id"].clone();
    assert!(answers.iter().all(|answer| answer.status == 202 && answer.json()["workflow_run_id"] == id));
    assert_eq!(stage.stored_runs().await, 1);
}

#[tokio::test]
async fn what_a_run_would_refuse_is_refused_and_nothing_is_stored() {
    let stage = Stage::new().await;
    let app = stage.app_id("wf-form");
    let good = json!({"inputs": {"name": "a"}, "user": "u"});
    for (submission, status) in [
        (submission(&app, Endpoint::Workflow, json!({"inputs": {}, "user": "u"})), 400),
        (submission(&app, Endpoint::Workflow, json!({"inputs": {"name": "a"}})), 400),
        (submission(&app, Endpoint::Version(id::new()), good.clone()), 404),
        (submission(&app, Endpoint::Chat, json!({"inputs": {}, "query": "q", "user": "u"})), 400),
        (
            Submission {
                callback_url: Some("ftp://x/".into()),
                ..submission(&app, Endpoint::Workflow, good)
            },
            400,
        ),
    ] {
        assert_eq!(submit(&stage, submission).await.status, status);
    }
    assert_eq!(stage.stored_runs().await, 0);
    assert_eq!(stage.store.jobs().stats().await.unwrap().queued, 0);
}

#[tokio::test]
async fn a_durable_chat_opens_its_conversation_when_it_is_answered() {
    let stage = Stage::new().await;
    let body = json!({"inputs": {}, "query": "hello there", "user": "u"});
    let accepted = submit(&stage, submission(&stage.app_id("cf-llm"), Endpoint::Chat, body)).await.json();
    assert_eq!((&accepted["event"], &accepted["status"]), (&json!("message"), &json!("queued")));
    assert_eq!(work(&stage).await.1, Finished::Stored);
    let conversation = accepted["conversation_id"].as_str().unwrap();
    let target = format!("/v1/messages?user=u&conversation_id={conversation}");
    let messages = stage.get("cf-llm", &target).await.json();
    assert_eq!(messages["data"][0]["id"], accepted["message_id"]);
    assert_eq!(messages["data"][0]["answer"], "Echo from fake-chat: hello there");
    let callback =
        stage.standby.callback(accepted["workflow_run_id"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!(callback["data"]["answer"], "Echo from fake-chat: hello there");
}

#[tokio::test]
async fn a_model_that_fails_is_tried_again_and_then_a_dead_letter_keeps_the_result() {
    let stage = Stage::with(|options| options.retries.upstream = 1).await;
    let body = json!({"inputs": {"query": "[[fail:server]]"}, "user": "u"});
    submit(&stage, submission(&stage.app_id("wf-llm"), Endpoint::Workflow, body)).await;
    let (job, finished) = work(&stage).await;
    assert_eq!(finished, Finished::Dead);
    let run = stage.store.runs().get(&job.run_id).await.unwrap().unwrap();
    assert_eq!(run.summary.status, RunStatus::Failed);
    assert_eq!(stage.store.jobs().dead(10).await.unwrap()[0].class, "upstream");

    let stage = Stage::new().await;
    let body = json!({"inputs": {"query": "[[fail:server]]"}, "user": "u"});
    submit(&stage, submission(&stage.app_id("wf-llm"), Endpoint::Workflow, body)).await;
    let job = claim(&stage).await;
    let finish = stage.standby.execute(&job, CancellationToken::new()).await;
    assert!(matches!(finish, Finish::Retry { .. }), "{finish:?}");
}

#[tokio::test]
async fn a_stop_reaches_a_run_in_the_queue_and_one_with_a_worker() {
    let stage = Stage::new().await;
    let app = stage.app_id("wf-llm");
    let slow = json!({"inputs": {"query": "[[delay:60]]"}, "user": "u"});
    let queued = submit(&stage, submission(&app, Endpoint::Workflow, slow.clone())).await.json();
    let target = format!("/v1/workflows/tasks/{}/stop", queued["task_id"].as_str().unwrap());
    assert_eq!(
        stage.post("wf-llm", &target, &json!({"user": "u"})).await.json(),
        json!({"result": "success"})
    );
    let run_id = queued["task_id"].as_str().unwrap();
    stage.store.runs().get(run_id).await.unwrap().unwrap();
    let detail = stage.get("wf-llm", &format!("/v1/workflows/run/{run_id}")).await;
    assert_eq!(detail.json()["status"], "stopped");

    let held = submit(&stage, submission(&app, Endpoint::Workflow, slow)).await.json();
    let job = claim(&stage).await;
    let stop = CancellationToken::new();
    let execution = stage.standby.execute(&job, stop.clone());
    let target = format!("/v1/workflows/tasks/{}/stop", held["task_id"].as_str().unwrap());
    let worker = async {
        stage.post("wf-llm", &target, &json!({"user": "u"})).await;
        let held = stage.store.jobs().renew("w1", vec![(job.id.clone(), job.epoch)], LEASE).await.unwrap();
        assert!(held[0].cancel_requested);
        stop.cancel();
    };
    let (finish, ()) = tokio::join!(execution, worker);
    assert!(matches!(finish, Finish::Cancelled(Some(_))), "{finish:?}");
}

#[tokio::test]
async fn a_worker_that_ends_leaves_its_run_to_dify_and_a_cancel_stops_it_there() {
    let cut: &'static str = recorded_stream().split_inclusive("\n\n").next().unwrap();
    let (stage, dify) = with_dify(move |request: http::Request<bytes::Bytes>| async move {
        if request.uri().path().ends_with("/stop") {
            return http_server::json(200, &json!({"result": "success"}));
        }
        let pieces = vec![
            (Duration::ZERO, bytes::Bytes::from_static(cut.as_bytes())),
            (Duration::from_secs(60), bytes::Bytes::new()),
        ];
        http_server::events(pieces, false)
    })
    .await;
    let stops = || dify.requests().iter().filter(|request| request.uri().path().ends_with("/stop")).count();
    for is_cancelled in [false, true] {
        submit(&stage, at_upstream(&stage, false)).await;
        let job = claim(&stage).await;
        let stop = CancellationToken::new();
        let control = async {
            wait_until("the run is started", Duration::from_secs(10), || async {
                let run = stage.store.runs().get(&job.run_id).await.unwrap().unwrap();
                run.summary.upstream_run_id.is_some().then_some(())
            })
            .await;
            if is_cancelled {
                stage.store.jobs().cancel(&job.run_id).await.unwrap();
            }
            stop.cancel();
        };
        let (finish, ()) = tokio::join!(stage.standby.execute(&job, stop.clone()), control);
        if is_cancelled {
            let Finish::Cancelled(Some(result)) = finish else { panic!("{finish:?}") };
            assert_eq!(result.status, RunStatus::Stopped);
        } else {
            assert_eq!(finish, Finish::Release);
        }
        assert_eq!(stops(), usize::from(is_cancelled));
    }
}

const SAMPLE: &str = include_str!("../fixtures/samples/24_wf-llm_streaming.txt");

fn recorded_stream() -> &'static str {
    SAMPLE.split_once("\n--- ").unwrap().1.split_once("\n\n").unwrap().1
}

fn at_upstream(stage: &Stage, idempotent: bool) -> Submission {
    let _ = stage;
    Submission {
        target: Target::Upstream {
            name: "dify".into(),
            app_name: "far".into(),
            mode: AppMode::Workflow,
            idempotent,
        },
        ..submission("far-app", Endpoint::Workflow, json!({"inputs": {"query": "x"}, "user": "u"}))
    }
}

async fn with_dify<Handler, Answer>(handler: Handler) -> (Stage, HttpServer)
where
    Handler: Fn(http::Request<bytes::Bytes>) -> Answer + Send + Sync + 'static,
    Answer: Future<Output = http_server::Reply> + Send + 'static,
{
    let dify = HttpServer::start(handler).await;
    let url = dify.url();
    let stage = Stage::with(move |options| {
        options.upstreams.by_name.insert("dify".into(), crate::stage::upstream(url));
        options.upstreams.keys.insert("far-app".into(), Secret::new("app-secret"));
    })
    .await;
    (stage, dify)
}

#[tokio::test]
async fn a_job_at_a_real_dify_stores_its_events_and_its_result() {
    let (stage, dify) = with_dify(|_| async {
        http_server::whole(200, "text/event-stream; charset=utf-8", recorded_stream())
    })
    .await;
    let accepted = submit(&stage, at_upstream(&stage, false)).await.json();
    let (job, finished) = work(&stage).await;
    assert_eq!(finished, Finished::Stored);
    let run = stage.store.runs().get(&job.run_id).await.unwrap().unwrap();
    assert_eq!(accepted["workflow_run_id"], job.run_id);
    assert_eq!(run.summary.status, RunStatus::Succeeded);
    assert_eq!(run.outputs, Some(json!({"text": "Echo from fake-chat: What is Dify?"})));
    assert_eq!(run.summary.total_tokens, 20);
    assert_eq!(stage.store.runs().nodes(&job.run_id).await.unwrap().len(), 3);
    let events = stage.store.runs().events(&job.run_id, 0, 100).await.unwrap();
    assert_eq!(events.len(), recorded_stream().matches("data: ").count());
    let request = dify.requests().remove(0);
    assert_eq!(request.headers()["authorization"], "Bearer app-secret");
    let sent: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(sent["response_mode"], "streaming");
}

#[tokio::test]
async fn a_run_that_dify_started_is_asked_for_and_never_started_again() {
    let cut: &'static str = recorded_stream().split_inclusive("\n\n").next().unwrap();
    let (stage, dify) = with_dify(move |request: http::Request<bytes::Bytes>| async move {
        if request.method() == http::Method::GET {
            return http_server::json(
                200,
                &json!({"status": "succeeded", "outputs": "{\"text\": \"late\"}", "elapsed_time": 1.0}),
            );
        }
        http_server::whole(200, "text/event-stream", cut)
    })
    .await;
    submit(&stage, at_upstream(&stage, false)).await;
    let (job, finished) = work(&stage).await;
    assert_eq!(finished, Finished::Stored);
    let run = stage.store.runs().get(&job.run_id).await.unwrap().unwrap();
    assert_eq!(run.outputs, Some(json!({"text": "late"})));
    assert_eq!(run.summary.upstream_run_id.as_deref(), Some("126f5998-9b5e-427d-92e7-27f998b2e73a"));
    let posts = dify.requests().iter().filter(|request| request.method() == http::Method::POST).count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn an_answer_that_hides_the_outcome_is_repeated_only_for_idempotent_apps() {
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let (stage, _dify) = with_dify(move |_| {
        *counted.lock() += 1;
        async { http_server::json(502, &json!({"message": "bad gateway"})) }
    })
    .await;
    submit(&stage, at_upstream(&stage, false)).await;
    assert_eq!(work(&stage).await.1, Finished::Dead);
    assert_eq!(stage.store.jobs().dead(1).await.unwrap()[0].class, "unknown_outcome");
    submit(&stage, at_upstream(&stage, true)).await;
    assert_eq!(work(&stage).await.1, Finished::Requeued);
    assert_eq!(*calls.lock(), 2);
}

#[tokio::test]
async fn what_dify_refuses_is_the_runs_result() {
    let refusal =
        json!({"code": "invalid_param", "message": "query is required in input form", "status": 400});
    let (stage, _dify) = with_dify(move |_| {
        let refusal = refusal.clone();
        async move { http_server::json(400, &refusal) }
    })
    .await;
    submit(&stage, at_upstream(&stage, false)).await;
    let (job, finished) = work(&stage).await;
    assert_eq!(finished, Finished::Stored);
    let run = stage.store.runs().get(&job.run_id).await.unwrap().unwrap();
    assert_eq!(run.summary.status, RunStatus::Failed);
    assert_eq!(run.summary.error.as_deref(), Some("Dify answered 400: query is required in input form"));
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_its_run() {
    let stage = Stage::new().await;
    for mode in ["blocking", "streaming"] {
        let body = json!({"inputs": {"query": "[[delay:0.2]] hi"}, "user": "u", "response_mode": mode});
        let bytes = bytes::Bytes::from(body.to_string());
        let call =
            stage.call("wf-llm", http::Method::POST, "/v1/workflows/run", Some("application/json"), bytes);
        let left = tokio::time::timeout(Duration::from_millis(50), stage.standby.call(call)).await;
        drop(left);
    }
    wait_until("both runs are stored", Duration::from_secs(20), || async {
        let runs = stage.store.runs().list(Default::default()).await.unwrap();
        (runs.len() == 2 && runs.iter().all(|run| run.status == RunStatus::Succeeded)).then_some(())
    })
    .await;
}
