//! JSON as Python writes it, so that answers keep the bytes that Dify's clients have seen so far.
//!
//! Dify speaks three dialects of the same document: [`dumps`] (`json.dumps` with its defaults: a blank after comma
//! and colon, ASCII only) for blocking runs, [`compact`] (Flask: no blanks, ASCII only) for its other answers, and
//! [`orjson`] (no blanks, UTF-8) inside event streams. Knows nothing of what the documents mean.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// As `json.dumps(value)`: what a blocking run and the strings inside a run's detail look like.
pub fn dumps(value: &impl Serialize) -> String {
    write(value, Python { spaced: true })
}

/// As Flask's JSON provider: without blanks, ASCII only. Flask ends its answers with a line feed; this does not.
pub fn compact(value: &impl Serialize) -> String {
    write(value, Python { spaced: false })
}

/// As `orjson.dumps(value)`: without blanks, UTF-8.
pub fn orjson(value: &impl Serialize) -> String {
    write(value, CompactFormatter)
}

/// A float as Python's `repr` spells it: `1.0`, `0.1`, `1e-05`, `1e+16`.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn write(value: &impl Serialize, formatter: impl Formatter) -> String {
    let mut out = Vec::with_capacity(256);
    let mut serializer = Serializer::with_formatter(&mut out, formatter);
    if value.serialize(&mut serializer).is_err() {
        // A map with keys that are no strings; no document of ours has one.
        return "null".to_owned();
    }
    String::from_utf8(out).unwrap_or_default()
}

struct Python {
    spaced: bool,
}

impl Formatter for Python {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_repr(value).as_bytes())
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separator(writer, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.separator(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.spaced { b": " } else { b":" })
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character: char| !character.is_ascii()) {
            let (ascii, tail) = rest.split_at(at);
            writer.write_all(ascii.as_bytes())?;
            let mut characters = tail.chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

impl Python {
    fn separator<W: ?Sized + io::Write>(&self, writer: &mut W, first: bool) -> io::Result<()> {
        match (first, self.spaced) {
            (true, _) => Ok(()),
            (false, true) => writer.write_all(b", "),
            (false, false) => writer.write_all(b","),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_three_dialects_differ_in_blanks_and_escapes() {
        let value = json!({"text": "Grüße 🤖\n", "list": [1, 2.5, true, null], "empty": {}, "none": []});
        assert_eq!(
            dumps(&value),
            r#"{"text": "Gr\u00fc\u00dfe \ud83e\udd16\n", "list": [1, 2.5, true, null], "empty": {}, "none": []}"#
        );
        assert_eq!(
            compact(&value),
            r#"{"text":"Gr\u00fc\u00dfe \ud83e\udd16\n","list":[1,2.5,true,null],"empty":{},"none":[]}"#
        );
        assert_eq!(orjson(&value), r#"{"text":"Grüße 🤖\n","list":[1,2.5,true,null],"empty":{},"none":[]}"#);
    }

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
            (-2.5e100, "-2.5e+100"),
            (0.0, "0.0"),
        ] {
            assert_eq!(float_repr(value), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(text in ".{0,60}", number in any::<f64>(), whole in any::<i64>()) {
            let value = json!({ "text": text, "number": number, "whole": whole, "nested": [[{}]] });
            for written in [dumps(&value), compact(&value), orjson(&value)] {
                let read: Value = serde_json::from_str(&written).unwrap();
                prop_assert_eq!(&read["text"], &value["text"]);
                prop_assert_eq!(&read["whole"], &value["whole"]);
            }
            prop_assert!(dumps(&value).is_ascii());
        }
    }
}
