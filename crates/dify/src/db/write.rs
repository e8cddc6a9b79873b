//! Writing to Dify's database: one statement over a connection of its own, which is closed after it.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};

use super::{CONNECT_LIMIT, Failure, SILENCE, Value, at, connect};
use crate::deployment::Database;

/// Runs one statement and gives how many rows it changed. The server ends it after `within`; whether a statement that was
/// sent and not answered was done is not known, and [`Failure::Silent`] says that it was sent.
pub(crate) async fn write(
    database: &Database,
    sql: &str,
    values: &[Value<'_>],
    within: Duration,
) -> Result<u64, Failure> {
    let silent = |doing, after| Failure::Silent { at: at(database), doing, after };
    let opened = timeout(CONNECT_LIMIT, connect::open_to_write(database)).await;
    let opened = opened.unwrap_or_else(|_| Err(silent("opening a connection", CONNECT_LIMIT)));
    let mut session = opened.map_err(|failure| failure.at(database, CONNECT_LIMIT))?;
    let changed = timeout(within + SILENCE, async {
        session.limit(within).await?;
        let values: Vec<(&(dyn ToSql + Sync), Type)> =
            values.iter().map(|value| (value as &(dyn ToSql + Sync), value.kind())).collect();
        session.client.execute_typed(sql, &values).await.map_err(|error| Failure::read(&error))
    });
    let changed = changed.await.unwrap_or_else(|_| {
        Err(silent("doing a write, which it may have done all the same", within + SILENCE))
    });
    changed.map_err(|failure| failure.at(database, within))
}
