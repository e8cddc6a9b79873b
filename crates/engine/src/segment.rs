//! Values in texts: what `{{#node.name#}}` becomes in a prompt (`text`) and in an answer (`markdown`), and files.

use serde_json::{Map, Value};

use crate::python;

/// Marks a mapping as a file, in Dify's own JSON.
const FILE_IDENTITY: (&str, &str) = ("dify_model_identity", "__dify__file__");

/// What a value becomes inside a prompt, a URL or a condition.
pub(crate) fn write_text(text: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(value) => text.push_str(value),
        Value::Object(map) if is_file(map) => {}
        Value::Object(_) => text.push_str(&python::json_dumps(value, false)),
        Value::Array(items) if items.is_empty() || items.iter().all(is_file_value) => {}
        Value::Array(items) if items.iter().all(Value::is_string) => {
            text.push_str(&python::json_dumps(value, false));
        }
        other => python::write_str(text, other),
    }
}

pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    write_text(&mut text, value);
    text
}

/// What a value becomes inside an answer.
pub(crate) fn write_markdown(text: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(value) => text.push_str(value),
        Value::Object(map) if is_file(map) => write_file_link(text, map),
        Value::Object(_) => text.push_str(&python::json_dumps(value, true)),
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push('\n');
                }
                match item {
                    Value::Object(map) if is_file(map) => write_file_link(text, map),
                    item => {
                        text.push_str("- ");
                        python::write_str(text, item);
                    }
                }
            }
        }
        other => python::write_str(text, other),
    }
}

pub(crate) fn markdown(value: &Value) -> String {
    let mut text = String::new();
    write_markdown(&mut text, value);
    text
}

fn write_file_link(text: &mut String, file: &Map<String, Value>) {
    let name = field(file, "filename").or_else(|| field(file, "url")).unwrap_or_default();
    let address = field(file, "url").or_else(|| field(file, "remote_url")).unwrap_or_default();
    let mark = if field(file, "type") == Some("image") { "!" } else { "" };
    text.push_str(&format!("{mark}[{name}]({address})"));
}

fn field<'a>(file: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    file.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

pub(crate) fn is_file(map: &Map<String, Value>) -> bool {
    let (key, mark) = FILE_IDENTITY;
    // A file that came in by the API may lack the mark, but never these two.
    map.get(key).and_then(Value::as_str) == Some(mark)
        || (map.get("transfer_method").is_some_and(Value::is_string)
            && map.get("type").is_some_and(Value::is_string))
}

pub(crate) fn is_file_value(value: &Value) -> bool {
    value.as_object().is_some_and(is_file)
}

/// A list of one file or more.
pub(crate) fn is_file_list(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(is_file_value))
}

/// The files in a value: itself, or its items.
pub(crate) fn files(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(map) if is_file(map) => vec![value.clone()],
        Value::Array(items) if items.iter().all(is_file_value) => items.clone(),
        _ => Vec::new(),
    }
}

/// One attribute of a file, under Dify's name for it; `None` for a name it does not know.
pub(crate) fn file_attribute(file: &Map<String, Value>, name: &str) -> Option<Value> {
    let key = match name {
        "type" | "size" | "mime_type" | "transfer_method" | "extension" | "related_id" => name,
        "name" => "filename",
        "url" => {
            return Some(file.get("url").or_else(|| file.get("remote_url")).cloned().unwrap_or(Value::Null));
        }
        _ => return None,
    };
    Some(file.get(key).cloned().unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_text_as_in_dify() {
        let file = json!({"type": "image", "transfer_method": "remote_url", "filename": "a.png", "url": "http://x/a.png"});
        for (value, in_text, in_markdown) in [
            (json!(null), "", ""),
            (json!("a"), "a", "a"),
            (json!(true), "True", "True"),
            (json!(1.0), "1.0", "1.0"),
            (json!({"a": "ü"}), "{\"a\": \"ü\"}", "{\n  \"a\": \"ü\"\n}"),
            (json!([]), "", ""),
            (json!(["a", "ü"]), "[\"a\", \"ü\"]", "- a\n- ü"),
            (json!([1, 2.5]), "[1, 2.5]", "- 1\n- 2.5"),
            (json!([{"a": 1}]), "[{'a': 1}]", "- {'a': 1}"),
            (file.clone(), "", "![a.png](http://x/a.png)"),
            (json!([file]), "", "![a.png](http://x/a.png)"),
        ] {
            assert_eq!(text(&value), in_text, "{value}");
            assert_eq!(markdown(&value), in_markdown, "{value}");
        }
    }
}
