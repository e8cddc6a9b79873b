//! Named values in order: what nodes take and give.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

/// A small ordered mapping of names to shared values. Cloning shares the values; it serializes as a JSON object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(Vec<(Arc<str>, Arc<Value>)>);

impl Fields {
    pub fn new() -> Fields {
        Fields::default()
    }

    pub fn with_capacity(capacity: usize) -> Fields {
        Fields(Vec::with_capacity(capacity))
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Value>> {
        self.0.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    /// Sets `name`, keeping its place when it is there already.
    pub fn set(&mut self, name: impl Into<Arc<str>> + AsRef<str>, value: impl Into<Arc<Value>>) {
        match self.0.iter_mut().find(|(key, _)| **key == *name.as_ref()) {
            Some((_, old)) => *old = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// Appends a name that is known to be new.
    pub(crate) fn push(&mut self, name: Arc<str>, value: Arc<Value>) {
        debug_assert!(self.get(&name).is_none(), "{name} is set twice");
        self.0.push((name, value));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Value>)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_string(), Value::clone(value))).collect()
    }

    pub fn to_value(&self) -> Value {
        Value::Object(self.to_map())
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(map: Map<String, Value>) -> Fields {
        Fields(map.into_iter().map(|(name, value)| (name.into(), Arc::new(value))).collect())
    }
}

impl<const N: usize> From<[(&str, Value); N]> for Fields {
    fn from(pairs: [(&str, Value); N]) -> Fields {
        Fields(pairs.into_iter().map(|(name, value)| (name.into(), Arc::new(value))).collect())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(&**name, &**value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_set_again_keeps_its_place() {
        let mut fields = Fields::from([("a", json!(1)), ("b", json!(2))]);
        fields.set("a", json!(3));
        fields.set("c", json!(null));
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"a":3,"b":2,"c":null}"#);
        assert_eq!(fields.to_value(), json!({"a": 3, "b": 2, "c": null}));
    }
}
