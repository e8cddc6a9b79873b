//! A caller's inputs against the start node's form, with Dify's rules and Dify's sentences.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use crate::{
    condition::{parse_float, parse_integer},
    plan::StartVariable,
    python,
};

const KINDS: [&str; 8] =
    ["text-input", "paragraph", "select", "number", "checkbox", "file", "file-list", "json_object"];

/// Reads a start node's variables; the errors are fields and what is wrong with them.
pub(crate) fn read(data: &Map<String, Value>) -> Result<Vec<StartVariable>, Vec<(String, String)>> {
    let list = match data.get("variables") {
        None | Some(Value::Null) => &[],
        Some(Value::Array(list)) => list.as_slice(),
        Some(_) => return Err(vec![("variables".to_owned(), "expected a list".to_owned())]),
    };
    let mut problems = Vec::new();
    let mut variables: Vec<StartVariable> = Vec::with_capacity(list.len());
    for (position, raw) in list.iter().enumerate() {
        let field = format!("variables[{position}]");
        let Some(raw) = raw.as_object() else {
            problems.push((field, "expected a variable".to_owned()));
            continue;
        };
        let text = |key: &str| raw.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, kind) = (text("variable"), text("type"));
        if name.is_empty() {
            problems.push((field, "the variable has no name".to_owned()));
            continue;
        }
        if !KINDS.contains(&kind.as_str()) {
            problems.push((field, format!("inputs of type \"{kind}\" are not supported (input \"{name}\")")));
            continue;
        }
        if variables.iter().any(|known| *known.name == *name) {
            problems.push((field, format!("the input \"{name}\" is there twice")));
            continue;
        }
        let options = raw.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        variables.push(StartVariable {
            name: name.into(),
            label: text("label"),
            kind,
            required: raw.get("required").and_then(Value::as_bool).unwrap_or(false),
            max_length: raw.get("max_length").and_then(Value::as_u64).filter(|most| *most > 0),
            options: options.iter().map(python::str).collect(),
            default: raw.get("default").filter(|value| !value.is_null()).cloned(),
            raw: raw.clone(),
        });
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// The inputs that the form declares, checked and with their defaults.
pub(crate) fn prepare(
    variables: &[StartVariable],
    given: &Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut inputs = Map::with_capacity(variables.len());
    for variable in variables {
        let mut value = prepare_one(variable, given.get(&*variable.name))?;
        if let Value::String(text) = &mut value {
            text.retain(|character| character != '\0');
        }
        inputs.insert(variable.name.to_string(), value);
    }
    for (variable, value) in variables.iter().zip(inputs.values()) {
        let holds_mappings = match value {
            Value::Object(_) => !matches!(variable.kind.as_str(), "file" | "json_object"),
            Value::Array(items) => variable.kind != "file-list" && items.iter().any(Value::is_object),
            _ => false,
        };
        if holds_mappings {
            return Err(format!("Invalid input type for ['{}']", variable.name));
        }
    }
    Ok(inputs)
}

fn prepare_one(variable: &StartVariable, given: Option<&Value>) -> Result<Value, String> {
    let name = &variable.name;
    let value = match given.filter(|value| !value.is_null()) {
        Some(value) => value.clone(),
        None if variable.required => return Err(format!("{name} is required in input form")),
        None => match &variable.default {
            Some(default) => default.clone(),
            None => return Ok(Value::Null),
        },
    };
    let is_file = matches!(variable.kind.as_str(), "file" | "file-list");
    if is_file && !variable.required && value.as_str() == Some("") {
        return Ok(Value::Null);
    }
    match (variable.kind.as_str(), &value) {
        ("text-input" | "paragraph", Value::String(text)) => {
            let most = variable.max_length.unwrap_or(u64::MAX);
            if text.chars().count() as u64 > most {
                return Err(format!("{name} in input form must be less than {most} characters"));
            }
        }
        ("select", Value::String(text)) if variable.options.contains(text) => {}
        ("select", Value::String(_)) => {
            let options = python::repr_list(variable.options.iter().map(String::as_str));
            return Err(format!("{name} in input form must be one of the following: {options}"));
        }
        ("text-input" | "paragraph" | "select", _) => {
            return Err(format!("(type '{}') {name} in input form must be a string", variable.kind));
        }
        ("number", _) => return number(name, value),
        ("file", Value::Object(_)) => {}
        ("file", _) => return Err(format!("{name} in input form must be a file")),
        ("file-list", Value::Array(items)) if items.iter().all(Value::is_object) => {
            let most = variable.max_length.unwrap_or(u64::MAX);
            if items.len() as u64 > most {
                return Err(format!("{name} in input form must be less than {most} files"));
            }
        }
        ("file-list", _) => return Err(format!("{name} in input form must be a list of files")),
        ("checkbox", _) => return Ok(checkbox(value)),
        ("json_object", _) if python::is_true(&value) && !value.is_object() => {
            return Err(format!("{name} in input form must be a dict"));
        }
        _ => {}
    }
    Ok(value)
}

fn number(name: &Arc<str>, value: Value) -> Result<Value, String> {
    let text = match &value {
        Value::Number(_) | Value::Bool(_) => return Ok(value),
        Value::String(text) => text.trim(),
        other => {
            return Err(format!(
                "expected value type int, float or str, got <class '{}'>, value: {}",
                python::type_name(other),
                python::str(other)
            ));
        }
    };
    if text.is_empty() {
        return Ok(Value::Null);
    }
    let number = match text.contains('.') {
        true => parse_float(text).and_then(Number::from_f64),
        false => parse_integer(text).and_then(Number::from_i128),
    };
    number.map(Value::Number).ok_or_else(|| format!("{name} in input form must be a valid number"))
}

fn checkbox(value: Value) -> Value {
    let meant = match &value {
        Value::String(text) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        },
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        _ => None,
    };
    meant.map_or(value, Value::Bool)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(variable: Value, given: Value, expected: Result<Value, &str>) {
        let data = json!({ "variables": [variable.clone()] });
        let variables = read(data.as_object().unwrap()).unwrap();
        let found = prepare(&variables, given.as_object().unwrap()).map(Value::Object);
        assert_eq!(
            found.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|error| *error),
            "{variable} {given}"
        );
    }

    #[test]
    fn inputs_are_judged_as_in_dify() {
        let text = json!({"variable": "q", "type": "text-input", "required": true, "max_length": 3});
        check(text.clone(), json!({}), Err("q is required in input form"));
        check(text.clone(), json!({"q": null}), Err("q is required in input form"));
        check(text.clone(), json!({"q": 1}), Err("(type 'text-input') q in input form must be a string"));
        check(text.clone(), json!({"q": "abcd"}), Err("q in input form must be less than 3 characters"));
        check(text, json!({"q": "ü\0ü", "other": 1}), Ok(json!({"q": "üü"})));
        let select = json!({"variable": "s", "type": "select", "options": ["a", "b"], "default": "b"});
        check(select.clone(), json!({}), Ok(json!({"s": "b"})));
        check(select, json!({"s": "c"}), Err("s in input form must be one of the following: ['a', 'b']"));
        let number = json!({"variable": "n", "type": "number"});
        check(number.clone(), json!({}), Ok(json!({"n": null})));
        check(number.clone(), json!({"n": "12"}), Ok(json!({"n": 12})));
        check(number.clone(), json!({"n": "1.50"}), Ok(json!({"n": 1.5})));
        check(number.clone(), json!({"n": " "}), Ok(json!({"n": null})));
        check(number.clone(), json!({"n": "x"}), Err("n in input form must be a valid number"));
        check(
            number,
            json!({"n": [1]}),
            Err("expected value type int, float or str, got <class 'list'>, value: [1]"),
        );
        let checkbox = json!({"variable": "c", "type": "checkbox"});
        check(checkbox.clone(), json!({"c": "yes"}), Ok(json!({"c": true})));
        check(checkbox.clone(), json!({"c": 0}), Ok(json!({"c": false})));
        check(checkbox, json!({"c": {}}), Err("Invalid input type for ['c']"));
        let files = json!({"variable": "f", "type": "file-list", "max_length": 1});
        check(files.clone(), json!({"f": ""}), Ok(json!({"f": null})));
        check(files.clone(), json!({"f": "x"}), Err("f in input form must be a list of files"));
        check(files, json!({"f": [{}, {}]}), Err("f in input form must be less than 1 files"));
        check(
            json!({"variable": "o", "type": "json_object"}),
            json!({"o": [1]}),
            Err("o in input form must be a dict"),
        );
    }

    #[test]
    fn unknown_kinds_of_inputs_are_named() {
        let data =
            json!({"variables": [{"variable": "x", "type": "external_data_tool"}, {"type": "number"}]});
        let problems = read(data.as_object().unwrap()).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].1.contains("external_data_tool"));
    }
}
