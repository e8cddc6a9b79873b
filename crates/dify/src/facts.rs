//! What a PostgreSQL says of itself, for probes and the doctor: connections, replicas, long transactions, sizes.
//!
//! Promises: a handful of bounded questions to the catalogue and the statistics, none of which reads a table; what our
//! role may not see is named and left out. How much disk is free is not told by SQL, and is not guessed.

use std::time::Duration;

use mainstay_base::Micros;
use serde::Serialize;

use crate::db::{Bound, Failure, Reader, Row, Value};

const WITHIN: Duration = Duration::from_millis(250);
const FEW: usize = 50;
/// Transactions that are open for longer keep dead rows alive.
const LONG: Duration = Duration::from_secs(60);
/// The tables that grow with use.
const GROWING: &[&str] = &[
    "workflow_runs",
    "workflow_node_executions",
    "workflow_app_logs",
    "workflow_trigger_logs",
    "workflow_node_execution_offload",
    "messages",
    "message_agent_thoughts",
    "conversations",
    "document_segments",
    "child_chunks",
    "embeddings",
    "dataset_queries",
    "upload_files",
    "celery_taskmeta",
];

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatabaseFacts {
    /// `15.18`.
    pub version: String,
    pub now: Micros,
    pub max_connections: i64,
    /// Of those, kept for superusers.
    pub reserved_connections: i64,
    /// Whether we see the sessions of others; without it there is no more than their number.
    pub sees_others: bool,
    pub connections: Vec<Sessions>,
    pub long_transactions: Vec<Transaction>,
    /// Whether this is a standby, and how far behind it replays.
    pub is_standby: bool,
    pub replay_lag_seconds: Option<f64>,
    pub replicas: Vec<Replica>,
    /// How many transactions are left until the server stops to prevent wraparound; from 2,147 millions down.
    pub transactions_left: Option<i64>,
    pub tables: Vec<TableSize>,
    pub extensions: Vec<String>,
    /// What could not be asked, in sentences.
    pub unknown: Vec<String>,
}

