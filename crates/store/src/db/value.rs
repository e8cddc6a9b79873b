//! What goes into a statement and what comes out.

use mainstay_base::{Kind, Micros};
use serde::de::DeserializeOwned;

use crate::StoreError;

/// One parameter. Borrowed, because most are parts of a row that the caller keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// `values![id, count, name.as_deref()]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::db::Value::from($value)),*] };
}
pub(crate) use values;

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Value::Int(i64::from(value))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Int(i64::from(value))
    }
}

impl From<Micros> for Value<'_> {
    fn from(value: Micros) -> Self {
        Value::Int(value.0)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Value::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Value::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Value::Bytes(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// `$3,$4,$5`: the placeholders of `count` values from number `first` on.
pub(crate) fn numbers(first: usize, count: usize) -> String {
    let mut text = String::with_capacity(count * 5);
    for number in first..first + count {
        if number > first {
            text.push(',');
        }
        text.push('$');
        text.push_str(&number.to_string());
    }
    text
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row, read column by column in the order of the `SELECT`.
#[derive(Debug)]
pub(crate) struct Row {
    cells: std::vec::IntoIter<Cell>,
}

impl Row {
    pub(super) fn new(cells: Vec<Cell>) -> Row {
        Row { cells: cells.into_iter() }
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.cells.next() {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            other => Err(StoreError::unreadable("text", format_args!("{other:?}"))),
        }
    }

    pub(crate) fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.cells.next() {
            Some(Cell::Null) => Ok(None),
            Some(Cell::Int(number)) => Ok(Some(number)),
            other => Err(StoreError::unreadable("number", format_args!("{other:?}"))),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.cells.next() {
            Some(Cell::Bytes(bytes)) => Ok(bytes),
            other => Err(StoreError::unreadable("bytes", format_args!("{other:?}"))),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.ok_or_else(|| StoreError::unreadable("text", "NULL"))
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.ok_or_else(|| StoreError::unreadable("number", "NULL"))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        Ok(self.int()? != 0)
    }

    pub(crate) fn micros(&mut self) -> Result<Micros, StoreError> {
        Ok(Micros(self.int()?))
    }

    pub(crate) fn opt_micros(&mut self) -> Result<Option<Micros>, StoreError> {
        Ok(self.opt_int()?.map(Micros))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        parse_json(&self.text()?)
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        self.opt_text()?.as_deref().map(parse_json).transpose()
    }

    /// One of a fixed list of words.
    pub(crate) fn word<T>(&mut self, what: &str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| StoreError::unreadable(what, text))
    }

    pub(crate) fn opt_kind(&mut self) -> Result<Option<Kind>, StoreError> {
        Ok(self.opt_text()?.as_deref().and_then(Kind::parse))
    }
}

fn parse_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::unreadable("JSON", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_from_the_first() {
        assert_eq!(numbers(3, 3), "$3,$4,$5");
        assert_eq!(numbers(1, 0), "");
    }

    #[test]
    fn a_column_of_another_type_is_an_error_and_no_panic() {
        let row = || Row::new(vec![Cell::Text("x".into())]);
        assert!(row().int().is_err());
        assert!(row().bytes().is_err());
        assert!(row().json::<Vec<i64>>().is_err());
        assert!(Row::new(vec![]).opt_text().is_err(), "a column too many");
        assert_eq!(row().text().unwrap(), "x");
    }
}
