//! A fresh database for each test and the values that tests are made of.

use std::{future::Future, sync::Arc, thread, time::Duration};

use mainstay_base::{AppMode, Clock, Micros, id};
use mainstay_store::{
    Options, Store,
    model::{JobKind, NewJob, NewRun, RunResult, RunStatus},
};
use serde_json::json;

pub(crate) const LEASE: Duration = Duration::from_secs(10);
/// Times of tests begin here.
pub(crate) const START: Micros = Micros(1_795_393_414_000_000);

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) options: Options,
    database: Arc<Database>,
}

enum Database {
    Sqlite { folder: tempfile::TempDir },
    Postgres { server: String, schema: String },
}

impl Fixture {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(*self.database, Database::Postgres { .. })
    }

    /// Another store on the same database, as another process would open it.
    pub(crate) async fn another(&self) -> Store {
        Store::open(self.options.clone()).await.unwrap()
    }

    /// Runs SQL behind the store's back.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        match &*self.database {
            Database::Sqlite { folder } => {
                let connection = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Database::Postgres { server, schema } => {
                on_server(server, format!("SET search_path = {schema}; {sql}")).await;
            }
        }
    }

    /// Cuts every connection of this test's stores, as a restart of the server would.
    pub(crate) async fn cut_connections(&self) {
        if let Database::Postgres { server, schema } = &*self.database {
            let sql = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{schema}'"
            );
            on_server(server, sql).await;
        }
    }
}

/// Runs the test on each database there is.
pub(crate) async fn on_each<F, T>(test: F)
where
    F: Fn(Fixture) -> T,
    T: Future<Output = ()>,
{
    let mut databases = vec![sqlite()];
    if let Some(server) = postgres_server() {
        databases.push(postgres(&server).await);
    }
    for (database, options) in databases {
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options.clone()).await.unwrap();
        // Held here too: a test takes of its fixture only the fields it names.
        let database = Arc::new(database);
        test(Fixture { store, clock: options.clock.clone(), options, database: database.clone() }).await;
        database.remove().await;
    }
}

/// The same databases before the first migration.
pub(crate) async fn on_each_empty<F, T>(test: F)
where
    F: Fn(Options) -> T,
    T: Future<Output = ()>,
{
    let mut databases = vec![sqlite()];
    if let Some(server) = postgres_server() {
        databases.push(postgres(&server).await);
    }
    for (database, options) in databases {
        test(options).await;
        database.remove().await;
    }
}

/// Runs SQL on a database that no version of the store has opened yet.
pub(crate) async fn raw(options: &Options, sql: &str) {
    match options.url.strip_prefix("sqlite:") {
        Some(path) => rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap(),
        None => on_server(&options.url, sql.to_owned()).await,
    }
}

impl Database {
    /// A folder goes by itself.
    async fn remove(&self) {
        if let Database::Postgres { server, schema } = self {
            on_server(server, format!("DROP SCHEMA {schema} CASCADE")).await;
        }
    }
}

fn sqlite() -> (Database, Options) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("store.db").display());
    (Database::Sqlite { folder }, Options { url, clock: Clock::manual(START) })
}

#[expect(clippy::disallowed_methods, reason = "the test command says where its PostgreSQL is")]
fn postgres_server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

async fn postgres(server: &str) -> (Database, Options) {
    let schema = format!("store_{}", id::new().replace('-', ""));
    on_server(server, format!("CREATE SCHEMA {schema}")).await;
    let mark = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{mark}options=-csearch_path%3D{schema}&application_name={schema}");
    let database = Database::Postgres { server: server.to_owned(), schema };
    (database, Options { url, clock: Clock::manual(START) })
}

/// The synchronous client brings a runtime of its own, so it needs a thread of its own.
async fn on_server(server: &str, sql: String) {
    let server = server.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        thread::spawn(move || {
            let mut client = postgres::Client::connect(&server, postgres::NoTls).unwrap();
            client.batch_execute(&sql).unwrap();
        })
        .join()
    });
    assert!(ran.await.unwrap().is_ok(), "SQL of the test failed");
}

pub(crate) fn new_run(app_id: &str) -> NewRun {
    NewRun {
        id: id::new(),
        app_id: app_id.to_owned(),
        app_name: "Greeter".to_owned(),
        mode: AppMode::Workflow,
        kind: JobKind::Embedded,
        upstream: None,
        version_id: "4e476e83-daf4-4639-839f-f6e6c5f9a0bc".to_owned(),
        version: "2026-11-23 00:22:47.633368".to_owned(),
        end_user_id: None,
        session_id: "tester-1".to_owned(),
        task_id: None,
        conversation_id: None,
        request_id: None,
        trace_id: None,
        inputs: json!({"name": "Ann", "sys.user_id": "tester-1"}),
        created_at: START,
    }
}

pub(crate) fn new_job() -> NewJob {
    NewJob {
        run: new_run("app-1"),
        payload: json!({"inputs": {"name": "Ann"}}),
        repeatable: true,
        idempotency: None,
        callback_url: None,
    }
}

pub(crate) fn result(status: RunStatus) -> RunResult {
    RunResult {
        status,
        outputs: Some(json!({"text": "Hello Ann! sum=45"})),
        error: None,
        error_kind: None,
        total_tokens: 7,
        total_steps: 4,
        exceptions_count: 0,
        started_at: START,
        finished_at: START + Duration::from_millis(20),
        elapsed_us: 20_000,
        nodes: Vec::new(),
        upstream_run_id: None,
        usage: None,
        chat: None,
    }
}
