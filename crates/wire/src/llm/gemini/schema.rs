//! JSON Schema as Gemini takes it.

use serde_json::{Map, Value};

/// The keywords that `responseJsonSchema` and `parametersJsonSchema` know, and whose values are no schemas.
const PLAIN: [&str; 14] = [
    "$id",
    "$ref",
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "enum",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "required",
    "propertyOrdering",
];

/// Those whose values are a schema, or a list of schemas.
const OF_SCHEMAS: [&str; 5] = ["items", "prefixItems", "anyOf", "oneOf", "additionalProperties"];

/// Schemas deeper than this are cut off there: what is below is taken as anything.
const MAX_DEPTH: usize = 64;

/// The schema without the keywords that Gemini refuses. What they demand is then not enforced by the provider; a
/// single value (`const`) and a lone member of `allOf` are said in words that it knows.
pub(super) fn adapted(schema: &Value) -> Value {
    adapt(schema, MAX_DEPTH)
}

fn adapt(schema: &Value, depth: usize) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    if depth == 0 {
        return Value::Object(Map::new());
    }
    let mut adapted = Map::new();
    for (keyword, value) in schema {
        match keyword.as_str() {
            "properties" | "$defs" | "definitions" => {
                // References name their place, so definitions keep the name that they have.
                adapted.insert(keyword.clone(), each(value, depth));
            }
            "const" => {
                adapted.entry("enum").or_insert_with(|| Value::Array(vec![value.clone()]));
            }
            "allOf" => adapted.extend(lone_member(value, depth)),
            plain if PLAIN.contains(&plain) => {
                adapted.insert(keyword.clone(), value.clone());
            }
            other if OF_SCHEMAS.contains(&other) => {
                adapted.insert(keyword.clone(), below(value, depth));
            }
            _ => {}
        }
    }
    Value::Object(adapted)
}

/// An object of schemas.
fn each(value: &Value, depth: usize) -> Value {
    let Value::Object(schemas) = value else { return value.clone() };
    Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), adapt(schema, depth - 1))).collect())
}

/// A schema, or a list of them.
fn below(value: &Value, depth: usize) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| adapt(item, depth - 1)).collect(),
        value => adapt(value, depth - 1),
    }
}

/// What generators write around a reference: `"allOf": [{"$ref": …}]`.
fn lone_member(value: &Value, depth: usize) -> Map<String, Value> {
    match value.as_array().map(Vec::as_slice) {
        Some([member]) => match adapt(member, depth - 1) {
            Value::Object(member) => member,
            _ => Map::new(),
        },
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_keeps_what_gemini_knows() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "kind": {"const": "refund"},
                "place": {"enum": [{"pattern": "any value"}, null]},
                "pattern": {"type": "string", "pattern": "^a"},
                "owner": {"allOf": [{"$ref": "#/$defs/Owner"}], "default": null},
                "sum": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
            },
            "required": ["kind"],
            "additionalProperties": false,
            "$defs": {"Owner": {"type": ["string", "null"], "minLength": 1}},
        });
        let adapted = adapted(&schema);
        assert_eq!(
            adapted,
            json!({
                "type": "object",
                "properties": {
                    "kind": {"enum": ["refund"]},
                    "place": {"enum": [{"pattern": "any value"}, null]},
                    "pattern": {"type": "string"},
                    "owner": {"$ref": "#/$defs/Owner"},
                    "sum": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                },
                "required": ["kind"],
                "additionalProperties": false,
                "$defs": {"Owner": {"type": ["string", "null"]}},
            })
        );
    }

    #[test]
    fn a_schema_without_end_is_cut_off() {
        let deep = (0..1000).fold(json!({"type": "string"}), |inner, _| json!({"items": inner}));
        let depth = std::iter::successors(Some(&adapted(&deep)), |schema| schema.get("items")).count();
        assert_eq!(depth, MAX_DEPTH + 1);
    }
}
