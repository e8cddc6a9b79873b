//! What a PostgreSQL says of itself to a role without rights.

use mainstay_dify::facts::database_facts;

use crate::fixture::Fixture;

#[tokio::test]
async fn facts_are_told_as_far_as_the_role_may_see() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    fixture.generate(1, 50).await;
    let reader = fixture.reader();
    let facts = database_facts(&reader).await.unwrap();
    assert!(facts.max_connections > 0 && facts.connections_used() >= 2, "{facts:?}");
    assert!(!facts.version.is_empty() && !facts.is_standby && !facts.sees_others);
    assert!(
        facts.unknown.iter().any(|sentence| sentence.contains("GRANT pg_monitor")),
        "{:?}",
        facts.unknown
    );
    assert_eq!(facts.unknown.len(), 2, "{:?}", facts.unknown);
    let nodes = facts.tables.iter().find(|table| table.table == "workflow_node_executions").unwrap();
    assert!(nodes.bytes > 0);
    assert!(facts.transactions_left.unwrap() > 1_000_000_000);

    fixture.run(&format!("GRANT pg_monitor TO {}", fixture.role)).await;
    let facts = database_facts(&reader).await.unwrap();
    assert!(facts.sees_others);
    let ours = facts
        .connections
        .iter()
        .find(|sessions| sessions.application == "mainstay" && sessions.user == fixture.role);
    assert_eq!(ours.unwrap().count, 1);
    assert_eq!(reader.asked().connections, 1);
    fixture.end().await;
}
