//! What is read of a Dify's rows, whatever is in them.

use mainstay_base::Micros;
use mainstay_dify::{
    db::{Failure, Id},
    read::{Cursor, MessageRow, RunRow, Source, Timed, TriggerRow},
    schema::{Schema, look},
};

use crate::fixture::Fixture;

const FAR: Micros = Micros(i64::MAX / 2);

async fn schema(fixture: &Fixture) -> Schema {
    look(&fixture.reader()).await.unwrap()
}

#[tokio::test]
async fn runs_come_in_pages_in_the_order_of_time_and_id() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    fixture.generate(1, 230).await;
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    let mut seen = Vec::new();
    let mut after = Cursor::default();
    loop {
        let page: Vec<RunRow> = source.page(after, FAR, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.cursor();
        seen.extend(page.iter().map(RunRow::cursor));
    }
    assert_eq!(seen.len(), 230);
    assert!(seen.is_sorted());
    let positions = source.positions::<RunRow>(seen[9], seen[229], 1000).await.unwrap();
    assert_eq!(positions, seen[10..]);
    let some: Vec<Id> = seen[..3].iter().map(|cursor| cursor.id).chain([Id([7; 16])]).collect();
    assert_eq!(source.by_ids::<RunRow>(&some).await.unwrap().len(), 3);
    let nodes = source.nodes(&some).await.unwrap();
    assert_eq!((nodes.rows.len(), nodes.unreadable, nodes.is_cut), (15, 0, false));
    let llm = nodes.rows.iter().find(|node| node.kind == "llm").unwrap();
    let model = llm.model.as_ref().unwrap();
    assert_eq!(model.provider, "langgenius/openai_api_compatible/openai_api_compatible");
    assert!(llm.usage.total_tokens > 0 && llm.usage.price_nanos > 0 && llm.usage.input_tokens > 0);
    assert_eq!(source.origins(&some).await.unwrap().len(), 3);
    let all: Vec<Id> = seen[..20].iter().map(|cursor| cursor.id).collect();
    let nodes = source.nodes(&all).await.unwrap().rows;
    let found = |says: Option<bool>| nodes.iter().filter(|node| node.found == says).count();
    assert_eq!((found(Some(true)), found(Some(false)), found(None)), (18, 2, 80));
    assert_eq!(source.apps(None, 100).await.unwrap().len(), 20);
    fixture.end().await;
}

#[tokio::test]
async fn plans_of_schedules_are_read_with_whether_they_are_switched_on() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    let plan = |number: i64, node: &str, next: &str| {
        format!(
            "INSERT INTO workflow_schedule_plans (id, app_id, node_id, tenant_id, cron_expression, timezone, next_run_at) \
             VALUES (generated_id('plan', {number}), generated_id('app', 1), '{node}', generated_id('tenant', 1), \
             '0 * * * *', 'UTC', {next});"
        )
    };
    let trigger = |node: &str, status: &str| {
        format!(
            "INSERT INTO app_triggers (tenant_id, app_id, node_id, trigger_type, title, status) VALUES \
             (generated_id('tenant', 1), generated_id('app', 1), '{node}', 'trigger-schedule', 'Schedule', '{status}');"
        )
    };
    let rows = [
        plan(1, "one", "timestamp '2026-11-23 01:00:00'"),
        plan(2, "two", "timestamp '2026-11-23 00:30:00'"),
        plan(3, "three", "NULL"),
        plan(4, "four", "timestamp '2099-01-01 00:00:00'"),
        trigger("one", "enabled"),
        trigger("two", "disabled"),
    ];
    fixture.run(&rows.concat()).await;
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    let found = source.plans_before(Micros(1_800_000_000_000_000), 10).await.unwrap();
    let enabled: Vec<Option<bool>> = found.iter().map(|plan| plan.is_enabled).collect();
    assert_eq!(enabled, [Some(false), Some(true)], "what is due first comes first");
    let some = source.plans(&[found[0].id, Id([7; 16])]).await.unwrap();
    assert_eq!(some, found[..1]);
    fixture.end().await;
}

