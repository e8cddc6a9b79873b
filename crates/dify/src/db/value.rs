//! What stands for `$1` in a query.

use std::error::Error;

use bytes::BytesMut;
use mainstay_base::Micros;
use tokio_postgres::types::{IsNull, ToSql, Type};

/// PostgreSQL counts from 2000-01-01, we from 1970-01-01.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Uuids go as text and are cast in the SQL: `$1::uuid`, `ANY($1::uuid[])`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Bool(bool),
    /// A `timestamp without time zone` that holds UTC, as all of Dify's.
    Time(Micros),
    Texts(&'a [String]),
}

impl Value<'_> {
    pub(super) fn kind(&self) -> Type {
        match self {
            Value::Text(_) => Type::TEXT,
            Value::Int(_) => Type::INT8,
            Value::Bool(_) => Type::BOOL,
            Value::Time(_) => Type::TIMESTAMP,
            Value::Texts(_) => Type::TEXT_ARRAY,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Text(text) => text.to_sql(kind, out),
            Value::Int(number) => number.to_sql(kind, out),
            Value::Bool(is) => is.to_sql(kind, out),
            Value::Time(Micros(micros)) => micros.saturating_sub(EPOCH_MICROS).to_sql(&Type::INT8, out),
            Value::Texts(texts) => texts.to_sql(kind, out),
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
