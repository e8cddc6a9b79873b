//! Assigner (variable-assigner): changes conversation variables, and variables of the pool that it may change.
//!
//! Both forms of the DSL are read: version 2 with a list of operations, version 1 with one.

use std::sync::Arc;

use mainstay_base::Kind;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::{Context, Done, Failed, Node, NodeType, Role, Step};
use crate::{
    Fields,
    compile::NodeCompiler,
    pool::View,
    python,
    selector::{Selector, Source},
};

pub(crate) const TYPE: NodeType = NodeType { kind: "assigner", role: Role::Plain, compile };

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    items: Vec<ItemData>,
}

#[derive(Deserialize)]
struct ItemData {
    #[serde(default)]
    variable_selector: Vec<String>,
    #[serde(default)]
    input_type: Option<String>,
    operation: String,
    #[serde(default)]
    value: Value,
}

/// The form of version 1.
#[derive(Deserialize)]
struct OldData {
    #[serde(default)]
    assigned_variable_selector: Vec<String>,
    write_mode: String,
    #[serde(default)]
    input_variable_selector: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operation {
    #[serde(rename = "over-write")]
    OverWrite,
    #[serde(rename = "clear")]
    Clear,
    #[serde(rename = "append")]
    Append,
    #[serde(rename = "extend")]
    Extend,
    #[serde(rename = "set")]
    Set,
    #[serde(rename = "+=")]
    Add,
    #[serde(rename = "-=")]
    Subtract,
    #[serde(rename = "*=")]
    Multiply,
    #[serde(rename = "/=")]
    Divide,
    #[serde(rename = "remove-first")]
    RemoveFirst,
    #[serde(rename = "remove-last")]
    RemoveLast,
}

impl Operation {
    fn takes_nothing(self) -> bool {
        matches!(self, Operation::Clear | Operation::RemoveFirst | Operation::RemoveLast)
    }
}

#[derive(Debug)]
struct Assigner {
    items: Vec<Item>,
    /// The node's fields, which Dify shows as its inputs.
    shown: Arc<Fields>,
}

#[derive(Debug)]
struct Item {
    target: Selector,
    /// The declared type of the variable: `string`, `array[number]`, …
    value_type: Arc<str>,
    operation: Operation,
    operand: Operand,
}

#[derive(Debug)]
enum Operand {
    Nothing,
    Constant(Value),
    Variable(Selector),
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let items = if data.contains_key("items") {
        let Data { items } = compiler.read(data)?;
        items
    } else {
        let old: OldData = compiler.read(data)?;
        vec![ItemData {
            variable_selector: old.assigned_variable_selector,
            input_type: Some("variable".to_owned()),
            operation: old.write_mode,
            value: json!(old.input_variable_selector),
        }]
    };
    let mut compiled = Vec::with_capacity(items.len());
    for (position, item) in items.into_iter().enumerate() {
        compiled.extend(compile_item(&format!("items[{position}]"), item, compiler));
    }
    let shown = ["items", "assigned_variable_selector", "write_mode", "input_variable_selector", "version"];
    let shown = shown.iter().filter_map(|name| Some(((*name).to_owned(), data.get(*name)?.clone())));
    Some(Box::new(Assigner { items: compiled, shown: Arc::new(Fields::from(shown.collect::<Map<_, _>>())) }))
}

fn compile_item(field: &str, item: ItemData, compiler: &mut NodeCompiler<'_, '_>) -> Option<Item> {
    let target = compiler.selector(&format!("{field}.variable_selector"), &item.variable_selector)?;
    let operation = match Operation::deserialize(Value::String(item.operation.clone())) {
        Ok(operation) => operation,
        Err(_) => {
            let message = format!("the operation \"{}\" is not known", item.operation);
            compiler.problem(&format!("{field}.operation"), &message);
            return None;
        }
    };
    let Some(value_type) = compiler.conversation_type(&target) else {
        compiler.problem(
            &format!("{field}.variable_selector"),
            &format!("{} is no conversation variable of this app; only those can be assigned", target.repr()),
        );
        return None;
    };
    let operand = match (operation.takes_nothing(), item.input_type.as_deref()) {
        (true, _) => Operand::Nothing,
        (false, Some("constant")) => Operand::Constant(item.value),
        (false, None | Some("variable")) => {
            let parts: Vec<String> = serde_json::from_value(item.value).unwrap_or_default();
            Operand::Variable(compiler.selector(&format!("{field}.value"), &parts)?)
        }
        (false, Some(other)) => {
            let message =
                format!("the input type \"{other}\" is not known; \"variable\" and \"constant\" are");
            compiler.problem(&format!("{field}.input_type"), &message);
            return None;
        }
    };
    Some(Item { target, value_type, operation, operand })
}

impl Node for Assigner {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        Step::Now(match self.assign(&context) {
            Ok(process_data) => Ok(Done {
                inputs: Arc::clone(&self.shown),
                process_data: Arc::new(process_data),
                ..Done::default()
            }),
            Err(error) => {
                let inputs = Arc::clone(&self.shown);
                Err(Failed::new(error, "VariableOperatorNodeError", Kind::Caller).with_inputs(inputs))
            }
        })
    }