#[tokio::test]
async fn running_runs_are_found_among_the_newest_before_a_time() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    fixture.generate(1, 230).await;
    fixture
        .run(
            "UPDATE workflow_runs SET status = 'running' WHERE id IN (generated_id('run', 5), \
        generated_id('run', 200), generated_id('run', 210), generated_id('run', 230))",
        )
        .await;
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    let all: Vec<RunRow> = source.page(Cursor::default(), FAR, 1000).await.unwrap();
    let before = all[229].created_at;
    let found = |looked_at, given| {
        let source = &source;
        async move { source.running_before(before, looked_at, given).await.unwrap().len() }
    };
    assert_eq!(found(100, 10).await, 2, "the one at that time and the one behind the newest are not seen");
    assert_eq!((found(1000, 10).await, found(1000, 1).await), (3, 1));
    fixture.end().await;
}

#[tokio::test]
async fn nulls_broken_json_and_huge_texts_cost_their_value_only() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    fixture.generate(1, 10).await;
    // Everything that may be NULL is; metadata are no JSON, or too large to be unpacked; an error is a megabyte.
    fixture
        .run(
            "UPDATE workflow_runs SET graph = NULL, inputs = NULL, outputs = NULL, total_steps = NULL, \
               exceptions_count = NULL, finished_at = NULL, error = repeat('x', 1000000), elapsed_time = 'NaN'; \
             UPDATE workflow_node_executions SET inputs = NULL, outputs = NULL, finished_at = NULL, \
               predecessor_node_id = NULL, node_execution_id = NULL, execution_metadata = '{\"total_tokens\": NaN', \
               process_data = '\"usage\": {\"prompt_tokens\": }, \"model_name\": 5'; \
             UPDATE workflow_node_executions SET execution_metadata = \
               (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 5000) i), elapsed_time = 'Infinity' \
               WHERE node_type = 'start'",
        )
        .await;
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    let runs: Vec<RunRow> = source.page(Cursor::default(), FAR, 100).await.unwrap();
    assert_eq!(runs.len(), 10);
    assert_eq!(runs[0].error.as_ref().unwrap().len(), 2000);
    assert_eq!((runs[0].elapsed_us, runs[0].steps, runs[0].finished_at), (0, 0, None));
    let ids: Vec<Id> = runs.iter().map(|run| run.id).collect();
    let nodes = source.nodes(&ids).await.unwrap();
    assert_eq!((nodes.rows.len(), nodes.unreadable), (50, 40));
    assert!(nodes.rows.iter().all(|node| node.usage.total_tokens == 0 && node.model.is_none()));
    assert!(nodes.rows.iter().all(|node| node.found.is_none()), "what wrote nothing says nothing");
    fixture.end().await;
}

#[tokio::test]
async fn a_column_that_a_version_does_not_have_is_empty() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    fixture.generate(1, 3).await;
    fixture
        .run(
            "ALTER TABLE workflow_runs DROP COLUMN exceptions_count; \
             ALTER TABLE workflow_node_executions DROP COLUMN process_data, DROP COLUMN outputs; \
             ALTER TABLE messages DROP COLUMN invoke_from, DROP COLUMN workflow_run_id, DROP COLUMN model_id",
        )
        .await;
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    let runs: Vec<RunRow> = source.page(Cursor::default(), FAR, 10).await.unwrap();
    assert_eq!((runs.len(), runs[0].exceptions), (3, 0));
    assert_eq!(source.nodes(&[runs[0].id]).await.unwrap().rows.len(), 5);
    let messages: Vec<MessageRow> = source.page(Cursor::default(), FAR, 10).await.unwrap();
    assert_eq!(messages.len(), 1);
    assert_eq!((messages[0].invoke_from.as_str(), messages[0].run_id), ("", None));
    let triggers: Vec<TriggerRow> = source.page(Cursor::default(), FAR, 10).await.unwrap();
    assert_eq!(triggers.len(), 1);
    fixture.end().await;
}

#[tokio::test]
async fn a_table_that_was_taken_away_is_one_clear_failure() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    let (reader, schema) = (fixture.reader(), schema(&fixture).await);
    let source = Source { reader: &reader, schema: &schema };
    fixture.run(&format!("REVOKE SELECT ON workflow_runs FROM {}", fixture.role)).await;
    let failure = source.page::<RunRow>(Cursor::default(), FAR, 10).await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Forbidden { cause, .. } if cause.contains("workflow_runs")),
        "{failure}"
    );
    fixture.run("DROP TABLE workflow_runs").await;
    let failure = source.page::<RunRow>(Cursor::default(), FAR, 10).await.unwrap_err();
    assert!(matches!(failure, Failure::Missing { .. }), "{failure}");
    fixture.end().await;
}
