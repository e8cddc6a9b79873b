//! The dotenv files of docker compose, read as compose reads them.
//!
//! Promises: takes any text, in time that grows with its length; what is wrong is told by line and name and never by
//! value; at most [`MAX_VARIABLES`] come out, none longer than a named limit.

use std::collections::BTreeMap;

use super::interpolate::{self, Lookup};

/// Dify's own example has about 700.
pub const MAX_VARIABLES: usize = 10_000;
/// What is wrong in one file; more of it is the wrong file.
const MAX_PROBLEMS: usize = 20;

/// What one file says.
#[derive(Default)]
pub struct Parsed {
    pub variables: BTreeMap<String, String>,
    /// Each with its line, counted from 1; without values.
    pub problems: Vec<String>,
}

/// Reads the text of a file. `before` is asked first where a value names another variable.
pub fn parse(text: &str, before: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut cursor = Cursor { rest: &text, line: 1 };
    let mut parsed = Parsed::default();
    // The line in which the last quote was closed, and whose it was.
    let mut last = (0, String::new());
    while cursor.reach_statement() {
        if parsed.variables.len() >= MAX_VARIABLES || parsed.problems.len() >= MAX_PROBLEMS {
            parsed.problems.push(format!("line {}: and more, which is not read", cursor.line));
            break;
        }
        let line = cursor.line;
        let outcome = statement(&mut cursor, &parsed.variables, before);
        match outcome {
            Ok((name, Some(value))) => {
                // A closing quote ends a statement within its line; all others take their lines whole.
                if !text[..text.len() - cursor.rest.len()].ends_with('\n') {
                    last = (cursor.line, name.clone());
                }
                parsed.variables.insert(name, value);
            }
            Err(_) if line == last.0 => {
                parsed
                    .problems
                    .push(format!("line {line}: something stands behind the closing quote of {}", last.1));
            }
            // A bare name is passed on from the shell that starts compose, which nobody can ask any more.
            Ok((_, None)) => {}
            Err(why) => parsed.problems.push(format!("line {line}: {why}")),
        }
    }
    parsed
}

type Statement = (String, Option<String>);

fn statement(
    cursor: &mut Cursor<'_>,
    earlier: &BTreeMap<String, String>,
    before: Lookup<'_>,
) -> Result<Statement, String> {
    let (name, has_value) = name(cursor)?;
    if !has_value {
        return Ok((name.clone(), before(&name)));
    }
    cursor.skip_blanks();
    let lookup = |wanted: &str| before(wanted).or_else(|| earlier.get(wanted).cloned());
    let value = match cursor.rest.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let raw = quoted(cursor, quote).ok_or_else(|| format!("the quote of {name} is not closed"))?;
            match quote {
                '"' => interpolate::substitute(&unescaped(&raw), &lookup),
                _ => Ok(raw),
            }
        }
        _ => {
            let line = cursor.take_line();
            // ` #` starts a comment, `#` within a word does not.
            let value = line.split_once(" #").map_or(line, |(value, _)| value).trim_end();
            interpolate::substitute(value, &lookup)
        }
    };
    match value {
        Ok(value) if value.len() > interpolate::MAX_VALUE_BYTES => Err(format!("{name} is too long")),
        Ok(value) => Ok((name, Some(value))),
        Err(error) => Err(format!("{name} {error}")),
    }
}

/// The name of a statement, and whether a value follows. A wrong line is passed over whole.
fn name(cursor: &mut Cursor<'_>) -> Result<(String, bool), String> {
    if let Some(rest) = cursor.rest.strip_prefix("export")
        && rest.starts_with(is_blank)
    {
        cursor.rest = rest;
        cursor.skip_blanks();
    }
    let end = cursor.rest.find(['=', ':', '\n']).unwrap_or(cursor.rest.len());
    let name = cursor.rest[..end].trim_end();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
    if name.is_empty() || !name.chars().all(is_name) {
        cursor.take_line();
        return Err("is neither a comment nor NAME=VALUE".to_owned());
    }
    let has_value = cursor.rest[end..].starts_with(['=', ':']);
    let name = name.to_owned();
    match has_value {
        true => cursor.rest = &cursor.rest[end + 1..],
        false => drop(cursor.take_line()),
    }
    Ok((name, has_value))
}

/// What stands between quotes, over lines too; `None` where they do not end, and then nothing is left.
fn quoted(cursor: &mut Cursor<'_>, quote: char) -> Option<String> {
    let inner = &cursor.rest[1..];
    let mut value = String::new();
    let mut is_escaped = false;
    for (at, c) in inner.char_indices() {
        match (c, is_escaped) {
            (c, false) if c == quote => {
                cursor.line += inner[..at].matches('\n').count();
                cursor.rest = &inner[at + 1..];
                return Some(value);
            }
            ('\\', false) => is_escaped = true,
            (c, true) => {
                if c != quote {
                    value.push('\\');
                }
                value.push(c);
                is_escaped = false;
            }
            (c, false) => value.push(c),
        }
    }
    // The next lines are probably statements: only this one is given up.
    cursor.take_line();
    None
}

