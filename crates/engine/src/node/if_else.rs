//! If-else: takes the edges of the first case that is met.

use std::sync::Arc;

use mainstay_base::Kind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Context, Done, Failed, Node, NodeType, Role, Step};
use crate::{
    Fields,
    compile::NodeCompiler,
    condition::{Condition, Expected, FileCondition, FileConditions, Group, Operator},
};

pub(crate) const TYPE: NodeType = NodeType { kind: "if-else", role: Role::Branch, compile };

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    cases: Option<Vec<CaseData>>,
    #[serde(default)]
    logical_operator: Option<String>,
    #[serde(default)]
    conditions: Option<Vec<ConditionData>>,
}

#[derive(Deserialize)]
struct CaseData {
    case_id: String,
    #[serde(default)]
    logical_operator: Option<String>,
    #[serde(default)]
    conditions: Vec<ConditionData>,
}

#[derive(Deserialize)]
struct ConditionData {
    #[serde(default)]
    variable_selector: Vec<String>,
    comparison_operator: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    sub_variable_condition: Option<SubData>,
}

#[derive(Deserialize)]
struct SubData {
    #[serde(default)]
    logical_operator: Option<String>,
    #[serde(default)]
    conditions: Vec<SubConditionData>,
}

#[derive(Deserialize)]
struct SubConditionData {
    key: String,
    comparison_operator: String,
    #[serde(default)]
    value: Value,
}

#[derive(Debug)]
struct IfElse {
    cases: Vec<Case>,
    otherwise: Arc<str>,
    names: Names,
}

#[derive(Debug)]
struct Case {
    id: Arc<str>,
    /// The case as the DSL has it, for the node's record.
    shown: Value,
    group: Group,
}

/// Names of the outputs, made once.
#[derive(Debug)]
struct Names {
    result: Arc<str>,
    selected: Arc<str>,
    conditions: Arc<str>,
    results: Arc<str>,
}

fn compile(data: &Map<String, Value>, compiler: &mut NodeCompiler<'_, '_>) -> Option<Box<dyn Node>> {
    let Data { cases, logical_operator, conditions } = compiler.read(data)?;
    let mut compiled = Vec::new();
    match cases.filter(|cases| !cases.is_empty()) {
        Some(cases) => {
            for (position, case) in cases.into_iter().enumerate() {
                let field = format!("cases[{position}]");
                if case.case_id.is_empty() {
                    compiler.problem(&field, "the case has no case_id");
                }
                let shown = json!({
                    "case_id": case.case_id,
                    "logical_operator": case.logical_operator.as_deref().unwrap_or("and"),
                    "conditions": shown_conditions(data.get("cases").and_then(|cases| cases.get(position))),
                });
                let group =
                    compile_group(&field, case.logical_operator.as_deref(), case.conditions, compiler);
                compiled.push(Case { id: case.case_id.into(), shown, group });
            }
        }
        // The form of DSL 0.1: one group of conditions, whose handles are "true" and "false".
        None => {
            let conditions = conditions.unwrap_or_default();
            let group = compile_group("data", logical_operator.as_deref(), conditions, compiler);
            compiled.push(Case { id: "true".into(), shown: json!("default"), group });
        }
    }
    let names = Names {
        result: "result".into(),
        selected: "selected_case_id".into(),
        conditions: "conditions".into(),
        results: "condition_results".into(),
    };
    Some(Box::new(IfElse { cases: compiled, otherwise: "false".into(), names }))
}

/// The conditions with the fields that Dify shows of them.
fn shown_conditions(case: Option<&Value>) -> Value {
    let conditions = case.and_then(|case| case.get("conditions")).and_then(Value::as_array);
    let field = |condition: &Value, name: &str| condition.get(name).cloned().unwrap_or(Value::Null);
    let shown = conditions.into_iter().flatten().map(|condition| {
        json!({
            "variable_selector": field(condition, "variable_selector"),
            "comparison_operator": field(condition, "comparison_operator"),
            "value": field(condition, "value"),
            "sub_variable_condition": field(condition, "sub_variable_condition"),
        })
    });
    shown.collect()
}

fn compile_group(
    field: &str,
    logical_operator: Option<&str>,
    conditions: Vec<ConditionData>,
    compiler: &mut NodeCompiler<'_, '_>,
) -> Group {
    let all = is_all(field, logical_operator, compiler);
    let mut compiled = Vec::with_capacity(conditions.len());
    for (position, condition) in conditions.into_iter().enumerate() {
        let field = format!("{field}.conditions[{position}]");
        compiled.extend(compile_condition(&field, condition, compiler));
    }
    Group { all, conditions: compiled }
}

