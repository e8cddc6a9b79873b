//! Reads a TOML document by key, collecting every problem with its key path instead of stopping at the first.

mod nearest;
mod span;

use std::{cell::RefCell, collections::BTreeSet, ops::RangeInclusive, time::Duration};

use mainstay_base::{Secret, Usd};
use toml::{Table, Value};

use super::secrets::Known;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `upstream[1].base_url`
    pub(crate) path: String,
    pub(crate) message: String,
}

/// What readers of one document share.
#[derive(Default)]
pub(crate) struct Findings {
    problems: RefCell<Vec<Problem>>,
    /// What is allowed and probably not meant.
    warnings: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with `[]` for indices: what the example file must explain.
    asked: RefCell<BTreeSet<String>>,
    secrets: RefCell<Known>,
}

/// What came of reading a document.
pub(crate) struct Found {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) secrets: Known,
}

impl Findings {
    pub(crate) fn report(&self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { path: path.into(), message: message.into() });
    }

    pub(crate) fn warn(&self, path: impl Into<String>, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Problem { path: path.into(), message: message.into() });
    }

    pub(crate) fn are_none(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    #[cfg(test)]
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// Remembers what was behind a reference.
    pub(crate) fn knows(&self, reference: &str, secret: &Secret) {
        self.secrets.borrow_mut().insert(reference, secret);
    }

    pub(crate) fn into_found(self) -> Found {
        let Findings { problems, warnings, asked: _, secrets } = self;
        Found {
            problems: problems.into_inner(),
            warnings: warnings.into_inner(),
            secrets: secrets.into_inner(),
        }
    }

    #[cfg(test)]
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// One table of the document, or the absence of one: then every key has its default.
pub(crate) struct Reader<'a> {
    table: Option<&'a Table>,
    path: String,
    known: RefCell<BTreeSet<&'static str>>,
    findings: &'a Findings,
}

