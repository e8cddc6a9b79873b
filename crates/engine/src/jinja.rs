//! Jinja2 templates, rendered as Python renders them.
//!
//! Templates come from outside, so each has a limit of instructions and of output.

mod filters;

use std::{
    io::{self, Write},
    sync::Arc,
};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value as Jinja,
    value::{Enumerator, Object, ValueKind},
};
use serde_json::Value;

use crate::{Fields, python};

/// Instructions of one rendering, each with room for 64 bytes of data, 128 MB in all. A loop over a thousand items with
/// a few filters takes about a hundredth of it.
const MAX_FUEL: u64 = 2_000_000;
/// Values within values that are written out.
const MAX_DEPTH: usize = 64;
/// Where templates are rendered that may put a value into itself again and again. Such values are taken apart level by
/// level on the stack, and no more of them can be built than [`MAX_FUEL`] allows. Only what is used takes memory.
const DEEP_STACK_BYTES: usize = 1024 * 1024 * 1024;

/// All templates of a plan.
#[derive(Debug)]
pub(crate) struct Templates {
    environment: Environment<'static>,
    count: usize,
}

/// One template of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    name: Arc<str>,
    /// Assignments are the only way to build values that are nested deeper than they are written.
    may_nest: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RenderError {
    #[error("Output length exceeds {max_bytes} characters")]
    TooLong { max_bytes: usize },
    #[error("{0}")]
    Failed(String),
}

impl Templates {
    pub(crate) fn new() -> Templates {
        let mut environment = Environment::new();
        environment.set_fuel(Some(MAX_FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(format);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        filters::add(&mut environment);
        Templates { environment, count: 0 }
    }

    /// Compiles a template; the error is a sentence about its syntax.
    pub(crate) fn add(&mut self, source: &str) -> Result<Template, String> {
        let name = format!("template-{}", self.count);
        self.environment
            .add_template_owned(name.clone(), source.to_owned())
            .map_err(|error| described(&error))?;
        self.count += 1;
        Ok(Template { name: name.into(), may_nest: source.contains("set") })
    }

    pub(crate) fn render(
        &self,
        template: &Template,
        variables: &Arc<Fields>,
        max_bytes: usize,
    ) -> Result<String, RenderError> {
        if !template.may_nest {
            return self.render_here(template, variables, max_bytes);
        }
        let rendered = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(DEEP_STACK_BYTES);
            let running = thread.spawn_scoped(scope, || self.render_here(template, variables, max_bytes));
            running.map(|running| running.join())
        });
        match rendered {
            Ok(Ok(rendered)) => rendered,
            Ok(Err(_)) => Err(RenderError::Failed("the template could not be rendered".to_owned())),
            Err(error) => Err(RenderError::Failed(format!("no thread for the template: {error}"))),
        }
    }

    fn render_here(
        &self,
        template: &Template,
        variables: &Arc<Fields>,
        max_bytes: usize,
    ) -> Result<String, RenderError> {
        let context = Jinja::from_object(Variables(Arc::clone(variables)));
        let mut output = Limited { text: Vec::new(), max_bytes, is_over: false };
        let rendered = self
            .environment
            .get_template(&template.name)
            .and_then(|template| template.render_captured_to(context, &mut output).map(drop));
        if output.is_over {
            return Err(RenderError::TooLong { max_bytes });
        }
        rendered.map_err(|error| RenderError::Failed(described(&error)))?;
        String::from_utf8(output.text).map_err(|_| RenderError::Failed("the output is not text".to_owned()))
    }
}

/// A template's variables: turned into Jinja's values when they are asked for.
#[derive(Debug)]
struct Variables(Arc<Fields>);

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Jinja) -> Option<Jinja> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Jinja> {
        self.0.get(key).map(|value| from_json(value))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Jinja::from(&**name)).collect())
    }
}

