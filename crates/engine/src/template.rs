//! Texts with `{{#node.name#}}` in them.

use std::sync::Arc;

use crate::selector::Selector;

/// Dify's limits of a reference: names and how deep they go.
const MAX_SOURCE_LENGTH: usize = 50;
const MAX_NAME_LENGTH: usize = 30;
const MAX_NAMES: usize = 10;

/// The mark that an LLM node replaces by its context.
pub(crate) const CONTEXT_MARK: &str = "{{#context#}}";
pub(crate) const HISTORIES_MARK: &str = "{{#histories#}}";

#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Text(Arc<str>),
    Variable(Selector),
    /// Only in texts of LLM nodes.
    Context,
    Histories,
}

/// A text cut at its references.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    pub(crate) segments: Vec<Segment>,
}

impl Template {
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Selector> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Variable(selector) => Some(selector),
            Segment::Text(_) | Segment::Context | Segment::Histories => None,
        })
    }
}

/// A piece of a text before its references are resolved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    /// The parts between the dots.
    Reference(Vec<&'a str>),
    Context,
    Histories,
}

/// Cuts a text. What is not a well-formed reference stays text, as in Dify. `marks`: whether the marks of LLM prompts
/// are known.
pub(crate) fn cut(text: &str, marks: bool) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(found) = text[from..].find("{{#") {
        let open = from + found;
        let matched = match reference(&text[open..]) {
            Some((parts, length)) => Some((Piece::Reference(parts), length)),
            None if marks && text[open..].starts_with(CONTEXT_MARK) => {
                Some((Piece::Context, CONTEXT_MARK.len()))
            }
            None if marks && text[open..].starts_with(HISTORIES_MARK) => {
                Some((Piece::Histories, HISTORIES_MARK.len()))
            }
            None => None,
        };
        match matched {
            Some((piece, length)) => {
                if start < open {
                    pieces.push(Piece::Text(&text[start..open]));
                }
                pieces.push(piece);
                start = open + length;
                from = start;
            }
            None => from = open + 2,
        }
    }
    if start < text.len() {
        pieces.push(Piece::Text(&text[start..]));
    }
    pieces
}

/// The parts of a reference at the start of `text`, and its length with braces.
fn reference(text: &str) -> Option<(Vec<&str>, usize)> {
    let inside = text.strip_prefix("{{#")?;
    let longest = MAX_SOURCE_LENGTH + MAX_NAMES * (MAX_NAME_LENGTH + 1) + "#}}".len();
    let end = inside.bytes().take(longest).position(|byte| byte == b'#')?;
    if !inside[end..].starts_with("#}}") {
        return None;
    }
    let mut parts = inside[..end].split('.');
    let source = parts.next()?;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if source.is_empty() || source.len() > MAX_SOURCE_LENGTH || !source.bytes().all(is_word) {
        return None;
    }
    let mut all = vec![source];
    for name in parts {
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !starts_well || name.len() > MAX_NAME_LENGTH || !name.bytes().all(is_word) {
            return None;
        }
        all.push(name);
    }
    let names = all.len() - 1;
    (1..=MAX_NAMES).contains(&names).then_some((all, "{{#".len() + end + "#}}".len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        cut(text, true)
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => format!("«{text}»"),
                Piece::Reference(parts) => format!("<{}>", parts.join("/")),
                Piece::Context => "<CONTEXT>".to_owned(),
                Piece::Histories => "<HISTORIES>".to_owned(),
            })
            .collect()
    }

    #[test]
    fn references_are_cut_out_and_the_rest_stays() {
        for (text, expected) in [
            ("", ""),
            ("plain", "«plain»"),
            ("{{#start.q#}}", "<start/q>"),
            ("a{{#1700.text#}}b{{#sys.query#}}", "«a»<1700/text>«b»<sys/query>"),
            ("{{#a.b.c.d#}}!", "<a/b/c/d>«!»"),
            ("{{#context#}} {{#histories#}}", "<CONTEXT>« »<HISTORIES>"),
            ("{{#start#}}", "«{{#start#}}»"),
            ("{{#start.1q#}}", "«{{#start.1q#}}»"),
            ("{{#a.b}}", "«{{#a.b}}»"),
            ("{{{#a.b#}}}", "«{»<a/b>«}»"),
            ("{{#{{#a.b#}}", "«{{#»<a/b>"),
            ("{{#ü.b#}}", "«{{#ü.b#}}»"),
            ("{{#a.b#}}{{#a.b#", "<a/b>«{{#a.b#»"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_loss(text in "([{}#.a1_ ü]|\\{\\{#|#\\}\\})*") {
            let again: String = cut(&text, false)
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => (*text).to_owned(),
                    Piece::Reference(parts) => format!("{{{{#{}#}}}}", parts.join(".")),
                    Piece::Context | Piece::Histories => unreachable!("marks are off"),
                })
                .collect();
            prop_assert_eq!(again, text);
        }
    }
}
