//! The words of pydantic, which Dify sends to its callers as the message of `invalid_param`.
//!
//! A message names every wrong field at once, with the value as Python would print it, cut to fifty bytes.

use std::fmt::Write as _;

use serde_json::Value;

use super::ApiError;
use crate::python_json::float_repr;

/// Collects what is wrong with one model (`WorkflowRunPayload`, …) and words it at the end.
pub(super) struct Report {
    model: &'static str,
    count: usize,
    text: String,
}

/// The version that Dify 1.12.1 carries; it is part of the message.
const DOCS: &str = "https://errors.pydantic.dev/2.11/v/";
/// Pydantic cuts a printed value that is longer than this …
const PRINTED_MAX_BYTES: usize = 50;
/// … to this many bytes of its head and of its tail.
const PRINTED_HEAD: usize = 25;
const PRINTED_TAIL: usize = 24;
/// How much of a value is printed at all before it is cut; keeps a hostile body from costing more than its size.
const PRINT_BUDGET_BYTES: usize = 1 << 20;

impl Report {
    pub(super) fn of(model: &'static str) -> Report {
        Report { model, count: 0, text: String::new() }
    }

    pub(super) fn add(&mut self, field: &str, message: &str, kind: &str, value: &Value) {
        self.count += 1;
        let (printed, type_name) = (truncated(&repr(value)), type_name(value));
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            "\n{field}\n  {message} [type={kind}, input_value={printed}, input_type={type_name}]\n    For further \
             information visit {DOCS}{kind}"
        );
    }

    pub(super) fn missing(&mut self, field: &str, whole: &Value) {
        self.add(field, "Field required", "missing", whole);
    }

    pub(super) fn finish(self) -> Result<(), ApiError> {
        let Report { model, count, text } = self;
        match count {
            0 => Ok(()),
            1 => Err(ApiError::invalid_param(format!("1 validation error for {model}{text}"))),
            _ => Err(ApiError::invalid_param(format!("{count} validation errors for {model}{text}"))),
        }
    }
}

/// The value as Python's `repr` prints it.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    print(value, &mut out);
    out
}

fn print(value: &Value, out: &mut String) {
    if out.len() > PRINT_BUDGET_BYTES {
        return;
    }
    match value {
        Value::Null => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Number(number) if number.is_f64() => out.push_str(&float_repr(number.as_f64().unwrap_or(0.0))),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => print_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print(item, out);
            }
            out.push(']');
        }
        Value::Object(fields) => {
            out.push('{');
            for (index, (key, item)) in fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print_text(key, out);
                out.push_str(": ");
                print(item, out);
            }
            out.push('}');
        }
    }
}

fn print_text(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            same if same == quote => {
                out.push('\\');
                out.push(same);
            }
            control if control.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push(quote);
}

fn truncated(text: &str) -> String {
    if text.len() <= PRINTED_MAX_BYTES {
        return text.to_owned();
    }
    let mut head = PRINTED_HEAD;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - PRINTED_TAIL;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}...{}", &text[..head], &text[tail..])
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_python_prints_them() {
        for (value, expected) in [
            (json!({"a": [1, 1.0, true, null]}), "{'a': [1, 1.0, True, None]}"),
            (json!("it's \"q\"\\ \t"), r#"'it\'s "q"\\ \t'"#),
            (json!("it's"), r#""it's""#),
            (json!(1e30), "1e+30"),
            (json!("\u{1}"), r"'\x01'"),
        ] {
            assert_eq!(repr(&value), expected);
        }
    }

    #[test]
    fn long_values_keep_head_and_tail() {
        let printed = truncated(&repr(&json!("é".repeat(70))));
        assert_eq!(printed, "'éééééééééééé...ééééééééééé'");
        let printed = truncated(&repr(&json!({"k": "y".repeat(100)})));
        assert_eq!(printed, "{'k': 'yyyyyyyyyyyyyyyyyy...yyyyyyyyyyyyyyyyyyyyyy'}");
    }
}
