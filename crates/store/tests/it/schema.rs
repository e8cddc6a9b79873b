//! Which databases are opened and which are refused, with what words.

use std::time::Duration;

use mainstay_base::{
    Clock, Micros, Record, Standing,
    record::{Outcome, Path},
};
use mainstay_store::{OpenError, Options, Store, StoreError, model::CallFilter};

use crate::fixture::{START, on_each, on_each_empty, raw};

#[tokio::test]
async fn a_database_without_a_schema_is_refused_until_it_is_migrated() {
    on_each_empty(|options| async move {
        let refused = Store::open(options.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Older { found: 0, .. }), "{refused}");
        assert!(refused.to_string().contains("run `mainstay migrate`"));
        let (before, after) = Store::migrate(&options).await.unwrap();
        assert!(before == 0 && after > 0);
        assert_eq!(Store::migrate(&options).await.unwrap(), (after, after), "nothing left to do");
        Store::open(options).await.unwrap().ping().await.unwrap();
    })
    .await;
}

/// A row as version 1 wrote it.
fn old_record(id: &str, path: Path, model: Option<&str>) -> String {
    let record = Record {
        request_id: id.to_owned(),
        opened_at: START,
        outcome: Outcome::Ok,
        model: model.map(str::to_owned),
        ..Record::blank(path)
    };
    let body = serde_json::to_string(&record).unwrap().replace('\'', "''");
    let path = if path == Path::Model { "model" } else { "app" };
    format!(
        "INSERT INTO records (request_id, opened_at, path, outcome, body) VALUES ('{id}', {}, '{path}', 'ok', '{body}');",
        START.0
    )
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_with_what_is_in_it() {
    on_each_empty(|options| async move {
        Store::migrate_to(&options, 1).await.unwrap();
        let long = "m".repeat(5_000);
        for row in [
            old_record("r1", Path::Model, Some("gpt-4o")),
            old_record("r2", Path::App, Some("gpt-4o")),
            old_record("r3", Path::Model, None),
            old_record("r4", Path::Model, Some("it's \0 hostile")),
            old_record("r5", Path::Model, Some(&long)),
        ] {
            raw(&options, &row).await;
        }
        let settings = "INSERT INTO settings VALUES ('control.overrides', '{\"revision\":0,\"drained\":{}}', 4, 'ann', 1)";
        raw(&options, settings).await;
        let refused = Store::open(options.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Older { found: 1, needed: 5, .. }), "{refused}");
        assert_eq!(Store::migrate(&options).await.unwrap(), (1, 5));

        let store = Store::open(options).await.unwrap();
        let found = async |model: &str| {
            let until = Micros(START.0 + 1);
            let filter = CallFilter { since: START, until, model: Some(model.to_owned()), ..CallFilter::default() };
            let page = store.records().calls(filter).await.unwrap();
            page.calls.into_iter().map(|call| call.request_id).collect::<Vec<_>>()
        };
        assert_eq!(found("gpt-4o").await, ["r1"]);
        assert_eq!(found(&long).await, ["r5"], "found by as much of it as is indexed");
        assert_eq!(store.records().get("r4").await.unwrap().unwrap().model.as_deref(), Some("it's \0 hostile"));
        assert_eq!(store.settings().get("control.overrides").await.unwrap().unwrap().revision, 4);
    })
    .await;
}

