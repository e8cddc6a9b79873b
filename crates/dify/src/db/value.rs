//! What stands for `$1` in a query.

use std::error::Error;

use bytes::BytesMut;
use mainstay_base::Micros;
use tokio_postgres::types::{IsNull, ToSql, Type};

use super::Id;

/// PostgreSQL counts from 2000-01-01, we from 1970-01-01.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Bool(bool),
    /// A `timestamp without time zone` that holds UTC, as all of Dify's.
    Time(Micros),
    Texts(&'a [String]),
    Id(Id),
    Ids(&'a [Id]),
}

impl Value<'_> {
    pub(super) fn kind(&self) -> Type {
        match self {
            Value::Text(_) => Type::TEXT,
            Value::Int(_) => Type::INT8,
            Value::Bool(_) => Type::BOOL,
            Value::Time(_) => Type::TIMESTAMP,
            Value::Texts(_) => Type::TEXT_ARRAY,
            Value::Id(_) => Type::UUID,
            Value::Ids(_) => Type::UUID_ARRAY,
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
            Value::Id(id) => id.to_sql(kind, out),
            Value::Ids(ids) => ids.to_sql(kind, out),
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
