//! JSON Schemas as far as this dialect enforces them: objects are closed, and bounds become words.

use serde_json::{Map, Value};

/// Keywords that the dialect refuses.
const REFUSED: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];
/// Keywords whose values are schemas by name.
const NAMED: [&str; 4] = ["properties", "$defs", "definitions", "patternProperties"];
/// Deeper schemas go out as they are.
const MAX_DEPTH: u32 = 64;

pub(in crate::llm) fn enforceable(schema: &Value) -> Value {
    adapted(schema, 0)
}

fn adapted(schema: &Value, depth: u32) -> Value {
    match schema {
        Value::Object(map) if depth < MAX_DEPTH => Value::Object(object(map, depth)),
        Value::Array(items) if depth < MAX_DEPTH => {
            items.iter().map(|item| adapted(item, depth + 1)).collect()
        }
        other => other.clone(),
    }
}

fn object(map: &Map<String, Value>, depth: u32) -> Map<String, Value> {
    let mut out = Map::new();
    let mut bounds = Vec::new();
    for (name, value) in map {
        let name = name.as_str();
        let is_bound =
            REFUSED.contains(&name) || name == "minItems" && value.as_u64().is_some_and(|count| count > 1);
        if is_bound {
            bounds.push(format!("{name}: {value}"));
            continue;
        }
        let value = match value {
            Value::Object(named) if NAMED.contains(&name) => {
                named.iter().map(|(name, inner)| (name.clone(), adapted(inner, depth + 1))).collect()
            }
            // Data, not schemas.
            _ if matches!(name, "enum" | "const" | "default" | "examples" | "required") => value.clone(),
            other => adapted(other, depth + 1),
        };
        out.insert(name.to_owned(), value);
    }
    if map.get("type").and_then(Value::as_str) == Some("object") || map.contains_key("properties") {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if !bounds.is_empty() {
        let said = map.get("description").and_then(Value::as_str).unwrap_or_default();
        let description = format!("{said} ({})", bounds.join(", "));
        out.insert("description".to_owned(), description.trim().into());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_become_words_and_objects_are_closed() {
        let schema = json!({
            "type": "object",
            "properties": {
                "age": {"type": "integer", "minimum": 0, "description": "In years."},
                "minimum": {"type": "string", "enum": ["maximum"]},
            },
            "required": ["age"],
        });
        assert_eq!(
            enforceable(&schema),
            json!({
                "type": "object",
                "properties": {
                    "age": {"type": "integer", "description": "In years. (minimum: 0)"},
                    "minimum": {"type": "string", "enum": ["maximum"]},
                },
                "required": ["age"],
                "additionalProperties": false,
            })
        );
    }
}
