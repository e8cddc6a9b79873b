//! PostgreSQL over the synchronous client: one connection a thread, statements prepared once for each connection.

use std::{collections::HashMap, error::Error, time::Duration};

use bytes::BytesMut;
use mainstay_base::{Clock, Micros};
use postgres::{
    Client, SimpleQueryMessage, Statement,
    error::SqlState,
    types::{IsNull, ToSql, Type},
};

use super::{Mode, Row, Value, failure::Failure, target::PostgresServer, value::Cell};
use crate::StoreError;

/// How long one statement may take, waiting for locks included.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// How long a transaction may be open while we do nothing: longer, and the process that began it is gone.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Prepared statements kept.
const STATEMENTS: usize = 256;

const NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
const BEGIN: &str = "BEGIN";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

pub(super) struct Postgres {
    client: Client,
    clock: Clock,
    statements: HashMap<String, Statement>,
}

impl Postgres {
    pub(super) fn open(server: &PostgresServer) -> Result<Postgres, Failure> {
        let mut client = match &server.tls {
            Some(tls) => server.config.connect(tls.clone()),
            None => server.config.connect(postgres::NoTls),
        }
        .map_err(|error| before_any_work(&error))?;
        let limits = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET synchronous_commit = on",
            STATEMENT_LIMIT.as_millis(),
            IDLE_LIMIT.as_millis()
        );
        client.batch_execute(&limits).map_err(|error| before_any_work(&error))?;
        Ok(Postgres { client, clock: server.clock.clone(), statements: HashMap::new() })
    }

    /// Asks for the time in the same round trip.
    pub(super) fn begin(&mut self, mode: Mode) -> Result<Micros, Failure> {
        let begin = match mode {
            Mode::Write => BEGIN,
            Mode::Read => BEGIN_READ,
        };
        match &self.clock {
            Clock::Manual(_) => {
                self.client.batch_execute(begin).map_err(|error| before_commit(&error))?;
                Ok(self.clock.now())
            }
            Clock::System => {
                let answers = self.client.simple_query(&format!("{begin}; {NOW}"));
                read_now(&answers.map_err(|error| before_commit(&error))?)
            }
        }
    }

    pub(super) fn commit(&mut self) -> Result<(), Failure> {
        let outcome = self.client.batch_execute("COMMIT");
        outcome.map_err(|error| {
            let failure = before_commit(&error);
            // The server may have committed before it went away.
            Failure { again: failure.again && !failure.lost, ..failure }
        })
    }

    pub(super) fn rollback(&mut self) -> bool {
        self.client.batch_execute("ROLLBACK").is_ok()
    }

    pub(super) fn execute(&mut self, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let statement = self.prepare(sql)?;
        let outcome = self.client.execute(&statement, &parameters(values));
        outcome.map_err(|error| before_commit(&error))
    }

    pub(super) fn query(&mut self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql)?;
        let rows =
            self.client.query(&statement, &parameters(values)).map_err(|error| before_commit(&error))?;
        rows.iter().map(|row| read(row).map_err(Failure::of)).collect()
    }

    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Failure> {
        self.client.batch_execute(sql).map_err(|error| before_commit(&error))
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        let statement = self.client.prepare(sql).map_err(|error| before_commit(&error))?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn read_now(answers: &[SimpleQueryMessage]) -> Result<Micros, Failure> {
    let text = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let now = text.and_then(|text| text.parse().ok()).map(Micros);
    now.ok_or_else(|| Failure::of(StoreError::unreadable("time", format_args!("{text:?}"))))
}

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) if *kind == Type::INT4 => i32::try_from(number)?.to_sql(kind, out),
            Value::Int(number) if *kind == Type::INT8 => number.to_sql(kind, out),
            // PostgreSQL's text has no NUL; SQLite's would end at it for many readers.
            Value::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            Value::Text(text) if matches!(*kind, Type::TEXT | Type::VARCHAR | Type::NAME) => {
                text.to_sql(kind, out)
            }
            Value::Bytes(bytes) if *kind == Type::BYTEA => bytes.to_sql(kind, out),
            Value::Int(_) | Value::Text(_) | Value::Bytes(_) => {
                Err(format!("{self:?} does not fit the type {kind}").into())
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(kind, out)
    }
}

fn read(row: &postgres::Row) -> Result<Row, StoreError> {
    let cells: Result<Vec<Cell>, StoreError> =
        row.columns().iter().enumerate().map(|(index, column)| cell(row, index, column.type_())).collect();
    cells.map(Row::new)
}

fn cell(row: &postgres::Row, index: usize, kind: &Type) -> Result<Cell, StoreError> {
    let cell = match *kind {
        Type::INT8 => row.try_get::<_, Option<i64>>(index).map(|number| number.map(Cell::Int)),
        Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|number| number.map(|n| Cell::Int(n.into()))),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).map(|bytes| bytes.map(Cell::Bytes)),
        _ => row.try_get::<_, Option<String>>(index).map(|text| text.map(Cell::Text)),
    };
    cell.map(|cell| cell.unwrap_or(Cell::Null)).map_err(|error| StoreError::unreadable("column", error))
}

/// A failure while connecting: nothing was done, and trying at once again will not help.
fn before_any_work(error: &postgres::Error) -> Failure {
    Failure { error: StoreError::Unavailable(in_words(error)), again: false, lost: true }
}

/// A failure before COMMIT was sent, so that the server has rolled back or will.
fn before_commit(error: &postgres::Error) -> Failure {
    let Some(state) = error.code() else {
        // No word from the server: the connection broke, or one of our values did not fit its type.
        let lost = error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>());
        let message = in_words(error);
        let error = if lost { StoreError::Unavailable(message) } else { StoreError::Bug(message) };
        return Failure { error, again: lost, lost };
    };
    let again = *state == SqlState::T_R_SERIALIZATION_FAILURE || *state == SqlState::T_R_DEADLOCK_DETECTED;
    // Classes 08 (connection), 57 (shut down, cancelled), 53 (out of resources), 58 (system error).
    let class = &state.code()[..2];
    let lost = class == "08" || (class == "57" && *state != SqlState::QUERY_CANCELED);
    let away = again || lost || matches!(class, "53" | "57" | "58");
    let message = in_words(error);
    let error = if away { StoreError::Unavailable(message) } else { StoreError::Bug(message) };
    Failure { error, again: again || lost, lost }
}

/// The client's own `Display` says only "db error".
fn in_words(error: &postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
