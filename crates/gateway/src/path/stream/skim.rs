//! What one event of a same-dialect stream says, found in one pass over its JSON and without building anything: a
//! relay looks at every event of every stream. Strings are skipped as strings, so an answer that quotes JSON is text.
//! What a strict reader would not take for JSON is nothing; of its laxities only Python's `NaN` and `Infinity` are borne.

use super::Form;

mod json;
#[cfg(test)]
mod tests;

use json::{is_filled, number, scalar_end, skip_space, string, string_end, weight};

/// How deep fields stand: in the root, in a choice, in a choice's `delta`.
const ROOT: u32 = 1;
const CHOICE: u32 = 3;
const DELTA: u32 = 4;
/// A bit each in [`Walk::objects`].
const MAX_DEPTH: u32 = 127;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Skim<'a> {
    pub(super) chars: u64,
    /// What its text weighs, see [`tokens`].
    pub(super) quarters: u64,
    pub(super) has_content: bool,
    pub(super) has_more_than_text: bool,
    /// The text of choice 0 as it stands in the JSON, quotes left out.
    pub(super) text: Option<&'a [u8]>,
    pub(super) finish: Option<&'a [u8]>,
    /// The choices that are named, and those that end here, a [`bit`] each.
    pub(super) choices: u128,
    pub(super) finished: u128,
    pub(super) has_choices: bool,
    pub(super) has_usage: bool,
    pub(super) has_error: bool,
    /// The `type` of a typed event.
    pub(super) kind: Option<&'a [u8]>,
}

/// The bit of a choice. Those past the last share it.
pub(super) fn bit(choice: u32) -> u128 {
    1 << choice.min(u128::BITS - 1)
}

/// `None`: not a JSON object, or not a whole one.
pub(super) fn skim(data: &[u8], form: Form) -> Option<Skim<'_>> {
    let mut walk =
        Walk { form, depth: 0, objects: 0, in_choices: false, in_delta: false, choice: Choice::default() };
    let mut skim = Skim::default();
    let mut at = skip_space(data, 0);
    if data.get(at) != Some(&b'{') {
        return None;
    }
    let mut next = Next::Value;
    loop {
        at = skip_space(data, at);
        match (*data.get(at)?, next) {
            (b'"', Next::Name | Next::NameOrEnd) => {
                let end = string_end(data, at + 1)?;
                let colon = skip_space(data, end + 1);
                let value = skip_space(data, colon + 1);
                if data.get(colon) != Some(&b':') {
                    return None;
                }
                walk.field(&mut skim, &data[at + 1..end], data.get(value..)?);
                (at, next) = (value, Next::Value);
            }
            (open @ (b'{' | b'['), Next::Value | Next::ValueOrEnd) => {
                next = walk.opened(open)?;
                at += 1;
            }
            (byte, Next::Value | Next::ValueOrEnd) if byte != b']' => {
                at = scalar_end(data, at)?;
                next = Next::CommaOrEnd;
            }
            (b',', Next::CommaOrEnd) => {
                next = if walk.is_in_object() { Next::Name } else { Next::Value };
                at += 1;
            }
            (b'}', Next::NameOrEnd | Next::CommaOrEnd) if walk.is_in_object() => {
                walk.closed(&mut skim);
                at += 1;
                next = Next::CommaOrEnd;
            }
            (b']', Next::ValueOrEnd | Next::CommaOrEnd) if !walk.is_in_object() => {
                walk.closed(&mut skim);
                at += 1;
                next = Next::CommaOrEnd;
            }
            _ => return None,
        }
        if walk.depth == 0 {
            return data[at..].trim_ascii().is_empty().then_some(skim);
        }
    }
}

/// What may stand next.
#[derive(Clone, Copy)]
enum Next {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
}

/// Where in the document the pass is.
struct Walk<'a> {
    form: Form,
    depth: u32,
    /// Which of the open brackets are objects, the innermost in the lowest bit.
    objects: u128,
    in_choices: bool,
    in_delta: bool,
    choice: Choice<'a>,
}

