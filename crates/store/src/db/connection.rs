//! One connection and its transactions, opened when first needed and again after it was lost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mainstay_base::Micros;

use super::{
    Mode, Row, Tx, Value, dialect, failure::Failure, postgres::Postgres, sqlite::Sqlite, target::Target,
};
use crate::StoreError;

pub(super) struct Connection {
    target: Target,
    live: Option<Live>,
}

impl Connection {
    pub(super) fn new(target: Target) -> Connection {
        Connection { target, live: None }
    }

    /// Runs `work` between BEGIN and COMMIT; nothing of it is kept if anything fails.
    pub(super) fn transaction(
        &mut self,
        mode: Mode,
        work: &mut dyn FnMut(&mut Tx<'_>) -> Result<(), StoreError>,
    ) -> Result<(), Failure> {
        let live = match &mut self.live {
            Some(live) => live,
            empty => empty.insert(Live::open(&self.target)?),
        };
        let outcome = live.begin(mode).and_then(|now| run(live, now, work));
        if outcome.as_ref().is_err_and(|failure| failure.lost) {
            self.live = None;
        }
        outcome
    }
}

fn run(
    live: &mut Live,
    now: Micros,
    work: &mut dyn FnMut(&mut Tx<'_>) -> Result<(), StoreError>,
) -> Result<(), Failure> {
    let mut tx = Tx { live, now, failure: None };
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut tx)))
        .unwrap_or_else(|_| Err(StoreError::Bug("the work of a transaction panicked".to_owned())));
    let failure = match (tx.failure.take(), outcome) {
        (Some(failure), _) => failure,
        (None, Err(error)) => Failure::of(error),
        (None, Ok(())) => return live.commit(),
    };
    let rolled_back = live.rollback();
    Err(Failure { lost: failure.lost || !rolled_back, ..failure })
}

/// An open connection.
pub(super) enum Live {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Live {
    fn open(target: &Target) -> Result<Live, Failure> {
        match target {
            Target::Sqlite(file) => Sqlite::open(file).map(Live::Sqlite),
            Target::Postgres(server) => Postgres::open(server).map(Box::new).map(Live::Postgres),
        }
    }

    fn begin(&mut self, mode: Mode) -> Result<Micros, Failure> {
        match self {
            Live::Sqlite(live) => live.begin(mode),
            Live::Postgres(live) => live.begin(mode),
        }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        match self {
            Live::Sqlite(live) => live.commit(),
            Live::Postgres(live) => live.commit(),
        }
    }

    /// Whether the connection can be used again.
    fn rollback(&mut self) -> bool {
        match self {
            Live::Sqlite(live) => live.rollback(),
            Live::Postgres(live) => live.rollback(),
        }
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
        match self {
            Live::Sqlite(live) => live.execute(sql, values),
            Live::Postgres(live) => live.execute(sql, values),
        }
    }

    pub(super) fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        match self {
            Live::Sqlite(live) => live.query(sql, values),
            Live::Postgres(live) => live.query(sql, values),
        }
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        match self {
            Live::Sqlite(live) => live.batch(&dialect::migration_for_sqlite(sql)),
            Live::Postgres(live) => live.batch(&dialect::migration_for_postgres(sql)),
        }
    }

    pub(super) fn lock_schema(&mut self) -> Result<(), Failure> {
        match self {
            // A write transaction is alone already.
            Live::Sqlite(_) => Ok(()),
            // Any number does, as long as only our migrations use it.
            Live::Postgres(live) => live.batch("SELECT pg_advisory_xact_lock(7240311985)"),
        }
    }

    pub(super) fn has_table_sql(&self) -> &'static str {
        match self {
            Live::Sqlite(_) => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
            Live::Postgres(_) => {
                "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1"
            }
        }
    }
}
