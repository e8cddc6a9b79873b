//! How Python writes values: `str`, `repr` and `json.dumps`. Dify's templates show users exactly these.

use std::fmt::Write;

use serde_json::{Number, Value};

/// `str(value)`.
pub(crate) fn str(value: &Value) -> String {
    let mut text = String::new();
    write_str(&mut text, value);
    text
}

pub(crate) fn write_str(text: &mut String, value: &Value) {
    match value {
        Value::String(value) => text.push_str(value),
        other => write_repr(text, other),
    }
}

/// `repr(value)`.
pub(crate) fn repr(value: &Value) -> String {
    let mut text = String::new();
    write_repr(&mut text, value);
    text
}

pub(crate) fn write_repr(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("None"),
        Value::Bool(true) => text.push_str("True"),
        Value::Bool(false) => text.push_str("False"),
        Value::Number(number) => write_number(text, number),
        Value::String(value) => write_string_repr(text, value),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                separate(text, position, ", ");
                write_repr(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (position, (key, item)) in map.iter().enumerate() {
                separate(text, position, ", ");
                write_string_repr(text, key);
                text.push_str(": ");
                write_repr(text, item);
            }
            text.push('}');
        }
    }
}

pub(crate) fn write_number(text: &mut String, number: &Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => write_float(text, float),
        _ => {
            let _ = write!(text, "{number}");
        }
    }
}

/// The shortest digits that read back, in Python's choice of plain or exponent form.
pub(crate) fn write_float(text: &mut String, float: f64) {
    if float.is_nan() {
        text.push_str("nan");
        return;
    }
    if float.is_infinite() {
        text.push_str(if float < 0.0 { "-inf" } else { "inf" });
        return;
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let start = text.len();
        let _ = write!(text, "{float}");
        if !text[start..].contains('.') {
            text.push_str(".0");
        }
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(text, "{digits}e{sign}{:02}", exponent.unsigned_abs());
}

fn write_string_repr(text: &mut String, value: &str) {
    let quote = if value.contains('\'') && !value.contains('"') { '"' } else { '\'' };
    text.push(quote);
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if character == quote => {
                text.push('\\');
                text.push(character);
            }
            _ if is_printable(character) => text.push(character),
            _ => {
                let code = u32::from(character);
                let _ = match code {
                    0..=0xff => write!(text, "\\x{code:02x}"),
                    0x100..=0xffff => write!(text, "\\u{code:04x}"),
                    _ => write!(text, "\\U{code:08x}"),
                };
            }
        }
    }
    text.push(quote);
}

/// Python's `str.isprintable` for the characters that occur: not controls, separators, formats and private use.
fn is_printable(character: char) -> bool {
    let code = u32::from(character);
    !(character.is_control()
        || (character.is_whitespace() && character != ' ')
        || matches!(code, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb)
        || matches!(code, 0xe000..=0xf8ff | 0xf_0000..=0x10_ffff)
        || code & 0xfffe == 0xfffe)
}

/// `json.dumps(value, ensure_ascii=False)`, with `indent=2` when asked.
pub(crate) fn json_dumps(value: &Value, indented: bool) -> String {
    let mut text = String::new();
    write_json(&mut text, value, indented.then_some(0));
    text
}

fn write_json(text: &mut String, value: &Value, indent: Option<usize>) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(value) => write_json_string(text, value),
        Value::Array(items) if items.is_empty() => text.push_str("[]"),
        Value::Object(map) if map.is_empty() => text.push_str("{}"),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                begin_json_item(text, position, indent);
                write_json(text, item, indent.map(|depth| depth + 1));
            }
            end_json_items(text, indent);
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (position, (key, item)) in map.iter().enumerate() {
                begin_json_item(text, position, indent);
                write_json_string(text, key);
                text.push_str(": ");
                write_json(text, item, indent.map(|depth| depth + 1));
            }
            end_json_items(text, indent);
            text.push('}');
        }
    }
}