/// The escapes of double quotes. `\$` becomes `$$`, which is a plain dollar to what comes next.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let known = match after.chars().next() {
            Some('a') => Some("\u{7}"),
            Some('b') => Some("\u{8}"),
            Some('f') => Some("\u{c}"),
            Some('n') => Some("\n"),
            Some('r') => Some("\r"),
            Some('t') => Some("\t"),
            Some('v') => Some("\u{b}"),
            Some('$') => Some("$$"),
            Some('"') => Some("\""),
            Some('\\') => Some("\\"),
            _ => None,
        };
        let octal = after.strip_prefix('0').and_then(|digits| digits.get(..3));
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (known, octal) {
            (Some(known), _) => {
                out.push_str(known);
                rest = &after[1..];
            }
            (None, Some(byte)) => {
                out.push(char::from(byte));
                rest = &after[4..];
            }
            (None, None) => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

struct Cursor<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Cursor<'a> {
    /// Passes over blanks, empty lines and comments; false at the end.
    fn reach_statement(&mut self) -> bool {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.line += self.rest[..blank].matches('\n').count();
            self.rest = &self.rest[blank..];
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            self.take_line();
        }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(is_blank);
    }

    /// The rest of this line, without its end.
    fn take_line(&mut self) -> &'a str {
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.line += usize::from(line.len() < self.rest.len());
        self.rest = rest;
        line
    }
}

/// A blank that does not end a line.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)], problems: &[&str]) {
        let parsed = parse(text, &|name| (name == "OUTER").then(|| "outer".to_owned()));
        let found: Vec<(&str, &str)> =
            parsed.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
        assert_eq!(parsed.problems, problems, "{text:?}");
    }

    #[test]
    fn values_are_read_as_compose_reads_them() {
        check("A=1\nB=two words  \n", &[("A", "1"), ("B", "two words")], &[]);
        check("\u{feff}A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")], &[]);
        check("# A=0\n  \n\texport A=1\nexportB=2", &[("A", "1"), ("exportB", "2")], &[]);
        check("A = 1\nB: 2", &[("A", "1"), ("B", "2")], &[]);
        check("A=a#b # a comment\nB=a#b", &[("A", "a#b"), ("B", "a#b")], &[]);
        check("A=\nB=\"\"\nC=''", &[("A", ""), ("B", ""), ("C", "")], &[]);
        check("A=x==\nB=redis://:p@h:6379/1", &[("A", "x=="), ("B", "redis://:p@h:6379/1")], &[]);
        check("A=last\nA=wins", &[("A", "wins")], &[]);
        check("a.b-c[0]=1", &[("a.b-c[0]", "1")], &[]);
        check("PASSED\nOUTER\nA=1", &[("A", "1"), ("OUTER", "outer")], &[]);
    }

    #[test]
    fn quotes_hold_what_they_hold() {
        check(r#"A="x # y" # z"#, &[("A", "x # y")], &[]);
        check(r"A='$B ${C} \n it\'s'", &[("A", r"$B ${C} \n it's")], &[]);
        check(r#"A="a\tb\"c\\d\$e\q\0101""#, &[("A", "a\tb\"c\\d$e\\qA")], &[]);
        check(
            "A=\"one\ntwo\"\nB=1\n=",
            &[("A", "one\ntwo"), ("B", "1")],
            &["line 4: is neither a comment nor NAME=VALUE"],
        );
    }

    #[test]
    fn earlier_and_outer_variables_are_put_in() {
        check("A=1\nB=$A-${C:-3}-$OUTER", &[("A", "1"), ("B", "1-3-outer")], &[]);
        check("OUTER=mine\nB=$OUTER", &[("B", "outer"), ("OUTER", "mine")], &[]);
        check("B=pa$$word", &[("B", "pa$word")], &[]);
    }

    #[test]
    fn every_problem_is_told_by_line_and_none_by_value() {
        check(
            "A=1\nhunter 2=x\nB=${hunter2\n\nC='hunter2\nD=2\n",
            &[("A", "1"), ("D", "2")],
            &[
                "line 2: is neither a comment nor NAME=VALUE",
                "line 3: B has a `${` that is not closed or names no variable",
                "line 5: the quote of C is not closed",
            ],
        );
    }

    #[test]
    fn what_stands_behind_a_quote_is_told_as_that() {
        check(
            "A='it's'\nB=1",
            &[("A", "it"), ("B", "1")],
            &["line 1: something stands behind the closing quote of A"],
        );
    }

    #[test]
    fn values_do_not_grow_without_end() {
        let mut text = "A0=xxxxxxxxxxxxxxxx\n".to_owned();
        for at in 1..64 {
            text.push_str(&format!("A{at}=$A{0}$A{0}\n", at - 1));
        }
        let parsed = parse(&text, &|_| None);
        assert!(parsed.variables.values().all(|value| value.len() <= interpolate::MAX_VALUE_BYTES));
        assert!(!parsed.problems.is_empty());
    }
}
