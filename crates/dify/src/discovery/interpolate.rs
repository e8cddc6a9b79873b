//! `$NAME`, `${NAME:-default}` and their kind, as docker compose puts values for them.

use std::fmt::Write;

/// What one text may grow to: `A=$B$B` upon itself doubles with each line.
pub(super) const MAX_VALUE_BYTES: usize = 64 * 1024;
/// `${A:-${B:-${C}}}` has three.
const MAX_DEPTH: usize = 16;

/// Why a text cannot be taken. Says names and never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("has a `${{` that is not closed or names no variable")]
    Form,
    #[error("demands the variable {0}, which is not set")]
    Required(String),
    #[error("becomes longer than {MAX_VALUE_BYTES} bytes")]
    TooLong,
    #[error("has more than {MAX_DEPTH} defaults within defaults")]
    TooDeep,
}

/// Gives the value of a variable; `None` where it is not set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// `text` with every variable replaced; `$$` is a dollar. One that is not set is nothing, as compose has it.
pub(super) fn substitute(text: &str, lookup: Lookup<'_>) -> Result<String, Error> {
    within(text, lookup, 0)
}

fn within(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match after.as_bytes().first() {
            Some(b'$') => {
                out.push('$');
                &after[1..]
            }
            Some(b'{') => {
                let close = closing(after).ok_or(Error::Form)?;
                out.push_str(&braced(&after[1..close], lookup, depth)?);
                &after[close + 1..]
            }
            Some(_) if name_length(after) > 0 => {
                let (name, behind) = after.split_at(name_length(after));
                out.push_str(&lookup(name).unwrap_or_default());
                behind
            }
            _ => {
                out.push('$');
                after
            }
        };
        if out.len() > MAX_VALUE_BYTES {
            return Err(Error::TooLong);
        }
    }
    let _ = out.write_str(rest);
    if out.len() > MAX_VALUE_BYTES { Err(Error::TooLong) } else { Ok(out) }
}

/// `NAME`, `NAME:-default`, `NAME-default`, `NAME:?why`, `NAME?why`, `NAME:+instead`, `NAME+instead`.
fn braced(inner: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Error> {
    let (name, operation) = inner.split_at(name_length(inner));
    if name.is_empty() {
        return Err(Error::Form);
    }
    let value = lookup(name);
    let (counts_empty, operation) = match operation.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, operation),
    };
    let is_set = value.as_ref().is_some_and(|value| !(counts_empty && value.is_empty()));
    let argument = operation.get(1..).unwrap_or_default();
    match operation.as_bytes().first() {
        None if !counts_empty => Ok(value.unwrap_or_default()),
        Some(b'-') if is_set => Ok(value.unwrap_or_default()),
        Some(b'-') => within(argument, lookup, depth + 1),
        Some(b'?') if is_set => Ok(value.unwrap_or_default()),
        Some(b'?') => Err(Error::Required(name.to_owned())),
        Some(b'+') if is_set => within(argument, lookup, depth + 1),
        Some(b'+') => Ok(String::new()),
        _ => Err(Error::Form),
    }
}

/// Where the brace that `text` begins with is closed.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => open += 1,
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let starts = bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    if starts { bytes.iter().take_while(|byte| is_part(byte)).count() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let lookup = |name: &str| match name {
            "HOST" => Some("db".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let found = substitute(text, &lookup).unwrap_or_else(|error| error.to_string());
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn variables_are_replaced_as_compose_does() {
        for (text, expected) in [
            ("", ""),
            ("no dollar", "no dollar"),
            ("$HOST:5432", "db:5432"),
            ("${HOST}5432", "db5432"),
            ("$NONE.", "."),
            ("${NONE:-a}-${EMPTY:-b}-${EMPTY-c}-${HOST:-d}", "a-b--db"),
            ("${NONE:-${EMPTY:-${HOST}}}", "db"),
            ("${NONE:-}", ""),
            ("${NONE:--9223372036854775808}", "-9223372036854775808"),
            ("${NONE:-http://weaviate:8080}", "http://weaviate:8080"),
            ("${HOST:+yes}${NONE:+no}${EMPTY+yes}", "yesyes"),
            ("${HOST:?needed}", "db"),
            ("${NONE:?needed}", "demands the variable NONE, which is not set"),
            ("pa$$word", "pa$word"),
            ("pa$1$", "pa$1$"),
            ("${", "has a `${` that is not closed or names no variable"),
            ("${}", "has a `${` that is not closed or names no variable"),
            ("${1}", "has a `${` that is not closed or names no variable"),
            ("${HOST:}", "has a `${` that is not closed or names no variable"),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn what_grows_or_nests_without_end_is_refused() {
        let long = |_: &str| Some("x".repeat(MAX_VALUE_BYTES));
        assert_eq!(substitute("$A$A", &long), Err(Error::TooLong));
        let deep = format!("{}{}", "${A:-".repeat(100), "}".repeat(100));
        assert_eq!(substitute(&deep, &|_| None), Err(Error::TooDeep));
    }
}
