//! SQLite: write-ahead log, full synchronization, one writer at a time over all processes.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use mainstay_base::{Clock, Micros};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, ToSql,
    types::{ToSqlOutput, ValueRef},
};

use super::{Mode, Row, Value, dialect, failure::Failure, target::SqliteFile, value::Cell};
use crate::StoreError;

/// How long a transaction waits for another process to end its own.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// How often it looks. SQLite's own handler waits up to 100 ms, in which others write fifty transactions.
const BUSY_POLL: Duration = Duration::from_micros(300);
/// SQLite gives its write lock to whoever looks first. A writer that had it for so long without a break …
const FAIR_AFTER: Duration = Duration::from_millis(20);
/// … leaves it alone for so long, so that another process that polls finds it free.
const FAIR_PAUSE: Duration = Duration::from_micros(700);
/// Prepared statements kept.
const STATEMENTS: usize = 256;
/// Pages in the log before it is copied into the file: fewer, larger copies.
const CHECKPOINT_PAGES: u32 = 4000;
const CACHE_KIB: u32 = 32 * 1024;

pub(super) struct Sqlite {
    connection: Connection,
    clock: Clock,
    respelled: HashMap<String, String>,
    /// Since when this connection has been writing without a break, and when it last stopped.
    writing: Option<(Instant, Instant)>,
}

impl Sqlite {
    pub(super) fn open(file: &SqliteFile) -> Result<Sqlite, Failure> {
        let connection = connect(file).map_err(failure)?;
        Ok(Sqlite { connection, clock: file.clock.clone(), respelled: HashMap::new(), writing: None })
    }

    pub(super) fn begin(&mut self, mode: Mode) -> Result<Micros, Failure> {
        match mode {
            // IMMEDIATE, because a transaction that reads first and writes later cannot wait for its turn.
            Mode::Write => {
                self.be_fair();
                self.execute("BEGIN IMMEDIATE", &[])?;
            }
            Mode::Read => {
                self.execute("BEGIN DEFERRED", &[])?;
            }
        }
        Ok(self.clock.now())
    }

    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        let outcome = self.execute("COMMIT", &[]);
        if let Some((_, stopped)) = &mut self.writing {
            *stopped = Instant::now();
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(failure) => {
                // A failed COMMIT leaves the transaction open; without this the next BEGIN would fail.
                let usable = self.rollback();
                Err(Failure { lost: !usable, again: usable && failure.again, ..failure })
            }
        }
    }

    pub(super) fn rollback(&mut self) -> bool {
        self.connection.is_autocommit() || self.execute("ROLLBACK", &[]).is_ok()
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let sql = respell(&mut self.respelled, sql);
        let changed = self.connection.prepare_cached(sql).and_then(|mut statement| {
            bind(&mut statement, values)?;
            statement.raw_execute()
        });
        changed.map(|rows| rows as u64).map_err(failure)
    }

    pub(super) fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let sql = respell(&mut self.respelled, sql);
        let rows = self.connection.prepare_cached(sql).and_then(|mut statement| {
            bind(&mut statement, values)?;
            let columns = statement.column_count();
            let mut found = Vec::new();
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                let cells: Result<Vec<Cell>, rusqlite::Error> =
                    (0..columns).map(|column| row.get_ref(column).map(cell)).collect();
                found.push(Row::new(cells?));
            }
            Ok(found)
        });
        rows.map_err(failure)
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.connection.execute_batch(sql).map_err(failure)
    }

    fn be_fair(&mut self) {
        let now = Instant::now();
        match self.writing {
            Some((since, stopped)) if now.duration_since(stopped) < FAIR_PAUSE => {
                if now.duration_since(since) > FAIR_AFTER {
                    thread::sleep(FAIR_PAUSE);
                    let now = Instant::now();
                    self.writing = Some((now, now));
                }
            }
            _ => self.writing = Some((now, now)),
        }
    }
}

fn connect(file: &SqliteFile) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if file.create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut connection = Connection::open_with_flags(&file.path, flags)?;
    let looks = i32::try_from(BUSY_LIMIT.as_micros() / BUSY_POLL.as_micros()).unwrap_or(i32::MAX);
    connection.busy_handler(Some(move |looked: i32| {
        thread::sleep(BUSY_POLL);
        looked < looks
    }))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn respell<'a>(respelled: &'a mut HashMap<String, String>, sql: &str) -> &'a str {
    if respelled.len() >= STATEMENTS && !respelled.contains_key(sql) {
        respelled.clear();
    }
    if !respelled.contains_key(sql) {
        respelled.insert(sql.to_owned(), dialect::statement_for_sqlite(sql));
    }
    &respelled[sql]
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &[Value<'_>]) -> rusqlite::Result<()> {
    (1..).zip(values).try_for_each(|(number, value): (usize, _)| statement.raw_bind_parameter(number, value))
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// No column of ours holds a real number; one that does is read as text and refused by its reader.
fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        ValueRef::Real(number) => Cell::Text(number.to_string()),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Bytes(bytes.to_vec()),
    }
}

fn failure(error: rusqlite::Error) -> Failure {
    let code = error.sqlite_error_code();
    let busy = matches!(code, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
    let away = matches!(
        code,
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::OutOfMemory
        )
    );
    let message = error.to_string();
    let error = if busy || away { StoreError::Unavailable(message) } else { StoreError::Bug(message) };
    Failure { error, again: busy, lost: away }
}
