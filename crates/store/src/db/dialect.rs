//! Our one SQL text, respelled for each database.
//!
//! Statements are written as PostgreSQL reads them (`$1`, `FOR UPDATE SKIP LOCKED`). Migrations use four words of
//! our own: `KEYTEXT` (text compared byte by byte), `BYTES`, `STORED BY KEY` (the table is its primary key's tree), and
//! `AS_JSON` (text read as JSON).

/// SQLite numbers parameters with `?`, and has one writer at a time, so that it needs no row locks.
pub(super) fn statement_for_sqlite(sql: &str) -> String {
    sql.replace('$', "?").replace(" FOR UPDATE SKIP LOCKED", "").replace(" FOR UPDATE", "")
}

pub(super) fn migration_for_sqlite(sql: &str) -> String {
    sql.replace("KEYTEXT", "TEXT")
        .replace("BYTES", "BLOB")
        .replace(" STORED BY KEY", " WITHOUT ROWID")
        .replace(" AS_JSON", "")
}

pub(super) fn migration_for_postgres(sql: &str) -> String {
    sql.replace("KEYTEXT", "TEXT COLLATE \"C\"")
        .replace("BYTES", "BYTEA")
        .replace(" STORED BY KEY", "")
        .replace(" AS_JSON", "::json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_lose_their_row_locks_on_sqlite() {
        let sql = "SELECT id FROM jobs WHERE due_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED";
        assert_eq!(statement_for_sqlite(sql), "SELECT id FROM jobs WHERE due_at <= ?1 LIMIT ?2");
        assert_eq!(statement_for_sqlite("SELECT 1 FOR UPDATE"), "SELECT 1");
    }

    #[test]
    fn migrations_get_the_types_of_their_database() {
        let sql = "CREATE TABLE t (id KEYTEXT PRIMARY KEY, body BYTES) STORED BY KEY";
        assert_eq!(
            migration_for_sqlite(sql),
            "CREATE TABLE t (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID"
        );
        assert_eq!(
            migration_for_postgres(sql),
            "CREATE TABLE t (id TEXT COLLATE \"C\" PRIMARY KEY, body BYTEA)"
        );
    }
}
