//! Fields of JSON objects, taken out one by one, with words for what is wrong with one.

use serde_json::{Map, Value};

use super::Unreadable;

/// An object whose fields are taken out; what nobody took is what nobody knows.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// Where it stands in the body, as `messages[2].`; empty at the top.
    at: String,
}

impl Fields {
    /// The object that `body` is.
    pub(crate) fn parse(body: &[u8]) -> Result<Fields, Unreadable> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Fields { map, at: String::new() }),
            Ok(_) => Err(Unreadable { what: "the body is JSON, but not an object".to_owned() }),
            Err(error) => Err(Unreadable { what: format!("the body is not JSON: {error}") }),
        }
    }

    /// The object that `value` is.
    pub(crate) fn of(value: Value, at: &str) -> Result<Fields, Unreadable> {
        match value {
            Value::Object(map) => Ok(Fields { map, at: format!("{at}.") }),
            _ => Err(Unreadable { what: format!("`{at}` must be an object") }),
        }
    }

    /// The field's value. A null is as good as no field.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(crate) fn bool(&mut self, name: &str) -> Result<Option<bool>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// Some callers write whole numbers as `256.0`.
    pub(crate) fn count(&mut self, name: &str) -> Result<Option<u64>, Unreadable> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match whole(&value) {
            Some(count) => Ok(Some(count)),
            None => Err(self.wrong(name, "a whole number from 0")),
        }
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Unreadable> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "a whole number"))
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, Unreadable> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number"))
    }

    pub(crate) fn array(&mut self, name: &str) -> Result<Vec<Value>, Unreadable> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    /// A list that must be there: without it a document is something else.
    pub(crate) fn required_array(&mut self, name: &str) -> Result<Vec<Value>, Unreadable> {
        match self.take(name) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(self.wrong(name, "a list")),
        }
    }

    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, Unreadable> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => Fields::of(value, &self.place(name)).map(Some),
        }
    }

    /// A field that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, Unreadable> {
        self.string(name)?.ok_or_else(|| self.wrong(name, "given"))
    }

    /// What was not taken.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }

    /// Where the field stands in the body.
    pub(crate) fn place(&self, name: &str) -> String {
        format!("{}{name}", self.at)
    }

    pub(crate) fn wrong(&self, name: &str, must_be: &str) -> Unreadable {
        Unreadable { what: format!("`{}` must be {must_be}", self.place(name)) }
    }
}

/// A whole number from 0, however it is written.
pub(crate) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..=9e15).contains(&number)).then_some(number as u64)
    })
}
