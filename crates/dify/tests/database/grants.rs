//! The rights that `mainstay init` prints are enough for everything that is read, and for nothing else.

use mainstay_base::Micros;
use mainstay_dify::{
    db::{Failure, Id, Reader},
    deployment::Database,
    discovery::{READER, grants},
    facts::database_facts,
    probe::{Component, Prober, State},
    read::{Cursor, MessageRow, RunRow, Source, Timed, TriggerRow, WITHIN, plugins},
    schema::look,
};
use mainstay_net::{Client, ClientOptions};
use tokio_postgres::{NoTls, error::SqlState};

use crate::fixture::{Fixture, NONE};

const FAR: Micros = Micros(i64::MAX / 2);
/// What of the plugin daemon's database is granted, and what a role that only reads has to stay out of.
const PLUGIN_TABLES: &str = "CREATE TABLE plugins (id uuid PRIMARY KEY, plugin_unique_identifier varchar(255)); \
    CREATE TABLE plugin_installations (id uuid PRIMARY KEY, plugin_unique_identifier varchar(255)); \
    CREATE TABLE install_tasks (id uuid PRIMARY KEY, status text); \
    CREATE TABLE serverless_runtimes (id uuid PRIMARY KEY, secret text); \
    INSERT INTO plugin_installations VALUES (gen_random_uuid(), 'langgenius/openai:0.2.7@abc')";
const SECRETS: &str = "CREATE TABLE accounts (id uuid PRIMARY KEY, password varchar(255)); \
    CREATE TABLE api_tokens (id uuid PRIMARY KEY, token varchar(255)); \
    CREATE TABLE providers (id uuid PRIMARY KEY, encrypted_config text)";

/// The script as an operator runs it, for a role of this test's own: roles belong to the whole server.
fn for_role(script: &str, role: &str) -> String {
    let lines = script.lines().filter(|line| !line.starts_with("\\password"));
    lines.collect::<Vec<_>>().join("\n").replace(READER, role)
}

/// Both databases, and a role that has what the scripts give it.
async fn granted() -> Option<(Fixture, Fixture)> {
    let (main, plugin) = (Fixture::with_tables_alone().await?, Fixture::start().await?);
    main.run(SECRETS).await;
    main.generate(1, 30).await;
    plugin.run(PLUGIN_TABLES).await;
    let grants = grants(&main.database(), Some(&plugin.database()));
    main.run(&format!("DROP ROLE {}", main.role)).await;
    main.run(&for_role(&grants.reader, &main.role)).await;
    plugin.run(&for_role(&grants.plugin_reader.unwrap(), &main.role)).await;
    Some((main, plugin))
}

fn of_plugins(main: &Fixture, plugin: &Fixture) -> Database {
    Database { user: main.role.clone(), ..plugin.database() }
}

async fn end(main: Fixture, plugin: Fixture) {
    // The role's rights in the other database go with that database, which is before the role goes.
    plugin.end().await;
    main.end().await;
}