impl<'a> Reader<'a> {
    pub(crate) fn root(table: &'a Table, findings: &'a Findings) -> Reader<'a> {
        Reader { table: Some(table), path: String::new(), known: RefCell::default(), findings }
    }

    /// The full path of a key of this table.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(crate) fn report(&self, key: &str, message: impl Into<String>) {
        self.findings.report(self.path(key), message);
    }

    pub(crate) fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// Whether the key is written, rightly or not.
    pub(crate) fn is_given(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// Whether anything at all is written in this table, or in one below it.
    pub(crate) fn has_keys(&self) -> bool {
        fn says(value: &Value) -> bool {
            value.as_table().is_none_or(|table| table.iter().any(|(_, value)| says(value)))
        }
        self.table.is_some_and(|table| table.iter().any(|(_, value)| says(value)))
    }

    /// A table of anything, as JSON.
    pub(crate) fn json_object(
        &self,
        key: &'static str,
    ) -> Option<serde_json::Map<String, serde_json::Value>> {
        match self.value(key)? {
            Value::Table(table) => match serde_json::to_value(table) {
                Ok(serde_json::Value::Object(object)) => Some(object),
                _ => None,
            },
            other => self.wrong_type(key, "a table such as { name = \"value\" }", other),
        }
    }

    /// Whether the key is written as `[[key]]`, for keys that may also be a text.
    pub(crate) fn is_tables(&self, key: &'static str) -> bool {
        self.value(key)
            .and_then(Value::as_array)
            .is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_table))
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        match self.value(key)? {
            Value::String(text) if text.trim().is_empty() => {
                self.report(key, "is empty");
                None
            }
            Value::String(text) => Some(text.clone()),
            other => self.wrong_type(key, "a text", other),
        }
    }

    /// Reports a key that the section cannot do without and does not have.
    pub(crate) fn require(&self, key: &'static str) {
        if self.value(key).is_none() {
            self.report(key, "is missing");
        }
    }

    pub(crate) fn required(&self, key: &'static str) -> Option<String> {
        self.require(key);
        self.text(key)
    }

    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(key)?;
        parse(&text).map_err(|message| self.report(key, message)).ok()
    }

    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Value::Boolean(flag) => Some(*flag),
            other => self.wrong_type(key, "true or false", other),
        }
    }

    pub(crate) fn number(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let Value::Integer(number) = value else { return self.wrong_type(key, "a whole number", value) };
        match u64::try_from(*number).ok().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                self.report(key, format!("is {number}, allowed is {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    /// A number between 0 and 1.
    pub(crate) fn share(&self, key: &'static str) -> Option<f64> {
        self.decimal(key, 0.0..=1.0)
    }

    /// A number that may have a fraction.
    pub(crate) fn decimal(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let (least, most) = (range.start(), range.end());
        let number = match self.value(key)? {
            Value::Float(number) => *number,
            Value::Integer(whole) => *whole as f64,
            other => return self.wrong_type(key, &format!("a number from {least} to {most}"), other),
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.report(key, format!("is {number}, allowed is {least} to {most}"));
        None
    }

    /// An amount of money, written in dollars.
    pub(crate) fn dollars(&self, key: &'static str, most: f64) -> Option<Usd> {
        Usd::from_dollars(self.decimal(key, 0.0..=most)?)
    }

    /// One of a few words, with what each stands for.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            found.ok_or_else(|| format!("is none of {}", words.join(", ")))
        })
    }

    /// `250ms`, `5s`, `10m`, `2h`, `30d`, within bounds; `0s` is one where the bounds have it.
    pub(crate) fn span(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        if let Some(number @ (Value::Integer(_) | Value::Float(_))) = self.value(key) {
            return self.wrong_type(key, &format!("a time span; write \"{number}s\" for seconds"), number);
        }
        self.parsed(key, |text| {
            let wanted = if span::is_nothing(text) { Duration::ZERO } else { span::parse(text)? };
            let (least, most) = (span::spell(*range.start()), span::spell(*range.end()));
            match range.contains(&wanted) {
                true => Ok(wanted),
                false => Err(format!("is {text}, allowed is {least} to {most}")),
            }
        })
    }

    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let Value::Array(items) = value else { return self.wrong_type(key, "a list of texts", value) };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::String(text) if !text.trim().is_empty() => texts.push(text.clone()),
                _ => self.report(&format!("{key}[{index}]"), "is not a text"),
            }
        }
        Some(texts)
    }

    /// A table within this one; all defaults when it is absent.
    pub(crate) fn section(&self, key: &'static str) -> Reader<'a> {
        let table = match self.value(key) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => self.wrong_type(key, "a table", other),
            None => None,
        };
        Reader { table, path: self.path(key), known: RefCell::default(), findings: self.findings }
    }

    /// The tables of `[[key]]`, in order.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Reader<'a>> {
        let items: &[Value] = match self.value(key) {
            Some(Value::Array(items)) => items,
            Some(other) => self.wrong_type(key, "a list of tables", other).unwrap_or_default(),
            None => &[],
        };
        let mut readers = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path(key));
            match item {
                Value::Table(table) => readers.push(Reader {
                    table: Some(table),
                    path,
                    known: RefCell::default(),
                    findings: self.findings,
                }),
                other => self.findings.report(path, format!("is {}, not a table", kind(other))),
            }
        }
        readers
    }

    /// Reports the keys that nobody asked for. Call it after the last question.
    pub(crate) fn done(self) {
        let known = self.known.into_inner();
        for key in self.table.into_iter().flat_map(Table::keys) {
            if known.contains(key.as_str()) {
                continue;
            }
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let hint = match nearest::nearest(key, &known) {
                Some(near) => format!("is not a key; did you mean {near}?"),
                None => {
                    format!("is not a key; known are {}", Vec::from_iter(known.iter().copied()).join(", "))
                }
            };
            self.findings.report(path, hint);
        }
    }

    fn asked(&self, key: &'static str) {
        self.known.borrow_mut().insert(key);
        let mut path = String::new();
        let mut in_index = false;
        for c in self.path(key).chars() {
            match c {
                '[' => in_index = true,
                ']' => {
                    in_index = false;
                    path.push_str("[]");
                }
                _ if in_index => {}
                c => path.push(c),
            }
        }
        self.findings.asked.borrow_mut().insert(path);
    }

    fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.asked(key);
        self.table?.get(key)
    }

    fn wrong_type<T>(&self, key: &str, wanted: &str, found: &Value) -> Option<T> {
        let hint = match found {
            Value::String(text) if text.parse::<f64>().is_ok() => "; take the quotes away",
            Value::Integer(_) | Value::Float(_) if wanted == "a text" => "; put it in quotes",
            Value::Table(_) if wanted == "a list of tables" || key == "key" => {
                "; write its head in double brackets: [[…]]"
            }
            _ => "",
        };
        self.report(key, format!("is {}, not {wanted}{hint}", kind(found)));
        None
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_its_bounds() {
        let table: Table = "a = '0s'\nb = '2h'\nc = '0x'".parse().unwrap();
        let findings = Findings::default();
        let root = Reader::root(&table, &findings);
        let hour = Duration::from_secs(3600);
        assert_eq!(root.span("a", Duration::ZERO..=hour), Some(Duration::ZERO));
        assert_eq!(root.span("a", Duration::from_millis(1500)..=hour), None);
        assert_eq!(root.span("b", Duration::ZERO..=hour), None);
        assert_eq!(root.span("c", Duration::ZERO..=hour), None);
        let found: Vec<String> = findings.into_problems().into_iter().map(|p| p.message).collect();
        assert_eq!(found[..2], ["is 0s, allowed is 1500ms to 1h", "is 2h, allowed is 0s to 1h"]);
        assert!(found[2].starts_with("is not a time span"), "{found:?}");
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let table: Table = "nam = 1\ncount = \"x\"\nshare = 7\n[[item]]\nurl = ''\n".parse().unwrap();
        let findings = Findings::default();
        let root = Reader::root(&table, &findings);
        assert_eq!(root.text("name"), None);
        assert_eq!(root.number("count", 0..=3), None);
        assert_eq!(root.share("share"), None);
        for item in root.sections("item") {
            assert_eq!(item.required("url"), None);
            assert_eq!(item.required("key"), None);
            item.done();
        }
        root.done();
        let found: Vec<String> =
            findings.into_problems().into_iter().map(|p| format!("{} {}", p.path, p.message)).collect();
        assert_eq!(
            found,
            [
                "count is a text, not a whole number",
                "share is 7, allowed is 0 to 1",
                "item[0].url is empty",
                "item[0].key is missing",
                "nam is not a key; did you mean name?",
            ]
        );
    }
}
