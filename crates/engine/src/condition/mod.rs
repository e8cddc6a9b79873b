//! Comparisons of if-else nodes, with the semantics (and the complaints) of Dify's Python.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{pool::View, python, segment, selector::Selector, template::Template};

/// A comparison operator, as the DSL spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Contains,
    NotContains,
    StartWith,
    EndWith,
    Is,
    IsNot,
    Empty,
    NotEmpty,
    In,
    NotIn,
    AllOf,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Null,
    NotNull,
    Exists,
    NotExists,
}

const OPERATORS: [(&str, Operator); 21] = [
    ("contains", Operator::Contains),
    ("not contains", Operator::NotContains),
    ("start with", Operator::StartWith),
    ("end with", Operator::EndWith),
    ("is", Operator::Is),
    ("is not", Operator::IsNot),
    ("empty", Operator::Empty),
    ("not empty", Operator::NotEmpty),
    ("in", Operator::In),
    ("not in", Operator::NotIn),
    ("all of", Operator::AllOf),
    ("=", Operator::Equal),
    ("≠", Operator::NotEqual),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("≥", Operator::GreaterOrEqual),
    ("≤", Operator::LessOrEqual),
    ("null", Operator::Null),
    ("not null", Operator::NotNull),
    ("exists", Operator::Exists),
    ("not exists", Operator::NotExists),
];

impl Operator {
    pub(crate) fn parse(text: &str) -> Option<Operator> {
        OPERATORS.iter().find(|(spelled, _)| *spelled == text).map(|(_, operator)| *operator)
    }

    pub(crate) fn as_str(self) -> &'static str {
        OPERATORS.iter().find(|(_, operator)| *operator == self).map_or("", |(spelled, _)| spelled)
    }

    fn is_negated(self) -> bool {
        self.as_str().contains("not")
    }
}

/// What a variable is compared with.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    Text(Template),
    Value(Value),
}

#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) selector: Selector,
    pub(crate) operator: Operator,
    pub(crate) expected: Expected,
    pub(crate) on_files: Option<FileConditions>,
}

/// Comparisons of attributes, for lists of files.
#[derive(Clone, Debug)]
pub(crate) struct FileConditions {
    pub(crate) all: bool,
    pub(crate) conditions: Vec<FileCondition>,
}

#[derive(Clone, Debug)]
pub(crate) struct FileCondition {
    pub(crate) key: String,
    pub(crate) operator: Operator,
    pub(crate) expected: Value,
}

/// Conditions joined by "and" (`all`) or "or".
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) all: bool,
    pub(crate) conditions: Vec<Condition>,
}

/// What came out, for the node's record.
pub(crate) struct Checked {
    pub(crate) inputs: Vec<Value>,
    pub(crate) results: Vec<Value>,
    pub(crate) is_met: bool,
}

impl Group {
    /// Stops at the first condition that decides.
    pub(crate) fn check(&self, view: &View<'_>) -> Result<Checked, String> {
        let mut checked =
            Checked { inputs: Vec::with_capacity(1), results: Vec::with_capacity(1), is_met: self.all };
        for condition in &self.conditions {
            let is_met = condition.check(view, &mut checked.inputs)?;
            checked.results.push(Value::Bool(is_met));
            if is_met != self.all {
                checked.is_met = is_met;
                return Ok(checked);
            }
        }
        // Python: all([]) is true, any([]) is false.
        checked.is_met = self.all;
        Ok(checked)
    }
}

impl Condition {
    fn check(&self, view: &View<'_>, inputs: &mut Vec<Value>) -> Result<bool, String> {
        let actual =
            view.get(&self.selector).ok_or_else(|| format!("Variable {} not found", self.selector.repr()))?;
        match self.operator {
            Operator::Contains | Operator::NotContains | Operator::AllOf
                if segment::is_file_list(&actual) =>
            {
                let on_files = self.on_files.as_ref().ok_or("Sub variable is required")?;
                return on_files.check(&segment::files(&actual));
            }
            Operator::Exists | Operator::NotExists => return evaluate(&actual, self.operator, &Value::Null),
            _ => {}
        }
        let expected = self.expected(view, &actual)?;
        let mut input = Map::with_capacity(3);
        input.insert("actual_value".to_owned(), Value::clone(&actual));
        input.insert("expected_value".to_owned(), expected);
        input.insert("comparison_operator".to_owned(), Value::String(self.operator.as_str().to_owned()));
        let is_met = evaluate(&actual, self.operator, &input["expected_value"]);
        inputs.push(Value::Object(input));
        is_met
    }