fn compile_condition(
    field: &str,
    condition: ConditionData,
    compiler: &mut NodeCompiler<'_, '_>,
) -> Option<Condition> {
    let ConditionData { variable_selector, comparison_operator, value, sub_variable_condition } = condition;
    let operator = operator_of(field, &comparison_operator, compiler);
    let selector = compiler.selector(&format!("{field}.variable_selector"), &variable_selector);
    let expected = match value {
        Value::String(text) => Expected::Text(compiler.template(&text)),
        Value::Array(_) | Value::Bool(_) | Value::Null => Expected::Value(value),
        // Written without quotes in the YAML; Dify's own exports quote numbers.
        Value::Number(number) => Expected::Value(Value::String(number.to_string())),
        Value::Object(_) => {
            compiler
                .problem(&format!("{field}.value"), "expected text, a list, true or false; found a mapping");
            return None;
        }
    };
    let on_files = match sub_variable_condition {
        None => None,
        Some(sub) => {
            let field = format!("{field}.sub_variable_condition");
            let all = is_all(&field, sub.logical_operator.as_deref(), compiler);
            let mut conditions = Vec::with_capacity(sub.conditions.len());
            for (position, sub) in sub.conditions.into_iter().enumerate() {
                let field = format!("{field}.conditions[{position}]");
                let operator = operator_of(&field, &sub.comparison_operator, compiler);
                conditions.extend(operator.map(|operator| FileCondition {
                    key: sub.key,
                    operator,
                    expected: sub.value,
                }));
            }
            Some(FileConditions { all, conditions })
        }
    };
    Some(Condition { selector: selector?, operator: operator?, expected, on_files })
}

fn operator_of(field: &str, text: &str, compiler: &mut NodeCompiler<'_, '_>) -> Option<Operator> {
    let operator = Operator::parse(text);
    if operator.is_none() {
        compiler.problem(
            &format!("{field}.comparison_operator"),
            &format!("the comparison operator \"{text}\" is not known"),
        );
    }
    operator
}

fn is_all(field: &str, logical_operator: Option<&str>, compiler: &mut NodeCompiler<'_, '_>) -> bool {
    match logical_operator {
        None | Some("and") => true,
        Some("or") => false,
        Some(other) => {
            compiler.problem(
                &format!("{field}.logical_operator"),
                &format!("the logical operator \"{other}\" is not known; \"and\" and \"or\" are"),
            );
            true
        }
    }
}

impl Node for IfElse {
    fn start<'r>(&'r self, context: Context<'_, 'r>) -> Step<'r> {
        let mut inputs = Vec::new();
        let mut records = Vec::with_capacity(1);
        let mut selected = None;
        for case in &self.cases {
            let checked = match case.group.check(&context.view) {
                Ok(checked) => checked,
                Err(error) => {
                    return Step::Now(Err(Failed::new(error, "", Kind::Caller)
                        .with_inputs(one(&self.names.conditions, Value::Array(inputs)))
                        .with_process_data(one(&self.names.results, Value::Array(records)))));
                }
            };
            inputs = checked.inputs;
            let mut record = Map::with_capacity(3);
            record.insert("group".to_owned(), case.shown.clone());
            record.insert("results".to_owned(), Value::Array(checked.results));
            record.insert("final_result".to_owned(), Value::Bool(checked.is_met));
            records.push(Value::Object(record));
            if checked.is_met {
                selected = Some(Arc::clone(&case.id));
                break;
            }
        }
        let is_met = selected.is_some();
        let handle = selected.unwrap_or_else(|| Arc::clone(&self.otherwise));
        let mut outputs = Fields::with_capacity(2);
        outputs.push(Arc::clone(&self.names.result), Arc::new(Value::Bool(is_met)));
        outputs.push(Arc::clone(&self.names.selected), Arc::new(Value::String(handle.to_string())));
        Step::Now(Ok(Done {
            inputs: one(&self.names.conditions, Value::Array(inputs)),
            process_data: one(&self.names.results, Value::Array(records)),
            outputs: Arc::new(outputs),
            handle: Some(handle),
            ..Done::default()
        }))
    }
}

fn one(name: &Arc<str>, value: Value) -> Arc<Fields> {
    let mut fields = Fields::with_capacity(1);
    fields.push(Arc::clone(name), Arc::new(value));
    Arc::new(fields)
}
