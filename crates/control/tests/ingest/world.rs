//! A Dify's database and a store of ours, for one test.

use std::time::Duration;

use mainstay_base::{Clock, Micros, id};
use mainstay_control::ingest::{Ingest, IngestError, Options};
use mainstay_dify::{
    db::Reader,
    deployment::{Database, Tls},
};
use mainstay_store::Store;
use tokio_postgres::{Client, Config, NoTls, config::Host};

const TABLES: &str = include_str!("../../../dify/tests/tables.sql");
const GENERATE: &str = include_str!("../../../dify/tests/generate.sql");
const PROCEDURES: &str = include_str!("world.sql");
pub(crate) const STUCK_DOCUMENT: &str = include_str!("stuck.sql");
pub(crate) const DELETE_RUNS: &str = include_str!("delete.sql");
/// Later than this a test does not commit.
const OVERLAP: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) runs: i64,
    pub(crate) tokens: i64,
    pub(crate) failed: i64,
    pub(crate) nodes: i64,
}

pub(crate) struct World {
    server: Config,
    own: Config,
    owner: Client,
    name: String,
    pub(crate) role: String,
    reader: Reader,
    pub(crate) store: Store,
    _folder: tempfile::TempDir,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the test command says where its PostgreSQL is")]
    pub(crate) async fn start(store_on_postgres: bool) -> Option<World> {
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
        for sql in [TABLES, GENERATE, PROCEDURES] {
            owner.batch_execute(sql).await.unwrap();
        }
        let grant = format!("GRANT select ON ALL TABLES IN SCHEMA public TO {role}; CREATE SCHEMA ours");
        owner.batch_execute(&grant).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store_url = if store_on_postgres {
            let (before, after) = url.rsplit_once('/').unwrap();
            let options = after.split_once('?').map(|(_, options)| format!("{options}&")).unwrap_or_default();
            format!("{before}/{name}?{options}options=-csearch_path%3Dours")
        } else {
            format!("sqlite:{}", folder.path().join("store.db").display())
        };
        let options = mainstay_store::Options { url: store_url, clock: Clock::System };
        Store::migrate(&options).await.unwrap();
        let store = Store::open(options).await.unwrap();
        let Host::Tcp(host) = &server.get_hosts()[0] else { panic!("the test's PostgreSQL is on TCP") };
        let reader = Reader::new(&Database {
            host: host.clone(),
            port: server.get_ports()[0],
            user: role.clone(),
            password: None,
            name: name.clone(),
            tls: Tls::Off,
        });
        Some(World { server, own, owner, name, role, reader, store, _folder: folder })
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.owner.batch_execute(sql).await.unwrap();
    }

    /// Runs SQL in a transaction that stays open.
    pub(crate) async fn hold(&self, sql: &str) -> Client {
        let client = connect(&self.own).await;
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        client
    }

    /// Runs of the last minutes, ten a second.
    pub(crate) async fn generate(&self, runs: i64) {
        let start = format!("(now() AT TIME ZONE 'utc')::timestamp - interval '{} seconds'", runs / 10 + 30);
        self.run(&format!("CALL generate(1, {runs}, {start}, 0.1)")).await;
    }

    pub(crate) fn ingest(&self) -> Ingest {
        self.ingest_from(Duration::from_secs(600))
    }

    pub(crate) fn ingest_from(&self, backfill: Duration) -> Ingest {
        let options = Options {
            backfill,
            overlap: OVERLAP,
            late_every: Duration::ZERO,
            settle: Duration::from_millis(100),
            retry: Duration::from_millis(100),
            ..Options::new("dify", "test")
        };
        Ingest::new(self.reader.clone(), self.store.clone(), options)
    }

    pub(crate) async fn round(&self, ingest: &mut Ingest) {
        match ingest.round().await {
            // A batch of the reader before was still being written when this one read the place.
            Ok(_) | Err(IngestError::Overtaken) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Until there is no more to read.
    pub(crate) async fn read_all(&self, ingest: &mut Ingest) {
        for _ in 0..200 {
            if ingest.round().await.unwrap().is_caught_up {
                return;
            }
        }
        panic!("reading does not come to an end");
    }

    /// Until so much is counted; what was not at its end is looked at again after seconds.
    pub(crate) async fn read_until(&self, ingest: &mut Ingest, expected: &Counted) {
        for _ in 0..600 {
            self.round(ingest).await;
            if self.counted().await == *expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("counted {:?} of {expected:?}", self.counted().await);
    }

    pub(crate) async fn expected(&self) -> Counted {
        let row = self.owner.query_one("TABLE expected", &[]).await.unwrap();
        Counted { runs: row.get(0), tokens: row.get(1), failed: row.get(2), nodes: row.get(3) }
    }

    pub(crate) async fn counted(&self) -> Counted {
        let all = Micros(i64::MAX / 2);
        let runs = self.store.dify().totals("dify", "run", Micros(0), all).await.unwrap();
        let nodes = self.store.dify().totals("dify", "node", Micros(0), all).await.unwrap();
        Counted {
            runs: runs.iter().map(|total| total.count).sum(),
            tokens: runs.iter().map(|total| total.tokens).sum(),
            failed: runs.iter().filter(|total| !total.series.class.is_empty()).map(|total| total.count).sum(),
            nodes: nodes.iter().map(|total| total.count).sum(),
        }
    }

    pub(crate) async fn connections(&self) -> i64 {
        self.owner.query_one("TABLE our_connections", &[]).await.unwrap().get(0)
    }

    pub(crate) async fn end(self) {
        let World { server, owner, name, role, store, .. } = self;
        drop((owner, store));
        let last = connect(&server).await;
        last.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
        last.batch_execute(&format!("DROP ROLE {role}")).await.unwrap();
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).unwrap()
    }
}