    fn expected(&self, view: &View<'_>, actual: &Arc<Value>) -> Result<Value, String> {
        let expected = match &self.expected {
            Expected::Text(template) => Value::String(view.text(template)),
            Expected::Value(value) => value.clone(),
        };
        let is_boolean = actual.is_boolean()
            || actual
                .as_array()
                .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_boolean));
        match expected {
            Value::Null => Ok(Value::Null),
            expected if !is_boolean => Ok(expected),
            Value::Array(items) => items.iter().map(as_boolean).collect::<Result<_, _>>().map(Value::Array),
            expected => as_boolean(&expected),
        }
    }
}

impl FileConditions {
    fn check(&self, files: &[Value]) -> Result<bool, String> {
        let mut results = Vec::with_capacity(self.conditions.len());
        for condition in &self.conditions {
            results.push(condition.check(files)?);
        }
        Ok(if self.all { results.iter().all(|met| *met) } else { results.iter().any(|met| *met) })
    }
}

impl FileCondition {
    fn check(&self, files: &[Value]) -> Result<bool, String> {
        let is_extension = self.key == "extension";
        let expected = match &self.expected {
            Value::String(text) if is_extension => Value::String(dotted(text)),
            _ if is_extension => {
                return Err("Expected value must be a string when key is FileAttribute.EXTENSION".to_owned());
            }
            other => other.clone(),
        };
        let mut results = Vec::with_capacity(files.len());
        for file in files {
            let attribute = file
                .as_object()
                .and_then(|file| segment::file_attribute(file, &self.key))
                .ok_or_else(|| format!("'{}' is not a valid FileAttribute", self.key))?;
            let attribute = match attribute {
                Value::String(text) if is_extension => Value::String(dotted(&text)),
                other => other,
            };
            results.push(evaluate(&attribute, self.operator, &expected)?);
        }
        let met = results.iter().filter(|met| **met).count();
        Ok(if self.operator.is_negated() { met == results.len() } else { met > 0 })
    }
}

fn dotted(extension: &str) -> String {
    match extension.is_empty() || extension.starts_with('.') {
        true => extension.to_owned(),
        false => format!(".{extension}"),
    }
}

fn as_boolean(value: &Value) -> Result<Value, String> {
    let found = match value {
        Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(text) => serde_json::from_str(text)
            .map_err(|_| format!("Expecting value: {} is neither true nor false", python::repr(value)))?,
        other => other.clone(),
    };
    match found {
        Value::Bool(found) => Ok(Value::Bool(found)),
        Value::Number(number) if !number.is_f64() => Ok(Value::Bool(number.as_f64() != Some(0.0))),
        _ => Err(format!(
            "unexpected value: type=<class '{}'>, value={}",
            python::type_name(value),
            python::str(value)
        )),
    }
}

/// One comparison of values.
pub(crate) fn evaluate(value: &Value, operator: Operator, expected: &Value) -> Result<bool, String> {
    match operator {
        Operator::Contains => contains(value, expected),
        Operator::NotContains => contains(value, expected).map(|contained| !contained),
        Operator::StartWith => affix(value, expected, "startswith", |text, part| text.starts_with(part)),
        Operator::EndWith => affix(value, expected, "endswith", |text, part| text.ends_with(part)),
        Operator::Is | Operator::IsNot => match value {
            Value::Null => Ok(false),
            Value::String(_) | Value::Bool(_) => {
                Ok(python::equal(value, expected) == (operator == Operator::Is))
            }
            _ => Err("Invalid actual value type: string or boolean".to_owned()),
        },
        Operator::Empty => Ok(!python::is_true(value)),
        Operator::NotEmpty => Ok(python::is_true(value)),
        Operator::Null | Operator::NotExists => Ok(value.is_null()),
        Operator::NotNull | Operator::Exists => Ok(!value.is_null()),
        Operator::In => is_in(value, expected, false),
        Operator::NotIn => is_in(value, expected, true),
        Operator::AllOf => all_of(value, expected),
        Operator::Equal => equal(value, expected, true),
        Operator::NotEqual => equal(value, expected, false),
        Operator::Greater => ordered(value, expected, |left, right| left > right),
        Operator::Less => ordered(value, expected, |left, right| left < right),
        Operator::GreaterOrEqual => ordered(value, expected, |left, right| left >= right),
        Operator::LessOrEqual => ordered(value, expected, |left, right| left <= right),
    }
}

fn contains(value: &Value, expected: &Value) -> Result<bool, String> {
    if !python::is_true(value) {
        return Ok(false);
    }
    match value {
        Value::String(text) => Ok(text.contains(&python::str(expected))),
        Value::Array(items) => Ok(items.iter().any(|item| python::equal(item, expected))),
        _ => Err("Invalid actual value type: string or array".to_owned()),
    }
}