    fn assigns(&self, selector: &Selector) -> bool {
        self.items
            .iter()
            .any(|item| item.target.source == selector.source && item.target.name == selector.name)
    }
}

impl Assigner {
    /// All operations or none: later ones see what earlier ones did.
    fn assign(&self, context: &Context<'_, '_>) -> Result<Fields, String> {
        let limit = context.run.ports.limits.max_variable_bytes;
        let mut changed = context.run.globals.conversation.lock().clone();
        let mut updated: Vec<&Item> = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let current = changed
                .get(&item.target.name)
                .cloned()
                .ok_or_else(|| format!("Variable {} not found", item.target.repr()))?;
            let operand = match &item.operand {
                Operand::Nothing => Value::Null,
                Operand::Constant(value) => value.clone(),
                Operand::Variable(selector) => {
                    let value = read(selector, &changed, &context.view)
                        .ok_or_else(|| format!("Variable {} not found", selector.repr()))?;
                    if value.is_null() {
                        continue;
                    }
                    Arc::unwrap_or_clone(value)
                }
            };
            let value = item.apply(&current, operand)?;
            if weight(&value) > limit {
                return Err(format!("variable {} would be larger than {limit} bytes", item.target.name));
            }
            changed.set(Arc::clone(&item.target.name), value);
            if !updated.iter().any(|known| known.target.name == item.target.name) {
                updated.push(item);
            }
        }
        let process_data = record(&updated, &changed);
        *context.run.globals.conversation.lock() = changed;
        Ok(process_data)
    }
}

/// Reads through this node's own changes.
fn read(selector: &Selector, changed: &Fields, view: &View<'_>) -> Option<Arc<Value>> {
    match selector.source {
        Source::Conversation => selector.descend(changed.get(&selector.name)?),
        _ => view.get(selector),
    }
}

fn record(updated: &[&Item], changed: &Fields) -> Fields {
    let mut record = Fields::with_capacity(updated.len() + 1);
    let mut list = Vec::with_capacity(updated.len());
    for item in updated {
        let value = changed.get(&item.target.name).cloned().unwrap_or_default();
        list.push(json!({
            "name": item.target.name,
            "selector": item.target.parts,
            "value_type": item.value_type,
            "new_value": value,
        }));
        record.set(Arc::clone(&item.target.name), value);
    }
    record.set("__updated_variables", Value::Array(list));
    record
}

impl Item {
    fn apply(&self, current: &Value, operand: Value) -> Result<Value, String> {
        let is_array = self.value_type.starts_with("array");
        let is_number = matches!(&*self.value_type, "number" | "integer" | "float");
        let supported = match self.operation {
            Operation::OverWrite | Operation::Clear => true,
            Operation::Set => !is_array,
            Operation::Add | Operation::Subtract | Operation::Multiply | Operation::Divide => is_number,
            Operation::Append | Operation::Extend | Operation::RemoveFirst | Operation::RemoveLast => {
                is_array
            }
        };
        if !supported {
            return Err(format!("Operation is not supported for type {}", self.value_type));
        }
        let operand = match (&operand, &*self.value_type, self.operation) {
            (Value::String(text), "object", Operation::Set) => {
                serde_json::from_str(text).map_err(|_| format!("Invalid input value {text}"))?
            }
            _ => operand,
        };
        if !self.operation.takes_nothing() && !self.is_valid(&operand) {
            return Err(format!("Invalid input value {}", python::str(&operand)));
        }
        let items = || current.as_array().cloned().unwrap_or_default();
        match self.operation {
            Operation::OverWrite | Operation::Set => Ok(operand),
            Operation::Clear => Ok(zero(&self.value_type)),
            Operation::Append => {
                let mut items = items();
                items.push(operand);
                Ok(Value::Array(items))
            }
            Operation::Extend => {
                let mut items = items();
                items.extend(operand.as_array().cloned().unwrap_or_default());
                Ok(Value::Array(items))
            }
            Operation::RemoveFirst => Ok(Value::Array(items().into_iter().skip(1).collect())),
            Operation::RemoveLast => {
                let mut items = items();
                items.pop();
                Ok(Value::Array(items))
            }
            Operation::Add | Operation::Subtract | Operation::Multiply | Operation::Divide => {
                calculate(self.operation, current, &operand)
            }
        }
    }