#[tokio::test]
async fn the_printed_rights_are_enough_for_every_read() {
    let Some((main, plugin)) = granted().await else { return };
    let reader = main.reader();
    let schema = look(&reader).await.unwrap();
    assert_eq!(schema.missing, []);
    assert_eq!(schema.release.unwrap().name, "1.12.1");
    let source = Source { reader: &reader, schema: &schema };
    source.now().await.unwrap();
    let runs: Vec<RunRow> = source.page(Cursor::default(), FAR, 100).await.unwrap();
    assert_eq!(runs.len(), 30);
    let ids: Vec<Id> = runs.iter().map(|run| run.id).collect();
    assert_eq!(source.positions::<RunRow>(runs[0].cursor(), runs[29].cursor(), 100).await.unwrap().len(), 29);
    assert_eq!(source.by_ids::<RunRow>(&ids[..3]).await.unwrap().len(), 3);
    assert_eq!(source.nodes(&ids).await.unwrap().rows.len(), 150);
    assert_eq!(source.origins(&ids).await.unwrap().len(), 30);
    source.last_progress(ids[0]).await.unwrap();
    source.running_before(FAR, 100, 10).await.unwrap();
    let messages: Vec<MessageRow> = source.page(Cursor::default(), FAR, 100).await.unwrap();
    let messages: Vec<Id> = messages.iter().map(|message| message.cursor().id).collect();
    source.feedback(&messages, 10).await.unwrap();
    source.page::<TriggerRow>(Cursor::default(), FAR, 100).await.unwrap();
    assert_eq!(source.apps(None, 100).await.unwrap().len(), 20);
    source.datasets(None, 10).await.unwrap();
    source.documents_under_way(ids[0], 10).await.unwrap();
    source.documents_by_state(ids[0]).await.unwrap();
    plugins::references(&reader).await.unwrap();

    let facts = database_facts(&reader).await.unwrap();
    assert!(facts.sees_others);
    assert_eq!(facts.unknown.len(), 1, "only the disk is not told: {:?}", facts.unknown);
    let installed = plugins::installed(&Reader::new(&of_plugins(&main, &plugin))).await.unwrap();
    assert_eq!(installed.into_iter().collect::<Vec<_>>(), ["langgenius/openai:0.2.7@abc"]);
    end(main, plugin).await;
}

#[tokio::test]
async fn the_printed_rights_write_nothing_and_see_no_secret() {
    let Some((main, plugin)) = granted().await else { return };
    let reader = main.reader();
    for secret in ["accounts", "api_tokens", "providers", "conversations"] {
        let sql = format!("SELECT id FROM {secret} LIMIT 1");
        let asked = reader.one(&sql, NONE, WITHIN).await;
        assert!(matches!(asked, Err(Failure::Forbidden { .. })), "{secret}");
    }

    let role = as_role(&main.database()).await;
    let refused = role.batch_execute("DELETE FROM workflow_runs").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
    // The setting is a seat belt that the role could open; the rights have to hold without it.
    role.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    const NAMES: &str = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'";
    for row in main.owner.query(NAMES, &[]).await.unwrap() {
        let table: String = row.get(0);
        for write in ["DELETE FROM @", "TRUNCATE @", "INSERT INTO @ DEFAULT VALUES", "DROP TABLE @"] {
            refuses(&role, &write.replace('@', &table)).await;
        }
    }
    for write in [
        "UPDATE workflow_runs SET status = 'failed'",
        "UPDATE apps SET name = 'x'",
        "SELECT id FROM workflow_runs FOR UPDATE",
        "CREATE TABLE mine (id int)",
        "CREATE ROLE another",
        "ALTER SYSTEM SET max_connections = 10",
    ] {
        refuses(&role, write).await;
    }
    let of_plugins = as_role(&of_plugins(&main, &plugin)).await;
    of_plugins.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    refuses(&of_plugins, "DELETE FROM plugin_installations").await;
    refuses(&of_plugins, "SELECT id FROM serverless_runtimes").await;
    end(main, plugin).await;
}

#[tokio::test]
async fn the_probe_of_the_database_is_well_with_the_printed_rights() {
    let Some((main, plugin)) = granted().await else { return };
    let mut deployment = mainstay_dify::Deployment::named("dify");
    deployment.database = Some(main.database());
    deployment.plugin_database = Some(of_plugins(&main, &plugin));
    let prober = Prober::new(deployment, Client::new(ClientOptions::default()).unwrap());
    for component in [Component::Database, Component::PluginDatabase] {
        let report = prober.probe(component).await;
        assert_eq!(report.state, State::Ok, "{report:?}");
    }
    drop(prober);
    end(main, plugin).await;
}

async fn as_role(database: &Database) -> tokio_postgres::Client {
    let Database { host, port, user, name, .. } = database;
    let mut config = tokio_postgres::Config::new();
    let (client, connection) =
        config.host(host).port(*port).user(user).dbname(name).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn refuses(role: &tokio_postgres::Client, sql: &str) {
    let done = role.batch_execute(sql).await;
    let code = done.as_ref().err().and_then(|error| error.code());
    assert_eq!(code, Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {done:?}");
}