fn described(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "the template runs for too long".to_owned(),
        kind => error.detail().map_or_else(|| kind.to_string(), |detail| format!("{kind}: {detail}")),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

struct Limited {
    text: Vec<u8>,
    max_bytes: usize,
    is_over: bool,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.max_bytes {
            self.is_over = true;
            return Err(io::Error::other("the output is too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn from_json(value: &Value) -> Jinja {
    match value {
        Value::Null => Jinja::from(()),
        Value::Bool(value) => Jinja::from(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Jinja::from(integer),
            (None, Some(integer)) => Jinja::from(integer),
            (None, None) => Jinja::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Jinja::from(text.as_str()),
        Value::Array(items) => items.iter().map(from_json).collect(),
        Value::Object(map) => {
            Jinja::from_pairs(map.iter().map(|(key, value)| (key.as_str(), from_json(value))))
        }
    }
}

/// Writes a value as Python's `str` does.
fn format(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Jinja) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::String => output.write_str(value.as_str().unwrap_or_default()),
        _ => {
            let mut text = String::new();
            write_repr(&mut text, value, MAX_DEPTH)?;
            output.write_str(&text)
        }
    };
    written.map_err(|_| Error::new(ErrorKind::WriteFailure, "the output is too long"))
}

fn write_repr(text: &mut String, value: &Jinja, depth: usize) -> Result<(), Error> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(Error::new(ErrorKind::InvalidOperation, "values are nested too deeply to be written"));
    };
    match value.kind() {
        ValueKind::None => text.push_str("None"),
        ValueKind::Bool => text.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => {
            python::write_float(text, f64::try_from(value.clone()).unwrap_or(f64::NAN));
        }
        ValueKind::String => {
            python::write_repr(text, &Value::String(value.as_str().unwrap_or_default().to_owned()));
        }
        ValueKind::Seq => {
            text.push('[');
            for (position, item) in value.try_iter()?.enumerate() {
                if position > 0 {
                    text.push_str(", ");
                }
                write_repr(text, &item, depth)?;
            }
            text.push(']');
        }
        ValueKind::Map => {
            text.push('{');
            for (position, key) in value.try_iter()?.enumerate() {
                if position > 0 {
                    text.push_str(", ");
                }
                write_repr(text, &key, depth)?;
                text.push_str(": ");
                write_repr(text, &value.get_item(&key)?, depth)?;
            }
            text.push('}');
        }
        _ => text.push_str(&value.to_string()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn render(source: &str, variables: Value) -> Result<String, String> {
        let mut templates = Templates::new();
        let template = templates.add(source)?;
        let Value::Object(variables) = variables else { panic!("variables are a mapping") };
        templates.render(&template, &Arc::new(variables.into()), 1000).map_err(|error| error.to_string())
    }

    /// Right sides as Python's Jinja2 3.1 printed them.
    #[test]
    fn templates_render_as_in_python() {
        let variables = json!({
            "s": "Ann", "n": 45, "f": 2.0, "tiny": 1e-7, "t": true, "none": null,
            "list": ["a", 1, null], "dict": {"k": "v", "x": [1.5]},
        });
        for (source, expected) in [
            ("{{ s }}! sum={{ n }}", "Ann! sum=45"),
            ("{{ f }} {{ tiny }} {{ n / 2 }} {{ n // 2 }}", "2.0 1e-07 22.5 22"),
            ("{{ t }} {{ none }} {{ missing }}|", "True None |"),
            ("{{ list }}", "['a', 1, None]"),
            ("{{ dict }}", "{'k': 'v', 'x': [1.5]}"),
            ("{% for x in list %}{{ loop.index }}:{{ x }};{% endfor %}", "1:a;2:1;3:None;"),
            ("{% for k, v in dict.items() %}{{ k }}={{ v }} {% endfor %}", "k=v x=[1.5] "),
            ("{{ s.upper() }} {{ s | lower }} {{ dict.get('k') }} {{ dict['x'][0] }}", "ANN ann v 1.5"),
            ("{{ '<b>' }}{{ list | length }}", "<b>3"),
            ("{% if s == 'Ann' and n > 40 %}yes{% else %}no{% endif %}", "yes"),
            ("{{ s ~ n ~ t }}", "Ann45True"),
            ("{{ dict | tojson }}", "{\"k\": \"v\", \"x\": [1.5]}"),
            (
                "{{ {'z': 1, 'a': {'y': 2.0, 'b': none}} | tojson }}",
                "{\"a\": {\"b\": null, \"y\": 2.0}, \"z\": 1}",
            ),
            ("{{ \"é😀<'>&\" | tojson }}", "\"\\u00e9\\ud83d\\ude00\\u003c\\u0027\\u003e\\u0026\""),
            ("{{ [1, {'k': []}] | tojson(indent=4) }}", "[\n    1,\n    {\n        \"k\": []\n    }\n]"),
            (
                "{{ 'x' | int }} {{ '2.9' | int }} {{ 'x' | int(7) }} {{ ' 3 ' | int }} {{ none | int }}",
                "0 2 7 3 0",
            ),
            ("{{ 'x' | float }} {{ '2' | float }} {{ 'x' | float(default=1) }}", "0.0 2.0 1"),
            ("{{ '<a href=\"x\">\\'&' | e }}", "&lt;a href=&#34;x&#34;&gt;&#39;&amp;"),
            (
                "{{ 'foo bar baz qux' | truncate(9) }}|{{ 'foo bar baz qux' | truncate(9, true) }}",
                "foo...|foo ba...",
            ),
            (
                "{{ 'foo bar baz qux' | truncate(11) }}|{{ 'äöü' | truncate(2, end='…', leeway=0) }}",
                "foo bar baz qux|ä…",
            ),
            ("{{ \"it's 2 words\" | wordcount }} {{ '<p>a  b</p>' | striptags }}", "4 a b"),
            (
                "{{ 'a' | center(4) }}|{{ 'ab' | center(5) }}|{{ 1000000 | filesizeformat }}",
                " a  |  ab |1.0 MB",
            ),
            ("line\n", "line"),
        ] {
            assert_eq!(render(source, variables.clone()).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn endless_and_huge_templates_are_stopped() {
        let long = render("{% for i in range(9999) %}xxxxxxxxxx{% endfor %}", json!({}));
        assert_eq!(long, Err("Output length exceeds 1000 characters".to_owned()));
        let nested = "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}";
        assert_eq!(render(nested, json!({})), Err("the template runs for too long (line 1)".to_owned()));
    }

    #[test]
    // Reproduces a crash of the process: such values were taken apart on a stack that was too small.
    fn values_nested_without_end_do_no_harm() {
        for rest in
            ["", "{{ ns.x }}", "{{ ns.x | tojson }}", "{{ ns.x == ns.x }}", "{{ ns.x | string | length }}"]
        {
            let nest = "{% set ns = namespace(x=1) %}{% for i in range(999) %}{% for j in range(99) %}\
                        {% set ns.x = [ns.x] %}{% endfor %}{% endfor %}";
            let _ = render(&format!("{nest}{rest}"), json!({}));
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = render("a\n{% if x %}", json!({})).unwrap_err();
        assert!(error.starts_with("syntax error") && error.contains("line 2"), "{error}");
    }

    proptest! {
        #[test]
        fn hostile_templates_never_panic(source in "(\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|x|\\.|\\(|\\)|\\||~|[0-9]|'| |range|join|\\[|\\])*") {
            let _ = render(&source, json!({"x": [1, {"a": "b"}]}));
        }
    }
}