/// Sessions of one application in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    pub database: String,
    pub user: String,
    pub application: String,
    /// `active`, `idle`, `idle in transaction`, …; empty where we may not see it.
    pub state: String,
    pub count: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transaction {
    pub pid: i64,
    pub user: String,
    pub application: String,
    pub state: String,
    pub open_seconds: f64,
    /// What it waits for: `Lock`, `Client`, …
    pub waits_for: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replica {
    pub name: String,
    pub state: String,
    pub lag_bytes: Option<i64>,
    pub lag_seconds: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TableSize {
    pub table: String,
    /// With its indexes and what is kept out of line.
    pub bytes: i64,
    /// As the statistics estimate.
    pub live_rows: i64,
    pub dead_rows: i64,
    pub last_vacuum: Option<Micros>,
}

/// Fails only when nothing can be asked at all.
pub async fn database_facts(reader: &Reader) -> Result<DatabaseFacts, Failure> {
    const FIRST: &str = "SELECT current_setting('server_version'), now(), current_setting('max_connections')::int, \
         current_setting('superuser_reserved_connections')::int, pg_is_in_recovery(), \
         pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), \
         CASE WHEN pg_is_in_recovery() THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 END";
    let mut facts = DatabaseFacts::default();
    if let Some(row) = reader.one(FIRST, &[], WITHIN).await? {
        facts.version = row.word(0)?.split(' ').next().unwrap_or_default().to_owned();
        facts.now = row.time(1)?.unwrap_or_default();
        facts.max_connections = row.int(2)?.unwrap_or(0);
        facts.reserved_connections = row.int(3)?.unwrap_or(0);
        facts.is_standby = row.bool(4)?.unwrap_or(false);
        facts.sees_others = row.bool(5)?.unwrap_or(false);
        facts.replay_lag_seconds = row.float(6)?;
    }
    facts.connections = facts.told("connections", connections(reader).await)?;
    facts.long_transactions = facts.told("long transactions", transactions(reader).await)?;
    facts.replicas = facts.told("replicas", replicas(reader).await)?;
    facts.tables = facts.told("sizes of tables", tables(reader).await)?;
    facts.extensions = facts.told("extensions", extensions(reader).await)?;
    let left =
        facts.told("the age of transactions", transactions_left(reader).await.map(|left| vec![left]))?;
    facts.transactions_left = left.into_iter().next().flatten();
    if !facts.sees_others {
        let sentence =
            "our role sees its own sessions only; `GRANT pg_monitor` lets it see whose connections are open";
        facts.unknown.push(sentence.to_owned());
    }
    facts.unknown.push("how much disk is free is not told by SQL; look at the server".to_owned());
    Ok(facts)
}

impl DatabaseFacts {
    /// A part that cannot be asked is named; a connection that is gone ends it all.
    fn told<T>(&mut self, what: &str, answer: Result<Vec<T>, Failure>) -> Result<Vec<T>, Failure> {
        match answer {
            Err(failure) if failure.is_about_the_connection() => Err(failure),
            Err(failure) => {
                self.unknown.push(format!("{what}: {failure}"));
                Ok(Vec::new())
            }
            Ok(found) => Ok(found),
        }
    }

    /// All connections of clients.
    pub fn connections_used(&self) -> i64 {
        self.connections.iter().map(|sessions| sessions.count).sum()
    }
}

async fn connections(reader: &Reader) -> Result<Vec<Sessions>, Failure> {
    const SQL: &str = "SELECT coalesce(datname, ''), coalesce(usename, ''), left(application_name, 60), \
         coalesce(state, ''), count(*) FROM pg_stat_activity \
         WHERE coalesce(backend_type, 'client backend') = 'client backend' \
         GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 50";
    let read = |row: &Row| {
        Ok(Sessions {
            database: row.word(0)?,
            user: row.word(1)?,
            application: row.word(2)?,
            state: row.word(3)?,
            count: row.int(4)?.unwrap_or(0),
        })
    };
    rows(reader, SQL, &[]).await?.iter().map(read).collect()
}

async fn transactions(reader: &Reader) -> Result<Vec<Transaction>, Failure> {
    const SQL: &str = "SELECT pid, coalesce(usename, ''), left(application_name, 60), coalesce(state, ''), \
         extract(epoch FROM clock_timestamp() - xact_start)::float8, coalesce(wait_event_type, '') \
         FROM pg_stat_activity WHERE xact_start < clock_timestamp() - $1 * interval '1 second' \
         AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY xact_start LIMIT 50";
    let read = |row: &Row| {
        Ok(Transaction {
            pid: row.int(0)?.unwrap_or(0),
            user: row.word(1)?,
            application: row.word(2)?,
            state: row.word(3)?,
            open_seconds: row.float(4)?.unwrap_or(0.0),
            waits_for: row.word(5)?,
        })
    };
    let seconds = i64::try_from(LONG.as_secs()).unwrap_or(60);
    rows(reader, SQL, &[Value::Int(seconds)]).await?.iter().map(read).collect()
}

async fn replicas(reader: &Reader) -> Result<Vec<Replica>, Failure> {
    const SQL: &str = "SELECT coalesce(application_name, ''), coalesce(state, ''), \
         CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint END, \
         extract(epoch FROM replay_lag)::float8 FROM pg_stat_replication LIMIT 50";
    let read = |row: &Row| {
        Ok(Replica {
            name: row.word(0)?,
            state: row.word(1)?,
            lag_bytes: row.int(2)?,
            lag_seconds: row.float(3)?,
        })
    };
    rows(reader, SQL, &[]).await?.iter().map(read).collect()
}

async fn tables(reader: &Reader) -> Result<Vec<TableSize>, Failure> {
    const SQL: &str = "SELECT s.relname, pg_total_relation_size(s.relid), s.n_live_tup, s.n_dead_tup, \
         greatest(s.last_vacuum, s.last_autovacuum) FROM pg_stat_user_tables s \
         WHERE s.relname = ANY($1) AND pg_table_is_visible(s.relid) ORDER BY 2 DESC LIMIT 50";
    let growing: Vec<String> = GROWING.iter().map(|table| (*table).to_owned()).collect();
    let read = |row: &Row| {
        Ok(TableSize {
            table: row.word(0)?,
            bytes: row.int(1)?.unwrap_or(0),
            live_rows: row.int(2)?.unwrap_or(0),
            dead_rows: row.int(3)?.unwrap_or(0),
            last_vacuum: row.time(4)?,
        })
    };
    rows(reader, SQL, &[Value::Texts(&growing)]).await?.iter().map(read).collect()
}

async fn extensions(reader: &Reader) -> Result<Vec<String>, Failure> {
    const SQL: &str = "SELECT extname || ' ' || extversion FROM pg_extension ORDER BY 1 LIMIT 50";
    rows(reader, SQL, &[]).await?.iter().map(|row| row.word(0)).collect()
}

async fn transactions_left(reader: &Reader) -> Result<Option<i64>, Failure> {
    const SQL: &str = "SELECT 2147483647 - max(age(datfrozenxid))::bigint FROM pg_database";
    reader.one(SQL, &[], WITHIN).await?.map_or(Ok(None), |row| row.int(0))
}

async fn rows(reader: &Reader, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
    reader.rows(sql, values, Bound::new(FEW, WITHIN)).await
}
