//! What the database of a Dify is made of: the revision that its migrations reached, and the tables, columns and
//! indexes that are there and that our role may read.
//!
//! Promises: two questions to the catalogue, whatever the size of the data; what is missing takes away one capability
//! and is said in a sentence; a revision that is not in [`RELEASES`] is read as far as its columns carry, and never
//! written to.

mod need;
mod release;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use need::Capability;
pub(crate) use need::tables;
pub use release::{RELEASES, Release};

use crate::db::{Bound, Failure, Reader, Value};

const WITHIN: Duration = Duration::from_secs(2);
/// Columns of the tables that we read; 1.12.1 has about 500.
const MAX_COLUMNS: usize = 5000;
const MAX_INDEXES: usize = 1000;

/// What was found. Made by [`look`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// `alembic_version`; `None` when there is no such table, or we may not read it.
    pub revision: Option<String>,
    /// The release that ends at this revision, when it is one that we know.
    pub release: Option<&'static Release>,
    pub capabilities: BTreeSet<Capability>,
    /// Why the other capabilities are not there.
    pub missing: Vec<Missing>,
    columns: BTreeMap<String, BTreeMap<String, bool>>,
    /// By table: the columns of each index, in order.
    indexes: BTreeMap<String, Vec<Vec<String>>>,
}

/// One capability that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub capability: Capability,
    /// One sentence: what is lost, and for want of what.
    pub sentence: String,
    /// One line that can be done.
    pub remedy: String,
}

/// A write that was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefused {
    #[error(
        "the database has the schema revision {found}, which this Mainstay does not know; nothing is written to it"
    )]
    Unknown { found: String },
    #[error("{table} has no column {column}; nothing is written to it")]
    Lacks { table: String, column: String },
}

/// Asks the catalogue.
pub async fn look(reader: &Reader) -> Result<Schema, Failure> {
    let mut schema =
        Schema { columns: columns(reader).await?, indexes: indexes(reader).await?, ..Schema::default() };
    if schema.has("alembic_version", "version_num") {
        // More than one row is a half-done merge of branches, which is no revision that we know.
        let sql = "SELECT version_num FROM alembic_version ORDER BY version_num LIMIT 5";
        let rows = reader.rows(sql, &[], Bound::new(5, WITHIN)).await?;
        let found: Vec<String> = rows.iter().map(|row| row.word(0)).collect::<Result<_, _>>()?;
        schema.revision = Some(found.join("+")).filter(|found| !found.is_empty());
    }
    schema.release = schema.revision.as_deref().and_then(release::find);
    for capability in Capability::ALL {
        match need::lacks(&schema, capability) {
            None => drop(schema.capabilities.insert(capability)),
            Some(missing) => schema.missing.push(missing),
        }
    }
    Ok(schema)
}

impl Schema {
    /// Whether the revision is one that was looked at by us.
    pub fn is_known(&self) -> bool {
        self.release.is_some()
    }

    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    pub fn has_table(&self, table: &str) -> bool {
        self.columns.contains_key(table)
    }

    /// Whether the column is there, and we may read it.
    pub fn has(&self, table: &str, column: &str) -> bool {
        self.columns.get(table).and_then(|columns| columns.get(column)).is_some_and(|granted| *granted)
    }

    /// Whether some index begins with these columns.
    pub fn has_index(&self, table: &str, first: &[&str]) -> bool {
        let indexes = self.indexes.get(table).map_or(&[][..], Vec::as_slice);
        indexes
            .iter()
            .any(|columns| columns.len() >= first.len() && columns.iter().zip(first).all(|(a, b)| a == b))
    }

    /// Refuses on a revision that we do not know, or where one of these columns is missing.
    pub fn permits_write(&self, table: &str, columns: &[&str]) -> Result<(), WriteRefused> {
        if !self.is_known() {
            let found = self.revision.clone().unwrap_or_else(|| "(none)".to_owned());
            return Err(WriteRefused::Unknown { found });
        }
        let there = self.columns.get(table);
        match columns.iter().find(|column| there.is_none_or(|there| !there.contains_key(**column))) {
            None => Ok(()),
            Some(column) => {
                Err(WriteRefused::Lacks { table: table.to_owned(), column: (*column).to_owned() })
            }
        }
    }

    /// The column, or a NULL of its type where it is not there: what a newer Dify added is empty on an older one.
    pub(crate) fn or_null(&self, table: &str, column: &'static str, kind: &str) -> String {
        match self.has(table, column) {
            true => format!("\"{column}\""),
            false => format!("NULL::{kind} AS \"{column}\""),
        }
    }
}

async fn columns(reader: &Reader) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Failure> {
    const SQL: &str = "SELECT c.relname, a.attname, has_column_privilege(c.oid, a.attnum, 'SELECT') \
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
        WHERE c.relname = ANY($1) AND c.relkind IN ('r','p','v') AND pg_table_is_visible(c.oid) \
          AND a.attnum > 0 AND NOT a.attisdropped LIMIT 5001";
    let mut columns: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
    let bound = Bound::new(MAX_COLUMNS, WITHIN);
    for row in reader.rows(SQL, &[Value::Texts(&need::tables())], bound).await? {
        let granted = row.bool(2)?.unwrap_or(false);
        columns.entry(row.word(0)?).or_default().insert(row.word(1)?, granted);
    }
    Ok(columns)
}

async fn indexes(reader: &Reader) -> Result<BTreeMap<String, Vec<Vec<String>>>, Failure> {
    const SQL: &str = "SELECT c.relname, string_agg(a.attname::text, ',' ORDER BY k.place) \
        FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL \
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(number, place) \
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number \
        WHERE c.relname = ANY($1) AND pg_table_is_visible(c.oid) GROUP BY c.relname, i.indexrelid LIMIT 1001";
    let mut indexes: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let bound = Bound::new(MAX_INDEXES, WITHIN);
    for row in reader.rows(SQL, &[Value::Texts(&need::tables())], bound).await? {
        let columns = row.word(1)?.split(',').map(str::to_owned).collect();
        indexes.entry(row.word(0)?).or_default().push(columns);
    }
    Ok(indexes)
}
