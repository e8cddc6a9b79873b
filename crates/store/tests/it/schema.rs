//! Which databases are opened and which are refused, with what words.

use mainstay_base::Clock;
use mainstay_store::{OpenError, Options, Store};

use crate::fixture::{on_each, on_each_empty};

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
