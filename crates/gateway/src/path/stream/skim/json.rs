//! JSON's own marks in bytes: where a value ends, what a string holds. Of its laxities only Python's `NaN` and `Infinity`
//! are borne.

use crate::path::normalize::model::tokens;

/// The index of the quote that ends the string whose first byte is at `from`.
pub(super) fn string_end(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += data.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
        match (data[at], data.get(at + 1)) {
            (b'"', _) => return Some(at),
            (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            (b'\\', Some(b'u')) if data.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
            _ => return None,
        }
    }
}

/// Where a string, a number or a word ends that stands at `from`.
pub(super) fn scalar_end(data: &[u8], from: usize) -> Option<usize> {
    if data[from] == b'"' {
        return Some(string_end(data, from + 1)? + 1);
    }
    let rest = &data[from..];
    let length =
        rest.iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']') && !is_space(**byte)).count();
    let is_word =
        matches!(&rest[..length], b"null" | b"true" | b"false" | b"NaN" | b"Infinity" | b"-Infinity");
    (is_word || is_number(&rest[..length])).then_some(from + length)
}

fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> (usize, &[u8]) {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count, &text[count..])
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (count, mut rest) = digits(text);
    if count == 0 || count > 1 && text[0] == b'0' {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let (count, after) = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let (count, after) =
            digits(exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent));
        return count > 0 && after.is_empty();
    }
    rest.is_empty()
}

/// As JSON has it.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

pub(super) fn skip_space(data: &[u8], from: usize) -> usize {
    let rest = data.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_space(**byte)).count()
}

pub(super) fn string(value: &[u8]) -> Option<&[u8]> {
    let end = string_end(value, 1).filter(|_| value.starts_with(b"\""))?;
    Some(&value[1..end])
}

/// Whether a list or an object has anything in it.
pub(super) fn is_filled(value: &[u8]) -> bool {
    let Some(first @ (b'{' | b'[')) = value.first() else { return false };
    let close = if *first == b'{' { b'}' } else { b']' };
    value.get(skip_space(value, 1)).is_some_and(|byte| *byte != close)
}

pub(super) fn number(value: &[u8]) -> u32 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).take(4);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Characters of a JSON string, and what they weigh. An escape counts as one, a surrogate pair as two.
pub(super) fn weight(text: &[u8]) -> (u64, u64) {
    if text.is_ascii() && !text.contains(&b'\\') {
        return (text.len() as u64, text.len() as u64);
    }
    let (mut chars, mut quarters) = (0, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let (length, weighs) = match (byte, text.get(at + 1)) {
            (b'\\', Some(b'u')) => (6, tokens::quarters_of_unit(code_unit(&text[at + 2..]))),
            (b'\\', _) => (2, 1),
            (byte, _) => (1, tokens::quarters_of_byte(*byte)),
        };
        at += length;
        chars += u64::from(byte & 0xC0 != 0x80);
        quarters += weighs;
    }
    (chars, quarters)
}

/// The number in an escape.
fn code_unit(digits: &[u8]) -> u16 {
    let digits = digits.iter().take(4).filter_map(|digit| char::from(*digit).to_digit(16));
    digits.fold(0, |unit, digit| unit << 4 | digit as u16)
}