fn begin_json_item(text: &mut String, position: usize, indent: Option<usize>) {
    match indent {
        None => separate(text, position, ", "),
        Some(depth) => {
            separate(text, position, ",");
            new_line(text, depth + 1);
        }
    }
}

fn end_json_items(text: &mut String, indent: Option<usize>) {
    if let Some(depth) = indent {
        new_line(text, depth);
    }
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}

pub(crate) fn write_json_string(text: &mut String, value: &str) {
    text.push('"');
    write_json_string_inside(text, value);
    text.push('"');
}

/// A JSON string's content without its quotes.
pub(crate) fn write_json_string_inside(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            character if u32::from(character) < 0x20 => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            character => text.push(character),
        }
    }
}

fn separate(text: &mut String, position: usize, separator: &str) {
    if position > 0 {
        text.push_str(separator);
    }
}

/// Python's truth of a value.
pub(crate) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// `value == other` as Python has it: 1 == 1.0 == True.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match (as_number(left), as_number(right)) {
        (Some(left), Some(right)) => return left == right,
        (None, None) => {}
        _ => return false,
    }
    match (left, right) {
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, left)| right.get(key).is_some_and(|right| equal(left, right)))
        }
        (left, right) => left == right,
    }
}

/// A number or a boolean as a number.
pub(crate) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    }
}

/// The name of a value's type, for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
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

/// `repr` of a list of texts, for messages: `['a', 'b']`.
pub(crate) fn repr_list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::from("[");
    for (position, item) in items.into_iter().enumerate() {
        separate(&mut text, position, ", ");
        write_string_repr(&mut text, item);
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Left as CPython 3.11 printed them.
    #[test]
    fn values_are_written_as_python_writes_them() {
        for (value, expected) in [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!(45), "45"),
            (json!(-3), "-3"),
            (json!(1.0), "1.0"),
            (json!(0.1), "0.1"),
            (json!(1e16), "1e+16"),
            (json!(123456789012345.0), "123456789012345.0"),
            (json!(1e-5), "1e-05"),
            (json!(0.0001), "0.0001"),
            (json!(1.5e300), "1.5e+300"),
            (json!(-0.0), "-0.0"),
            (json!("it's"), "\"it's\""),
            (json!("a\"b'c"), "'a\"b\\'c'"),
            (json!("tab\tnul\u{0}nbsp\u{a0}é\u{2028}"), "'tab\\tnul\\x00nbsp\\xa0é\\u2028'"),
            (json!(["a", 1, null, {"k": [true, 2.5]}]), "['a', 1, None, {'k': [True, 2.5]}]"),
            (json!({}), "{}"),
        ] {
            assert_eq!(repr(&value), expected);
        }
        assert_eq!(str(&json!("it's")), "it's");
    }

    #[test]
    fn json_is_written_as_python_writes_it() {
        let value = json!({"a": [1, "ü\n"], "b": {}, "c": 1.0});
        assert_eq!(json_dumps(&value, false), r#"{"a": [1, "ü\n"], "b": {}, "c": 1.0}"#);
        assert_eq!(
            json_dumps(&value, true),
            "{\n  \"a\": [\n    1,\n    \"ü\\n\"\n  ],\n  \"b\": {},\n  \"c\": 1.0\n}"
        );
    }

    #[test]
    fn numbers_and_booleans_compare_as_in_python() {
        assert!(equal(&json!([1, {"a": true}]), &json!([1.0, {"a": 1}])));
        assert!(!equal(&json!("1"), &json!(1)));
        assert!(!equal(&json!(null), &json!(0)));
    }

    proptest! {
        #[test]
        fn floats_read_back(float in any::<f64>().prop_filter("finite", |float| float.is_finite())) {
            let mut text = String::new();
            write_float(&mut text, float);
            prop_assert_eq!(text.parse::<f64>().unwrap(), float);
        }

        #[test]
        fn dumped_text_reads_back(text in ".*") {
            let value = json!({ "k": text });
            prop_assert_eq!(serde_json::from_str::<Value>(&json_dumps(&value, true)).unwrap(), value);
        }
    }
}