fn affix(
    value: &Value,
    expected: &Value,
    method: &str,
    matches: fn(&str, &str) -> bool,
) -> Result<bool, String> {
    if !python::is_true(value) {
        return Ok(false);
    }
    let Value::String(text) = value else {
        return Err("Invalid actual value type: string".to_owned());
    };
    match expected {
        Value::String(part) => Ok(matches(text, part)),
        _ => Err(format!("Expected value must be a string for {method}")),
    }
}

fn is_in(value: &Value, expected: &Value, negated: bool) -> Result<bool, String> {
    if !python::is_true(value) {
        return Ok(negated);
    }
    match expected {
        Value::Array(items) => Ok(items.iter().any(|item| python::equal(item, value)) != negated),
        _ => Err("Invalid expected value type: array".to_owned()),
    }
}

fn all_of(value: &Value, expected: &Value) -> Result<bool, String> {
    let Value::Array(wanted) = expected else {
        return Err("Unsupported operator: all of".to_owned());
    };
    if !wanted.iter().all(Value::is_string) && !wanted.iter().all(Value::is_boolean) {
        return Err("all of operator expects homogeneous list of strings or booleans".to_owned());
    }
    if !python::is_true(value) {
        return Ok(false);
    }
    Ok(match value {
        Value::Array(items) => {
            wanted.iter().all(|wanted| items.iter().any(|item| python::equal(item, wanted)))
        }
        Value::String(text) => {
            wanted.iter().all(|wanted| wanted.as_str().is_some_and(|part| text.contains(part)))
        }
        _ => false,
    })
}

fn equal(value: &Value, expected: &Value, wanted: bool) -> Result<bool, String> {
    let is_equal = match value {
        Value::Null => return Ok(false),
        Value::Bool(value) => match expected {
            Value::Bool(_) | Value::Number(_) | Value::String(_) => *value == python::is_true(expected),
            other => return Err(not_convertible(other, "bool")),
        },
        Value::Number(number) if number.is_f64() => number.as_f64() == Some(float(expected)?),
        Value::Number(number) => integer(expected)? == as_integer(number),
        _ => return Err("Invalid actual value type: number or boolean".to_owned()),
    };
    Ok(is_equal == wanted)
}

fn ordered(value: &Value, expected: &Value, holds: fn(f64, f64) -> bool) -> Result<bool, String> {
    if value.is_null() {
        return Ok(false);
    }
    let actual = python::as_number(value).ok_or("Invalid actual value type: number")?;
    let expected = match expected {
        Value::String(text) => {
            parse_float(text).ok_or_else(|| format!("Cannot convert '{text}' to number"))?
        }
        Value::Bool(_) | Value::Number(_) => python::as_number(expected).unwrap_or(f64::NAN),
        other => return Err(format!("'{}' cannot be ordered with a number", python::type_name(other))),
    };
    Ok(holds(actual, expected))
}

fn float(expected: &Value) -> Result<f64, String> {
    match expected {
        Value::String(text) => parse_float(text)
            .ok_or_else(|| format!("could not convert string to float: {}", python::repr(expected))),
        Value::Bool(_) | Value::Number(_) => Ok(python::as_number(expected).unwrap_or(f64::NAN)),
        other => Err(not_convertible(other, "float")),
    }
}

/// Python's `int(expected)`.
fn integer(expected: &Value) -> Result<i128, String> {
    match expected {
        Value::String(text) => parse_integer(text)
            .ok_or_else(|| format!("invalid literal for int() with base 10: {}", python::repr(expected))),
        Value::Bool(value) => Ok(i128::from(*value)),
        Value::Number(number) => Ok(as_integer(number)),
        other => Err(not_convertible(other, "int")),
    }
}

fn not_convertible(value: &Value, to: &str) -> String {
    format!("Cannot convert <class '{}'> to {to}", python::type_name(value))
}

#[expect(clippy::cast_possible_truncation, reason = "Python's int() cuts a float's fraction off as well")]
fn as_integer(number: &serde_json::Number) -> i128 {
    number.as_i128().unwrap_or_else(|| number.as_f64().unwrap_or(0.0) as i128)
}

fn parse_float(text: &str) -> Option<f64> {
    without_underscores(text)?.parse().ok()
}

fn parse_integer(text: &str) -> Option<i128> {
    without_underscores(text)?.parse().ok()
}

/// Python allows spaces around a number and single underscores between its digits.
fn without_underscores(text: &str) -> Option<String> {
    let text = text.trim();
    let misplaced = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!misplaced && !text.is_empty()).then(|| text.replace('_', ""))
}