/// The choice whose fields are read.
#[derive(Default)]
struct Choice<'a> {
    index: u32,
    finish: Option<&'a [u8]>,
    text: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    fn opened(&mut self, open: u8) -> Option<Next> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        let is_object = open == b'{';
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        Some(if is_object { Next::NameOrEnd } else { Next::ValueOrEnd })
    }

    fn closed(&mut self, skim: &mut Skim<'a>) {
        if self.depth == CHOICE && self.in_choices && self.is_in_object() {
            let Choice { index, finish, text } = std::mem::take(&mut self.choice);
            skim.choices |= bit(index);
            skim.finished |= if finish.is_some() { bit(index) } else { 0 };
            skim.finish = finish.or(skim.finish);
            if index == 0 {
                skim.text = text.or(skim.text);
            }
        }
        self.depth -= 1;
        self.objects >>= 1;
    }

    /// `value` begins with the field's value and goes on to the end of the event.
    fn field(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        match self.depth {
            ROOT => self.of_root(skim, name, value),
            CHOICE if self.in_choices => self.of_choice(skim, name, value),
            DELTA.. if self.in_choices && self.in_delta => self.of_delta(skim, name, value),
            _ => {}
        }
    }

    fn of_root(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        self.in_choices = name == b"choices";
        self.in_delta = false;
        match name {
            b"choices" => skim.has_choices = is_filled(value),
            b"usage" => skim.has_usage = value.starts_with(b"{"),
            b"error" => skim.has_error |= is_error(value),
            b"object" => skim.has_error |= value.starts_with(b"\"error\""),
            b"type" => skim.kind = string(value),
            // Sound is no text, though it comes as such.
            b"delta" if self.form == Form::Typed => match skim.kind {
                Some(kind) if kind.ends_with(b"audio.delta") => skim.has_content = true,
                _ => skim.spoken(value),
            },
            _ => {}
        }
    }

    fn of_choice(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        // Some send the whole answer so far as `message` beside it.
        self.in_delta = name == b"delta";
        match name {
            b"index" => self.choice.index = number(value),
            // Some say it in every chunk, with nothing in it.
            b"finish_reason" => {
                let word = string(value).filter(|word| !word.is_empty() && *word != b"null");
                self.choice.finish = word.or(self.choice.finish);
            }
            b"text" => self.said(skim, value),
            _ => {}
        }
    }

    fn of_delta(&mut self, skim: &mut Skim<'a>, name: &[u8], value: &'a [u8]) {
        match (self.depth, name) {
            (DELTA, b"content") => self.said(skim, value),
            (
                DELTA,
                b"reasoning_content" | b"reasoning" | b"reasoning_details" | b"refusal" | b"tool_calls"
                | b"function_call",
            ) => {
                let before = skim.chars;
                skim.spoken(value);
                skim.has_more_than_text |= skim.chars > before || is_filled(value);
            }
            // Of a function call, of a tool call; of a part of a content that is a list, of a thought in one.
            (5 | 7, b"arguments") | (6 | 8, b"text") => skim.spoken(value),
            (DELTA, b"images" | b"audio") if is_filled(value) => {
                skim.has_content = true;
                skim.has_more_than_text = true;
            }
            _ => {}
        }
    }

    fn said(&mut self, skim: &mut Skim<'a>, value: &'a [u8]) {
        skim.spoken(value);
        skim.has_more_than_text |= is_filled(value);
        if let Some(text) = string(value).filter(|text| !text.is_empty()) {
            self.choice.text = Some(text);
        }
    }
}

impl Skim<'_> {
    fn spoken(&mut self, value: &[u8]) {
        if let Some(text) = string(value) {
            let (chars, quarters) = weight(text);
            self.chars += chars;
            self.quarters += quarters;
            self.has_content |= !text.is_empty();
        } else {
            self.has_content |= is_filled(value);
        }
    }
}

/// Some say with every chunk that there is none.
fn is_error(value: &[u8]) -> bool {
    !(value.starts_with(b"null") || value.starts_with(b"false") || value.starts_with(b"\"\""))
}
