//! What is found of a schema, and what is lost with each part of it.

use mainstay_dify::schema::{Capability, Schema, WriteRefused, look};

use crate::fixture::{Fixture, TABLES};

async fn found(fixture: &Fixture) -> Schema {
    look(&fixture.reader()).await.unwrap()
}

#[tokio::test]
async fn a_1_12_1_can_be_read_wholly() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    let schema = found(&fixture).await;
    assert_eq!(schema.missing, []);
    assert_eq!(schema.revision.as_deref(), Some("788d3099ae3a"));
    assert_eq!(schema.release.unwrap().name, "1.12.1");
    assert_eq!(schema.permits_write("workflow_runs", &["status", "error", "finished_at"]), Ok(()));
    let lacks = schema.permits_write("workflow_runs", &["reaped_at"]);
    assert!(matches!(lacks, Err(WriteRefused::Lacks { .. })), "{lacks:?}");
    fixture.end().await;
}

#[tokio::test]
async fn what_is_missing_takes_its_own_capability_and_no_other() {
    for (change, capability, word) in [
        ("DROP TABLE message_feedbacks", Capability::Feedback, "there is no table message_feedbacks"),
        ("ALTER TABLE messages DROP COLUMN total_price", Capability::Messages, "messages has no total_price"),
        ("REVOKE SELECT ON datasets FROM ROLE", Capability::Datasets, "our role may not read datasets"),
        (
            "REVOKE SELECT ON apps FROM ROLE; GRANT SELECT (id, tenant_id, mode, status) ON apps TO ROLE",
            Capability::Apps,
            "our role may not read apps (name)",
        ),
        (
            "DROP INDEX workflow_run_created_at_id_idx",
            Capability::Runs,
            "workflow_runs has no index on (created_at, id), and it is never scanned",
        ),
    ] {
        let Some(fixture) = Fixture::with_tables().await else { return };
        fixture.run(&change.replace("ROLE", &fixture.role)).await;
        let schema = found(&fixture).await;
        let missing: Vec<_> = schema.missing.iter().map(|missing| missing.capability).collect();
        assert_eq!(missing, [capability], "{change}");
        assert!(schema.missing[0].sentence.contains(word), "{}", schema.missing[0].sentence);
        assert!(!schema.can(capability));
        fixture.end().await;
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_revision_that_is_not_known() {
    let Some(fixture) = Fixture::with_tables().await else { return };
    for change in [
        "UPDATE alembic_version SET version_num = 'ffffffffffff'",
        "INSERT INTO alembic_version VALUES ('788d3099ae3a')",
        "DROP TABLE alembic_version",
    ] {
        fixture.run(change).await;
        let schema = found(&fixture).await;
        assert_eq!(schema.missing, [], "what is there is read all the same");
        let refused = schema.permits_write("workflow_runs", &["status"]);
        assert!(matches!(refused, Err(WriteRefused::Unknown { .. })), "{change}: {refused:?}");
    }
    fixture.end().await;
}

#[tokio::test]
async fn an_empty_database_has_nothing_and_says_so_ten_times() {
    let Some(fixture) = Fixture::start().await else { return };
    let schema = found(&fixture).await;
    assert_eq!(schema.missing.len(), Capability::ALL.len());
    assert_eq!((schema.revision, schema.release), (None, None));
    assert!(TABLES.contains("alembic_version"));
    fixture.end().await;
}