// A sum of hours must not forget what was counted before there were hours.
#[tokio::test]
async fn what_was_counted_in_minutes_is_there_in_hours_after_the_fourth_migration() {
    on_each_empty(|options| async move {
        Store::migrate_to(&options, 3).await.unwrap();
        let series = "INSERT INTO dify_series VALUES ('dify', 7, 'run', 'app-1', '', '', '', '', '', '', 'succeeded', '', '')";
        raw(&options, series).await;
        let hour = START.0 / 3_600_000_000;
        for minute in [hour * 60, hour * 60 + 59, hour * 60 + 60] {
            // No minute has so many tokens: what cannot be is not summed, and nothing overflows.
            let tokens = if minute % 60 == 59 { i64::MAX } else { 5 };
            let row = format!(
                "INSERT INTO dify_minutes VALUES ('dify', {minute}, 7, 2, 3000, 1, 10, {tokens}, 4, 1, 9, '40:1,44:1')"
            );
            raw(&options, &row).await;
        }
        assert_eq!(Store::migrate(&options).await.unwrap(), (3, 5));
        let store = Store::open(options).await.unwrap();
        let (since, until) = (Micros(hour * 3_600_000_000), Micros((hour + 3) * 3_600_000_000));
        let totals = store.dify().totals("dify", "run", since, until).await.unwrap();
        let [total] = &totals[..] else { panic!("{totals:?}") };
        assert_eq!((total.count, total.took_us, total.waits, total.wait_us), (6, 9000, 3, 30));
        assert_eq!((total.tokens, total.input_tokens, total.output_tokens, total.price_nanos), (10, 12, 3, 27));
        assert_eq!(total.sketch.count(), 6);
    })
    .await;
}

#[tokio::test]
async fn processes_that_migrate_at_the_same_time_do_it_once() {
    on_each_empty(|options| async move {
        let migrations = tokio::join!(
            Store::migrate(&options),
            Store::migrate(&options),
            Store::migrate(&options),
            Store::migrate(&options),
        );
        for outcome in [migrations.0, migrations.1, migrations.2, migrations.3] {
            outcome.unwrap();
        }
        Store::open(options).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_not_touched() {
    on_each(|fixture| async move {
        fixture.tamper("UPDATE meta SET number = 999 WHERE name = 'schema'").await;
        let refused = Store::open(fixture.options.clone()).await.unwrap_err();
        assert!(matches!(refused, OpenError::Newer { found: 999, .. }), "{refused}");
        assert!(refused.to_string().contains("run the newer version"));
        assert!(matches!(Store::migrate(&fixture.options).await, Err(OpenError::Newer { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let options = |url: &str| Options { url: url.to_owned(), clock: Clock::System };
    let refused = Store::open(options("postgres://ann:hunter2@127.0.0.1:1/x")).await.unwrap_err();
    assert!(matches!(refused, OpenError::Open { .. }), "{refused:?}");
    assert!(refused.to_string().contains("ann@127.0.0.1"));
    assert!(!format!("{refused:?}").contains("hunter2"));
    let refused = Store::migrate(&options("sqlite:/nowhere/at/all/store.db")).await.unwrap_err();
    assert!(refused.to_string().contains("/nowhere/at/all/store.db"), "{refused}");
}

// A gateway that started while the store was away wrote records, standings and budgets into whatever came back.
#[tokio::test]
async fn a_store_that_was_away_takes_nothing_until_its_schema_was_found_to_be_this_one() {
    on_each(|fixture| async move {
        let attached = Store::attach(fixture.options.clone()).unwrap();
        let put = async || {
            let standing = Standing { at: START, snapshot_generation: 1, ..Standing::default() };
            attached.standings().put("gateway", &standing).await
        };
        fixture.tamper("UPDATE meta SET number = number + 900 WHERE name = 'schema'").await;
        for _ in 0..2 {
            let refused = put().await.unwrap_err();
            assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
            assert!(attached.apps().list().await.is_err());
            let newer = attached.verify(&fixture.options.url).await.unwrap_err();
            assert!(matches!(newer, OpenError::Newer { .. }), "{newer}");
        }
        fixture.tamper("UPDATE meta SET number = number - 900 WHERE name = 'schema'").await;
        attached.verify(&fixture.options.url).await.unwrap();
        put().await.unwrap();
        assert_eq!(fixture.store.standings().list(Duration::from_secs(60)).await.unwrap().len(), 1);
    })
    .await;
}
