//! Reading runs as Dify's API, the console and the command line need them.

use std::time::Duration;

use mainstay_store::model::{
    Finish, JobKind, LogFilter, NewRun, NodeExecution, RunEvent, RunFilter, RunResult, RunStatus,
};
use serde_json::json;

use crate::fixture::{Fixture, LEASE, START, new_job, new_run, on_each, result};

fn node(index: i64) -> NodeExecution {
    NodeExecution {
        id: format!("execution-{index}"),
        node_id: format!("node-{index}"),
        node_type: "template-transform".to_owned(),
        title: "Say hello\u{0}".to_owned(),
        index,
        predecessor_node_id: None,
        iteration_id: None,
        status: "succeeded".to_owned(),
        inputs: Some(json!({"name": "Änn \u{0} 😀"})),
        process_data: None,
        outputs: Some(json!({"output": "Hello"})),
        error: None,
        metadata: None,
        started_at: START,
        finished_at: START,
        elapsed_us: 0,
    }
}

async fn finished(fixture: &Fixture, run: NewRun, status: RunStatus) -> String {
    let id = run.id.clone();
    fixture.store.runs().insert(run).await.unwrap();
    assert!(fixture.store.runs().finish(&id, result(status)).await.unwrap());
    id
}

#[tokio::test]
async fn a_run_is_read_back_with_all_it_was_given() {
    on_each(|fixture| async move {
        let runs = fixture.store.runs();
        let run = NewRun {
            end_user_id: Some("end-user".to_owned()),
            task_id: Some("task".to_owned()),
            conversation_id: Some("conversation".to_owned()),
            request_id: Some("request".to_owned()),
            trace_id: Some("trace".to_owned()),
            ..new_run("app-1")
        };
        runs.insert(run.clone()).await.unwrap();
        let begun = runs.get(&run.id).await.unwrap().unwrap();
        assert_eq!((begun.summary.status, begun.summary.started_at), (RunStatus::Running, Some(START)));

        let nodes = vec![node(1), node(2)];
        let ended = RunResult {
            nodes: nodes.clone(),
            usage: Some(json!({"total_tokens": 7})),
            ..result(RunStatus::PartialSucceeded)
        };
        assert!(runs.finish(&run.id, ended.clone()).await.unwrap());
        assert!(!runs.finish(&run.id, result(RunStatus::Failed)).await.unwrap(), "the first result stays");
        let read = runs.get(&run.id).await.unwrap().unwrap();
        assert_eq!(read.inputs, run.inputs);
        assert_eq!((read.outputs, read.usage), (ended.outputs, ended.usage));
        assert_eq!(read.summary.status, RunStatus::PartialSucceeded);
        assert_eq!(read.summary.elapsed_us, Some(20_000));
        assert_eq!(read.summary.end_user_id, run.end_user_id);
        assert_eq!(read.summary.conversation_id, run.conversation_id);
        assert_eq!(read.summary.trace_id, run.trace_id);
        assert_eq!(runs.nodes(&run.id).await.unwrap(), nodes, "whatever they say");
        assert_eq!(runs.get("nothing").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn text_that_one_database_cannot_hold_is_stored_all_the_same() {
    on_each(|fixture| async move {
        let run = NewRun { session_id: "a\u{0}b".to_owned(), ..new_run("app-1") };
        let id = run.id.clone();
        fixture.store.runs().insert(run).await.unwrap();
        let read = fixture.store.runs().get(&id).await.unwrap().unwrap();
        assert_eq!(read.summary.session_id.chars().count(), 3);
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_from_the_newest() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let mut ids = Vec::new();
        for number in 0..6 {
            let app = if number % 2 == 0 { "app-1" } else { "app-2" };
            let status = if number < 3 { RunStatus::Succeeded } else { RunStatus::Failed };
            ids.push(finished(&fixture, new_run(app), status).await);
        }
        let list = async |filter: RunFilter| -> Vec<usize> {
            let found = store.runs().list(filter).await.unwrap();
            found.iter().map(|run| ids.iter().position(|id| *id == run.id).unwrap()).collect()
        };
        let all = RunFilter::default;
        assert_eq!(list(all()).await, [5, 4, 3, 2, 1, 0]);
        assert_eq!(list(RunFilter { app_id: Some("app-1".into()), ..all() }).await, [4, 2, 0]);
        assert_eq!(list(RunFilter { status: Some(RunStatus::Failed), limit: 2, ..all() }).await, [5, 4]);
        assert_eq!(list(RunFilter { before: Some(ids[2].clone()), ..all() }).await, [1, 0]);
        assert_eq!(list(RunFilter { kind: Some(JobKind::Upstream), ..all() }).await, [0usize; 0]);
        assert_eq!(list(RunFilter { session_id: Some("tester-1".into()), ..all() }).await.len(), 6);
    })
    .await;
}

#[tokio::test]
async fn a_status_filter_agrees_with_the_status_that_is_shown() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        for _ in 0..3 {
            store.jobs().submit(new_job()).await.unwrap();
        }
        let job = store.jobs().claim("worker-1", 2, LEASE).await.unwrap().remove(0);
        store.jobs().finish(&job.id, job.epoch, Finish::Done(result(RunStatus::Succeeded))).await.unwrap();
        store.runs().insert(new_run("app-1")).await.unwrap();
        for (status, expected) in [
            (RunStatus::Queued, 1),
            (RunStatus::Running, 2),
            (RunStatus::Succeeded, 1),
            (RunStatus::Failed, 0),
        ] {
            let filter = RunFilter { status: Some(status), ..RunFilter::default() };
            let found = store.runs().list(filter).await.unwrap();
            assert_eq!(found.len(), expected, "{status:?}");
            assert!(found.iter().all(|run| run.status == status));
        }
    })
    .await;
}

#[tokio::test]
async fn logs_count_all_pages_and_search_documents_literally() {
    on_each(|fixture| async move {
        for number in 0..5 {
            let inputs = json!({"text": format!("100% of {number}_Ä")});
            finished(&fixture, NewRun { inputs, ..new_run("app-1") }, RunStatus::Succeeded).await;
        }
        finished(&fixture, new_run("app-2"), RunStatus::Succeeded).await;
        let logs = async |filter: LogFilter| {
            let page = fixture.store.runs().logs("app-1", filter).await.unwrap();
            (page.runs.len(), page.total)
        };
        let all = || LogFilter { page: 1, limit: 2, ..LogFilter::default() };
        assert_eq!(logs(all()).await, (2, 5));
        assert_eq!(logs(LogFilter { page: 3, ..all() }).await, (1, 5));
        for (keyword, expected) in [("100% OF 3", 1), ("0_", 1), ("0%4", 0), ("hello", 5), ("nowhere", 0)] {
            let filter = LogFilter { keyword: Some(keyword.to_owned()), limit: 9, ..all() };
            assert_eq!(logs(filter).await.1, expected, "{keyword}");
        }
        assert_eq!(logs(LogFilter { status: Some(RunStatus::Failed), ..all() }).await, (0, 0));
        let later = START + Duration::from_secs(1);
        assert_eq!(logs(LogFilter { created_after: Some(later), ..all() }).await, (0, 0));
        assert_eq!(logs(LogFilter { created_before: Some(later), ..all() }).await, (2, 5));
    })
    .await;
}

#[tokio::test]
async fn events_are_those_of_the_last_attempt() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        store.jobs().submit(new_job()).await.unwrap();
        let event = |seq: i64, body: &str| RunEvent { seq, at: START, body: body.to_owned() };
        let first = store.jobs().claim("worker-1", 1, LEASE).await.unwrap().remove(0);
        let events = vec![event(1, "old"), event(2, "old")];
        assert!(store.runs().append_events(&first.id, first.epoch, events.clone()).await.unwrap());
        assert!(store.runs().append_events(&first.id, first.epoch, events).await.unwrap(), "a repeat");
        assert_eq!(store.runs().events(&first.id, 0, 9).await.unwrap().len(), 2);
        fixture.clock.advance(LEASE);
        let second = store.jobs().claim("worker-2", 1, LEASE).await.unwrap().remove(0);
        store.runs().append_events(&first.id, second.epoch, vec![event(1, "new")]).await.unwrap();
        assert_eq!(store.runs().events(&first.id, 0, 9).await.unwrap(), [event(1, "new")]);
        assert!(store.runs().events(&first.id, 1, 9).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn runs_whose_process_died_are_failed_and_queued_ones_are_left_alone() {
    on_each(|fixture| async move {
        let store = fixture.store.clone();
        let abandoned = new_run("app-1");
        store.runs().insert(abandoned.clone()).await.unwrap();
        store.jobs().submit(new_job()).await.unwrap();
        assert_eq!(store.runs().fail_abandoned(START, "gone").await.unwrap(), 0, "not old enough");
        let later = START + Duration::from_secs(1);
        assert_eq!(store.runs().fail_abandoned(later, "gone").await.unwrap(), 1);
        let run = store.runs().get(&abandoned.id).await.unwrap().unwrap().summary;
        assert_eq!((run.status, run.error.as_deref()), (RunStatus::Failed, Some("gone")));
        let tally = store.runs().tally(START).await.unwrap();
        assert_eq!((tally.len(), tally[0].status, tally[0].runs), (1, RunStatus::Failed, 1));
        let ended = store.slis().ended(START, later, true).await.unwrap();
        assert_eq!(
            (ended.len(), ended[0].status, ended[0].error.as_deref()),
            (1, RunStatus::Failed, Some("gone"))
        );
    })
    .await;
}
