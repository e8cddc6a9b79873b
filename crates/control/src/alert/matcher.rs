//! Which alerts are meant: `label=value`, `label!=value`. A value may have `*` in it for any text, and `|` between
//! alternatives. A label that is not there is empty.

use std::collections::BTreeMap;

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
        let value = labels.get(&self.label).map_or("", String::as_str);
        self.patterns.iter().any(|pattern| is_like(value, pattern)) == self.is_equal
    }

    /// Whether it holds for every alert there is.
    pub fn is_for_all(&self) -> bool {
        self.is_equal
            && self.patterns.iter().any(|parts| parts.len() > 1 && parts.iter().all(String::is_empty))
    }
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
