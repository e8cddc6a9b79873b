//! Marking a run failed: one row, by who may, while it is what it was seen to be; and back.

use mainstay_dify::{
    celery::act::{self, Action, MARK, Terms, Undo},
    deployment::Login,
};
use mainstay_testkit::celery::{Broker, Worker};
use serde_json::json;

use crate::{
    database::Fixture,
    fixture::{INDEXING, World, answer, now},
};

const TERMS: Terms = Terms { force: false, folder: None };
/// Began long ago without a node since; long ago with one; a moment ago; and one that has ended.
const RUNS: [&str; 4] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
    "00000000-0000-4000-8000-000000000004",
];

/// A Dify with both, and a role that may do what `mainstay init` grants.
async fn start() -> Option<(World, Fixture)> {
    let (broker, dify) = (Broker::start()?, Fixture::with_tables().await?);
    let role = dify.role.clone();
    for (run, age_s, status) in [
        (RUNS[0], 7_200, "running"),
        (RUNS[1], 7_200, "running"),
        (RUNS[2], 60, "running"),
        (RUNS[3], 7_200, "stopped"),
    ] {
        let ended = if status == "running" { "NULL" } else { "LOCALTIMESTAMP" };
        dify.run(&format!(
            "SET timezone = 'UTC'; INSERT INTO workflow_runs (id, tenant_id, app_id, workflow_id, type, triggered_from, \
             version, status, created_by_role, created_by, created_at, finished_at) VALUES ('{run}', '{run}', '{run}', \
             '{run}', 'workflow', 'app-run', '1', '{status}', 'account', '{run}', \
             LOCALTIMESTAMP - interval '{age_s} seconds', {ended})"
        ))
        .await;
    }
    dify.run(&format!(
        "INSERT INTO workflow_node_executions (tenant_id, app_id, workflow_id, triggered_from, workflow_run_id, index, \
         node_id, node_type, title, status, created_by_role, created_by, created_at) VALUES ('{0}', '{0}', '{0}', \
         'workflow-run', '{0}', 1, 'n', 'llm', 'n', 'running', 'account', '{0}', LOCALTIMESTAMP)",
        RUNS[1]
    ))
    .await;
    let mut world = World::over(broker, "")?;
    world.deployment.database = Some(dify.database());
    world.deployment.repairs = Some(Login { user: role, password: None });
    Some((world.again(), dify))
}

fn fail(run: &str) -> Action {
    Action::FailRun { run: run.to_owned() }
}

async fn refusal(world: &mut World, action: Action) -> String {
    let forced = Terms { force: true, ..TERMS };
    act::plan(&mut world.observer, action, &forced, now()).await.unwrap_err().to_string()
}

async fn status(dify: &Fixture, run: &str) -> (String, Option<String>, bool) {
    let sql = format!("SELECT status, error, finished_at IS NOT NULL FROM workflow_runs WHERE id = '{run}'");
    let row = dify.owner.query_one(&sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test]
async fn a_zombie_run_is_marked_failed_by_who_may_and_back() {
    let Some((mut world, dify)) = start().await else { return };
    let running = ("running".to_owned(), None, false);
    let may_not = refusal(&mut world, fail(RUNS[0])).await;
    assert!(may_not.contains("may not update"), "{may_not}");
    dify.run(&format!("GRANT UPDATE (status, error, finished_at) ON workflow_runs TO {}", dify.role)).await;

    for (run, wanted) in [
        (RUNS[1], "a node of run"),
        (RUNS[2], "it may take 1500 s"),
        (RUNS[3], "is stopped"),
        ("00000000-0000-4000-8000-000000000009", "there is no run"),
        ("' OR true --", "is no id of a run"),
    ] {
        let refused = refusal(&mut world, fail(run)).await;
        assert!(refused.contains(wanted), "{run}: {refused}");
    }
    let others = || async {
        [status(&dify, RUNS[1]).await, status(&dify, RUNS[2]).await, status(&dify, RUNS[3]).await]
    };
    let before = others().await;

    let plan = act::plan(&mut world.observer, fail(RUNS[0]), &TERMS, now()).await.unwrap();
    assert_eq!(plan.undo, Undo::By(format!("mainstay queue act reopen-run {} --yes", RUNS[0])));
    assert_eq!(status(&dify, RUNS[0]).await, running, "a plan changes nothing");
    act::perform(&mut world.observer, plan.clone(), &TERMS, now()).await.unwrap();
    assert_eq!(status(&dify, RUNS[0]).await, ("failed".to_owned(), Some(MARK.to_owned()), true));
    let again = act::perform(&mut world.observer, plan, &TERMS, now()).await.unwrap_err().to_string();
    assert!(again.contains("is failed"), "{again}");

    let reopen = |run: &str| Action::ReopenRun { run: run.to_owned() };
    let other = refusal(&mut world, reopen(RUNS[3])).await;
    assert!(other.contains("was not marked failed by Mainstay"), "{other}");
    let plan = act::plan(&mut world.observer, reopen(RUNS[0]), &TERMS, now()).await.unwrap();
    act::perform(&mut world.observer, plan, &TERMS, now()).await.unwrap();
    assert_eq!(status(&dify, RUNS[0]).await, running, "as it was");
    assert_eq!(others().await, before, "no other row was touched");
    assert_eq!(dify.connections().await, 0, "nobody stays connected as who may write");

    dify.run("UPDATE alembic_version SET version_num = 'of the future'").await;
    let unknown = refusal(&mut world, fail(RUNS[0])).await;
    assert!(unknown.contains("does not know; nothing is written"), "{unknown}");
    world.deployment.repairs = None;
    let mut world = world.again();
    let nobody = refusal(&mut world, fail(RUNS[0])).await;
    assert!(nobody.contains("nobody is named who may write"), "{nobody}");
    dify.end().await;
}

#[tokio::test]
async fn a_run_that_a_worker_has_is_no_zombie() {
    let Some((mut world, dify)) = start().await else { return };
    dify.run(&format!("GRANT UPDATE (status, error, finished_at) ON workflow_runs TO {}", dify.role)).await;
    let worker = Worker { name: "w", pool: "threads", concurrency: 1, queues: &["dataset"], key_prefix: "" };
    if let Some(_worker) = world.worker(worker).await {
        world.push("dataset", INDEXING, &json!({ "workflow_run_id": RUNS[0], "seconds": 60 }), 1).await;
        world.until("it is held", |seen| answer(seen, "w@test")?.active.first().map(drop)).await;
        let held = refusal(&mut world, fail(RUNS[0])).await;
        assert!(held.contains("w@test has a task of run"), "{held}");
    }
    dify.end().await;
}
