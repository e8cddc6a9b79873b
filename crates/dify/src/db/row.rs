//! One row of an answer, read by position; every cell may be NULL.

use std::{error::Error, fmt};

use bytes::BytesMut;
use mainstay_base::Micros;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use super::{Failure, value::EPOCH_MICROS};

#[derive(Debug)]
pub struct Row(tokio_postgres::Row);

/// A uuid: its text is written only where somebody reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Row {
    pub(super) fn new(row: tokio_postgres::Row) -> Row {
        Row(row)
    }

    /// Of a text, varchar, name, enumeration or json column.
    pub fn text(&self, column: usize) -> Result<Option<&str>, Failure> {
        self.cell::<Text<'_>>(column).map(|cell| cell.map(|Text(text)| text))
    }

    /// As [`Row::text`], NULL being empty.
    pub fn word(&self, column: usize) -> Result<String, Failure> {
        Ok(self.text(column)?.unwrap_or_default().to_owned())
    }

    /// Of an integer column of any width, or an oid.
    pub fn int(&self, column: usize) -> Result<Option<i64>, Failure> {
        self.cell::<Int>(column).map(|cell| cell.map(|Int(number)| number))
    }

    pub fn float(&self, column: usize) -> Result<Option<f64>, Failure> {
        self.cell::<Float>(column).map(|cell| cell.map(|Float(number)| number))
    }

    pub fn bool(&self, column: usize) -> Result<Option<bool>, Failure> {
        self.cell::<bool>(column)
    }

    /// Of a timestamp with or without time zone; `infinity` is the end of our time.
    pub fn time(&self, column: usize) -> Result<Option<Micros>, Failure> {
        self.cell::<Time>(column).map(|cell| cell.map(|Time(micros)| micros))
    }

    pub fn id(&self, column: usize) -> Result<Option<Id>, Failure> {
        self.cell::<Id>(column)
    }

    fn cell<'a, T: FromSql<'a>>(&'a self, column: usize) -> Result<Option<T>, Failure> {
        self.0.try_get::<_, Option<T>>(column).map_err(|error| {
            let cause =
                error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            Failure::Unreadable { column, cause }
        })
    }
}

type Read<T> = Result<T, Box<dyn Error + Sync + Send>>;

struct Text<'a>(&'a str);

impl<'a> FromSql<'a> for Text<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Read<Text<'a>> {
        Ok(Text(std::str::from_utf8(raw)?))
    }

    fn accepts(kind: &Type) -> bool {
        let is_enum = matches!(kind.kind(), tokio_postgres::types::Kind::Enum(_));
        is_enum || <&str as FromSql<'_>>::accepts(kind) || *kind == Type::JSON
    }
}

struct Int(i64);

impl<'a> FromSql<'a> for Int {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Read<Int> {
        let number = match *raw {
            [a, b] => i64::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
            _ => i64::from_be_bytes(raw.try_into()?),
        };
        Ok(Int(number))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT2 | Type::INT4 | Type::INT8 | Type::OID)
    }
}

struct Float(f64);

impl<'a> FromSql<'a> for Float {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Read<Float> {
        match *raw {
            [a, b, c, d] => Ok(Float(f64::from(f32::from_be_bytes([a, b, c, d])))),
            _ => Ok(Float(f64::from_be_bytes(raw.try_into()?))),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::FLOAT4 | Type::FLOAT8)
    }
}

struct Time(Micros);

impl<'a> FromSql<'a> for Time {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Read<Time> {
        Ok(Time(Micros(i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH_MICROS))))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Read<Id> {
        Ok(Id(raw.try_into()?))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }
}

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Read<IsNull> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::UUID
    }

    to_sql_checked!();
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Id, NotAnId> {
        let mut id = [0; 16];
        let mut digits = text.bytes().filter(|letter| *letter != b'-');
        for byte in &mut id {
            let mut digit =
                || digits.next().and_then(|letter| char::from(letter).to_digit(16)).ok_or(NotAnId);
            *byte = u8::try_from(digit()? * 16 + digit()?).map_err(|_| NotAnId)?;
        }
        match digits.next() {
            None => Ok(Id(id)),
            Some(_) => Err(NotAnId),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a uuid")]
pub struct NotAnId;
