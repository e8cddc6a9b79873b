//! A database for each test, and a role in it that may only read.

use mainstay_base::id;
use mainstay_dify::{
    db::{Reader, Row, Value},
    deployment::{Database, Tls},
};
use tokio_postgres::{Client, Config, NoTls};

/// Dify's own tables.
pub(crate) const TABLES: &str = include_str!("../tables.sql");
/// A procedure that fills them.
const GENERATE: &str = include_str!("../generate.sql");

pub(crate) struct Fixture {
    server: Config,
    /// The owner's own connection, which may do anything.
    pub(crate) owner: Client,
    pub(crate) name: String,
    pub(crate) role: String,
}

impl Fixture {
    /// `None` where no server was given: the test has nothing to prove then.
    #[expect(clippy::disallowed_methods, reason = "the test command says where its PostgreSQL is")]
    pub(crate) async fn start() -> Option<Fixture> {
        let url = std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())?;
        let server: Config = url.parse().unwrap();
        let unique = id::new().replace('-', "");
        let (name, role) = (format!("dify_{unique}"), format!("reader_{unique}"));
        let first = connect(&server).await;
        first.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        first.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
        let mut own = server.clone();
        own.dbname(&name);
        let owner = connect(&own).await;
        Some(Fixture { server, owner, name, role })
    }

    /// With Dify's tables, which the reader's role may read and nothing else.
    pub(crate) async fn with_tables() -> Option<Fixture> {
        let fixture = Fixture::with_tables_alone().await?;
        fixture.run(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", fixture.role)).await;
        Some(fixture)
    }

    /// With Dify's tables, and no right to any of them.
    pub(crate) async fn with_tables_alone() -> Option<Fixture> {
        let fixture = Fixture::start().await?;
        fixture.run(TABLES).await;
        fixture.run(GENERATE).await;
        Some(fixture)
    }

    /// Makes runs from one number to another, ten a second, with five nodes each.
    pub(crate) async fn generate(&self, first: i64, last: i64) {
        self.run(&format!("CALL generate({first}, {last}, timestamp '2026-11-23 00:00:00', 0.1)")).await;
    }

    /// Runs SQL as the owner.
    pub(crate) async fn run(&self, sql: &str) {
        self.owner.batch_execute(sql).await.unwrap();
    }

    pub(crate) fn database(&self) -> Database {
        let tokio_postgres::config::Host::Tcp(host) = &self.server.get_hosts()[0] else {
            panic!("the test's PostgreSQL is on TCP")
        };
        Database {
            host: host.clone(),
            port: self.server.get_ports()[0],
            user: self.role.clone(),
            password: None,
            name: self.name.clone(),
            tls: Tls::Off,
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::new(&self.database())
    }

    /// Connections that the role of the reader has now.
    pub(crate) async fn connections(&self) -> i64 {
        const SQL: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
        self.owner.query_one(SQL, &[&self.role]).await.unwrap().get(0)
    }

    pub(crate) async fn end(self) {
        let Fixture { server, owner, name, role } = self;
        drop(owner);
        let last = connect(&server).await;
        last.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        last.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    }
}

pub(crate) async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) fn texts(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.word(0).unwrap()).collect()
}

pub(crate) const NONE: &[Value<'static>] = &[];
