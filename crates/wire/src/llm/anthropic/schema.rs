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

/// What a tool takes. A choice at its top is refused with the whole request: then the tool takes what any of the choices
/// take, and must be given what all of them demand.
pub(in crate::llm) fn of_tool(schema: Option<&Value>) -> Value {
    let mut schema = schema.and_then(Value::as_object).cloned().unwrap_or_default();
    schema.entry("type").or_insert_with(|| "object".into());
    for name in ["oneOf", "anyOf", "allOf"] {
        if let Some(Value::Array(members)) = schema.shift_remove(name) {
            merge(&mut schema, &members, name == "allOf");
        }
    }
    Value::Object(schema)
}

fn merge(schema: &mut Map<String, Value>, members: &[Value], holds_all: bool) {
    let demands = |member: &Value| -> Vec<Value> {
        member.get("required").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let mut properties = match schema.get("properties") {
        Some(Value::Object(properties)) => properties.clone(),
        _ => Map::new(),
    };
    for (name, property) in
        members.iter().filter_map(|member| member.get("properties")?.as_object()).flatten()
    {
        properties.entry(name.clone()).or_insert_with(|| property.clone());
    }
    let is_demanded = |name: &Value| holds_all || members.iter().all(|member| demands(member).contains(name));
    let mut required: Vec<Value> =
        schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for name in members.iter().flat_map(demands).filter(is_demanded) {
        if !required.contains(&name) {
            required.push(name);
        }
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_choice_at_the_top_of_a_tool_becomes_one_object() {
        let one = json!({"properties": {"id": {"type": "integer"}, "why": {}}, "required": ["id", "why"]});
        let other =
            json!({"properties": {"name": {"type": "string"}, "why": {}}, "required": ["name", "why"]});
        let properties = json!({"id": {"type": "integer"}, "why": {}, "name": {"type": "string"}});
        assert_eq!(
            of_tool(Some(&json!({"anyOf": [one, other]}))),
            json!({"type": "object", "properties": properties, "required": ["why"]})
        );
        assert_eq!(of_tool(Some(&json!({"allOf": [one, other]})))["required"], json!(["id", "why", "name"]));
        let bare = json!({"type": "object", "properties": {"id": {}}, "anyOf": [{"required": ["id"]}, {"required": []}]});
        assert_eq!(of_tool(Some(&bare)), json!({"type": "object", "properties": {"id": {}}}));
        assert_eq!(of_tool(None), json!({"type": "object"}));
    }

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
