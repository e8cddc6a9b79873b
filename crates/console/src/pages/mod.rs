//! The pages. Each module has what its page shows, how that is read, and its template.

pub(crate) mod alerts;
pub(crate) mod apps;
pub(crate) mod dead;
pub(crate) mod dify;
pub(crate) mod fleet;
pub(crate) mod groups;
pub(crate) mod incident;
pub(crate) mod models;
pub(crate) mod oncall;
pub(crate) mod overview;
pub(crate) mod preview;
pub(crate) mod procedures;
pub(crate) mod promises;
pub(crate) mod providers;
pub(crate) mod quiet;
pub(crate) mod quiet_why;
pub(crate) mod receivers;
pub(crate) mod requests;
pub(crate) mod runbooks;
pub(crate) mod runs;
pub(crate) mod simulation;
pub(crate) mod slo_change;
pub(crate) mod slo_lint;
pub(crate) mod slo_past;
pub(crate) mod slos;
pub(crate) mod timeline;

use crate::Failure;

/// A field of a form that was left empty is a field that was not given.
pub(crate) fn given(field: Option<String>) -> Option<String> {
    field.filter(|text| !text.is_empty())
}

/// Reads a filter's word, or says which words there are.
pub(crate) fn word<T>(
    name: &'static str,
    field: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Option<T>, Failure> {
    let Some(text) = given(field) else { return Ok(None) };
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => Err(Failure::bad_request(
            "bad_filter",
            format!("`{name}` is not one of: {}", known.join(", ")),
            "leave it out to see all",
        )),
    }
}

/// A name as a segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

/// A query of the pairs that are set, for a link to another page of a list.
pub(crate) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            for byte in value.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                        text.push(char::from(byte))
                    }
                    other => text.push_str(&format!("%{other:02X}")),
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_quote_what_comes_from_outside() {
        assert_eq!(query(&[("app", Some("a&b=\"c\" é")), ("kind", None)]), "?app=a%26b%3D%22c%22%20%C3%A9");
        assert_eq!(query(&[]), "");
    }
}
