//! YAML documents to JSON values, within limits, and JSON values to YAML.

use serde_json::Value;

/// What is read of one text.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_VALUES: usize = 50_000;
const MAX_DEPTH: usize = 32;
const MAX_DOCUMENTS: usize = 500;

/// Every document of a text (JSON is YAML too); empty ones are left out. The error says what cannot be read, in words.
pub fn documents(text: &str) -> Result<Vec<Value>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("the text has {} bytes; allowed are {MAX_BYTES}", text.len()));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: MAX_VALUES * 2,
            max_aliases: 100,
            max_anchors: 100,
            max_depth: MAX_DEPTH,
            max_documents: MAX_DOCUMENTS,
            max_nodes: MAX_VALUES,
            max_total_scalar_bytes: MAX_BYTES,
            max_merge_keys: 100,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_VALUES,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: 100,
        },
        with_snippet: false,
        strict_booleans: true,
    };
    let read: Result<Vec<Value>, _> = serde_saphyr::from_multiple_with_options(text, options);
    let values = read.map_err(|error| format!("not readable as YAML or JSON: {error}"))?;
    Ok(values.into_iter().filter(|value| !value.is_null()).collect())
}

/// As block YAML; texts are always quoted, so that no word is read as something else.
pub fn write(documents: &[Value]) -> String {
    let mut text = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        put(&mut text, document, 0);
    }
    text
}

fn put(text: &mut String, value: &Value, indent: usize) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let is_plain =
                    key.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'));
                let key = if is_plain { key.clone() } else { Value::String(key.clone()).to_string() };
                below(text, &format!("{pad}{key}:"), value, indent + 1);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                below(text, &format!("{pad}-"), value, indent + 1);
            }
        }
        scalar => text.push_str(&format!("{pad}{scalar}\n")),
    }
}

fn below(text: &mut String, head: &str, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    };
    if is_block {
        text.push_str(&format!("{head}\n"));
        put(text, value, indent);
    } else {
        text.push_str(&format!("{head} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let all = vec![
            json!({ "a": { "b": [1, 2.5, "x: y", { "c": null, "d e": true }], "empty": {}, "none": [] }, "no": "yes" }),
            json!({ "text": "two\nlines # no comment", "list": [[1], [2, 3]] }),
        ];
        assert_eq!(documents(&write(&all)).unwrap(), all, "{}", write(&all));
    }

    #[test]
    fn json_is_read_too_and_what_is_neither_is_refused() {
        assert_eq!(documents("{\"a\": 1}").unwrap(), [json!({ "a": 1 })]);
        assert_eq!(documents("").unwrap(), Vec::<Value>::new());
        for text in ["a: [1", "a: b: c", "{\"a\": "] {
            assert!(documents(text).is_err(), "{text}");
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
            d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        assert!(documents(bomb).is_err());
        assert!(documents(&"[".repeat(1_000)).is_err());
    }
}
