//! The input form of an app (the variables of its start node) and Dify's rules for what may be put into it.

use serde_json::{Map, Value};

use super::{ApiError, validation::repr};

/// What an app asks of its callers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputForm {
    pub variables: Vec<Variable>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub name: String,
    pub kind: VariableKind,
    pub required: bool,
    pub max_length: Option<usize>,
    pub options: Vec<String>,
    pub default: Value,
    /// As the DSL has it: what `/v1/parameters` shows.
    pub raw: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableKind {
    TextInput,
    Paragraph,
    Select,
    Number,
    Checkbox,
    File,
    FileList,
    JsonObject,
    /// A kind that this version does not know: taken as it comes.
    Other,
}

impl VariableKind {
    fn parse(text: &str) -> VariableKind {
        match text {
            "text-input" => VariableKind::TextInput,
            "paragraph" => VariableKind::Paragraph,
            "select" => VariableKind::Select,
            "number" => VariableKind::Number,
            "checkbox" => VariableKind::Checkbox,
            "file" => VariableKind::File,
            "file-list" => VariableKind::FileList,
            "json_object" => VariableKind::JsonObject,
            _ => VariableKind::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            VariableKind::TextInput => "text-input",
            VariableKind::Paragraph => "paragraph",
            VariableKind::Select => "select",
            VariableKind::Number => "number",
            VariableKind::Checkbox => "checkbox",
            VariableKind::File => "file",
            VariableKind::FileList => "file-list",
            VariableKind::JsonObject => "json_object",
            VariableKind::Other => "other",
        }
    }
}

impl InputForm {
    /// From the `variables` of a start node. Entries without a name are left out.
    pub fn from_variables<'a>(variables: impl IntoIterator<Item = &'a Value>) -> InputForm {
        InputForm { variables: variables.into_iter().filter_map(Variable::read).collect() }
    }

    /// What `/v1/parameters` calls `user_input_form`.
    pub fn listed(&self) -> Value {
        let entry = |variable: &Variable| {
            let kind = variable.raw.get("type").and_then(Value::as_str).unwrap_or("text-input");
            Value::Object(Map::from_iter([(kind.to_owned(), variable.raw.clone())]))
        };
        Value::Array(self.variables.iter().map(entry).collect())
    }

    /// The inputs of a run: every variable of the form in its order, nothing else. Names the first that is wrong.
    pub fn fill(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
        let mut inputs = Map::with_capacity(self.variables.len());
        for variable in &self.variables {
            let value = variable.check(given.get(&variable.name).unwrap_or(&Value::Null))?;
            inputs.insert(variable.name.clone(), without_nul(value));
        }
        for variable in &self.variables {
            let Some(value) = inputs.get(&variable.name) else { continue };
            if variable.refuses_objects(value) {
                return Err(ApiError::invalid_param(format!("Invalid input type for ['{}']", variable.name)));
            }
        }
        Ok(inputs)
    }
}

impl Variable {
    fn read(raw: &Value) -> Option<Variable> {
        let name = raw.get("variable")?.as_str()?.to_owned();
        let texts = |value: &Value| value.as_array().into_iter().flatten().filter_map(text_of).collect();
        Some(Variable {
            name,
            kind: VariableKind::parse(raw.get("type").and_then(Value::as_str).unwrap_or("text-input")),
            required: raw.get("required").and_then(Value::as_bool).unwrap_or(false),
            max_length: raw
                .get("max_length")
                .and_then(Value::as_u64)
                .and_then(|length| usize::try_from(length).ok())
                .filter(|length| *length > 0),
            options: raw.get("options").map(texts).unwrap_or_default(),
            default: raw.get("default").cloned().unwrap_or(Value::Null),
            raw: raw.clone(),
        })
    }

    fn check(&self, given: &Value) -> Result<Value, ApiError> {
        let name = &self.name;
        if given.is_null() && self.required {
            return Err(self.wrong("is required in input form"));
        }
        let value = if given.is_null() { &self.default } else { given };
        if value.is_null() {
            return Ok(Value::Null);
        }
        match self.kind {
            VariableKind::TextInput | VariableKind::Paragraph | VariableKind::Select => {
                let Some(text) = value.as_str() else {
                    let kind = self.kind.as_str();
                    let message = format!("(type '{kind}') {name} in input form must be a string");
                    return Err(ApiError::invalid_param(message));
                };
                self.check_text(text)?;
            }
            VariableKind::Number => return self.number(value),
            VariableKind::Checkbox => return Ok(checkbox(value)),
            VariableKind::File | VariableKind::FileList if value.as_str() == Some("") && !self.required => {
                return Ok(Value::Null);
            }
            VariableKind::File if !value.is_object() => {
                return Err(self.wrong("in input form must be a file"));
            }
            VariableKind::FileList => self.check_files(value)?,
            VariableKind::JsonObject if is_truthy(value) && !value.is_object() => {
                return Err(self.wrong("in input form must be a dict"));
            }
            VariableKind::File | VariableKind::JsonObject | VariableKind::Other => {}
        }
        Ok(value.clone())
    }

    fn check_text(&self, text: &str) -> Result<(), ApiError> {
        if self.kind == VariableKind::Select && !self.options.iter().any(|option| option == text) {
            let options = repr(&Value::from(self.options.clone()));
            return Err(self.wrong(&format!("in input form must be one of the following: {options}")));
        }
        match self.max_length {
            Some(most) if self.kind != VariableKind::Select && text.chars().count() > most => {
                Err(self.wrong(&format!("in input form must be less than {most} characters")))
            }
            _ => Ok(()),
        }
    }

