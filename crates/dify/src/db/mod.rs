//! Reading a PostgreSQL database of Dify: one connection, read-only, each query bounded in rows and in time.
//!
//! Promises: a [`Reader`] holds at most one connection, however many clones of it ask at once; it opens one when it is
//! first asked and again when the last one broke; a server that accepts and never answers costs no more than the limit
//! of the query. Refuses to know: what is read, and what a row means.

mod connect;
mod failure;
mod row;
mod value;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, pin_mut};
use parking_lot::Mutex as Lock;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};
use tokio_postgres::types::{ToSql, Type};

pub use failure::Failure;
pub use row::{Id, NotAnId, Row};
pub use value::Value;
pub(crate) use write::write;

use crate::deployment::Database;
use connect::Session;

/// How long opening a connection may take: name, TCP, TLS, password and the settings of the session.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a query waits while others use the connection.
pub const TURN_LIMIT: Duration = Duration::from_secs(5);
/// The server ends a query at its own limit; a peer that says nothing for so much longer is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// What one query may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// More rows are a failure, not an answer that was cut: a query says its own `LIMIT`.
    pub rows: usize,
    /// After this the server ends it.
    pub within: Duration,
}

impl Bound {
    pub const fn new(rows: usize, within: Duration) -> Bound {
        Bound { rows, within }
    }
}

/// What the reader has asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub queries: u64,
    pub rows: u64,
    /// Connections opened; 1 when none broke.
    pub connections: u64,
    /// The longest query, seen from here.
    pub slowest: Duration,
}

/// The one read-only connection to a database. Clones share it.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    session: Mutex<Option<Session>>,
    /// While there is none, whoever has the turn is opening one.
    is_connected: AtomicBool,
    asked: Lock<Asked>,
}

impl Reader {
    /// Opens nothing yet.
    pub fn new(database: &Database) -> Reader {
        let shared = Shared {
            database: database.clone(),
            session: Mutex::new(None),
            is_connected: AtomicBool::new(false),
            asked: Lock::new(Asked::default()),
        };
        Reader { shared: Arc::new(shared) }
    }

    /// Where it reads, as findings name it: `HOST:PORT/NAME`.
    pub fn at(&self) -> String {
        at(&self.shared.database)
    }

    pub fn asked(&self) -> Asked {
        *self.shared.asked.lock()
    }

    /// Runs one statement, `$1` and on standing for `values`. A connection that was found broken is opened again, once.
    pub async fn rows(&self, sql: &str, values: &[Value<'_>], bound: Bound) -> Result<Vec<Row>, Failure> {
        let turn = timeout(TURN_LIMIT, self.shared.session.lock()).await;
        let mut session = turn.map_err(|_| self.no_turn())?;
        let was_open = session.as_ref().is_some_and(|session| !session.client.is_closed());
        match self.ask(&mut session, sql, values, bound).await {
            // The server had closed it while nobody asked. Nothing is written here: asking again does no harm.
            Err(Failure::Lost { .. }) if was_open => self.ask(&mut session, sql, values, bound).await,
            answer => answer,
        }
    }

    /// As [`Reader::rows`], for a query that gives at most one row.
    pub async fn one(
        &self,
        sql: &str,
        values: &[Value<'_>],
        within: Duration,
    ) -> Result<Option<Row>, Failure> {
        Ok(self.rows(sql, values, Bound { rows: 1, within }).await?.pop())
    }

    /// Closes the connection; the next query opens one.
    pub async fn close(&self) {
        *self.shared.session.lock().await = None;
    }

    async fn ask(
        &self,
        slot: &mut Option<Session>,
        sql: &str,
        values: &[Value<'_>],
        bound: Bound,
    ) -> Result<Vec<Row>, Failure> {
        let session = self.open(slot).await?;
        let began = Instant::now();
        let answer = timeout_at(began + bound.within + SILENCE, query(session, sql, values, bound)).await;
        let answer = answer.unwrap_or_else(|_| {
            let doing = "waiting for an answer to a query";
            Err(Failure::Silent { at: self.at(), doing, after: bound.within + SILENCE })
        });
        self.count(began.elapsed(), answer.as_ref().map_or(0, Vec::len));
        answer.map_err(|failure| {
            let failure = failure.at(&self.shared.database, bound.within);
            // Whether the rest of an answer is still under way is not known, so that another query must not follow.
            if failure.spoils_the_connection() {
                *slot = None;
            }
            failure
        })
    }

    /// Who waited in vain for a server that lets nobody in has not waited for another's query.
    fn no_turn(&self) -> Failure {
        let at = self.at();
        match self.shared.is_connected.load(Ordering::Relaxed) {
            true => Failure::Busy { at, after: TURN_LIMIT },
            false => Failure::Silent { at, doing: "opening a connection", after: TURN_LIMIT },
        }
    }

    async fn open<'a>(&self, slot: &'a mut Option<Session>) -> Result<&'a mut Session, Failure> {
        if slot.as_ref().is_some_and(|session| session.client.is_closed()) {
            *slot = None;
        }
        match slot {
            Some(session) => Ok(session),
            None => {
                let database = &self.shared.database;
                self.shared.is_connected.store(false, Ordering::Relaxed);
                let opened = timeout(CONNECT_LIMIT, connect::open(database)).await;
                let opened = opened.unwrap_or_else(|_| {
                    let doing = "opening a connection";
                    Err(Failure::Silent { at: at(database), doing, after: CONNECT_LIMIT })
                });
                let session = opened.map_err(|failure| failure.at(database, CONNECT_LIMIT))?;
                self.shared.is_connected.store(true, Ordering::Relaxed);
                self.shared.asked.lock().connections += 1;
                Ok(slot.insert(session))
            }
        }
    }

    fn count(&self, took: Duration, rows: usize) {
        let mut asked = self.shared.asked.lock();
        asked.queries += 1;
        asked.rows += rows as u64;
        asked.slowest = asked.slowest.max(took);
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Reader({})", self.at())
    }
}

async fn query(
    session: &mut Session,
    sql: &str,
    values: &[Value<'_>],
    bound: Bound,
) -> Result<Vec<Row>, Failure> {
    session.limit(bound.within).await?;
    let values: Vec<(&(dyn ToSql + Sync), Type)> =
        values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
    // Planned for these very values, and nothing is kept on the server: a pooler in between does not matter.
    let answer = session.client.query_typed_raw(sql, values).await.map_err(|error| Failure::read(&error))?;
    pin_mut!(answer);
    let mut rows = Vec::new();
    while let Some(row) = answer.next().await {
        if rows.len() == bound.rows {
            return Err(Failure::TooMany { rows: bound.rows });
        }
        rows.push(Row::new(row.map_err(|error| Failure::read(&error))?));
    }
    Ok(rows)
}

fn at(database: &Database) -> String {
    let Database { host, port, name, .. } = database;
    format!("{host}:{port}/{name}")
}