    fn is_valid(&self, value: &Value) -> bool {
        let element = |kind: &str, value: &Value| match kind {
            "string" => value.is_string(),
            "number" => value.is_number() || value.is_boolean(),
            "object" => value.is_object(),
            "boolean" => value.is_boolean(),
            "any" => !value.is_null() && !value.is_array(),
            "file" => crate::segment::is_file_value(value),
            _ => false,
        };
        let inner = self.value_type.strip_prefix("array[").and_then(|rest| rest.strip_suffix(']'));
        match (&*self.value_type, inner, self.operation) {
            (_, Some(inner), Operation::Append) => element(inner, value),
            (_, Some(inner), _) => {
                value.as_array().is_some_and(|items| items.iter().all(|value| element(inner, value)))
            }
            ("integer" | "float" | "number", None, operation) => {
                element("number", value)
                    && !(operation == Operation::Divide && python::as_number(value) == Some(0.0))
            }
            ("secret", None, _) => value.is_string(),
            (kind, None, _) => element(kind, value),
        }
    }
}

fn zero(value_type: &str) -> Value {
    match value_type {
        "string" | "secret" => json!(""),
        "number" | "integer" => json!(0),
        "float" => json!(0.0),
        "boolean" => json!(false),
        "object" => json!({}),
        _ => json!([]),
    }
}

fn calculate(operation: Operation, left: &Value, right: &Value) -> Result<Value, String> {
    let integer = |value: &Value| match value {
        Value::Bool(value) => Some(i64::from(*value)),
        value => value.as_i64(),
    };
    let whole = match (integer(left), integer(right)) {
        (Some(left), Some(right)) => match operation {
            Operation::Add => left.checked_add(right),
            Operation::Subtract => left.checked_sub(right),
            Operation::Multiply => left.checked_mul(right),
            // Python's division gives a float always.
            _ => None,
        },
        _ => None,
    };
    if let Some(whole) = whole {
        return Ok(json!(whole));
    }
    let (Some(left), Some(right)) = (python::as_number(left), python::as_number(right)) else {
        return Err(format!("Invalid input value {}", python::str(right)));
    };
    let result = match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        _ => left / right,
    };
    Number::from_f64(result).map(Value::Number).ok_or_else(|| "the result is not a finite number".to_owned())
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => 8 + items.iter().map(weight).sum::<usize>(),
        Value::Object(map) => 8 + map.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(value_type: &str, current: Value, operation: &str, operand: Value) -> String {
        let item = Item {
            target: Selector {
                source: Source::Conversation,
                name: "v".into(),
                path: Box::default(),
                parts: Arc::from(["conversation".into(), "v".into()]),
            },
            value_type: value_type.into(),
            operation: Operation::deserialize(json!(operation)).unwrap(),
            operand: Operand::Nothing,
        };
        item.apply(&current, operand).map_or_else(|error| error, |value| value.to_string())
    }

    #[test]
    fn operations_change_values_as_in_dify() {
        for (value_type, current, operation, operand, expected) in [
            ("string", json!("a"), "over-write", json!("b"), "\"b\""),
            ("string", json!("a"), "over-write", json!(1), "Invalid input value 1"),
            ("string", json!("a"), "clear", json!(null), "\"\""),
            ("string", json!("a"), "append", json!("b"), "Operation is not supported for type string"),
            ("number", json!(2), "+=", json!(3), "5"),
            ("number", json!(2), "-=", json!(0.5), "1.5"),
            ("number", json!(2), "*=", json!(4), "8"),
            ("number", json!(6), "/=", json!(3), "2.0"),
            ("number", json!(6), "/=", json!(0), "Invalid input value 0"),
            ("number", json!(i64::MAX), "+=", json!(1), "9.223372036854775807e18"),
            ("object", json!({}), "set", json!("{\"a\":1}"), "{\"a\":1}"),
            ("object", json!({}), "set", json!("no"), "Invalid input value no"),
            ("boolean", json!(false), "set", json!(true), "true"),
            ("array[string]", json!(["a"]), "append", json!("b"), "[\"a\",\"b\"]"),
            ("array[string]", json!(["a"]), "append", json!(1), "Invalid input value 1"),
            ("array[string]", json!(["a"]), "extend", json!(["b", "c"]), "[\"a\",\"b\",\"c\"]"),
            ("array[number]", json!([1, 2]), "remove-first", json!(null), "[2]"),
            ("array[number]", json!([1, 2]), "remove-last", json!(null), "[1]"),
            ("array[number]", json!([]), "remove-last", json!(null), "[]"),
            ("array[object]", json!([]), "append", json!({"a": 1}), "[{\"a\":1}]"),
            ("array[number]", json!([1]), "clear", json!(null), "[]"),
        ] {
            let found = apply(value_type, current, operation, operand);
            let same_number =
                found.parse::<f64>().ok().zip(expected.parse::<f64>().ok()).is_some_and(|(a, b)| a == b);
            assert!(found == expected || same_number, "{value_type} {operation}: {found} is not {expected}");
        }
    }
}