    fn check_files(&self, value: &Value) -> Result<(), ApiError> {
        let files = value.as_array().filter(|files| files.iter().all(Value::is_object));
        let Some(files) = files else {
            return Err(self.wrong("in input form must be a list of files"));
        };
        match self.max_length {
            Some(most) if files.len() > most => {
                Err(self.wrong(&format!("in input form must be less than {most} files")))
            }
            _ => Ok(()),
        }
    }

    /// Numbers pass; texts are read as Python reads them: a float when there is a point in it.
    fn number(&self, value: &Value) -> Result<Value, ApiError> {
        let text = match value {
            Value::Number(_) | Value::Bool(_) => return Ok(value.clone()),
            Value::String(text) => text.trim(),
            _ => return Err(self.wrong("in input form must be a valid number")),
        };
        if text.is_empty() {
            return Ok(Value::Null);
        }
        let number = if text.contains('.') {
            text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        } else {
            text.parse::<i64>().ok().map(Value::from)
        };
        number.ok_or_else(|| self.wrong("in input form must be a valid number"))
    }

    /// Objects are for files and JSON objects only; lists of objects for file lists only.
    fn refuses_objects(&self, value: &Value) -> bool {
        match value {
            Value::Object(_) => !matches!(self.kind, VariableKind::File | VariableKind::JsonObject),
            Value::Array(items) => items.iter().any(Value::is_object) && self.kind != VariableKind::FileList,
            _ => false,
        }
    }

    fn wrong(&self, what: &str) -> ApiError {
        ApiError::invalid_param(format!("{} {what}", self.name))
    }
}

fn checkbox(value: &Value) -> Value {
    let text = match value {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return value.clone(),
    };
    match text.as_str() {
        "true" | "1" | "1.0" | "yes" | "on" => Value::Bool(true),
        "false" | "0" | "0.0" | "no" | "off" => Value::Bool(false),
        _ => value.clone(),
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Bool(true) => true,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// PostgreSQL stores no NUL in a text; Dify drops it from texts, this drops it from texts at any depth.
fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::String(text.replace('\0', "")),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nul).collect()),
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(key, value)| (key.replace('\0', ""), without_nul(value))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(variable: Value, given: Value, expected: Result<Value, &str>) {
        let form = InputForm::from_variables([&variable]);
        let name = variable["variable"].as_str().unwrap();
        let given =
            if given == json!("absent") { Map::new() } else { Map::from_iter([(name.to_owned(), given)]) };
        let filled = form.fill(&given).map(|inputs| inputs[name].clone());
        assert_eq!(
            filled.map_err(|error| error.message.into_owned()),
            expected.map_err(str::to_owned),
            "{variable}"
        );
    }

    #[test]
    fn each_kind_of_variable_has_its_rules_and_words() {
        let text = json!({"variable": "t", "type": "text-input", "required": true, "max_length": 3});
        check(text.clone(), json!("absent"), Err("t is required in input form"));
        check(text.clone(), json!(null), Err("t is required in input form"));
        check(text.clone(), json!("ab\u{0}"), Ok(json!("ab")));
        check(text.clone(), json!("üüü"), Ok(json!("üüü")));
        check(text.clone(), json!("abcd"), Err("t in input form must be less than 3 characters"));
        check(text, json!(5), Err("(type 'text-input') t in input form must be a string"));

        let select = json!({"variable": "s", "type": "select", "options": ["a", "b"]});
        check(select.clone(), json!("b"), Ok(json!("b")));
        check(select.clone(), json!("absent"), Ok(Value::Null));
        check(select, json!("c"), Err("s in input form must be one of the following: ['a', 'b']"));

        let number = json!({"variable": "n", "type": "number", "default": "7"});
        check(number.clone(), json!("absent"), Ok(json!(7)));
        check(number.clone(), json!(" 1.5 "), Ok(json!(1.5)));
        check(number.clone(), json!(""), Ok(Value::Null));
        check(number.clone(), json!(2), Ok(json!(2)));
        check(number.clone(), json!("1e5"), Err("n in input form must be a valid number"));
        check(number, json!([1]), Err("n in input form must be a valid number"));

        let checkbox = json!({"variable": "c", "type": "checkbox"});
        check(checkbox.clone(), json!("Yes"), Ok(json!(true)));
        check(checkbox.clone(), json!(0), Ok(json!(false)));
        check(checkbox, json!({"a": 1}), Err("Invalid input type for ['c']"));

        let files = json!({"variable": "f", "type": "file-list", "max_length": 1});
        check(files.clone(), json!(["x"]), Err("f in input form must be a list of files"));
        check(files.clone(), json!([{}, {}]), Err("f in input form must be less than 1 files"));
        check(files, json!(""), Ok(Value::Null));

        let object = json!({"variable": "o", "type": "json_object"});
        check(object.clone(), json!({"a": ["b\u{0}"]}), Ok(json!({"a": ["b"]})));
        check(object, json!([1]), Err("o in input form must be a dict"));
    }

    #[test]
    fn what_the_form_does_not_ask_for_is_dropped() {
        let form = InputForm::from_variables([&json!({"variable": "a", "type": "paragraph"})]);
        let given = json!({"b": 1, "a": "x"});
        assert_eq!(Value::Object(form.fill(given.as_object().unwrap()).unwrap()), json!({"a": "x"}));
    }
}
