//! Which alerts are meant: `label=value`, `label!=value`. A value may have `*` in it for any text, and `|` between
//! alternatives. A label that is not there is empty.

use std::collections::BTreeMap;

use mainstay_store::model::Severity;

use crate::health::State;

/// What alerts are told apart by.
pub type Labels = BTreeMap<String, String>;

/// The most matchers that one silence, route or rule has.
pub const MAX_MATCHERS: usize = 16;
const MAX_CHARS: usize = 200;

/// One condition on the labels of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    is_equal: bool,
    /// Alternatives, each as the texts between its `*`.
    patterns: Vec<Vec<String>>,
}

impl Matcher {
    /// Reads `label=value` or `label!=value`.
    pub fn parse(text: &str) -> Result<Matcher, String> {
        let (label, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text} is no matcher: write label=value or label!=value"))?;
        let (label, is_equal) = match label.strip_suffix('!') {
            Some(label) => (label.trim(), false),
            None => (label.trim(), true),
        };
        let is_label = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        if label.is_empty() || !label.chars().all(is_label) {
            return Err(format!("{text} is no matcher: a label has letters, digits, _, - and . only"));
        }
        if text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
            return Err(format!("a matcher has at most {MAX_CHARS} letters, and no control characters"));
        }
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        let patterns = value.split('|').map(|one| one.split('*').map(str::to_owned).collect());
        Ok(Matcher { label: label.to_owned(), is_equal, patterns: patterns.collect() })
    }

    pub fn fits(&self, labels: &Labels) -> bool {
        self.fits_value(labels.get(&self.label).map_or("", String::as_str))
    }

    fn fits_value(&self, value: &str) -> bool {
        self.patterns.iter().any(|pattern| is_like(value, pattern)) == self.is_equal
    }

    /// The values that fit, where they are listed.
    fn literals(&self) -> Option<Vec<&str>> {
        if !self.is_equal {
            return None;
        }
        let is_literal = self.patterns.iter().all(|pattern| pattern.len() == 1);
        is_literal.then(|| self.patterns.iter().flatten().map(String::as_str).collect())
    }

    /// Whether every value that fits it fits the other, as far as their patterns tell.
    fn implies(&self, other: &Matcher) -> bool {
        let all_in = |some: &[Vec<String>], others: &[Vec<String>]| {
            some.iter().all(|pattern| others.iter().any(|other| is_within(pattern, other)))
        };
        match (self.is_equal, other.is_equal) {
            (true, true) => all_in(&self.patterns, &other.patterns),
            (false, false) => all_in(&other.patterns, &self.patterns),
            _ => false,
        }
    }

    /// Whether it holds for every alert there is.
    pub fn is_for_all(&self) -> bool {
        self.is_equal
            && self.patterns.iter().any(|parts| parts.len() > 1 && parts.iter().all(String::is_empty))
    }
}

/// Labels of which all values are known.
fn values_of(label: &str) -> Option<Vec<&'static str>> {
    match label {
        "severity" => {
            Some([Severity::Info, Severity::Warning, Severity::Page].map(Severity::as_str).to_vec())
        }
        "state" => {
            Some([State::Ok, State::Unknown, State::Degraded, State::Down].map(State::as_str).to_vec())
        }
        _ => None,
    }
}

/// A label of which no value fits all of these.
pub(super) fn impossible(matchers: &[Matcher]) -> Option<&str> {
    let mut labels = matchers.iter().map(|matcher| matcher.label.as_str());
    labels.find(|label| possible(matchers, label).is_some_and(|values| values.is_empty()))
}

/// Whether whatever fits all of `inner` fits all of `outer`. False too where that cannot be told.
pub(super) fn covers(outer: &[Matcher], inner: &[Matcher]) -> bool {
    let is_implied = |matcher: &Matcher| {
        let by_values = || {
            let values = possible(inner, &matcher.label)?;
            Some(values.iter().all(|value| matcher.fits_value(value)))
        };
        matcher.is_for_all()
            || by_values() == Some(true)
            || inner.iter().any(|one| one.label == matcher.label && one.implies(matcher))
    };
    outer.iter().all(is_implied)
}

/// The values of a label with which all fit, where they can be counted.
fn possible<'a>(matchers: &'a [Matcher], label: &str) -> Option<Vec<&'a str>> {
    let ours = || matchers.iter().filter(|matcher| matcher.label == label);
    let mut values = match ours().find_map(Matcher::literals) {
        Some(literals) => literals,
        None => values_of(label).filter(|_| ours().next().is_some())?,
    };
    if let Some(known) = values_of(label) {
        values.retain(|value| known.contains(value));
    }
    values.retain(|value| ours().all(|matcher| matcher.fits_value(value)));
    Some(values)
}

/// All that are wrong, each with its place in the list.
pub fn parse_all(texts: &[String]) -> Result<Vec<Matcher>, Vec<(usize, String)>> {
    if texts.len() > MAX_MATCHERS {
        return Err(vec![(MAX_MATCHERS, format!("there are more than {MAX_MATCHERS} matchers"))]);
    }
    let (mut matchers, mut problems) = (Vec::new(), Vec::new());
    for (place, text) in texts.iter().enumerate() {
        match Matcher::parse(text) {
            Ok(matcher) => matchers.push(matcher),
            Err(problem) => problems.push((place, problem)),
        }
    }
    if problems.is_empty() { Ok(matchers) } else { Err(problems) }
}

pub fn all_fit(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.fits(labels))
}

/// Whether the parts stand in the value in this order, the first at its begin and the last at its end.
fn is_like(value: &str, parts: &[String]) -> bool {
    let [first, middle @ .., last] = parts else {
        return parts.first().is_some_and(|only| only == value);
    };
    let Some(mut rest) = value.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        match rest.find(part.as_str()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

/// Whether every text that is like the one is like the other: its `*` may stand for anything, so only a `*` takes it.
fn is_within(inner: &[String], outer: &[String]) -> bool {
    is_like(&inner.join("\u{1}"), outer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_fits_what_it_says() {
        let labels: Labels = [("app", "chat-eu"), ("provider", "openai"), ("component", "provider:openai")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for (text, fits) in [
            ("app=chat-eu", true),
            ("app = \"chat-eu\"", true),
            ("app=chat", false),
            ("app=chat*", true),
            ("app=*eu", true),
            ("app=*t-e*", true),
            ("app=c*t*u", true),
            ("app=c*x*u", false),
            ("app=chat-eu*eu", false),
            ("app!=chat*", false),
            ("app!=other", true),
            ("app=one|chat-*", true),
            ("app=one|two", false),
            ("model=", true),
            ("model!=", false),
            ("app!=", true),
            ("model=*", true),
            ("component=provider:openai", true),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().fits(&labels), fits, "{text}");
        }
        for text in ["", "app", "=x", "a b=c", "äpp=x", "a=\u{7}"] {
            assert!(Matcher::parse(text).is_err(), "{text}");
        }
        let wrong = parse_all(&["app=x".to_owned(), "app".to_owned(), "=".to_owned()]).unwrap_err();
        assert_eq!(wrong.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [1, 2]);
        for (text, for_all) in [("app=*", true), ("app=a*", false), ("app!=*", false), ("app=", false)] {
            assert_eq!(Matcher::parse(text).unwrap().is_for_all(), for_all, "{text}");
        }
    }
}
