//! The schema's versions: numbered, forward only, one text for both databases.

use crate::{
    OpenError, StoreError,
    db::{Db, Tx, values, without_password},
};

struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

/// Never changed once released, only added to.
const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "first", sql: include_str!("../migrations/0001_first.sql") },
    Migration { number: 2, name: "models", sql: include_str!("../migrations/0002_models.sql") },
    Migration { number: 3, name: "dify", sql: include_str!("../migrations/0003_dify.sql") },
    Migration { number: 4, name: "hours", sql: include_str!("../migrations/0004_hours.sql") },
    Migration { number: 5, name: "alerting", sql: include_str!("../migrations/0005_alerting.sql") },
];

/// The version this code works with.
pub(crate) const CURRENT: i64 = MIGRATIONS[MIGRATIONS.len() - 1].number;

/// Whether the database has this code's schema.
pub(crate) async fn check(db: &Db, url: &str) -> Result<(), OpenError> {
    let found = found(db, url).await?;
    let url = without_password(url);
    match found.cmp(&CURRENT) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(OpenError::Older { url, found, needed: CURRENT }),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { url, found, needed: CURRENT }),
    }
}

/// Applies what is missing, each migration in a transaction of its own. Gives the version before and after.
pub(crate) async fn migrate(db: &Db, url: &str) -> Result<(i64, i64), OpenError> {
    migrate_to(db, url, CURRENT).await
}

/// As [`migrate`], but not beyond version `last`: how a database of an older version of this code is made.
pub(crate) async fn migrate_to(db: &Db, url: &str, last: i64) -> Result<(i64, i64), OpenError> {
    let before = found(db, url).await?;
    if before > CURRENT {
        return Err(OpenError::Newer { url: without_password(url), found: before, needed: CURRENT });
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.number <= last) {
        let Migration { number, name, .. } = *migration;
        db.write(move |tx| apply(tx, migration)).await.map_err(|source| OpenError::Migration {
            url: without_password(url),
            number,
            name,
            source,
        })?;
    }
    Ok((before, before.max(last)))
}

fn apply(tx: &mut Tx<'_>, migration: &Migration) -> Result<(), StoreError> {
    tx.lock_schema()?;
    // Another process may have been faster.
    if version(tx)? >= migration.number {
        return Ok(());
    }
    tx.batch(migration.sql)?;
    tx.execute("UPDATE meta SET number = $1 WHERE name = 'schema'", values![migration.number])?;
    Ok(())
}

async fn found(db: &Db, url: &str) -> Result<i64, OpenError> {
    db.write(version).await.map_err(|source| OpenError::Open { url: without_password(url), source })
}

/// 0 for an empty database.
fn version(tx: &mut Tx<'_>) -> Result<i64, StoreError> {
    if !tx.has_table("meta")? {
        return Ok(0);
    }
    let row = tx.one("SELECT number FROM meta WHERE name = 'schema'", values![])?;
    row.ok_or_else(|| StoreError::unreadable("schema version", "there is none"))?.int()
}

#[cfg(test)]
mod tests {
    use super::MIGRATIONS;

    #[test]
    fn migrations_are_numbered_without_a_gap() {
        let numbers: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        let expected: Vec<i64> = (1..).take(numbers.len()).collect();
        assert_eq!(numbers, expected);
    }
}
